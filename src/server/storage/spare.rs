//! Spares: files of a segment's size, full of zeros or recycled, that wait for a rotation.
//!
//! Appending halves the rate of syncs, so segments are written once in advance. A helper keeps two spares ready and
//! takes segments that no durable checkpoint lists any more: they become spares without zeroing, since old sectors
//! carry old numbers, or they are removed. A full device is the one error that it survives, beside a lack of
//! file descriptors: it tries again later.
//!
//! A spare is written under another name, synced, then renamed: what is called a spare has its full length on disk.

use crate::descriptors::Descriptors;
use crate::error::{StorageError, Tried, is_full, stop};
use crate::files::Files;
use crate::limits::SPARES;
use crate::segment::{self, SegmentNumber};
use bytes::Bytes;
use quorate_world::disk::{Disk, DiskFile, NodeDisk, NodeFile, OpenHow};
use quorate_world::select::select2;
use quorate_world::sync::Notify;
use quorate_world::time::{Duration, sleep};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const WRITE_BYTES: usize = 1 << 20;
/// Synced in small pieces and paced, so that zeroing hardly stands in the way of commits: 25 MB/s, unless somebody waits.
const SYNC_BYTES: u64 = 1 << 20;
const PACE_PER_SYNC: Duration = Duration::from_millis(40);
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Shelf {
    ready: VecDeque<u64>,
    retired: VecDeque<(SegmentNumber, u32)>,
    next: u64,
    /// The writer waits for one.
    wanted: bool,
    /// The last try met a full device.
    full: bool,
    closed: bool,
}

/// The spares of a node.
pub(crate) struct Spares {
    shelf: Mutex<Shelf>,
    /// The helper has something to do.
    wake: Notify,
    /// A spare is there.
    filled: Notify,
}

impl Spares {
    pub fn new() -> Spares {
        Spares { shelf: Mutex::new(Shelf::default()), wake: Notify::new(), filled: Notify::new() }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a start found.
    pub fn found(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut shelf = self.shelf();
        for number in numbers {
            shelf.next = shelf.next.max(number + 1);
            shelf.ready.push_back(number);
        }
    }

    /// Never gives this number or a lower one.
    pub fn number_above(&self, number: u64) {
        let mut shelf = self.shelf();
        shelf.next = shelf.next.max(number + 1);
    }

    /// A number that no spare has.
    pub fn fresh_number(&self) -> u64 {
        let mut shelf = self.shelf();
        shelf.next += 1;
        shelf.next - 1
    }

    /// A spare, if one is ready.
    pub fn take_ready(&self) -> Option<u64> {
        let taken = self.shelf().ready.pop_front();
        self.wake.notify_one();
        taken
    }

    /// A spare; waits for one, at a full device until space returns.
    pub async fn take(&self) -> u64 {
        let mut waited = false;
        loop {
            if let Some(number) = self.take_ready() {
                self.shelf().wanted = false;
                return number;
            }
            if !core::mem::replace(&mut waited, true) {
                quorate_core::sometimes!("log_waits_for_a_spare_segment");
                tracing::info!("storage: waiting for a spare segment");
            }
            self.shelf().wanted = true;
            self.filled.notified().await;
        }
    }

    /// Gives the helper segments that a durable checkpoint no longer lists.
    pub fn retire(&self, segments: impl IntoIterator<Item = (SegmentNumber, u32)>) {
        self.shelf().retired.extend(segments);
        self.wake.notify_one();
    }

    /// Whether the writer could rotate now.
    pub fn ready(&self) -> usize {
        self.shelf().ready.len()
    }

    /// Whether the device is full, and whether the writer waits for it.
    pub fn is_full(&self) -> (bool, bool) {
        let shelf = self.shelf();
        (shelf.full, shelf.wanted && shelf.ready.is_empty())
    }

    fn set_full(&self, full: bool) {
        self.shelf().full = full;
    }

    pub fn close(&self) {
        self.shelf().closed = true;
        self.wake.notify_one();
    }

    fn add(&self, number: u64) {
        self.shelf().ready.push_back(number);
        self.filled.notify_one();
    }
}

/// The helper, on a thread of its own.
pub(crate) struct Preparer {
    pub disk: NodeDisk,
    pub spares: Arc<Spares>,
    pub files: Arc<Files>,
    pub descriptors: Arc<Descriptors>,
    pub segment_bytes: u32,
}

enum Job {
    Retire(SegmentNumber, u32),
    Prepare,
    Wait,
    End,
}

impl Preparer {
    /// Works until the spares are closed.
    pub async fn run(self) {
        loop {
            let done = match self.next_job() {
                Job::Retire(segment, bytes) => self.retire(segment, bytes).await,
                Job::Prepare => self.prepare_one().await,
                Job::Wait => {
                    self.spares.wake.notified().await;
                    Ok(())
                }
                Job::End => return,
            };
            match done {
                Ok(()) => {}
                Err(StorageError::Io { source, .. }) if is_full(&source) => {
                    tracing::warn!("storage: the device is full, no spare segment: trying again");
                    self.spares.set_full(true);
                    select2(sleep(RETRY_WHEN_FULL), self.spares.wake.notified()).await;
                }
                Err(error) => stop(&error),
            }
        }
    }

    async fn prepare_one(&self) -> Result<(), StorageError> {
        let number = self.spares.fresh_number();
        if prepare(&self.disk, &self.descriptors, number, self.segment_bytes, Some(&self.spares)).await? {
            self.spares.set_full(false);
            self.spares.add(number);
        }
        Ok(())
    }

    fn next_job(&self) -> Job {
        let mut shelf = self.spares.shelf();
        if shelf.closed {
            return Job::End;
        }
        if let Some((segment, bytes)) = shelf.retired.pop_front() {
            return Job::Retire(segment, bytes);
        }
        if shelf.ready.len() < SPARES { Job::Prepare } else { Job::Wait }
    }

    /// Makes a spare of a dead segment, or removes it.
    async fn retire(&self, segment: SegmentNumber, bytes: u32) -> Result<(), StorageError> {
        let read = !self.files.close(segment) && !quorate_world::bug!("recycle_under_a_reader");
        if bytes == self.segment_bytes && !read && self.spares.ready() < SPARES {
            quorate_core::sometimes!("dead_segment_becomes_a_spare");
            let number = self.spares.fresh_number();
            self.disk.rename(&segment.path(), &segment::spare_path(number)).await.tried("rename a dead segment")?;
            sync_folder(&self.disk, &self.descriptors).await?;
            self.spares.add(number);
            return Ok(());
        }
        quorate_core::sometimes!("dead_segment_is_removed");
        self.disk.remove(&segment.path()).await.tried("remove a dead segment")?;
        sync_folder(&self.disk, &self.descriptors).await
    }
}

async fn sync_folder(disk: &NodeDisk, descriptors: &Descriptors) -> Result<(), StorageError> {
    descriptors.wait_for("sync the wal folder", || disk.sync_folder(segment::FOLDER)).await
}

/// Writes a spare full of zeros; with `shelf`, slowly as long as nobody waits for it, and only while it is open: false,
/// and an unfinished file, if it was closed meanwhile.
pub(crate) async fn prepare(
    disk: &NodeDisk,
    descriptors: &Descriptors,
    number: u64,
    bytes: u32,
    shelf: Option<&Spares>,
) -> Result<bool, StorageError> {
    let path = segment::spare_path(number);
    let unfinished = format!("{path}.tmp");
    let created = descriptors.wait_for("create a spare", || disk.open(&unfinished, OpenHow::CreateNew)).await;
    // Where there is no room for the name either, nothing is left to be removed.
    let filled = fill(&created?, bytes, shelf).await;
    if let Err(StorageError::Io { source, .. }) = &filled
        && is_full(source)
    {
        disk.remove(&unfinished).await.tried("remove an unfinished spare")?;
    }
    if filled? {
        disk.rename(&unfinished, &path).await.tried("rename a spare")?;
        sync_folder(disk, descriptors).await?;
        return Ok(true);
    }
    Ok(false)
}

async fn fill(file: &NodeFile, bytes: u32, shelf: Option<&Spares>) -> Result<bool, StorageError> {
    let zeros = Bytes::from(vec![0; WRITE_BYTES.min(bytes as usize)]);
    let (mut at, end) = (0, u64::from(bytes));
    while at < end {
        let piece = zeros.slice(..(zeros.len() as u64).min(end - at) as usize);
        at += piece.len() as u64;
        file.write_at(at - piece.len() as u64, piece).await.tried("write a spare")?;
        if at.is_multiple_of(SYNC_BYTES) && at < end {
            file.sync_data().await.tried("sync a spare")?;
            let (wanted, closed) = shelf.map_or((true, false), |spares| {
                let shelf = spares.shelf();
                (shelf.wanted, shelf.closed)
            });
            if closed {
                return Ok(false);
            }
            if !wanted {
                sleep(PACE_PER_SYNC).await;
            }
        }
    }
    file.sync_all().await.tried("sync a spare")?;
    Ok(true)
}
