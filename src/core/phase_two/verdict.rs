//! What a branch's answer means: the tables of commit and rollback (semantics 2.2 and 2.3).

use crate::model::BranchStatus;
use crate::txn::{Direction, Session};
use BranchStatus::*;

/// For how long after the time-out an XA branch that its database does not know any more is asked again.
pub const XAER_NOTA_WINDOW_MS: u64 = 60_000;

/// What came of asking a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The RM said so; the result code beside it means nothing.
    Status(BranchStatus),
    /// No answer within its time, a closed connection, an answer without status, or nobody to ask.
    Nothing,
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
}

/// Judges a reply at `clock_ms` of the group clock.
pub fn judge(session: &Session, direction: Direction, reply: Reply, clock_ms: u64) -> Verdict {
    let Reply::Status(status) = reply else { return Verdict::RetryLater };
    let (done, refused, unknown) = match direction {
        Direction::Commit => {
            (PhaseTwo_Committed, PhaseTwo_CommitFailed_Unretryable, PhaseTwo_CommitFailed_XAER_NOTA_Retryable)
        }
        Direction::Rollback => {
            (PhaseTwo_Rollbacked, PhaseTwo_RollbackFailed_Unretryable, PhaseTwo_RollbackFailed_XAER_NOTA_Retryable)
        }
    };
    if status == done || (status == unknown && clock_ms > nota_deadline_ms(session)) {
        return Verdict::Done;
    }
    if status == refused { Verdict::FailForGood(status) } else { Verdict::RetryLater }
}

fn nota_deadline_ms(session: &Session) -> u64 {
    let timeout_ms = session.due_ms() - session.begun_clock_ms;
    session.due_ms().saturating_add(XAER_NOTA_WINDOW_MS.max(timeout_ms))
}
