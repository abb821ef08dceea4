//! Samples of everything that travels, for the properties.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::collection::vec as list;
use proptest::prelude::*;
use proptest::sample::select;

use super::protobuf::Package;
use super::seata::STR_BYTES_MAX;
use super::*;
use crate::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, ResultCode};

/// All of them.
pub(super) const VERSIONS: [Version; 3] = [Version::V0, Version::V1, Version::V2];

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        6 => "[ -~]{1,40}",
        3 => "\\PC{1,40}",
        1 => (STR_BYTES_MAX - 3..=STR_BYTES_MAX).prop_map(|bytes| "x".repeat(bytes)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![20 => string(), 1 => (0usize..200_000).prop_map(|bytes| "y".repeat(bytes))]
}

fn result() -> impl Strategy<Value = ResultPart> {
    let failed = (select(ExceptionCode::ALL), string()).prop_map(|(code, message)| ResultPart::failed(code, message));
    let success = select(ExceptionCode::ALL).prop_map(|code| ResultPart { exception: code, ..ResultPart::success() });
    prop_oneof![failed, success]
}

fn branch_type() -> impl Strategy<Value = BranchType> {
    select(BranchType::ALL)
}

fn global_status() -> impl Strategy<Value = GlobalStatus> {
    select(GlobalStatus::ALL)
}

fn branch_status() -> impl Strategy<Value = BranchStatus> {
    select(BranchStatus::ALL)
}

fn branch_id() -> impl Strategy<Value = BranchId> {
    any::<i64>().prop_map(BranchId)
}

fn registration() -> impl Strategy<Value = Registration> {
    (string(), string(), string(), string()).prop_map(|(version, application_id, service_group, extra_data)| {
        Registration { version, application_id, service_group, extra_data }
    })
}

fn registration_result() -> impl Strategy<Value = RegistrationResult> {
    (any::<bool>(), any::<bool>(), string(), string()).prop_map(|(success, identified, message, version)| {
        let (code, message) =
            if success { (ResultCode::Success, String::new()) } else { (ResultCode::Failed, message) };
        RegistrationResult { code, message, identified, version }
    })
}

/// Every message that may stand inside another.
fn plain_message() -> BoxedStrategy<Message> {
    let rows = || (string(), branch_type(), string(), text(), text());
    let end = || (string(), branch_id(), branch_type(), string(), text());
    let ended = || (result(), string(), branch_id(), branch_status());
    let global = || (string(), string());
    prop_oneof![
        (any::<i32>(), string()).prop_map(|(timeout_ms, name)| Message::GlobalBegin { timeout_ms, name }),
        (result(), string(), string()).prop_map(|(result, xid, extra_data)| Message::GlobalBeginResult {
            result,
            xid,
            extra_data
        }),
        global().prop_map(|(xid, extra_data)| Message::GlobalCommit { xid, extra_data }),
        global().prop_map(|(xid, extra_data)| Message::GlobalRollback { xid, extra_data }),
        global().prop_map(|(xid, extra_data)| Message::GlobalStatus { xid, extra_data }),
        (global(), proptest::option::of(global_status()))
            .prop_map(|((xid, extra_data), status)| Message::GlobalReport { xid, extra_data, status }),
        (result(), global_status()).prop_map(|(result, status)| Message::GlobalCommitResult { result, status }),
        (result(), global_status()).prop_map(|(result, status)| Message::GlobalRollbackResult { result, status }),
        (result(), global_status()).prop_map(|(result, status)| Message::GlobalStatusResult { result, status }),
        (result(), global_status()).prop_map(|(result, status)| Message::GlobalReportResult { result, status }),
        rows().prop_map(|(xid, branch_type, resource_id, lock_keys, application_data)| Message::BranchRegister {
            xid,
            branch_type,
            resource_id,
            lock_keys,
            application_data
        }),
        rows().prop_map(|(xid, branch_type, resource_id, lock_keys, application_data)| Message::LockQuery {
            xid,
            branch_type,
            resource_id,
            lock_keys,
            application_data
        }),
        (result(), branch_id()).prop_map(|(result, branch_id)| Message::BranchRegisterResult { result, branch_id }),
        (result(), any::<bool>()).prop_map(|(result, lockable)| Message::LockQueryResult { result, lockable }),
        (end(), branch_status()).prop_map(|((xid, branch_id, branch_type, resource_id, application_data), status)| {
            Message::BranchReport { xid, branch_id, status, resource_id, application_data, branch_type }
        }),
        result().prop_map(|result| Message::BranchReportResult { result }),
        end().prop_map(|(xid, branch_id, branch_type, resource_id, application_data)| Message::BranchCommit {
            xid,
            branch_id,
            branch_type,
            resource_id,
            application_data
        }),
        end().prop_map(|(xid, branch_id, branch_type, resource_id, application_data)| Message::BranchRollback {
            xid,
            branch_id,
            branch_type,
            resource_id,
            application_data
        }),
        ended().prop_map(|(result, xid, branch_id, status)| Message::BranchCommitResult {
            result,
            xid,
            branch_id,
            status
        }),
        ended().prop_map(|(result, xid, branch_id, status)| Message::BranchRollbackResult {
            result,
            xid,
            branch_id,
            status
        }),
    ]
    .boxed()
}

/// Every message.
pub(super) fn message() -> BoxedStrategy<Message> {
    let children = || list((plain_message(), any::<i32>()), 0..6);
    prop_oneof![
        20 => plain_message(),
        2 => (children(), any::<bool>()).prop_map(|(children, with_ids)| {
            let (messages, ids): (Vec<_>, Vec<_>) = children.into_iter().unzip();
            // Without children nobody can tell whether ids were meant.
            let ids = (with_ids && !messages.is_empty()).then_some(ids);
            Message::Merged { messages, ids }
        }),
        1 => list(plain_message(), 0..6).prop_map(|messages| Message::MergeResult { messages }),
        1 => children().prop_map(|children| {
            let (messages, ids) = children.into_iter().unzip();
            Message::BatchResult { messages, ids }
        }),
        1 => registration().prop_map(Message::RegisterTm),
        1 => registration_result().prop_map(Message::RegisterTmResult),
        1 => (registration(), text())
            .prop_map(|(registration, resource_ids)| Message::RegisterRm { registration, resource_ids }),
        1 => registration_result().prop_map(Message::RegisterRmResult),
        1 => (registration(), text())
            .prop_map(|(registration, resource_ids)| Message::UnregisterRm { registration, resource_ids }),
        1 => registration_result().prop_map(Message::UnregisterRmResult),
        1 => (branch_type(), string(), any::<i16>())
            .prop_map(|(branch_type, resource_id, save_days)| Message::UndoLogDelete {
                branch_type,
                resource_id,
                save_days
            }),
    ]
    .boxed()
}

fn head(version: Version, kinds: &'static [MessageKind]) -> impl Strategy<Value = Head> {
    let entries = if version == Version::V0 { 0..1 } else { 0..4 };
    let entry = ("\\PC{0,10}", proptest::option::of("\\PC{0,10}"));
    (select(kinds), any::<i32>(), list(entry, entries))
        .prop_map(move |(kind, request_id, head_map)| Head { head_map, ..Head::new(version, kind, request_id) })
}

/// Anything that a connection of one version may carry.
pub(super) fn decoded(version: Version) -> BoxedStrategy<Decoded> {
    use MessageKind::{OneWay, Ping, Pong, Request, Response};
    let serializer = if version == Version::V0 { 22..23u8 } else { 3..255 };
    let heads = || head(version, &[Request, Response, OneWay]);
    // Version 0 has no serializer to choose.
    let protobuf = if version == Version::V0 { 0 } else { 4 };
    prop_oneof![
        2 => head(version, &[Ping, Pong]).prop_map(Decoded::Heartbeat),
        6 => (heads(), message())
            .prop_map(move |(head, message)| Decoded::Message(head, as_carried(version, message))),
        2 => (heads(), serializer, list(any::<u8>(), 0..100)).prop_map(|(head, serializer, body)| {
            Decoded::Opaque(Head { serializer, ..head }, Bytes::from(body))
        }),
        protobuf => (heads(), message(), package()).prop_map(|(head, message, package)| {
            let dialect = Dialect { package, ..Dialect::default() };
            Decoded::Message(Head { serializer: protobuf::SERIALIZER, dialect, ..head }, as_in_protobuf(message))
        }),
    ]
    .boxed()
}

/// What of a message a version carries: results of registrations lose their reason before version 2.
pub(super) fn as_carried(version: Version, mut message: Message) -> Message {
    let loses = match &message {
        Message::RegisterTmResult(_) | Message::RegisterRmResult(_) => version < Version::V2,
        Message::UnregisterRmResult(_) => true,
        _ => false,
    };
    if let (
        true,
        Message::RegisterTmResult(result) | Message::RegisterRmResult(result) | Message::UnregisterRmResult(result),
    ) = (loses, &mut message)
    {
        result.code = if result.identified { ResultCode::Success } else { ResultCode::Failed };
        result.message.clear();
    }
    message
}

/// Both of them.
pub(super) fn package() -> impl Strategy<Value = Package> {
    select(&[Package::Apache, Package::Io][..])
}

/// What of a message protobuf carries: older enums, and no missing status. A branch type that it cannot say is made one
/// that it can.
pub(super) fn as_in_protobuf(mut message: Message) -> Message {
    use ExceptionCode::{FailedLockGlobalTransaction, FailedStore, LockKeyConflict, LockKeyConflictFailFast};
    let older = |status: &mut GlobalStatus| *status = ClientVersion::of(1, 4, 2).global_status(*status);
    match &mut message {
        Message::BranchRegister { branch_type, .. }
        | Message::LockQuery { branch_type, .. }
        | Message::BranchReport { branch_type, .. }
        | Message::BranchCommit { branch_type, .. }
        | Message::BranchRollback { branch_type, .. }
        | Message::UndoLogDelete { branch_type, .. } => {
            if matches!(branch_type, BranchType::XA | BranchType::SAGA_ANNOTATION) {
                *branch_type = BranchType::TCC;
            }
        }
        Message::GlobalReport { status, .. } => older(status.get_or_insert(GlobalStatus::UnKnown)),
        Message::GlobalCommitResult { status, .. }
        | Message::GlobalRollbackResult { status, .. }
        | Message::GlobalStatusResult { status, .. }
        | Message::GlobalReportResult { status, .. } => older(status),
        Message::Merged { messages, .. }
        | Message::MergeResult { messages }
        | Message::BatchResult { messages, .. } => {
            *messages = core::mem::take(messages).into_iter().map(as_in_protobuf).collect();
        }
        _ => {}
    }
    if let Some(exception) = exception(&mut message) {
        *exception = match *exception {
            LockKeyConflictFailFast => LockKeyConflict,
            FailedLockGlobalTransaction | ExceptionCode::BeginFailed => ExceptionCode::Unknown,
            newer if newer > FailedStore => ExceptionCode::Unknown,
            known => known,
        };
    }
    message
}

fn exception(message: &mut Message) -> Option<&mut ExceptionCode> {
    match message {
        Message::GlobalBeginResult { result, .. }
        | Message::BranchCommitResult { result, .. }
        | Message::BranchRollbackResult { result, .. }
        | Message::GlobalCommitResult { result, .. }
        | Message::GlobalRollbackResult { result, .. }
        | Message::BranchRegisterResult { result, .. }
        | Message::BranchReportResult { result }
        | Message::GlobalStatusResult { result, .. }
        | Message::GlobalReportResult { result, .. }
        | Message::LockQueryResult { result, .. } => Some(&mut result.exception),
        _ => None,
    }
}
