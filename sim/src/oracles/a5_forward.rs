//! Source: simulation notes, A5; Seata semantics, section 1 (GlobalStatus and its order).
//!
//! A5, forward only: a status moves along the ways of the protocol, never back, and a final one stays as it is.
//!
//! The ways are written down here once more, so that a slip in the code's own table is seen.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::ghost::transaction::Transaction;
use crate::seen::Step;
use quorate_core::model::{GlobalStatus, TransactionId};
use quorate_core::txn::command::{OperateV1, Operation};
use quorate_core::txn::{Command, Outcome};
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct Forward {
    standing: BTreeMap<TransactionId, GlobalStatus>,
}

/// Which of the three ways a status belongs to, and how far along it is.
fn place(status: GlobalStatus) -> (&'static str, u8) {
    match status {
        GlobalStatus::Begin => ("", 0),
        GlobalStatus::Committing => ("commit", 1),
        GlobalStatus::CommitRetrying => ("commit", 2),
        GlobalStatus::AsyncCommitting => ("commit", 3),
        GlobalStatus::Committed | GlobalStatus::CommitFailed | GlobalStatus::CommitRetryTimeout => ("commit", 4),
        GlobalStatus::Rollbacking => ("rollback", 1),
        GlobalStatus::RollbackRetrying => ("rollback", 2),
        GlobalStatus::Rollbacked | GlobalStatus::RollbackFailed | GlobalStatus::RollbackRetryTimeout => ("rollback", 4),
        GlobalStatus::TimeoutRollbacking => ("time-out", 1),
        GlobalStatus::TimeoutRollbackRetrying => ("time-out", 2),
        GlobalStatus::TimeoutRollbacked | GlobalStatus::TimeoutRollbackFailed => ("time-out", 4),
        GlobalStatus::UnKnown
        | GlobalStatus::Finished
        | GlobalStatus::Deleting
        | GlobalStatus::StopCommitOrCommitRetry
        | GlobalStatus::StopRollbackOrRollbackRetry => ("none", 0),
    }
}

fn leads_on(from: GlobalStatus, to: GlobalStatus) -> bool {
    let ((old_way, old), (new_way, new)) = (place(from), place(to));
    // What is given up has one name for both kinds of rollback.
    let given_up = old_way == "time-out" && to == GlobalStatus::RollbackRetryTimeout;
    from == to || (old < new && old < 4 && (old_way == new_way || from == GlobalStatus::Begin || given_up))
}

impl Forward {
    /// An operator stops and starts, tries again what failed, and ends what he will: each keeps the direction, and what
    /// he ends has failed.
    fn operated(&mut self, operate: &OperateV1, to: GlobalStatus) -> Judgement {
        let OperateV1 { transaction, operation } = *operate;
        let from = self.standing.insert(transaction, to).unwrap_or(GlobalStatus::Begin);
        let is_stopped = |status: GlobalStatus| status.name().starts_with("Stop");
        let is_retrying = to.name().ends_with("Retrying");
        let has_failed =
            |status: GlobalStatus| status.name().ends_with("Failed") || status.name().ends_with("RetryTimeout");
        let may_be = match operation {
            Operation::Stop => is_stopped(to) && !has_failed(from),
            Operation::Start => is_retrying && is_stopped(from),
            Operation::Reopen => is_retrying && has_failed(from),
            Operation::Delete => from == to && has_failed(from),
            Operation::ForceDelete => has_failed(to),
            Operation::StopBranch(_)
            | Operation::StartBranch(_)
            | Operation::CleanUpBranch(_)
            | Operation::DropBranch(_) => from == to,
            // What an RM cleans up has failed from the order on.
            Operation::CleanUp => has_failed(to) && from != GlobalStatus::Begin,
        };
        let has_turned = from.name().contains("ommit") != to.name().contains("ommit") && from != GlobalStatus::Begin;
        if may_be && !has_turned {
            return Ok(());
        }
        Err(Finding::about(transaction, format!("an operator's {operation:?} made {to} of {from}")))
    }
}

impl Oracle for Forward {
    fn name(&self) -> &'static str {
        "A5"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        if let (Command::Operate(operate), Outcome::Now(status)) = (step.command, step.outcome) {
            // A Saga may have gone anywhere before.
            return match ghost.transaction(operate.transaction).is_some_and(Transaction::is_saga) {
                true => Ok(()),
                false => self.operated(operate, *status).map_err(|found| found.in_group(step.group)),
            };
        }
        let (transaction, status) = match (step.command, step.outcome) {
            (_, Outcome::Begun(transaction)) => (*transaction, GlobalStatus::Begin),
            (Command::Decide(decide), Outcome::Decided(status) | Outcome::Standing(status)) => {
                (decide.transaction, *status)
            }
            (Command::Fail(fail), Outcome::Now(status)) => (fail.transaction, *status),
            (Command::GiveUp(give_up), Outcome::Now(status)) => (give_up.transaction, *status),
            (Command::CleanedUp(at), Outcome::Now(status)) => (at.transaction, *status),
            (
                Command::Retry(which) | Command::End(which) | Command::Detach(which) | Command::Forget(which),
                Outcome::Now(status),
            ) => (which.transaction, *status),
            _ => return Ok(()),
        };
        // A Saga goes where its engine says.
        if ghost.transaction(transaction).is_some_and(Transaction::is_saga) {
            return Ok(());
        }
        let before = *self.standing.entry(transaction).or_insert(GlobalStatus::Begin);
        let only_told = matches!(step.outcome, Outcome::Standing(_));
        if !leads_on(before, status) || (only_told && before != status) {
            let text = format!("it was {before}, and {} says {status}", if only_told { "a decision" } else { "apply" });
            return Err(Finding::about(transaction, text).in_group(step.group));
        }
        self.standing.insert(transaction, status);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, decided, ended, ghost_with};
    use super::*;
    use quorate_core::model::BranchType;

    #[test]
    fn a_status_goes_forward_and_its_end_stays() {
        use GlobalStatus::{Committed, Committing, Rollbacked, TimeoutRollbacked, TimeoutRollbacking};
        let judged = |first, then: &[GlobalStatus]| {
            let (mut oracle, mut ghost) = (Forward::default(), ghost_with(BranchType::AT, ""));
            decided(&mut oracle, &mut ghost, first)?;
            then.iter().try_for_each(|status| ended(&mut oracle, &ghost, *status))
        };
        assert_eq!(judged(Committing, &[Committed, Committed]), Ok(()));
        assert_eq!(judged(TimeoutRollbacking, &[TimeoutRollbacked]), Ok(()));
        assert!(judged(Committing, &[Rollbacked]).is_err());
        assert!(judged(TimeoutRollbacking, &[Rollbacked]).is_err(), "another kind of rollback");
        assert!(judged(Committing, &[Committed, Committing]).is_err(), "back");
    }

    #[test]
    fn an_operator_keeps_the_direction() {
        let judged = |operation, to| {
            let mut oracle = Forward::default();
            oracle.standing.insert(FIRST, GlobalStatus::RollbackRetrying);
            oracle.operated(&OperateV1 { transaction: FIRST, operation }, to)
        };
        assert_eq!(judged(Operation::Stop, GlobalStatus::StopRollbackOrRollbackRetry), Ok(()));
        assert_eq!(judged(Operation::ForceDelete, GlobalStatus::RollbackFailed), Ok(()));
        assert!(judged(Operation::Stop, GlobalStatus::StopCommitOrCommitRetry).is_err());
        assert!(judged(Operation::Start, GlobalStatus::RollbackRetrying).is_err(), "it was not stopped");
        assert!(judged(Operation::ForceDelete, GlobalStatus::CommitFailed).is_err());
    }
}
