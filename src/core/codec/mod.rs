//! What is stored or sent between nodes: bincode behind one door.
//!
//! Bytes are one version byte, then the value in bincode's `standard()` form (little-endian, integers of variable
//! length). bincode alone accepts trailing bytes, checks a limit only when it reads, and reads an integer from a longer
//! form than needed; this module does not (storage, section 12). Everything that crosses it implements [`Persisted`],
//! which names the largest form it may have.
//!
//! Not here: how bytes are framed, checksummed or compressed.

mod persisted;

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The first byte of everything that this module writes.
pub const VERSION: u8 = 1;

/// No value may be longer than a frame between nodes; also what bincode may allocate for one string while it reads.
pub const BYTES_MAX: usize = 16 << 20;

/// A type that is stored or sent between nodes. What that demands of it is written in `codec/persisted.rs`.
pub trait Persisted: Serialize + DeserializeOwned {
    /// Longest encoded form, version byte included; at most [`BYTES_MAX`].
    const BYTES_MAX: usize;
}

/// Why a value has no bytes, or bytes no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// Longer than its type allows.
    #[error("{bytes} bytes are more than the {bytes_max} allowed")]
    TooLong {
        /// Length of the encoded form.
        bytes: usize,
        /// [`Persisted::BYTES_MAX`].
        bytes_max: usize,
    },
    /// Bytes are left after the value.
    #[error("{bytes} bytes follow the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Empty, or written by a version that this binary does not read.
    #[error("unknown codec version {version:?}")]
    Version {
        /// The first byte, if there is one.
        version: Option<u8>,
    },
    /// Not the form of this type: cut off, an unknown variant, no UTF-8, ..
    #[error("malformed")]
    Malformed,
    /// Another spelling of a value than the one that [`encode`] gives.
    #[error("not the canonical form")]
    NotCanonical,
}

const fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<BYTES_MAX>()
}

/// Room for most messages: they grow no more while they are written.
const USUAL_BYTES: usize = 128;

/// The bytes of `value`. Equal values have equal bytes.
pub fn encode<T: Persisted>(value: &T) -> Result<Vec<u8>, CodecError> {
    const { assert!(T::BYTES_MAX <= BYTES_MAX) };
    let mut bytes = Append(Vec::with_capacity(USUAL_BYTES));
    bytes.0.push(VERSION);
    bincode::serde::encode_into_writer(value, &mut bytes, config()).map_err(|_| CodecError::Malformed)?;
    within_limit::<T>(&bytes.0)?;
    Ok(bytes.0)
}

struct Append(Vec<u8>);

impl bincode::enc::write::Writer for &mut Append {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The value of `bytes`, all of which must belong to it. For bytes that a checksum covers; others go through
/// [`decode_canonical`].
pub fn decode<T: Persisted>(bytes: &[u8]) -> Result<T, CodecError> {
    within_limit::<T>(bytes)?;
    let body = match bytes.split_first() {
        Some((&VERSION, body)) => body,
        Some((&version, _)) => return Err(CodecError::Version { version: Some(version) }),
        None => return Err(CodecError::Version { version: None }),
    };
    let (value, read) = bincode::serde::decode_from_slice(body, config()).map_err(|_| CodecError::Malformed)?;
    match body.len() - read {
        0 => Ok(value),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}

/// As [`decode`], and refuses every spelling but the one that [`encode`] gives: two nodes that compare bytes then
/// compare values.
pub fn decode_canonical<T: Persisted>(bytes: &[u8]) -> Result<T, CodecError> {
    let value = decode::<T>(bytes)?;
    if encode(&value)? == bytes { Ok(value) } else { Err(CodecError::NotCanonical) }
}

fn within_limit<T: Persisted>(bytes: &[u8]) -> Result<(), CodecError> {
    if bytes.len() > T::BYTES_MAX {
        return Err(CodecError::TooLong { bytes: bytes.len(), bytes_max: T::BYTES_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
