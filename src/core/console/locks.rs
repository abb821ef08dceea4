//! Row locks: which are wanted, in which order, and what is shown of one.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::sessions::SessionRow;
use crate::model::{BranchId, GroupId, RowKey, Slot, TransactionId};
use crate::txn::HeldRow;

/// Which row locks are wanted; what is not said fits all. Times are the wall's, ms since 1970.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct LockFilter {
    /// Of this transaction.
    pub transaction: Option<TransactionId>,
    /// Through this branch.
    pub branch: Option<BranchId>,
    /// In exactly this resource.
    pub resource: Option<String>,
    /// In exactly this table, as the RM wrote it.
    pub table: Option<String>,
    /// With exactly this primary key.
    pub key: Option<String>,
    /// Held since then or later.
    pub since_from_ms: Option<u64>,
    /// Held since then or earlier.
    pub since_until_ms: Option<u64>,
}

/// One row lock, as an operator names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockName {
    /// Its holder.
    pub transaction: TransactionId,
    /// One of the branches that it is held through; nothing: he did not say.
    pub branch: Option<BranchId>,
    /// The resource.
    pub resource: String,
    /// The row.
    pub row: RowKey,
}

/// Where a row stands in the list: by its holder, the branch, and its place among the rows of the branch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LockKey {
    /// The holder. Of one group, an older transaction has a smaller id.
    pub transaction: TransactionId,
    /// The first branch that it is held through.
    pub branch: BranchId,
    /// Rows of a branch are in order.
    pub place: u32,
    /// The lock slot.
    pub slot: Slot,
}

/// What is shown of a row lock.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockRow {
    /// The group that keeps it.
    pub group: GroupId,
    /// The holder.
    pub transaction: TransactionId,
    /// The first branch that it is held through.
    pub branch: BranchId,
    /// The resource.
    pub resource: String,
    /// The row.
    pub row: RowKey,
    /// For how long, by the clock of the group that keeps it.
    pub held_ms: u64,
    /// The transaction that has it, as its own group shows it, without branches; nothing: there is none, or its group did
    /// not answer.
    pub holder: Option<SessionRow>,
}

impl LockFilter {
    /// Whether it is wanted. `since_wall_ms`: what the wall showed when it was taken, as near as the group's clock tells.
    pub fn fits(&self, held: &HeldRow<'_>, since_wall_ms: u64) -> bool {
        let is = |text: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == text);
        self.transaction.is_none_or(|transaction| held.transaction == transaction)
            && self.branch.is_none_or(|branch| held.branch == branch)
            && self.since_from_ms.is_none_or(|from_ms| since_wall_ms >= from_ms)
            && self.since_until_ms.is_none_or(|until_ms| since_wall_ms <= until_ms)
            && is(held.resource, &self.resource)
            && is(&held.row.table, &self.table)
            && is(&held.row.key, &self.key)
    }
}

impl LockKey {
    /// The place of a row.
    pub fn of(held: &HeldRow<'_>) -> LockKey {
        LockKey { transaction: held.transaction, branch: held.branch, place: held.place, slot: held.slot }
    }
}

impl LockRow {
    /// A row at this reading of the clock of the group that keeps it.
    pub fn of(held: &HeldRow<'_>, group: GroupId, clock_ms: u64) -> LockRow {
        LockRow {
            group,
            transaction: held.transaction,
            branch: held.branch,
            resource: held.resource.into(),
            row: held.row.clone(),
            held_ms: clock_ms.saturating_sub(held.since_ms),
            holder: None,
        }
    }
}
