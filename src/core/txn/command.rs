//! What a log entry of a data group can say.
//!
//! Persisted: variants are added at the end and structs never change (`codec::persisted`).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::model::{BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, Slot, Term, TransactionId};

/// One log entry: the commands that one proposer gathered, applied in order, each with an outcome of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// When its leader proposed it.
    pub stamp: Stamp,
    /// At least one.
    pub commands: Vec<Command>,
}

/// The time an entry carries; apply reads no other.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// The group's own clock, ms with a leader. Decides: apply sets its clock to the maximum of both.
    pub clock_ms: u64,
    /// Wall time of the leader, ms since 1970 in UTC. Shown, never decided by.
    pub wall_ms: u64,
}

/// One change of the state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Founding: the slots this group owns from birth on, and where its counter starts.
    Found(FoundV1),
    /// First entry of a leader, and each further block of branch ids (lock protocol, rules 1 and 2).
    Lead(LeadV1),
    /// A new global transaction. Its id is minted here.
    Begin(BeginV1),
    /// A branch joins, with its row locks if their slot is owned here too (rules 3 and 6).
    RegisterBranch(RegisterBranchV1),
    /// A branch that nobody was told of is given up (rules 9 and 10).
    RemoveBranch(BranchV1),
    /// An RM's report of phase one.
    ReportBranch(ReportBranchV1),
    /// Commit or rollback, once (compare-and-set from Begin).
    Decide(DecideV1),
    /// Phase two has met a failure that it repeats: the status becomes a ..Retrying one.
    Retry(TransactionV1),
    /// Phase two has met a failure for good: the session is kept until an operator acts.
    Fail(FailV1),
    /// All branches are done and every owed release is acknowledged: the session goes, a tombstone stays (rule 13).
    End(TransactionV1),
    /// Row locks for a branch of any group (rule 4). `slot` must be owned here.
    AcquireLocks(AcquireLocksV1),
    /// Row locks go (rule 12). Idempotent.
    ReleaseLocks(ReleaseLocksV1),
    /// Nothing but the stamp: lets the clock pass and old tombstones go.
    Tick,
    /// Of a commit with several kinds of branches only AT ones are left: they go on after the answer
    /// (Committing becomes AsyncCommitting).
    Detach(TransactionV1),
    /// Reserved. An operator's delete before there was [`Command::Operate`], without a look at row locks elsewhere. Nobody has
    /// ever proposed it; its number stays, it can be read, and it is refused.
    Forget(TransactionV1),
    /// The engine of a Saga says how it stands, in a global report or by its answer to phase two.
    Report(ReportV1),
    /// Phase two was tried for long enough: the session is kept until an operator acts.
    GiveUp(GiveUpV1),
    /// An operator has a hand in phase two, or ends what nobody else will.
    Operate(OperateV1),
    /// As `Begin`, which logs of before have, but in runs: [`BEGINS_IN_A_SLOT`] one after the other go to one slot. What is open
    /// at a time then lies in few slots, and so in few places of the memory.
    BeginNear(BeginV1),
    /// An RM has cleaned up a branch that an operator had deleted ([`Operation::CleanUp`]).
    CleanedUp(BranchV1),
    /// As `RegisterBranch`, for a branch that may not join twice: of one request the first one joins.
    RegisterBranchOnce(RegisterBranchOnceV1),
    /// A slot stands still at its owner, so that it can be copied (rule 16).
    FreezeSlot(SlotStepV1),
    /// One chunk of the copy of a slot comes in, in order; with the last one it is whole, and passive (rule 18).
    InstallSlot(InstallSlotV1),
    /// The routing table has been switched: the copy serves (rule 20).
    ActivateSlot(SlotStepV1),
    /// It has been switched: what was copied goes (rule 21).
    DropSlot(SlotStepV1),
    /// The attempt was aborted: its source goes on (rule 22).
    UnfreezeSlot(SlotStepV1),
    /// The attempt was aborted: what its target has of the copy goes (rule 23).
    DiscardSlot(SlotStepV1),
}

/// See [`Command::BeginNear`].
pub const BEGINS_IN_A_SLOT: u64 = 64;

/// See [`Command::Found`]. Refused if the group was founded before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FoundV1 {
    /// Slots of the group, ascending; none for a group that gets its slots by migration.
    pub slots: Vec<Slot>,
    /// Their epoch.
    pub epoch: Epoch,
    /// The counter's first value, not zero: (ms since 2026-01-01 at cluster birth) << 8.
    pub sequence: u64,
}

/// See [`Command::Lead`]. Before [`Command::Found`] the reserved block is empty.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeadV1 {
    /// Raft term of the leader.
    pub tenure: Term,
    /// How many sequence numbers to reserve for branch ids.
    pub block: u32,
}

/// See [`Command::Begin`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BeginV1 {
    /// `address:port` of the node that received the request; goes into the XID.
    pub address: String,
    /// Application id of the TM's registration.
    pub application: String,
    /// Transaction service group of the TM's registration.
    pub service_group: String,
    /// Transaction name.
    pub name: String,
    /// As requested; zero or less is due at once.
    pub timeout_ms: i32,
}

/// See [`Command::RegisterBranch`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisterBranchV1 {
    /// Its transaction.
    pub transaction: TransactionId,
    /// Dealt by the leader from its block.
    pub branch: BranchId,
    /// Of the leader that dealt the id.
    pub fence: Fence,
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: String,
    /// As sent; empty for branches without locks.
    pub lock_keys: String,
    /// As sent; given back unchanged in phase two.
    pub application_data: String,
    /// `application:ip:port` of the registering channel.
    pub client: String,
    /// The lock home is this group: take the locks in the same apply (rule 6).
    pub with_locks: bool,
}

/// See [`Command::RegisterBranchOnce`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisterBranchOnceV1 {
    /// The branch.
    pub register: RegisterBranchV1,
    /// Names the client's request, in its transaction: drawn by the node that received it, and the same whichever leader it is
    /// tried at.
    pub request: u64,
}

/// Names a branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BranchV1 {
    /// Its transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
}

/// See [`Command::ReportBranch`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReportBranchV1 {
    /// Its transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
    /// What the RM says of it.
    pub status: BranchStatus,
    /// Replaces what the branch had, as Seata does.
    pub application_data: String,
}

/// See [`Command::Decide`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DecideV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// What to do with it.
    pub decision: Decision,
}

/// The decision on a transaction and its cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Decision {
    /// Asked for by a TM.
    Commit,
    /// Asked for by a TM.
    Rollback,
    /// Its time is up by the group clock; refused in apply while it is not.
    TimeoutRollback,
}

/// Names a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TransactionV1 {
    /// The transaction.
    pub transaction: TransactionId,
}

/// See [`Command::Fail`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FailV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// The branch that failed for good.
    pub branch: BranchId,
    /// Its last answer.
    pub status: BranchStatus,
}

/// See [`Command::Report`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReportV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// What the engine says of it.
    pub status: GlobalStatus,
    /// It says so in answer to a question that was asked while the transaction stood like this; nothing: by itself.
    pub asked: Option<GlobalStatus>,
}

/// See [`Command::GiveUp`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GiveUpV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// So long after its begin, ms of the group clock; refused in apply while it is younger.
    pub after_ms: u64,
}

/// See [`Command::Operate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OperateV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// What is done with it.
    pub operation: Operation,
}

/// What an operator does with a transaction (semantics, section 7.5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Operation {
    /// Phase two stands still. Not an AT commit: its TM was told Committed.
    Stop,
    /// What was stopped goes on.
    Start,
    /// What has failed for good is tried again.
    Reopen,
    /// What has failed for good goes, if no row is kept from others for its sake. A tombstone stays. In logs of before;
    /// today an operator's delete is [`Operation::CleanUp`].
    Delete,
    /// It goes, whatever was done and whoever was not told, with its row locks. A tombstone stays: failed, in the direction
    /// of the decision; of what was not decided, a failed rollback.
    ForceDelete,
    /// Phase two passes over this branch until it is started again, and over those that wait for it. Not of an AT commit,
    /// and not a step of a Saga, of which its engine knows.
    StopBranch(BranchId),
    /// A branch that was stopped, by whomever, is asked again.
    StartBranch(BranchId),
    /// Every branch goes by its RM, which cleans up: AT by a commit, so that what it changed stays, all others by a rollback.
    /// Then the transaction goes. From here on it has failed, in the direction of its decision.
    CleanUp,
    /// As [`Operation::CleanUp`], one branch; the transaction stays.
    CleanUpBranch(BranchId),
    /// One branch is done with, whatever was done, and with its row locks; no RM is told.
    DropBranch(BranchId),
}

/// See [`Command::AcquireLocks`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AcquireLocksV1 {
    /// Whose locks.
    pub transaction: TransactionId,
    /// For which branch.
    pub branch: BranchId,
    /// Kept beside the hold, for the audit.
    pub fence: Fence,
    /// The resource; its slot is `model::hash::lock_slot`.
    pub resource: String,
    /// As the RM sent them.
    pub lock_keys: String,
}

/// See [`Command::ReleaseLocks`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReleaseLocksV1 {
    /// Whose locks.
    pub transaction: TransactionId,
    /// The lock slot they are in.
    pub slot: Slot,
    /// Which of them.
    pub scope: ReleaseScope,
}

/// Which locks of a transaction in one lock slot are released.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ReleaseScope {
    /// Of all branches.
    All,
    /// Of these.
    Branches(Vec<BranchId>),
}

/// A step of a migration, other than its copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotStepV1 {
    /// What moves.
    pub slot: Slot,
    /// Of the attempt, allotted by the meta group at its start and never again.
    pub epoch: Epoch,
}

/// See [`Command::InstallSlot`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InstallSlotV1 {
    /// What moves.
    pub slot: Slot,
    /// Of the attempt.
    pub epoch: Epoch,
    /// Which chunk, counted from 0.
    pub chunk: u32,
    /// A [`super::copy::ChunkV1`], encoded. As bytes, so that what cannot be read is refused and stops no replica.
    pub bytes: Vec<u8>,
}
