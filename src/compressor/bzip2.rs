//! Bzip2 (4), without its first two bytes `BZ`: Ant's classes, which Seata uses, neither write nor expect them.

use std::io::{self, Read};

use bzip2::Compression;
use bzip2::read::{BzDecoder, BzEncoder};
use quorate_core::model::limits::UNPACKED_BODY_BYTES_MAX;
use quorate_core::wire::MessageError;

use crate::Room;

const MAGIC: &[u8] = b"BZ";
/// A stream's level is its block size in units of this; both sides reserve memory by it.
const LEVEL_BYTES: usize = 100_000;
/// Blocks of one body: of the smallest level, a quarter smaller at worst, and then some.
const BLOCKS_MAX: usize = 128;
/// Every block begins so, at any bit.
const BLOCK_MAGIC: u64 = 0x3141_5926_5359;
const BLOCK_MAGIC_BITS: u32 = 48;

const _: () = assert!(BLOCKS_MAX > UNPACKED_BODY_BYTES_MAX / (LEVEL_BYTES / 5 * 4));

pub fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    // A block costs tables, however little is in it, and the library does not stop between two.
    if block_beginnings(packed) > BLOCKS_MAX {
        return Err(MessageError::Packed("a bzip2 stream of too many blocks"));
    }
    let mut room = Room::new(bytes_max);
    room.read(BzDecoder::new(MAGIC.chain(packed)), "no bzip2 stream, or a broken one")?;
    Ok(room.into_bytes())
}

/// How often a block may begin: at least as often as one does.
fn block_beginnings(packed: &[u8]) -> usize {
    // The last eight bytes: the 48 bits end within the last of them, or at its end.
    let mut window = 0u64;
    let mut count = 0;
    for byte in packed {
        window = window << 8 | u64::from(*byte);
        count += (0..8).filter(|bits| window >> bits & ((1 << BLOCK_MAGIC_BITS) - 1) == BLOCK_MAGIC).count();
    }
    count
}

pub fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    let level = plain.len().div_ceil(LEVEL_BYTES).clamp(1, 9);
    let mut packed = Vec::new();
    BzEncoder::new(plain, Compression::new(level as u32)).read_to_end(&mut packed)?;
    packed.drain(..MAGIC.len().min(packed.len()));
    Ok(packed)
}
