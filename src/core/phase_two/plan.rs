//! The order of phase two.
//!
//! *Rollback*: strictly in reverse order of registration, one at a time; a branch that fails holds up those before it,
//! for it may have read what they wrote. *Commit*: first the branches that a TM waits for (TCC), in order of
//! registration, one at a time; then the AT ones, of each resource one at a time, resources beside each other. A branch
//! whose phase one failed is told nothing.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use super::run::{At, Run};
use crate::model::{BranchId, BranchStatus, BranchType, GlobalStatus};
use crate::txn::command::{FailV1, TransactionV1};
use crate::txn::{Branch, Command, Direction, Session, status};

/// What a driver does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Ask these branches, at least one, and note it with [`Run::asked`].
    Ask(Vec<BranchId>),
    /// Nothing, until an answer comes or a back-off is over.
    Wait,
    /// A branch has failed, and the status does not show it yet: propose `Retry`, answer the TM with its outcome.
    RetryLater,
    /// Only branches that no TM waits for are left: propose `Detach`, answer the TM Committed.
    Detach,
    /// A branch has failed for good: propose `Fail`.
    FailForGood {
        /// Which.
        branch: BranchId,
        /// What it said.
        status: BranchStatus,
    },
    /// All branches are done: propose `End` as soon as every owed release is acknowledged.
    Done,
    /// The session is not in phase two: not decided, or failed for good.
    Nothing,
}

impl Step {
    /// The command that the step proposes, if it proposes one.
    pub fn command(&self, session: &Session) -> Option<Command> {
        let name = TransactionV1 { transaction: session.transaction };
        match *self {
            Step::Ask(_) | Step::Wait | Step::Nothing => None,
            Step::RetryLater => Some(Command::Retry(name)),
            Step::Detach => Some(Command::Detach(name)),
            Step::FailForGood { branch, status } => {
                Some(Command::Fail(FailV1 { transaction: session.transaction, branch, status }))
            }
            Step::Done => Some(Command::End(name)),
        }
    }
}

/// The next step of a session.
pub fn plan(session: &Session, run: &Run) -> Step {
    let Some(retrying) = status::retrying(session.status) else { return Step::Nothing };
    if let Some((branch, status)) = run.failed() {
        return Step::FailForGood { branch, status };
    }
    if retrying != session.status && run.has_failures() {
        return Step::RetryLater;
    }
    match session.direction() {
        Some(Direction::Commit) => commit(session, run),
        Some(Direction::Rollback) => rollback(session, run),
        None => Step::Nothing,
    }
}

/// Whether phase two passes over a branch: there is nothing to do for it, its row locks may go.
pub fn is_skipped(branch: &Branch, direction: Direction) -> bool {
    let is_read_only = branch.kind == BranchType::XA && branch.status == BranchStatus::PhaseOne_RDONLY;
    match direction {
        Direction::Commit => branch.has_failed_phase_one() || is_read_only,
        Direction::Rollback => branch.has_failed_phase_one(),
    }
}

fn rollback(session: &Session, run: &Run) -> Step {
    let told = session.branches.values().rev().filter(|branch| !is_skipped(branch, Direction::Rollback));
    for branch in told {
        match run.at(branch.branch) {
            At::Done => {}
            At::Idle => return Step::Ask(vec![branch.branch]),
            At::Asked | At::Later { .. } => return Step::Wait,
        }
    }
    Step::Done
}

fn commit(session: &Session, run: &Run) -> Step {
    let told = || session.branches.values().filter(|branch| !is_skipped(branch, Direction::Commit));
    // Once detached, those that a TM waited for are done, whoever led then.
    if session.status != GlobalStatus::AsyncCommitting {
        let waited_for = told().filter(|branch| !branch.is_async_committable());
        match in_order(waited_for, run, session.status == GlobalStatus::CommitRetrying) {
            Step::Done => {}
            step => return step,
        }
    }
    let mut rest = told().filter(|branch| branch.is_async_committable()).peekable();
    if session.status == GlobalStatus::Committing && rest.peek().is_some() {
        return Step::Detach;
    }
    side_by_side(rest, run)
}

/// One at a time. While retrying, a branch that nobody answers for does not hold up those after it.
fn in_order<'a>(branches: impl Iterator<Item = &'a Branch>, run: &Run, is_retrying: bool) -> Step {
    let mut is_complete = true;
    for branch in branches {
        match run.at(branch.branch) {
            At::Done => {}
            At::Idle => return Step::Ask(vec![branch.branch]),
            At::Later { heard: false } if is_retrying => is_complete = false,
            At::Asked | At::Later { .. } => return Step::Wait,
        }
    }
    if is_complete { Step::Done } else { Step::Wait }
}

/// Of each resource one at a time; one that has failed lets the next go ahead.
fn side_by_side<'a>(branches: impl Iterator<Item = &'a Branch>, run: &Run) -> Step {
    let (mut busy, mut idle, mut is_complete) = (BTreeSet::new(), Vec::new(), true);
    for branch in branches {
        let at = run.at(branch.branch);
        is_complete &= at == At::Done;
        match at {
            At::Asked => {
                busy.insert(&branch.resource);
            }
            At::Idle => idle.push(branch),
            At::Done | At::Later { .. } => {}
        }
    }
    let ask: Vec<BranchId> =
        idle.into_iter().filter(|branch| busy.insert(&branch.resource)).map(|branch| branch.branch).collect();
    match (ask.is_empty(), is_complete) {
        (false, _) => Step::Ask(ask),
        (true, true) => Step::Done,
        (true, false) => Step::Wait,
    }
}
