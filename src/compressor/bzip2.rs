//! Bzip2 (4), without its first two bytes `BZ`: Ant's classes, which Seata uses, neither write nor expect them.

use std::io::{self, Read};

use bzip2::Compression;
use bzip2::read::{BzDecoder, BzEncoder};
use quorate_core::wire::MessageError;

use crate::Room;

const MAGIC: &[u8] = b"BZ";
/// A stream's level is its block size in units of this; both sides reserve memory by it.
const LEVEL_BYTES: usize = 100_000;

pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut room = Room::default();
    room.read(BzDecoder::new(MAGIC.chain(packed)), "no bzip2 stream, or a broken one")?;
    Ok(room.into_bytes())
}

pub fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    let level = plain.len().div_ceil(LEVEL_BYTES).clamp(1, 9);
    let mut packed = Vec::new();
    BzEncoder::new(plain, Compression::new(level as u32)).read_to_end(&mut packed)?;
    packed.drain(..MAGIC.len().min(packed.len()));
    Ok(packed)
}
