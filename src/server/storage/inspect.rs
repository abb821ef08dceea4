//! Looking into a data folder without changing it: what `quorate storage verify` and `dump` print.
//!
//! Both hold LOCK meanwhile. Neither repairs: repair is replacing the node.

use crate::batch;
use crate::descriptors::Descriptors;
use crate::error::{Damage, StorageError, Tried};
use crate::identity::{self, Identity, Standing};
use crate::index::Live;
use crate::record::{Marks, RECORD_HEAD_BYTES, Record};
use crate::recovery::{self, Listing, Tail};
use crate::scan::{self, Opened, Seen};
use crate::sector::SECTOR_BYTES;
use crate::segment::SegmentNumber;
use crate::snapshot::{self, SnapshotFile};
use quorate_core::model::GroupId;
use quorate_world::disk::{Disk, DiskLock, NodeDisk};
use std::io;

/// What a folder holds, and everything that is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Whose it is.
    pub identity: Identity,
    /// The segments, those that no longer count too.
    pub segments: Vec<SegmentReport>,
    /// The groups; empty if the log cannot be read.
    pub groups: Vec<GroupReport>,
    /// The end of the log, if it can be read.
    pub tail: Option<Tail>,
    /// The first damage of each file.
    pub damage: Vec<Damage>,
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentReport {
    /// Its file, relative to the data folder.
    pub file: String,
    /// The start that wrote it.
    pub epoch: u64,
    /// Whole batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes up to the end of the last batch.
    pub used_bytes: u64,
    /// Entries that live in it.
    pub live_entries: u64,
    /// Bytes of their payloads.
    pub live_bytes: u64,
}

/// One group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupReport {
    /// Which.
    pub group: GroupId,
    /// Vote, marks and range of the log.
    pub marks: Marks,
    /// How many terms its entries are of.
    pub terms: usize,
    /// Its snapshot: file name and xxh3-128 of the state, if it is whole.
    pub snapshot: Option<(String, u128)>,
}

async fn lock(disk: &NodeDisk) -> Result<DiskLock, StorageError> {
    // Taking the lock would make its file, and nothing is changed here.
    let names = disk.pooled().list("").await.tried("list the data folder")?;
    if !names.iter().any(|name| name == crate::storage::LOCK) {
        return Err(StorageError::Refused("this is no data folder: no node has ever used it".to_owned()));
    }
    match disk.pooled().lock(crate::storage::LOCK).await {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(StorageError::InUse),
        other => other.tried("lock the data folder"),
    }
}

async fn owner(disk: &NodeDisk) -> Result<Identity, StorageError> {
    match identity::load(&disk.pooled()).await? {
        Standing::Founded(identity) => Ok(identity),
        Standing::Unfinished | Standing::Blank => {
            Err(StorageError::Refused("the data folder is not founded".to_owned()))
        }
    }
}

impl Report {
    /// Damage goes to the report, other errors end it.
    fn note<T>(&mut self, result: Result<T, StorageError>) -> Result<Option<T>, StorageError> {
        match result.map_err(|error| error.of_node(self.identity.node)) {
            Ok(value) => Ok(Some(value)),
            Err(StorageError::Damaged(found)) => {
                if !self.damage.contains(&found) {
                    self.damage.push(found);
                }
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

/// Reads everything and reports.
pub async fn verify(disk: &NodeDisk) -> Result<Report, StorageError> {
    let _lock = lock(disk).await?;
    let identity = owner(disk).await?;
    let listing = Listing::read(disk, 0).await?;
    let mut report = Report { identity, segments: Vec::new(), groups: Vec::new(), tail: None, damage: Vec::new() };
    let mut live = Live::default();
    let newest = listing.segments.last().copied().ok_or_else(recovery::no_segment)?;
    let log = recovery::read_log(disk, &identity.disk, newest, &listing.segments).await;
    if let Some(log) = report.note(log)? {
        report.tail = Some(log.recovery.tail);
        live = log.recovery.live;
        report.groups = log
            .recovery
            .groups
            .into_iter()
            .map(|(group, index)| GroupReport {
                group,
                marks: index.marks(),
                terms: index.term_starts().count(),
                snapshot: None,
            })
            .collect();
    }
    for segment in listing.segments {
        let look = look_at(disk, &identity, segment, &live).await;
        let looked = report.note(look)?;
        report.segments.extend(looked);
    }
    verify_snapshots(disk, &mut report).await?;
    Ok(report)
}

async fn look_at(
    disk: &NodeDisk,
    identity: &Identity,
    segment: SegmentNumber,
    live: &Live,
) -> Result<SegmentReport, StorageError> {
    let opened = Opened::open(disk, segment, &identity.disk).await?;
    let (mut batches, mut records) = (0, 0);
    let scanned = scan::scan(&opened, None, |batch| {
        batches += 1;
        records += u64::from(batch.head.records);
        Ok(())
    });
    let scanned = scanned.await?;
    let share = live.share(segment);
    Ok(SegmentReport {
        file: segment.path(),
        epoch: opened.header.epoch,
        batches,
        records,
        used_bytes: scanned.end_bytes,
        live_entries: share.entries,
        live_bytes: share.bytes,
    })
}

async fn verify_snapshots(disk: &NodeDisk, report: &mut Report) -> Result<(), StorageError> {
    let pooled = disk.pooled();
    for name in pooled.list(snapshot::FOLDER).await.tried("list the snap folder")? {
        let Some((group, _)) = snapshot::parse_file_name(&name) else { continue };
        let path = format!("{}/{name}", snapshot::FOLDER);
        let whose = (report.identity.cluster, group);
        let file = SnapshotFile::open(&pooled, &Descriptors::default(), path, whose, None).await;
        if let Some(file) = report.note(file)?
            && let Some(found) = report.groups.iter_mut().find(|found| found.group == group)
        {
            found.snapshot = Some((name, file.name()));
        }
    }
    Ok(())
}

/// One record, as `dump` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DumpedRecord {
    /// The segment's file, relative to the data folder.
    pub file: String,
    /// Where its batch starts in the file, in bytes.
    pub offset: u64,
    /// The number of its batch.
    pub batch: u64,
    /// Its group; 0 for the base of a checkpoint.
    pub group: GroupId,
    /// Kind and fields in words.
    pub text: String,
    /// Payload of an entry.
    pub payload: Vec<u8>,
}

/// Shows every record of every segment in order, or of one group or segment.
pub async fn dump(
    disk: &NodeDisk,
    group: Option<GroupId>,
    segment: Option<u32>,
    show: &mut (dyn FnMut(DumpedRecord) + Send),
) -> Result<(), StorageError> {
    let _lock = lock(disk).await?;
    let identity = owner(disk).await?;
    let listing = Listing::read(disk, 0).await?;
    for number in listing.segments.into_iter().filter(|number| segment.is_none_or(|only| only == number.0)) {
        let opened = Opened::open(disk, number, &identity.disk).await?;
        let scanned = scan::scan(&opened, None, |batch| {
            dump_batch(batch, group, show);
            Ok(())
        });
        scanned.await?;
    }
    Ok(())
}

fn dump_batch(batch: &Seen<'_>, only: Option<GroupId>, show: &mut (dyn FnMut(DumpedRecord) + Send)) {
    for record in batch::records(batch.stream) {
        let Ok((_, group, record)) = record else { return };
        if only.is_some_and(|only| only != group) {
            continue;
        }
        let (text, payload) = describe(&record);
        let offset = u64::from(batch.position) * SECTOR_BYTES as u64;
        show(DumpedRecord { file: batch.segment.path(), offset, batch: batch.number.0, group, text, payload });
    }
}

fn describe(record: &Record<'_>) -> (String, Vec<u8>) {
    match record {
        Record::Entry { log_id, payload } | Record::Carried { log_id, payload } => {
            let kind = if matches!(record, Record::Entry { .. }) { "entry" } else { "carried" };
            let bytes = RECORD_HEAD_BYTES + payload.len();
            (format!("{kind} index={} term={} bytes={bytes}", log_id.index, log_id.term), payload.to_vec())
        }
        Record::Vote(vote) => {
            let text = format!("vote term={} node={} committed={}", vote.term, vote.node, vote.committed);
            (text, Vec::new())
        }
        Record::TruncateFrom(index) => (format!("truncate_from index={index}"), Vec::new()),
        Record::Purge(upto) => (format!("purge index={} term={}", upto.index, upto.term), Vec::new()),
        Record::Committed(upto) => (format!("committed index={} term={}", upto.index, upto.term), Vec::new()),
        Record::Remove => ("remove".to_owned(), Vec::new()),
        Record::State(marks) => (format!("state {marks:?}"), Vec::new()),
        Record::Base(needed) => (format!("base {needed:?}"), Vec::new()),
    }
}
