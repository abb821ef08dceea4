//! A start: from the files of a crash to the state that everybody was told of.
//!
//! A stop and a crash take the same path. The newest checkpoint names the segments that count; they are scanned in
//! order; the verdict decides about the end. Then the last batch is written again, same bytes, and synced: after a
//! failed sync and after a mere process crash the page cache shows what the disk may not have. Old segments are never
//! written again otherwise; the writer goes on in a new one.

use crate::error::{Damage, StorageError, Tried};
use crate::index::{GroupIndex, Live};
use crate::scan::{self, Opened, Replay, Scanned, Seen};
use crate::sector::{BLOCK_BYTES, BatchNumber, SECTOR_BYTES};
use crate::segment::{self, FIRST_BATCH_SECTOR, Name, SegmentNumber};
use crate::verdict::Verdict;
use bytes::Bytes;
use core::fmt;
use quorate_core::model::GroupId;
use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::time::{Duration, Instant};
use std::collections::BTreeMap;

const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// What stood at the end of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tail {
    /// A whole batch.
    Clean,
    /// Parts of a batch whose sync never finished; it was dropped.
    Torn {
        /// Its number.
        batch: u64,
        /// Where it starts in the newest segment, in bytes.
        offset: u64,
        /// Sectors of it that were there.
        found: u32,
        /// Sectors it should have had, if its head was there.
        expected: Option<u32>,
    },
}

impl fmt::Display for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tail::Clean => write!(f, "tail=clean"),
            Tail::Torn { batch, offset, found, expected } => {
                write!(f, "tail=torn dropped_batch={batch} offset={offset} sectors={found}/")?;
                match expected {
                    Some(expected) => write!(f, "{expected}"),
                    None => write!(f, "?"),
                }
            }
        }
    }
}

/// What a start found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Segments that counted.
    pub segments: usize,
    /// Entries that were read, dead ones too.
    pub entries: u64,
    /// Groups found.
    pub groups: usize,
    /// The end of the log.
    pub tail: Tail,
    /// Number of this start.
    pub epoch: u64,
    /// How long it took.
    pub elapsed_ms: u64,
}

/// Where a sealed segment's log ends, and how large its file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sealed {
    pub end_bytes: u64,
    pub file_bytes: u32,
}

/// The state of a data folder.
pub(crate) struct Recovery {
    pub groups: BTreeMap<GroupId, GroupIndex>,
    pub live: Live,
    pub sealed: BTreeMap<SegmentNumber, Sealed>,
    pub newest: SegmentNumber,
    /// The batch that would have followed; its number is not used again.
    pub expected: BatchNumber,
    /// The highest epoch found.
    pub epoch: u64,
    pub entries: u64,
    pub tail: Tail,
    /// Segments that no longer count.
    pub dead: Vec<(SegmentNumber, u32)>,
    pub spares: Vec<u64>,
    /// Names that may go once a new checkpoint is durable.
    pub rubbish: Vec<String>,
}

/// Reads the log; writes nothing but the last batch, again.
pub(crate) async fn recover(disk: &NodeDisk, owner: &[u8; 16], segment_bytes: u32) -> Result<Recovery, StorageError> {
    disk.sync_folder(segment::FOLDER).await.tried("sync the wal folder")?;
    let listing = Listing::read(disk, segment_bytes).await?;
    let Some(newest) = listing.segments.last().copied() else {
        return Err(no_segment());
    };
    let mut log = read_log(disk, owner, newest, &listing.segments).await?;
    if !quorate_world::bug!("last_batch_not_rewritten") {
        write_last_batch_again(&log).await?;
    }
    let recovery = &mut log.recovery;
    if recovery.sealed.len() > 1 {
        quorate_core::sometimes!("start_read_several_segments");
    }
    for segment in listing.segments.iter().filter(|segment| !recovery.sealed.contains_key(segment)) {
        let file = disk.open(&segment.path(), OpenHow::Read).await.tried("open a segment")?;
        let bytes = file.len().await.tried("read a segment")?;
        quorate_core::sometimes!("start_found_a_dead_segment");
        recovery.dead.push((*segment, u32::try_from(bytes).unwrap_or(0)));
    }
    (recovery.spares, recovery.rubbish) = (listing.spares, listing.rubbish);
    Ok(log.recovery)
}

pub(crate) fn no_segment() -> StorageError {
    StorageError::Refused("the data folder has an IDENTITY, but no segment of the log".to_owned())
}

/// A log that was read, and its newest segment.
pub(crate) struct Log {
    pub recovery: Recovery,
    last: Opened,
    last_batch_at: u64,
}

/// Reads the log and writes nothing: for a start and for the offline tools.
pub(crate) async fn read_log(
    disk: &NodeDisk,
    owner: &[u8; 16],
    newest: SegmentNumber,
    present: &[SegmentNumber],
) -> Result<Log, StorageError> {
    let mut replay = Replay::default();
    let mut sealed = BTreeMap::new();
    let last = Opened::open(disk, newest, owner).await?;
    let needed = last.base().await?;
    let mut progress = Progress::new(needed.len() + 1);
    let (mut epoch, mut previous) = (0, SegmentNumber(0));
    for older in &needed {
        if older.segment <= previous || older.segment >= newest {
            return Err(
                Damage::new(newest.path(), BLOCK_BYTES as u64, "the checkpoint lists segments out of order").into()
            );
        }
        if !present.contains(&older.segment) {
            quorate_core::sometimes!("start_refused_for_a_missing_segment");
            return Err(Damage::new(older.segment.path(), 0, "the segment is missing").into());
        }
        previous = older.segment;
        let opened = Opened::open(disk, older.segment, owner).await?;
        progress.next_segment();
        let scanned = scan::scan(&opened, Some(older.end_bytes), |batch| {
            progress.read(batch);
            replay.apply(batch)
        });
        let scanned = scanned.await?;
        epoch = epoch.max(scanned.epoch);
        sealed.insert(older.segment, opened.seal(&scanned));
    }
    progress.next_segment();
    let scanned = scan::scan(&last, None, |batch| {
        progress.read(batch);
        replay.apply(batch)
    });
    let scanned = scanned.await?;
    sealed.insert(newest, last.seal(&scanned));
    if let Some((group, index)) = replay.groups.iter().find_map(|(id, group)| Some((id, group.missing()?))) {
        let what = format!("entry {index} of group {group} is in no segment");
        return Err(Damage::new(newest.path(), BLOCK_BYTES as u64, what).into());
    }
    let tail = match scanned.tail {
        Verdict::Torn { found, expected } => {
            match expected {
                Some(_) => quorate_core::sometimes!("last_batch_was_torn"),
                None => quorate_core::sometimes!("last_batch_was_torn_and_has_no_head"),
            }
            Tail::Torn { batch: scanned.expected.0, offset: scanned.end_bytes, found, expected }
        }
        Verdict::Clean | Verdict::Damaged { .. } => Tail::Clean,
    };
    let recovery = Recovery {
        groups: replay.groups,
        live: replay.live,
        entries: replay.entries,
        sealed,
        newest,
        expected: scanned.expected,
        epoch: epoch.max(scanned.epoch),
        tail,
        dead: Vec::new(),
        spares: Vec::new(),
        rubbish: Vec::new(),
    };
    Ok(Log { recovery, last, last_batch_at: scanned.last_batch_at })
}

impl Opened {
    fn seal(&self, scanned: &Scanned) -> Sealed {
        Sealed { end_bytes: scanned.end_bytes, file_bytes: self.header.segment_bytes }
    }
}

async fn write_last_batch_again(log: &Log) -> Result<(), StorageError> {
    // Block 0 was written with the first batch.
    let first_at = u64::from(FIRST_BATCH_SECTOR) * SECTOR_BYTES as u64;
    let from = if log.last_batch_at == first_at { 0 } else { log.last_batch_at };
    let end = log.recovery.sealed[&log.recovery.newest].end_bytes;
    let bytes = log.last.file.read_at(from, vec![0; (end - from) as usize]).await.tried("read the last batch")?;
    log.last.file.write_at(from, Bytes::from(bytes)).await.tried("write the last batch again")?;
    log.last.file.sync_data().await.tried("sync the last batch")
}

/// The folder of segments.
pub(crate) struct Listing {
    pub segments: Vec<SegmentNumber>,
    spares: Vec<u64>,
    rubbish: Vec<String>,
}

impl Listing {
    pub async fn read(disk: &NodeDisk, segment_bytes: u32) -> Result<Listing, StorageError> {
        let mut listing = Listing { segments: Vec::new(), spares: Vec::new(), rubbish: Vec::new() };
        for name in disk.list(segment::FOLDER).await.tried("list the wal folder")? {
            let path = format!("{}/{name}", segment::FOLDER);
            match Name::parse(&name) {
                Name::Segment(number) => listing.segments.push(number),
                Name::Spare(number) => {
                    let file = disk.open(&path, OpenHow::Read).await.tried("open a spare")?;
                    if file.len().await.tried("read a spare")? == u64::from(segment_bytes) {
                        listing.spares.push(number);
                    } else {
                        listing.rubbish.push(path);
                    }
                }
                Name::Unfinished => {
                    quorate_core::sometimes!("start_found_an_unfinished_spare");
                    listing.rubbish.push(path);
                }
                Name::Foreign => tracing::warn!("storage: {path} is not ours, left alone"),
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }
}

/// A line every two seconds, for logs that take long.
struct Progress {
    segments: usize,
    segment: usize,
    read_bytes: u64,
    began: Instant,
    said: Instant,
}

impl Progress {
    fn new(segments: usize) -> Progress {
        let now = Instant::now();
        Progress { segments, segment: 0, read_bytes: 0, began: now, said: now }
    }

    fn next_segment(&mut self) {
        self.segment += 1;
    }

    fn read(&mut self, batch: &Seen<'_>) {
        self.read_bytes += u64::from(batch.head.sectors) * SECTOR_BYTES as u64;
        if self.said.elapsed() >= PROGRESS_EVERY {
            self.said = Instant::now();
            let (segment, segments, read_mb) = (self.segment, self.segments, self.read_bytes >> 20);
            let elapsed_ms = self.began.elapsed().as_millis();
            tracing::info!(
                "storage: recovering segment={segment}/{segments} read_mb={read_mb} elapsed_ms={elapsed_ms}"
            );
        }
    }
}
