//! Bodies to messages.

use alloc::string::String;
use alloc::vec::Vec;

use super::MessageError;
use super::reader::Reader;
use crate::model::limits::MERGED_REQUESTS_MAX;
use crate::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, ResultCode};
use crate::wire::frame::Version;
use crate::wire::message::{Message, Registration, RegistrationResult, ResultPart, may_be_merged};

/// The smallest child of a merged message: type code, result code, exception code.
const CHILD_BYTES_MIN: usize = 4;

/// Reads the fields behind a type code.
pub fn decode_fields(version: Version, type_code: i16, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    match type_code {
        59 => merged(version, reader),
        60 => Ok(Message::MergeResult { messages: content(version, reader, Ids::Never)?.0 }),
        121 => {
            let (messages, ids) = content(version, reader, Ids::Always)?;
            Ok(Message::BatchResult { messages, ids: ids.unwrap_or_default() })
        }
        101..=106 => registration_message(version, type_code, reader),
        111 => Ok(Message::UndoLogDelete {
            branch_type: branch_type(reader)?,
            resource_id: reader.str()?,
            save_days: reader.i16()?,
        }),
        _ => transaction_message(type_code, reader),
    }
}

/// Types that may stand alone or inside a merged message.
fn transaction_message(type_code: i16, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    match type_code {
        1 | 7 | 9 | 15 | 17 => global_request(type_code, reader),
        11 | 13 | 21 | 3 | 5 => branch_request(type_code, reader),
        2 | 4 | 6 | 8 | 10 | 12 | 14 | 16 | 18 | 22 => answer(type_code, reader),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn global_request(type_code: i16, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    if type_code == 1 {
        return Ok(Message::GlobalBegin { timeout_ms: reader.i32()?, name: reader.str()? });
    }
    let (xid, extra_data) = (reader.str()?, reader.str()?);
    match type_code {
        7 => Ok(Message::GlobalCommit { xid, extra_data }),
        9 => Ok(Message::GlobalRollback { xid, extra_data }),
        15 => Ok(Message::GlobalStatus { xid, extra_data }),
        17 => Ok(Message::GlobalReport { xid, extra_data, status: reported_status(reader)? }),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn branch_request(type_code: i16, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    let xid = reader.str()?;
    match type_code {
        11 | 21 => {
            let branch_type = branch_type(reader)?;
            let resource_id = reader.str()?;
            let lock_keys = reader.text()?;
            let application_data = reader.text()?;
            Ok(if type_code == 11 {
                Message::BranchRegister { xid, branch_type, resource_id, lock_keys, application_data }
            } else {
                Message::LockQuery { xid, branch_type, resource_id, lock_keys, application_data }
            })
        }
        13 => Ok(Message::BranchReport {
            xid,
            branch_id: BranchId(reader.i64()?),
            status: branch_status(reader)?,
            resource_id: reader.str()?,
            application_data: reader.text()?,
            branch_type: branch_type(reader)?,
        }),
        3 | 5 => {
            let branch_id = BranchId(reader.i64()?);
            let branch_type = branch_type(reader)?;
            let resource_id = reader.str()?;
            let application_data = reader.text()?;
            Ok(if type_code == 3 {
                Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data }
            } else {
                Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data }
            })
        }
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn answer(type_code: i16, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    let (code, message) = result(reader)?;
    let exception = ExceptionCode::from_code(reader.u8()?).unwrap_or(ExceptionCode::Unknown);
    let result = ResultPart { code, message, exception };
    match type_code {
        2 => Ok(Message::GlobalBeginResult { result, xid: reader.str()?, extra_data: reader.str()? }),
        4 | 6 => {
            let (xid, branch_id, status) = (reader.str()?, BranchId(reader.i64()?), branch_status(reader)?);
            Ok(if type_code == 4 {
                Message::BranchCommitResult { result, xid, branch_id, status }
            } else {
                Message::BranchRollbackResult { result, xid, branch_id, status }
            })
        }
        8 => Ok(Message::GlobalCommitResult { result, status: global_status(reader)? }),
        10 => Ok(Message::GlobalRollbackResult { result, status: global_status(reader)? }),
        12 => Ok(Message::BranchRegisterResult { result, branch_id: BranchId(reader.i64()?) }),
        14 => Ok(Message::BranchReportResult { result }),
        16 => Ok(Message::GlobalStatusResult { result, status: global_status(reader)? }),
        18 => Ok(Message::GlobalReportResult { result, status: global_status(reader)? }),
        22 => Ok(Message::LockQueryResult { result, lockable: reader.i16()? == 1 }),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn registration_message(version: Version, type_code: i16, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    match type_code {
        101 => Ok(Message::RegisterTm(registration(reader)?)),
        102 => Ok(Message::RegisterTmResult(registration_result(version, reader)?)),
        103 => {
            let (registration, resource_ids) = (registration(reader)?, tail_text(reader)?);
            Ok(Message::RegisterRm { registration, resource_ids })
        }
        104 => Ok(Message::RegisterRmResult(registration_result(version, reader)?)),
        105 => {
            let (registration, resource_ids) = (registration(reader)?, tail_text(reader)?);
            Ok(Message::UnregisterRm { registration, resource_ids })
        }
        // No result code here, not even in version 2.
        106 => Ok(Message::UnregisterRmResult(registration_result(Version::V1, reader)?)),
        _ => Err(MessageError::UnknownType(type_code)),
    }
}

fn registration(reader: &mut Reader<'_>) -> Result<Registration, MessageError> {
    Ok(Registration {
        version: tail_str(reader)?,
        application_id: tail_str(reader)?,
        service_group: tail_str(reader)?,
        extra_data: tail_str(reader)?,
    })
}

fn registration_result(version: Version, reader: &mut Reader<'_>) -> Result<RegistrationResult, MessageError> {
    let leading = match version {
        Version::V0 | Version::V1 => None,
        Version::V2 => Some(result(reader)?),
    };
    let identified = reader.u8()? == 1;
    let (code, message) =
        leading.unwrap_or_else(|| (if identified { ResultCode::Success } else { ResultCode::Failed }, String::new()));
    Ok(RegistrationResult { code, message, identified, version: reader.str()? })
}

/// A `str` of a registration: once the body ends early, it and all that follow are empty.
fn tail_str(reader: &mut Reader<'_>) -> Result<String, MessageError> {
    let text = reader.str();
    tail(reader, text)
}

/// As [`tail_str`] with a `text`.
fn tail_text(reader: &mut Reader<'_>) -> Result<String, MessageError> {
    let text = reader.text();
    tail(reader, text)
}

fn tail(reader: &mut Reader<'_>, text: Result<String, MessageError>) -> Result<String, MessageError> {
    match text {
        Err(MessageError::Short { .. }) if reader.ends() => {
            reader.take(reader.left())?;
            Ok(String::new())
        }
        text => text,
    }
}

fn merged(version: Version, reader: &mut Reader<'_>) -> Result<Message, MessageError> {
    let (messages, ids) = content(version, reader, Ids::IfBytesRemain)?;
    Ok(Message::Merged { messages, ids })
}

/// Whether ids follow the children.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    Never,
    Always,
    IfBytesRemain,
}

type Content = (Vec<Message>, Option<Vec<i32>>);

/// The content of a merged message, which has a length of its own: nothing in it is read before all of it is there.
fn content(version: Version, reader: &mut Reader<'_>, ids: Ids) -> Result<Content, MessageError> {
    let length = reader.i32()?;
    let bytes = usize::try_from(length).map_err(|_| MessageError::ContentLength(length))?;
    let mut inner = Reader::new(reader.take(bytes)?);
    children(version, &mut inner, ids).map_err(|error| match error {
        MessageError::Short { .. } => MessageError::ContentShort,
        MessageError::ContentShort
        | MessageError::UnknownType(_)
        | MessageError::UnknownValue { .. }
        | MessageError::NotMergeable(_)
        | MessageError::TooManyChildren(_)
        | MessageError::ContentLength(_)
        | MessageError::UnknownName
        | MessageError::Protobuf(_)
        | MessageError::Packed(_)
        | MessageError::Serializer(_) => error,
    })
}

fn children(_version: Version, reader: &mut Reader<'_>, ids: Ids) -> Result<Content, MessageError> {
    let announced = reader.i16()?;
    // A negative count is none, as in Java's loop.
    let count = usize::try_from(announced).unwrap_or(0);
    if count > MERGED_REQUESTS_MAX {
        return Err(MessageError::TooManyChildren(announced));
    }
    let mut messages = Vec::with_capacity(count.min(reader.left() / CHILD_BYTES_MIN));
    for _ in 0..count {
        let type_code = reader.i16()?;
        if Message::type_name(type_code).is_some() && !may_be_merged(type_code) {
            return Err(MessageError::NotMergeable(type_code));
        }
        messages.push(transaction_message(type_code, reader)?);
    }
    let wanted = match ids {
        Ids::Never => false,
        Ids::Always => true,
        Ids::IfBytesRemain => !reader.is_empty(),
    };
    if !wanted {
        return Ok((messages, None));
    }
    let mut numbers = Vec::with_capacity(count.min(reader.left() / size_of::<i32>()));
    for _ in 0..count {
        numbers.push(reader.i32()?);
    }
    Ok((messages, Some(numbers)))
}

fn result(reader: &mut Reader<'_>) -> Result<(ResultCode, String), MessageError> {
    let value = reader.u8()?;
    match ResultCode::from_code(value) {
        Some(ResultCode::Success) => Ok((ResultCode::Success, String::new())),
        Some(ResultCode::Failed) => Ok((ResultCode::Failed, reader.str()?)),
        None => Err(MessageError::UnknownValue { field: "result code", value: value.into() }),
    }
}

fn branch_type(reader: &mut Reader<'_>) -> Result<BranchType, MessageError> {
    let value = reader.u8()?;
    BranchType::from_code(value).ok_or(MessageError::UnknownValue { field: "branch type", value: value.into() })
}

fn branch_status(reader: &mut Reader<'_>) -> Result<BranchStatus, MessageError> {
    let value = reader.u8()?;
    BranchStatus::from_code(value).ok_or(MessageError::UnknownValue { field: "branch status", value: value.into() })
}

fn global_status(reader: &mut Reader<'_>) -> Result<GlobalStatus, MessageError> {
    let value = reader.u8()?;
    GlobalStatus::from_code(value).ok_or(MessageError::UnknownValue { field: "global status", value: value.into() })
}

/// A negative number is a missing status.
fn reported_status(reader: &mut Reader<'_>) -> Result<Option<GlobalStatus>, MessageError> {
    match reader.u8()? {
        128.. => Ok(None),
        value => match GlobalStatus::from_code(value) {
            Some(status) => Ok(Some(status)),
            None => Err(MessageError::UnknownValue { field: "global status", value: value.into() }),
        },
    }
}
