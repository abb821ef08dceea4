//! Which durable entries are still in memory, oldest first: what is dropped from there when it is too much.

use crate::group::Group;
use quorate_core::model::LogIndex;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many pieces are noted without a look at which of them are still there.
const EASY: usize = 4_096;

/// Pieces of logs, each with its last entry. Those that purges and truncations have taken away meanwhile are left out now and
/// then.
pub(crate) struct Cached {
    pieces: VecDeque<(Arc<Group>, LogIndex)>,
    /// At so many they are looked through.
    pieces_max: usize,
}

impl Cached {
    pub fn new() -> Cached {
        Cached { pieces: VecDeque::new(), pieces_max: EASY }
    }

    /// These entries are in memory, behind all that are there.
    pub fn push(&mut self, group: Arc<Group>, last: LogIndex) {
        self.pieces.push_back((group, last));
        if self.pieces.len() >= self.pieces_max {
            self.pieces.retain(|(group, last)| group.view().has_in_memory(*last));
            self.pieces_max = EASY.max(2 * self.pieces.len());
        }
    }

    /// The oldest piece, which is to go.
    pub fn pop(&mut self) -> Option<(Arc<Group>, LogIndex)> {
        self.pieces.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::LogRecord;
    use crate::index::GroupIndex;
    use bytes::Bytes;
    use quorate_core::model::{GroupId, LogId, Term};

    #[test]
    fn what_is_purged_is_not_remembered() {
        let group = Arc::new(Group::new(GroupId(1), GroupIndex::default(), Arc::default()));
        let mut cached = Cached::new();
        let entry = |index| LogId { term: Term(1), index: LogIndex(index) };
        let rounds = 4 * EASY as u64;
        for index in 0..rounds {
            group.view().append(&LogRecord { log_id: entry(index), payload: Bytes::from_static(b"x") });
            cached.push(group.clone(), LogIndex(index));
            if let Some(behind) = index.checked_sub(10) {
                group.view().purge(entry(behind));
            }
        }
        assert!(cached.pieces.len() < EASY, "{} pieces", cached.pieces.len());
        assert!(cached.pieces.iter().any(|(_, last)| *last == LogIndex(rounds - 1)));
        let oldest = cached.pop().expect("some are left").1;
        assert!(cached.pieces.iter().all(|(_, last)| *last > oldest));
    }
}
