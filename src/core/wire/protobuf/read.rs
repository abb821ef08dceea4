//! Bodies to messages. Field numbers as in protocol 4.2.

use alloc::string::String;
use alloc::vec::Vec;

use super::reader::{FIELDS_MAX, Fields};
use super::{EXCEPTIONS, read_name};
use crate::model::limits::MERGED_REQUESTS_MAX;
use crate::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, ResultCode};
use crate::wire::MessageError;
use crate::wire::message::{Message, Registration, RegistrationResult, ResultPart, may_be_merged};

/// Reads the message of a type.
pub fn message(type_code: i16, fields: Fields<'_>) -> Result<Message, MessageError> {
    match type_code {
        59 => {
            let (messages, ids) = (children(fields)?, ids(fields)?);
            let ids = (!ids.is_empty()).then_some(ids);
            match &ids {
                Some(ids) if ids.len() != messages.len() => Err(NOT_AS_MANY),
                Some(_) | None => Ok(Message::Merged { messages, ids }),
            }
        }
        60 => Ok(Message::MergeResult { messages: children(fields)? }),
        121 => {
            let (messages, ids) = (children(fields)?, ids(fields)?);
            if ids.len() != messages.len() {
                return Err(NOT_AS_MANY);
            }
            Ok(Message::BatchResult { messages, ids })
        }
        101..=106 => registration_message(type_code, fields),
        111 => Ok(Message::UndoLogDelete {
            branch_type: branch_type(fields, 4)?,
            resource_id: fields.string(2)?,
            save_days: i16::try_from(fields.i32(3)).map_err(|_| MessageError::Protobuf("days beyond 16 bits"))?,
        }),
        _ => transaction_message(type_code, fields),
    }
}

const NOT_AS_MANY: MessageError = MessageError::Protobuf("not as many ids as messages");

/// Types that may stand alone or inside a merged message.
fn transaction_message(type_code: i16, fields: Fields<'_>) -> Result<Message, MessageError> {
    match type_code {
        1 => Ok(Message::GlobalBegin { timeout_ms: fields.i32(2), name: fields.string(3)? }),
        7 | 9 | 15 | 17 => global_request(type_code, fields),
        3 | 5 => branch_end_request(type_code, fields.message(1)?),
        11 => branch_register(fields, false),
        21 => branch_register(fields.message(1)?, true),
        13 => Ok(Message::BranchReport {
            xid: fields.string(2)?,
            branch_id: BranchId(fields.i64(3)),
            status: branch_status(fields, 5)?,
            resource_id: fields.string(4)?,
            application_data: fields.string(6)?,
            branch_type: branch_type(fields, 7)?,
        }),
        2 | 12 | 14 | 22 => answer(type_code, fields),
        4 | 6 => branch_end_answer(type_code, fields.message(1)?),
        8 | 10 | 16 | 18 => global_end_answer(type_code, fields.message(1)?),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn global_request(type_code: i16, fields: Fields<'_>) -> Result<Message, MessageError> {
    let end = fields.message(1)?;
    let (xid, extra_data) = (end.string(2)?, end.string(3)?);
    match type_code {
        7 => Ok(Message::GlobalCommit { xid, extra_data }),
        9 => Ok(Message::GlobalRollback { xid, extra_data }),
        15 => Ok(Message::GlobalStatus { xid, extra_data }),
        17 => Ok(Message::GlobalReport { xid, extra_data, status: Some(global_status(fields, 2)?) }),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn branch_register(fields: Fields<'_>, is_query: bool) -> Result<Message, MessageError> {
    let xid = fields.string(2)?;
    let branch_type = branch_type(fields, 3)?;
    let resource_id = fields.string(4)?;
    let lock_keys = fields.string(5)?;
    let application_data = fields.string(6)?;
    Ok(if is_query {
        Message::LockQuery { xid, branch_type, resource_id, lock_keys, application_data }
    } else {
        Message::BranchRegister { xid, branch_type, resource_id, lock_keys, application_data }
    })
}

fn branch_end_request(type_code: i16, end: Fields<'_>) -> Result<Message, MessageError> {
    let xid = end.string(2)?;
    let branch_id = BranchId(end.i64(3));
    let branch_type = branch_type(end, 4)?;
    let resource_id = end.string(5)?;
    let application_data = end.string(6)?;
    Ok(if type_code == 3 {
        Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data }
    } else {
        Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data }
    })
}

fn answer(type_code: i16, fields: Fields<'_>) -> Result<Message, MessageError> {
    let result = result_part(fields.message(1)?)?;
    match type_code {
        2 => Ok(Message::GlobalBeginResult { result, xid: fields.string(2)?, extra_data: fields.string(3)? }),
        12 => Ok(Message::BranchRegisterResult { result, branch_id: BranchId(fields.i64(2)) }),
        14 => Ok(Message::BranchReportResult { result }),
        22 => Ok(Message::LockQueryResult { result, lockable: fields.number(2) != 0 }),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn branch_end_answer(type_code: i16, end: Fields<'_>) -> Result<Message, MessageError> {
    let result = result_part(end.message(1)?)?;
    let (xid, branch_id, status) = (end.string(2)?, BranchId(end.i64(3)), branch_status(end, 4)?);
    Ok(if type_code == 4 {
        Message::BranchCommitResult { result, xid, branch_id, status }
    } else {
        Message::BranchRollbackResult { result, xid, branch_id, status }
    })
}

fn global_end_answer(type_code: i16, end: Fields<'_>) -> Result<Message, MessageError> {
    let (result, status) = (result_part(end.message(1)?)?, global_status(end, 2)?);
    match type_code {
        8 => Ok(Message::GlobalCommitResult { result, status }),
        10 => Ok(Message::GlobalRollbackResult { result, status }),
        16 => Ok(Message::GlobalStatusResult { result, status }),
        18 => Ok(Message::GlobalReportResult { result, status }),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn registration_message(type_code: i16, fields: Fields<'_>) -> Result<Message, MessageError> {
    let identify = fields.message(1)?;
    match type_code {
        101 => Ok(Message::RegisterTm(registration(identify)?)),
        102 => Ok(Message::RegisterTmResult(registration_result(identify)?)),
        103 => Ok(Message::RegisterRm { registration: registration(identify)?, resource_ids: fields.string(2)? }),
        104 => Ok(Message::RegisterRmResult(registration_result(identify)?)),
        105 => Ok(Message::UnregisterRm { registration: registration(identify)?, resource_ids: fields.string(2)? }),
        106 => Ok(Message::UnregisterRmResult(registration_result(identify)?)),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn registration(identify: Fields<'_>) -> Result<Registration, MessageError> {
    Ok(Registration {
        version: identify.string(2)?,
        application_id: identify.string(3)?,
        service_group: identify.string(4)?,
        extra_data: identify.string(5)?,
    })
}

fn registration_result(identify: Fields<'_>) -> Result<RegistrationResult, MessageError> {
    let (code, message) = result(identify.message(1)?)?;
    Ok(RegistrationResult { code, message, identified: identify.number(4) != 0, version: identify.string(2)? })
}

/// The messages inside a merged one.
fn children(fields: Fields<'_>) -> Result<Vec<Message>, MessageError> {
    let mut messages = Vec::new();
    for any in fields.bytes(2) {
        if messages.len() == MERGED_REQUESTS_MAX {
            return Err(MessageError::TooManyChildren(i16::MAX));
        }
        let any = Fields::new(any, FIELDS_MAX)?;
        let address = any.bytes(1).last().unwrap_or_default();
        // `type.googleapis.com/` or whatever stands in front of the name.
        let name = address.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let (_, type_code) = read_name(name)?;
        if !may_be_merged(type_code) {
            return Err(MessageError::NotMergeable(type_code));
        }
        messages.push(transaction_message(type_code, any.message(2)?)?);
    }
    Ok(messages)
}

fn ids(fields: Fields<'_>) -> Result<Vec<i32>, MessageError> {
    let mut ids = Vec::new();
    fields.each_i32(3, |id| {
        if ids.len() == MERGED_REQUESTS_MAX {
            return Err(MessageError::TooManyChildren(i16::MAX));
        }
        ids.push(id);
        Ok(())
    })?;
    Ok(ids)
}

fn result_part(response: Fields<'_>) -> Result<ResultPart, MessageError> {
    let (code, message) = result(response.message(1)?)?;
    let number = usize::try_from(response.number(2)).unwrap_or(usize::MAX);
    let exception = EXCEPTIONS.get(number).copied().unwrap_or(ExceptionCode::Unknown);
    Ok(ResultPart { code, message, exception })
}

fn result(result: Fields<'_>) -> Result<(ResultCode, String), MessageError> {
    match value(result, 2, "result code", ResultCode::from_code)? {
        ResultCode::Success => Ok((ResultCode::Success, String::new())),
        ResultCode::Failed => Ok((ResultCode::Failed, result.string(3)?)),
    }
}

/// Protobuf's enum ends at SAGA. What stands behind it elsewhere is refused, for nobody could be told of such a branch.
fn branch_type(fields: Fields<'_>, field: u64) -> Result<BranchType, MessageError> {
    value(fields, field, "branch type", |code| match BranchType::from_code(code)? {
        known @ (BranchType::AT | BranchType::TCC | BranchType::SAGA) => Some(known),
        BranchType::XA | BranchType::SAGA_ANNOTATION => None,
    })
}

fn branch_status(fields: Fields<'_>, field: u64) -> Result<BranchStatus, MessageError> {
    value(fields, field, "branch status", BranchStatus::from_code)
}

fn global_status(fields: Fields<'_>, field: u64) -> Result<GlobalStatus, MessageError> {
    value(fields, field, "global status", GlobalStatus::from_code)
}

fn value<T>(
    fields: Fields<'_>,
    number: u64,
    field: &'static str,
    of_code: impl FnOnce(u8) -> Option<T>,
) -> Result<T, MessageError> {
    let value = fields.i64(number);
    u8::try_from(value).ok().and_then(of_code).ok_or(MessageError::UnknownValue { field, value })
}
