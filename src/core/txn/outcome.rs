//! What applying a command came to. Outcomes are answers inside a process or between nodes, never part of the state.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::slot::Ownership;
use crate::model::{BranchId, BranchStatus, BranchType, Epoch, GlobalStatus, RowKey, Term, TransactionId};

/// The outcome of one command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; nothing more to say (Found, RemoveBranch, ReportBranch, Tick).
    Done,
    /// This tenure leads and may deal these ids.
    Led(IdBlock),
    /// A transaction has begun.
    Begun(TransactionId),
    /// The branch is in the list (again, if it was), its locks taken if asked `with_locks`.
    Registered,
    /// This command decided. The status is the one decided on: for a commit that came after the deadline it is
    /// TimeoutRollbacking. At a commit the locks of slots owned here are released.
    Decided(GlobalStatus),
    /// Somebody has decided before: nothing changed; the status as it stands, from the session or its tombstone.
    Standing(GlobalStatus),
    /// Retry, Fail, Detach, End, Report, GiveUp, Operate or CleanedUp took effect, or had before; the status now.
    Now(GlobalStatus),
    /// The rows are held for this branch.
    Acquired,
    /// The rows are free of this transaction and scope.
    Released,
    /// Nothing changed.
    Refused(Refusal),
    /// The same request has registered this branch before: nothing changed (RegisterBranchOnce).
    RegisteredBefore(BranchId),
    /// A step of a migration took effect, or had before: how the group stands to the slot now (FreezeSlot, InstallSlot,
    /// ActivateSlot, DropSlot, UnfreezeSlot, DiscardSlot).
    Slot(Ownership),
}

/// Sequence numbers for branch ids: `first..first + count`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IdBlock {
    /// The first one.
    pub first: u64,
    /// How many.
    pub count: u32,
}

/// Why a command changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The slot is not active here; `epoch` is the highest seen.
    #[error("this group does not own the slot (epoch {epoch})")]
    NotOwner {
        /// Highest epoch seen here.
        epoch: Epoch,
    },
    /// Another leader has taken over since.
    #[error("tenure {tenure} leads now")]
    OldTenure {
        /// The tenure stored.
        tenure: Term,
    },
    /// The transaction is no longer in Begin.
    #[error("the transaction is {status}")]
    NotActive {
        /// Its status.
        status: GlobalStatus,
    },
    /// Neither a session nor a tombstone.
    #[error("no such transaction")]
    NoSuchTransaction,
    /// The transaction has no such branch.
    #[error("no such branch")]
    NoSuchBranch,
    /// A row is held by another transaction.
    #[error("row lock conflict")]
    Conflict(Conflict),
    /// The transaction is at a bound of `model::limits`.
    #[error("{limit}")]
    Limit {
        /// Names the bound.
        limit: String,
    },
    /// The deadline is not reached by the group clock.
    #[error("not due before {due_ms} ms of the group clock")]
    NotDue {
        /// When it is.
        due_ms: u64,
    },
    /// The status machine has no such move.
    #[error("{status} does not allow it")]
    Illegal {
        /// Status as it is.
        status: GlobalStatus,
    },
    /// The branch cannot be in this status for a failure.
    #[error("branch status {status} is no final failure")]
    NoFailure {
        /// Status given.
        status: BranchStatus,
    },
    /// The group was founded before.
    #[error("the group is founded already")]
    Founded,
    /// An id that this leader may not deal.
    #[error("the branch id is outside the counter, of another slot, or in use for something else")]
    BadBranchId,
    /// An operator can do nothing with a single branch of this kind.
    #[error("branches of type {kind} are not supported")]
    Unsupported {
        /// The kind asked for.
        kind: BranchType,
    },
    /// Slots out of order or beyond the last one, or a counter that starts at zero.
    #[error("these slots cannot be founded")]
    BadFounding,
    /// No sequence numbers are left for an id.
    #[error("the id counter is exhausted")]
    Exhausted,
    /// Deleted it would let rows go that were not undone.
    #[error("its row locks stay until it is undone; a force-delete lets them go")]
    HoldsLocks,
    /// There is nothing to stop about the branch, or it is not stopped.
    #[error("the branch is {status}, which does not allow it")]
    BranchStands {
        /// Its status.
        status: BranchStatus,
    },
    /// An operator has it deleted, which is not taken back.
    #[error("it is being deleted, or was: that goes on until it is done, and a force-delete ends it at once")]
    BeingDeleted,
    /// The group has its slots and its counter from its founding on.
    #[error("the group is not founded yet")]
    NotFounded,
    /// Beyond the last slot.
    #[error("there is no such slot")]
    NoSuchSlot,
    /// The step of a migration comes too late: a later epoch was seen here, or its attempt is over.
    #[error("the attempt is over, epoch {seen} was seen")]
    AttemptOver {
        /// Highest epoch seen here.
        seen: Epoch,
    },
    /// The group does not stand to the slot as the step needs it.
    #[error("the slot is {ownership} here")]
    SlotStands {
        /// How it does.
        ownership: Ownership,
    },
    /// The chunks before this one are not here.
    #[error("chunk {chunk} of the copy comes next")]
    ChunkExpected {
        /// The one that is awaited.
        chunk: u32,
    },
    /// A chunk that cannot be read, or does not fit what is here of the slot.
    #[error("the copy is bad: {what}")]
    BadCopy {
        /// What is wrong with it.
        what: String,
    },
}

/// Who is in the way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Conflict {
    /// The first row in conflict.
    pub row: RowKey,
    /// Its holder.
    pub holder: TransactionId,
    /// For how long it has held the row, ms of the group clock.
    pub held_ms: u64,
}
