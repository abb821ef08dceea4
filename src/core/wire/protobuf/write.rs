//! Messages to bodies. Field numbers as in protocol 4.2.

use super::writer::Writer;
use super::{EXCEPTIONS, Package, name};
use crate::model::limits::MERGED_REQUESTS_MAX;
use crate::model::{BranchType, ExceptionCode, GlobalStatus, ResultCode};
use crate::wire::client_version::ClientVersion;
use crate::wire::frame::EncodeError;
use crate::wire::message::{Message, Registration, RegistrationResult, ResultPart};

/// The address in front of the name of a message inside another.
const ANY: &str = "type.googleapis.com/";

/// Appends a message's fields.
pub fn message(package: Package, message: &Message, out: &mut Writer<'_>) {
    let code = message.type_code();
    match message {
        Message::Merged { messages, ids } => content(package, code, messages, ids.as_deref(), out),
        Message::MergeResult { messages } => content(package, code, messages, None, out),
        Message::BatchResult { messages, ids } => content(package, code, messages, Some(ids), out),
        Message::GlobalBegin { .. }
        | Message::GlobalBeginResult { .. }
        | Message::BranchCommit { .. }
        | Message::BranchCommitResult { .. }
        | Message::BranchRollback { .. }
        | Message::BranchRollbackResult { .. }
        | Message::GlobalCommit { .. }
        | Message::GlobalCommitResult { .. }
        | Message::GlobalRollback { .. }
        | Message::GlobalRollbackResult { .. }
        | Message::BranchRegister { .. }
        | Message::BranchRegisterResult { .. }
        | Message::BranchReport { .. }
        | Message::BranchReportResult { .. }
        | Message::GlobalStatus { .. }
        | Message::GlobalStatusResult { .. }
        | Message::GlobalReport { .. }
        | Message::GlobalReportResult { .. }
        | Message::LockQuery { .. }
        | Message::LockQueryResult { .. }
        | Message::RegisterTm(_)
        | Message::RegisterTmResult(_)
        | Message::RegisterRm { .. }
        | Message::RegisterRmResult(_)
        | Message::UnregisterRm { .. }
        | Message::UnregisterRmResult(_)
        | Message::UndoLogDelete { .. } => single(code, message, out),
    }
}

/// One line per message, in the order of the table in protocol 4.2.
#[rustfmt::skip]
fn single(code: i16, message: &Message, out: &mut Writer<'_>) {
    match message {
        Message::RegisterTm(registration) => { out.message(1, |out| identify(code, registration, out)); }
        Message::RegisterRm { registration, resource_ids } | Message::UnregisterRm { registration, resource_ids } => {
            out.message(1, |out| identify(code, registration, out)).string(2, resource_ids);
        }
        Message::RegisterTmResult(result) | Message::RegisterRmResult(result) | Message::UnregisterRmResult(result) => {
            out.message(1, |out| identified(code, result, out));
        }
        Message::GlobalBegin { timeout_ms, name } => {
            request(code, out).number(2, i64::from(*timeout_ms)).string(3, name);
        }
        Message::GlobalBeginResult { result, xid, extra_data } => {
            response(code, result, out).string(2, xid).string(3, extra_data);
        }
        Message::GlobalCommit { xid, extra_data }
        | Message::GlobalRollback { xid, extra_data }
        | Message::GlobalStatus { xid, extra_data } => { global_end(code, xid, extra_data, out); }
        Message::GlobalReport { xid, extra_data, status } => {
            let status = status.map_or(0, known);
            global_end(code, xid, extra_data, out).number(2, status);
        }
        Message::GlobalCommitResult { result, status }
        | Message::GlobalRollbackResult { result, status }
        | Message::GlobalStatusResult { result, status }
        | Message::GlobalReportResult { result, status } => {
            out.message(1, |out| { response(code, result, out).number(2, known(*status)); });
        }
        Message::BranchRegister { xid, branch_type, resource_id, lock_keys, application_data } => {
            rows(code, [xid, resource_id, lock_keys, application_data], *branch_type, out);
        }
        Message::LockQuery { xid, branch_type, resource_id, lock_keys, application_data } => {
            out.message(1, |out| rows(code, [xid, resource_id, lock_keys, application_data], *branch_type, out));
        }
        Message::BranchRegisterResult { result, branch_id } => { response(code, result, out).number(2, branch_id.0); }
        Message::LockQueryResult { result, lockable } => { response(code, result, out).number(2, i64::from(*lockable)); }
        Message::BranchReport { xid, branch_id, status, resource_id, application_data, branch_type } => {
            request(code, out).string(2, xid).number(3, branch_id.0).string(4, resource_id);
            out.number(5, i64::from(status.code())).string(6, application_data);
            put_branch_type(7, *branch_type, out);
        }
        Message::BranchReportResult { result } => { response(code, result, out); }
        Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data }
        | Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data } => {
            out.message(1, |out| {
                request(code, out).string(2, xid).number(3, branch_id.0);
                put_branch_type(4, *branch_type, out);
                out.string(5, resource_id).string(6, application_data);
            });
        }
        Message::BranchCommitResult { result, xid, branch_id, status }
        | Message::BranchRollbackResult { result, xid, branch_id, status } => {
            out.message(1, |out| {
                response(code, result, out).string(2, xid).number(3, branch_id.0).number(4, i64::from(status.code()));
            });
        }
        Message::UndoLogDelete { branch_type, resource_id, save_days } => {
            request(code, out).string(2, resource_id).number(3, i64::from(*save_days));
            put_branch_type(4, *branch_type, out);
        }
        Message::Merged { .. } | Message::MergeResult { .. } | Message::BatchResult { .. } => {
            out.fail(EncodeError::NotMergeable(code));
        }
    }
}

/// `AbstractTransactionRequestProto`.
fn request<'w, 'b>(code: i16, out: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    out.message(1, |out| kind(code, out))
}

/// `AbstractMessageProto`.
fn kind(code: i16, out: &mut Writer<'_>) {
    out.message(1, |out| _ = out.number(1, i64::from(code)));
}

/// `AbstractResultMessageProto`.
fn result(code: i16, result: ResultCode, message: &str, out: &mut Writer<'_>) {
    kind(code, out);
    out.number(2, i64::from(result.code()));
    match result {
        ResultCode::Success => {}
        ResultCode::Failed => _ = out.string(3, message),
    }
}

/// `AbstractTransactionResponseProto`.
fn response<'w, 'b>(code: i16, part: &ResultPart, out: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    out.message(1, |out| {
        out.message(1, |out| result(code, part.code, &part.message, out)).number(2, exception(part.exception));
    })
}

/// `AbstractIdentifyRequestProto`.
fn identify(code: i16, registration: &Registration, out: &mut Writer<'_>) {
    kind(code, out);
    out.string(2, &registration.version).string(3, &registration.application_id);
    out.string(4, &registration.service_group).string(5, &registration.extra_data);
}

/// `AbstractIdentifyResponseProto`.
fn identified(code: i16, answer: &RegistrationResult, out: &mut Writer<'_>) {
    out.message(1, |out| result(code, answer.code, &answer.message, out));
    out.string(2, &answer.version).number(4, i64::from(answer.identified));
}

/// `AbstractGlobalEndRequestProto`.
fn global_end<'w, 'b>(code: i16, xid: &str, extra_data: &str, out: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    out.message(1, |out| _ = request(code, out).string(2, xid).string(3, extra_data))
}

/// `BranchRegisterRequestProto`.
fn rows(code: i16, texts: [&str; 4], branch_type: BranchType, out: &mut Writer<'_>) {
    let [xid, resource_id, lock_keys, application_data] = texts;
    request(code, out).string(2, xid);
    put_branch_type(3, branch_type, out);
    out.string(4, resource_id).string(5, lock_keys).string(6, application_data);
}

/// Children and ids of a merged message.
fn content(package: Package, code: i16, messages: &[Message], ids: Option<&[i32]>, out: &mut Writer<'_>) {
    let count = messages.len();
    if count > MERGED_REQUESTS_MAX {
        return out.fail(EncodeError::TooManyChildren(count));
    }
    if let Some(ids) = ids.filter(|ids| ids.len() != count) {
        return out.fail(EncodeError::IdsDiffer { messages: count, ids: ids.len() });
    }
    kind(code, out);
    for child in messages {
        if !child.may_be_merged() {
            return out.fail(EncodeError::NotMergeable(child.type_code()));
        }
        out.message(2, |out| {
            out.message(1, |out| out.texts([ANY, package.prefix(), name(child)]));
            out.message(2, |out| single(child.type_code(), child, out));
        });
    }
    out.packed(3, ids.unwrap_or_default());
}

/// Java's reader gives up on a number that its enum does not have.
fn put_branch_type(field: u64, branch_type: BranchType, out: &mut Writer<'_>) {
    match branch_type {
        BranchType::AT | BranchType::TCC | BranchType::SAGA => _ = out.number(field, i64::from(branch_type.code())),
        BranchType::XA | BranchType::SAGA_ANNOTATION => {
            out.fail(EncodeError::NotInProtobuf { field: "branch type", value: branch_type.name() });
        }
    }
}

/// The nearest status that protobuf has: it stopped at those of Seata 1.4.
fn known(status: GlobalStatus) -> i64 {
    i64::from(ClientVersion::default().global_status(status).code())
}

/// The nearest exception code that protobuf has. The name of one was changed in Java but not in protobuf, so that newer
/// clients fail on it.
fn exception(code: ExceptionCode) -> i64 {
    let nearest = if code == ExceptionCode::LockKeyConflictFailFast {
        ExceptionCode::LockKeyConflict
    } else if code == ExceptionCode::FailedLockGlobalTransaction {
        ExceptionCode::Unknown
    } else {
        code
    };
    EXCEPTIONS.iter().position(|known| *known == nearest).unwrap_or(0) as i64
}
