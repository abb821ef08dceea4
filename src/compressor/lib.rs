//! The compressors of stock clients: packed bodies to messages and back (protocol, section 1.6; table in `docs/WIRE.md`).
//!
//! In: [`open`] takes what the wire's decoder left shut. Out: [`encode_frame`] writes any frame, packed or not, and
//! [`encode_packed_body`] only the body, for whoever holds a lock that it must not be packed under. Server and client use
//! the same.
//!
//! Whatever a packed body claims, no more than [`UNPACKED_BODY_BYTES_MAX`] come out of it, or less if the caller has less room: each module writes into a
//! [`Room`] or reads through one, and stops at the bound (CVE-2024-54016 was a server without one). Where a block costs more than
//! what comes out of it, blocks are counted too.
//!
//! Deliberately not here: 7z (number 3), of which Seata kept the number but no implementation, so that no client can send it.
//! A package of its own, because the libraries need `std` and `quorate-core` does without.

mod bzip2;
mod deflate;
mod inflate;
mod lz4;
mod room;
#[cfg(test)]
mod tests;
mod zip;
mod zstd;

use bytes::{Bytes, BytesMut};
use quorate_core::model::limits::UNPACKED_BODY_BYTES_MAX;
use quorate_core::wire::{
    self, Decoded, EncodeError, Head, Message, MessageError, decode_body, encode_body, encode_opaque,
};

pub use room::Room;

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compressor {
    /// 1: one gzip stream.
    Gzip,
    /// 2: a ZIP archive without its directory.
    Zip,
    /// 4: a bzip2 stream without its first two bytes.
    Bzip2,
    /// 5: what it is depends on the release, see [`wire::Lz4`].
    Lz4,
    /// 6: one zlib stream.
    Deflater,
    /// 7: one zstd frame.
    Zstd,
}

impl Compressor {
    /// All that there are.
    pub const ALL: [Compressor; 6] =
        [Compressor::Gzip, Compressor::Zip, Compressor::Bzip2, Compressor::Lz4, Compressor::Deflater, Compressor::Zstd];

    /// The compressor of a head's number. None for 0, which is no compressor, 3 and whatever comes after 7.
    pub const fn of_code(code: u8) -> Option<Compressor> {
        match code {
            1 => Some(Compressor::Gzip),
            2 => Some(Compressor::Zip),
            4 => Some(Compressor::Bzip2),
            5 => Some(Compressor::Lz4),
            6 => Some(Compressor::Deflater),
            7 => Some(Compressor::Zstd),
            _ => None,
        }
    }

    /// Its number in a head.
    pub const fn code(self) -> u8 {
        match self {
            Compressor::Gzip => 1,
            Compressor::Zip => 2,
            Compressor::Bzip2 => 4,
            Compressor::Lz4 => 5,
            Compressor::Deflater => 6,
            Compressor::Zstd => 7,
        }
    }
}

/// A body that is shut still, and why.
#[derive(Debug)]
pub struct Shut {
    /// Its head.
    pub head: Head,
    /// Its packed bytes.
    pub body: Bytes,
    /// Broken, or longer than it was allowed to become.
    pub error: MessageError,
}

/// Opens a packed body of a serializer that is spoken; everything else comes back as it was.
pub fn open(decoded: Decoded) -> Decoded {
    open_within(decoded, UNPACKED_BODY_BYTES_MAX)
        .unwrap_or_else(|Shut { head, error, .. }| Decoded::Undecodable(head, error))
}

/// As [`open`], and no more than `bytes_max` may come out.
pub fn open_within(decoded: Decoded, bytes_max: usize) -> Result<Decoded, Shut> {
    let Decoded::Opaque(mut head, body) = decoded else { return Ok(decoded) };
    let Some(compressor) = Compressor::of_code(head.compressor).filter(|_| wire::body::is_spoken(head.serializer))
    else {
        return Ok(Decoded::Opaque(head, body));
    };
    match unpack_within(compressor, &mut head, &body, bytes_max) {
        Ok(plain) => Ok(match decode_body(&mut head, &plain) {
            Ok(message) => Decoded::Message(head, message),
            Err(error) => Decoded::Undecodable(head, error),
        }),
        Err(error) => Err(Shut { head, body, error }),
    }
}

/// Appends one frame, packed as its head says, or nothing.
pub fn encode_frame(head: &Head, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
    if head.compressor == 0 {
        return wire::encode_frame(head, message, out);
    }
    encode_opaque(head, &encode_packed_body(head, message)?, out)
}

/// The packed body of a frame, ready for [`encode_opaque`].
pub fn encode_packed_body(head: &Head, message: &Message) -> Result<Vec<u8>, EncodeError> {
    let not_spoken = EncodeError::NotPlain { serializer: head.serializer, compressor: head.compressor };
    let compressor = Compressor::of_code(head.compressor).ok_or(not_spoken.clone())?;
    let mut plain = BytesMut::new();
    encode_body(head, message, &mut plain)?;
    if plain.len() > UNPACKED_BODY_BYTES_MAX {
        return Err(EncodeError::FrameTooLong(plain.len()));
    }
    pack(compressor, head, &plain).map_err(|_| not_spoken)
}

/// Unpacks a body, and notes in the head what it learns of the dialect.
pub fn unpack(compressor: Compressor, head: &mut Head, packed: &[u8]) -> Result<Vec<u8>, MessageError> {
    unpack_within(compressor, head, packed, UNPACKED_BODY_BYTES_MAX)
}

/// As [`unpack`], to at most `bytes_max`.
fn unpack_within(
    compressor: Compressor,
    head: &mut Head,
    packed: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, MessageError> {
    match compressor {
        Compressor::Gzip => deflate::unpack_gzip(packed, bytes_max),
        Compressor::Zip => zip::unpack(packed, bytes_max),
        Compressor::Bzip2 => bzip2::unpack(packed, bytes_max),
        Compressor::Lz4 => {
            let (dialect, plain) = lz4::unpack(packed, bytes_max)?;
            head.dialect.lz4 = dialect;
            Ok(plain)
        }
        Compressor::Deflater => deflate::unpack_zlib(packed, bytes_max),
        Compressor::Zstd => zstd::unpack(packed, bytes_max),
    }
}

/// Packs a body of at most [`UNPACKED_BODY_BYTES_MAX`]. Errors are those of a writer into memory: there are none.
pub fn pack(compressor: Compressor, head: &Head, plain: &[u8]) -> std::io::Result<Vec<u8>> {
    match compressor {
        Compressor::Gzip => deflate::pack_gzip(plain),
        Compressor::Zip => zip::pack(plain),
        Compressor::Bzip2 => bzip2::pack(plain),
        Compressor::Lz4 => Ok(lz4::pack(head.dialect.lz4, plain)),
        Compressor::Deflater => deflate::pack_zlib(plain),
        Compressor::Zstd => Ok(zstd::pack(plain)),
    }
}
