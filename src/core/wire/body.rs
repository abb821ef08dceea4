//! A body in whichever serializer its head names.
//!
//! Two numbers in a head mean different bytes in different releases of Seata. Which of them a peer means shows when its
//! first body is read; the head remembers it as its [`Dialect`], so that an answer is written as the request was.
//!
//! Deliberately not here: compression. A compressed body is unpacked first, in the package `quorate-compressor`.

use bytes::BytesMut;

use super::frame::{EncodeError, Head};
use super::message::Message;
use super::{MessageError, protobuf, seata};

/// What the numbers of a head leave open.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Dialect {
    /// The names of protobuf messages.
    pub package: protobuf::Package,
    /// The bytes of compressor 5.
    pub lz4: Lz4,
}

/// What compressor 5 is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Lz4 {
    /// The standard frame format, from Seata 2.6 on.
    #[default]
    Frame,
    /// The container `LZ4Block` of lz4-java, before 2.6.
    Blocks,
}

/// Whether bodies of this serializer are read and written here.
pub const fn is_spoken(serializer: u8) -> bool {
    matches!(serializer, seata::SERIALIZER | protobuf::SERIALIZER)
}

/// Reads a body of version 1 or 2 that is not compressed, and notes in the head what it learns of the dialect.
pub fn decode_body(head: &mut Head, body: &[u8]) -> Result<Message, MessageError> {
    match head.serializer {
        seata::SERIALIZER => seata::decode_body(head.version, body),
        protobuf::SERIALIZER => {
            let (package, message) = protobuf::decode_body(body)?;
            head.dialect.package = package;
            Ok(message)
        }
        serializer => Err(MessageError::Serializer(serializer)),
    }
}

/// Appends a body of version 1 or 2, not compressed. After an error, what was appended before it is still there and
/// means nothing.
pub fn encode_body(head: &Head, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
    match head.serializer {
        seata::SERIALIZER => seata::encode_body(head.version, message, out),
        protobuf::SERIALIZER => protobuf::encode_body(head.dialect.package, message, out),
        serializer => Err(EncodeError::NotPlain { serializer, compressor: head.compressor }),
    }
}
