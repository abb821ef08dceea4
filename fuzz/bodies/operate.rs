//! What the model of the operations target knows of operators: stops and starts, deletions by RMs and by force, and what a
//! transaction may still end as after them.

use std::collections::BTreeMap;

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{BranchId, BranchStatus, BranchType, GlobalStatus, Slot, TransactionId};
use quorate_core::txn::command::{Operation, RegisterBranchV1};
use quorate_core::txn::{Fate, Outcome, Refusal};

use super::Model;

pub struct Transaction {
    pub status: GlobalStatus,
    pub begun_ms: u64,
    pub due_ms: u64,
    pub branches: BTreeMap<BranchId, Branch>,
    pub ended_ms: Option<u64>,
    /// An operator has it deleted by its RMs.
    pub is_deleted: bool,
    /// A Saga by its name, as long as it has no branch.
    pub is_named_saga: bool,
}

pub struct Branch {
    /// As it joined.
    pub register: RegisterBranchV1,
    pub request: Option<u64>,
    pub status: BranchStatus,
    pub fate: Fate,
}

impl Branch {
    pub fn is_at(&self) -> bool {
        self.register.kind == BranchType::AT
    }

    pub fn is_step(&self) -> bool {
        self.register.kind == BranchType::SAGA
    }

    /// Where its rows are locked; nothing: it locks none.
    pub fn lock_slot(&self) -> Option<Slot> {
        let locks_rows = self.is_at() && !self.register.lock_keys.is_empty();
        locks_rows.then(|| lock_slot(&self.register.resource))
    }

    /// Of a step only its engine knows.
    pub fn has_failed(&self) -> bool {
        matches!(self.status, BranchStatus::PhaseOne_Failed | BranchStatus::PhaseOne_PrepareFailed) && !self.is_step()
    }

    /// Nobody has anything to clean up for it: its phase one came to nothing, an engine knows, or its database forgot it.
    fn is_empty_handed(&self) -> bool {
        let is_forgotten = self.register.kind == BranchType::XA && self.status == BranchStatus::PhaseOne_RDONLY;
        self.has_failed() || self.is_step() || is_forgotten
    }

    /// Its RM has something to clean up for a deletion that nobody has ordered yet.
    pub fn has_remains(&self) -> bool {
        self.fate == Fate::Kept && !self.is_empty_handed()
    }
}

impl Transaction {
    pub fn commits(&self) -> bool {
        use GlobalStatus::*;
        matches!(
            self.status,
            Committing
                | CommitRetrying
                | AsyncCommitting
                | CommitFailed
                | CommitRetryTimeout
                | StopCommitOrCommitRetry
                | Committed
        )
    }

    /// Its TM need not wait for its branches to commit.
    pub fn is_async(&self) -> bool {
        !self.is_saga() && self.branches.values().all(|branch| branch.is_at() || branch.has_failed())
    }

    /// An operator's deletion took a branch another way than was decided, or nobody knows which way.
    pub fn is_astray(&self) -> bool {
        let astray = |branch: &Branch| match branch.fate {
            Fate::Kept | Fate::CleanUp => false,
            _ if branch.is_empty_handed() => false,
            // AT is cleaned up by a commit, all others by a rollback.
            Fate::CleanedUp => branch.is_at() != self.commits(),
            // What AT changed stays, and that is a commit.
            Fate::Dropped => !(branch.is_at() && self.commits()),
        };
        self.branches.values().any(astray)
    }

    /// It locks rows that were not let go by its commit.
    pub fn keeps_rows(&self) -> bool {
        !self.commits() && self.branches.values().any(|branch| branch.lock_slot().is_some())
    }
}

/// As what a transaction has failed that stands so.
pub fn failed_as(status: GlobalStatus) -> GlobalStatus {
    use GlobalStatus::*;
    match status {
        Committing | CommitRetrying | AsyncCommitting | StopCommitOrCommitRetry => CommitFailed,
        Begin | Rollbacking | RollbackRetrying | StopRollbackOrRollbackRetry => RollbackFailed,
        TimeoutRollbacking | TimeoutRollbackRetrying => TimeoutRollbackFailed,
        failed => failed,
    }
}

pub fn is_failed(status: GlobalStatus) -> bool {
    use GlobalStatus::*;
    matches!(status, CommitFailed | RollbackFailed | TimeoutRollbackFailed | CommitRetryTimeout | RollbackRetryTimeout)
}

fn is_retrying(status: GlobalStatus) -> bool {
    use GlobalStatus::*;
    matches!(status, CommitRetrying | RollbackRetrying | TimeoutRollbacking | TimeoutRollbackRetrying)
}

/// The operation that a byte stands for.
pub fn operation(byte: u8, branch: BranchId) -> Operation {
    let operations = [
        Operation::Stop,
        Operation::Start,
        Operation::Reopen,
        Operation::Delete,
        Operation::ForceDelete,
        Operation::StopBranch(branch),
        Operation::StartBranch(branch),
        Operation::CleanUp,
        Operation::CleanUpBranch(branch),
        Operation::DropBranch(branch),
    ];
    operations[usize::from(byte) % operations.len()]
}

impl Model {
    /// What an operator does, where nothing has ended yet.
    pub(super) fn operate(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        operation: Operation,
    ) -> Result<Outcome, Refusal> {
        use GlobalStatus::*;
        let status = of.status;
        let illegal = Err(Refusal::Illegal { status });
        let is_failed = is_failed(status);
        let is_stopped = matches!(status, StopCommitOrCommitRetry | StopRollbackOrRollbackRetry);
        let is_retrying = is_retrying(status);
        let may_be_stopped = is_retrying || matches!(status, Committing | Rollbacking);
        match operation {
            Operation::Stop | Operation::Start | Operation::Reopen if of.is_deleted => {
                return Err(Refusal::BeingDeleted);
            }
            Operation::Stop if may_be_stopped => {
                of.status = if of.commits() { StopCommitOrCommitRetry } else { StopRollbackOrRollbackRetry };
            }
            Operation::Start if is_stopped => {
                of.status = if of.commits() { CommitRetrying } else { RollbackRetrying };
            }
            Operation::Reopen if is_failed => {
                of.status = match status {
                    CommitFailed | CommitRetryTimeout => CommitRetrying,
                    TimeoutRollbackFailed => TimeoutRollbackRetrying,
                    _ => RollbackRetrying,
                };
            }
            Operation::Stop | Operation::Start | Operation::Reopen => return illegal,
            Operation::Delete if !is_failed => return illegal,
            Operation::Delete if of.keeps_rows() => return Err(Refusal::HoldsLocks),
            Operation::Delete | Operation::ForceDelete => return self.end(transaction, of, failed_as(status)),
            Operation::CleanUp if of.is_deleted => {}
            Operation::CleanUp if !(is_failed || is_stopped || is_retrying) => return illegal,
            Operation::CleanUp if of.has_engine() && !is_failed => {
                return Err(Refusal::Unsupported { kind: BranchType::SAGA });
            }
            Operation::CleanUp => {
                let is_wanted = |branch: &Branch| branch.fate == Fate::CleanUp || branch.has_remains();
                if !of.branches.values().any(is_wanted) && !of.keeps_rows() {
                    return self.end(transaction, of, failed_as(status));
                }
                of.branches.values_mut().filter(|branch| branch.has_remains()).for_each(|b| b.fate = Fate::CleanUp);
                of.is_deleted = true;
                of.status = failed_as(status);
            }
            Operation::StopBranch(id)
            | Operation::StartBranch(id)
            | Operation::CleanUpBranch(id)
            | Operation::DropBranch(id) => return self.operate_branch(transaction, of, operation, id),
        }
        Ok(Outcome::Now(of.status))
    }

    /// What an operator does with one branch.
    fn operate_branch(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        operation: Operation,
        id: BranchId,
    ) -> Result<Outcome, Refusal> {
        use GlobalStatus::*;
        let status = of.status;
        let illegal = Err(Refusal::Illegal { status });
        let is_stopped = matches!(status, StopCommitOrCommitRetry | StopRollbackOrRollbackRetry);
        let may_be_stopped = is_retrying(status) || matches!(status, Committing | Rollbacking);
        let may_be_cleaned = is_failed(status) || is_stopped || is_retrying(status);
        let branch = of.branches.get_mut(&id).ok_or(Refusal::NoSuchBranch)?;
        if branch.is_step() {
            return Err(Refusal::Unsupported { kind: BranchType::SAGA });
        }
        let stands = Refusal::BranchStands { status: branch.status };
        match operation {
            Operation::StopBranch(_) | Operation::StartBranch(_) if branch.fate != Fate::Kept => {
                return Err(Refusal::BeingDeleted);
            }
            Operation::StopBranch(_) if !(may_be_stopped || is_stopped) => return illegal,
            Operation::StopBranch(_) if branch.has_failed() || branch.status == BranchStatus::PhaseOne_RDONLY => {
                return Err(stands);
            }
            Operation::StopBranch(_) => branch.status = BranchStatus::STOP_RETRY,
            Operation::StartBranch(_) if !(may_be_stopped || is_stopped || status == AsyncCommitting) => {
                return illegal;
            }
            Operation::StartBranch(_) if branch.status != BranchStatus::STOP_RETRY => return Err(stands),
            Operation::StartBranch(_) => branch.status = BranchStatus::Registered,
            Operation::CleanUpBranch(_) if branch.fate != Fate::Kept => {}
            Operation::CleanUpBranch(_) if !may_be_cleaned => return illegal,
            Operation::CleanUpBranch(_) if branch.is_empty_handed() => {
                self.settle(transaction, id, branch, Fate::CleanedUp);
            }
            Operation::CleanUpBranch(_) => branch.fate = Fate::CleanUp,
            _ if status == Begin => return illegal,
            _ if matches!(branch.fate, Fate::Kept | Fate::CleanUp) => {
                self.settle(transaction, id, branch, Fate::Dropped);
            }
            _ => {}
        }
        Ok(Outcome::Now(status))
    }

    /// Its RM has cleaned a branch up.
    pub(super) fn cleaned_up(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        id: BranchId,
    ) -> Result<Outcome, Refusal> {
        let branch = of.branches.get_mut(&id).ok_or(Refusal::NoSuchBranch)?;
        match branch.fate {
            Fate::Kept => return Err(Refusal::BranchStands { status: branch.status }),
            Fate::CleanUp => self.settle(transaction, id, branch, Fate::CleanedUp),
            Fate::CleanedUp | Fate::Dropped => {}
        }
        Ok(Outcome::Now(of.status))
    }

    /// An operator is done with a branch: its rows go.
    fn settle(&mut self, transaction: TransactionId, id: BranchId, branch: &mut Branch, fate: Fate) {
        branch.fate = fate;
        self.release_branch(transaction, id, branch);
    }
}
