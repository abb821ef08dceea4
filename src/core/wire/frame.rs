//! One frame: its head, and writing it (protocol, sections 1.2 to 1.4 and 1.9).
//!
//! Versions 1 and 2 share a head of 16 bytes with lengths, a head map and a body behind it. Version 0 has 14 bytes and
//! the body's type in the head. A frame is always appended whole, so that whoever holds the buffer can send it with one
//! write; seata-go drops connections over a head cut in two.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, BytesMut};

use super::body::{self, Dialect, Lz4};
use super::message::Message;
use super::protobuf::Package;
use super::seata::{self, SERIALIZER};
use crate::model::limits::{FRAME_BYTES_MAX, MERGED_REQUESTS_MAX};

/// The first two bytes of every frame.
pub const MAGIC: [u8; 2] = [0xda, 0xda];
/// Bytes of the head in versions 1 and 2, without the head map.
pub const HEAD_BYTES: usize = 16;
/// Bytes of the head in version 0.
pub const HEAD_V0_BYTES: usize = 14;
/// What a version 0 body counts as that is not in the Seata serializer.
pub const SERIALIZER_HESSIAN: u8 = 22;

const _: () = assert!(FRAME_BYTES_MAX <= i32::MAX as usize);

/// Flags of a version 0 head.
pub(super) mod flag {
    pub const REQUEST: u16 = 0x80;
    pub const ASYNC: u16 = 0x40;
    pub const HEARTBEAT: u16 = 0x20;
    pub const SEATA: u16 = 0x10;
}

/// The protocol version of a connection, fixed by its first frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// Java clients up to 0.6.
    V0,
    /// Everybody else up to 2.6.
    V1,
    /// Java clients from 2.7: two bodies differ.
    V2,
}

impl Version {
    /// Reads the third byte of a connection. Above 2 counts as 2, as in Seata 2.7.
    pub const fn of_byte(byte: u8) -> Version {
        match byte {
            0 => Version::V0,
            1 => Version::V1,
            _ => Version::V2,
        }
    }

    /// The version byte.
    pub const fn byte(self) -> u8 {
        match self {
            Version::V0 => 0,
            Version::V1 => 1,
            Version::V2 => 2,
        }
    }
}

/// The message type byte. Requests, answers and one-way frames are told apart by their bodies, never by this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MessageKind {
    /// 0: an answer is expected.
    Request,
    /// 1: an answer.
    Response,
    /// 2: "one-way", yet merged requests and registrations that come so are answered.
    OneWay,
    /// 3: heartbeat of a client.
    Ping,
    /// 4: its answer.
    Pong,
    /// Anything else. Seata serves such frames by their body.
    Other(u8),
}

impl MessageKind {
    /// Reads the message type byte.
    pub const fn of_byte(byte: u8) -> MessageKind {
        match byte {
            0 => MessageKind::Request,
            1 => MessageKind::Response,
            2 => MessageKind::OneWay,
            3 => MessageKind::Ping,
            4 => MessageKind::Pong,
            other => MessageKind::Other(other),
        }
    }

    /// The message type byte.
    pub const fn byte(self) -> u8 {
        match self {
            MessageKind::Request => 0,
            MessageKind::Response => 1,
            MessageKind::OneWay => 2,
            MessageKind::Ping => 3,
            MessageKind::Pong => 4,
            MessageKind::Other(byte) => byte,
        }
    }

    /// Whether a frame of this kind has no body.
    pub const fn is_heartbeat(self) -> bool {
        matches!(self, MessageKind::Ping | MessageKind::Pong)
    }
}

/// Everything in front of a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// As decided by the connection's first frame.
    pub version: Version,
    /// The message type byte, or what the flags of version 0 say.
    pub kind: MessageKind,
    /// Serializer of the body: [`seata::SERIALIZER`], [`super::protobuf::SERIALIZER`], or a stranger's.
    pub serializer: u8,
    /// Compressor of the body; 0 = none. Always 0 in version 0.
    pub compressor: u8,
    /// What these two numbers leave open. Not on the wire: read from a body.
    pub dialect: Dialect,
    /// Chosen by the asker. Version 0 has 64 bits for it, of which the low 32 are kept, as Seata does.
    pub request_id: i32,
    /// Pairs of the head map, in their order; a null value is `None`. Empty in version 0.
    pub head_map: Vec<(String, Option<String>)>,
}

impl Head {
    /// A head for a body of the Seata serializer, not compressed.
    pub const fn new(version: Version, kind: MessageKind, request_id: i32) -> Head {
        let dialect = Dialect { package: Package::Apache, lz4: Lz4::Frame };
        Head { version, kind, serializer: SERIALIZER, compressor: 0, dialect, request_id, head_map: Vec::new() }
    }

    /// The head of the answer: same version, serializer, compressor and id, no head map. The answer to any heartbeat
    /// is a pong.
    pub const fn answer(&self) -> Head {
        let kind = if self.kind.is_heartbeat() { MessageKind::Pong } else { MessageKind::Response };
        self.alike(kind, self.request_id)
    }

    /// The head of a frame that is to be read by whoever wrote this one: same version, serializer and compressor.
    pub const fn alike(&self, kind: MessageKind, request_id: i32) -> Head {
        let Head { version, serializer, compressor, dialect, .. } = *self;
        Head { version, kind, serializer, compressor, dialect, request_id, head_map: Vec::new() }
    }

    /// The value of a key of the head map; a null value is none.
    pub fn head_value(&self, key: &str) -> Option<&str> {
        self.head_map.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_deref())
    }

    /// Whether the body is of a serializer that is spoken here, and not compressed.
    pub const fn is_plain(&self) -> bool {
        self.compressor == 0 && body::is_spoken(self.serializer)
    }
}

/// A value that has no bytes. Nothing was appended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// A string behind a 16-bit length.
    #[error("{field} has {bytes} bytes, the protocol carries at most 32767")]
    StringTooLong {
        /// Its name in the message.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The whole frame.
    #[error("a frame of {0} bytes, at most {FRAME_BYTES_MAX} are allowed")]
    FrameTooLong(usize),
    /// Head length is a signed 16-bit number.
    #[error("the head map needs {0} bytes, with the head at most 32767 are possible")]
    HeadMapTooLong(usize),
    /// Children of a merged message.
    #[error("{0} messages in one, at most {MERGED_REQUESTS_MAX} are allowed")]
    TooManyChildren(usize),
    /// Children and their ids must be equally many.
    #[error("{messages} messages in one, but {ids} ids")]
    IdsDiffer {
        /// How many children.
        messages: usize,
        /// How many ids.
        ids: usize,
    },
    /// A merged message or a registration inside a merged one.
    #[error("a message of type {0} cannot be inside another")]
    NotMergeable(i16),
    /// The head says a foreign serializer or a compressor: pack the body and use [`encode_opaque`].
    #[error("the head asks for serializer {serializer} and compressor {compressor}")]
    NotPlain {
        /// As in the head.
        serializer: u8,
        /// As in the head.
        compressor: u8,
    },
    /// Protobuf has no number for it, so that a Java client could not read the message.
    #[error("protobuf has no {field} {value}")]
    NotInProtobuf {
        /// Its name in the message.
        field: &'static str,
        /// The name of its value.
        value: &'static str,
    },
    /// A heartbeat with a body, or a body-less frame that is no heartbeat.
    #[error("a frame of kind {0:?} does not fit")]
    Kind(MessageKind),
    /// In version 0: a head map, a compressor, protobuf, a packed body that claims the Seata serializer, or more than 32,767 bytes
    /// of another one.
    #[error("version 0 cannot carry this")]
    Version0,
}

/// Appends one frame with a message, or nothing.
pub fn encode_frame(head: &Head, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
    if !head.is_plain() {
        return Err(EncodeError::NotPlain { serializer: head.serializer, compressor: head.compressor });
    }
    if head.kind.is_heartbeat() {
        return Err(EncodeError::Kind(head.kind));
    }
    whole_or_nothing(head.version, out, |out| match head.version {
        Version::V0 if head.serializer != SERIALIZER => Err(EncodeError::Version0),
        Version::V0 => {
            put_head_v0(head, message.type_code() as u16, out)?;
            seata::encode_fields(head.version, message, out)
        }
        Version::V1 | Version::V2 => {
            put_head(head, out)?;
            body::encode_body(head, message, out)
        }
    })
}

/// Appends a ping or a pong, as the head's kind says.
pub fn encode_heartbeat(head: &Head, out: &mut BytesMut) -> Result<(), EncodeError> {
    if !head.kind.is_heartbeat() {
        return Err(EncodeError::Kind(head.kind));
    }
    whole_or_nothing(head.version, out, |out| match head.version {
        Version::V0 => put_head_v0(head, 0, out),
        Version::V1 | Version::V2 => put_head(head, out),
    })
}

/// Appends one frame with a body that is ready: of another serializer, or compressed.
pub fn encode_opaque(head: &Head, body: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    if head.kind.is_heartbeat() {
        return Err(EncodeError::Kind(head.kind));
    }
    whole_or_nothing(head.version, out, |out| {
        match head.version {
            Version::V0 if head.serializer == SERIALIZER => return Err(EncodeError::Version0),
            Version::V0 => {
                let bytes = i16::try_from(body.len()).map_err(|_| EncodeError::Version0)?;
                put_head_v0(head, bytes as u16, out)?;
            }
            Version::V1 | Version::V2 => put_head(head, out)?,
        }
        if body.len() > FRAME_BYTES_MAX {
            return Err(EncodeError::FrameTooLong(body.len()));
        }
        out.extend_from_slice(body);
        Ok(())
    })
}

/// Runs `write`, fills in the full length where there is one, and takes everything back if it fails.
fn whole_or_nothing(
    version: Version,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = write(out).and_then(|()| match out.len() - start {
        bytes if bytes > FRAME_BYTES_MAX => Err(EncodeError::FrameTooLong(bytes)),
        bytes => Ok(bytes),
    });
    match result {
        Ok(bytes) => {
            match version {
                Version::V0 => {}
                Version::V1 | Version::V2 => patch(out, start + 3, &(bytes as u32).to_be_bytes()),
            }
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Head of versions 1 and 2 with the head map; the full length is filled in later.
fn put_head(head: &Head, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = out.len();
    out.reserve(HEAD_BYTES);
    out.extend_from_slice(&MAGIC);
    out.put_u8(head.version.byte());
    out.put_u32(0);
    out.put_u16(HEAD_BYTES as u16);
    out.put_u8(head.kind.byte());
    out.put_u8(head.serializer);
    out.put_u8(head.compressor);
    out.put_i32(head.request_id);
    if head.head_map.is_empty() {
        return Ok(());
    }
    for (key, value) in &head.head_map {
        put_head_string(Some(key), out)?;
        put_head_string(value.as_deref(), out)?;
    }
    let bytes = out.len() - start;
    let length = i16::try_from(bytes).map_err(|_| EncodeError::HeadMapTooLong(bytes))?;
    patch(out, start + 7, &length.to_be_bytes());
    Ok(())
}

/// Writes over bytes that were appended before.
pub(super) fn patch(out: &mut BytesMut, at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put_head_string(value: Option<&str>, out: &mut BytesMut) -> Result<(), EncodeError> {
    let Some(value) = value else {
        out.put_i16(-1);
        return Ok(());
    };
    let length = i16::try_from(value.len()).map_err(|_| EncodeError::HeadMapTooLong(value.len()))?;
    out.put_i16(length);
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

/// Head of version 0. `field` is the type code, or the body's length if the body is foreign.
fn put_head_v0(head: &Head, field: u16, out: &mut BytesMut) -> Result<(), EncodeError> {
    if !head.head_map.is_empty() || head.compressor != 0 {
        return Err(EncodeError::Version0);
    }
    let mut flags = match head.kind {
        MessageKind::Request | MessageKind::Other(_) => flag::REQUEST,
        MessageKind::OneWay => flag::REQUEST | flag::ASYNC,
        MessageKind::Response => 0,
        MessageKind::Ping => flag::REQUEST | flag::ASYNC | flag::HEARTBEAT,
        MessageKind::Pong => flag::HEARTBEAT,
    };
    if head.serializer == SERIALIZER {
        flags |= flag::SEATA;
    }
    out.reserve(HEAD_V0_BYTES);
    out.extend_from_slice(&MAGIC);
    out.put_u16(flags);
    out.put_u16(field);
    out.put_i64(i64::from(head.request_id));
    Ok(())
}
