//! Source: Seata issues 152, 2841, 4232 (register against decision); lock protocol, promise A4 (oracle LK3), rules 3, 8, 10.
//!
//! A4, the list is fixed: a decision covers every branch that an RM was told of, no branch joins or leaves after it, and no RM
//! is told of one by a leader that knows of it.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Damage, Effect};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, BranchType, TransactionId};
use quorate_core::txn::command::{BranchV1, RegisterBranchOnceV1};
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome};
use std::collections::BTreeSet;

/// See the page.
#[derive(Default)]
pub struct FixedList {
    /// What is decided, command by command: the ghost is an entry ahead.
    decided: BTreeSet<TransactionId>,
}

impl FixedList {
    fn fixed(&self, transaction: TransactionId, branch: BranchId, what: &str) -> Judgement {
        match self.decided.contains(&transaction) {
            true => Err(late(transaction, branch, what)),
            false => Ok(()),
        }
    }
}

impl Oracle for FixedList {
    fn name(&self) -> &'static str {
        "A4"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        match (step.command, step.outcome) {
            (Command::Decide(decide), Outcome::Decided(_)) => {
                self.decided.insert(decide.transaction);
                let Some(found) = ghost.transaction(decide.transaction) else { return Ok(()) };
                let missing = found.acknowledged.iter().find(|branch| !found.listed.contains_key(branch));
                missing.map_or(Ok(()), |branch| Err(unlisted(decide.transaction, *branch).in_group(step.group)))
            }
            // An engine decides on what stands beside its steps.
            (Command::Report(report), Outcome::Decided(_)) => {
                self.decided.insert(report.transaction);
                Ok(())
            }
            // The steps of a Saga are no list: its engine is asked, once for all.
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) if register.kind != BranchType::SAGA => {
                let transaction = register.transaction;
                self.fixed(transaction, register.branch, "joins").map_err(|found| found.in_group(step.group))
            }
            (Command::RemoveBranch(remove), Outcome::Done) => {
                let BranchV1 { transaction, branch } = *remove;
                self.fixed(transaction, branch, "leaves").map_err(|found| found.in_group(step.group))
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Acknowledged { node, transaction, branch } => {
                let Some(found) = ghost.transaction(*transaction) else { return Ok(()) };
                let Some(listed) = found.listed.get(branch) else {
                    return Err(unlisted(*transaction, *branch).at_node(*node));
                };
                let applied = ghost.applied.get(&(*node, found.group)).copied();
                let knows = found.decided_at.is_some_and(|decided| applied.is_some_and(|applied| applied >= decided));
                if knows && listed.kind != BranchType::SAGA {
                    return Err(late(*transaction, *branch, "is acknowledged").at_node(*node));
                }
                Ok(())
            }
            Seen::Damaged { key, damage: Damage::NeverTried, resource } => {
                let text = format!("branch {} at {resource} is confirmed, and nobody has ever tried it", key.1);
                Err(Finding::about(key.0, text))
            }
            Seen::Database { key, effect: Effect::Tried, .. } if ghost.decision(key.0) == Some(Direction::Commit) => {
                Err(late(key.0, key.1, "does its phase one"))
            }
            _ => Ok(()),
        }
    }
}

fn late(transaction: TransactionId, branch: BranchId, what: &str) -> Finding {
    Finding::about(transaction, format!("branch {branch} {what} after the decision"))
}

fn unlisted(transaction: TransactionId, branch: BranchId) -> Finding {
    Finding::about(transaction, format!("branch {branch} was acknowledged and is not in the list"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, acknowledged, database, decided, ghost_with};
    use super::*;
    use quorate_core::model::{GlobalStatus, LogIndex, NodeId};

    #[test]
    fn who_knows_of_the_decision_tells_nobody_of_a_branch() {
        let mut ghost = ghost_with(BranchType::AT, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decided_at = Some(LogIndex(9));
        ghost.applied.insert((NodeId(1), GROUP), LogIndex(8));
        assert_eq!(FixedList::default().see(&ghost, &acknowledged()), Ok(()), "it does not know yet");
        ghost.applied.insert((NodeId(1), GROUP), LogIndex(9));
        assert!(FixedList::default().see(&ghost, &acknowledged()).is_err());
    }

    #[test]
    fn nobody_leaves_a_decided_list() {
        let mut ghost = ghost_with(BranchType::AT, "");
        let command = Command::RemoveBranch(BranchV1 { transaction: FIRST, branch: BRANCH });
        let removes = |oracle: &mut FixedList, ghost: &Ghost| {
            oracle.step(ghost, &Step { group: GROUP, command: &command, outcome: &Outcome::Done })
        };
        let mut oracle = FixedList::default();
        assert_eq!(removes(&mut oracle, &ghost), Ok(()));
        assert_eq!(decided(&mut oracle, &mut ghost, GlobalStatus::Rollbacking), Ok(()));
        assert!(removes(&mut oracle, &ghost).is_err());
    }

    #[test]
    fn a_commit_covers_all_that_rms_were_told_of() {
        let mut ghost = ghost_with(BranchType::TCC, "");
        assert_eq!(FixedList::default().see(&ghost, &acknowledged()), Ok(()));
        assert_eq!(FixedList::default().see(&ghost, &database("tcc-1", Effect::Tried)), Ok(()));
        assert_eq!(decided(&mut FixedList::default(), &mut ghost, GlobalStatus::Committing), Ok(()));
        assert!(FixedList::default().see(&ghost, &database("tcc-1", Effect::Tried)).is_err(), "it joins after it");

        let mut ghost = ghost_with(BranchType::TCC, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").listed.clear();
        assert!(FixedList::default().see(&ghost, &acknowledged()).is_err());
        assert!(
            decided(&mut FixedList::default(), &mut ghost, GlobalStatus::Committing).is_err(),
            "one of them has left"
        );
        let (resource, damage) = ("tcc-1".to_owned(), Damage::NeverTried);
        assert!(FixedList::default().see(&ghost, &Seen::Damaged { resource, key: (FIRST, BRANCH), damage }).is_err());
    }
}
