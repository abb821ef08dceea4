//! The log of one group, as the replica uses it.
//!
//! An append returns as soon as its entries can be read, and tells later that they are durable, in order. A vote, a
//! truncate and a removal are durable on return. A purge and a committed mark take effect in memory at once, and reach
//! the disk with a later batch. Nothing here fails: an error of the disk stops the process first.

use crate::error::stop;
use crate::group::{Group, LogRecord, LogState};
use crate::limits::QUEUE_OF_GROUP_BYTES_MAX;
use crate::node::{Node, told_or_never};
use crate::queue::{Operation, Then};
use crate::read;
use crate::record::{RECORD_HEAD_BYTES, Record, Vote};
use crate::storage::Handle;
use quorate_core::model::{GroupId, LogId, LogIndex};
use quorate_world::sync::{Semaphore, oneshot};
use std::ops::Range;
use std::sync::Arc;

/// The log of one group. Calls that change it come one after the other.
#[derive(Clone)]
pub struct GroupLog {
    group: Arc<Group>,
    handle: Arc<Handle>,
}

impl GroupLog {
    pub(crate) fn new(group: Arc<Group>, handle: Arc<Handle>) -> GroupLog {
        GroupLog { group, handle }
    }

    fn node(&self) -> &Node {
        &self.handle.node
    }

    /// Which group.
    pub fn group(&self) -> GroupId {
        self.group.id
    }

    /// Vote, marks and ends of the log.
    pub fn state(&self) -> LogState {
        self.group.view().state()
    }

    /// The first readable entry of each term, in order.
    pub fn term_starts(&self) -> Vec<LogId> {
        self.group.view().term_starts()
    }

    /// Appends entries behind the last one. They can be read on return; `durable` is called when they are on disk, on
    /// the writer's thread, in the order of the calls. Waits while too much is queued.
    pub async fn append(&self, records: Vec<LogRecord>, durable: Box<dyn FnOnce() + Send>) {
        let mut pieces = self.pieces(&records).into_iter().peekable();
        let mut durable = Some(durable);
        loop {
            let piece = pieces.next().unwrap_or(&[]);
            let then = match pieces.peek() {
                Some(_) => Then::Nothing,
                None => durable.take().map_or(Then::Nothing, Then::Call),
            };
            self.append_piece(piece, then).await;
            if pieces.peek().is_none() {
                return;
            }
        }
    }

    /// Cuts into what a batch holds; each piece has at least one record.
    fn pieces<'a>(&self, records: &'a [LogRecord]) -> Vec<&'a [LogRecord]> {
        let bytes_max = self.node().queue.batch_bytes;
        let mut pieces = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (i, record) in records.iter().enumerate() {
            if i > start && bytes + record.encoded_bytes() > bytes_max {
                pieces.push(&records[start..i]);
                (start, bytes) = (i, 0);
            }
            bytes += record.encoded_bytes();
        }
        if start < records.len() {
            pieces.push(&records[start..]);
        }
        pieces
    }

    async fn append_piece(&self, records: &[LogRecord], then: Then) {
        let bytes: usize = records.iter().map(LogRecord::encoded_bytes).sum();
        let payload_bytes_max = self.node().options.payload_bytes_max();
        assert!(records.iter().all(|record| record.payload.len() <= payload_bytes_max), "an entry above the limit");
        assert!(bytes <= QUEUE_OF_GROUP_BYTES_MAX);
        reserve(&self.group.room, bytes).await;
        reserve(&self.node().queue.room, bytes).await;
        let mut view = self.group.view();
        records.iter().for_each(|record| view.append(record));
        let operation = Operation {
            group: self.group.clone(),
            records: records.len() as u32,
            room_bytes: bytes,
            last: records.last().map(|record| record.log_id.index),
            then,
        };
        // Still under the group's lock: what is read and what is queued have one order.
        self.node().queue.put(operation, bytes, true, |stream| {
            for LogRecord { log_id, payload } in records {
                Record::Entry { log_id: *log_id, payload }.encode(self.group.id, stream);
            }
        });
    }

    /// Saves the vote; durable on return.
    pub async fn save_vote(&self, vote: Vote) {
        self.write(&Record::Vote(vote)).await;
    }

    /// Drops the entry at `index` and all behind it; durable on return. Beyond the end it does nothing.
    pub async fn truncate_from(&self, index: LogIndex) {
        if self.state().last.is_some_and(|last| last.index >= index) {
            self.write(&Record::TruncateFrom(index)).await;
        }
    }

    /// Drops all entries up to this one, which may lie beyond the end. Not visible to readers from now on.
    pub fn purge(&self, upto: LogId) {
        let node = self.node();
        let covered = !node.options.purge_needs_snapshot || node.snapshot_covers(self.group.id, upto);
        assert!(covered, "group {}: a purge up to {} without a durable snapshot", self.group.id, upto.index);
        let mut view = self.group.view();
        view.purge(upto);
        self.put(&Record::Purge(upto), Then::Nothing, false);
    }

    /// Remembers that the log is committed up to this entry.
    pub fn save_committed(&self, upto: LogId) {
        let mut view = self.group.view();
        view.set_committed(upto);
        self.node().queue.put_committed(&self.group, upto);
    }

    /// Drops everything but the vote, which a later replica of the group must start with; durable on return.
    pub async fn remove(&self) {
        self.node().queue.forget_committed(self.group.id);
        self.write(&Record::Remove).await;
    }

    /// The entries of `range` that there are: at least one, and then as many as stay within `bytes_max` encoded.
    pub async fn read(&self, range: Range<LogIndex>, bytes_max: usize) -> Vec<LogRecord> {
        match read::read(&self.group, &self.node().files, range, bytes_max).await {
            Ok(records) => records,
            Err(error) => stop(&error.of_node(self.node().identity().node)),
        }
    }

    /// Waits until everything queued so far, of all groups, is durable.
    pub async fn flush(&self) {
        self.node().flush(&self.group).await;
    }

    async fn write(&self, record: &Record<'_>) {
        let (told, waiting) = oneshot::channel();
        self.put(record, Then::Tell(told), true);
        told_or_never(waiting).await;
    }

    fn put(&self, record: &Record<'_>, then: Then, urgent: bool) {
        let operation = Operation { group: self.group.clone(), records: 1, room_bytes: 0, last: None, then };
        self.node().queue.put(operation, RECORD_HEAD_BYTES, urgent, |stream| record.encode(self.group.id, stream));
    }
}

/// Takes room that the writer gives back.
async fn reserve(room: &Semaphore, bytes: usize) {
    let bytes = u32::try_from(bytes).expect("an operation is smaller than the queue");
    room.acquire_many(bytes).await.expect("never closed").forget();
}
