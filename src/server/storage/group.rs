//! One group's log as its readers see it: the durable index, and the entries that run ahead of the disk.
//!
//! An entry can be read as soon as it is queued. `recent` holds the newest entries in memory, without a gap: those not
//! yet durable always, durable ones until the cache needs the room. A purge is seen at once, while the index follows
//! when its record is durable; a truncate is seen when it is durable.
//!
//! Not here: what reaches the disk and when (`queue`, `writer`).

use crate::index::{GroupIndex, Live, Misplaced, Place};
use crate::limits::QUEUE_OF_GROUP_BYTES_MAX;
use crate::record::{RECORD_HEAD_BYTES, Record, Vote};
use bytes::Bytes;
use quorate_core::model::{GroupId, LogId, LogIndex};
use quorate_world::sync::Semaphore;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An entry of a group's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRecord {
    /// Where it stands.
    pub log_id: LogId,
    /// Opaque here.
    pub payload: Bytes,
}

impl LogRecord {
    /// Bytes it takes in a batch.
    pub fn encoded_bytes(&self) -> usize {
        RECORD_HEAD_BYTES + self.payload.len()
    }
}

/// What a replica asks its log first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LogState {
    /// The last vote saved.
    pub vote: Option<Vote>,
    /// The last entry known to be committed; never beyond `last`.
    pub committed: Option<LogId>,
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry; if there is none, what was purged.
    pub last: Option<LogId>,
    /// The last entry that was here when the group was last removed from this node, or none if it never was. Until the log
    /// reaches as far again, this replica has forgotten what others may count on.
    pub had: Option<LogId>,
}

/// A group of this node.
pub(crate) struct Group {
    pub id: GroupId,
    /// Bytes that may still be queued.
    pub room: Semaphore,
    /// How often its snapshot was removed: one that was begun before belongs to nobody.
    removals: AtomicU64,
    view: Mutex<View>,
}

impl Group {
    pub fn new(id: GroupId, durable: GroupIndex, cached_bytes: Arc<AtomicUsize>) -> Group {
        let marks = durable.marks();
        let view = View {
            recent: Recent { records: VecDeque::new(), cached_bytes },
            purged: marks.purged,
            committed: marks.committed,
            durable,
        };
        let room = Semaphore::new(QUEUE_OF_GROUP_BYTES_MAX);
        Group { id, room, removals: AtomicU64::new(0), view: Mutex::new(view) }
    }

    /// How often its snapshot was removed since the start.
    pub fn removals(&self) -> u64 {
        self.removals.load(Ordering::Relaxed)
    }

    /// Its snapshot is removed.
    pub fn note_removal(&self) {
        self.removals.fetch_add(1, Ordering::Relaxed);
    }

    /// Never held across an await.
    pub fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What readers see, behind the group's own lock.
pub(crate) struct View {
    pub durable: GroupIndex,
    recent: Recent,
    purged: Option<LogId>,
    committed: Option<LogId>,
}

/// Where a reader finds an entry.
pub(crate) enum Source {
    /// In memory.
    Here(LogRecord),
    /// On disk.
    Cold(LogId, Place),
}

impl View {
    /// One behind the last entry.
    fn next(&self) -> u64 {
        let durable = self.durable.next().0.max(self.purged.map_or(0, |purged| purged.index.0 + 1));
        self.recent.last().map_or(durable, |last| last.index.0 + 1)
    }

    /// Whether any entry can be read.
    fn has_entries(&self) -> bool {
        let kept = self.durable.last().is_some_and(|last| self.purged.is_none_or(|purged| last.index > purged.index));
        kept || self.recent.last().is_some()
    }

    pub fn state(&self) -> LogState {
        let durable = self.durable.last().filter(|last| self.purged.is_none_or(|purged| last.index > purged.index));
        let last = self.recent.last().or(durable).or(self.purged);
        let committed = self.committed.map(|committed| match last {
            Some(last) if committed.index <= last.index => Some(committed),
            Some(_) | None => last,
        });
        let marks = self.durable.marks();
        LogState { vote: marks.vote, committed: committed.flatten(), purged: self.purged, last, had: marks.had }
    }

    /// Takes entries that are about to be queued. They follow each other and what is there.
    pub fn append(&mut self, record: &LogRecord) {
        let found = record.log_id.index.0;
        if self.has_entries() {
            assert_eq!(found, self.next(), "an entry that is not the next one");
        } else {
            assert!(self.purged.is_none_or(|purged| found > purged.index.0), "an entry below the purge");
        }
        self.recent.push(record.clone());
    }

    /// Hides all up to this entry.
    pub fn purge(&mut self, log_id: LogId) {
        if self.purged.is_none_or(|purged| purged.index < log_id.index) {
            self.purged = Some(log_id);
        }
        self.recent.cut_front(log_id.index.0 + 1);
    }

    pub fn set_committed(&mut self, log_id: LogId) {
        self.committed = Some(log_id);
    }

    /// Replays a record that has become durable.
    pub fn settle(&mut self, record: &Record<'_>, place: Place, live: &mut Live) -> Result<(), Misplaced> {
        self.durable.apply(record, place, live)?;
        match record {
            Record::TruncateFrom(index) => self.recent.cut_back(index.0),
            Record::Remove => {
                self.recent.cut_back(0);
                (self.purged, self.committed) = (None, None);
            }
            Record::Entry { .. } | Record::Vote(_) | Record::Purge(_) | Record::Committed(_) => {}
            Record::Carried { .. } | Record::State(_) | Record::Base(_) => {}
        }
        Ok(())
    }

    /// Whether memory has this entry or one before it.
    pub fn has_in_memory(&self, index: LogIndex) -> bool {
        self.recent.first().is_some_and(|first| first.index <= index)
    }

    /// Drops durable entries up to this one from memory.
    pub fn forget(&mut self, upto: LogIndex) {
        self.recent.cut_front(self.durable.next().0.min(upto.0 + 1));
    }

    /// The entries of `range` that there are, at least one and then as many as stay within `bytes_max`.
    pub fn find(&self, range: Range<LogIndex>, bytes_max: usize) -> Vec<Source> {
        let purged = self.purged.map_or(0, |purged| purged.index.0 + 1);
        let first = if self.durable.is_empty() {
            self.recent.first().map_or(u64::MAX, |first| first.index.0)
        } else {
            self.durable.first().0
        };
        let range = range.start.0.max(purged).max(first)..range.end.0.min(self.next());
        let mut found = Vec::new();
        let mut bytes = 0;
        for index in range {
            let source = match self.recent.get(index) {
                Some(record) => Source::Here(record.clone()),
                None => {
                    let (log_id, place) = self.durable.place(LogIndex(index)).expect("older entries are on disk");
                    Source::Cold(log_id, place)
                }
            };
            bytes += match &source {
                Source::Here(record) => record.encoded_bytes(),
                Source::Cold(_, place) => RECORD_HEAD_BYTES + place.bytes as usize,
            };
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(source);
        }
        found
    }

    /// The first readable entry of each term, in order.
    pub fn term_starts(&self) -> Vec<LogId> {
        let first = self.find(LogIndex(0)..LogIndex(u64::MAX), 0);
        let Some(first) = first.first().map(|first| match first {
            Source::Here(record) => record.log_id,
            Source::Cold(log_id, _) => *log_id,
        }) else {
            return Vec::new();
        };
        let mut starts = vec![first];
        let ahead = self.recent.records.iter().map(|record| record.log_id);
        for log_id in self.durable.term_starts().chain(ahead) {
            let last = starts[starts.len() - 1];
            if log_id.index > last.index && log_id.term != last.term {
                starts.push(log_id);
            }
        }
        starts
    }
}

/// The newest entries, without a gap.
struct Recent {
    records: VecDeque<LogRecord>,
    /// Of all groups of the node.
    cached_bytes: Arc<AtomicUsize>,
}

impl Recent {
    fn first(&self) -> Option<LogId> {
        self.records.front().map(|record| record.log_id)
    }

    fn last(&self) -> Option<LogId> {
        self.records.back().map(|record| record.log_id)
    }

    fn get(&self, index: u64) -> Option<&LogRecord> {
        let first = self.first()?;
        self.records.get(usize::try_from(index.checked_sub(first.index.0)?).ok()?)
    }

    fn push(&mut self, record: LogRecord) {
        self.cached_bytes.fetch_add(record.encoded_bytes(), Ordering::Relaxed);
        self.records.push_back(record);
    }

    fn cut_front(&mut self, index: u64) {
        while self.first().is_some_and(|first| first.index.0 < index) {
            let gone = self.records.pop_front();
            self.drop_one(gone);
        }
    }

    fn cut_back(&mut self, index: u64) {
        while self.last().is_some_and(|last| last.index.0 >= index) {
            let gone = self.records.pop_back();
            self.drop_one(gone);
        }
    }

    fn drop_one(&self, gone: Option<LogRecord>) {
        self.cached_bytes.fetch_sub(gone.map_or(0, |record| record.encoded_bytes()), Ordering::Relaxed);
    }
}
