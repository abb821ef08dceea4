//! The segments that can be read, each with an open file.
//!
//! A reader takes its file while it holds the group's lock and sees a place in it; then the segment lives, and the
//! file stays open until the reader is done. So a segment that has died meanwhile is not written again under a reader:
//! whoever retires it learns that it is still held.

use crate::descriptors::Descriptors;
use crate::error::StorageError;
use crate::segment::SegmentNumber;
use quorate_world::disk::{Disk, OpenHow, PooledDisk, PooledFile};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open segments.
pub(crate) struct Files {
    disk: PooledDisk,
    descriptors: Arc<Descriptors>,
    open: Mutex<BTreeMap<SegmentNumber, Arc<PooledFile>>>,
}

impl Files {
    pub fn new(disk: PooledDisk, descriptors: Arc<Descriptors>) -> Files {
        Files { disk, descriptors, open: Mutex::new(BTreeMap::new()) }
    }

    fn open_files(&self) -> MutexGuard<'_, BTreeMap<SegmentNumber, Arc<PooledFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a segment for readers.
    pub async fn open(&self, segment: SegmentNumber) -> Result<(), StorageError> {
        let path = segment.path();
        let file = self.descriptors.wait_for("open a segment", || self.disk.open(&path, OpenHow::Read)).await?;
        self.open_files().insert(segment, Arc::new(file));
        Ok(())
    }

    /// The file of a segment that lives.
    pub fn get(&self, segment: SegmentNumber) -> Arc<PooledFile> {
        self.open_files().get(&segment).cloned().expect("a segment with a live entry is open")
    }

    /// Closes a dead segment; true if nobody reads it.
    pub fn close(&self, segment: SegmentNumber) -> bool {
        self.open_files().remove(&segment).is_none_or(|file| Arc::strong_count(&file) == 1)
    }
}
