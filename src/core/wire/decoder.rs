//! From a connection's bytes to frames (protocol, sections 1.2, 1.8 to 1.10).
//!
//! One decoder per connection. It holds at most one unfinished frame and what the last read brought beyond it; a frame
//! that announces more than 8 MiB is refused on sight of its length. Two kinds of wrong: a [`FrameError`] means that
//! nobody knows where the next frame begins, so the connection must be closed, and every later call says the same
//! again; [`Decoded::Undecodable`] is a well-framed body that makes no sense, and the connection goes on.
//!
//! Version 0 has no length. Its bodies are read as far as the bytes go; a reader that runs out says how many bytes it
//! needs at least, and nothing is tried again before they are there, so that a frame is read at most once per field.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use bytes::{Buf, Bytes, BytesMut};

use super::body;
use super::frame::{HEAD_BYTES, HEAD_V0_BYTES, Head, MAGIC, MessageKind, SERIALIZER_HESSIAN, Version, flag};
use super::message::Message;
use super::seata::reader::Reader;
use super::seata::{self, MessageError, SERIALIZER};
use crate::model::limits::FRAME_BYTES_MAX;

/// One frame as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded {
    /// A heartbeat of either direction: `kind` is `Ping` or `Pong`. A server answers both with [`Head::answer`].
    Heartbeat(Head),
    /// A message in a serializer that is spoken here.
    Message(Head, Message),
    /// A body of a foreign serializer, or a compressed one, untouched. Unpacked, [`body::decode_body`] may read it.
    Opaque(Head, Bytes),
    /// A body that makes no sense. Seata answers nothing, and the connection lives.
    Undecodable(Head, MessageError),
}

impl Decoded {
    /// The frame's head.
    pub const fn head(&self) -> &Head {
        match self {
            Decoded::Heartbeat(head)
            | Decoded::Message(head, _)
            | Decoded::Opaque(head, _)
            | Decoded::Undecodable(head, _) => head,
        }
    }
}

/// The connection's bytes cannot be cut into frames any more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// A frame does not begin with `da da`.
    #[error("a frame begins with {0:02x?}")]
    Magic([u8; 2]),
    /// Above the limit, or below the head's own size.
    #[error("a frame of {0} bytes")]
    FullLength(i32),
    /// Smaller than the head, or larger than the frame.
    #[error("a head of {head} bytes in a frame of {full}")]
    HeadLength {
        /// The head length.
        head: i16,
        /// The full length.
        full: i32,
    },
    /// Version 0 has no length, so a body that cannot be read has no end.
    #[error("a version 0 body without end: {0}")]
    Version0(MessageError),
}

/// A buffer that was longer is given back once its frames are cut.
const KEPT_BYTES: usize = 32 << 10;

/// Cuts the bytes of one connection into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    version: Option<Version>,
    /// Fewer bytes than this hold no whole frame; keeps unfinished frames from being looked at again and again.
    needed: usize,
    /// The most that was in the buffer at a time since its memory is what it is.
    grown: usize,
    failed: Option<FrameError>,
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Where a reader may append what arrives. Bytes must only be added.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for the rest of their frame.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// How long the unfinished frame is at least, as far as it has said; 0 between frames.
    pub fn needed_bytes(&self) -> usize {
        self.needed
    }

    /// The connection's version, once a frame has begun.
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// The next whole frame, or nothing until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Decoded>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.grown = self.grown.max(self.buffer.len());
        let frame = self.cut();
        match &frame {
            Ok(Some(_)) => {}
            Ok(None) => self.shrink(),
            Err(error) => {
                self.failed = Some(error.clone());
                self.buffer = BytesMut::new();
            }
        }
        frame
    }

    /// One long frame, and the buffer would stay as long for the rest of its connection.
    fn shrink(&mut self) {
        if self.grown > KEPT_BYTES && self.buffer.len().max(self.needed) <= KEPT_BYTES {
            self.buffer = BytesMut::from(&self.buffer[..]);
            self.grown = self.buffer.len();
        }
    }

    fn cut(&mut self) -> Result<Option<Decoded>, FrameError> {
        if self.buffer.len() < self.needed {
            return Ok(None);
        }
        let [first, second, ..] = self.buffer[..] else { return Ok(None) };
        if [first, second] != MAGIC {
            return Err(FrameError::Magic([first, second]));
        }
        let Some(byte) = self.buffer.get(2) else { return Ok(None) };
        match *self.version.get_or_insert(Version::of_byte(*byte)) {
            Version::V0 => self.cut_v0(),
            version @ (Version::V1 | Version::V2) => self.cut_framed(version),
        }
    }

    /// Versions 1 and 2: the lengths say where the frame ends, whatever is inside.
    fn cut_framed(&mut self, version: Version) -> Result<Option<Decoded>, FrameError> {
        let Some(lengths) = self.buffer.get(3..9) else { return Ok(None) };
        let full = i32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]);
        let head = i16::from_be_bytes([lengths[4], lengths[5]]);
        let full_bytes = within(full.into(), HEAD_BYTES..=FRAME_BYTES_MAX).ok_or(FrameError::FullLength(full))?;
        let head_bytes = within(head.into(), HEAD_BYTES..=full_bytes).ok_or(FrameError::HeadLength { head, full })?;
        let Some(frame) = self.buffer.get(..full_bytes) else {
            self.needed = full_bytes;
            return Ok(None);
        };
        let (head_bytes, body) = frame.split_at(head_bytes);
        let (mut head, head_map) = read_head(version, head_bytes);
        let decoded = if head.kind.is_heartbeat() {
            Decoded::Heartbeat(head)
        } else if let Err(error) = head_map {
            Decoded::Undecodable(head, error)
        } else if !head.is_plain() {
            let body_at = head_bytes.len();
            let mut frame = self.take(full_bytes);
            frame.advance(body_at);
            return Ok(Some(Decoded::Opaque(head, frame.freeze())));
        } else {
            match body::decode_body(&mut head, body) {
                Ok(message) => Decoded::Message(head, message),
                Err(error) => Decoded::Undecodable(head, error),
            }
        };
        self.pass(full_bytes);
        Ok(Some(decoded))
    }

    /// Version 0: the body says where the frame ends.
    fn cut_v0(&mut self) -> Result<Option<Decoded>, FrameError> {
        let Some((head, field)) = read_head_v0(&self.buffer) else {
            self.needed = HEAD_V0_BYTES;
            return Ok(None);
        };
        if head.kind.is_heartbeat() {
            self.pass(HEAD_V0_BYTES);
            return Ok(Some(Decoded::Heartbeat(head)));
        }
        if head.serializer != SERIALIZER {
            let body_bytes = usize::try_from(field).map_err(|_| FrameError::FullLength(field.into()))?;
            if self.buffer.len() < HEAD_V0_BYTES + body_bytes {
                self.needed = HEAD_V0_BYTES + body_bytes;
                return Ok(None);
            }
            let mut frame = self.take(HEAD_V0_BYTES + body_bytes);
            frame.advance(HEAD_V0_BYTES);
            return Ok(Some(Decoded::Opaque(head, frame.freeze())));
        }
        let mut reader = Reader::unending(&self.buffer[HEAD_V0_BYTES..]);
        match seata::decode_fields(head.version, field, &mut reader) {
            Ok(message) => {
                let bytes = HEAD_V0_BYTES + reader.position();
                if bytes > FRAME_BYTES_MAX {
                    return Err(FrameError::FullLength(bytes.try_into().unwrap_or(i32::MAX)));
                }
                self.pass(bytes);
                Ok(Some(Decoded::Message(head, message)))
            }
            Err(MessageError::Short { bytes_needed }) => {
                let bytes = HEAD_V0_BYTES.saturating_add(bytes_needed);
                if bytes > FRAME_BYTES_MAX {
                    return Err(FrameError::FullLength(bytes.try_into().unwrap_or(i32::MAX)));
                }
                self.needed = bytes;
                Ok(None)
            }
            Err(error) => Err(FrameError::Version0(error)),
        }
    }

    /// Drops a frame that was read in place.
    fn pass(&mut self, bytes: usize) {
        self.needed = 0;
        self.buffer.advance(bytes);
    }

    /// Cuts off a frame whose bytes live on, without copying them.
    fn take(&mut self, bytes: usize) -> BytesMut {
        self.needed = 0;
        self.buffer.split_to(bytes)
    }
}

fn within(length: i64, range: RangeInclusive<usize>) -> Option<usize> {
    usize::try_from(length).ok().filter(|bytes| range.contains(bytes))
}

/// Reads a head of versions 1 and 2, given whole, and says apart whether its head map makes sense.
fn read_head(version: Version, head: &[u8]) -> (Head, Result<(), MessageError>) {
    let byte = |at: usize| head.get(at).copied().unwrap_or_default();
    let mut parsed = Head {
        kind: MessageKind::of_byte(byte(9)),
        serializer: byte(10),
        compressor: byte(11),
        ..Head::new(version, MessageKind::Request, i32::from_be_bytes([byte(12), byte(13), byte(14), byte(15)]))
    };
    let mut reader = Reader::new(head.get(HEAD_BYTES..).unwrap_or_default());
    let head_map = read_head_map(&mut reader, &mut parsed.head_map);
    (parsed, head_map)
}

fn read_head_map(reader: &mut Reader<'_>, head_map: &mut Vec<(String, Option<String>)>) -> Result<(), MessageError> {
    while !reader.is_empty() {
        let key = reader.nullable_str()?;
        let value = reader.nullable_str()?;
        // An entry with a null key is never written; one that comes all the same can only be passed over.
        head_map.extend(key.map(|key| (key, value)));
    }
    Ok(())
}

/// Reads a head of version 0 and the field that is a type code or a length; nothing if bytes are missing.
fn read_head_v0(bytes: &[u8]) -> Option<(Head, i16)> {
    let (head, _) = bytes.split_first_chunk::<HEAD_V0_BYTES>()?;
    let [_, _, f0, f1, t0, t1, _, _, _, _, i0, i1, i2, i3] = *head;
    let flags = u16::from_be_bytes([f0, f1]);
    let has = |bit: u16| flags & bit != 0;
    let kind = match (has(flag::HEARTBEAT), has(flag::REQUEST), has(flag::ASYNC)) {
        (true, true, _) => MessageKind::Ping,
        (true, false, _) => MessageKind::Pong,
        (false, true, false) => MessageKind::Request,
        (false, true, true) => MessageKind::OneWay,
        (false, false, _) => MessageKind::Response,
    };
    let serializer = if has(flag::SEATA) { SERIALIZER } else { SERIALIZER_HESSIAN };
    let request_id = i32::from_be_bytes([i0, i1, i2, i3]);
    let head = Head { serializer, ..Head::new(Version::V0, kind, request_id) };
    Some((head, i16::from_be_bytes([t0, t1])))
}
