//! The Seata serializer (code 1): bodies to messages and back (protocol, section 2).
//!
//! Big-endian numbers, strings behind a 16-bit length (`str`) or a 32-bit one (`text`), no field count, no end marker.
//! What real peers count on: a length of zero or less is an empty string; bytes that are no UTF-8 become U+FFFD, as in
//! Java; bytes after the last field are ignored; registrations may end early.

mod read;
pub(super) mod reader;
mod write;
mod writer;

pub(super) use read::decode_fields;
pub use write::encode_body;
pub(super) use write::encode_fields;

use crate::model::limits::MERGED_REQUESTS_MAX;

use super::frame::Version;
use super::message::Message;

/// Its number in a head.
pub const SERIALIZER: u8 = 1;
/// The longest `str`; the length is a signed 16-bit number.
pub const STR_BYTES_MAX: usize = i16::MAX as usize;

/// A body that makes no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MessageError {
    /// The body ends too early.
    #[error("the body ends too early, it needs at least {bytes_needed} bytes")]
    Short {
        /// Counted from the begin of what is read, not more than the next field needs.
        bytes_needed: usize,
    },
    /// A merged message's content ends inside one of its children or ids.
    #[error("the content of a merged message ends too early")]
    ContentShort,
    /// No message has this type code.
    #[error("unknown type code {0}")]
    UnknownType(i16),
    /// An enum has no such value.
    #[error("{field} cannot be {value}")]
    UnknownValue {
        /// Its name.
        field: &'static str,
        /// Its number on the wire.
        value: i64,
    },
    /// A merged message or a registration inside a merged one.
    #[error("a message of type {0} cannot be inside another")]
    NotMergeable(i16),
    /// More children than allowed.
    #[error("{0} messages in one, at most {MERGED_REQUESTS_MAX} are allowed")]
    TooManyChildren(i16),
    /// The length of a merged message's content is negative.
    #[error("a content of {0} bytes")]
    ContentLength(i32),
    /// A protobuf message whose name nobody knows.
    #[error("a protobuf message with an unknown name")]
    UnknownName,
    /// Not protobuf, or not as Seata uses it.
    #[error("protobuf: {0}")]
    Protobuf(&'static str),
    /// A compressed body that cannot be unpacked.
    #[error("compressed: {0}")]
    Packed(&'static str),
    /// The serializer is not spoken here.
    #[error("serializer {0} is not spoken here")]
    Serializer(u8),
}

/// Reads a body of version 1 or 2, or of version 0 with its type code put in front.
pub fn decode_body(version: Version, body: &[u8]) -> Result<Message, MessageError> {
    let mut reader = reader::Reader::new(body);
    let type_code = reader.i16()?;
    decode_fields(version, type_code, &mut reader)
}
