//! A batch: what goes to the disk with one write and one sync, for all groups together.
//!
//! In memory a batch is its stream: a head, then the records. On disk the stream is cut into sectors, all of which
//! carry the batch's number. The records are replayed from the stream by one walk, when the batch has become durable
//! and again when a start finds it.

use crate::record::{self, Malformed, Record};
use crate::sector::{self, BLOCK_SECTORS, BatchNumber, SECTOR_BYTES, Sector, u32_at, u64_at};
use crate::segment::SegmentNumber;
use quorate_core::model::GroupId;

/// Bytes of the stream before the first record.
pub const BATCH_HEAD_BYTES: usize = 32;
const MAGIC: &[u8; 4] = b"QWB1";

/// What the head of a batch says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHead {
    /// Sectors it fills, a multiple of a block's.
    pub sectors: u32,
    /// Bytes of all records.
    pub bytes: u32,
    /// How many records.
    pub records: u32,
    /// The segment it was written to.
    pub segment: SegmentNumber,
    /// The start that wrote it.
    pub epoch: u64,
}

/// Starts a stream: the head is filled by [`seal`].
pub fn begin(stream: &mut Vec<u8>) {
    stream.clear();
    stream.resize(BATCH_HEAD_BYTES, 0);
}

/// Fills the head of a finished stream and says how many sectors the batch takes.
pub fn seal(stream: &mut [u8], records: u32, segment: SegmentNumber, epoch: u64) -> usize {
    let sectors = sector::sectors_for(stream.len());
    let bytes = stream.len() - BATCH_HEAD_BYTES;
    stream[0..4].copy_from_slice(MAGIC);
    stream[4..8].copy_from_slice(&(sectors as u32).to_le_bytes());
    stream[8..12].copy_from_slice(&(bytes as u32).to_le_bytes());
    stream[12..16].copy_from_slice(&records.to_le_bytes());
    stream[16..24].copy_from_slice(&u64::from(segment.0).to_le_bytes());
    stream[24..32].copy_from_slice(&epoch.to_le_bytes());
    sectors
}

impl BatchHead {
    /// Reads the head out of the data of a batch's first sector.
    pub fn parse(stream: &[u8]) -> Result<BatchHead, &'static str> {
        let (sectors, bytes) = (u32_at(stream, 4), u32_at(stream, 8));
        if &stream[0..4] != MAGIC {
            return Err("a batch does not begin here");
        }
        let needed = sector::sectors_for(BATCH_HEAD_BYTES + bytes as usize);
        if sectors == 0 || !(sectors as usize).is_multiple_of(BLOCK_SECTORS) || sectors as usize != needed {
            return Err("a batch head has an impossible length");
        }
        let Ok(segment) = u32::try_from(u64_at(stream, 16)) else {
            return Err("a batch head names an impossible segment");
        };
        let (records, epoch) = (u32_at(stream, 12), u64_at(stream, 24));
        Ok(BatchHead { sectors, bytes, records, segment: SegmentNumber(segment), epoch })
    }
}

/// What stands at a place where a batch may start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// A whole batch; its stream was handed out.
    Batch(BatchHead),
    /// The batch begins here and needs so many bytes, more than were given.
    Longer { bytes: usize },
    /// Not the whole batch with that number: the verdict decides what it is.
    NotWhole,
}

/// Reads the batch numbered `number` of `segment` from `sectors`, which stand at `position` of the file, into `stream`.
pub fn read(sectors: &[u8], position: u32, number: BatchNumber, segment: SegmentNumber, stream: &mut Vec<u8>) -> Found {
    let expected = Sector::Numbered(number);
    let Some(first) = sectors.get(..SECTOR_BYTES) else {
        return Found::Longer { bytes: BLOCK_SECTORS * SECTOR_BYTES };
    };
    if sector::classify(first, position) != expected {
        return Found::NotWhole;
    }
    let head = match BatchHead::parse(sector::data(first)) {
        Ok(head) if head.segment == segment => head,
        Ok(_) | Err(_) => return Found::NotWhole,
    };
    let bytes = head.sectors as usize * SECTOR_BYTES;
    let Some(whole) = sectors.get(..bytes) else {
        return Found::Longer { bytes };
    };
    stream.clear();
    for (i, one) in whole.chunks_exact(SECTOR_BYTES).enumerate() {
        if sector::classify(one, position + i as u32) != expected {
            return Found::NotWhole;
        }
        stream.extend_from_slice(sector::data(one));
    }
    stream.truncate(BATCH_HEAD_BYTES + head.bytes as usize);
    Found::Batch(head)
}

/// The records of a stream in order, each with the offset where it starts.
pub struct Records<'a> {
    stream: &'a [u8],
    at: usize,
}

/// Walks the records of a stream.
pub fn records(stream: &[u8]) -> Records<'_> {
    Records { stream, at: BATCH_HEAD_BYTES }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(usize, GroupId, Record<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.stream.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        match record::decode(rest) {
            Ok((group, record, taken)) => {
                self.at += taken;
                Some(Ok((start, group, record)))
            }
            Err(malformed) => {
                self.at = self.stream.len();
                Some(Err(malformed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use quorate_core::model::{LogId, LogIndex, Term};

    fn framed(payload_bytes: usize) -> (BytesMut, usize) {
        let payload = vec![7; payload_bytes];
        let mut stream = Vec::new();
        begin(&mut stream);
        for index in 1..=2 {
            let log_id = LogId { term: Term(1), index: LogIndex(index) };
            Record::Entry { log_id, payload: &payload }.encode(GroupId(3), &mut stream);
        }
        let sectors = seal(&mut stream, 2, SegmentNumber(4), 9);
        let mut out = BytesMut::new();
        sector::frame(&stream, sectors, 16, BatchNumber(5), &mut out);
        (out, sectors)
    }

    #[test]
    fn a_batch_comes_back() {
        let (bytes, sectors) = framed(3000);
        let mut stream = Vec::new();
        let found = read(&bytes, 16, BatchNumber(5), SegmentNumber(4), &mut stream);
        let Found::Batch(head) = found else { panic!("{found:?}") };
        assert_eq!((head.sectors as usize, head.records, head.epoch), (sectors, 2, 9));
        let offsets: Vec<usize> = records(&stream).map(|record| record.expect("whole").0).collect();
        assert_eq!(offsets, [BATCH_HEAD_BYTES, BATCH_HEAD_BYTES + 3032]);
    }

    #[test]
    fn another_number_segment_or_place_is_not_the_batch() {
        let (bytes, _) = framed(10);
        let mut stream = Vec::new();
        let mut read = |at, number, segment| read(&bytes, at, BatchNumber(number), SegmentNumber(segment), &mut stream);
        assert_eq!(read(16, 6, 4), Found::NotWhole);
        assert_eq!(read(16, 5, 3), Found::NotWhole);
        assert_eq!(read(24, 5, 4), Found::NotWhole);
    }

    proptest::proptest! {
        /// Whatever stands on the disk under a good checksum, reading it neither panics nor takes much memory.
        #[test]
        fn any_stream_is_read_without_a_panic(
            mut bytes in proptest::collection::vec(0u8..12, 64..2000),
            head in proptest::bool::ANY,
        ) {
            let framed_sectors = sector::sectors_for(bytes.len());
            if head {
                let records = u32::from(bytes[40]);
                seal(&mut bytes, records, SegmentNumber(4), 9);
            }
            let mut out = BytesMut::new();
            sector::frame(&bytes, framed_sectors, 16, BatchNumber(5), &mut out);
            let mut stream = Vec::new();
            if let Found::Batch(_) = read(&out, 16, BatchNumber(5), SegmentNumber(4), &mut stream) {
                let mut index = crate::index::GroupIndex::default();
                let mut live = crate::index::Live::default();
                for (_, _, record) in records(&stream).map_while(Result::ok) {
                    let place = crate::index::Place { segment: SegmentNumber(4), offset: 0, bytes: 0 };
                    let _ = index.apply(&record, place, &mut live);
                }
            }
            crate::verdict::judge(&out, 16, BatchNumber(5), SegmentNumber(4));
        }
    }

    #[test]
    fn a_batch_that_is_cut_asks_for_more() {
        let (bytes, _) = framed(3000);
        let mut stream = Vec::new();
        let found = read(&bytes[..4096], 16, BatchNumber(5), SegmentNumber(4), &mut stream);
        assert_eq!(found, Found::Longer { bytes: bytes.len() });
    }
}
