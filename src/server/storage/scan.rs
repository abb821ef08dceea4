//! Reading a segment from its first batch to its end, replaying all records.
//!
//! Older segments must be perfect up to the end that the newest checkpoint names. Behind the last whole batch of the
//! newest one the verdict decides.

use crate::batch::{self, BatchHead, Found};
use crate::error::{Damage, StorageError, Tried};
use crate::index::{GroupIndex, Live, Place};
use crate::limits::SCAN_READ_BYTES;
use crate::record::{Needed, Record};
use crate::sector::{self, BLOCK_BYTES, BatchNumber, DATA_BYTES, SECTOR_BYTES, Sector};
use crate::segment::{FIRST_BATCH_SECTOR, Header, HeaderError, SEGMENT_VERSION, SegmentNumber};
use crate::verdict::{self, Verdict};
use quorate_core::model::GroupId;
use quorate_world::disk::{Disk, DiskFile, NodeDisk, NodeFile, OpenHow};
use std::collections::BTreeMap;

/// What the records seen so far amount to.
#[derive(Default)]
pub(crate) struct Replay {
    pub groups: BTreeMap<GroupId, GroupIndex>,
    pub live: Live,
    pub entries: u64,
}

impl Replay {
    /// Replays the records of one batch.
    pub fn apply(&mut self, batch: &Seen<'_>) -> Result<(), String> {
        let Seen { stream, segment, head, position, .. } = *batch;
        let base = position as usize * DATA_BYTES;
        let mut seen = 0;
        for record in batch::records(stream) {
            let (offset, group, record) = record.map_err(|malformed| malformed.to_string())?;
            seen += 1;
            let bytes = match &record {
                Record::Base(_) => continue,
                Record::Entry { payload, .. } | Record::Carried { payload, .. } => payload.len() as u32,
                Record::Vote(_) | Record::TruncateFrom(_) | Record::Purge(_) | Record::Committed(_) => 0,
                Record::Remove | Record::State(_) => 0,
            };
            self.entries += u64::from(matches!(record, Record::Entry { .. }));
            let place = Place { segment, offset: (base + offset) as u32, bytes };
            let index = self.groups.entry(group).or_default();
            index.apply(&record, place, &mut self.live).map_err(|why| format!("group {group}: {why}"))?;
        }
        if seen == head.records {
            return Ok(());
        }
        Err(format!("it holds {seen} records, but its head says {}", head.records))
    }
}

/// A whole batch, as a scan meets it.
pub(crate) struct Seen<'a> {
    pub segment: SegmentNumber,
    /// Its first sector.
    pub position: u32,
    pub number: BatchNumber,
    pub head: BatchHead,
    pub stream: &'a [u8],
}

/// A segment, opened, with its header checked.
pub(crate) struct Opened {
    pub header: Header,
    pub file: NodeFile,
    pub bytes: u64,
}

impl Opened {
    pub async fn open(disk: &NodeDisk, segment: SegmentNumber, owner: &[u8; 16]) -> Result<Opened, StorageError> {
        let path = segment.path();
        let damaged = |offset: u64, what: &str| StorageError::from(Damage::new(&path, offset, what));
        let file = disk.open(&path, OpenHow::Write).await.tried("open a segment")?;
        let bytes = file.len().await.tried("read a segment")?;
        if bytes < 2 * BLOCK_BYTES as u64 {
            return Err(damaged(0, "the segment is cut short"));
        }
        let block = file.read_at(0, vec![0; BLOCK_BYTES]).await.tried("read a segment")?;
        let header = Header::parse(&block).map_err(|error| match error {
            HeaderError::Damaged { sector, what } => {
                quorate_core::sometimes!("start_refused_for_a_damaged_header");
                damaged(u64::from(sector) * SECTOR_BYTES as u64, what)
            }
            HeaderError::Newer { version } => {
                StorageError::Newer { file: path.clone(), found: version, read_up_to: SEGMENT_VERSION }
            }
        })?;
        if header.segment != segment {
            return Err(damaged(0, "this is another segment under a wrong name"));
        }
        if header.disk != *owner {
            return Err(damaged(0, "this is a segment of another disk"));
        }
        if u64::from(header.segment_bytes) != bytes {
            return Err(damaged(bytes.min(header.segment_bytes.into()), "the segment does not have its length"));
        }
        Ok(Opened { header, file, bytes })
    }

    /// The segments that the checkpoint at the start of this one needs.
    pub async fn base(&self) -> Result<Vec<Needed>, StorageError> {
        let mut stream = Vec::new();
        let mut window = Window::new(self);
        let at = u64::from(FIRST_BATCH_SECTOR) * SECTOR_BYTES as u64;
        let found = window.batch(at, self.header.first_batch, &mut stream).await?;
        if let Found::Batch(_) = found
            && let Some(Ok((_, _, Record::Base(needed)))) = batch::records(&stream).next()
        {
            return Ok(needed);
        }
        Err(self.damaged(at, "the checkpoint at the start of the segment is damaged"))
    }

    fn damaged(&self, offset: u64, what: impl Into<String>) -> StorageError {
        Damage::new(self.header.segment.path(), offset, what).into()
    }
}

/// How a scan of one segment ended.
pub(crate) struct Scanned {
    /// Behind the last whole batch.
    pub end_bytes: u64,
    /// Where that batch starts.
    pub last_batch_at: u64,
    /// The number of the batch that would follow.
    pub expected: BatchNumber,
    /// The highest epoch in it.
    pub epoch: u64,
    /// What stands behind; always clean for a sealed segment.
    pub tail: Verdict,
}

/// Shows all batches of a segment, up to `end_bytes` if it is sealed. What `see` complains of is damage.
pub(crate) async fn scan(
    opened: &Opened,
    end_bytes: Option<u64>,
    mut see: impl FnMut(&Seen<'_>) -> Result<(), String>,
) -> Result<Scanned, StorageError> {
    let segment = opened.header.segment;
    let mut window = Window::new(opened);
    let mut stream = Vec::new();
    let mut at = u64::from(FIRST_BATCH_SECTOR) * SECTOR_BYTES as u64;
    let (mut expected, mut last_batch_at, mut epoch) = (opened.header.first_batch, at, opened.header.epoch);
    while end_bytes != Some(at) && at < opened.bytes {
        let head = match window.batch(at, expected, &mut stream).await? {
            Found::Batch(head) => head,
            Found::Longer { .. } | Found::NotWhole => break,
        };
        let position = (at / SECTOR_BYTES as u64) as u32;
        let batch = Seen { segment, position, number: expected, head, stream: &stream };
        see(&batch).map_err(|what| {
            opened.damaged(at, format!("batch {} is fully written but does not parse: {what}", expected.0))
        })?;
        last_batch_at = at;
        at += u64::from(head.sectors) * SECTOR_BYTES as u64;
        (expected, epoch) = (expected.next(), epoch.max(head.epoch));
    }
    let tail = match end_bytes {
        Some(end) if end == at => Verdict::Clean,
        Some(end) => {
            quorate_core::sometimes!("start_refused_for_a_damaged_sealed_segment");
            return Err(imperfect(opened, at, end, expected).await?);
        }
        None if expected == opened.header.first_batch => {
            quorate_core::sometimes!("start_refused_for_a_damaged_checkpoint");
            return Err(opened.damaged(at, "the checkpoint at the start of the segment is damaged"));
        }
        None => judge_tail(opened, at, expected).await?,
    };
    Ok(Scanned { end_bytes: at, last_batch_at, expected, epoch, tail })
}

async fn judge_tail(opened: &Opened, at: u64, expected: BatchNumber) -> Result<Verdict, StorageError> {
    if quorate_world::bug!("first_bad_is_the_end") {
        return Ok(Verdict::Clean);
    }
    let rest = vec![0; (opened.bytes - at) as usize];
    let rest = opened.file.read_at(at, rest).await.tried("read a segment")?;
    let position = (at / SECTOR_BYTES as u64) as u32;
    match verdict::judge(&rest, position, expected, opened.header.segment) {
        Verdict::Damaged { sector, what } => {
            quorate_core::sometimes!("start_refused_for_a_damaged_end_of_the_log");
            Err(opened.damaged(u64::from(sector) * SECTOR_BYTES as u64, what))
        }
        judged @ (Verdict::Clean | Verdict::Torn { .. }) => Ok(judged),
    }
}

/// Finds the sector at fault in a sealed segment.
async fn imperfect(opened: &Opened, at: u64, end: u64, expected: BatchNumber) -> Result<StorageError, StorageError> {
    let what = format!("batch {} of a sealed segment is damaged", expected.0);
    if end < at || end > opened.bytes || !(end - at).is_multiple_of(BLOCK_BYTES as u64) {
        return Ok(opened.damaged(at, "the segment does not end where the newest checkpoint says"));
    }
    let block = opened.file.read_at(at, vec![0; BLOCK_BYTES]).await.tried("read a segment")?;
    let head = BatchHead::parse(sector::data(&block[..SECTOR_BYTES]));
    let bytes = head.map_or(BLOCK_BYTES as u64, |head| u64::from(head.sectors) * SECTOR_BYTES as u64).min(end - at);
    let sectors = opened.file.read_at(at, vec![0; bytes as usize]).await.tried("read a segment")?;
    let first = (at / SECTOR_BYTES as u64) as u32;
    let bad = sectors.chunks_exact(SECTOR_BYTES).enumerate().find_map(|(i, one)| {
        let found = sector::classify(one, first + i as u32);
        (found != Sector::Numbered(expected)).then_some(i as u64)
    });
    Ok(opened.damaged(at + bad.unwrap_or(0) * SECTOR_BYTES as u64, what))
}

/// A stretch of a segment in memory, moved forward with large reads.
struct Window<'a> {
    opened: &'a Opened,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(opened: &'a Opened) -> Window<'a> {
        Window { opened, at: 0, bytes: Vec::new() }
    }

    /// Reads the batch at `at` into `stream`.
    async fn batch(&mut self, at: u64, number: BatchNumber, stream: &mut Vec<u8>) -> Result<Found, StorageError> {
        let position = (at / SECTOR_BYTES as u64) as u32;
        let mut wanted = BLOCK_BYTES;
        loop {
            let held = self.bytes.get(at.saturating_sub(self.at) as usize..).unwrap_or(&[]);
            if held.len() < wanted {
                let left = self.opened.bytes - at;
                if (wanted as u64) > left {
                    return Ok(Found::NotWhole);
                }
                let mut buffer = core::mem::take(&mut self.bytes);
                buffer.resize((wanted.max(SCAN_READ_BYTES) as u64).min(left) as usize, 0);
                self.bytes = self.opened.file.read_at(at, buffer).await.tried("read a segment")?;
                self.at = at;
            }
            let held = &self.bytes[(at - self.at) as usize..];
            match batch::read(held, position, number, self.opened.header.segment, stream) {
                Found::Longer { bytes } => wanted = bytes,
                found @ (Found::Batch(_) | Found::NotWhole) => return Ok(found),
            }
        }
    }
}
