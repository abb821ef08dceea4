//! What an operator has had deleted: its RMs clean up, before and beside what was decided.
//!
//! In reverse order of registration, one at a time: one that refuses, or is not there, holds up those before it, and is asked
//! again after a pause like any other. Of a transaction that is deleted as a whole nothing else is asked.

use alloc::vec;

use super::plan::Step;
use super::run::{At, Run};
use crate::txn::{Branch, Direction, Fate, Session};

/// What deletions want next.
pub(super) enum Next {
    /// This, before anything else.
    Step(Step),
    /// A pause runs; what was decided may go on meanwhile.
    Rests,
    /// Nothing.
    Nothing,
}

/// Which way a branch of a session is to go; nothing: that is not decided.
pub fn direction_of(session: &Session, branch: &Branch) -> Option<Direction> {
    match branch.fate {
        Fate::CleanUp => Some(branch.clean_up_direction()),
        Fate::Kept | Fate::CleanedUp | Fate::Dropped => session.direction(),
    }
}

/// See [`Next`].
pub(super) fn next(session: &Session, run: &Run) -> Next {
    if session.is_cleaning() {
        let wanted = session.branches.values().rev().find(|branch| branch.fate == Fate::CleanUp);
        let step = wanted.map(|branch| (branch.branch, run.at(branch.branch, branch.clean_up_direction())));
        return match step {
            Some((branch, At::Done(_))) => Next::Step(Step::CleanedUp { branch }),
            Some((branch, At::Idle)) => Next::Step(Step::Ask(vec![branch])),
            Some((_, At::Asked)) => Next::Step(Step::Wait),
            Some((_, At::Later { .. })) if session.is_deleted() => Next::Step(Step::Wait),
            Some((_, At::Later { .. })) => Next::Rests,
            None => Next::Nothing,
        };
    }
    if session.is_deleted() { Next::Step(Step::Done) } else { Next::Nothing }
}
