//! What must hold of the state after every entry, checked the slow way: for tests and the simulation.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use super::fate::Fate;
use super::locks::LockTable;
use super::session::{Branch, Session};
use super::slot::SlotState;
use super::state::Transactions;
use super::status::{self, Direction};
use crate::model::hash::lock_slot;
use crate::model::{BranchId, GlobalStatus, RowKey, Slot, TransactionId, lock_key};

impl Transactions {
    /// Says what is wrong, if anything is.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (slot, state) in self.slots.iter() {
            self.check_sessions(slot, state).map_err(|what| format!("slot {slot}: {what}"))?;
            check_locks(slot, &state.locks).map_err(|what| format!("lock slot {slot}: {what}"))?;
            self.check_released(state)?;
        }
        // Loading rebuilds every order and every count from nothing.
        let rebuilt = Transactions::load(self.tables()).map_err(|error| format!("cannot be loaded: {error}"))?;
        ensure(rebuilt == *self, || "an order or a count is out of step with the state".into())
    }

    fn check_sessions(&self, slot: Slot, state: &SlotState) -> Result<(), String> {
        for session in state.sessions() {
            let transaction = session.transaction;
            check_session(slot, session, self.counter)?;
            ensure(state.tombstone(transaction).is_none(), || format!("{transaction} lives and has ended"))?;
            self.check_settled(session)?;
        }
        for (transaction, tombstone) in state.tombstones() {
            check_tombstone(transaction, tombstone.status, self.counter)?;
            ensure(tombstone.ended_clock_ms <= self.clock_ms, || format!("{transaction} ends later"))?;
        }
        Ok(())
    }

    /// What an operator has done with holds nothing here.
    fn check_settled(&self, session: &Session) -> Result<(), String> {
        let transaction = session.transaction;
        for branch in session.branches.values().filter(|branch| branch.fate.is_settled()) {
            let id = branch.branch;
            let slot = self.released_in(session, branch);
            let holds = slot.is_some_and(|slot| self.holds_of(slot, transaction).any(|hold| hold.branch == id));
            ensure(!holds, || format!("branch {id} of {transaction} is done with and holds rows"))?;
        }
        Ok(())
    }

    /// B3 within the group: from the commit decision on no listed branch holds anything here.
    fn check_released(&self, state: &SlotState) -> Result<(), String> {
        for session in state.sessions().filter(|session| session.direction() == Some(Direction::Commit)) {
            for branch in session.branches.values() {
                let Some(slot) = self.released_in(session, branch) else { continue };
                let holds = self.holds_of(slot, session.transaction).any(|hold| hold.branch == branch.branch);
                ensure(!holds, || format!("{} commits and still holds rows", session.transaction))?;
            }
        }
        Ok(())
    }

    /// The lock slot of a branch in which it was released by the same entry that gave the reason: it and the slot of the
    /// transaction have been here since before the branch came, and neither was ever frozen. Any other release is owed, and sent.
    fn released_in(&self, session: &Session, branch: &Branch) -> Option<Slot> {
        let slot = branch.lock_slot()?;
        let epoch = branch.fence.epoch;
        let was_here = |slot| {
            let seen = self.slots.get(slot).map(|state| state.seen);
            self.owns(slot) == Some(epoch) && seen == Some(epoch)
        };
        (was_here(slot) && was_here(session.transaction.slot())).then_some(slot)
    }
}

/// What holds of any session in its slot, however its group stands to that: all ids were dealt, it is known to the status machine,
/// and an operator has deleted only what is decided.
pub(super) fn check_session(slot: Slot, session: &Session, counter: u64) -> Result<(), String> {
    let (transaction, status) = (session.transaction, session.status);
    ensure(transaction.slot() == slot, || format!("{transaction} does not belong here"))?;
    ensure(transaction.sequence() < counter, || format!("{transaction} was never minted"))?;
    ensure(status::has_session(status), || format!("{transaction} is {status}"))?;
    let is_failed = status::is_failed(status);
    ensure(is_failed || !session.is_deleted(), || format!("{transaction} is deleted and {status}"))?;
    for branch in session.branches.values() {
        let id = branch.branch;
        let is_dealt = id.slot() == slot && id.sequence() < counter;
        ensure(is_dealt, || format!("{transaction} has branch {id}, which nobody dealt"))?;
        let is_decided = session.direction().is_some() || branch.fate == Fate::Kept;
        ensure(is_decided, || format!("branch {id} of undecided {transaction} is deleted"))?;
    }
    Ok(())
}

/// As [`check_session`], for what has ended.
pub(super) fn check_tombstone(transaction: TransactionId, status: GlobalStatus, counter: u64) -> Result<(), String> {
    let is_final = GlobalStatus::ALL.iter().all(|to| !status::may_become(status, *to));
    ensure(is_final, || format!("{transaction} ended as {status}"))?;
    ensure(transaction.sequence() < counter, || format!("{transaction} was never minted"))
}

/// The same facts by row and by branch, and each row with one owner.
fn check_locks(slot: Slot, locks: &LockTable) -> Result<(), String> {
    type Holds<'a> = BTreeMap<(&'a str, &'a RowKey), (TransactionId, BTreeSet<BranchId>)>;
    let mut by_hold = Holds::new();
    for (transaction, branch, hold) in locks.holds() {
        ensure(lock_slot(&hold.resource) == slot, || format!("{} does not belong here", hold.resource))?;
        let named = lock_key::parse(&hold.lock_keys).map_err(|error| format!("{error}"))?;
        ensure(named.iter().eq(hold.rows.iter().map(|row| row.as_ref())), || {
            format!("branch {branch} holds some of its rows, not all")
        })?;
        for row in &hold.rows {
            let entry = by_hold.entry((hold.resource.as_ref(), row.as_ref()));
            let (owner, branches) = entry.or_insert((transaction, BTreeSet::new()));
            ensure(*owner == transaction, || format!("{row} has two owners, {owner} and {transaction}"))?;
            branches.insert(branch);
        }
    }
    let by_row: Holds<'_> = locks
        .rows()
        .map(|(resource, row, holder)| {
            ((resource, row), (holder.owner, holder.through.branches().iter().copied().collect()))
        })
        .collect();
    ensure(by_row == by_hold, || "rows and holds disagree".into())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
