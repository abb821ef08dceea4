//! What a TM or RM is answered to commit, rollback, status and report of a transaction as it stands.
//!
//! A Java TM looks at the status only, and takes every status in a commit result but `Finished` and the four
//! `Timeout..` ones for success (semantics 1.5). So a commit of a transaction whose decision is rollback must never be
//! answered with `Rollbacked` or `RollbackRetrying` (W30), and a rollback of a committed one never with `Finished`,
//! which a TM takes for "rolled back". State comes before time-out, and a tombstone answers as its session did (W4).
//!
//! `None` means: not decided yet. Then there is no answer, the request has to decide first.

use crate::model::GlobalStatus;
use GlobalStatus::*;

/// The answer to any of these requests when neither session nor tombstone is there.
pub const UNKNOWN: GlobalStatus = Finished;

/// What a commit is answered.
pub const fn commit_answer(status: GlobalStatus) -> Option<GlobalStatus> {
    Some(match status {
        Begin => return None,
        // What is left to do after the decision of an AT commit does not concern the TM.
        AsyncCommitting | Committed => Committed,
        Committing => Committing,
        CommitRetrying | StopCommitOrCommitRetry => CommitRetrying,
        CommitFailed => CommitFailed,
        CommitRetryTimeout => CommitRetryTimeout,
        Rollbacking | RollbackRetrying | TimeoutRollbacking | TimeoutRollbackRetrying | StopRollbackOrRollbackRetry => {
            TimeoutRollbacking
        }
        Rollbacked | TimeoutRollbacked => TimeoutRollbacked,
        RollbackFailed | TimeoutRollbackFailed | RollbackRetryTimeout => TimeoutRollbackFailed,
        UnKnown | Finished | Deleting => UNKNOWN,
    })
}

/// What a rollback is answered.
pub const fn rollback_answer(status: GlobalStatus) -> Option<GlobalStatus> {
    match status {
        Begin => None,
        other => Some(status_answer(other)),
    }
}

/// What a status request is answered: the status as it stands, in words that clients before 2.4 know.
pub const fn status_answer(status: GlobalStatus) -> GlobalStatus {
    match status {
        Begin
        | Committing
        | CommitRetrying
        | Rollbacking
        | RollbackRetrying
        | TimeoutRollbacking
        | TimeoutRollbackRetrying
        | AsyncCommitting
        | Committed
        | CommitFailed
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | CommitRetryTimeout
        | RollbackRetryTimeout => status,
        StopCommitOrCommitRetry => CommitRetrying,
        StopRollbackOrRollbackRetry => RollbackRetrying,
        UnKnown | Finished | Deleting => UNKNOWN,
    }
}

/// What a global report is answered: an unknown transaction's report comes back, a known one keeps its status, for only
/// a Saga may be reported on (semantics 1.4).
pub const fn report_answer(standing: Option<GlobalStatus>, reported: GlobalStatus) -> GlobalStatus {
    match standing {
        Some(status) => status_answer(status),
        None => reported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a Java TM does not take for success in the answer to a commit.
    fn fails_a_commit(answer: GlobalStatus) -> bool {
        [Finished, TimeoutRollbacking, TimeoutRollbackRetrying, TimeoutRollbacked, TimeoutRollbackFailed]
            .contains(&answer)
    }

    fn decided_rollback(status: GlobalStatus) -> bool {
        status.name().contains("ollback")
    }

    #[test]
    fn a_commit_of_what_is_rolled_back_looks_like_a_failure() {
        for &status in GlobalStatus::ALL {
            let Some(answer) = commit_answer(status) else {
                assert_eq!(status, Begin);
                continue;
            };
            let lost = decided_rollback(status) || [UnKnown, Finished, Deleting].contains(&status);
            assert_eq!(fails_a_commit(answer), lost, "{status} is answered {answer}");
        }
    }

    #[test]
    fn a_rollback_of_what_is_committed_never_looks_done() {
        for status in GlobalStatus::ALL.iter().filter(|status| status.name().contains("ommit")) {
            let answer = rollback_answer(*status).expect("decided");
            assert!(![Finished, Rollbacked, TimeoutRollbacked].contains(&answer), "{status} is answered {answer}");
        }
    }

    #[test]
    fn old_clients_know_every_answer() {
        for &status in GlobalStatus::ALL {
            let answers = [commit_answer(status), rollback_answer(status), Some(status_answer(status))];
            assert!(answers.into_iter().flatten().all(|answer| answer.code() < 18), "{status}");
        }
    }

    #[test]
    fn answers_of_the_recorded_conversations() {
        // Conformance 24, 75, 79: the commit again, running and done.
        assert_eq!(commit_answer(AsyncCommitting), Some(Committed));
        assert_eq!(commit_answer(CommitRetrying), Some(CommitRetrying));
        assert_eq!(rollback_answer(AsyncCommitting), Some(AsyncCommitting));
        // 76, 77, 88: contrary decisions.
        assert_eq!(rollback_answer(Rollbacked), Some(Rollbacked));
        assert_eq!(rollback_answer(Committed), Some(Committed));
        assert_eq!(commit_answer(Rollbacked), Some(TimeoutRollbacked));
        assert_eq!(commit_answer(Rollbacking), Some(TimeoutRollbacking));
        assert_eq!(commit_answer(RollbackFailed), Some(TimeoutRollbackFailed));
        // 13, 51: reports.
        assert_eq!(report_answer(None, RollbackRetrying), RollbackRetrying);
        assert_eq!(report_answer(Some(Begin), Committed), Begin);
    }
}
