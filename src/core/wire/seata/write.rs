//! Messages to bodies.

use bytes::BytesMut;

use super::writer::Writer;
use crate::model::limits::MERGED_REQUESTS_MAX;
use crate::wire::frame::{EncodeError, Version};
use crate::wire::message::{Message, Registration, RegistrationResult, ResultPart};

const _: () = assert!(MERGED_REQUESTS_MAX <= i16::MAX as usize);

/// What a missing global status is written as.
const NO_STATUS: u8 = 0xff;

/// Appends type code and fields. After an error, what was appended before it is still there and means nothing.
pub fn encode_body(version: Version, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    put_body(version, message, &mut writer);
    writer.finish()
}

/// Appends the fields behind the type code.
pub fn encode_fields(version: Version, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    put_fields(version, message, &mut writer);
    writer.finish()
}

fn put_body(version: Version, message: &Message, out: &mut Writer<'_>) {
    out.i16(message.type_code());
    put_fields(version, message, out);
}

/// One line per message, in the order of the table in protocol 2.4.
#[rustfmt::skip]
fn put_fields(version: Version, message: &Message, out: &mut Writer<'_>) {
    match message {
        Message::GlobalBegin { timeout_ms, name } => { out.i32(*timeout_ms).str("name", name); }
        Message::GlobalBeginResult { result, xid, extra_data } => {
            put_result(result, out).str("xid", xid).str("extra data", extra_data);
        }
        Message::GlobalCommit { xid, extra_data }
        | Message::GlobalRollback { xid, extra_data }
        | Message::GlobalStatus { xid, extra_data } => { out.str("xid", xid).str("extra data", extra_data); }
        Message::GlobalReport { xid, extra_data, status } => {
            let status = status.map_or(NO_STATUS, |status| status.code());
            out.str("xid", xid).str("extra data", extra_data).u8(status);
        }
        Message::GlobalCommitResult { result, status }
        | Message::GlobalRollbackResult { result, status }
        | Message::GlobalStatusResult { result, status }
        | Message::GlobalReportResult { result, status } => { put_result(result, out).u8(status.code()); }
        Message::BranchRegister { xid, branch_type, resource_id, lock_keys, application_data }
        | Message::LockQuery { xid, branch_type, resource_id, lock_keys, application_data } => {
            out.str("xid", xid).u8(branch_type.code()).str("resource id", resource_id);
            out.text(lock_keys).text(application_data);
        }
        Message::BranchRegisterResult { result, branch_id } => { put_result(result, out).i64(branch_id.0); }
        Message::LockQueryResult { result, lockable } => { put_result(result, out).i16(i16::from(*lockable)); }
        Message::BranchReport { xid, branch_id, status, resource_id, application_data, branch_type } => {
            out.str("xid", xid).i64(branch_id.0).u8(status.code()).str("resource id", resource_id);
            out.text(application_data).u8(branch_type.code());
        }
        Message::BranchReportResult { result } => { put_result(result, out); }
        Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data }
        | Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data } => {
            out.str("xid", xid).i64(branch_id.0).u8(branch_type.code());
            out.str("resource id", resource_id).text(application_data);
        }
        Message::BranchCommitResult { result, xid, branch_id, status }
        | Message::BranchRollbackResult { result, xid, branch_id, status } => {
            put_result(result, out).str("xid", xid).i64(branch_id.0).u8(status.code());
        }
        Message::UndoLogDelete { branch_type, resource_id, save_days } => {
            out.u8(branch_type.code()).str("resource id", resource_id).i16(*save_days);
        }
        Message::RegisterTm(registration) => { put_registration(registration, out); }
        Message::RegisterRm { registration, resource_ids } | Message::UnregisterRm { registration, resource_ids } => {
            put_registration(registration, out).text(resource_ids);
        }
        Message::RegisterTmResult(result) | Message::RegisterRmResult(result) => {
            match version {
                Version::V0 | Version::V1 => {}
                Version::V2 => { out.result(result.code, &result.message); }
            }
            put_identified(result, out);
        }
        // No result code here, not even in version 2.
        Message::UnregisterRmResult(result) => put_identified(result, out),
        Message::Merged { messages, ids } => put_content(version, messages, ids.as_deref(), out),
        Message::MergeResult { messages } => put_content(version, messages, None, out),
        Message::BatchResult { messages, ids } => put_content(version, messages, Some(ids), out),
    }
}

fn put_result<'w, 'b>(result: &ResultPart, out: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    out.result(result.code, &result.message).u8(result.exception.code())
}

fn put_registration<'w, 'b>(registration: &Registration, out: &'w mut Writer<'b>) -> &'w mut Writer<'b> {
    out.str("version", &registration.version)
        .str("application id", &registration.application_id)
        .str("service group", &registration.service_group)
        .str("extra data", &registration.extra_data)
}

fn put_identified(result: &RegistrationResult, out: &mut Writer<'_>) {
    out.u8(u8::from(result.identified)).str("version", &result.version);
}

/// Children and ids of a merged message, behind their length.
fn put_content(version: Version, messages: &[Message], ids: Option<&[i32]>, out: &mut Writer<'_>) {
    let count = messages.len();
    if count > MERGED_REQUESTS_MAX {
        return out.fail(EncodeError::TooManyChildren(count));
    }
    if let Some(ids) = ids.filter(|ids| ids.len() != count) {
        return out.fail(EncodeError::IdsDiffer { messages: count, ids: ids.len() });
    }
    let length = out.begin_content();
    out.i16(count as i16);
    for message in messages {
        if !message.may_be_merged() {
            return out.fail(EncodeError::NotMergeable(message.type_code()));
        }
        put_body(version, message, out);
    }
    for id in ids.unwrap_or_default() {
        out.i32(*id);
    }
    out.end_content(length);
}
