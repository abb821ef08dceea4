//! Source: simulation notes, A7 (compensations in reverse order); Seata semantics, 2.1 and 2.3, acceptance 6; Garcia-Molina and Salem,
//! Sagas, section 2.
//!
//! A13, last first: in a rollback no branch is asked before those that were registered after it are undone, for it may have been read by them.
//!
//! Done with is, for good: one whose RM has said that it is undone, or that its database does not know it (a leader asks that one again,
//! and holds up nobody for it); one that phase two passes over; one that an operator had dropped or cleaned up. What has failed, rests, is
//! silent or stopped holds up those before it, whoever leads.
//!
//! Not judged: what an operator has had cleaned up, which goes beside the rollback; the steps of a Saga, whose order only its engine knows.

use super::{Finding, Judgement, Oracle};
use crate::bank::BranchKey;
use crate::ghost::Ghost;
use crate::ghost::transaction::{Listed, Transaction};
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, BranchStatus, BranchType, NodeId, TransactionId};
use quorate_core::txn::command::{BranchV1, Operation};
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome};
use quorate_server::coordinator::message::Way;
use std::collections::BTreeSet;
use std::ops::Bound;

/// See the page.
#[derive(Default)]
pub struct LastFirst {
    /// Branches that hold up nobody any more.
    done: BTreeSet<BranchKey>,
    /// Branches that an operator has had cleaned up,
    ordered: BTreeSet<BranchKey>,
    /// and transactions.
    deleted: BTreeSet<TransactionId>,
}

/// Phase two of a rollback is for it, as it was reported before the decision.
fn has_something_to_undo(found: &Transaction, branch: BranchId, listed: &Listed) -> bool {
    let only_read = listed.kind == BranchType::XA && listed.status == BranchStatus::PhaseOne_RDONLY;
    listed.kind != BranchType::SAGA && !only_read && !found.has_failed(branch)
}

impl LastFirst {
    fn is_asked(&self, ghost: &Ghost, node: NodeId, key: BranchKey) -> Judgement {
        let (transaction, branch) = key;
        let Some(found) = ghost.transaction(transaction) else { return Ok(()) };
        let is_ordered = self.ordered.contains(&key) || self.deleted.contains(&transaction);
        if is_ordered || found.decision != Some(Direction::Rollback) || !found.listed.contains_key(&branch) {
            return Ok(());
        }
        // Ids grow in the order of registration.
        let later = found.listed.range((Bound::Excluded(branch), Bound::Unbounded));
        let left = later.rev().find(|(later, listed)| {
            has_something_to_undo(found, **later, listed) && !self.done.contains(&(transaction, **later))
        });
        left.map_or(Ok(()), |(later, listed)| {
            let text = format!(
                "branch {branch} is told to roll back, and branch {later} ({} at {}), which came after it, is not undone",
                listed.kind, listed.resource
            );
            Err(Finding::about(transaction, text).at_node(node))
        })
    }

    fn is_operated(&mut self, transaction: TransactionId, operation: Operation) {
        match operation {
            Operation::DropBranch(branch) => _ = self.done.insert((transaction, branch)),
            Operation::CleanUpBranch(branch) => _ = self.ordered.insert((transaction, branch)),
            Operation::CleanUp => _ = self.deleted.insert(transaction),
            Operation::Stop
            | Operation::Start
            | Operation::Reopen
            | Operation::Delete
            | Operation::ForceDelete
            | Operation::StopBranch(_)
            | Operation::StartBranch(_) => {}
        }
    }
}

impl Oracle for LastFirst {
    fn name(&self) -> &'static str {
        "A13"
    }

    fn step(&mut self, _ghost: &Ghost, step: &Step<'_>) -> Judgement {
        match (step.command, step.outcome) {
            (Command::Operate(operate), Outcome::Now(_)) => self.is_operated(operate.transaction, operate.operation),
            (Command::CleanedUp(BranchV1 { transaction, branch }), Outcome::Now(_)) => {
                self.done.insert((*transaction, *branch));
            }
            _ => {}
        }
        Ok(())
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Says {
                transaction,
                branch,
                status: BranchStatus::PhaseTwo_Rollbacked | BranchStatus::PhaseTwo_RollbackFailed_XAER_NOTA_Retryable,
            } => {
                self.done.insert((*transaction, *branch));
                Ok(())
            }
            Seen::PhaseTwoSent { node, transaction, branch, way: Way::Rollback } => {
                self.is_asked(ghost, *node, (*transaction, *branch))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, ghost_with};
    use super::*;
    use quorate_core::model::GlobalStatus;
    use quorate_core::txn::command::OperateV1;

    const LATER: BranchId = BranchId(9);

    /// A TCC branch and a later one that was reported so; it is decided.
    fn decided(kind: BranchType, reported: BranchStatus, decided: GlobalStatus) -> Ghost {
        let mut ghost = ghost_with(BranchType::TCC, "");
        let found = ghost.transactions.get_mut(&FIRST).expect("it has begun");
        let (resource, lock_keys, data) = ("later".to_owned(), String::new(), String::new());
        found.listed.insert(LATER, Listed { kind, resource, lock_keys, data, status: reported });
        found.decide(decided, 5);
        ghost
    }

    fn rolls_back() -> Ghost {
        decided(BranchType::TCC, BranchStatus::Registered, GlobalStatus::Rollbacking)
    }

    fn sent(oracle: &mut LastFirst, ghost: &Ghost, branch: BranchId) -> Judgement {
        oracle.see(ghost, &Seen::PhaseTwoSent { node: NodeId(1), transaction: FIRST, branch, way: Way::Rollback })
    }

    fn says(oracle: &mut LastFirst, ghost: &Ghost, status: BranchStatus) {
        assert_eq!(oracle.see(ghost, &Seen::Says { transaction: FIRST, branch: LATER, status }), Ok(()));
    }

    fn operate(oracle: &mut LastFirst, ghost: &Ghost, operation: Operation) {
        let command = Command::Operate(OperateV1 { transaction: FIRST, operation });
        let outcome = Outcome::Now(GlobalStatus::RollbackRetrying);
        assert_eq!(oracle.step(ghost, &Step { group: GROUP, command: &command, outcome: &outcome }), Ok(()));
    }

    #[test]
    fn the_last_one_is_undone_first() {
        use BranchStatus::{
            PhaseTwo_RollbackFailed_Retryable, PhaseTwo_RollbackFailed_Unretryable,
            PhaseTwo_RollbackFailed_XAER_NOTA_Retryable, PhaseTwo_Rollbacked,
        };
        let (ghost, mut oracle) = (rolls_back(), LastFirst::default());
        assert_eq!(sent(&mut oracle, &ghost, LATER), Ok(()));
        assert!(sent(&mut oracle, &ghost, BRANCH).is_err(), "it has not answered");
        for holds_up in [PhaseTwo_RollbackFailed_Retryable, PhaseTwo_RollbackFailed_Unretryable] {
            says(&mut oracle, &ghost, holds_up);
            assert!(sent(&mut oracle, &ghost, BRANCH).is_err(), "{holds_up}");
        }
        says(&mut oracle, &ghost, PhaseTwo_Rollbacked);
        assert_eq!(sent(&mut oracle, &ghost, BRANCH), Ok(()));
        assert_eq!(sent(&mut oracle, &ghost, LATER), Ok(()), "a new leader asks again");
        let mut oracle = LastFirst::default();
        says(&mut oracle, &ghost, PhaseTwo_RollbackFailed_XAER_NOTA_Retryable);
        assert_eq!(sent(&mut oracle, &ghost, BRANCH), Ok(()), "its database does not know it");
    }

    #[test]
    fn who_has_nothing_to_undo_holds_up_nobody() {
        let judged = |kind, reported, status| sent(&mut LastFirst::default(), &decided(kind, reported, status), BRANCH);
        let rollback = GlobalStatus::TimeoutRollbacking;
        assert_eq!(judged(BranchType::AT, BranchStatus::PhaseOne_Failed, rollback), Ok(()));
        assert_eq!(judged(BranchType::XA, BranchStatus::PhaseOne_RDONLY, rollback), Ok(()));
        assert_eq!(judged(BranchType::SAGA, BranchStatus::Registered, rollback), Ok(()));
        for kind in [BranchType::AT, BranchType::TCC, BranchType::XA, BranchType::SAGA_ANNOTATION] {
            assert!(judged(kind, BranchStatus::STOP_RETRY, rollback).is_err(), "{kind}");
        }
        let commit = judged(BranchType::TCC, BranchStatus::Registered, GlobalStatus::Committing);
        assert_eq!(commit, Ok(()), "another oracle's");
    }

    #[test]
    fn what_an_operator_has_done_with_holds_up_nobody() {
        let (ghost, mut oracle) = (rolls_back(), LastFirst::default());
        for stops in [Operation::Stop, Operation::StopBranch(LATER), Operation::CleanUpBranch(LATER)] {
            operate(&mut oracle, &ghost, stops);
            assert!(sent(&mut oracle, &ghost, BRANCH).is_err(), "{stops:?}");
        }
        let command = Command::CleanedUp(BranchV1 { transaction: FIRST, branch: LATER });
        let outcome = Outcome::Now(GlobalStatus::RollbackRetrying);
        assert_eq!(oracle.step(&ghost, &Step { group: GROUP, command: &command, outcome: &outcome }), Ok(()));
        assert_eq!(sent(&mut oracle, &ghost, BRANCH), Ok(()));
        for operation in [Operation::DropBranch(LATER), Operation::CleanUpBranch(BRANCH), Operation::CleanUp] {
            let mut oracle = LastFirst::default();
            operate(&mut oracle, &ghost, operation);
            assert_eq!(sent(&mut oracle, &ghost, BRANCH), Ok(()), "{operation:?}");
        }
    }
}
