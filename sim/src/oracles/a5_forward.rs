//! Source: simulation notes, A5; Seata semantics, section 1 (GlobalStatus and its order), 2.4 (what the engine of a Saga may say).
//!
//! A5, forward only: a status moves along the ways of the protocol, never back, and a final one stays as it is.
//!
//! A Saga moves so too, and besides where the word of its engine takes it: out of failed statuses, and across the decision as long as no
//! engine may have been asked to undo it, or only because its time was up.
//!
//! The ways are written down here once more, so that a slip in the code's own tables is seen.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::ghost::transaction::Transaction;
use crate::seen::Step;
use quorate_core::model::{GlobalStatus, TransactionId};
use quorate_core::txn::command::{OperateV1, Operation, ReportV1};
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

/// Where the word of its engine may take a Saga, and nothing else beside it, that stands so.
fn engine_takes_it_to(from: GlobalStatus) -> &'static [GlobalStatus] {
    use GlobalStatus::{
        CommitRetrying, Committed, RollbackRetrying, Rollbacked, TimeoutRollbackRetrying, TimeoutRollbacked,
    };
    match from {
        GlobalStatus::Begin
        | GlobalStatus::Committing
        | GlobalStatus::AsyncCommitting
        | GlobalStatus::CommitFailed
        | GlobalStatus::CommitRetryTimeout
        | CommitRetrying => &[CommitRetrying, Committed, RollbackRetrying, TimeoutRollbackRetrying, Rollbacked],
        // Its time was up, and its engine may rather go on.
        GlobalStatus::TimeoutRollbacking | TimeoutRollbackRetrying => {
            &[CommitRetrying, Committed, RollbackRetrying, TimeoutRollbackRetrying, TimeoutRollbacked]
        }
        GlobalStatus::TimeoutRollbackFailed => &[RollbackRetrying, TimeoutRollbackRetrying, TimeoutRollbacked],
        GlobalStatus::Rollbacking
        | GlobalStatus::RollbackFailed
        | GlobalStatus::RollbackRetryTimeout
        | RollbackRetrying => &[RollbackRetrying, Rollbacked],
        // It may be over, but which way it goes is for whoever starts it.
        GlobalStatus::StopCommitOrCommitRetry => &[Committed, Rollbacked],
        GlobalStatus::StopRollbackOrRollbackRetry => &[Rollbacked],
        Committed
        | Rollbacked
        | TimeoutRollbacked
        | GlobalStatus::Finished
        | GlobalStatus::UnKnown
        | GlobalStatus::Deleting => &[],
    }
}

/// What an engine means by its word.
fn means(word: GlobalStatus) -> &'static [GlobalStatus] {
    use GlobalStatus::{CommitRetrying, Committed, RollbackRetrying, TimeoutRollbackRetrying};
    match word {
        Committed => &[Committed],
        GlobalStatus::Rollbacked | GlobalStatus::Finished => {
            &[GlobalStatus::Rollbacked, GlobalStatus::TimeoutRollbacked]
        }
        CommitRetrying => &[CommitRetrying],
        RollbackRetrying | GlobalStatus::UnKnown => &[RollbackRetrying],
        TimeoutRollbackRetrying => &[TimeoutRollbackRetrying, RollbackRetrying],
        GlobalStatus::Begin
        | GlobalStatus::Committing
        | GlobalStatus::AsyncCommitting
        | GlobalStatus::CommitFailed
        | GlobalStatus::CommitRetryTimeout
        | GlobalStatus::Rollbacking
        | GlobalStatus::RollbackFailed
        | GlobalStatus::RollbackRetryTimeout
        | GlobalStatus::TimeoutRollbacking
        | GlobalStatus::TimeoutRollbacked
        | GlobalStatus::TimeoutRollbackFailed
        | GlobalStatus::Deleting
        | GlobalStatus::StopCommitOrCommitRetry
        | GlobalStatus::StopRollbackOrRollbackRetry => &[],
    }
}

fn commits(status: GlobalStatus) -> bool {
    status.name().contains("ommit")
}

/// Whether the word may make that of a Saga that stands so. Beside branches of other kinds it is the decision, or nothing.
fn engine_may_say(report: &ReportV1, is_pure: bool, from: GlobalStatus, to: GlobalStatus) -> bool {
    if !is_pure {
        let decides =
            matches!(to, GlobalStatus::Committing | GlobalStatus::AsyncCommitting | GlobalStatus::Rollbacking);
        let agrees = means(report.status).first().is_some_and(|meant| commits(*meant) == commits(to));
        return from == GlobalStatus::Begin && decides && agrees;
    }
    // That it is done, or goes on, may be old by now, but where it answers what was asked in this very status.
    let is_turned_back = from.name().contains("ollback") && commits(to);
    let is_news = !is_turned_back || report.asked == Some(from);
    is_news && engine_takes_it_to(from).contains(&to) && means(report.status).contains(&to)
}

impl Forward {
    /// An engine has spoken.
    fn heard(&mut self, ghost: &Ghost, report: &ReportV1, to: GlobalStatus) -> Judgement {
        let is_pure = ghost.transaction(report.transaction).is_some_and(Transaction::is_pure_saga);
        let from = self.standing.insert(report.transaction, to).unwrap_or(GlobalStatus::Begin);
        if engine_may_say(report, is_pure, from, to) {
            return Ok(());
        }
        let text =
            format!("its engine said {} (asked in {:?}), and that made {to} of {from}", report.status, report.asked);
        Err(Finding::about(report.transaction, text))
    }

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
            return self.operated(operate, *status).map_err(|found| found.in_group(step.group));
        }
        if let (Command::Report(report), Outcome::Now(status) | Outcome::Decided(status)) = (step.command, step.outcome)
        {
            return self.heard(ghost, report, *status).map_err(|found| found.in_group(step.group));
        }
        let (transaction, status) = match (step.command, step.outcome) {
            (_, Outcome::Begun(transaction)) => (*transaction, GlobalStatus::Begin),
            (Command::Decide(decide), Outcome::Decided(status) | Outcome::Standing(status)) => {
                (decide.transaction, *status)
            }
            (Command::Report(report), Outcome::Standing(status)) => (report.transaction, *status),
            (Command::Fail(fail), Outcome::Now(status)) => (fail.transaction, *status),
            (Command::GiveUp(give_up), Outcome::Now(status)) => (give_up.transaction, *status),
            (Command::CleanedUp(at), Outcome::Now(status)) => (at.transaction, *status),
            (Command::Retry(which) | Command::End(which) | Command::Detach(which), Outcome::Now(status)) => {
                (which.transaction, *status)
            }
            _ => return Ok(()),
        };
        let before = *self.standing.entry(transaction).or_insert(GlobalStatus::Begin);
        let only_told = matches!(step.outcome, Outcome::Standing(_));
        if !leads_on(before, status) || (only_told && before != status) {
            let text = format!("it was {before}, and {} says {status}", if only_told { "an answer" } else { "apply" });
            return Err(Finding::about(transaction, text).in_group(step.group));
        }
        self.standing.insert(transaction, status);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, GROUP, decided, ended, ghost_with};
    use super::*;
    use quorate_core::model::BranchType;
    use quorate_core::txn::status::{may_become, saga_may_become};

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

    /// A transaction with a branch of this kind stands so, its engine says this to what it was asked then, and that is made of it.
    fn heard(
        kind: BranchType,
        from: GlobalStatus,
        (word, asked): (GlobalStatus, Option<GlobalStatus>),
        outcome: &Outcome,
    ) -> Judgement {
        let (ghost, mut oracle) = (ghost_with(kind, ""), Forward::default());
        oracle.standing.insert(FIRST, from);
        let command = Command::Report(ReportV1 { transaction: FIRST, status: word, asked });
        oracle.step(&ghost, &Step { group: GROUP, command: &command, outcome })
    }

    #[test]
    fn a_saga_goes_where_its_engine_says() {
        use GlobalStatus::{
            Begin, CommitFailed, CommitRetrying, Committed, Committing, RollbackRetrying, Rollbacked, Rollbacking,
            StopRollbackOrRollbackRetry, TimeoutRollbackRetrying, TimeoutRollbacked, TimeoutRollbacking,
        };
        let judged = |from, word, asked, to| heard(BranchType::SAGA, from, (word, asked), &Outcome::Now(to));
        assert_eq!(judged(Begin, Committed, None, Committed), Ok(()));
        assert_eq!(judged(CommitFailed, RollbackRetrying, None, RollbackRetrying), Ok(()), "out of a failed one");
        assert_eq!(judged(TimeoutRollbacking, Rollbacked, None, TimeoutRollbacked), Ok(()));
        assert_eq!(judged(RollbackRetrying, TimeoutRollbackRetrying, None, RollbackRetrying), Ok(()));
        let late = Some(TimeoutRollbackRetrying);
        assert_eq!(judged(TimeoutRollbackRetrying, CommitRetrying, late, CommitRetrying), Ok(()), "it rather goes on");
        for asked in [None, Some(TimeoutRollbacking)] {
            let old = judged(TimeoutRollbackRetrying, CommitRetrying, asked, CommitRetrying);
            assert!(old.is_err(), "an old word");
        }
        assert!(judged(Rollbacking, Committed, Some(Rollbacking), Committed).is_err(), "it is being undone");
        assert!(judged(Committing, RollbackRetrying, None, Committed).is_err(), "it said something else");
        assert!(judged(StopRollbackOrRollbackRetry, RollbackRetrying, None, RollbackRetrying).is_err(), "it stands");
        assert!(judged(Committed, Rollbacked, None, Rollbacked).is_err(), "it is over");
    }

    #[test]
    fn beside_others_an_engine_decides_or_changes_nothing() {
        use GlobalStatus::{Begin, CommitRetrying, Committed, Committing, Rollbacked, Rollbacking};
        let judged = |from, word, outcome| heard(BranchType::TCC, from, (word, None), &outcome);
        assert_eq!(judged(Begin, Committed, Outcome::Decided(Committing)), Ok(()));
        assert_eq!(judged(Begin, Rollbacked, Outcome::Decided(Rollbacking)), Ok(()));
        assert_eq!(judged(Rollbacking, Committed, Outcome::Standing(Rollbacking)), Ok(()));
        assert!(judged(Begin, Committed, Outcome::Decided(Rollbacking)).is_err(), "the contrary");
        assert!(judged(Begin, CommitRetrying, Outcome::Decided(CommitRetrying)).is_err(), "no such decision");
        assert!(judged(Committing, Rollbacked, Outcome::Now(Rollbacked)).is_err(), "it is decided");
        assert!(judged(Rollbacking, Committed, Outcome::Standing(Committing)).is_err(), "it stands otherwise");
    }

    #[test]
    fn the_ways_of_sagas_are_those_of_the_code() {
        for (from, to) in GlobalStatus::ALL.iter().flat_map(|from| GlobalStatus::ALL.iter().map(move |to| (*from, *to)))
        {
            let decides = saga_may_become(from, to) && from == GlobalStatus::Begin && may_become(from, to);
            let here = engine_takes_it_to(from).contains(&to) && from != to;
            assert_eq!(here || decides, saga_may_become(from, to), "{from} to {to}");
        }
    }
}
