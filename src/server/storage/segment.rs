//! A segment: a file of fixed size, its name and its first block.
//!
//! Segments are numbered upwards for ever. The header says which segment of which disk a file is, so that a block of
//! another file, or another node's folder, is recognised. Spares are files of a segment's size that wait for their turn.

use crate::sector::{self, BLOCK_BYTES, BLOCK_SECTORS, BatchNumber, SECTOR_BYTES, Sector, u16_at, u32_at, u64_at};
use bytes::BytesMut;
use core::fmt;

/// Folder of the segments.
pub const FOLDER: &str = "wal";
/// Where the first batch of a segment starts, in sectors.
pub const FIRST_BATCH_SECTOR: u32 = BLOCK_SECTORS as u32;
/// Version of segments this binary writes. Since 2 the marks of a group that was here before say where its log ended.
pub const SEGMENT_VERSION: u16 = 2;
/// The oldest that it reads.
const SEGMENT_VERSION_OLDEST: u16 = 1;

const MAGIC: &[u8; 4] = b"QWS1";
const HEADER_BYTES: usize = 44;

/// The number of a segment, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SegmentNumber(pub u32);

impl SegmentNumber {
    /// The segment after this one. Four billion segments are 256 PiB of log.
    pub fn next(self) -> SegmentNumber {
        SegmentNumber(self.0.checked_add(1).expect("segment numbers do not run out"))
    }

    /// Its path in the data folder.
    pub fn path(self) -> String {
        format!("{FOLDER}/{self}")
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wal-{:010}.log", self.0)
    }
}

/// What a name in the folder of segments is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// Log.
    Segment(SegmentNumber),
    /// Ready to become a segment.
    Spare(u64),
    /// A spare that was never finished.
    Unfinished,
    /// Not ours.
    Foreign,
}

impl Name {
    /// Reads a name as it is listed.
    pub fn parse(name: &str) -> Name {
        let segment = name.strip_prefix("wal-").and_then(|rest| rest.strip_suffix(".log"));
        if let Some(number) = segment.and_then(|digits| digits.parse().ok()) {
            return Name::Segment(SegmentNumber(number));
        }
        match name.strip_prefix("spare-") {
            Some(rest) if rest.ends_with(".tmp") => Name::Unfinished,
            Some(rest) => rest.parse().map_or(Name::Foreign, Name::Spare),
            None => Name::Foreign,
        }
    }
}

/// The path of a spare.
pub fn spare_path(number: u64) -> String {
    format!("{FOLDER}/spare-{number:06}")
}

/// Block 0 of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Which segment.
    pub segment: SegmentNumber,
    /// Number of the start that wrote it.
    pub epoch: u64,
    /// Whose disk it is.
    pub disk: [u8; 16],
    /// Size of the file.
    pub segment_bytes: u32,
    /// Number of its first batch, which its sectors carry.
    pub first_batch: BatchNumber,
}

/// Why block 0 is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// What is wrong, and in which sector.
    Damaged { sector: u32, what: &'static str },
    /// Written by a newer binary.
    Newer { version: u16 },
}

impl Header {
    /// Appends the framed block.
    pub fn frame(&self, out: &mut BytesMut) {
        let mut stream = [0; HEADER_BYTES];
        stream[0..4].copy_from_slice(MAGIC);
        stream[4..6].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
        stream[8..16].copy_from_slice(&u64::from(self.segment.0).to_le_bytes());
        stream[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        stream[24..40].copy_from_slice(&self.disk);
        stream[40..44].copy_from_slice(&self.segment_bytes.to_le_bytes());
        sector::frame(&stream, BLOCK_SECTORS, 0, self.first_batch, out);
    }

    /// Reads block 0; every sector of it is checked.
    pub fn parse(block: &[u8]) -> Result<Header, HeaderError> {
        assert_eq!(block.len(), BLOCK_BYTES);
        let damaged = |sector: usize, what| HeaderError::Damaged { sector: sector as u32, what };
        let Sector::Numbered(first_batch) = sector::classify(&block[..SECTOR_BYTES], 0) else {
            return Err(damaged(0, "the segment header is damaged"));
        };
        for (i, one) in block.chunks_exact(SECTOR_BYTES).enumerate() {
            if sector::classify(one, i as u32) != Sector::Numbered(first_batch) {
                return Err(damaged(i, "the segment header is damaged"));
            }
        }
        let stream = sector::data(&block[..SECTOR_BYTES]);
        if &stream[0..4] != MAGIC {
            return Err(damaged(0, "this is no segment"));
        }
        match u16_at(stream, 4) {
            SEGMENT_VERSION_OLDEST..=SEGMENT_VERSION => {}
            version if version > SEGMENT_VERSION => return Err(HeaderError::Newer { version }),
            _ => return Err(damaged(0, "the segment has an unknown version")),
        }
        let Ok(segment) = u32::try_from(u64_at(stream, 8)) else {
            return Err(damaged(0, "the segment has an impossible number"));
        };
        Ok(Header {
            segment: SegmentNumber(segment),
            epoch: u64_at(stream, 16),
            disk: stream[24..40].try_into().expect("sixteen bytes"),
            segment_bytes: u32_at(stream, 40),
            first_batch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_written() {
        assert_eq!(SegmentNumber(17).path(), "wal/wal-0000000017.log");
        assert_eq!(Name::parse("wal-0000000017.log"), Name::Segment(SegmentNumber(17)));
        assert_eq!(spare_path(42), "wal/spare-000042");
        assert_eq!(Name::parse("spare-000042"), Name::Spare(42));
        assert_eq!(Name::parse("spare-000042.tmp"), Name::Unfinished);
        assert_eq!(Name::parse("lost+found"), Name::Foreign);
        assert_eq!(Name::parse("wal-99999999999.log"), Name::Foreign);
    }

    #[test]
    fn a_header_comes_back_and_no_flipped_bit_passes() {
        let header = Header {
            segment: SegmentNumber(7),
            epoch: 3,
            disk: [9; 16],
            segment_bytes: 1 << 20,
            first_batch: BatchNumber(90),
        };
        let mut block = BytesMut::new();
        header.frame(&mut block);
        assert_eq!(Header::parse(&block), Ok(header));
        for byte in 0..BLOCK_BYTES {
            let mut flipped = block.clone();
            flipped[byte] ^= 4;
            assert!(matches!(Header::parse(&flipped), Err(HeaderError::Damaged { .. })), "byte {byte}");
        }
    }
}
