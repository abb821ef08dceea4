//! Frames between nodes: a head of 32 bytes that checks itself and its body (design, section 10.5).
//!
//! ```text
//! 0..4 "QPF1" | 4..8 body bytes u32 | 8 kind | 9 flags: 1 answer, 2 error, 4 more follows | 10..12 format u16
//! 12..16 group u32 | 16..24 request id u64, 0 = no answer | 24..28 crc32c of the body | 28..32 crc32c of 0..28
//! ```
//!
//! All little-endian. Nothing of a frame is used before both checksums are right; after a wrong one nobody knows where
//! the next frame begins, so the connection is closed. "More follows" is not sent yet and refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_core::model::GroupId;

/// Length of a head.
pub const HEAD_BYTES: usize = 32;
/// The longest body.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// The format that this binary writes, and the only one it reads.
pub const FORMAT: u16 = 1;

/// How much memory is taken for reading at a time.
const CHUNK_BYTES: usize = 64 << 10;
/// A read with less room than this would ask the kernel too often.
const ROOM_BYTES_MIN: usize = 8 << 10;

const MAGIC: [u8; 4] = *b"QPF1";
const ANSWER: u8 = 1;
const ERROR: u8 = 2;

/// What a frame is in an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Wants an answer if its id is not 0.
    Request,
    /// Answers the request of its id.
    Answer,
    /// Answers the request of its id with an error.
    Error,
}

/// A head, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Number of its kind; may be unknown here.
    pub kind: u8,
    /// Request or answer.
    pub role: Role,
    /// The group it concerns; 0 also where none is.
    pub group: GroupId,
    /// Given by the asker, per connection; 0 wants no answer.
    pub request: u64,
}

/// One frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: Bytes,
}

/// Why the bytes are no frame. The connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Not "QPF1".
    #[error("the magic is {0:02x?}")]
    Magic([u8; 4]),
    /// The head's checksum does not fit.
    #[error("the checksum of the head is wrong")]
    HeadSum,
    /// The body's checksum does not fit.
    #[error("the checksum of the body is wrong")]
    BodySum,
    /// Longer than this connection takes.
    #[error("a body of {bytes} bytes is more than the {bytes_max} allowed")]
    Length {
        /// As the head says.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// Another format.
    #[error("the format is {0}, not {FORMAT}")]
    Format(u16),
    /// A combination of flags that has no meaning.
    #[error("the flags are {0:#04x}")]
    Flags(u8),
}

/// Appends a frame. The body is at most [`BODY_BYTES_MAX`]: the caller has checked.
pub fn encode(head: Head, body: &[u8], out: &mut BytesMut) {
    assert!(body.len() <= BODY_BYTES_MAX, "a body of {} bytes was not refused before", body.len());
    let flags = match head.role {
        Role::Request => 0,
        Role::Answer => ANSWER,
        Role::Error => ANSWER | ERROR,
    };
    out.reserve(HEAD_BYTES + body.len());
    let start = out.len();
    out.put_slice(&MAGIC);
    out.put_u32_le(body.len() as u32);
    out.put_u8(head.kind);
    out.put_u8(flags);
    out.put_u16_le(FORMAT);
    out.put_u32_le(head.group.0);
    out.put_u64_le(head.request);
    out.put_u32_le(crc32c::crc32c(body));
    let sum = crc32c::crc32c(&out[start..]);
    out.put_u32_le(sum);
    out.put_slice(body);
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Decoder {
    /// What has come in and is not yet a frame. Read into it.
    pub buffer: BytesMut,
    /// The longest body it takes; small before the hello, so that a stranger costs no memory.
    pub body_bytes_max: usize,
    /// The head of the frame whose body is still coming.
    head: Option<(Head, usize, u32)>,
}

impl Decoder {
    /// A decoder that takes bodies up to a length.
    pub fn new(body_bytes_max: usize) -> Decoder {
        Decoder { buffer: BytesMut::new(), body_bytes_max, head: None }
    }

    /// Room for the next read. A chunk is used up before the next is made: the bodies cut from it share it.
    pub fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < ROOM_BYTES_MIN {
            self.buffer.reserve(CHUNK_BYTES);
        }
    }

    /// The next whole frame, None if more bytes are needed. After an error nothing more may be asked.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let (head, bytes, sum) = match self.head {
            Some(known) => known,
            None if self.buffer.len() < HEAD_BYTES => return Ok(None),
            None => {
                let read = read_head(&self.buffer.split_to(HEAD_BYTES), self.body_bytes_max)?;
                *self.head.insert(read)
            }
        };
        if self.buffer.len() < bytes {
            // Room for the rest at once: a long body then arrives in few reads.
            self.buffer.reserve(bytes - self.buffer.len());
            return Ok(None);
        }
        self.head = None;
        let body = self.buffer.split_to(bytes).freeze();
        if crc32c::crc32c(&body) != sum {
            return Err(FrameError::BodySum);
        }
        Ok(Some(Frame { head, body }))
    }
}

fn read_head(bytes: &[u8], body_bytes_max: usize) -> Result<(Head, usize, u32), FrameError> {
    let mut fields = bytes;
    let mut magic = [0; 4];
    fields.copy_to_slice(&mut magic);
    if magic != MAGIC {
        return Err(FrameError::Magic(magic));
    }
    let length = fields.get_u32_le() as usize;
    let kind = fields.get_u8();
    let flags = fields.get_u8();
    let format = fields.get_u16_le();
    let group = GroupId(fields.get_u32_le());
    let request = fields.get_u64_le();
    let body_sum = fields.get_u32_le();
    if fields.get_u32_le() != crc32c::crc32c(&bytes[..HEAD_BYTES - 4]) {
        return Err(FrameError::HeadSum);
    }
    if format != FORMAT {
        return Err(FrameError::Format(format));
    }
    let role = match flags {
        0 => Role::Request,
        ANSWER => Role::Answer,
        flags if flags == ANSWER | ERROR => Role::Error,
        flags => return Err(FrameError::Flags(flags)),
    };
    if length > body_bytes_max {
        return Err(FrameError::Length { bytes: length, bytes_max: body_bytes_max });
    }
    Ok((Head { kind, role, group, request }, length, body_sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        Head { kind: 16, role: Role::Request, group: GroupId(3), request: 258 }
    }

    fn bytes_of(head: Head, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        encode(head, body, &mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut decoder = Decoder::new(BODY_BYTES_MAX);
        decoder.buffer.extend_from_slice(bytes);
        decoder.next_frame()
    }

    #[test]
    fn the_layout_is_fixed() {
        let bytes = bytes_of(head(), b"123456789");
        assert_eq!(bytes[..12], *b"QPF1\x09\0\0\0\x10\0\x01\0");
        assert_eq!(bytes[12..24], [3, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        // The check value of crc32c.
        assert_eq!(bytes[24..28], 0xe306_9283_u32.to_le_bytes());
        assert_eq!(bytes.len(), HEAD_BYTES + 9);
    }

    #[test]
    fn each_fault_has_its_name() {
        let resummed = |place: usize, value: u8| {
            let mut bytes = bytes_of(head(), b"body");
            bytes[place] = value;
            let sum = crc32c::crc32c(&bytes[..28]);
            bytes[28..32].copy_from_slice(&sum.to_le_bytes());
            decode(&bytes)
        };
        assert_eq!(resummed(0, b'X'), Err(FrameError::Magic(*b"XPF1")));
        assert_eq!(resummed(10, 2), Err(FrameError::Format(2)));
        assert_eq!(resummed(9, 4), Err(FrameError::Flags(4)));
        assert_eq!(resummed(9, 2), Err(FrameError::Flags(2)));
        let long = Err(FrameError::Length { bytes: 4 + (255 << 24), bytes_max: BODY_BYTES_MAX });
        assert_eq!(resummed(7, 255), long);
        let mut bytes = bytes_of(head(), b"body");
        bytes[33] ^= 1;
        assert_eq!(decode(&bytes), Err(FrameError::BodySum));
    }

    fn frames() -> impl Strategy<Value = Frame> {
        let role = prop_oneof![Just(Role::Request), Just(Role::Answer), Just(Role::Error)];
        let body = proptest::collection::vec(any::<u8>(), 0..200);
        (any::<u8>(), role, any::<u32>(), any::<u64>(), body).prop_map(|(kind, role, group, request, body)| Frame {
            head: Head { kind, role, group: GroupId(group), request },
            body: body.into(),
        })
    }

    proptest! {
        #[test]
        fn frames_come_back_however_the_stream_is_cut(
            frames in proptest::collection::vec(frames(), 0..6),
            cuts in proptest::collection::vec(1usize..90, 1..8),
        ) {
            let mut stream = BytesMut::new();
            frames.iter().for_each(|frame| encode(frame.head, &frame.body, &mut stream));
            let mut decoder = Decoder::new(BODY_BYTES_MAX);
            let mut got = Vec::new();
            for turn in 0.. {
                if stream.is_empty() {
                    break;
                }
                let length = cuts[turn % cuts.len()].min(stream.len());
                decoder.buffer.extend_from_slice(&stream.split_to(length));
                while let Some(frame) = decoder.next_frame().expect("our own frames") {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn one_flipped_bit_is_never_used(frame in frames(), place in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut bytes = bytes_of(frame.head, &frame.body);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn garbage_is_refused_or_waited_for(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            match decode(&bytes) {
                Ok(None) => prop_assert!(bytes.len() < HEAD_BYTES),
                Ok(Some(_)) => prop_assert!(false, "garbage was taken for a frame"),
                Err(_) => {}
            }
        }
    }
}
