//! Properties of the wire: what is written is read again, in every version and however the stream is cut; and no bytes
//! whatever make the decoder panic or answer differently for how they arrived.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::collection::vec as list;
use proptest::prelude::*;
use proptest::sample::select;

use super::samples::{VERSIONS, as_carried, decoded, message};
use super::seata::STR_BYTES_MAX;
use super::*;
use crate::model::ExceptionCode;
use crate::model::limits::FRAME_BYTES_MAX;

fn encode(frame: &Decoded, out: &mut BytesMut) -> Result<(), EncodeError> {
    match frame {
        Decoded::Heartbeat(head) => encode_heartbeat(head, out),
        Decoded::Message(head, message) => encode_frame(head, message, out),
        Decoded::Opaque(head, body) => encode_opaque(head, body, out),
        Decoded::Undecodable(..) => panic!("nothing to encode"),
    }
}

/// Everything that a decoder says to bytes that arrive in pieces of these lengths, repeated.
fn decode_in_pieces(bytes: &[u8], pieces: &[usize]) -> (Vec<Decoded>, Option<FrameError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    for piece in pieces.iter().cycle() {
        let (now, later) = rest.split_at((*piece).min(rest.len()));
        decoder.push(now);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next_frame(), Err(error.clone()), "an error stays");
                    return (frames, Some(error));
                }
            }
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    (frames, None)
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![usize::MAX]), list(1usize..40, 1..8), list(1usize..9000, 1..8)]
}

/// Begins of a connection that may be good.
const BEGINS: &[&[u8]] =
    &[b"", b"\xda\xda\x00", b"\xda\xda\x00\x90\x00", b"\xda\xda\x01\x00\x00\x00", b"\xda\xda\x02\x00\x00"];

fn stream() -> impl Strategy<Value = Vec<Decoded>> {
    select(&VERSIONS[..]).prop_flat_map(|version| list(decoded(version), 1..8))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(frames in stream(), pieces in pieces()) {
        let mut bytes = BytesMut::new();
        for frame in &frames {
            encode(frame, &mut bytes).expect("within all limits");
        }
        prop_assert_eq!(decode_in_pieces(&bytes, &pieces), (frames, None));
    }

    /// A body without its last bytes: version 0 waits, the others call it undecodable, and nobody invents a message
    /// (registrations are allowed to end early).
    #[test]
    fn a_cut_body_is_not_taken_for_a_whole_one(message in message(), cut in any::<prop::sample::Index>()) {
        for version in VERSIONS {
            let mut bytes = BytesMut::new();
            encode_frame(&Head::new(version, MessageKind::Request, 1), &message, &mut bytes).expect("within all limits");
            let cut = cut.index(bytes.len());
            prop_assert_eq!(decode_in_pieces(&bytes[..cut], &[usize::MAX]), (Vec::new(), None));

            let mut body = BytesMut::new();
            seata::encode_body(version, &message, &mut body).expect("within all limits");
            let read = seata::decode_body(version, &body[..cut.min(body.len() - 1)]);
            let may_end_early = matches!(message.type_code(), 101 | 103 | 105);
            prop_assert!(read.is_err() || may_end_early, "{read:?}");
        }
    }

    #[test]
    fn bytes_after_the_last_field_are_ignored(message in message(), tail in list(any::<u8>(), 1..20)) {
        for version in [Version::V1, Version::V2] {
            let mut body = BytesMut::new();
            seata::encode_body(version, &message, &mut body).expect("within all limits");
            body.extend_from_slice(&tail);
            prop_assert_eq!(seata::decode_body(version, &body), Ok(as_carried(version, message.clone())));
        }
    }

    /// A well-framed body of arbitrary bytes, and the frame behind it: the connection lives.
    #[test]
    fn arbitrary_bodies_do_no_harm(type_code in 0i16..130, body in list(any::<u8>(), 0..300), v2 in any::<bool>()) {
        let version = if v2 { Version::V2 } else { Version::V1 };
        let mut packed = type_code.to_be_bytes().to_vec();
        packed.extend_from_slice(&body);
        let mut bytes = BytesMut::new();
        let head = Head { serializer: 4, ..Head::new(version, MessageKind::Request, 7) };
        encode_opaque(&head, &packed, &mut bytes).expect("within all limits");
        bytes[10] = seata::SERIALIZER;
        let ping = Head::new(version, MessageKind::Ping, 8);
        encode_heartbeat(&ping, &mut bytes).expect("a heartbeat");
        let (frames, error) = decode_in_pieces(&bytes, &[usize::MAX]);
        prop_assert_eq!((frames.len(), error), (2, None));
        prop_assert_eq!(frames.last(), Some(&Decoded::Heartbeat(ping)));
    }

    /// Arbitrary bytes behind a begin that may be good: no panic, and the pieces make no difference.
    #[test]
    fn arbitrary_bytes_do_no_harm(
        begin in select(BEGINS),
        bytes in list(prop_oneof![Just(0u8), any::<u8>(), 0u8..22], 0..400),
        pieces in pieces(),
    ) {
        let stream = [begin, &bytes].concat();
        prop_assert_eq!(decode_in_pieces(&stream, &pieces), decode_in_pieces(&stream, &[usize::MAX]));
    }

    #[test]
    fn a_long_message_of_a_result_is_cut_at_a_character(text in "\\PC{0,3}", unit in "\\PC", times in 8_000usize..40_000) {
        let text = text + &unit.repeat(times);
        let message = Message::BranchReportResult { result: ResultPart::failed(ExceptionCode::Broken, text.clone()) };
        let mut body = BytesMut::new();
        seata::encode_body(Version::V1, &message, &mut body).expect("cut to what fits");
        let Ok(Message::BranchReportResult { result }) = seata::decode_body(Version::V1, &body) else {
            return Err(TestCaseError::fail("another message"));
        };
        prop_assert!(text.starts_with(&result.message) && result.message.len() <= STR_BYTES_MAX);
        prop_assert!(result.message == text || result.message.len() > STR_BYTES_MAX - 4);
    }
}

fn frame_bytes(head: &Head, message: &Message) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(head, message, &mut bytes).expect("within all limits");
    bytes
}

#[test]
fn what_has_no_bytes_appends_nothing() {
    let head = Head::new(Version::V1, MessageKind::Request, 1);
    let begin = |name: &str| Message::GlobalBegin { timeout_ms: 1, name: name.to_string() };
    let commit = Message::GlobalCommit { xid: String::new(), extra_data: String::new() };
    let nested = Message::Merged { messages: vec![Message::MergeResult { messages: vec![] }], ids: None };
    let many = Message::MergeResult { messages: vec![commit.clone(); 10_001] };
    let too_long =
        Message::RegisterRm { registration: Registration::default(), resource_ids: "x".repeat(FRAME_BYTES_MAX - 25) };
    let ids_differ = EncodeError::IdsDiffer { messages: 1, ids: 2 };
    for (message, error) in [
        (begin(&"x".repeat(32_768)), EncodeError::StringTooLong { field: "name", bytes: 32_768 }),
        (nested, EncodeError::NotMergeable(60)),
        (many, EncodeError::TooManyChildren(10_001)),
        (Message::BatchResult { messages: vec![commit], ids: vec![1, 2] }, ids_differ),
        (too_long, EncodeError::FrameTooLong(FRAME_BYTES_MAX + 5)),
    ] {
        let mut out = BytesMut::from(&b"kept"[..]);
        assert_eq!(encode_frame(&head, &message, &mut out), Err(error));
        assert_eq!(&out[..], b"kept");
    }
    let mut out = BytesMut::new();
    let zipped = Head { compressor: 1, ..head.clone() };
    let not_plain = EncodeError::NotPlain { serializer: 1, compressor: 1 };
    assert_eq!(encode_frame(&zipped, &begin(""), &mut out), Err(not_plain));
    let long_map = Head { head_map: vec![("x".repeat(32_767), None)], ..head.clone() };
    assert_eq!(encode_frame(&long_map, &begin(""), &mut out), Err(EncodeError::HeadMapTooLong(32_787)));
    assert_eq!(encode_heartbeat(&head, &mut out), Err(EncodeError::Kind(MessageKind::Request)));
    assert!(out.is_empty());
}

/// Exactly 8 MiB passes, one more does not, and neither is waited for.
#[test]
fn the_longest_frame() {
    let resource_ids = "x".repeat(FRAME_BYTES_MAX - 16 - 2 - 4 * 2 - 4);
    let message = Message::RegisterRm { registration: Registration::default(), resource_ids };
    let mut bytes = frame_bytes(&Head::new(Version::V1, MessageKind::Request, 1), &message);
    assert_eq!(bytes.len(), FRAME_BYTES_MAX);
    let (frames, error) = decode_in_pieces(&bytes, &[usize::MAX]);
    assert_eq!((frames.len(), error), (1, None));
    bytes[3..7].copy_from_slice(&(FRAME_BYTES_MAX as i32 + 1).to_be_bytes());
    let error = FrameError::FullLength(FRAME_BYTES_MAX as i32 + 1);
    assert_eq!(decode_in_pieces(&bytes[..9], &[usize::MAX]), (vec![], Some(error)));
}

#[test]
fn heads_that_lie_end_the_connection() {
    let error = |bytes: &[u8]| decode_in_pieces(bytes, &[usize::MAX]).1;
    assert_eq!(error(b"GET / HTTP"), Some(FrameError::Magic(*b"GE")));
    assert_eq!(error(&[0xda]), None);
    assert_eq!(decode_in_pieces(b"GET", &[1]).1, Some(FrameError::Magic(*b"GE")), "the same in pieces");
    assert_eq!(error(&[0xda, 0xdb]), Some(FrameError::Magic([0xda, 0xdb])));
    for full in [i32::MIN, -1, 0, 6, 15] {
        let [a, b, c, d] = full.to_be_bytes();
        assert_eq!(error(&[0xda, 0xda, 1, a, b, c, d, 0, 16]), Some(FrameError::FullLength(full)));
    }
    for head in [-1, 0, 15, 18] {
        let [a, b] = i16::to_be_bytes(head);
        let lie = Some(FrameError::HeadLength { head, full: 17 });
        assert_eq!(error(&[0xda, 0xda, 1, 0, 0, 0, 17, a, b]), lie);
    }
    // Version 0 cannot pass over what it does not understand, nor over what claims to be longer than any frame.
    let v0 = |type_code: u8, body: &[u8]| [&[0xda, 0xda, 0, 0x90, 0, type_code, 0, 0, 0, 0, 0, 0, 0, 1], body].concat();
    assert_eq!(error(&v0(77, b"")), Some(FrameError::Version0(MessageError::UnknownType(77))));
    let length = FRAME_BYTES_MAX as i32;
    let too_long = Some(FrameError::FullLength(length + 14 + 4));
    assert_eq!(error(&v0(59, &length.to_be_bytes())), too_long);
}

#[test]
fn the_first_frame_fixes_the_version() {
    let ping = |version| {
        let mut bytes = BytesMut::new();
        encode_heartbeat(&Head::new(version, MessageKind::Ping, 1), &mut bytes).expect("a heartbeat");
        bytes
    };
    let versions = |bytes: &[u8]| -> Vec<Version> {
        let (frames, error) = decode_in_pieces(bytes, &[usize::MAX]);
        assert_eq!(error, None);
        frames.iter().map(|frame| frame.head().version).collect()
    };
    let (v1, v2) = (ping(Version::V1), ping(Version::V2));
    assert_eq!(versions(&[&v1[..], &v2].concat()), [Version::V1, Version::V1]);
    assert_eq!(versions(&[&v2[..], &v1].concat()), [Version::V2, Version::V2]);
    let mut later = v1.clone();
    later[2] = 9;
    assert_eq!(versions(&later), [Version::V2]);
}

#[test]
fn a_kind_that_nobody_knows_is_served_by_its_body() {
    let message = Message::GlobalStatus { xid: "a:1:2".to_string(), extra_data: String::new() };
    let head = Head::new(Version::V1, MessageKind::Other(9), 3);
    let bytes = frame_bytes(&head, &message);
    assert_eq!(bytes[9], 9);
    assert_eq!(decode_in_pieces(&bytes, &[5]).0, [Decoded::Message(head, message)]);
}

#[test]
fn flags_of_version_0_are_bits() {
    let kind = |flags: u8| {
        let ping = [0xda, 0xda, 0, flags | 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        decode_in_pieces(&ping, &[usize::MAX]).0[0].head().kind
    };
    assert_eq!([0xe0, 0xa0, 0x20, 0x60, 0xf0].map(kind).map(MessageKind::byte), [3, 3, 4, 4, 3]);
    // The answer of a client's 0.6 server carries the async bit.
    let message = Message::BranchReportResult { result: ResultPart::success() };
    let head = Head::new(Version::V0, MessageKind::Response, -5);
    let mut bytes = frame_bytes(&head, &message);
    assert_eq!(bytes[..6], [0xda, 0xda, 0, 0x10, 0, 14]);
    assert_eq!(bytes[6..14], i64::to_be_bytes(-5));
    bytes[3] |= 0x40;
    assert_eq!(decode_in_pieces(&bytes, &[3]).0, [Decoded::Message(head, message)]);
}

#[test]
fn a_registration_may_end_early() {
    let whole = Registration {
        version: "1.5.2".to_string(),
        application_id: "shop".to_string(),
        service_group: String::new(),
        extra_data: String::new(),
    };
    let mut body = BytesMut::new();
    seata::encode_body(Version::V1, &Message::RegisterTm(whole.clone()), &mut body).expect("short");
    let without_tail = &body[..body.len() - 4];
    assert_eq!(seata::decode_body(Version::V1, without_tail), Ok(Message::RegisterTm(whole)));
    // A string that claims more than there is counts as missing as well, and so does all that follows.
    let claims = b"\x00\x67\x00\x01v\x00\x09ab";
    let registration = Registration { version: "v".to_string(), ..Registration::default() };
    let early = Message::RegisterRm { registration, resource_ids: String::new() };
    assert_eq!(seata::decode_body(Version::V1, claims), Ok(early));
}

#[test]
fn what_java_tolerates() {
    let read = |body: &[u8]| seata::decode_body(Version::V1, body);
    // A name of 32,768 bytes has a negative length: empty, and what follows is ignored.
    let long = [&b"\x00\x01\x00\x00\x00\x05\x80\x00"[..], &[b'x'; 300]].concat();
    assert_eq!(read(&long), Ok(Message::GlobalBegin { timeout_ms: 5, name: String::new() }));
    // No UTF-8.
    let begin = Message::GlobalBegin { timeout_ms: 5, name: "a\u{fffd}".to_string() };
    assert_eq!(read(b"\x00\x01\x00\x00\x00\x05\x00\x02a\xff"), Ok(begin));
    // An exception code from the future, a status below zero, a count below zero.
    assert_eq!(read(b"\x00\x0e\x01\x77"), Ok(Message::BranchReportResult { result: ResultPart::success() }));
    let report = Message::GlobalReport { xid: String::new(), extra_data: String::new(), status: None };
    assert_eq!(read(b"\x00\x11\x00\x00\x00\x00\x80"), Ok(report));
    assert_eq!(read(b"\x00\x3c\x00\x00\x00\x02\xff\xff"), Ok(Message::MergeResult { messages: vec![] }));
}

#[test]
fn what_nobody_can_read() {
    let error = |body: &[u8]| seata::decode_body(Version::V1, body).expect_err("no message");
    let unknown = |field, value| MessageError::UnknownValue { field, value };
    assert_eq!(error(b""), MessageError::Short { bytes_needed: 2 });
    assert_eq!(error(b"\x00\x4d"), MessageError::UnknownType(77));
    assert_eq!(error(b"\x00\x0e\x02\x00"), unknown("result code", 2));
    assert_eq!(error(b"\x00\x0b\x00\x00\x05\x00\x00"), unknown("branch type", 5));
    assert_eq!(error(b"\x00\x10\x01\x00\x15"), unknown("global status", 21));
    assert_eq!(error(b"\x00\x04\x01\x00\x00\x00\0\0\0\0\0\0\0\0\x10"), unknown("branch status", 16));
    assert_eq!(error(b"\x00\x3b\xff\xff\xff\xff"), MessageError::ContentLength(-1));
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x02\x27\x11"), MessageError::TooManyChildren(10_001));
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x02\x27\x10"), MessageError::ContentShort);
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x04\x00\x01\x00\x3b"), MessageError::NotMergeable(59));
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x04\x00\x01\x00\x65"), MessageError::NotMergeable(101));
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x04\x00\x01\x00\x4d"), MessageError::UnknownType(77));
    // Ids that break off.
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x07\x00\x01\x00\x0e\x01\x00\x00"), MessageError::ContentShort);
    // A content that claims more than there is.
    assert_eq!(error(b"\x00\x3b\x00\x00\x00\x09\x00\x00"), MessageError::Short { bytes_needed: 15 });
}

#[test]
fn a_bad_head_map_spoils_one_frame_only() {
    let mut bytes = BytesMut::new();
    let head = Head { head_map: vec![("k".to_string(), None)], ..Head::new(Version::V1, MessageKind::Request, 4) };
    encode_frame(&head, &Message::GlobalBegin { timeout_ms: 1, name: String::new() }, &mut bytes).expect("short");
    bytes[17] = 9;
    encode_heartbeat(&Head::new(Version::V1, MessageKind::Ping, 5), &mut bytes).expect("a heartbeat");
    let (frames, error) = decode_in_pieces(&bytes, &[7]);
    assert_eq!(error, None);
    assert!(matches!(&frames[0], Decoded::Undecodable(head, MessageError::Short { .. }) if head.request_id == 4));
    assert!(matches!(&frames[1], Decoded::Heartbeat(head) if head.request_id == 5));
}
