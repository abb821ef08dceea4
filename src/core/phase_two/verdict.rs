//! What a branch's answer means: the tables of commit and rollback (semantics 2.2 and 2.3), and of Sagas (2.4).

use crate::model::{BranchStatus, GlobalStatus};
use crate::txn::{Direction, Session, saga};
use BranchStatus::*;

/// What came of asking a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The RM said so; the result code beside it means nothing.
    Status(BranchStatus),
    /// No answer within its time, a closed connection, or an answer without status.
    Nothing,
    /// It was not asked: nobody is there, or whoever is has too much to do.
    NotAsked,
}

/// What a reply means for its branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The branch has done what was decided. After a rollback its row locks may go.
    Done,
    /// It is to be asked again.
    RetryLater,
    /// It never will; the session stays for an operator.
    FailForGood(BranchStatus),
    /// The engine of a Saga has turned it, or it is over otherwise than was decided: its word, as in a global report.
    Reported(GlobalStatus),
}

/// Judges a branch's reply at `clock_ms` of the group clock.
pub fn judge(session: &Session, direction: Direction, reply: Reply, clock_ms: u64, xaer_nota_ms: u64) -> Verdict {
    let Reply::Status(status) = reply else { return Verdict::RetryLater };
    let done = match direction {
        Direction::Commit => PhaseTwo_Committed,
        Direction::Rollback => PhaseTwo_Rollbacked,
    };
    let is_unknown = is_unknown(status, direction);
    if is_unknown && clock_ms > nota_deadline_ms(session, xaer_nota_ms) {
        sometimes!("branch_that_its_database_does_not_know_is_taken_for_done");
        return Verdict::Done;
    }
    if is_unknown {
        sometimes!("branch_that_its_database_does_not_know_is_asked_again");
    }
    if status == done {
        return Verdict::Done;
    }
    if status == refusal(direction) { Verdict::FailForGood(status) } else { Verdict::RetryLater }
}

/// Judges the reply of a Saga's engine. Silence turns nothing, unlike in Seata.
pub fn judge_engine(session: &Session, direction: Direction, reply: Reply) -> Verdict {
    let Reply::Status(status) = reply else { return Verdict::RetryLater };
    let verdict = match (direction, status) {
        (Direction::Commit, PhaseTwo_Committed) | (Direction::Rollback, PhaseTwo_Rollbacked) => Verdict::Done,
        // It was undone on the way; or it has failed, and nothing was to be undone.
        (Direction::Commit, PhaseTwo_Rollbacked | PhaseOne_Failed) => {
            sometimes!("engine_undid_what_was_to_go_on");
            Verdict::Reported(GlobalStatus::Rollbacked)
        }
        (Direction::Commit, PhaseTwo_RollbackFailed_Retryable) => {
            sometimes!("engine_turns_back_later");
            Verdict::Reported(GlobalStatus::RollbackRetrying)
        }
        // It goes on when its time is up, and only then: any other question to undo it may still act (`txn::saga`).
        (Direction::Rollback, PhaseTwo_CommitFailed_Retryable) if saga::may_go_on(session.status_for_engine()) => {
            sometimes!("engine_goes_on_though_its_time_is_up");
            Verdict::Reported(GlobalStatus::CommitRetrying)
        }
        (_, status) if status == refusal(direction) => Verdict::FailForGood(status),
        (_, _) => Verdict::RetryLater,
    };
    match verdict {
        // Beside other branches, which do what was decided, it cannot turn any more.
        Verdict::Reported(GlobalStatus::Rollbacked) if !session.is_pure_saga() => {
            Verdict::FailForGood(refusal(direction))
        }
        Verdict::Reported(_) if !session.is_pure_saga() => {
            sometimes!("engine_beside_branches_may_not_turn");
            Verdict::RetryLater
        }
        verdict => verdict,
    }
}

/// Whether an XA branch's database says that it does not know it.
pub(super) fn is_unknown(status: BranchStatus, direction: Direction) -> bool {
    status
        == match direction {
            Direction::Commit => PhaseTwo_CommitFailed_XAER_NOTA_Retryable,
            Direction::Rollback => PhaseTwo_RollbackFailed_XAER_NOTA_Retryable,
        }
}

/// With which a branch says that it never will.
pub(super) fn refusal(direction: Direction) -> BranchStatus {
    match direction {
        Direction::Commit => PhaseTwo_CommitFailed_Unretryable,
        Direction::Rollback => PhaseTwo_RollbackFailed_Unretryable,
    }
}

fn nota_deadline_ms(session: &Session, xaer_nota_ms: u64) -> u64 {
    let timeout_ms = u64::try_from(session.timeout_ms).unwrap_or(0);
    session.due_ms().saturating_add(xaer_nota_ms.max(timeout_ms))
}
