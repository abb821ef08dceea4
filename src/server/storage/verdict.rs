//! Torn or damaged: what the end of the newest segment means.
//!
//! One batch is in flight: a batch is written only after the sync of the one before returned. So behind the last whole
//! batch there may stand parts of exactly one other, and nothing of that one was ever told to anybody. Whatever else
//! stands there is damage, and a voter that forgets breaks raft: then the node refuses to start.
//!
//! The limit, stated openly: a device that loses a sector of the last batch after its sync returned looks like a torn
//! write. Nothing here can tell the two apart.

use crate::batch::BatchHead;
use crate::sector::{self, BatchNumber, SECTOR_BYTES, Sector};
use crate::segment::SegmentNumber;

/// What stands behind the last whole batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing of the expected batch.
    Clean,
    /// Parts of the expected batch: its sync never finished, nobody was told.
    Torn {
        /// Sectors of it that are there.
        found: u32,
        /// Sectors it should have, if its head is there.
        expected: Option<u32>,
    },
    /// Refuse to start.
    Damaged {
        /// Position in the file, in sectors.
        sector: u32,
        /// In words.
        what: String,
    },
}

/// Judges `rest`, every sector from `position` to the end of the file, where batch `expected` would start.
pub fn judge(rest: &[u8], position: u32, expected: BatchNumber, segment: SegmentNumber) -> Verdict {
    let mut places: Vec<u32> = Vec::new();
    for (i, one) in rest.chunks(SECTOR_BYTES).enumerate() {
        let sector = position + i as u32;
        if one.len() < SECTOR_BYTES {
            return damaged(sector, "the file ends within a sector".into());
        }
        match sector::classify(one, sector) {
            Sector::Damaged => return damaged(sector, "a sector is damaged".into()),
            Sector::Numbered(number) if number > expected => {
                return damaged(sector, format!("batch {} was written, but batch {} is missing", number.0, expected.0));
            }
            Sector::Numbered(number) if number == expected => places.push(i as u32),
            Sector::Numbered(_) | Sector::Fresh => {}
        }
    }
    let found = places.len() as u32;
    match places.first() {
        None => Verdict::Clean,
        Some(0) => judge_head(rest, position, expected, segment, &places),
        Some(_) => Verdict::Torn { found, expected: None },
    }
}

/// The first sector of the expected batch is there: does the rest make it whole?
fn judge_head(rest: &[u8], position: u32, expected: BatchNumber, segment: SegmentNumber, places: &[u32]) -> Verdict {
    let number = expected.0;
    let head = match BatchHead::parse(sector::data(&rest[..SECTOR_BYTES])) {
        Ok(head) if head.segment == segment => head,
        Ok(_) => return damaged(position, format!("batch {number} belongs to another segment")),
        Err(what) => return damaged(position, format!("batch {number}: {what}")),
    };
    if let Some(beyond) = places.iter().find(|place| **place >= head.sectors) {
        return damaged(position + beyond, format!("a sector of batch {number} stands behind its end"));
    }
    if head.sectors as usize > rest.len() / SECTOR_BYTES {
        return damaged(position, format!("batch {number} runs past the end of the segment"));
    }
    let found = places.len() as u32;
    if found < head.sectors {
        return Verdict::Torn { found, expected: Some(head.sectors) };
    }
    damaged(position, format!("batch {number} is fully written but does not parse"))
}

fn damaged(sector: u32, what: String) -> Verdict {
    Verdict::Damaged { sector, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch;
    use crate::record::Record;
    use bytes::BytesMut;
    use quorate_core::model::{GroupId, LogIndex};

    const POSITION: u32 = 16;
    const SEGMENT: SegmentNumber = SegmentNumber(3);

    /// A batch of 16 sectors, the first at `POSITION`.
    fn sixteen(number: u64) -> BytesMut {
        let mut stream = Vec::new();
        batch::begin(&mut stream);
        for _ in 0..200 {
            Record::TruncateFrom(LogIndex(1)).encode(GroupId(1), &mut stream);
        }
        let sectors = batch::seal(&mut stream, 200, SEGMENT, 1);
        assert_eq!(sectors, 16);
        let mut out = BytesMut::new();
        sector::frame(&stream, sectors, POSITION, BatchNumber(number), &mut out);
        out
    }

    fn zero(bytes: &mut [u8], sector: usize) {
        bytes[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES].fill(0);
    }

    fn verdict(bytes: &[u8], expected: u64) -> Verdict {
        judge(bytes, POSITION, BatchNumber(expected), SEGMENT)
    }

    fn sector_of(verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Damaged { sector, .. } => sector,
            Verdict::Clean | Verdict::Torn { .. } => panic!("{verdict:?} is no damage"),
        }
    }

    #[test]
    fn nothing_or_older_batches_are_a_clean_end() {
        assert_eq!(verdict(&[0; 8192], 5), Verdict::Clean);
        assert_eq!(verdict(&sixteen(4), 5), Verdict::Clean);
        assert_eq!(verdict(&[], 5), Verdict::Clean);
    }

    #[test]
    fn missing_sectors_are_torn() {
        for missing in 1..16 {
            let mut bytes = sixteen(5);
            zero(&mut bytes, missing);
            assert_eq!(verdict(&bytes, 5), Verdict::Torn { found: 15, expected: Some(16) });
        }
        let mut headless = sixteen(5);
        zero(&mut headless, 0);
        assert_eq!(verdict(&headless, 5), Verdict::Torn { found: 15, expected: None });
    }

    #[test]
    fn a_damaged_sector_or_a_later_number_is_damage() {
        let mut bytes = sixteen(5);
        bytes[9 * SECTOR_BYTES + 3] ^= 1;
        assert_eq!(sector_of(verdict(&bytes, 5)), POSITION + 9);
        assert_eq!(sector_of(verdict(&sixteen(6), 5)), POSITION);
        assert_eq!(sector_of(verdict(&sixteen(5)[..8100], 5)), POSITION + 15);
    }

    #[test]
    fn a_whole_batch_that_does_not_parse_is_damage() {
        let mut stream = Vec::new();
        batch::begin(&mut stream);
        let mut out = BytesMut::new();
        sector::frame(&stream, 8, POSITION, BatchNumber(5), &mut out);
        assert_eq!(sector_of(verdict(&out, 5)), POSITION);
        assert_eq!(sector_of(judge(&sixteen(5), POSITION, BatchNumber(5), SegmentNumber(2))), POSITION);
        assert_eq!(sector_of(verdict(&sixteen(5), 5)), POSITION, "whole, so its records were at fault");
    }

    #[test]
    fn a_sector_behind_the_end_is_damage() {
        let mut stream = Vec::new();
        batch::begin(&mut stream);
        let sectors = batch::seal(&mut stream, 0, SEGMENT, 1);
        let mut out = BytesMut::new();
        sector::frame(&stream, sectors + 8, POSITION, BatchNumber(5), &mut out);
        assert_eq!(sector_of(verdict(&out, 5)), POSITION + 8);
    }
}
