//! Properties of every compressor, and bytes that others wrote.

use proptest::collection::vec as list;
use proptest::prelude::*;
use proptest::sample::select;
use quorate_core::wire::{Decoder, Dialect, Lz4, MessageKind, Version, encode_frame as encode_plain_frame, protobuf};

use super::*;

const TOO_LONG: MessageError = MessageError::Packed("unpacked it would be longer than 8 MiB");

fn head(compressor: u8) -> Head {
    Head { compressor, ..Head::new(Version::V1, MessageKind::Request, 7) }
}

fn heads() -> impl Strategy<Value = (Compressor, Head)> {
    (select(&Compressor::ALL[..]), select(&[Lz4::Frame, Lz4::Blocks][..])).prop_map(|(compressor, lz4)| {
        let lz4 = if compressor == Compressor::Lz4 { lz4 } else { Lz4::Frame };
        (compressor, Head { dialect: Dialect { lz4, ..Dialect::default() }, ..head(compressor.code()) })
    })
}

fn packed(compressor: Compressor, head: &Head, plain: &[u8]) -> Vec<u8> {
    pack(compressor, head, plain).expect("memory takes everything")
}

/// Bodies that compress well, badly, and not at all.
fn plain() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        list(any::<u8>(), 0..300),
        list(prop_oneof![Just(b'a'), Just(b'b')], 0..3_000),
        (list(any::<u8>(), 1..40), 1usize..20_000).prop_map(|(unit, times)| unit.repeat(times)),
        any::<u64>().prop_map(|seed| noise(seed, 300_000)),
    ]
}

fn noise(mut seed: u64, bytes: usize) -> Vec<u8> {
    seed |= 1;
    let next = |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    (0..bytes).map(next).collect()
}

/// One change of those a broken line or a liar makes.
fn spoil(packed: &mut Vec<u8>, at: prop::sample::Index, how: u8, value: u8) {
    let at = at.index(packed.len());
    match how {
        0 => packed[at] = value,
        1 => packed[at] ^= 1 << (value % 8),
        2 => packed.truncate(at),
        3 => _ = packed.remove(at),
        _ => packed.insert(at, value),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_unpacked((compressor, head) in heads(), plain in plain()) {
        let packed = packed(compressor, &head, &plain);
        let mut read = Head { dialect: Dialect::default(), ..head.clone() };
        prop_assert_eq!(unpack(compressor, &mut read, &packed), Ok(plain));
        prop_assert_eq!(read, head);
    }

    /// No panic, no more than the bound, whatever becomes of a good body.
    #[test]
    fn spoiled_bodies_do_no_harm(
        (compressor, mut head) in heads(),
        plain in plain(),
        changes in list((any::<prop::sample::Index>(), 0u8..5, any::<u8>()), 1..4),
    ) {
        let mut packed = packed(compressor, &head, &plain);
        for (at, how, value) in changes {
            if !packed.is_empty() {
                spoil(&mut packed, at, how, value);
            }
        }
        if let Ok(read) = unpack(compressor, &mut head, &packed) {
            prop_assert!(read.len() <= UNPACKED_BODY_BYTES_MAX);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm((compressor, mut head) in heads(), begin in 0..BEGINS.len(), bytes in list(any::<u8>(), 0..300)) {
        _ = unpack(compressor, &mut head, &[BEGINS[begin], &bytes].concat());
    }
}

const BEGINS: [&[u8]; 9] = [
    b"",
    b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
    b"PK\x03\x04\x14\0\0\0\x08\0",
    b"h9\x31\x41\x59\x26\x53\x59",
    b"\x04\x22\x4d\x18\x60\x70\x73",
    b"LZ4Block\x20",
    b"\x78\x9c",
    b"\x28\xb5\x2f\xfd\x20\xff",
    b"\x28\xb5\x2f\xfd\x00\x58",
];

/// Exactly the bound passes, one more does not, however small it was packed.
#[test]
fn bombs_are_not_unpacked() {
    for compressor in Compressor::ALL {
        for lz4 in [Lz4::Frame, Lz4::Blocks] {
            let mut head = Head { dialect: Dialect { lz4, ..Dialect::default() }, ..head(compressor.code()) };
            for bytes_max in [64 << 10, UNPACKED_BODY_BYTES_MAX] {
                let mut read = |bytes: usize| {
                    let packed = packed(compressor, &head, &vec![0; bytes]);
                    unpack_within(compressor, &mut head, &packed, bytes_max).map(|plain| plain.len())
                };
                assert_eq!(read(bytes_max), Ok(bytes_max), "{compressor:?}");
                // A block of LZ4 has a bound of its own, which may be met first.
                let more = read(bytes_max + 1);
                assert!(matches!(more, Err(MessageError::Packed(_))), "{compressor:?} {more:?}");
            }
        }
    }
    // Zstd that repeats one byte 128 KiB long, 1,000 times, in 4 kB.
    let mut bomb = b"\x28\xb5\x2f\xfd\x00\x58".to_vec();
    bomb.extend_from_slice(&b"\x02\x00\x10a".repeat(1_000));
    assert_eq!(unpack(Compressor::Zstd, &mut head(7), &bomb), Err(TOO_LONG));
    // A window of 2 GiB is not reserved.
    assert!(unpack(Compressor::Zstd, &mut head(7), b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00").is_err());
}

/// As ordinary writers make them: entries that are stored, joined, and followed by a directory.
#[test]
fn archives_of_others() {
    let entry = |text: &[u8], checksum: u32| {
        let length = (text.len() as u32).to_le_bytes();
        let head = [&b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0"[..], &checksum.to_le_bytes(), &length, &length].concat();
        [&head[..], b"\x01\0\x02\0nxx", text].concat()
    };
    let archive = [entry(b"hello ", 0xed81_f9f6), entry(b"", 0), entry(b"a", 0xe8b7_be43), b"PK\x01\x02...".to_vec()];
    let read = |bytes: &[u8]| unpack(Compressor::Zip, &mut head(2), bytes);
    assert_eq!(read(&archive.concat()), Ok(b"hello a".to_vec()));
    let broken = Err(MessageError::Packed("no zip archive, or a broken one"));
    assert_eq!(read(&entry(b"a", 0xe8b7_be44)), broken);
    assert_eq!(read(&entry(b"a", 0xe8b7_be43)[..33]), broken);
    assert_eq!(read(b"PK\x05\x06"), broken);
    assert_eq!(read(&entry(b"", 0).repeat(16)), Ok(Vec::new()));
    assert_eq!(read(&entry(b"", 0).repeat(17)), Err(MessageError::Packed("a zip archive of too many entries")));
}

#[test]
fn frames_are_packed_as_their_head_says() {
    let message = Message::GlobalBegin { timeout_ms: 5, name: "shop".repeat(100) };
    for compressor in Compressor::ALL {
        for serializer in [1, protobuf::SERIALIZER] {
            let head = Head { serializer, ..head(compressor.code()) };
            let mut bytes = BytesMut::new();
            encode_frame(&head, &message, &mut bytes).expect("within all limits");
            let mut decoder = Decoder::new();
            decoder.push(&bytes);
            let shut = decoder.next_frame().expect("a frame").expect("a whole one");
            assert!(matches!(shut, Decoded::Opaque(..)));
            assert_eq!(open(shut), Decoded::Message(head, message.clone()));
        }
    }
    let mut bytes = BytesMut::from(&b"kept"[..]);
    let seven_zip = EncodeError::NotPlain { serializer: 1, compressor: 3 };
    assert_eq!(encode_frame(&head(3), &message, &mut bytes), Err(seven_zip));
    assert_eq!(&bytes[..], b"kept");
    let (mut packed, mut plain) = (BytesMut::new(), BytesMut::new());
    encode_frame(&head(0), &message, &mut packed).expect("within all limits");
    encode_plain_frame(&head(0), &message, &mut plain).expect("within all limits");
    assert_eq!(packed, plain);
}

#[test]
fn what_is_not_spoken_stays_shut() {
    let body = bytes::Bytes::from_static(b"whatever");
    for (serializer, compressor) in [(1, 3), (1, 8), (4, 0), (4, 1)] {
        let shut = Decoded::Opaque(Head { serializer, ..head(compressor) }, body.clone());
        assert_eq!(open(shut.clone()), shut);
    }
    let broken = Decoded::Opaque(head(1), body);
    let error = MessageError::Packed("no gzip stream, or a broken one");
    assert_eq!(open(broken), Decoded::Undecodable(head(1), error));
}

/// Deflated data of so many blocks before the last, with nothing in them.
fn empty_blocks(count: usize) -> Vec<u8> {
    [b"\0\0\0\xff\xff".repeat(count), b"\x01\0\0\xff\xff".to_vec()].concat()
}

/// Every block costs time, also one with nothing in it.
#[test]
fn deflated_data_has_so_many_blocks() {
    let too_many = Err(MessageError::Packed("deflated data of too many blocks"));
    let zlib = |count| [&b"\x78\x9c"[..], &empty_blocks(count), b"\0\0\0\x01"].concat();
    let gzip = |count| [&b"\x1f\x8b\x08\0\0\0\0\0\0\xff"[..], &empty_blocks(count), &[0; 8]].concat();
    let entry = |count| [&b"PK\x03\x04\x14\0\0\0\x08\0"[..], &[0; 20], &empty_blocks(count)].concat();
    for (compressor, packed) in [
        (Compressor::Deflater, &zlib as &dyn Fn(usize) -> Vec<u8>),
        (Compressor::Gzip, &gzip),
        (Compressor::Zip, &entry),
    ] {
        let unpack = |count: usize| unpack(compressor, &mut head(compressor.code()), &packed(count));
        assert_eq!(unpack(inflate::BLOCKS_MAX), Ok(Vec::new()), "{compressor:?}");
        assert_eq!(unpack(inflate::BLOCKS_MAX + 1), too_many, "{compressor:?}");
        assert_eq!(unpack(1_000_000), too_many, "{compressor:?}");
    }
    // All entries of an archive together.
    let archive = entry(inflate::BLOCKS_MAX / 8).repeat(9);
    assert_eq!(unpack(Compressor::Zip, &mut head(2), &archive), too_many);
}

/// The smallest blocks of an ordinary writer are not too many, also where the body is as long as it may be.
#[test]
fn a_bzip2_stream_has_so_many_blocks() {
    use std::io::Read;
    let unpack = |packed: &[u8]| unpack(Compressor::Bzip2, &mut head(4), packed);
    let plain = noise(7, UNPACKED_BODY_BYTES_MAX);
    let mut smallest = Vec::new();
    ::bzip2::read::BzEncoder::new(&plain[..], ::bzip2::Compression::new(1)).read_to_end(&mut smallest).expect("packed");
    assert_eq!(unpack(&smallest[2..]).map(|read| read == plain), Ok(true));
    let too_many = Err(MessageError::Packed("a bzip2 stream of too many blocks"));
    let magic = 0x3141_5926_5359u64;
    for shift in 0..8 {
        let begin = (magic << 8 >> shift).to_be_bytes();
        let stream = |count| [&b"h9"[..], &begin[1..].repeat(count)].concat();
        assert_ne!(unpack(&stream(128)), too_many);
        assert_eq!(unpack(&stream(129)), too_many, "{shift} bits on");
    }
}

/// Whatever a header of gzip may have is passed over, and what it may not have is not.
#[test]
fn headers_of_gzip() {
    let unpack = |packed: &[u8]| unpack(Compressor::Gzip, &mut head(1), packed);
    let full = flate2::GzBuilder::new().extra(&b"extra"[..]).filename(&b"name"[..]).comment(&b"words"[..]).mtime(7);
    let mut writer = full.write(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut writer, b"hello").expect("memory takes everything");
    let packed = writer.finish().expect("memory takes everything");
    assert_eq!(unpack(&packed), Ok(b"hello".to_vec()));
    // With a checksum of the header itself.
    let mut checked = b"\x1f\x8b\x08\x02\0\0\0\0\0\xff".to_vec();
    let mut checksum = flate2::Crc::new();
    checksum.update(&checked);
    checked.extend_from_slice(&checksum.sum().to_le_bytes()[..2]);
    checked.extend_from_slice(&empty_blocks(0));
    checked.extend_from_slice(&[0; 8]);
    assert_eq!(unpack(&checked), Ok(Vec::new()));
    let broken = Err(MessageError::Packed("no gzip stream, or a broken one"));
    for (at, byte) in [(2, 7), (3, 0x82), (10, 0), (20, 1)] {
        let mut wrong = checked.clone();
        wrong[at] = byte;
        assert_eq!(unpack(&wrong), broken, "byte {at}");
    }
    for end in 0..packed.len() {
        assert_eq!(unpack(&packed[..end]), broken, "{end} bytes");
    }
}

/// A frame of so many blocks, `content` each.
fn zstd_blocks(count: usize, content: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    packed.extend_from_slice(&((count * content.len()) as u32).to_le_bytes());
    for block in 1..=count {
        let header = (content.len() as u32) << 3 | u32::from(block == count);
        packed.extend_from_slice(&header.to_le_bytes()[..3]);
        packed.extend_from_slice(content);
    }
    packed
}

/// Every block costs time, also one with nothing in it, so their number is bounded and not only what comes out of them.
#[test]
fn a_zstd_frame_has_so_many_blocks() {
    let unpack = |packed: &[u8]| unpack(Compressor::Zstd, &mut head(7), packed);
    assert_eq!(unpack(&zstd_blocks(4_000, b"ab")).map(|plain| plain.len()), Ok(8_000));
    let too_many = Err(MessageError::Packed("a zstd frame of too many blocks"));
    assert_eq!(unpack(&zstd_blocks(1_000_000, b"x")), too_many);
    assert_eq!(unpack(&zstd_blocks(1_000_000, b"")), too_many);
}
