//! What the threads of one node's storage share.

use crate::descriptors::Descriptors;
use crate::files::Files;
use crate::group::Group;
use crate::identity::Identity;
use crate::index::GroupIndex;
use crate::limits;
use crate::queue::{Operation, Queue, Then};
use crate::snapshot::Known;
use crate::spare::Spares;
use crate::stats::Stats;
use quorate_core::model::{GroupId, LogId, NodeId};
use quorate_world::disk::{DiskLock, NodeDisk, PooledDisk};
use quorate_world::sync::{Semaphore, oneshot};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// How a node keeps its data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StorageOptions {
    /// Whose the folder must be, if it is anybody's: that of another node is refused before anything in it is touched.
    pub node: Option<NodeId>,
    /// Size of a segment, a multiple of 4096, from 1 MiB to 1 GiB. Records and batches are at most a quarter.
    pub segment_bytes: u32,
    /// Above it, entries are carried out of the emptiest segment at each rotation.
    pub wal_bytes_target: u64,
    /// With less room the device is nearly full.
    pub free_bytes_low: u64,
    /// Entries kept in memory for readers.
    pub cache_bytes: usize,
    /// Bytes a second while a snapshot is written.
    pub snapshot_pace_bytes_per_s: u64,
    /// A purge needs a durable snapshot that covers it. Off only for suites that know no snapshots.
    pub purge_needs_snapshot: bool,
}

impl Default for StorageOptions {
    fn default() -> StorageOptions {
        StorageOptions {
            node: None,
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            wal_bytes_target: limits::WAL_BYTES_TARGET_DEFAULT,
            free_bytes_low: limits::FREE_BYTES_LOW,
            cache_bytes: limits::CACHE_BYTES_DEFAULT,
            snapshot_pace_bytes_per_s: limits::SNAPSHOT_PACE_BYTES_PER_S,
            purge_needs_snapshot: true,
        }
    }
}

impl StorageOptions {
    /// The largest payload of an entry.
    pub fn payload_bytes_max(&self) -> usize {
        let quarter = self.segment_bytes as usize / 4 - 4 * crate::record::RECORD_HEAD_BYTES;
        limits::PAYLOAD_BYTES_MAX.min(quarter * crate::sector::DATA_BYTES / crate::sector::SECTOR_BYTES)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let (least, most) = (limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_MAX);
        if (least..=most).contains(&self.segment_bytes) && self.segment_bytes.is_multiple_of(4096) {
            return Ok(());
        }
        Err(format!(
            "storage.segment_bytes is {}: it must be a multiple of 4096 from {least} to {most}",
            self.segment_bytes
        ))
    }
}

/// Shared by the handles, the writer and the helper. The lock on the folder is given back when the last of them ends.
pub(crate) struct Node {
    pub options: StorageOptions,
    pub disk: NodeDisk,
    pub pooled: PooledDisk,
    pub queue: Queue,
    pub spares: Arc<Spares>,
    pub files: Arc<Files>,
    pub descriptors: Arc<Descriptors>,
    pub cached_bytes: Arc<AtomicUsize>,
    pub stats: Stats,
    /// One snapshot is built at a time.
    pub building: Arc<Semaphore>,
    /// Few are received at a time.
    pub receiving: Arc<Semaphore>,
    /// One takes its place at a time.
    pub settling: quorate_world::sync::Mutex<()>,
    files_numbered: AtomicU64,
    /// Unfinished snapshots that were given up.
    abandoned: Mutex<Vec<String>>,
    identity: OnceLock<Identity>,
    epoch: AtomicU64,
    groups: Mutex<BTreeMap<GroupId, Arc<Group>>>,
    snapshots: Mutex<BTreeMap<GroupId, Known>>,
    _lock: DiskLock,
}

impl Node {
    pub fn new(disk: NodeDisk, options: StorageOptions, lock: DiskLock) -> Node {
        let pooled = disk.pooled();
        let descriptors = Arc::<Descriptors>::default();
        Node {
            queue: Queue::new(limits::BATCH_BYTES.min(options.payload_bytes_max())),
            options,
            disk,
            files: Arc::new(Files::new(pooled.clone(), descriptors.clone())),
            descriptors,
            pooled,
            spares: Arc::new(Spares::new()),
            cached_bytes: Arc::default(),
            stats: Stats::default(),
            building: Arc::new(Semaphore::new(1)),
            receiving: Arc::new(Semaphore::new(limits::SNAPSHOTS_RECEIVED_MAX)),
            settling: quorate_world::sync::Mutex::new(()),
            files_numbered: AtomicU64::new(0),
            abandoned: Mutex::default(),
            identity: OnceLock::new(),
            epoch: AtomicU64::new(0),
            groups: Mutex::default(),
            snapshots: Mutex::default(),
            _lock: lock,
        }
    }

    pub fn found_identity(&self) -> Option<Identity> {
        self.identity.get().copied()
    }

    /// The identity of a disk whose log is running.
    pub fn identity(&self) -> Identity {
        self.found_identity().expect("a log runs on a founded disk only")
    }

    pub fn set_identity(&self, identity: Identity) {
        self.identity.set(identity).expect("a disk is founded once");
    }

    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    /// Never held across an await. A group's own lock may be taken under it, not the other way round.
    pub fn groups(&self) -> MutexGuard<'_, BTreeMap<GroupId, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group, made if it is new here.
    pub fn group(&self, id: GroupId) -> Arc<Group> {
        let cached_bytes = &self.cached_bytes;
        let make = || Arc::new(Group::new(id, GroupIndex::default(), cached_bytes.clone()));
        self.groups().entry(id).or_insert_with(make).clone()
    }

    /// What a start found on disk.
    pub fn set_groups(&self, found: BTreeMap<GroupId, GroupIndex>) {
        let groups =
            found.into_iter().map(|(id, index)| (id, Arc::new(Group::new(id, index, self.cached_bytes.clone()))));
        *self.groups() = groups.collect();
    }

    /// The durable snapshot of each group.
    pub fn snapshots(&self) -> MutexGuard<'_, BTreeMap<GroupId, Known>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a durable snapshot holds everything up to this entry.
    pub fn snapshot_covers(&self, group: GroupId, log_id: LogId) -> bool {
        self.snapshots().get(&group).is_some_and(|known| known.last.index >= log_id.index)
    }

    /// A number for the name of an unfinished file.
    pub fn fresh_file_number(&self) -> u64 {
        self.files_numbered.fetch_add(1, Ordering::Relaxed)
    }

    /// A file to be removed by whoever creates the next one.
    pub fn abandon(&self, path: String) {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    pub fn take_abandoned(&self) -> Vec<String> {
        core::mem::take(&mut *self.abandoned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until everything queued so far, of all groups, is durable.
    pub async fn flush(&self, on_behalf_of: &Arc<Group>) {
        if self.queue.is_idle() {
            return;
        }
        let (told, waiting) = oneshot::channel();
        let then = Then::Tell(told);
        let operation = Operation { group: on_behalf_of.clone(), records: 0, room_bytes: 0, last: None, then };
        self.queue.put(operation, 0, true, |_| {});
        told_or_never(waiting).await;
    }
}

/// A writer that ended without telling is never taken for a durable write.
pub(crate) async fn told_or_never(waiting: oneshot::Receiver<()>) {
    if waiting.await.is_err() {
        std::future::pending().await
    }
}
