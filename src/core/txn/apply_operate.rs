//! How an entry changes what an operator has a hand in: phase two stands still and goes on, what failed for good is tried
//! again, and what nobody else will end is ended. A single branch may stand still too. What goes by its RMs, and single
//! branches that go, are in `apply_delete`.

use super::apply::Missing;
use super::apply_delete::is_free;
use super::command::{OperateV1, Operation};
use super::fate::Fate;
use super::outcome::{Outcome, Refusal};
use super::session::Branch;
use super::state::Transactions;
use super::status;
use crate::model::{BranchId, BranchStatus, BranchType, GlobalStatus, TransactionId};

impl Transactions {
    /// See the page. Done again it changes nothing, or is refused.
    pub(super) fn operate(&mut self, operate: &OperateV1) -> Result<Outcome, Refusal> {
        let OperateV1 { transaction, operation } = *operate;
        let session = match self.live(transaction) {
            Ok(session) => session,
            Err(Missing::Ended(status)) => return Ok(Outcome::Standing(status)),
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        let status = session.status;
        let is_free = is_free(session);
        let is_deleted = session.is_deleted();
        let illegal = Refusal::Illegal { status };
        match operation {
            Operation::StopBranch(branch) => self.stop_branch(transaction, branch),
            Operation::StartBranch(branch) => self.start_branch(transaction, branch),
            Operation::CleanUp => self.clean_up(transaction),
            Operation::CleanUpBranch(branch) => self.clean_up_branch(transaction, branch),
            Operation::DropBranch(branch) => self.drop_branch(transaction, branch),
            Operation::Stop | Operation::Start | Operation::Reopen if is_deleted => Err(Refusal::BeingDeleted),
            Operation::Stop => {
                let stopped = status::stopped(status).ok_or(illegal)?;
                self.set_status(transaction, stopped);
                Ok(Outcome::Now(stopped))
            }
            Operation::Start => {
                let started = status::started(status).ok_or(illegal)?;
                self.set_status(transaction, started);
                Ok(Outcome::Now(started))
            }
            Operation::Reopen => {
                let reopened = status::reopened(status).ok_or(illegal)?;
                self.set_status(transaction, reopened);
                Ok(Outcome::Now(reopened))
            }
            Operation::Delete if !status::is_failed(status) => Err(illegal),
            Operation::Delete if !is_free => Err(Refusal::HoldsLocks),
            Operation::Delete | Operation::ForceDelete => {
                let deleted = status::force_deleted(status).ok_or(illegal)?;
                self.bury(transaction, deleted);
                Ok(Outcome::Now(deleted))
            }
        }
    }
}

impl Transactions {
    /// Where the whole could be stopped, or is.
    fn stop_branch(&mut self, transaction: TransactionId, branch: BranchId) -> Result<Outcome, Refusal> {
        let (status, found) = self.branch_in_hand(transaction, branch)?;
        if found.fate != Fate::Kept {
            return Err(Refusal::BeingDeleted);
        }
        if status::stopped(status).is_none() && !status::is_stopped(status) {
            return Err(Refusal::Illegal { status });
        }
        if !found.may_be_stopped() {
            return Err(Refusal::BranchStands { status: found.status });
        }
        self.set_branch_status(transaction, branch, BranchStatus::STOP_RETRY);
        Ok(Outcome::Now(status))
    }

    /// Also one that its RM has stopped.
    fn start_branch(&mut self, transaction: TransactionId, branch: BranchId) -> Result<Outcome, Refusal> {
        let (status, found) = self.branch_in_hand(transaction, branch)?;
        if found.fate != Fate::Kept {
            return Err(Refusal::BeingDeleted);
        }
        if !status::is_running(status) && !status::is_stopped(status) {
            return Err(Refusal::Illegal { status });
        }
        if found.status != BranchStatus::STOP_RETRY {
            return Err(Refusal::BranchStands { status: found.status });
        }
        self.set_branch_status(transaction, branch, BranchStatus::Registered);
        Ok(Outcome::Now(status))
    }

    /// A branch that an operator may have a hand in, and how its transaction stands.
    pub(super) fn branch_in_hand(
        &self,
        transaction: TransactionId,
        branch: BranchId,
    ) -> Result<(GlobalStatus, &Branch), Refusal> {
        let session = self.session(transaction).ok_or(Refusal::NoSuchTransaction)?;
        let found = session.branches.get(&branch).ok_or(Refusal::NoSuchBranch)?;
        match found.kind {
            BranchType::SAGA => Err(Refusal::Unsupported { kind: found.kind }),
            BranchType::AT | BranchType::TCC | BranchType::XA | BranchType::SAGA_ANNOTATION => {
                Ok((session.status, found))
            }
        }
    }

    fn set_branch_status(&mut self, transaction: TransactionId, branch: BranchId, to: BranchStatus) {
        self.change(transaction.slot(), |state| {
            state.change(transaction, |session| session.change(branch, |branch| branch.status = to));
        });
    }
}
