//! The status machine: which status may follow which, in one total function.
//!
//! `apply` moves a session only along [`may_become`]. From Begin there is one choice, the decision; after it only
//! forward. A final status ends the machine: `Committed`, `Rollbacked` and `TimeoutRollbacked` live on as tombstones,
//! the failed ones keep their session until an operator acts.

use crate::model::GlobalStatus;
use GlobalStatus::*;

/// Which way a decided transaction goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Direction {
    /// Its branches are told to commit.
    Commit,
    /// Its branches are told to roll back.
    Rollback,
}

/// Whether a transaction in `from` may be moved to `to`. No status may become itself.
pub const fn may_become(from: GlobalStatus, to: GlobalStatus) -> bool {
    match from {
        Begin => matches!(to, Committing | AsyncCommitting | Rollbacking | TimeoutRollbacking),
        Committing => {
            matches!(to, AsyncCommitting | CommitRetrying | Committed | CommitFailed | CommitRetryTimeout)
        }
        CommitRetrying => matches!(to, Committed | CommitFailed | CommitRetryTimeout),
        // Never given up: the TM was told Committed (semantics G11).
        AsyncCommitting => matches!(to, Committed | CommitFailed),
        Rollbacking => matches!(to, RollbackRetrying | Rollbacked | RollbackFailed | RollbackRetryTimeout),
        RollbackRetrying => matches!(to, Rollbacked | RollbackFailed | RollbackRetryTimeout),
        TimeoutRollbacking => {
            matches!(to, TimeoutRollbackRetrying | TimeoutRollbacked | TimeoutRollbackFailed | RollbackRetryTimeout)
        }
        TimeoutRollbackRetrying => matches!(to, TimeoutRollbacked | TimeoutRollbackFailed | RollbackRetryTimeout),
        Committed
        | CommitFailed
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | CommitRetryTimeout
        | RollbackRetryTimeout
        | Finished => false,
        // No session has these yet.
        UnKnown | Deleting | StopCommitOrCommitRetry | StopRollbackOrRollbackRetry => false,
    }
}

/// As [`may_become`], for a Saga: where its engine says so it turns, out of every status that is not the end, a failed
/// one too; or it ends at once (`saga`).
pub const fn saga_may_become(from: GlobalStatus, to: GlobalStatus) -> bool {
    let is_open = matches!(from, Begin) || is_running(from) || is_failed(from);
    let is_said = matches!(
        to,
        Committed | Rollbacked | TimeoutRollbacked | CommitRetrying | RollbackRetrying | TimeoutRollbackRetrying
    );
    may_become(from, to) || (is_open && is_said)
}

/// The decision that a status stands for; none before it.
pub const fn direction(status: GlobalStatus) -> Option<Direction> {
    match status {
        Committing
        | CommitRetrying
        | AsyncCommitting
        | Committed
        | CommitFailed
        | CommitRetryTimeout
        | StopCommitOrCommitRetry => Some(Direction::Commit),
        Rollbacking
        | RollbackRetrying
        | TimeoutRollbacking
        | TimeoutRollbackRetrying
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | RollbackRetryTimeout
        | StopRollbackOrRollbackRetry => Some(Direction::Rollback),
        Begin | UnKnown | Finished | Deleting => None,
    }
}

/// Decided, and phase two still goes on.
pub const fn is_running(status: GlobalStatus) -> bool {
    done(status).is_some()
}

/// Failed for good: the session and what locks it has stay until an operator acts.
pub const fn is_failed(status: GlobalStatus) -> bool {
    match status {
        CommitFailed | RollbackFailed | TimeoutRollbackFailed | CommitRetryTimeout | RollbackRetryTimeout => true,
        Begin
        | Committing
        | CommitRetrying
        | Rollbacking
        | RollbackRetrying
        | TimeoutRollbacking
        | TimeoutRollbackRetrying
        | AsyncCommitting
        | Committed
        | Rollbacked
        | TimeoutRollbacked
        | UnKnown
        | Finished
        | Deleting
        | StopCommitOrCommitRetry
        | StopRollbackOrRollbackRetry => false,
    }
}

/// Stopped by an operator: phase two stands still until an operator starts it again.
pub const fn is_stopped(status: GlobalStatus) -> bool {
    matches!(status, StopCommitOrCommitRetry | StopRollbackOrRollbackRetry)
}

/// What a running status becomes when every branch is done.
pub const fn done(status: GlobalStatus) -> Option<GlobalStatus> {
    match status {
        Committing | CommitRetrying | AsyncCommitting => Some(Committed),
        Rollbacking | RollbackRetrying => Some(Rollbacked),
        TimeoutRollbacking | TimeoutRollbackRetrying => Some(TimeoutRollbacked),
        Begin
        | Committed
        | CommitFailed
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | CommitRetryTimeout
        | RollbackRetryTimeout
        | UnKnown
        | Finished
        | Deleting
        | StopCommitOrCommitRetry
        | StopRollbackOrRollbackRetry => None,
    }
}

/// What a running status becomes when a branch has failed for good.
pub const fn failed(status: GlobalStatus) -> Option<GlobalStatus> {
    match done(status) {
        Some(Committed) => Some(CommitFailed),
        Some(Rollbacked) => Some(RollbackFailed),
        Some(TimeoutRollbacked) => Some(TimeoutRollbackFailed),
        Some(_) | None => None,
    }
}

/// What a running status becomes when phase two was tried for long enough. Not an AT commit: its TM was told Committed.
pub const fn given_up(status: GlobalStatus) -> Option<GlobalStatus> {
    match done(status) {
        Some(Committed) if may_become(status, CommitRetryTimeout) => Some(CommitRetryTimeout),
        Some(Rollbacked | TimeoutRollbacked) => Some(RollbackRetryTimeout),
        Some(_) | None => None,
    }
}

/// What a running status is while a failed branch is asked again. A time-out shows no difference, and an AT commit was
/// answered long ago, so both stay what they are, as in Seata.
pub const fn retrying(status: GlobalStatus) -> Option<GlobalStatus> {
    match status {
        Committing | CommitRetrying => Some(CommitRetrying),
        Rollbacking | RollbackRetrying => Some(RollbackRetrying),
        AsyncCommitting | TimeoutRollbacking | TimeoutRollbackRetrying => Some(status),
        Begin
        | Committed
        | CommitFailed
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | CommitRetryTimeout
        | RollbackRetryTimeout
        | UnKnown
        | Finished
        | Deleting
        | StopCommitOrCommitRetry
        | StopRollbackOrRollbackRetry => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followers(from: GlobalStatus) -> impl Iterator<Item = GlobalStatus> {
        GlobalStatus::ALL.iter().copied().filter(move |to| may_become(from, *to))
    }

    #[test]
    fn no_way_leads_back() {
        // Depth-first from Begin: a status never comes twice on one way.
        fn walk(from: GlobalStatus, seen: &mut alloc::vec::Vec<GlobalStatus>) {
            assert!(!seen.contains(&from), "{from} again after {seen:?}");
            seen.push(from);
            followers(from).for_each(|to| walk(to, seen));
            seen.pop();
        }
        walk(Begin, &mut alloc::vec::Vec::new());
    }

    #[test]
    fn a_decision_never_turns() {
        for &from in GlobalStatus::ALL.iter().filter(|from| direction(**from).is_some()) {
            assert!(followers(from).all(|to| direction(to) == direction(from)), "{from}");
        }
    }

    #[test]
    fn what_runs_can_end_and_what_ended_stays() {
        for &status in GlobalStatus::ALL {
            assert_eq!(is_running(status), done(status).is_some_and(|to| may_become(status, to)), "{status}");
            assert_eq!(is_running(status), failed(status).is_some_and(|to| may_become(status, to)), "{status}");
            assert!(retrying(status).is_none_or(|to| to == status || may_become(status, to)), "{status}");
            assert!(given_up(status).is_none_or(|to| is_failed(to) && may_become(status, to)), "{status}");
            assert_eq!(given_up(status).is_some(), is_running(status) && status != AsyncCommitting, "{status}");
            assert!(!is_failed(status) || followers(status).next().is_none(), "{status}");
        }
    }
}
