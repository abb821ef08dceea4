//! Source: lock protocol, promise B1 (oracle LK1); Seata semantics, section 3.
//!
//! B1, one holder: from "success" to the commit decision, or until the branch is undone, its rows are its transaction's; or until its rollback
//! is given up, where an operator wants such to let go, or until he deletes it by force.
//!
//! Judged twice: in the groups' own row locks, and by what RMs were promised, whatever the locks say. That they are not let go
//! too early is B5's.

use super::{Finding, Judgement, Oracle};
use crate::bank::Effect;
use crate::ghost::Ghost;
use crate::ghost::locks::Row;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, TransactionId, lock_key};
use quorate_core::txn::command::{DecideV1, ReportV1};
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct OneHolder {
    /// Rows that an RM was promised, and through which branches.
    promised: BTreeMap<Row, (TransactionId, BTreeSet<BranchId>)>,
    /// Branches of rollbacks that are undone, or had nothing to undo. One of them may be acknowledged all the same, if its
    /// locks were long in coming: its database lets it do nothing any more, so nothing is promised.
    undone: BTreeSet<(TransactionId, BranchId)>,
}

impl OneHolder {
    fn promise(&mut self, ghost: &Ghost, transaction: TransactionId, branch: BranchId) -> Judgement {
        let Some(listed) = ghost.transaction(transaction).and_then(|found| found.listed.get(&branch)) else {
            return Ok(());
        };
        let is_undone = self.undone.contains(&(transaction, branch));
        if is_undone
            || ghost.lets_go_of((transaction, branch))
            || ghost.decision(transaction) == Some(Direction::Commit)
        {
            return Ok(());
        }
        for row in lock_key::parse(&listed.lock_keys).unwrap_or_default() {
            let row: Row = (listed.resource.clone(), row);
            let held = ghost.locks.holder(&row);
            if held.is_none_or(|held| held.owner != transaction || !held.branches.contains(&branch)) {
                let text =
                    format!("branch {branch} was told success, and row {} of {} is held by {held:?}", row.1, row.0);
                return Err(Finding::about(transaction, text));
            }
            let (owner, branches) = self.promised.entry(row.clone()).or_insert_with(|| (transaction, BTreeSet::new()));
            if *owner != transaction {
                let text = format!("row {} of {} is promised to it and to {owner}", row.1, row.0);
                return Err(Finding::about(transaction, text));
            }
            branches.insert(branch);
        }
        Ok(())
    }

    fn free(&mut self, transaction: TransactionId, ends: impl Fn(BranchId) -> bool) {
        self.promised.retain(|_, (owner, branches)| {
            if *owner == transaction {
                branches.retain(|branch| !ends(*branch));
            }
            !branches.is_empty()
        });
    }
}

impl Oracle for OneHolder {
    fn name(&self) -> &'static str {
        "B1"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        if let Some((row, had, got)) = ghost.locks.taken_twice.first() {
            let text = format!("row {} of {} was given to it while {had} held it", row.1, row.0);
            return Err(Finding::about(*got, text).in_group(step.group));
        }
        match (step.command, step.outcome) {
            (Command::Decide(DecideV1 { transaction, .. }), Outcome::Decided(_))
            // An engine decides on what stands beside its steps.
            | (Command::Report(ReportV1 { transaction, .. }), Outcome::Decided(_)) => {
                let Some(found) = ghost.transaction(*transaction) else { return Ok(()) };
                let commits = found.decision == Some(Direction::Commit);
                self.free(*transaction, |branch| commits || found.has_failed(branch));
                Ok(())
            }
            // Given up, and an operator wants such to let their rows go: others may write over them from here on.
            (Command::GiveUp(give_up), Outcome::Now(_)) if ghost.lets_go(give_up.transaction) => {
                self.free(give_up.transaction, |_| true);
                Ok(())
            }
            // An operator lets go by force.
            (Command::Operate(operate), Outcome::Now(_)) => {
                self.free(operate.transaction, |branch| ghost.is_left((operate.transaction, branch)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Acknowledged { node, transaction, branch } => {
                self.promise(ghost, *transaction, *branch).map_err(|found| found.at_node(*node))
            }
            // Undone, or found to have nothing to undo.
            Seen::Database { key, effect: Effect::RolledBack | Effect::Nothing, .. } => {
                if ghost.decision(key.0) == Some(Direction::Rollback) {
                    self.free(key.0, |branch| branch == key.1);
                    self.undone.insert(*key);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{
        BRANCH, FIRST, GROUP, SECOND, acknowledged, database, decided, ghost_with, given_up, released,
    };
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus};

    fn acknowledge(oracle: &mut OneHolder, takes: TransactionId) -> (Ghost, Judgement) {
        let mut ghost = ghost_with(BranchType::AT, "account:1");
        ghost.locks.take(GROUP, takes, BRANCH, "at-1", "account:1");
        let judged = oracle.see(&ghost, &acknowledged());
        (ghost, judged)
    }

    #[test]
    fn who_is_told_success_has_the_row_alone() {
        assert_eq!(acknowledge(&mut OneHolder::default(), FIRST).1, Ok(()));
        assert!(acknowledge(&mut OneHolder::default(), SECOND).1.is_err(), "another has it");
        let mut oracle = OneHolder::default();
        let (mut ghost, _) = acknowledge(&mut oracle, FIRST);
        ghost.locks.take(GROUP, SECOND, BranchId(8), "at-1", "account:1");
        assert!(released(&mut oracle, &ghost).is_err(), "two have it");
    }

    #[test]
    fn a_promise_lasts_until_the_commit_or_the_undo() {
        let ends = |ends: &dyn Fn(&mut OneHolder, &mut Ghost) -> Judgement| {
            let mut oracle = OneHolder::default();
            let (mut ghost, judged) = acknowledge(&mut oracle, FIRST);
            judged.and_then(|()| ends(&mut oracle, &mut ghost))?;
            Ok::<_, Finding>(oracle.promised.len())
        };
        assert_eq!(ends(&|oracle, ghost| decided(oracle, ghost, GlobalStatus::AsyncCommitting)), Ok(0));
        assert_eq!(ends(&|oracle, ghost| decided(oracle, ghost, GlobalStatus::Rollbacking)), Ok(1));
        let undone = |oracle: &mut OneHolder, ghost: &mut Ghost| {
            decided(oracle, ghost, GlobalStatus::Rollbacking)?;
            oracle.see(ghost, &database("at-1", Effect::RolledBack))
        };
        assert_eq!(ends(&undone), Ok(0));
        for (unlocks, kept) in [(true, 0), (false, 1)] {
            let given_up = |oracle: &mut OneHolder, ghost: &mut Ghost| {
                decided(oracle, ghost, GlobalStatus::Rollbacking)?;
                given_up(oracle, ghost, unlocks)
            };
            assert_eq!(ends(&given_up), Ok(kept));
        }
    }
}
