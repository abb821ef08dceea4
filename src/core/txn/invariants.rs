//! What must hold of the state after every entry, checked the slow way: for tests and the simulation.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use super::fate::Fate;
use super::locks::LockTable;
use super::session::Session;
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
            ensure(transaction.slot() == slot, || format!("{transaction} does not belong here"))?;
            ensure(transaction.sequence() < self.counter, || format!("{transaction} was never minted"))?;
            ensure(state.tombstone(transaction).is_none(), || format!("{transaction} lives and has ended"))?;
            let is_known = status::has_session(session.status);
            ensure(is_known, || format!("{transaction} is {}", session.status))?;
            let is_failed = status::is_failed(session.status);
            ensure(is_failed || !session.is_deleted(), || format!("{transaction} is deleted and {}", session.status))?;
            self.check_settled(session)?;
            for branch in session.branches.keys() {
                let is_dealt = branch.slot() == slot && branch.sequence() < self.counter;
                ensure(is_dealt, || format!("{transaction} has branch {branch}, which nobody dealt"))?;
            }
        }
        for (transaction, tombstone) in state.tombstones() {
            let is_final = GlobalStatus::ALL.iter().all(|to| !status::may_become(tombstone.status, *to));
            ensure(is_final, || format!("{transaction} ended as {}", tombstone.status))?;
            ensure(tombstone.ended_clock_ms <= self.clock_ms, || format!("{transaction} ends later"))?;
        }
        Ok(())
    }

    /// What an operator has done with holds nothing here, and is of a decided transaction.
    fn check_settled(&self, session: &Session) -> Result<(), String> {
        let transaction = session.transaction;
        for branch in session.branches.values().filter(|branch| branch.fate != Fate::Kept) {
            let id = branch.branch;
            ensure(session.direction().is_some(), || format!("branch {id} of undecided {transaction} is deleted"))?;
            let slot = branch.lock_slot().filter(|slot| branch.fate.is_settled() && self.owns(*slot).is_some());
            let holds = slot.is_some_and(|slot| self.holds_of(slot, transaction).any(|hold| hold.branch == id));
            ensure(!holds, || format!("branch {id} of {transaction} is done with and holds rows"))?;
        }
        Ok(())
    }

    /// B3 within the group: from the commit decision on no listed branch holds anything here.
    fn check_released(&self, state: &SlotState) -> Result<(), String> {
        let committed = state.sessions().filter(|session| session.direction() == Some(Direction::Commit));
        for session in committed.filter(|session| self.owns(session.transaction.slot()).is_some()) {
            for branch in session.branches.values() {
                let Some(slot) = branch.lock_slot().filter(|slot| self.owns(*slot).is_some()) else { continue };
                let holds = self.holds_of(slot, session.transaction).any(|hold| hold.branch == branch.branch);
                ensure(!holds, || format!("{} commits and still holds rows", session.transaction))?;
            }
        }
        Ok(())
    }
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
