//! The writer: the only one that touches the newest segment.
//!
//! One batch is in flight: take what is queued, frame it, one write, one sync; then, in queue order, the places go into
//! the indexes, the room is given back and whoever waits is told. Only then comes the next batch. It runs on a thread
//! of its own in production, where the disk's futures complete at once, and as a task in the simulation.
//!
//! Any error of the disk stops the process. Not here: new segments (`rotation`).

use crate::batch;
use crate::cached::Cached;
use crate::error::{StorageError, Tried, or_stop};
use crate::index::{Live, Place};
use crate::node::Node;
use crate::queue::{Gathered, Then};
use crate::record::Record;
use crate::recovery::Sealed;
use crate::sector::{self, BatchNumber, DATA_BYTES, SECTOR_BYTES};
use crate::segment::SegmentNumber;
use bytes::BytesMut;
use quorate_world::disk::{DiskFile, NodeDisk, NodeFile};
use quorate_world::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A sync that takes longer makes the node report itself slow.
const SLOW_SYNC: Duration = Duration::from_secs(1);

/// The newest segment.
pub(crate) struct Newest {
    pub number: SegmentNumber,
    pub file: NodeFile,
    pub file_bytes: u32,
    /// Where the next batch goes.
    pub at_bytes: u64,
}

/// Owner of the newest segment.
pub(crate) struct Writer {
    pub node: Arc<Node>,
    pub disk: NodeDisk,
    pub newest: Option<Newest>,
    pub next_segment: SegmentNumber,
    /// The number of the next batch.
    pub next: BatchNumber,
    pub live: Live,
    pub sealed: BTreeMap<SegmentNumber, Sealed>,
    /// Segments that are to be emptied: by their groups until the next rotation, then by the writer.
    pub marked: BTreeSet<SegmentNumber>,
    /// Unfinished spares that a start found.
    pub rubbish: Vec<String>,
    cached: Cached,
    out: BytesMut,
}

impl Writer {
    pub fn new(node: Arc<Node>, disk: NodeDisk, next_segment: SegmentNumber, next: BatchNumber) -> Writer {
        Writer {
            node,
            disk,
            newest: None,
            next_segment,
            next,
            live: Live::default(),
            sealed: BTreeMap::new(),
            marked: BTreeSet::new(),
            rubbish: Vec::new(),
            cached: Cached::new(),
            out: BytesMut::new(),
        }
    }

    /// Writes until the queue is closed and empty.
    pub async fn run(mut self) {
        while let Some(mut gathered) = self.node.queue.take().await {
            if quorate_world::bug!("acknowledge_before_sync") {
                self.tell(&mut gathered);
            }
            let base = or_stop(self.write(&mut gathered.stream, gathered.records).await);
            self.settle(&mut gathered, base);
            self.node.queue.recycle(gathered.stream);
        }
        self.node.spares.close();
    }

    /// Makes a batch durable and returns where its stream starts in the segment's stream.
    async fn write(&mut self, stream: &mut [u8], records: u32) -> Result<(SegmentNumber, u32), StorageError> {
        if records == 0 {
            return Ok((SegmentNumber(0), 0));
        }
        while !self.has_room_for(stream.len()) {
            self.rotate().await?;
        }
        self.write_here(stream, records).await
    }

    /// Whether the newest segment has room for a batch.
    fn has_room_for(&self, stream_bytes: usize) -> bool {
        let bytes = (sector::sectors_for(stream_bytes) * SECTOR_BYTES) as u64;
        self.newest.as_ref().is_some_and(|newest| newest.at_bytes + bytes <= u64::from(newest.file_bytes))
    }

    /// One write and one sync in the newest segment, which has room.
    pub async fn write_here(&mut self, stream: &mut [u8], records: u32) -> Result<(SegmentNumber, u32), StorageError> {
        assert!(self.has_room_for(stream.len()), "a batch fits into its segment");
        let bytes = (sector::sectors_for(stream.len()) * SECTOR_BYTES) as u64;
        let newest = self.newest.as_mut().expect("one that has room");
        let position = (newest.at_bytes / SECTOR_BYTES as u64) as u32;
        let sectors = batch::seal(stream, records, newest.number, self.node.epoch());
        sector::frame(stream, sectors, position, self.next, &mut self.out);
        newest.file.write_at(newest.at_bytes, self.out.split().freeze()).await.tried("write the log")?;
        let began = Instant::now();
        if !quorate_world::bug!("log_not_synced") {
            newest.file.sync_data().await.tried("sync the log")?;
        }
        let took = began.elapsed();
        self.node.stats.count(bytes, took);
        if took >= SLOW_SYNC {
            quorate_core::sometimes!("sync_of_the_log_was_slow");
            tracing::warn!("storage: a sync of the log took {} ms", took.as_millis());
        }
        newest.at_bytes += bytes;
        self.next = self.next.next();
        Ok((newest.number, position * DATA_BYTES as u32))
    }

    /// The batch is durable: everybody may know.
    fn settle(&mut self, gathered: &mut Gathered, (segment, base): (SegmentNumber, u32)) {
        let mut records = batch::records(&gathered.stream);
        for operation in gathered.operations.drain(..) {
            let mut view = operation.group.view();
            for _ in 0..operation.records {
                let (offset, _, record) = records.next().expect("counted").expect("our own encoding");
                let bytes = match &record {
                    Record::Entry { payload, .. } | Record::Carried { payload, .. } => payload.len() as u32,
                    Record::Vote(_) | Record::TruncateFrom(_) | Record::Purge(_) | Record::Committed(_) => 0,
                    Record::Remove | Record::State(_) | Record::Base(_) => 0,
                };
                let place = Place { segment, offset: base + offset as u32, bytes };
                view.settle(&record, place, &mut self.live).expect("what was queued follows what is there");
            }
            drop(view);
            if operation.room_bytes > 0 {
                operation.group.room.add_permits(operation.room_bytes);
                self.node.queue.room.add_permits(operation.room_bytes);
            }
            operation.then.happen();
            if let Some(last) = operation.last {
                self.cached.push(operation.group, last);
            }
        }
        self.forget();
    }

    /// Drops the oldest durable entries from memory, as far as the cache is over its bound.
    fn forget(&mut self) {
        while self.node.cached_bytes.load(Ordering::Relaxed) > self.node.options.cache_bytes {
            let Some((group, upto)) = self.cached.pop() else { return };
            quorate_core::sometimes!("entries_leave_the_memory");
            group.view().forget(upto);
        }
    }

    /// A planted bug: raft knows of its entries before the disk does.
    fn tell(&self, gathered: &mut Gathered) {
        for operation in gathered.operations.iter_mut().filter(|operation| operation.last.is_some()) {
            core::mem::replace(&mut operation.then, Then::Nothing).happen();
        }
    }
}

impl Then {
    fn happen(self) {
        match self {
            Then::Nothing => {}
            Then::Call(call) => call(),
            Then::Tell(waiting) => {
                // Whoever waited may have been dropped; the record stays.
                let _ = waiting.send(());
            }
        }
    }
}
