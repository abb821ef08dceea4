//! What a peer can make the wire reserve: a small multiple of the bytes it really sent, whatever it announces. And what
//! damaged bytes of the log or a snapshot can: the codec's own bound.
//!
//! A binary of its own with one test, because it counts every allocation of the process.
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::BytesMut;
use quorate_core::codec;
use quorate_core::model::limits::{FRAME_BYTES_MAX, MERGED_REQUESTS_MAX};
use quorate_core::txn::{Batch, Command, Transactions, tables};
use quorate_core::wire::{Decoder, Head, Message, MessageKind, Version, encode_opaque, seata};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything to the system's allocator and only adds up sizes.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above; `place` came from `System`.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `work` held at a time beyond what was held before.
fn peak_bytes(work: impl FnOnce()) -> usize {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    work();
    PEAK.load(Relaxed) - before
}

/// Decodes all of it, in pieces of 4 KiB, and keeps one frame at a time.
fn decode_bytes(bytes: &[u8]) -> usize {
    peak_bytes(|| {
        let mut decoder = Decoder::new();
        for piece in bytes.chunks(4096) {
            decoder.push(piece);
            while let Ok(Some(frame)) = decoder.next_frame() {
                drop(frame);
            }
        }
    })
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let head = Head { serializer: 4, ..Head::new(Version::V1, MessageKind::OneWay, 1) };
    encode_opaque(&head, body, &mut out).expect("within the limits");
    out[10] = seata::SERIALIZER;
    out.to_vec()
}

fn v0(type_code: u8, body: &[u8]) -> Vec<u8> {
    [&[0xda, 0xda, 0, 0x90, 0, type_code, 0, 0, 0, 0, 0, 0, 0, 1], body].concat()
}

#[test]
fn announcements_reserve_nothing() {
    let content = |length: i32, count: i16, children: &[u8]| {
        [&b"\x00\x3b"[..], &length.to_be_bytes(), &count.to_be_bytes(), children].concat()
    };
    let few = 16 << 10;
    // A frame of 8 MiB, a text of 2 GiB, 32,767 or 10,000 children: announced, not sent.
    assert!(decode_bytes(b"\xda\xda\x01\x00\x80\x00\x00\x00\x10\x00\x01\x00\x00\x00\x00\x01") < few);
    assert!(decode_bytes(&framed(b"\x00\x0b\x00\x00\x00\x00\x00\x7f\xff\xff\xff")) < few);
    assert!(decode_bytes(&framed(&content(2, i16::MAX, b""))) < few);
    assert!(decode_bytes(&framed(&content(2, MERGED_REQUESTS_MAX as i16, b""))) < few);
    assert!(decode_bytes(&framed(&content(i32::MAX, 10, b""))) < few);
    assert!(decode_bytes(&v0(59, &[0x00, 0x7f, 0xff, 0xff])) < few);
    assert!(decode_bytes(&v0(11, &[0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff])) < few);

    // The worst for its size: the smallest children, as many as allowed, the last one broken. A third more than one
    // buffer that grew by doubling, and the children as values.
    let values = MERGED_REQUESTS_MAX * size_of::<Message>();
    let mut children = b"\x00\x0e\x01\x00".repeat(MERGED_REQUESTS_MAX - 1);
    children.extend_from_slice(b"\x00\x0e\x02\x00");
    let sent = framed(&content(children.len() as i32 + 2, MERGED_REQUESTS_MAX as i16, &children));
    let held = decode_bytes(&sent);
    assert!(held > values && held < values + 3 * sent.len() + few, "{held} for {} bytes", sent.len());

    // A frame of 8 MiB that is no UTF-8: every byte becomes three.
    let text = vec![0xff; FRAME_BYTES_MAX - 16 - 14];
    let mut body = b"\x00\x67\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
    body.extend_from_slice(&(text.len() as i32).to_be_bytes());
    body.extend_from_slice(&text);
    let held = decode_bytes(&framed(&body));
    assert!(held < 10 * FRAME_BYTES_MAX, "{held}");
    a_long_frame_leaves_no_long_buffer();
    stored_bytes_reserve_no_more_than_the_codec_may();
}

/// Called by the one test: a frame that is read in place, one that is cut off, and a ping, each of 8 MiB.
fn a_long_frame_leaves_no_long_buffer() {
    let long = |compressor: u8| {
        let head = Head { serializer: 4, compressor, ..Head::new(Version::V1, MessageKind::OneWay, 1) };
        let mut out = BytesMut::new();
        encode_opaque(&head, &vec![0; FRAME_BYTES_MAX - 16], &mut out).expect("within the limits");
        out
    };
    let (mut plain, mut ping) = (long(0), long(0));
    plain[10] = seata::SERIALIZER;
    ping[9] = 3;
    for frame in [plain, ping, long(1)] {
        let before = HELD.load(Relaxed);
        let mut decoder = Decoder::new();
        for piece in frame.chunks(16 << 10) {
            decoder.push(piece);
            _ = decoder.next_frame().expect("a frame");
        }
        decoder.push(&frame[..8]);
        assert_eq!(decoder.next_frame().expect("a beginning"), None);
        let held = HELD.load(Relaxed) - before;
        assert!(held < 64 << 10, "{held}");
    }
}

/// Called by the one test: lengths of a batch, a text, a list of slots and a record that are only claimed.
fn stored_bytes_reserve_no_more_than_the_codec_may() {
    let claims: [&[u8]; 3] =
        [&[251, 0xff, 0xff], &[252, 0xff, 0xff, 0xff, 0x7f], &[253, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]];
    for claim in claims {
        for (kind, begin) in [("batch", &[1, 0, 0][..]), ("begin", &[1, 2]), ("found", &[1, 0])] {
            let bytes = [begin, claim, b"few bytes follow"].concat();
            let held = peak_bytes(|| match kind {
                "batch" => assert!(codec::decode::<Batch>(&bytes).is_err()),
                _ => assert!(codec::decode::<Command>(&bytes).is_err()),
            });
            assert!(held < codec::BYTES_MAX + (2 << 20), "{kind} {claim:?}: {held}");
        }
        let records = [(tables::HEAD, [&[1][..], claim].concat()), (tables::SESSION, [&[1, 0], claim].concat())];
        let held = peak_bytes(|| assert!(Transactions::load(records.clone()).is_err()));
        assert!(held < codec::BYTES_MAX + (2 << 20), "{claim:?}: {held}");
    }
}
