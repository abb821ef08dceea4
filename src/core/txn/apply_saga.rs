//! How an entry changes what an engine or an operator has to say about: the word of a Saga engine, and the end of
//! patience with a phase two that does not come to an end.

use alloc::vec::Vec;

use super::apply::Missing;
use super::command::{GiveUpV1, ReportV1};
use super::outcome::{Outcome, Refusal};
use super::saga::{self, Word};
use super::session::Session;
use super::state::Transactions;
use super::status::{self, Direction};
use crate::model::{BranchId, BranchType, GlobalStatus, TransactionId};

impl Transactions {
    /// A Saga engine says how its Saga stands; nobody may say so of another transaction.
    pub(super) fn report(&mut self, report: &ReportV1) -> Result<Outcome, Refusal> {
        let session = match self.live(report.transaction) {
            Ok(session) => session,
            Err(Missing::Ended(status)) => return Ok(Outcome::Standing(status)),
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        let standing = session.status;
        let may_turn = session.is_pure_saga();
        if !session.is_saga() || !(may_turn || standing == GlobalStatus::Begin) {
            return Ok(Outcome::Standing(standing));
        }
        if report.asked.is_some_and(|asked| asked != standing) {
            sometimes!("engine_answered_to_an_earlier_status");
            return Ok(Outcome::Standing(standing)); // somebody was faster
        }
        match saga::heard(standing, report.status, report.asked.is_some()) {
            Word::Nothing => {
                sometimes!("word_of_an_engine_was_too_old");
                Ok(Outcome::Standing(standing))
            }
            Word::Waits => {
                sometimes!("stopped_saga_was_not_turned");
                Ok(Outcome::Standing(standing))
            }
            Word::Ends(status) if may_turn => {
                self.bury(report.transaction, status);
                Ok(Outcome::Now(status))
            }
            Word::Turns(status) if may_turn => {
                self.set_status(report.transaction, status);
                Ok(if standing == GlobalStatus::Begin { Outcome::Decided(status) } else { Outcome::Now(status) })
            }
            Word::Ends(status) => Ok(Outcome::Decided(self.decided_by_engine(report.transaction, status, true))),
            Word::Turns(status) => Ok(Outcome::Decided(self.decided_by_engine(report.transaction, status, false))),
        }
    }

    /// The word of an engine decides on a Saga with branches of other kinds beside it. Where its own part is over
    /// already, the steps leave the list with the decision: phase two is for the others.
    fn decided_by_engine(&mut self, transaction: TransactionId, word: GlobalStatus, is_over: bool) -> GlobalStatus {
        let steps = |session: &Session| -> Vec<BranchId> {
            let steps = session.branches.values().filter(|branch| branch.kind == BranchType::SAGA);
            steps.map(|branch| branch.branch).collect()
        };
        self.change(transaction.slot(), |state| {
            state.change(transaction, |session| {
                if is_over {
                    sometimes!("steps_left_the_list_with_the_decision");
                    steps(session).into_iter().for_each(|step| session.remove(step));
                }
                session.status = match status::direction(word) {
                    Some(Direction::Commit) if session.is_async_committable() => GlobalStatus::AsyncCommitting,
                    Some(Direction::Commit) => GlobalStatus::Committing,
                    Some(Direction::Rollback) | None => GlobalStatus::Rollbacking,
                };
            });
        });
        let decided = self.standing(transaction).unwrap_or(word);
        if status::direction(decided) == Some(Direction::Commit) {
            self.release_own(transaction);
        }
        decided
    }

    /// Phase two was tried for as long as an operator wants (semantics G11, G20); the clock says whether it was.
    pub(super) fn give_up(&mut self, give_up: &GiveUpV1) -> Result<Outcome, Refusal> {
        let status = self.live_status(give_up.transaction)?;
        if status::is_failed(status) {
            return Ok(Outcome::Now(status));
        }
        let given_up = status::given_up(status).ok_or(Refusal::Illegal { status })?;
        let due_ms = self.session(give_up.transaction).map_or(0, |session| session.aged_at_ms(give_up.after_ms));
        if self.clock_ms < due_ms {
            return Err(Refusal::NotDue { due_ms });
        }
        self.become_status(give_up.transaction, given_up)
    }

    /// For moves that `may_become` does not know.
    pub(super) fn set_status(&mut self, transaction: TransactionId, to: GlobalStatus) {
        self.change(transaction.slot(), |state| state.change(transaction, |session| session.status = to));
    }
}
