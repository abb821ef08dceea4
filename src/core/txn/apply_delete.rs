//! How an entry deletes what an operator will not wait for any longer: a transaction branch by branch, or a single branch; by
//! their RMs, or without them.
//!
//! First the order is in the log, then the RM is asked, then what it did is in the log: a new leader goes on with what it
//! finds. What was ordered is never taken back, and it ends nothing as decided that did not go that way (`fate`).

use alloc::vec;

use super::ReleaseScope;
use super::apply::Missing;
use super::command::BranchV1;
use super::fate::Fate;
use super::outcome::{Outcome, Refusal};
use super::session::{Branch, Session};
use super::state::Transactions;
use super::status::{self, Direction};
use crate::model::{BranchId, BranchType, GlobalStatus, TransactionId};

impl Transactions {
    /// See [`super::command::Operation::CleanUp`]. Done again it changes nothing.
    pub(super) fn clean_up(&mut self, transaction: TransactionId) -> Result<Outcome, Refusal> {
        let session = self.session(transaction).ok_or(Refusal::NoSuchTransaction)?;
        let status = session.status;
        if session.is_deleted() {
            return Ok(Outcome::Now(status));
        }
        let failed = deleted_as(status)?;
        // What an engine has done is for it to say, until it says that it has failed.
        if session.has_engine() && !status::is_failed(status) {
            return Err(Refusal::Unsupported { kind: BranchType::SAGA });
        }
        let has_remains = session.branches.values().any(|branch| branch.fate == Fate::Kept && branch.has_remains());
        if !has_remains && !session.is_cleaning() && is_free(session) {
            self.bury(transaction, failed);
            return Ok(Outcome::Now(failed));
        }
        self.change(transaction.slot(), |state| {
            state.change(transaction, |session| {
                session.status = failed;
                session.is_deleted = true;
                let kept = |branch: &&Branch| branch.fate == Fate::Kept && branch.has_remains();
                let kept: alloc::vec::Vec<BranchId> =
                    session.branches.values().filter(kept).map(|branch| branch.branch).collect();
                kept.into_iter().for_each(|branch| session.change(branch, |branch| branch.fate = Fate::CleanUp));
            });
        });
        Ok(Outcome::Now(failed))
    }

    /// See [`super::command::Operation::CleanUpBranch`]. Done again it changes nothing.
    pub(super) fn clean_up_branch(&mut self, transaction: TransactionId, branch: BranchId) -> Result<Outcome, Refusal> {
        let (status, found) = self.branch_in_hand(transaction, branch)?;
        if found.fate != Fate::Kept {
            return Ok(Outcome::Now(status));
        }
        deleted_as(status)?;
        let has_remains = found.has_remains();
        self.settle(transaction, branch, if has_remains { Fate::CleanUp } else { Fate::CleanedUp });
        Ok(Outcome::Now(status))
    }

    /// See [`super::command::Operation::DropBranch`]. Done again it changes nothing.
    pub(super) fn drop_branch(&mut self, transaction: TransactionId, branch: BranchId) -> Result<Outcome, Refusal> {
        let (status, found) = self.branch_in_hand(transaction, branch)?;
        // Of what is not decided a branch may still be committed by its TM, in good faith.
        status::direction(status).ok_or(Refusal::Illegal { status })?;
        if !found.fate.is_settled() {
            self.settle(transaction, branch, Fate::Dropped);
        }
        Ok(Outcome::Now(status))
    }

    /// See [`super::command::Command::CleanedUp`].
    pub(super) fn cleaned_up(&mut self, cleaned: &BranchV1) -> Result<Outcome, Refusal> {
        let BranchV1 { transaction, branch } = *cleaned;
        let session = match self.live(transaction) {
            Ok(session) => session,
            Err(Missing::Ended(status)) => return Ok(Outcome::Standing(status)),
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        let status = session.status;
        let found = session.branches.get(&branch).ok_or(Refusal::NoSuchBranch)?;
        match found.fate {
            Fate::Kept => return Err(Refusal::BranchStands { status: found.status }),
            Fate::CleanUp => self.settle(transaction, branch, Fate::CleanedUp),
            Fate::CleanedUp | Fate::Dropped => {}
        }
        Ok(Outcome::Now(status))
    }

    /// Row locks of a settled branch that are kept here go with it.
    fn settle(&mut self, transaction: TransactionId, branch: BranchId, fate: Fate) {
        self.change(transaction.slot(), |state| {
            state.change(transaction, |session| session.change(branch, |branch| branch.fate = fate));
        });
        let settled = self.session(transaction).and_then(|session| session.branches.get(&branch));
        let settled = settled.filter(|branch| branch.fate.is_settled());
        if let Some(slot) = settled.and_then(Branch::lock_slot) {
            self.release(slot, transaction, &ReleaseScope::Branches(vec![branch]));
        }
    }
}

/// As what a transaction goes that its RMs clean up: refused where phase two is in its first pass, whose TM waits for it,
/// where the TM was told Committed, and where nothing is decided.
fn deleted_as(status: GlobalStatus) -> Result<GlobalStatus, Refusal> {
    let may_go = status::may_be_cleaned_up(status);
    status::force_deleted(status).filter(|_| may_go).ok_or(Refusal::Illegal { status })
}

/// No row is kept from others for its sake: it locks none, or its commit let them go.
pub(super) fn is_free(session: &Session) -> bool {
    session.direction() == Some(Direction::Commit) || session.lock_slots().is_empty()
}
