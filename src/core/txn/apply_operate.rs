//! How an entry changes what an operator has a hand in: phase two stands still and goes on, what failed for good is tried
//! again, and what nobody else will end is ended.
//!
//! Row locks go by none of these but [`Operation::ForceDelete`]: whoever else deletes has none any more.

use super::apply::Missing;
use super::command::{OperateV1, Operation};
use super::outcome::{Outcome, Refusal};
use super::session::Session;
use super::state::Transactions;
use super::status::{self, Direction};

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

/// No row is kept from others for its sake: it locks none, or its commit let them go.
fn is_free(session: &Session) -> bool {
    session.direction() == Some(Direction::Commit) || session.lock_slots().is_empty()
}
