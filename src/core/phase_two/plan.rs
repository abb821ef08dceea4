//! The order of phase two.
//!
//! *Rollback*: strictly in reverse order of registration, one at a time; a branch that fails holds up those before it,
//! for it may have read what they wrote. Not one that its database does not know: after a change of leaders that is how
//! one answers that is undone. *Commit*: first the branches that a TM waits for (all but AT), in order of
//! registration, one at a time; then the AT ones, of each resource one at a time, resources beside each other, or while nobody
//! answers for those before them. A branch whose phase one failed is told nothing.
//!
//! All steps of a Saga are one, asked in the place of the first step at a commit and of the last one in a rollback.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use super::clean_up::{self, Next};
use super::run::{At, Run, Why};
use crate::model::{BranchId, BranchStatus, BranchType, GlobalStatus};
use crate::txn::command::{BranchV1, FailV1, GiveUpV1, ReportV1, TransactionV1};
use crate::txn::{Branch, Command, Direction, Fate, Session, status};

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
    /// The engine of a Saga has said how it stands, or has done what it was asked: propose `Report`, and note it with
    /// [`Run::noted`].
    Report {
        /// Its word.
        word: GlobalStatus,
        /// The status in which it was asked.
        asked: GlobalStatus,
    },
    /// It was tried for long enough: propose `GiveUp`, then release all row locks if the run `unlocks`.
    GiveUp {
        /// So long after its begin, ms.
        after_ms: u64,
    },
    /// The RM of a branch that an operator has had deleted has cleaned up: propose `CleanedUp`.
    CleanedUp {
        /// Which.
        branch: BranchId,
    },
    /// Nobody may be asked: an operator has stopped what is left.
    Stopped,
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
            Step::Ask(_) | Step::Wait | Step::Stopped | Step::Nothing => None,
            Step::RetryLater => Some(Command::Retry(name)),
            Step::Detach => Some(Command::Detach(name)),
            Step::FailForGood { branch, status } => {
                Some(Command::Fail(FailV1 { transaction: session.transaction, branch, status }))
            }
            Step::Report { word, asked } => {
                let (transaction, asked) = (session.transaction, Some(asked));
                Some(Command::Report(ReportV1 { transaction, status: word, asked }))
            }
            Step::GiveUp { after_ms } => Some(Command::GiveUp(GiveUpV1 { transaction: session.transaction, after_ms })),
            Step::CleanedUp { branch } => {
                Some(Command::CleanedUp(BranchV1 { transaction: session.transaction, branch }))
            }
            Step::Done => Some(Command::End(name)),
        }
    }
}

/// The next step of a session, at this reading of the group clock.
pub fn plan(session: &Session, run: &Run, clock_ms: u64) -> Step {
    match clean_up::next(session, run) {
        Next::Step(step) => step,
        Next::Nothing => as_decided(session, run, clock_ms),
        Next::Rests => match as_decided(session, run, clock_ms) {
            Step::Stopped | Step::Nothing => Step::Wait,
            step => step,
        },
    }
}

/// One transaction asks so many resources side by side.
pub const RESOURCES_AT_A_TIME: usize = 64;

fn as_decided(session: &Session, run: &Run, clock_ms: u64) -> Step {
    let Some(retrying) = status::retrying(session.status) else { return Step::Nothing };
    if let Some((word, asked)) = run.reported() {
        return Step::Report { word, asked };
    }
    // What an operator has had deleted meanwhile fails nothing.
    let is_kept = |branch| session.branches.get(&branch).is_none_or(|branch| branch.fate == Fate::Kept);
    if let Some((branch, status)) = run.failed(session.direction())
        && is_kept(branch)
    {
        return Step::FailForGood { branch, status };
    }
    if retrying != session.status && run.has_failures() {
        return Step::RetryLater;
    }
    if let Some(after_ms) = run.gives_up_after_ms(session)
        && run.has_failures()
        && clock_ms >= session.aged_at_ms(after_ms)
    {
        return Step::GiveUp { after_ms };
    }
    let step = match session.direction() {
        Some(Direction::Commit) => commit(session, run),
        Some(Direction::Rollback) => rollback(session, run),
        None => Step::Nothing,
    };
    match step {
        Step::Done if session.is_pure_saga() => Step::Report { word: word_at_end(session), asked: session.status },
        step => step,
    }
}

/// A Saga may turn until the moment it ends: it ends by the word of its engine, which counts in this status only.
fn word_at_end(session: &Session) -> GlobalStatus {
    match session.direction() {
        Some(Direction::Commit) | None => GlobalStatus::Committed,
        Some(Direction::Rollback) => GlobalStatus::Rollbacked,
    }
}

/// Whether phase two passes over a branch: there is nothing to do for it, its row locks may go. An operator may have done
/// with it too.
///
/// An XA branch that only read was forgotten by its database at prepare, in either direction; Seata asks for its
/// rollback all the same, and waits out the XAER_NOTA window (semantics 2.3). A step of an annotated Saga is final when
/// it is done: there is only a compensation.
pub fn is_skipped(branch: &Branch, direction: Direction) -> bool {
    let is_read_only = branch.kind == BranchType::XA && branch.status == BranchStatus::PhaseOne_RDONLY;
    let is_final = branch.kind == BranchType::SAGA_ANNOTATION && direction == Direction::Commit;
    if is_final {
        sometimes!("annotated_step_is_final_at_a_commit");
    }
    if is_read_only {
        sometimes!("branch_that_only_read_is_passed_over");
    }
    if branch.has_failed_phase_one() {
        sometimes!("branch_that_failed_is_passed_over");
    }
    if branch.fate.is_settled() {
        sometimes!("branch_that_an_operator_settled_is_passed_over");
    }
    branch.has_failed_phase_one() || is_read_only || is_final || branch.fate.is_settled()
}

/// One to be asked: a branch, or all steps of a Saga.
struct Part<'a> {
    id: BranchId,
    resource: &'a str,
    is_awaited: bool,
    is_stopped: bool,
}

/// Whom phase two is for, in order of registration. A Saga without steps is asked all the same.
fn parts(session: &Session, direction: Direction) -> impl DoubleEndedIterator<Item = Part<'_>> {
    let is_first_pass = matches!(session.status, GlobalStatus::Committing | GlobalStatus::Rollbacking);
    let told = session.branches.values().filter(move |branch| !is_skipped(branch, direction));
    let bare = (session.branches.is_empty() && session.has_engine()).then(whole);
    told.map(move |branch| part(branch, is_first_pass)).chain(bare)
}

fn part(branch: &Branch, is_first_pass: bool) -> Part<'_> {
    match branch.kind {
        BranchType::SAGA => whole(),
        BranchType::AT | BranchType::TCC | BranchType::XA | BranchType::SAGA_ANNOTATION => Part {
            id: branch.branch,
            resource: &branch.resource,
            is_awaited: !branch.is_async_committable(),
            // Asked once all the same (semantics 2.2).
            is_stopped: (branch.status == BranchStatus::STOP_RETRY && !is_first_pass) || branch.fate == Fate::CleanUp,
        },
    }
}

fn whole<'a>() -> Part<'a> {
    Part { id: BranchId::WHOLE, resource: "", is_awaited: true, is_stopped: false }
}

fn rollback(session: &Session, run: &Run) -> Step {
    if bug!("rollback_in_order_of_registration") {
        return undo(parts(session, Direction::Rollback), run);
    }
    undo(parts(session, Direction::Rollback).rev(), run)
}

/// One at a time, in this order.
fn undo<'a>(parts: impl Iterator<Item = Part<'a>>, run: &Run) -> Step {
    let mut is_complete = true;
    for part in parts {
        match run.at(part.id, Direction::Rollback) {
            At::Done(_) => {}
            At::Asked => return Step::Wait,
            // One that its database does not know is asked again all the same.
            At::Idle | At::Later(_) if part.is_stopped && is_complete => return Step::Stopped,
            At::Idle | At::Later(_) if part.is_stopped => return Step::Wait,
            At::Idle => return Step::Ask(vec![part.id]),
            At::Later(Why::Unknown) => {
                sometimes!("unknown_branch_let_the_one_before_it_be_undone");
                is_complete = false;
            }
            At::Later(_) => return Step::Wait,
        }
    }
    if is_complete { Step::Done } else { Step::Wait }
}

fn commit(session: &Session, run: &Run) -> Step {
    let told = || parts(session, Direction::Commit);
    // Once detached, those that a TM waited for are done, whoever led then.
    if session.status != GlobalStatus::AsyncCommitting {
        let waited_for = told().filter(|part| part.is_awaited);
        match in_order(waited_for, run, session.status == GlobalStatus::CommitRetrying) {
            InOrder::Done => {}
            InOrder::Rests => return meanwhile(told().filter(|part| !part.is_awaited), run),
            InOrder::Step(step) => return step,
        }
    }
    let mut rest = told().filter(|part| !part.is_awaited).peekable();
    if session.status == GlobalStatus::Committing && rest.peek().is_some() {
        return Step::Detach;
    }
    side_by_side(rest, run)
}

/// How far those are that are asked one after the other.
enum InOrder {
    Done,
    /// Nobody answers for those that are left, or no database knows them.
    Rests,
    Step(Step),
}

/// One at a time. While retrying, a branch that nobody answers for, or that its database does not know, does not hold up those
/// after it.
fn in_order<'a>(parts: impl Iterator<Item = Part<'a>>, run: &Run, is_retrying: bool) -> InOrder {
    let (mut is_complete, mut is_resting) = (true, false);
    for part in parts {
        match run.at(part.id, Direction::Commit) {
            At::Done(_) => {}
            At::Asked => return InOrder::Step(Step::Wait),
            At::Idle | At::Later(_) if part.is_stopped => {
                sometimes!("stopped_branch_let_the_next_go_ahead");
                is_complete = false;
            }
            At::Idle => return InOrder::Step(Step::Ask(vec![part.id])),
            At::Later(Why::Silent | Why::Unknown) if is_retrying => {
                sometimes!("silent_branch_let_the_next_go_ahead");
                (is_complete, is_resting) = (false, true);
            }
            At::Later(_) => return InOrder::Step(Step::Wait),
        }
    }
    match (is_complete, is_resting) {
        (true, _) => InOrder::Done,
        (false, true) => InOrder::Rests,
        (false, false) => InOrder::Step(Step::Stopped),
    }
}

/// While those before them rest: what is left of undo logs goes.
fn meanwhile<'a>(parts: impl Iterator<Item = Part<'a>>, run: &Run) -> Step {
    match side_by_side(parts, run) {
        ask @ Step::Ask(_) => {
            sometimes!("silent_branch_let_undo_logs_go");
            ask
        }
        _ => Step::Wait,
    }
}

/// Of each resource one at a time, of so many resources; one that has failed lets the next go ahead.
fn side_by_side<'a>(parts: impl Iterator<Item = Part<'a>>, run: &Run) -> Step {
    let (mut busy, mut idle, mut is_complete, mut is_resting) = (BTreeSet::new(), Vec::new(), true, false);
    for part in parts {
        let at = run.at(part.id, Direction::Commit);
        is_complete &= matches!(at, At::Done(_));
        match at {
            At::Asked => {
                busy.insert(part.resource);
            }
            At::Idle if !part.is_stopped => idle.push(part),
            At::Later(_) if !part.is_stopped => is_resting = true,
            At::Done(_) | At::Idle | At::Later(_) => {}
        }
    }
    is_resting |= !busy.is_empty();
    let room = RESOURCES_AT_A_TIME.saturating_sub(busy.len());
    let free = idle.into_iter().filter(|part| busy.insert(part.resource));
    let ask: Vec<BranchId> = free.take(room).map(|part| part.id).collect();
    match (ask.is_empty(), is_complete) {
        (false, _) => Step::Ask(ask),
        (true, true) => Step::Done,
        (true, false) if is_resting => Step::Wait,
        (true, false) => Step::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reply, tests::session};
    use super::*;
    use alloc::{format, string::String};

    #[test]
    fn a_transaction_asks_so_many_resources_side_by_side() {
        let resources: Vec<String> = (1..=200).map(|number| format!("db-{number}")).collect();
        let branches: Vec<_> = resources.iter().map(|resource| (BranchType::AT, resource.as_str())).collect();
        let session = session(GlobalStatus::AsyncCommitting, &branches);
        let mut run = Run::default();
        let mut told = Vec::new();
        let mut out = Vec::new();
        while told.len() < 200 {
            if let Step::Ask(now) = plan(&session, &run, 0) {
                now.iter().for_each(|branch| run.asked(*branch));
                out.extend(now);
            }
            assert!(out.len() <= RESOURCES_AT_A_TIME);
            assert_eq!(
                out.len(),
                RESOURCES_AT_A_TIME.min(200 - told.len()),
                "each that answers makes room for the next"
            );
            let first = out.remove(0);
            run.answered(&session, first, Reply::Status(BranchStatus::PhaseTwo_Committed), 0);
            told.push(first);
        }
        assert_eq!(plan(&session, &run, 0), Step::Done);
        assert!(told.is_sorted());
    }
}
