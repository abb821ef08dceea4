//! The protobuf serializer (code 2): bodies to messages and back (protocol, section 4).
//!
//! A body is the message's full name behind a 32-bit length, then the message. The names moved to another package in
//! Seata 2.1 and a client knows only its own: both are read, and an answer has the [`Package`] of the request.
//!
//! Not generated: thirty messages that share seven parts are shorter by hand, and nothing is built from files of others.
//! What protobuf cannot say is mapped: its enums lack the newer values and number the exception codes in their own way
//! (`ExceptionCode` below). Fields that we do not know are passed over, a field that comes twice counts as it came last.

mod read;
mod reader;
#[cfg(test)]
mod tests;
mod write;
mod writer;

use bytes::{BufMut, BytesMut};

use super::MessageError;
use super::frame::EncodeError;
use super::message::Message;
use super::seata::reader::Reader;
use crate::model::ExceptionCode;
use reader::{FIELDS_MAX, FIELDS_OF_MERGED_MAX, Fields};
use writer::Writer;

/// Its number in a head.
pub const SERIALIZER: u8 = 2;

/// Where the messages' names live.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Package {
    /// From Seata 2.1 on.
    #[default]
    Apache,
    /// Before 2.1.
    Io,
}

impl Package {
    const ALL: [Package; 2] = [Package::Apache, Package::Io];

    const fn prefix(self) -> &'static str {
        match self {
            Package::Apache => "org.apache.seata.protocol.protobuf.",
            Package::Io => "io.seata.protocol.protobuf.",
        }
    }
}

/// Type codes and names.
const NAMES: [(i16, &str); 30] = [
    (1, "GlobalBeginRequestProto"),
    (2, "GlobalBeginResponseProto"),
    (3, "BranchCommitRequestProto"),
    (4, "BranchCommitResponseProto"),
    (5, "BranchRollbackRequestProto"),
    (6, "BranchRollbackResponseProto"),
    (7, "GlobalCommitRequestProto"),
    (8, "GlobalCommitResponseProto"),
    (9, "GlobalRollbackRequestProto"),
    (10, "GlobalRollbackResponseProto"),
    (11, "BranchRegisterRequestProto"),
    (12, "BranchRegisterResponseProto"),
    (13, "BranchReportRequestProto"),
    (14, "BranchReportResponseProto"),
    (15, "GlobalStatusRequestProto"),
    (16, "GlobalStatusResponseProto"),
    (17, "GlobalReportRequestProto"),
    (18, "GlobalReportResponseProto"),
    (21, "GlobalLockQueryRequestProto"),
    (22, "GlobalLockQueryResponseProto"),
    (59, "MergedWarpMessageProto"),
    (60, "MergedResultMessageProto"),
    (101, "RegisterTMRequestProto"),
    (102, "RegisterTMResponseProto"),
    (103, "RegisterRMRequestProto"),
    (104, "RegisterRMResponseProto"),
    (105, "UnregisterRMRequestProto"),
    (106, "UnregisterRMResponseProto"),
    (111, "UndoLogDeleteRequestProto"),
    (121, "BatchResultMessageProto"),
];

/// Exception codes by their number in protobuf. The place of the fifteenth is a name that Java's enum changed in 2.3;
/// newer codes have none.
const EXCEPTIONS: [ExceptionCode; 18] = [
    ExceptionCode::Unknown,
    ExceptionCode::LockKeyConflict,
    ExceptionCode::IO,
    ExceptionCode::BranchRollbackFailed_Retriable,
    ExceptionCode::BranchRollbackFailed_Unretriable,
    ExceptionCode::BranchRegisterFailed,
    ExceptionCode::BranchReportFailed,
    ExceptionCode::LockableCheckFailed,
    ExceptionCode::BranchTransactionNotExist,
    ExceptionCode::GlobalTransactionNotExist,
    ExceptionCode::GlobalTransactionNotActive,
    ExceptionCode::GlobalTransactionStatusInvalid,
    ExceptionCode::FailedToSendBranchCommitRequest,
    ExceptionCode::FailedToSendBranchRollbackRequest,
    ExceptionCode::FailedToAddBranch,
    ExceptionCode::FailedLockGlobalTransaction,
    ExceptionCode::FailedWriteSession,
    ExceptionCode::FailedStore,
];

/// Reads a body.
pub fn decode_body(body: &[u8]) -> Result<(Package, Message), MessageError> {
    let mut reader = Reader::new(body);
    let name_bytes = usize::try_from(reader.i32()?).map_err(|_| MessageError::UnknownName)?;
    let (package, type_code) = read_name(reader.take(name_bytes)?)?;
    let fields_max = match type_code {
        59 | 60 | 121 => FIELDS_OF_MERGED_MAX,
        _ => FIELDS_MAX,
    };
    let fields = Fields::new(reader.take(reader.left())?, fields_max)?;
    Ok((package, read::message(type_code, fields)?))
}

/// Appends a body. After an error, what was appended before it is still there and means nothing.
pub fn encode_body(package: Package, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
    let (prefix, name) = (package.prefix(), name(message));
    out.put_u32((prefix.len() + name.len()) as u32);
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(name.as_bytes());
    let mut writer = Writer::new(out);
    write::message(package, message, &mut writer);
    writer.finish()
}

fn read_name(name: &[u8]) -> Result<(Package, i16), MessageError> {
    let of_package = |package: Package| Some((package, name.strip_prefix(package.prefix().as_bytes())?));
    let found = Package::ALL.into_iter().find_map(of_package).and_then(|(package, short)| {
        let (type_code, _) = NAMES.iter().find(|(_, name)| name.as_bytes() == short)?;
        Some((package, *type_code))
    });
    found.ok_or(MessageError::UnknownName)
}

fn name(message: &Message) -> &'static str {
    let type_code = message.type_code();
    NAMES.iter().find(|(of, _)| *of == type_code).map_or("", |(_, name)| name)
}
