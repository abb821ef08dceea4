//! Source: Seata issues 152, 2841, 4232 (register against decision); lock protocol, promise A4, rules 3, 8, 10.
//!
//! A4, the list is fixed: a commit covers every branch that an RM was told of, and no branch joins or leaves after it.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Damage, Effect};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, BranchType, TransactionId};
use quorate_core::txn::command::RegisterBranchOnceV1;
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome};

/// See the page.
pub struct FixedList;

impl Oracle for FixedList {
    fn name(&self) -> &'static str {
        "A4"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        match (step.command, step.outcome) {
            (Command::Decide(decide), Outcome::Decided(_)) => {
                let Some(found) = ghost.transaction(decide.transaction) else { return Ok(()) };
                let missing = found.acknowledged.iter().find(|branch| !found.listed.contains_key(branch));
                missing.map_or(Ok(()), |branch| Err(unlisted(decide.transaction, *branch).in_group(step.group)))
            }
            // The steps of a Saga are no list: its engine is asked, once for all.
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) if register.kind != BranchType::SAGA => {
                let transaction = register.transaction;
                fixed(ghost, transaction, register.branch, "joins").map_err(|found| found.in_group(step.group))
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Acknowledged { node, transaction, branch } => {
                let listed = ghost.transaction(*transaction).is_some_and(|found| found.listed.contains_key(branch));
                if listed { Ok(()) } else { Err(unlisted(*transaction, *branch).at_node(*node)) }
            }
            Seen::Damaged { key, damage: Damage::NeverTried, resource } => {
                let text = format!("branch {} at {resource} is confirmed, and nobody has ever tried it", key.1);
                Err(Finding::about(key.0, text))
            }
            Seen::Database { key, effect: Effect::Tried, .. } => fixed(ghost, key.0, key.1, "does its phase one"),
            _ => Ok(()),
        }
    }
}

fn fixed(ghost: &Ghost, transaction: TransactionId, branch: BranchId, what: &str) -> Judgement {
    if ghost.decision(transaction) != Some(Direction::Commit) {
        return Ok(());
    }
    Err(Finding::about(transaction, format!("branch {branch} {what} after the commit was decided")))
}

fn unlisted(transaction: TransactionId, branch: BranchId) -> Finding {
    Finding::about(transaction, format!("branch {branch} was acknowledged and is not in the list"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, acknowledged, database, decided, ghost_with};
    use super::*;
    use quorate_core::model::GlobalStatus;

    #[test]
    fn a_commit_covers_all_that_rms_were_told_of() {
        let mut ghost = ghost_with(BranchType::TCC, "");
        assert_eq!(FixedList.see(&ghost, &acknowledged()), Ok(()));
        assert_eq!(FixedList.see(&ghost, &database("tcc-1", Effect::Tried)), Ok(()));
        assert_eq!(decided(&mut FixedList, &mut ghost, GlobalStatus::Committing), Ok(()));
        assert!(FixedList.see(&ghost, &database("tcc-1", Effect::Tried)).is_err(), "it joins after it");

        let mut ghost = ghost_with(BranchType::TCC, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").listed.clear();
        assert!(FixedList.see(&ghost, &acknowledged()).is_err());
        assert!(decided(&mut FixedList, &mut ghost, GlobalStatus::Committing).is_err(), "one of them has left");
        let (resource, damage) = ("tcc-1".to_owned(), Damage::NeverTried);
        assert!(FixedList.see(&ghost, &Seen::Damaged { resource, key: (FIRST, BRANCH), damage }).is_err());
    }
}
