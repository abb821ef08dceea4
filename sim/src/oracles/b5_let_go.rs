//! Source: simulation notes, B5; lock protocol, rules 12 and 13; Seata issue 1991 (a row is free under what may be undone).
//!
//! B5, let go in order: after a commit rows are let go with the decision, after a rollback when their branch is undone, and never before.
//!
//! A rollback that is given up lets go where an operator wants that, and nowhere else; so does what he deletes by force.
//!
//! Judged by what RMs were promised and what their databases did.

use super::{Finding, Judgement, Oracle};
use crate::bank::{BranchKey, Effect};
use crate::ghost::Ghost;
use crate::ghost::locks::Row;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, GroupId, TransactionId, hash, lock_key};
use quorate_core::txn::command::{DecideV1, ReportV1};
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct LetGo {
    /// Rows of branches that were acknowledged, and may not be let go yet.
    kept: BTreeMap<BranchKey, Vec<Row>>,
    /// Branches of rollbacks that are undone, or had nothing to undo: one of them may be acknowledged after that.
    undone: BTreeSet<BranchKey>,
}

impl LetGo {
    fn keep(&mut self, ghost: &Ghost, key: BranchKey) {
        let Some(found) = ghost.transaction(key.0) else { return };
        let Some(listed) = found.listed.get(&key.1) else { return };
        if self.undone.contains(&key) || ghost.lets_go_of(key) || found.decision == Some(Direction::Commit) {
            return;
        }
        let rows = lock_key::parse(&listed.lock_keys).unwrap_or_default();
        let held = rows.into_iter().map(|row| (listed.resource.clone(), row)).filter(|row| {
            // What it never had is B1's and B4's.
            ghost.locks.holder(row).is_some_and(|held| held.owner == key.0)
        });
        self.kept.insert(key, held.collect());
    }

    fn judge(&self, ghost: &Ghost, transaction: TransactionId) -> Judgement {
        // The decision may be in the same entry.
        if ghost.decision(transaction) == Some(Direction::Commit) {
            return Ok(());
        }
        let its = self.kept.range((transaction, BranchId(i64::MIN))..=(transaction, BranchId(i64::MAX)));
        for ((_, branch), rows) in its {
            let gone = rows.iter().find(|row| ghost.locks.holder(row).is_none_or(|held| held.owner != transaction));
            if let Some((resource, row)) = gone {
                let decided = ghost.decision(transaction);
                let text = format!(
                    "row {row} of {resource} was let go under branch {branch}, not undone; decided {decided:?}"
                );
                return Err(Finding::about(transaction, text));
            }
        }
        Ok(())
    }

    fn decided(&mut self, ghost: &Ghost, group: GroupId, transaction: TransactionId) -> Judgement {
        let Some(found) = ghost.transaction(transaction) else { return Ok(()) };
        let commits = found.decision == Some(Direction::Commit);
        self.kept.retain(|key, _| key.0 != transaction || !(commits || found.has_failed(key.1)));
        let Some(home) = ghost.groups.get(&group).filter(|_| commits) else { return Ok(()) };
        // Elsewhere a message has to bring it: B3.
        let slots: BTreeSet<_> = found.listed.values().map(|listed| hash::lock_slot(&listed.resource)).collect();
        let kept = slots.into_iter().find_map(|slot| home.model.holds_of(slot, transaction).next());
        kept.map_or(Ok(()), |hold| {
            let text = format!("its commit is decided, and branch {} still has rows of {}", hold.branch, hold.resource);
            Err(Finding::about(transaction, text))
        })
    }
}

impl Oracle for LetGo {
    fn name(&self) -> &'static str {
        "B5"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let judged = match (step.command, step.outcome) {
            (Command::Decide(DecideV1 { transaction, .. }), Outcome::Decided(_))
            // An engine decides on what stands beside its steps.
            | (Command::Report(ReportV1 { transaction, .. }), Outcome::Decided(_)) => {
                self.decided(ghost, step.group, *transaction)
            }
            // Given up, and an operator wants such to let go.
            (Command::GiveUp(give_up), Outcome::Now(_)) if ghost.lets_go(give_up.transaction) => {
                self.kept.retain(|key, _| key.0 != give_up.transaction);
                Ok(())
            }
            // An operator lets go by force.
            (Command::Operate(_), Outcome::Now(_)) => {
                self.kept.retain(|key, _| !ghost.is_left(*key));
                Ok(())
            }
            (Command::ReleaseLocks(release), Outcome::Released) => self.judge(ghost, release.transaction),
            (Command::RemoveBranch(which), Outcome::Done) => self.judge(ghost, which.transaction),
            _ => Ok(()),
        };
        judged.map_err(|found| found.in_group(step.group))
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Acknowledged { transaction, branch, .. } => self.keep(ghost, (*transaction, *branch)),
            // Undone, or found to have nothing to undo.
            Seen::Database { key, effect: Effect::RolledBack | Effect::Nothing, .. }
                if ghost.decision(key.0) == Some(Direction::Rollback) =>
            {
                self.kept.remove(key);
                self.undone.insert(*key);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, acknowledged, database, decided, ghost_with, given_up, released};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus};

    /// A branch with two rows that its RM was told of, and what becomes of it.
    fn held() -> (Ghost, LetGo) {
        let mut ghost = ghost_with(BranchType::AT, "account:1,2");
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1,2");
        let mut oracle = LetGo::default();
        assert_eq!(oracle.see(&ghost, &acknowledged()), Ok(()));
        (ghost, oracle)
    }

    fn let_go(ghost: &mut Ghost, oracle: &mut LetGo) -> Judgement {
        ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1"));
        released(oracle, ghost)
    }

    #[test]
    fn a_rollback_keeps_rows_until_their_branch_is_undone() {
        let (mut ghost, mut oracle) = held();
        assert_eq!(decided(&mut oracle, &mut ghost, GlobalStatus::Rollbacking), Ok(()));
        assert_eq!(oracle.see(&ghost, &database("at-1", Effect::RolledBack)), Ok(()));
        assert_eq!(let_go(&mut ghost, &mut oracle), Ok(()));

        let (mut ghost, mut oracle) = held();
        assert_eq!(decided(&mut oracle, &mut ghost, GlobalStatus::Rollbacking), Ok(()));
        assert!(let_go(&mut ghost, &mut oracle).is_err(), "not undone");
    }

    #[test]
    fn a_rollback_that_is_given_up_lets_go_where_that_is_wanted() {
        for (unlocks, is_right) in [(true, true), (false, false)] {
            let (mut ghost, mut oracle) = held();
            assert_eq!(decided(&mut oracle, &mut ghost, GlobalStatus::Rollbacking), Ok(()));
            assert_eq!(given_up(&mut oracle, &mut ghost, unlocks), Ok(()));
            assert_eq!(let_go(&mut ghost, &mut oracle).is_ok(), is_right);
        }
    }

    #[test]
    fn a_commit_lets_go_when_it_is_decided_and_not_before() {
        let (mut ghost, mut oracle) = held();
        assert_eq!(decided(&mut oracle, &mut ghost, GlobalStatus::AsyncCommitting), Ok(()));
        assert_eq!(let_go(&mut ghost, &mut oracle), Ok(()));
        let (mut ghost, mut oracle) = held();
        assert!(let_go(&mut ghost, &mut oracle).is_err(), "nothing is decided");
    }
}
