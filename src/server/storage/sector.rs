//! The unit on disk: a 512-byte sector that proves itself.
//!
//! A sector carries the number of the batch it belongs to, 500 bytes of the batch's stream, and a crc32c that starts
//! from the sector's position in the file. So "never written", "written and whole" and "anything else" are three
//! different facts: a torn batch shows sectors of older numbers, damage shows sectors that are neither. The position
//! catches a write that landed elsewhere, the number one that never landed on a recycled sector.
//!
//! Not here: what the stream says (`batch`, `segment`) and what follows from a bad sector (`verdict`).

use bytes::{BufMut, BytesMut};

/// What a device writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
/// Bytes of the stream in one sector.
pub const DATA_BYTES: usize = 500;
/// Batches start on a block and fill whole blocks, because the page cache writes whole pages.
pub const BLOCK_SECTORS: usize = 8;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = BLOCK_SECTORS * SECTOR_BYTES;

const NUMBER_BYTES: usize = 8;
const CRC_AT: usize = NUMBER_BYTES + DATA_BYTES;
const _: () = assert!(CRC_AT + 4 == SECTOR_BYTES);

/// The number of a batch, from 1, growing for the whole life of a data folder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BatchNumber(pub u64);

impl BatchNumber {
    /// The number expected behind this one.
    pub fn next(self) -> BatchNumber {
        BatchNumber(self.0 + 1)
    }
}

/// What a sector proves to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sector {
    /// 512 zeros: never written.
    Fresh,
    /// Whole, and of this batch.
    Numbered(BatchNumber),
    /// Neither.
    Damaged,
}

/// Tells which of the three `sector` is, at `position` (in sectors) of its file.
pub fn classify(sector: &[u8], position: u32) -> Sector {
    debug_assert_eq!(sector.len(), SECTOR_BYTES);
    let number = u64_at(sector, 0);
    if number == 0 {
        return if is_zero(sector) { Sector::Fresh } else { Sector::Damaged };
    }
    if u32_at(sector, CRC_AT) == checksum(&sector[..CRC_AT], position) {
        Sector::Numbered(BatchNumber(number))
    } else {
        Sector::Damaged
    }
}

/// The stream's part of a sector.
pub fn data(sector: &[u8]) -> &[u8] {
    &sector[NUMBER_BYTES..CRC_AT]
}

/// Sectors that a stream of `stream_bytes` fills, in whole blocks.
pub fn sectors_for(stream_bytes: usize) -> usize {
    stream_bytes.div_ceil(DATA_BYTES).next_multiple_of(BLOCK_SECTORS)
}

/// Appends `stream` to `out` as `sectors` sectors, the first at `position` of the file; the rest is zeros.
pub fn frame(stream: &[u8], sectors: usize, position: u32, number: BatchNumber, out: &mut BytesMut) {
    assert!(number.0 > 0 && stream.len() <= sectors * DATA_BYTES, "a stream fits its sectors");
    out.reserve(sectors * SECTOR_BYTES);
    let mut pieces = stream.chunks(DATA_BYTES);
    for sector in 0..sectors {
        let start = out.len();
        let piece = pieces.next().unwrap_or(&[]);
        out.put_u64_le(number.0);
        out.put_slice(piece);
        out.put_bytes(0, DATA_BYTES - piece.len());
        let crc = checksum(&out[start..], position + sector as u32);
        out.put_u32_le(crc);
    }
}

fn checksum(framed: &[u8], position: u32) -> u32 {
    crc32c::crc32c_append(position, framed)
}

fn is_zero(sector: &[u8]) -> bool {
    sector.chunks_exact(8).fold(0, |seen, word| seen | u64_at(word, 0)) == 0
}

/// Reads a little-endian number; the caller knows that it is there.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads a little-endian number; the caller knows that it is there.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Reads a little-endian number; the caller knows that it is there.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(stream: &[u8], sectors: usize, position: u32, number: u64) -> BytesMut {
        let mut out = BytesMut::new();
        frame(stream, sectors, position, BatchNumber(number), &mut out);
        out
    }

    #[test]
    fn the_vectors_of_the_format() {
        let zeros = framed(&[], 1, 8, 1);
        assert_eq!(u32_at(&zeros, CRC_AT), 0x5062_221c);
        let counting: Vec<u8> = (0..DATA_BYTES).map(|i| (i % 251) as u8).collect();
        let counted = framed(&counting, 1, 131_071, 0x0102_0304_0506_0708);
        assert_eq!(u32_at(&counted, CRC_AT), 0x08cb_1ce3);
    }

    #[test]
    fn a_sector_is_in_one_of_three_states() {
        let sector = framed(b"something", 1, 77, 5);
        assert_eq!(classify(&sector, 77), Sector::Numbered(BatchNumber(5)));
        assert_eq!(classify(&sector, 78), Sector::Damaged, "it landed elsewhere");
        assert_eq!(classify(&[0; SECTOR_BYTES], 77), Sector::Fresh);
        for bit in 0..SECTOR_BYTES * 8 {
            let mut flipped = sector.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(classify(&flipped, 77), Sector::Damaged, "bit {bit}");
            let mut fresh = [0; SECTOR_BYTES];
            fresh[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(classify(&fresh, 77), Sector::Damaged, "bit {bit} of a fresh one");
        }
    }

    #[test]
    fn a_stream_comes_back_and_the_rest_is_zeros() {
        let stream: Vec<u8> = (0..1234).map(|i| (i % 7) as u8).collect();
        let sectors = sectors_for(stream.len());
        assert_eq!(sectors, BLOCK_SECTORS);
        let framed = framed(&stream, sectors, 16, 9);
        let mut back = Vec::new();
        for (i, sector) in framed.chunks_exact(SECTOR_BYTES).enumerate() {
            assert_eq!(classify(sector, 16 + i as u32), Sector::Numbered(BatchNumber(9)));
            back.extend_from_slice(data(sector));
        }
        assert_eq!(&back[..1234], &stream[..]);
        assert!(back[1234..].iter().all(|byte| *byte == 0));
        assert_eq!(sectors_for(4000), 8);
        assert_eq!(sectors_for(4001), 16);
    }
}
