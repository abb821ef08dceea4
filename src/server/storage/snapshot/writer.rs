//! Building a snapshot beside everything else: paced and synced as it grows, because that protects commit latency.

use super::file::SnapshotFile;
use super::format::{self, Checker, ChunkKind, Head, SnapshotMeta, TableBuilder};
use super::store;
use super::{FOLDER, SnapshotError};
use crate::error::{StorageError, Tried, is_full, or_stop, stop};
use crate::limits::{CHUNK_BYTES, PAYLOAD_BYTES_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_SYNC_BYTES};
use crate::node::Node;
use bytes::Bytes;
use quorate_core::model::GroupId;
use quorate_world::disk::{Disk, DiskFile, OpenHow, PooledFile, is_out_of_descriptors};
use quorate_world::sync::OwnedSemaphorePermit;
use quorate_world::time::{Duration, Instant, sleep_until};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A name that a start removes. Dropped before the file has its place, the file goes.
pub(crate) struct Leftover {
    /// Weak: a file that somebody still reads does not keep the folder locked.
    node: Weak<Node>,
    path: String,
    /// How often the group had been removed when it was begun.
    removals: u64,
    settled: AtomicBool,
}

impl Leftover {
    /// How often the group had been removed when the file was begun.
    pub fn removals(&self) -> u64 {
        self.removals
    }

    /// The file has got its name, or it is gone: nothing is left to clean up.
    pub fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if !self.settled.load(Ordering::Relaxed)
            && let Some(node) = self.node.upgrade()
        {
            node.abandon(core::mem::take(&mut self.path));
        }
    }
}

/// A file that is being written.
pub(crate) struct Unfinished {
    node: Arc<Node>,
    leftover: Leftover,
    file: PooledFile,
    written_bytes: u64,
    synced_bytes: u64,
    began: Instant,
}

impl Unfinished {
    pub async fn create(node: Arc<Node>, group: GroupId) -> Result<Unfinished, SnapshotError> {
        remove_abandoned(&node).await;
        let path = format!("{FOLDER}/g{:010}-{}.tmp", group.0, node.fresh_file_number());
        let created = node.pooled.open(&path, OpenHow::CreateNew).await;
        if created.as_ref().is_err_and(is_out_of_descriptors) {
            quorate_core::sometimes!("snapshot_finds_no_file_descriptor");
            return Err(SnapshotError::NoDescriptor);
        }
        let file = survive_full(created.tried("create a snapshot"))?;
        let removals = node.group(group).removals();
        let leftover = Leftover { node: Arc::downgrade(&node), path, removals, settled: AtomicBool::new(false) };
        let began = Instant::now();
        Ok(Unfinished { node, leftover, file, written_bytes: 0, synced_bytes: 0, began })
    }

    /// Appends, syncs once a MiB has gathered, and keeps the pace.
    pub async fn append(&mut self, bytes: Bytes) -> Result<(), SnapshotError> {
        let more = bytes.len() as u64;
        if self.written_bytes + more > SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge);
        }
        survive_full(self.file.write_at(self.written_bytes, bytes).await.tried("write a snapshot"))?;
        self.written_bytes += more;
        if self.written_bytes - self.synced_bytes >= SNAPSHOT_SYNC_BYTES {
            survive_full(self.file.sync_data().await.tried("sync a snapshot"))?;
            self.synced_bytes = self.written_bytes;
            let due_us =
                self.written_bytes.saturating_mul(1_000_000) / self.node.options.snapshot_pace_bytes_per_s.max(1);
            sleep_until(self.began + Duration::from_micros(due_us)).await;
        }
        Ok(())
    }

    /// Everything is written: sync, and open what is there as a snapshot. Dropped before it has its place, it goes.
    pub async fn finish(self, group: GroupId) -> Result<SnapshotFile, SnapshotError> {
        if !quorate_world::bug!("snapshot_not_synced") {
            survive_full(self.file.sync_all().await.tried("sync a snapshot"))?;
        }
        let (node, path) = (&self.node, self.leftover.path.clone());
        let whose = (node.identity().cluster, group);
        Ok(or_stop(SnapshotFile::open(&node.pooled, &node.descriptors, path, whose, Some(self.leftover)).await))
    }
}

/// Removes what was given up.
pub(crate) async fn remove_abandoned(node: &Node) {
    for abandoned in node.take_abandoned() {
        or_stop(node.pooled.remove(&abandoned).await.tried("remove an abandoned snapshot"));
    }
}

/// A full device is the one error that a snapshot survives once it is begun.
fn survive_full<T>(result: Result<T, StorageError>) -> Result<T, SnapshotError> {
    match result {
        Ok(value) => Ok(value),
        Err(StorageError::Io { source, .. }) if is_full(&source) => Err(SnapshotError::Full),
        Err(error) => stop(&error),
    }
}

/// The turn to build a snapshot. Dropped, it is the next one's.
pub struct BuildTurn {
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// Builds a snapshot from records. Dropped before [`SnapshotWriter::finish`], it leaves nothing behind.
pub struct SnapshotWriter {
    node: Arc<Node>,
    group: GroupId,
    file: Unfinished,
    checker: Checker,
    table: TableBuilder,
    _turn: BuildTurn,
}

impl SnapshotWriter {
    pub(crate) async fn begin(
        node: Arc<Node>,
        group: GroupId,
        meta: SnapshotMeta,
        turn: BuildTurn,
    ) -> Result<SnapshotWriter, SnapshotError> {
        let cluster = node.identity().cluster;
        let file = Unfinished::create(node.clone(), group).await?;
        let checker = Checker::new(cluster, group);
        let mut writer = SnapshotWriter { node, group, file, checker, table: TableBuilder::default(), _turn: turn };
        writer.chunk(format::frame(0, ChunkKind::Head, &Head { cluster, group, meta }.encode())).await?;
        Ok(writer)
    }

    /// Adds a record: the tables in order, the records of each in key order.
    pub async fn record(&mut self, table: u16, record: &[u8]) -> Result<(), SnapshotError> {
        assert!(record.len() <= PAYLOAD_BYTES_MAX, "a record above the limit");
        if self.table.table().is_some_and(|open| open != table) {
            self.flush().await?;
        }
        self.table.push(table, record);
        if self.table.bytes() >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SnapshotError> {
        let chunk = format::frame(self.checker.next, ChunkKind::Table, self.table.take());
        self.chunk(chunk).await
    }

    async fn chunk(&mut self, chunk: Bytes) -> Result<(), SnapshotError> {
        self.checker.push(&chunk)?;
        self.file.append(chunk).await
    }

    /// Ends with the foot and makes it the group's snapshot; durable on return. If a newer one was installed meanwhile,
    /// that one is returned; if the group was removed meanwhile, there is none.
    pub async fn finish(mut self) -> Result<SnapshotFile, SnapshotError> {
        if self.table.table().is_some() {
            self.flush().await?;
        }
        let foot = format::frame(self.checker.next, ChunkKind::Foot, &self.checker.foot());
        self.chunk(foot).await?;
        let file = self.file.finish(self.group).await?;
        or_stop(store::settle(&self.node, self.group, &file).await).ok_or(SnapshotError::Removed)
    }
}
