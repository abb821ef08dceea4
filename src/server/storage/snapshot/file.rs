//! A finished snapshot, verified whole once, read again chunk by chunk.

use super::format::{self, CHUNK_HEAD_BYTES, Checker, Said, SnapshotMeta, Table};
use super::writer::Leftover;
use crate::descriptors::Descriptors;
use crate::error::{Damage, StorageError, Tried, or_stop};
use bytes::Bytes;
use quorate_core::model::GroupId;
use quorate_world::disk::{Disk, DiskFile, OpenHow, PooledDisk, PooledFile};
use std::sync::Arc;

/// A finished snapshot. Clones are handles to the same file, which can be read even after a newer one has replaced it.
#[derive(Clone)]
pub struct SnapshotFile(Arc<Inner>);

struct Inner {
    path: String,
    file: Arc<PooledFile>,
    meta: SnapshotMeta,
    /// Where each chunk starts, and the end of the last.
    starts: Vec<u64>,
    name: u128,
    /// Until it has its place.
    leftover: Option<Leftover>,
}

impl core::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SnapshotFile({} {:?})", self.0.path, self.0.meta.last)
    }
}

impl SnapshotFile {
    /// Opens and verifies every chunk; anything wrong is damage.
    pub(crate) async fn open(
        disk: &PooledDisk,
        descriptors: &Descriptors,
        path: String,
        (cluster, group): ([u8; 16], GroupId),
        leftover: Option<Leftover>,
    ) -> Result<SnapshotFile, StorageError> {
        let file = descriptors.wait_for("open a snapshot", || disk.open(&path, OpenHow::Read)).await?;
        let end = file.len().await.tried("read a snapshot")?;
        let mut checker = Checker::new(cluster, group);
        let mut starts = vec![0];
        let mut meta = None;
        while checker.bytes < end {
            let chunk = read_chunk(&file, &path, checker.bytes, end).await?;
            match checker.push(&chunk).map_err(|error| Damage::new(&path, checker.bytes, error.to_string()))? {
                Said::Head(head) => meta = Some(head.meta),
                Said::Table | Said::Foot => {}
            }
            starts.push(checker.bytes);
        }
        match meta {
            Some(meta) if checker.finished => {
                let name = checker.name();
                Ok(SnapshotFile(Arc::new(Inner { path, file: Arc::new(file), meta, starts, name, leftover })))
            }
            Some(_) | None => Err(Damage::new(path, end, "the snapshot is cut short").into()),
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.0.path
    }

    /// How often the group had been removed when it was begun; none once it has its place.
    pub(crate) fn removals(&self) -> Option<u64> {
        self.0.leftover.as_ref().map(Leftover::removals)
    }

    /// It has got its name, or it is gone.
    pub(crate) fn settle(&self) {
        if let Some(leftover) = &self.0.leftover {
            leftover.settle();
        }
    }

    /// The same file under its new name.
    pub(crate) fn renamed(&self, path: String) -> SnapshotFile {
        let Inner { path: _, file, meta, starts, name, leftover: _ } = &*self.0;
        let (file, meta, starts) = (file.clone(), meta.clone(), starts.clone());
        SnapshotFile(Arc::new(Inner { path, file, meta, starts, name: *name, leftover: None }))
    }

    pub(crate) fn is_same(&self, other: &SnapshotFile) -> bool {
        self.0.path == other.0.path
    }

    /// What it is of.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.0.meta
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.0.starts[self.0.starts.len() - 1]
    }

    /// xxh3-128 over all tables: equal states have equal names.
    pub fn name(&self) -> u128 {
        self.0.name
    }

    /// How many chunks it has, head and foot too.
    pub fn chunks(&self) -> u32 {
        self.0.starts.len() as u32 - 1
    }

    /// One chunk as it is stored and sent, with its checksum verified. A damaged one is an error.
    pub async fn chunk(&self, number: u32) -> Result<Bytes, StorageError> {
        assert!(number < self.chunks(), "a chunk that the snapshot has");
        let (from, to) = (self.0.starts[number as usize], self.0.starts[number as usize + 1]);
        let chunk = self.0.file.read_at(from, vec![0; (to - from) as usize]).await.tried("read a snapshot")?;
        match format::parse(&chunk, number) {
            Ok(_) => Ok(chunk.into()),
            Err(error) => Err(Damage::new(&self.0.path, from, error.to_string()).into()),
        }
    }

    /// As [`SnapshotFile::chunk`], while the node runs: what it finds damaged ends the process, as in the log.
    pub async fn chunk_or_stop(&self, number: u32) -> Bytes {
        or_stop(self.chunk(number).await)
    }

    /// All records in order.
    pub fn records(&self) -> SnapshotRecords {
        SnapshotRecords { file: self.clone(), next: 0 }
    }

    /// All records at once: table and bytes.
    pub async fn load(&self) -> Result<Vec<(u16, Vec<u8>)>, StorageError> {
        let mut tables = self.records();
        let mut all = Vec::new();
        while let Some(records) = tables.next().await? {
            let table = records.table;
            all.extend(records.map(|record| (table, record.to_vec())));
        }
        Ok(all)
    }
}

async fn read_chunk(file: &PooledFile, path: &str, at: u64, end: u64) -> Result<Bytes, StorageError> {
    let short = || StorageError::from(Damage::new(path, at, "a chunk does not have its length"));
    if end - at < CHUNK_HEAD_BYTES as u64 {
        return Err(short());
    }
    let head = file.read_at(at, vec![0; CHUNK_HEAD_BYTES]).await.tried("read a snapshot")?;
    let bytes = format::chunk_bytes(&head).filter(|bytes| *bytes as u64 <= end - at).ok_or_else(short)?;
    let chunk = file.read_at(at, vec![0; bytes]).await.tried("read a snapshot")?;
    Ok(chunk.into())
}

/// Walks the tables of a snapshot.
pub struct SnapshotRecords {
    file: SnapshotFile,
    next: u32,
}

impl SnapshotRecords {
    /// The next stretch of records of one table; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Table>, StorageError> {
        while self.next < self.file.chunks() {
            let number = self.next;
            let chunk = self.file.chunk(number).await?;
            self.next += 1;
            let table = format::table_of(&chunk, number);
            if let Some(table) = table.map_err(|error| {
                Damage::new(&self.file.0.path, self.file.0.starts[number as usize], error.to_string())
            })? {
                return Ok(Some(table));
            }
        }
        Ok(None)
    }
}
