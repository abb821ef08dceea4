//! Source: simulation notes, C2; lock protocol, rule 2 and oracle LK7 (ids come from reserved blocks, and none is used again).
//!
//! C2, no phantom: an id is dealt once, and what is registered, locked or acknowledged belongs to a transaction that has begun.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, TransactionId};
use quorate_core::txn::command::RegisterBranchOnceV1;
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct NoPhantom {
    begun: BTreeSet<TransactionId>,
    /// Whose branch it is.
    branches: BTreeMap<BranchId, TransactionId>,
}

impl NoPhantom {
    fn branch(&mut self, transaction: TransactionId, branch: BranchId, what: &str) -> Judgement {
        if !self.begun.contains(&transaction) {
            return Err(Finding::about(transaction, format!("branch {branch} {what} a transaction that never began")));
        }
        let owner = *self.branches.entry(branch).or_insert(transaction);
        if owner == transaction {
            return Ok(());
        }
        Err(Finding::about(transaction, format!("branch {branch} {what} it, and is a branch of {owner}")))
    }
}

impl Oracle for NoPhantom {
    fn name(&self) -> &'static str {
        "C2"
    }

    fn step(&mut self, _ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let judged = match (step.command, step.outcome) {
            (_, Outcome::Begun(transaction)) if !self.begun.insert(*transaction) => {
                Err(Finding::about(*transaction, "it has begun twice"))
            }
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) => self.branch(register.transaction, register.branch, "joins"),
            (Command::AcquireLocks(acquire), Outcome::Acquired) => {
                self.branch(acquire.transaction, acquire.branch, "locks rows for")
            }
            _ => Ok(()),
        };
        judged.map_err(|found| found.in_group(step.group))
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Acknowledged { node, transaction, branch } => {
                self.branch(*transaction, *branch, "is acknowledged for").map_err(|found| found.at_node(*node))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::model::GroupId;

    const FIRST: TransactionId = TransactionId(1);
    const SECOND: TransactionId = TransactionId(2);

    fn begins(oracle: &mut NoPhantom, transaction: TransactionId) -> Judgement {
        let step = Step { group: GroupId(1), command: &Command::Tick, outcome: &Outcome::Begun(transaction) };
        oracle.step(&Ghost::default(), &step)
    }

    #[test]
    fn an_id_is_dealt_once() {
        let mut oracle = NoPhantom::default();
        assert_eq!((begins(&mut oracle, FIRST), begins(&mut oracle, SECOND)), (Ok(()), Ok(())));
        assert!(begins(&mut oracle, FIRST).is_err());
        let branch = BranchId(7);
        assert_eq!(oracle.branch(FIRST, branch, "joins"), Ok(()));
        assert_eq!(oracle.branch(FIRST, branch, "joins"), Ok(()), "asked for again");
        assert!(oracle.branch(SECOND, branch, "joins").is_err());
        assert!(oracle.branch(TransactionId(3), BranchId(8), "joins").is_err(), "it never began");
    }
}
