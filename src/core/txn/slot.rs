//! What a group keeps of one slot: who owns it, its sessions and tombstones, and the locks of its resources.
//!
//! A slot number plays two parts: it is the home of the transactions whose id ends in it, and the lock home of the
//! resources that hash to it. Both move together when the slot moves (lock protocol, section 7).
//!
//! Sessions change only through the methods here, which keep three orders beside them: deadlines, what phase two has
//! still to do, and the age of tombstones. So nothing ever scans.
//!
//! What a slot holds that is not active here only takes up memory: it is in none of the group's orders and in none of its
//! counts but that of bytes. No time-out is due in it, and no tombstone goes, so that a copy of it stays the same copy.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use super::locks::LockTable;
use super::session::Session;
use super::unreported::{Changed, Seconds};
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
    /// The first chunks of the copy for migration `attempt` are here, not all.
    Installing {
        /// Epoch of the attempt.
        attempt: Epoch,
        /// How many chunks.
        chunks: u32,
    },
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ownership::None => f.write_str("not"),
            Ownership::Passive(epoch) => write!(f, "passive with epoch {epoch}"),
            Ownership::Active(epoch) => write!(f, "active with epoch {epoch}"),
            Ownership::Frozen { epoch, attempt } => write!(f, "frozen with epoch {epoch} for attempt {attempt}"),
            Ownership::Installing { attempt, chunks } => {
                write!(f, "half copied for attempt {attempt} ({chunks} chunks)")
            }
        }
    }
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
    ownership: Ownership,
    /// Highest epoch ever owned or closed here.
    pub(super) seen: Epoch,
    /// Ids of this slot are dealt from here on (lock protocol, rule 2).
    pub(super) ids_from: u64,
    pub(super) locks: LockTable,
    sessions: BTreeMap<TransactionId, Arc<Session>>,
    tombstones: BTreeMap<TransactionId, Tombstone>,
    /// Deadlines of the sessions in Begin.
    due: BTreeSet<(u64, TransactionId)>,
    /// Decided sessions that are neither ended nor failed for good, and those with something that an operator deletes.
    unfinished: BTreeSet<TransactionId>,
    /// When tombstones were set.
    ended: BTreeSet<(u64, TransactionId)>,
    counts: Counts,
    /// What the last changes have done to the sessions' branches without a report, until the group has noted it.
    changed: Vec<Changed>,
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
            Ownership::None | Ownership::Passive(_) | Ownership::Frozen { .. } | Ownership::Installing { .. } => None,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active().is_some()
    }

    pub(super) fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// The group stands to the slot in another way from here on.
    pub(super) fn stand(&mut self, ownership: Ownership) {
        let was_active = self.is_active();
        self.ownership = ownership;
        let is_active = self.is_active();
        if was_active == is_active {
            return;
        }
        for session in self.sessions.values() {
            let unreported = unreported_of(session);
            if unreported == Seconds::default() {
                continue;
            }
            self.changed.push(match is_active {
                true => Changed { before: Seconds::default(), after: unreported },
                false => Changed { before: unreported, after: Seconds::default() },
            });
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

    pub(super) fn unfinished(&self, behind: Option<TransactionId>) -> impl Iterator<Item = TransactionId> {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        self.unfinished.range((from, Bound::Unbounded)).copied()
    }

    /// A session begins, or comes out of a snapshot.
    pub(super) fn insert(&mut self, session: Session) {
        self.list_anew(session.transaction, Listed::default(), Listed::of(&session));
        self.counts.exchange(Counts::default(), counts_of(&session));
        self.note(Seconds::default(), unreported_of(&session));
        let before = self.sessions.insert(session.transaction, Arc::new(session));
        debug_assert!(before.is_none(), "a transaction id was minted twice");
    }

    /// Changes a session in place; nothing happens without one.
    pub(super) fn change(&mut self, transaction: TransactionId, change: impl FnOnce(&mut Session)) {
        let Some(shared) = self.sessions.get_mut(&transaction) else { return };
        let (listed, counted, unreported) = (Listed::of(shared), counts_of(shared), unreported_of(shared));
        change(Arc::make_mut(shared));
        let (lists, counts, left) = (Listed::of(shared), counts_of(shared), unreported_of(shared));
        self.note(unreported, left);
        self.counts.exchange(counted, counts);
        self.list_anew(transaction, listed, lists);
    }

    /// A session goes and leaves a tombstone with `status`.
    pub(super) fn end(&mut self, transaction: TransactionId, status: GlobalStatus, ended_clock_ms: u64) {
        if self.remove(transaction).is_some() {
            self.bury(transaction, Tombstone { status, ended_clock_ms });
        }
    }

    /// A session goes.
    pub(super) fn remove(&mut self, transaction: TransactionId) -> Option<Session> {
        let session = self.sessions.remove(&transaction)?;
        self.list_anew(transaction, Listed::of(&session), Listed::default());
        self.counts.exchange(counts_of(&session), Counts::default());
        self.note(unreported_of(&session), Seconds::default());
        Some(Arc::unwrap_or_clone(session))
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

    fn note(&mut self, before: Seconds, after: Seconds) {
        if before != after && self.is_active() {
            self.changed.push(Changed { before, after });
        }
    }

    /// What has changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = Changed> {
        self.changed.drain(..)
    }

    /// Keeps the orders in step with a session; most changes move it in neither.
    fn list_anew(&mut self, transaction: TransactionId, before: Listed, after: Listed) {
        if before.due_ms != after.due_ms {
            before.due_ms.map(|due_ms| self.due.remove(&(due_ms, transaction)));
            after.due_ms.map(|due_ms| self.due.insert((due_ms, transaction)));
        }
        match (before.is_unfinished, after.is_unfinished) {
            (false, true) => _ = self.unfinished.insert(transaction),
            (true, false) => _ = self.unfinished.remove(&transaction),
            (true, true) | (false, false) => {}
        }
    }

    /// Nothing, of a slot that is not active.
    pub(super) fn heads(&self) -> Heads {
        if !self.is_active() {
            return Heads::default();
        }
        Heads {
            due: self.due.first().copied(),
            ended: self.ended.first().copied(),
            is_busy: !self.unfinished.is_empty(),
        }
    }

    /// Nothing but its bytes, of a slot that is not active.
    pub(super) fn counts(&self) -> Counts {
        let all = self.contents();
        if self.is_active() { all } else { Counts { bytes: all.bytes, ..Counts::default() } }
    }

    /// What is here, served or not.
    pub(super) fn contents(&self) -> Counts {
        let locks = self.locks.size();
        Counts { row_locks: locks.rows, holds: locks.holds, bytes: self.counts.bytes + locks.bytes, ..self.counts }
    }
}

/// Where a session stands in the orders beside it.
#[derive(Clone, Copy, Default)]
struct Listed {
    due_ms: Option<u64>,
    is_unfinished: bool,
}

impl Listed {
    fn of(session: &Session) -> Listed {
        Listed {
            due_ms: (session.status == GlobalStatus::Begin).then(|| session.due_ms()),
            is_unfinished: session.is_unfinished(),
        }
    }
}

/// Branches that nobody has reported, where it still matters.
fn unreported_of(session: &Session) -> Seconds {
    if session.status == GlobalStatus::Begin { session.unreported.clone() } else { Seconds::default() }
}

fn counts_of(session: &Session) -> Counts {
    Counts { sessions: 1, branches: session.branches.len() as u64, bytes: session.bytes(), ..Counts::default() }
}
