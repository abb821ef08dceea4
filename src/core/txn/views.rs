//! What may be read from the state without changing it, beside sessions themselves.

use crate::model::{BranchId, Fence, RowKey, Slot, TransactionId};

/// How much there is; kept up to date by every change, never counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Sessions not ended, failed ones included.
    pub sessions: u64,
    /// Their branches.
    pub branches: u64,
    /// Rows held here, by transactions of any group.
    pub row_locks: u64,
    /// Branches that hold them.
    pub holds: u64,
    /// Ended transactions that are still remembered.
    pub tombstones: u64,
    /// Memory of all that, roughly.
    pub bytes: u64,
}

impl Counts {
    /// `self` with the part `before` replaced by `after`.
    pub(super) fn exchange(&mut self, before: Counts, after: Counts) {
        self.sessions = self.sessions - before.sessions + after.sessions;
        self.branches = self.branches - before.branches + after.branches;
        self.row_locks = self.row_locks - before.row_locks + after.row_locks;
        self.holds = self.holds - before.holds + after.holds;
        self.tombstones = self.tombstones - before.tombstones + after.tombstones;
        self.bytes = self.bytes - before.bytes + after.bytes;
    }
}

/// What one branch holds here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldView<'a> {
    /// The lock slot.
    pub slot: Slot,
    /// Whose.
    pub transaction: TransactionId,
    /// Through which branch.
    pub branch: BranchId,
    /// Who dealt its id.
    pub fence: Fence,
    /// The resource.
    pub resource: &'a str,
    /// How many rows.
    pub rows: u64,
    /// Group clock when they were taken.
    pub since_ms: u64,
}

/// One row that is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LockView<'a> {
    /// The resource.
    pub resource: &'a str,
    /// The row.
    pub row: &'a RowKey,
    /// Its holder.
    pub transaction: TransactionId,
    /// The branches it is held through, ascending, at least one.
    pub branches: &'a [BranchId],
}

/// One row that is held, as part of what its branch holds. A row of several branches belongs to the first of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRow<'a> {
    /// The lock slot.
    pub slot: Slot,
    /// Its holder.
    pub transaction: TransactionId,
    /// Through this branch.
    pub branch: BranchId,
    /// Its place among the rows of the branch, which are in order.
    pub place: u32,
    /// The resource.
    pub resource: &'a str,
    /// The row.
    pub row: &'a RowKey,
    /// Group clock when the branch took it.
    pub since_ms: u64,
}
