//! openraft's log store over a group's part of the shared log.
//!
//! What openraft demands of each call and how `quorate-storage` gives it is the table of storage, section 7. An error of
//! the log never reaches openraft as something to live with: storage stops the process first.
//!
//! Not here: files, batches, caching (`quorate-storage`).

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds, RangeInclusive};

use futures_util::Stream;
use futures_util::stream;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use quorate_core::model::{self, LogIndex, NodeId, Term};
use quorate_storage::{GroupLog, LogRecord};
use quorate_world::select::select2;
use quorate_world::{bug, tap};

use crate::events;
use crate::life::Hold;
use crate::message;
use crate::types::{self, Consensus, Entry, LogId, Vote};

/// One read for a follower, and one piece of a replay. The first entry comes whatever its size.
const READ_BYTES_MAX: usize = 1 << 20;

/// A group's log, as openraft wants it.
#[derive(Clone)]
pub(crate) struct LogStore {
    node: NodeId,
    log: GroupLog,
    _hold: Hold,
}

impl LogStore {
    pub fn new(node: NodeId, log: GroupLog, hold: Hold) -> LogStore {
        LogStore { node, log, _hold: hold }
    }

    async fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Entry>, io::Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.log.read(LogIndex(range.start)..LogIndex(range.end), bytes_max).await;
        records.into_iter().map(|record| message::entry_from(record.log_id, record.payload)).collect()
    }
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Consensus> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(indexes(&range), usize::MAX).await
    }

    /// In pieces, so that a replica far behind does not hold its whole backlog in memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let pieces = Pieces { store: self.clone(), left: indexes(&range), read: Vec::new().into_iter() };
        Box::pin(stream::try_unfold(pieces, Pieces::next))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BYTES_MAX).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.state().vote.filter(|_| !bug!("vote_forgotten_at_start")).map(types::vote))
    }

    /// The last entry of each term. (The documentation of openraft speaks of the first; its code and its suite do not.)
    async fn get_key_log_ids(&mut self, range: RangeInclusive<LogId>) -> Result<Vec<LogId>, io::Error> {
        Ok(last_of_each_term(&self.log.term_starts(), range))
    }
}

/// Terms follow each other without holes, so one ends right before the next begins.
fn last_of_each_term(starts: &[model::LogId], range: RangeInclusive<LogId>) -> Vec<LogId> {
    let ends = starts.windows(2).map(|pair| {
        let index = LogIndex(pair[1].index.0 - 1);
        types::log_id(model::LogId { term: pair[0].term, index })
    });
    let inside = |end: &LogId| end.index >= range.start().index && end.index < range.end().index;
    ends.filter(inside).chain([*range.end()]).collect()
}

/// A read of a long range, piece by piece.
struct Pieces {
    store: LogStore,
    left: Range<u64>,
    read: std::vec::IntoIter<Entry>,
}

impl Pieces {
    async fn next(mut self) -> Result<Option<(Entry, Pieces)>, io::Error> {
        loop {
            if let Some(entry) = self.read.next() {
                self.left.start = entry.index() + 1;
                return Ok(Some((entry, self)));
            }
            let piece = self.store.read(self.left.clone(), READ_BYTES_MAX).await?;
            if piece.is_empty() {
                return Ok(None);
            }
            self.read = piece.into_iter();
        }
    }
}

impl RaftLogStorage<Consensus> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Consensus>, io::Error> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(types::log_id),
            last_log_id: state.last.or(state.purged).map(types::log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if bug!("vote_not_awaited") {
            // It is on its way to the disk, and nobody waits.
            select2(self.log.save_vote(types::our_vote(vote)), async {}).await;
        } else {
            self.log.save_vote(types::our_vote(vote)).await;
        }
        tap!(events::VoteSaved {
            node: self.node,
            group: self.log.group(),
            term: Term(vote.leader_id.term),
            candidate: NodeId(vote.leader_id.voted_for),
            leads: vote.committed,
        });
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        if let Some(committed) = committed {
            self.log.save_committed(types::our_log_id(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let state = self.log.state();
        // What a crash took from the end of the log is not replayed.
        let committed = state.committed.zip(state.last.or(state.purged)).map(|(committed, last)| committed.min(last));
        Ok(committed.map(types::log_id))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Consensus>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let record = |entry: Entry| LogRecord {
            log_id: types::our_log_id(&entry.log_id),
            payload: message::entry_bytes(&entry.payload),
        };
        let records: Vec<LogRecord> = entries.into_iter().map(record).collect();
        let (node, group, last) = (self.node, self.log.group(), records.last().map(|record| record.log_id));
        let durable = move || {
            if let Some(last) = last {
                tap!(events::Appended { node, group, last });
            }
            flushed.io_completed(Ok(()));
        };
        if bug!("append_acknowledged_before_sync") {
            self.log.append(records, Box::new(|| {})).await;
            durable();
            return Ok(());
        }
        self.log.append(records, Box::new(durable)).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        quorate_core::sometimes!("follower_cuts_its_log");
        let first_removed = last.map_or(0, |last| last.index + 1);
        tap!(events::Truncating { node: self.node, group: self.log.group(), from: LogIndex(first_removed) });
        self.log.truncate_from(LogIndex(first_removed)).await;
        Ok(())
    }

    async fn purge(&mut self, up_to: LogId) -> Result<(), io::Error> {
        quorate_core::sometimes!("log_is_purged");
        self.log.purge(types::our_log_id(&up_to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(term: u64, index: u64) -> model::LogId {
        model::LogId { term: Term(term), index: LogIndex(index) }
    }

    fn lasts(starts: &[model::LogId], first: model::LogId, last: model::LogId) -> Vec<(u64, u64)> {
        let lasts = last_of_each_term(starts, types::log_id(first)..=types::log_id(last));
        lasts.into_iter().map(|last| (last.leader_id.term, last.index)).collect()
    }

    #[test]
    fn each_term_ends_before_the_next_begins() {
        assert_eq!(lasts(&[at(1, 0)], at(1, 0), at(1, 9)), [(1, 9)]);
        let starts = [at(1, 0), at(2, 3), at(5, 4)];
        assert_eq!(lasts(&starts, at(1, 0), at(5, 4)), [(1, 2), (2, 3), (5, 4)]);
        assert_eq!(lasts(&starts, at(1, 2), at(5, 8)), [(1, 2), (2, 3), (5, 8)]);
        assert_eq!(lasts(&starts, at(2, 3), at(2, 3)), [(2, 3)]);
    }

    #[test]
    fn ranges_of_every_kind() {
        assert_eq!(indexes(&(3..7)), 3..7);
        assert_eq!(indexes(&(3..=7)), 3..8);
        assert_eq!(indexes(&..), 0..u64::MAX);
        assert_eq!(indexes(&(Bound::Excluded(3), Bound::Unbounded)), 4..u64::MAX);
    }
}
