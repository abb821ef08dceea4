//! How an entry changes what an operator has a hand in: phase two stands still and goes on, what failed for good is tried
//! again, and what nobody else will end is ended. A single branch may stand still too.
//!
//! Row locks go by none of these but [`Operation::ForceDelete`]: whoever else deletes has none any more.

use super::apply::Missing;
use super::command::{OperateV1, Operation};
use super::outcome::{Outcome, Refusal};
use super::session::{Branch, Session};
use super::state::Transactions;
use super::status::{self, Direction};
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
        let illegal = Refusal::Illegal { status };
        match operation {
            Operation::StopBranch(branch) => self.stop_branch(transaction, branch),
            Operation::StartBranch(branch) => self.start_branch(transaction, branch),
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
    fn branch_in_hand(&self, transaction: TransactionId, branch: BranchId) -> Result<(GlobalStatus, &Branch), Refusal> {
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

/// No row is kept from others for its sake: it locks none, or its commit let them go.
fn is_free(session: &Session) -> bool {
    session.direction() == Some(Direction::Commit) || session.lock_slots().is_empty()
}
