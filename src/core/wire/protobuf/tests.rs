//! Properties of the protobuf serializer, and the corners where it differs from the Seata serializer.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::collection::vec as list;
use proptest::prelude::*;

use super::*;
use crate::model::limits::MERGED_REQUESTS_MAX;
use crate::model::{BranchId, BranchStatus, BranchType, GlobalStatus, ResultCode};
use crate::wire::ResultPart;
use crate::wire::samples::{as_in_protobuf, message, package};

fn encode(package: Package, message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_body(package, message, &mut out).expect("protobuf has it");
    out.to_vec()
}

/// A body with this name and these fields.
fn body(name: &str, fields: &[u8]) -> Vec<u8> {
    let name = [Package::Apache.prefix(), name].concat();
    [&(name.len() as i32).to_be_bytes(), name.as_bytes(), fields].concat()
}

/// An empty message of this address inside a merged one.
fn child(address: &str) -> Vec<u8> {
    let bytes = address.len() as u8;
    [b"\x12", &[bytes + 2][..], b"\x0a", &[bytes], address.as_bytes()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(message in message(), package in package()) {
        let message = as_in_protobuf(message);
        let written = encode(package, &message);
        prop_assert_eq!(decode_body(&written), Ok((package, message.clone())));
        // Nothing is written for what is mapped: reading and writing again changes no byte.
        prop_assert_eq!(encode(package, &message), written);
    }

    /// Protobuf has no end mark, so a cut body may be a whole one of fewer fields, but never one of others.
    #[test]
    fn a_cut_body_does_no_harm(message in message(), cut in any::<prop::sample::Index>()) {
        let written = encode(Package::Apache, &as_in_protobuf(message));
        if let Ok((package, read)) = decode_body(&written[..cut.index(written.len())]) {
            prop_assert_eq!(decode_body(&encode(package, &read)), Ok((package, read)));
        }
    }

    #[test]
    fn arbitrary_fields_do_no_harm(
        place in 0..NAMES.len(),
        fields in list(prop_oneof![any::<u8>(), 0u8..0x40, Just(0x0a)], 0..200),
    ) {
        let body = body(NAMES[place].1, &fields);
        if let Ok((package, read)) = decode_body(&body) {
            let mut out = BytesMut::new();
            match encode_body(package, &read, &mut out) {
                Ok(()) => prop_assert_eq!(decode_body(&out).map(|(_, read)| read), Ok(as_in_protobuf(read))),
                Err(error) => prop_assert!(matches!(error, EncodeError::NotInProtobuf { .. }), "{error}"),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in list(any::<u8>(), 0..200)) {
        prop_assert!(decode_body(&bytes).is_err());
    }
}

#[test]
fn every_type_has_one_name() {
    for (type_code, name) in NAMES {
        assert!(Message::type_name(type_code).is_some(), "{type_code}");
        assert_eq!(read_name([Package::Io.prefix(), name].concat().as_bytes()), Ok((Package::Io, type_code)));
    }
    let known = (0..200).filter(|code| Message::type_name(*code).is_some()).count();
    assert_eq!(known, NAMES.len());
}

#[test]
fn unknown_fields_are_passed_over_and_the_last_one_counts() {
    // Field 2 as 1, a text 77, a fixed 4, a fixed 8, field 2 as text, then field 2 as -1, field 3 twice.
    let mut fields = b"\x10\x01\xea\x04\x02hi\x3d\0\0\0\0\x39\0\0\0\0\0\0\0\0\x12\x01x".to_vec();
    fields.extend_from_slice(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x1a\x01a\x1a\x01b");
    let begin = Message::GlobalBegin { timeout_ms: -1, name: "b".to_string() };
    assert_eq!(decode_body(&body("GlobalBeginRequestProto", &fields)), Ok((Package::Apache, begin)));
}

/// Java fills in what is absent with the default of proto3, and so do we.
#[test]
fn nothing_is_a_message() {
    let part = ResultPart { code: ResultCode::Failed, ..ResultPart::success() };
    let answer = Message::BranchCommitResult {
        result: part,
        xid: String::new(),
        branch_id: BranchId(0),
        status: BranchStatus::Unknown,
    };
    assert_eq!(decode_body(&body("BranchCommitResponseProto", b"")), Ok((Package::Apache, answer)));
}

#[test]
fn ids_may_stand_one_by_one() {
    let child = child("type.googleapis.com/io.seata.protocol.protobuf.GlobalCommitRequestProto");
    let commit = Message::GlobalCommit { xid: String::new(), extra_data: String::new() };
    for (ids, expected) in [(&b""[..], None), (b"\x18\x07", Some(vec![7])), (b"\x1a\x01\x07", Some(vec![7]))] {
        let body = body("MergedWarpMessageProto", &[&child[..], ids].concat());
        let merged = Message::Merged { messages: vec![commit.clone()], ids: expected };
        assert_eq!(decode_body(&body), Ok((Package::Apache, merged)));
    }
    let error = |name: &str, fields: &[u8]| decode_body(&body(name, fields)).expect_err("no message");
    let differ = MessageError::Protobuf("not as many ids as messages");
    assert_eq!(error("MergedWarpMessageProto", &[&child[..], b"\x1a\x02\x07\x08"].concat()), differ);
    assert_eq!(error("BatchResultMessageProto", &child), differ);
    assert_eq!(error("MergedWarpMessageProto", &b"\x18\x07".repeat(10_001)), MessageError::TooManyChildren(i16::MAX));
}

#[test]
fn what_nobody_can_read() {
    let error = |bytes: &[u8]| decode_body(bytes).expect_err("no message");
    let protobuf = MessageError::Protobuf;
    assert_eq!(error(b"\0\0\0"), MessageError::Short { bytes_needed: 4 });
    assert_eq!(error(b"\xff\xff\xff\xff"), MessageError::UnknownName);
    assert_eq!(error(b"\0\0\0\x03abc"), MessageError::UnknownName);
    assert_eq!(error(b"\x7f\xff\xff\xffabc"), MessageError::Short { bytes_needed: 0x8000_0003 });
    assert_eq!(error(&body("NoSuchProto", b"")), MessageError::UnknownName);
    let begin = |fields: &[u8]| error(&body("GlobalBeginRequestProto", fields));
    assert_eq!(begin(b"\x1a\x05abcd"), protobuf("a field ends behind its message"));
    assert_eq!(begin(b"\x10\xff"), protobuf("a field ends behind its message"));
    assert_eq!(begin(b"\x1a\x02a\xff"), protobuf("a text is no UTF-8"));
    assert_eq!(begin(b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), protobuf("a number of more than 10 bytes"));
    assert_eq!(begin(b"\x13"), protobuf("a field of a kind that does not exist"));
    assert_eq!(begin(b"\x02\x00"), protobuf("a field has the number 0"));
    let register = |fields: &[u8]| error(&body("BranchRegisterRequestProto", fields));
    assert_eq!(register(b"\x18\x05"), MessageError::UnknownValue { field: "branch type", value: 5 });
    for beyond in [BranchType::XA, BranchType::SAGA_ANNOTATION] {
        let value = i64::from(beyond.code());
        let refused = MessageError::UnknownValue { field: "branch type", value };
        assert_eq!(register(&[0x18, beyond.code()]), refused, "nobody could be told of such a branch");
    }
    let minus_one = b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    assert_eq!(register(minus_one), MessageError::UnknownValue { field: "branch type", value: -1 });
    let nested = child("org.apache.seata.protocol.protobuf.MergedWarpMessageProto");
    assert_eq!(error(&body("MergedWarpMessageProto", &nested)), MessageError::NotMergeable(59));
}

#[test]
fn what_protobuf_cannot_say() {
    let mut out = BytesMut::new();
    let commit = Message::BranchCommit {
        xid: "a:1:2".to_string(),
        branch_id: BranchId(3),
        branch_type: BranchType::XA,
        resource_id: "r".to_string(),
        application_data: String::new(),
    };
    let error = EncodeError::NotInProtobuf { field: "branch type", value: "XA" };
    assert_eq!(encode_body(Package::Apache, &commit, &mut out), Err(error));

    let answer =
        |exception, status| Message::GlobalCommitResult { result: ResultPart::failed(exception, "why"), status };
    let read = |message: &Message| decode_body(&encode(Package::Io, message)).map(|(_, message)| message);
    let told = read(&answer(ExceptionCode::LockKeyConflictFailFast, GlobalStatus::StopCommitOrCommitRetry));
    assert_eq!(told, Ok(answer(ExceptionCode::LockKeyConflict, GlobalStatus::CommitRetrying)));
    let told = read(&answer(ExceptionCode::NotRaftLeader, GlobalStatus::RollbackRetryTimeout));
    assert_eq!(told, Ok(answer(ExceptionCode::Unknown, GlobalStatus::RollbackFailed)));
}

/// Unknown fields are passed over, but not millions of them.
#[test]
fn a_message_has_so_many_fields() {
    let too_many = Err(MessageError::Protobuf("a message of too many fields"));
    let begin = |unknown: usize| decode_body(&body("GlobalBeginRequestProto", &b"\x78\x01".repeat(unknown)));
    assert!(begin(FIELDS_MAX).is_ok());
    assert_eq!(begin(FIELDS_MAX + 1), too_many);
    assert_eq!(begin(4_000_000), too_many);
    // One deep inside.
    let inner = b"\x78\x01".repeat(60_000);
    let commit = [&b"\x0a\xc0\xa9\x07"[..], &inner].concat();
    assert_eq!(decode_body(&body("GlobalCommitRequestProto", &commit)), too_many);
    // A merged one has a field for each child and each id.
    let merged = |count: usize| {
        let child = child("/org.apache.seata.protocol.protobuf.GlobalBeginRequestProto");
        let ids = b"\x18\x01".repeat(count);
        decode_body(&body("MergedWarpMessageProto", &[child.repeat(count), ids].concat()))
    };
    assert!(merged(MERGED_REQUESTS_MAX).is_ok());
    let unknown = body("MergedWarpMessageProto", &b"\x78\x01".repeat(FIELDS_OF_MERGED_MAX + 1));
    assert_eq!(decode_body(&unknown), too_many);
}
