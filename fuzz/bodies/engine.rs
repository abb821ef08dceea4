//! What the model of the operations target knows of Sagas: what they are, and what the word of their engine makes of them
//! (`docs/TRANSACTIONS.md`, Sagas).

use quorate_core::model::{GlobalStatus, TransactionId};
use quorate_core::txn::Outcome;
use quorate_core::txn::command::ReportV1;

use super::Model;
use super::operate::{Branch, Transaction};

impl Transaction {
    /// Its first branch is a step, or it has none and is named like one.
    pub fn is_saga(&self) -> bool {
        self.branches.values().next().map_or(self.is_named_saga, Branch::is_step)
    }

    pub fn has_engine(&self) -> bool {
        self.is_saga() || self.branches.values().any(Branch::is_step)
    }
}

/// What a word comes to: the status, and whether that is its end.
fn word(of: &Transaction, report: &ReportV1) -> Option<(GlobalStatus, bool)> {
    use GlobalStatus::*;
    let is_timed_out = matches!(of.status, TimeoutRollbacking | TimeoutRollbackRetrying);
    let is_undone = of.status != Begin && !of.commits();
    let is_late = is_timed_out || of.status == TimeoutRollbackFailed;
    // Once it is to be undone only an answer says that it goes on, and only where its time was up.
    let goes_on = !is_undone || (is_timed_out && report.asked.is_some());
    match report.status {
        Committed if goes_on => Some((Committed, true)),
        CommitRetrying if goes_on => Some((CommitRetrying, false)),
        Rollbacked | Finished => Some((if is_late { TimeoutRollbacked } else { Rollbacked }, true)),
        RollbackRetrying | UnKnown => Some((RollbackRetrying, false)),
        TimeoutRollbackRetrying if is_undone && !is_late => Some((RollbackRetrying, false)),
        TimeoutRollbackRetrying => Some((TimeoutRollbackRetrying, false)),
        _ => None,
    }
}

impl Model {
    /// A Saga turns or ends; beside branches of other kinds the word is its decision.
    pub(super) fn report(&mut self, transaction: TransactionId, of: &mut Transaction, report: &ReportV1) -> Outcome {
        use GlobalStatus::*;
        let before = of.status;
        let standing = Outcome::Standing(before);
        let is_pure = of.branches.values().all(Branch::is_step);
        let is_stopped = matches!(before, StopCommitOrCommitRetry | StopRollbackOrRollbackRetry);
        if !of.is_saga() || !(is_pure || before == Begin) || report.asked.is_some_and(|asked| asked != before) {
            return standing;
        }
        let Some((to, is_end)) = word(of, report).filter(|(_, is_end)| *is_end || !is_stopped) else { return standing };
        if is_pure && is_end {
            return self.end(transaction, of, to).unwrap_or(standing);
        }
        if is_pure {
            of.status = to;
            return if before == Begin { Outcome::Decided(to) } else { Outcome::Now(to) };
        }
        if is_end {
            of.branches.retain(|_, branch| !branch.is_step());
        }
        of.status = match to {
            Committed | CommitRetrying if of.is_async() => AsyncCommitting,
            Committed | CommitRetrying => Committing,
            _ => Rollbacking,
        };
        if of.commits() {
            self.release_all(transaction, of);
        }
        Outcome::Decided(of.status)
    }
}
