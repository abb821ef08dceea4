//! The branch's half of a register: its place in the list of its transaction.

use quorate_core::model::{BranchId, ExceptionCode, Fence, TransactionId};
use quorate_core::txn::command::RegisterBranchV1;
use quorate_core::txn::{Command, Conflict, Outcome, Refusal};

use super::super::ask::{Failure, RegisterAsk};
use super::super::begin::unreachable_outcome;
use super::super::request::not_there;
use super::super::tenure::{Lost, Tenure};
use super::refusal::not_active;

/// What came of the branch's half in the transaction's own group.
pub enum Half {
    /// It is in the list.
    Registered,
    /// Another one of the same request is in the list.
    Before(BranchId),
    /// The rows are not free (one command for both halves).
    Conflict(Conflict),
    /// The lock slot or the transaction's is owned elsewhere by now, or the id was too old: begin again.
    Again,
    /// Refused for good.
    Refused(Failure),
    /// The leadership was lost while it was in the queue: it may get into the list, or not.
    Unknown,
}

/// Puts the branch into the list. `Lost`: it will never get there.
pub async fn register_half(
    tenure: &Tenure,
    transaction: TransactionId,
    branch: BranchId,
    command: Command,
) -> Result<Half, Lost> {
    quorate_world::linger!("register_is_proposed_late");
    let submitted = tenure.submit(command).inspect_err(|_| tenure.forget(branch))?;
    let outcome = submitted.outcome().await;
    quorate_world::linger!("register_is_heard_late");
    let refusal = match outcome {
        Ok(Outcome::Registered) => return Ok(Half::Registered),
        Ok(Outcome::RegisteredBefore(before)) => return Ok(Half::Before(before)),
        Ok(Outcome::Refused(refusal)) => refusal,
        Err(Lost) => return Ok(Half::Unknown),
        Ok(outcome) => unreachable_outcome("RegisterBranch", &outcome),
    };
    Ok(match refusal {
        Refusal::Conflict(conflict) => Half::Conflict(conflict),
        Refusal::NotOwner { .. } => Half::Again,
        Refusal::BadBranchId => {
            tenure.drop_blocks();
            Half::Again
        }
        Refusal::OldTenure { .. } => return Err(Lost),
        Refusal::NoSuchTransaction => {
            let standing = tenure.replica.read(|transactions| transactions.standing(transaction));
            Half::Refused(not_there(transaction, standing))
        }
        Refusal::NotActive { status } => Half::Refused(not_active(status)),
        other => Half::Refused(Failure::new(ExceptionCode::FailedToAddBranch, other.to_string())),
    })
}

/// The branch as it goes into the log.
pub fn registration(ask: &RegisterAsk, branch: BranchId, fence: Fence, with_locks: bool) -> RegisterBranchV1 {
    RegisterBranchV1 {
        transaction: ask.transaction,
        branch,
        fence,
        kind: ask.kind,
        resource: ask.resource.clone(),
        lock_keys: ask.lock_keys.clone(),
        application_data: ask.application_data.clone(),
        client: ask.client.clone(),
        with_locks,
    }
}
