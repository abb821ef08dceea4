//! The state machines of Sagas, as their engines keep them in a database, and the accounts that their steps change.
//!
//! An engine that has begun to undo never takes another step, and undoes what was done in reverse, each step once: that
//! is in the database, so two processes that work on one machine do not get in each other's way. That it told the
//! coordinator of its end is there too: after that only the coordinator has it undone.

use crate::plan::operations::PlannedSaga;
use quorate_core::model::TransactionId;
use quorate_core::txn::status::Direction;
use std::collections::BTreeMap;

/// What came of a wish for the next step, forward or back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Went {
    /// It is done; there may be more.
    Step,
    /// There is none: all are done, or all are undone.
    Over,
    /// Its business refuses: there is no way forward.
    Failed,
    /// It is being undone, or nobody knows the machine.
    Barred,
}

#[derive(Clone, Debug)]
struct Machine {
    planned: PlannedSaga,
    done: usize,
    /// Steps that are not undone yet, once it is being undone.
    left: Option<usize>,
    hiccups: u32,
    /// The coordinator was told that all steps are done.
    is_told_done: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Machines {
    accounts: BTreeMap<u64, i64>,
    machines: BTreeMap<TransactionId, Machine>,
}

impl Machines {
    /// A machine is written down. False: it was to be undone before that.
    pub fn start(&mut self, transaction: TransactionId, planned: &PlannedSaga) -> bool {
        if self.machines.contains_key(&transaction) {
            return false;
        }
        let hiccups = planned.retries;
        let planned = planned.clone();
        self.machines.insert(transaction, Machine { planned, done: 0, left: None, hiccups, is_told_done: false });
        true
    }

    /// Whether a step is to be taken next.
    pub fn has_next(&self, transaction: TransactionId) -> bool {
        self.machines.get(&transaction).is_some_and(|machine| {
            let fails = machine.planned.fails_at == Some(machine.done);
            machine.left.is_none() && !fails && machine.done < machine.planned.steps.len()
        })
    }

    /// Takes the next step.
    pub fn step(&mut self, transaction: TransactionId) -> Went {
        let Some(machine) = self.machines.get_mut(&transaction) else { return Went::Barred };
        if machine.left.is_some() {
            return Went::Barred;
        }
        if machine.planned.fails_at == Some(machine.done) {
            return Went::Failed;
        }
        let Some((account, delta)) = machine.planned.steps.get(machine.done) else { return Went::Over };
        *self.accounts.entry(*account).or_default() += delta;
        machine.done += 1;
        Went::Step
    }

    /// From now on it is undone.
    pub fn turn_back(&mut self, transaction: TransactionId) {
        let planned = PlannedSaga::default();
        let nothing = Machine { planned, done: 0, left: None, hiccups: 0, is_told_done: false };
        let machine = self.machines.entry(transaction).or_insert(nothing);
        machine.left.get_or_insert(machine.done);
    }

    /// Whoever runs it wants it undone, though nobody asked for that. False: it is told to be done, and stays so.
    pub fn give_up(&mut self, transaction: TransactionId) -> bool {
        if self.machines.get(&transaction).is_some_and(|machine| machine.is_told_done) {
            return false;
        }
        self.turn_back(transaction);
        true
    }

    /// The coordinator asked, and is told that all steps are done.
    pub fn tell_done(&mut self, transaction: TransactionId) {
        if let Some(machine) = self.machines.get_mut(&transaction) {
            machine.is_told_done = true;
        }
    }

    /// Undoes the last step that is not undone.
    pub fn undo(&mut self, transaction: TransactionId) -> Went {
        self.turn_back(transaction);
        let Some(machine) = self.machines.get_mut(&transaction) else { return Went::Barred };
        let Some(last) = machine.left.and_then(|left| left.checked_sub(1)) else { return Went::Over };
        if let Some((account, delta)) = machine.planned.steps.get(last) {
            *self.accounts.entry(*account).or_default() -= delta;
        }
        machine.left = Some(last);
        Went::Step
    }

    /// Whether its engine rather goes on when its time is up.
    pub fn rather_goes_on(&self, transaction: TransactionId) -> bool {
        self.machines.get(&transaction).is_some_and(|machine| machine.planned.goes_on && machine.left.is_none())
    }

    /// Whether its engine leaves the undoing to a later time.
    pub fn undoes_later(&self, transaction: TransactionId) -> bool {
        self.machines.get(&transaction).is_some_and(|machine| machine.planned.undoes_later && machine.left.is_none())
    }

    /// Whether this call is to be answered "try again".
    pub fn hiccups(&mut self, transaction: TransactionId) -> bool {
        let Some(machine) = self.machines.get_mut(&transaction) else { return false };
        let hiccups = machine.hiccups > 0;
        machine.hiccups = machine.hiccups.saturating_sub(1);
        hiccups
    }

    /// Where a machine came to rest: all done, or all undone; nothing: neither.
    pub fn fate(&self, transaction: TransactionId) -> Option<Direction> {
        let machine = self.machines.get(&transaction)?;
        match machine.left {
            Some(0) => Some(Direction::Rollback),
            Some(_) => None,
            None => (machine.done == machine.planned.steps.len()).then_some(Direction::Commit),
        }
    }

    /// All machines.
    pub fn all(&self) -> impl Iterator<Item = TransactionId> {
        self.machines.keys().copied()
    }

    /// All accounts together.
    pub fn sum(&self) -> i64 {
        self.accounts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAGA: TransactionId = TransactionId(1);

    #[test]
    fn what_is_being_undone_takes_no_step() {
        let mut machines = Machines::default();
        let planned = PlannedSaga { steps: vec![(1, 5), (2, -5)], ..PlannedSaga::default() };
        assert!(machines.start(SAGA, &planned));
        assert_eq!(machines.step(SAGA), Went::Step);
        assert_eq!((machines.fate(SAGA), machines.sum()), (None, 5));
        assert_eq!(machines.undo(SAGA), Went::Step);
        assert_eq!((machines.undo(SAGA), machines.step(SAGA)), (Went::Over, Went::Barred));
        assert_eq!((machines.fate(SAGA), machines.sum()), (Some(Direction::Rollback), 0));
        assert!(machines.give_up(SAGA), "it is undone already");
        let other = TransactionId(2);
        assert_eq!(machines.undo(other), Went::Over);
        assert!(!machines.start(other, &planned), "it was undone before it began");
    }

    #[test]
    fn what_is_told_to_be_done_is_undone_only_if_the_coordinator_asks() {
        let mut machines = Machines::default();
        let planned = PlannedSaga { steps: vec![(1, 5)], ..PlannedSaga::default() };
        assert!(machines.start(SAGA, &planned));
        assert_eq!((machines.step(SAGA), machines.step(SAGA)), (Went::Step, Went::Over));
        machines.tell_done(SAGA);
        assert!(!machines.give_up(SAGA), "it was told to be done");
        assert_eq!(machines.fate(SAGA), Some(Direction::Commit));
        assert_eq!((machines.undo(SAGA), machines.undo(SAGA)), (Went::Step, Went::Over));
        assert_eq!(machines.fate(SAGA), Some(Direction::Rollback));
        let other = TransactionId(2);
        assert!(machines.start(other, &planned) && machines.give_up(other));
        assert_eq!(machines.step(other), Went::Barred, "what is given up takes no step");
    }
}
