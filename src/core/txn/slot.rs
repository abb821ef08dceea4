//! What a group keeps of one slot: who owns it, its sessions and tombstones, and the locks of its resources.
//!
//! A slot number plays two parts: it is the home of the transactions whose id ends in it, and the lock home of the
//! resources that hash to it. Both move together when the slot moves (lock protocol, section 7).
//!
//! Sessions change only through the methods here, which keep three orders beside them: deadlines, what phase two has
//! still to do, and the age of tombstones. So nothing ever scans.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use super::locks::LockTable;
use super::session::Session;
use super::status;
use super::views::Counts;
use crate::model::{Epoch, GlobalStatus, TransactionId};
use serde::{Deserialize, Serialize};

/// What a tombstone costs, roughly.
const TOMBSTONE_BYTES: u64 = 120;

/// How a group stands to a slot. Only an active one accepts anything; the others wait for a migration to go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub enum Ownership {
    /// Not here.
    #[default]
    None,
    /// Installed, serves nothing yet.
    Passive(Epoch),
    /// Owned.
    Active(Epoch),
    /// Owned with `epoch` until migration `attempt` ends one way or the other; serves nothing meanwhile.
    Frozen {
        /// What it is owned by.
        epoch: Epoch,
        /// Epoch of the attempt.
        attempt: Epoch,
    },
}

/// The status that an ended transaction has for ever, and since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tombstone {
    pub(super) status: GlobalStatus,
    pub(super) ended_clock_ms: u64,
}

/// See the top of this file.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct SlotState {
    pub(super) ownership: Ownership,
    /// Highest epoch ever owned or closed here.
    pub(super) seen: Epoch,
    /// Ids of this slot are dealt from here on (lock protocol, rule 2).
    pub(super) ids_from: u64,
    pub(super) locks: LockTable,
    sessions: BTreeMap<TransactionId, Arc<Session>>,
    tombstones: BTreeMap<TransactionId, Tombstone>,
    /// Deadlines of the sessions in Begin.
    due: BTreeSet<(u64, TransactionId)>,
    /// Decided sessions that are neither ended nor failed for good.
    unfinished: BTreeSet<TransactionId>,
    /// When tombstones were set.
    ended: BTreeSet<(u64, TransactionId)>,
    counts: Counts,
}

/// What the group's own orders hold of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Heads {
    pub(super) due: Option<(u64, TransactionId)>,
    pub(super) ended: Option<(u64, TransactionId)>,
    pub(super) is_busy: bool,
}

impl SlotState {
    /// A slot without sessions and locks.
    pub(super) fn empty(ownership: Ownership, seen: Epoch, ids_from: u64) -> SlotState {
        SlotState { ownership, seen, ids_from, ..SlotState::default() }
    }

    pub(super) fn active(&self) -> Option<Epoch> {
        match self.ownership {
            Ownership::Active(epoch) => Some(epoch),
            Ownership::None | Ownership::Passive(_) | Ownership::Frozen { .. } => None,
        }
    }

    pub(super) fn session(&self, transaction: TransactionId) -> Option<&Session> {
        self.sessions.get(&transaction).map(Arc::as_ref)
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().map(Arc::as_ref)
    }

    pub(super) fn tombstone(&self, transaction: TransactionId) -> Option<Tombstone> {
        self.tombstones.get(&transaction).copied()
    }

    pub(super) fn tombstones(&self) -> impl Iterator<Item = (TransactionId, Tombstone)> {
        self.tombstones.iter().map(|(transaction, tombstone)| (*transaction, *tombstone))
    }

    pub(super) fn unfinished(&self) -> impl Iterator<Item = TransactionId> {
        self.unfinished.iter().copied()
    }

    /// A session begins, or comes out of a snapshot.
    pub(super) fn insert(&mut self, session: Session) {
        self.enlist(&session);
        self.count(&session, 1);
        let before = self.sessions.insert(session.transaction, Arc::new(session));
        debug_assert!(before.is_none(), "a transaction id was minted twice");
    }

    /// Changes a session in place; nothing happens without one.
    pub(super) fn change(&mut self, transaction: TransactionId, change: impl FnOnce(&mut Session)) {
        let Some(mut shared) = self.sessions.remove(&transaction) else { return };
        self.delist(&shared);
        self.count(&shared, -1);
        change(Arc::make_mut(&mut shared));
        self.enlist(&shared);
        self.count(&shared, 1);
        self.sessions.insert(transaction, shared);
    }

    /// A session goes and leaves a tombstone with `status`.
    pub(super) fn end(&mut self, transaction: TransactionId, status: GlobalStatus, ended_clock_ms: u64) {
        if let Some(session) = self.sessions.remove(&transaction) {
            self.delist(&session);
            self.count(&session, -1);
            self.bury(transaction, Tombstone { status, ended_clock_ms });
        }
    }

    /// A tombstone is set, or comes out of a snapshot.
    pub(super) fn bury(&mut self, transaction: TransactionId, tombstone: Tombstone) {
        self.ended.insert((tombstone.ended_clock_ms, transaction));
        self.tombstones.insert(transaction, tombstone);
        self.counts.tombstones += 1;
        self.counts.bytes += TOMBSTONE_BYTES;
    }

    /// A tombstone has stood long enough.
    pub(super) fn forget(&mut self, transaction: TransactionId) {
        if let Some(tombstone) = self.tombstones.remove(&transaction) {
            self.ended.remove(&(tombstone.ended_clock_ms, transaction));
            self.counts.tombstones -= 1;
            self.counts.bytes -= TOMBSTONE_BYTES;
        }
    }

    fn count(&mut self, session: &Session, sign: i64) {
        let add = |count: &mut u64, by: u64| *count = count.wrapping_add_signed(sign * by as i64);
        add(&mut self.counts.sessions, 1);
        add(&mut self.counts.branches, session.branches.len() as u64);
        add(&mut self.counts.bytes, session.bytes());
    }

    fn delist(&mut self, session: &Session) {
        self.due.remove(&(session.due_ms(), session.transaction));
        self.unfinished.remove(&session.transaction);
    }

    fn enlist(&mut self, session: &Session) {
        if session.status == GlobalStatus::Begin {
            self.due.insert((session.due_ms(), session.transaction));
        }
        if status::is_running(session.status) {
            self.unfinished.insert(session.transaction);
        }
    }

    pub(super) fn heads(&self) -> Heads {
        Heads {
            due: self.due.first().copied(),
            ended: self.ended.first().copied(),
            is_busy: !self.unfinished.is_empty(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let locks = self.locks.size();
        Counts { row_locks: locks.rows, holds: locks.holds, bytes: self.counts.bytes + locks.bytes, ..self.counts }
    }
}
