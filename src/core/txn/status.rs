//! The status machine: which status may follow which.
//!
//! A transaction moves along [`may_become`]. From Begin there is one choice, the decision; after it only forward. The
//! engine of a Saga moves it along [`saga_may_become`], an operator along [`operator_may_become`], and nobody in any
//! other way: `tests::moves` tries every command in every status. `Committed`, `Rollbacked` and `TimeoutRollbacked` live
//! on as tombstones; the failed ones keep their session until an operator acts.

use super::saga::{self, Word};
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
        // Retried it stays what it is: the second is for what an engine or an operator has had tried again.
        TimeoutRollbacking | TimeoutRollbackRetrying => {
            matches!(to, TimeoutRollbacked | TimeoutRollbackFailed | RollbackRetryTimeout)
        }
        Committed
        | CommitFailed
        | Rollbacked
        | RollbackFailed
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | CommitRetryTimeout
        | RollbackRetryTimeout
        | Finished => false,
        // Only an operator starts it again.
        StopCommitOrCommitRetry | StopRollbackOrRollbackRetry => false,
        // No session has these.
        UnKnown | Deleting => false,
    }
}

/// Whether the word of an engine, by itself or as an answer, may move a Saga in `from` to `to`: where [`saga::heard`]
/// says. Beside branches of other kinds the word is the decision.
pub fn saga_may_become(from: GlobalStatus, to: GlobalStatus) -> bool {
    let decides = from == Begin && matches!(to, Committing | AsyncCommitting | Rollbacking);
    let mut heard =
        GlobalStatus::ALL.iter().flat_map(|word| [true, false].map(|is_answer| saga::heard(from, *word, is_answer)));
    let is_heard = heard.any(|heard| heard == Word::Ends(to) || heard == Word::Turns(to));
    has_session(from) && from != to && (decides || is_heard)
}

/// Whether an operator may move a transaction in `from` to `to`: phase two is stopped and started, what failed is tried
/// again, and anything may be ended as failed. It never turns.
pub fn operator_may_become(from: GlobalStatus, to: GlobalStatus) -> bool {
    let moves = [stopped(from), started(from), reopened(from), force_deleted(from)];
    from != to && moves.contains(&Some(to))
}

/// Whether a session may have this status; the others are those of tombstones, or of nothing.
pub const fn has_session(status: GlobalStatus) -> bool {
    matches!(status, Begin) || is_running(status) || is_failed(status) || is_stopped(status)
}

/// Whether an operator may have its RMs clean up what is left of it: it has failed, was stopped, or is being retried.
pub const fn may_be_cleaned_up(status: GlobalStatus) -> bool {
    let is_retrying =
        matches!(status, CommitRetrying | RollbackRetrying | TimeoutRollbacking | TimeoutRollbackRetrying);
    is_retrying || is_failed(status) || is_stopped(status)
}

/// What a running status becomes when an operator stops it. Not an AT commit: its TM was told Committed.
pub const fn stopped(status: GlobalStatus) -> Option<GlobalStatus> {
    match done(status) {
        Some(_) if matches!(status, AsyncCommitting) => None,
        Some(Committed) => Some(StopCommitOrCommitRetry),
        Some(_) => Some(StopRollbackOrRollbackRetry),
        None => None,
    }
}

/// What a stopped status becomes when an operator starts it.
pub const fn started(status: GlobalStatus) -> Option<GlobalStatus> {
    if !is_stopped(status) {
        return None;
    }
    match direction(status) {
        Some(Direction::Commit) => Some(CommitRetrying),
        Some(Direction::Rollback) => Some(RollbackRetrying),
        None => None,
    }
}

/// What a failed status becomes when an operator has it tried again.
pub const fn reopened(status: GlobalStatus) -> Option<GlobalStatus> {
    match direction(status) {
        Some(Direction::Rollback) if matches!(status, TimeoutRollbackFailed) => Some(TimeoutRollbackRetrying),
        Some(Direction::Commit) if is_failed(status) => Some(CommitRetrying),
        Some(Direction::Rollback) if is_failed(status) => Some(RollbackRetrying),
        Some(_) | None => None,
    }
}

/// With which tombstone a transaction goes that an operator ends by force: nobody knows what was done, so it has failed,
/// in the direction of its decision. One that was not decided can only have failed to roll back.
pub const fn force_deleted(status: GlobalStatus) -> Option<GlobalStatus> {
    if is_failed(status) {
        return Some(status);
    }
    match status {
        Begin | StopRollbackOrRollbackRetry => Some(RollbackFailed),
        StopCommitOrCommitRetry => Some(CommitFailed),
        running => failed(running),
    }
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
    fn an_operator_never_turns_a_decision() {
        for &from in GlobalStatus::ALL {
            for &to in GlobalStatus::ALL.iter().filter(|to| operator_may_become(from, **to)) {
                assert!(direction(from).is_none() || direction(to) == direction(from), "{from} to {to}");
            }
            let can_stop = is_running(from) && from != AsyncCommitting;
            assert_eq!(stopped(from).is_some_and(is_stopped), can_stop, "{from}");
            assert_eq!(started(from).is_some_and(is_running), is_stopped(from), "{from}");
            assert_eq!(reopened(from).is_some_and(is_running), is_failed(from), "{from}");
            assert_eq!(force_deleted(from).is_some_and(is_failed), has_session(from), "{from}");
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
