//! What a node's storage has told raft is durable: it must be there again after any power failure.

use quorate_core::model::{LogId, LogIndex, NodeId, Term};

/// Of one replica.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Told {
    /// The newest vote: its term, whether that one is known to lead, and whom it is for.
    pub vote: Option<(Term, bool, NodeId)>,
    /// The last entry, and its term if it is known: not after a cut.
    pub last: Option<(LogIndex, Option<Term>)>,
    /// The last entry in the newest snapshot.
    pub snapshot: Option<LogId>,
    /// Wiped, and nothing has been applied since: what is told meanwhile is of entries that were on their way before.
    wiped: bool,
}

impl Told {
    /// Whether a disk with nothing at all keeps it.
    pub fn is_nothing(&self) -> bool {
        self.vote.is_none() && self.last.is_none() && self.snapshot.is_none()
    }

    pub(super) fn vote(&mut self, term: Term, candidate: NodeId, leads: bool) {
        self.vote = self.vote.max(Some((term, leads, candidate)));
    }

    pub(super) fn appended(&mut self, last: LogId) {
        if self.wiped {
            return;
        }
        self.last = Some((last.index, Some(last.term)));
    }

    /// Entries from here on may be there or not, from now on.
    pub(super) fn truncating(&mut self, from: LogIndex) {
        if self.last.is_some_and(|(last, _)| last >= from) {
            self.last = from.0.checked_sub(1).map(|last| (LogIndex(last), None));
        }
    }

    /// The replica is wiped, but for its vote.
    pub(super) fn wiping(&mut self) {
        (self.last, self.snapshot, self.wiped) = (None, None, true);
    }

    /// The group is here again.
    pub(super) fn applied(&mut self) {
        self.wiped = false;
    }

    pub(super) fn snapshot(&mut self, last: Option<LogId>) {
        self.wiped = false;
        self.snapshot = self.snapshot.max(last);
    }
}
