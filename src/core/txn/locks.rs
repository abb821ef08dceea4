//! The row locks of one lock slot. A branch gets all its rows or none.
//!
//! A row is held by a *transaction through a set of branches* (lock protocol, section 1): releasing a branch that was
//! given up must not free the row under one that was acknowledged. The same facts stand here twice, by row and by
//! branch. The holds are what a snapshot stores, for the rows follow from their lock keys.
//!
//! Rows of one resource and holds are split into 64 parts by hash, each behind an `Arc`: a snapshot shares all of them,
//! and a later change copies one part (storage, section 11).
//!
//! Not here: waiting (a conflict is answered at once, the RM retries), and whether the slot is owned.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::command::{BEGINS_IN_A_SLOT, ReleaseScope};
use super::outcome::Conflict;
use crate::model::{BranchId, Fence, LockKeys, RowKey, TransactionId};

const PARTS: u64 = 64;
/// What a held row and a hold cost beside their texts, roughly.
const ROW_BYTES: u64 = 200;
const HOLD_BYTES: u64 = 260;

/// All locks of one lock slot.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct LockTable {
    resources: BTreeMap<Arc<str>, Rows>,
    holds: BTreeMap<u8, Arc<HoldPart>>,
    size: LockSize,
}

type Rows = BTreeMap<u8, Arc<RowPart>>;
type RowPart = BTreeMap<Arc<RowKey>, Holder>;

/// Who has a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Holder {
    pub(super) owner: TransactionId,
    pub(super) through: Through,
}

/// The branches that a row is held through: one nearly always.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Through {
    One(BranchId),
    /// Ascending, at least two.
    Many(Vec<BranchId>),
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct HoldPart {
    holds: BTreeMap<(TransactionId, BranchId), Arc<Hold>>,
    by_age: BTreeSet<(u64, TransactionId, BranchId)>,
}

/// The rows of one branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hold {
    pub(super) fence: Fence,
    pub(super) resource: Arc<str>,
    pub(super) lock_keys: Arc<str>,
    /// What `lock_keys` names, ascending; shared with the rows held.
    pub(super) rows: Vec<Arc<RowKey>>,
    /// Group clock when they were taken.
    pub(super) since_ms: u64,
}

/// How much a lock table holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct LockSize {
    pub(super) rows: u64,
    pub(super) holds: u64,
    pub(super) bytes: u64,
}

/// Rows wanted for a branch. Never without rows: a branch that locks nothing holds nothing.
pub(super) struct Wanted<'a> {
    pub(super) transaction: TransactionId,
    pub(super) branch: BranchId,
    pub(super) fence: Fence,
    pub(super) resource: &'a Arc<str>,
    pub(super) lock_keys: &'a Arc<str>,
    pub(super) rows: LockKeys,
}

/// Why rows were not given.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// Another transaction has one of them.
    Conflict(Conflict),
    /// The branch holds other rows: its id was used twice.
    OtherRows,
}

impl LockTable {
    /// Whether [`LockTable::take`] may follow: every row is free or this transaction's. A branch that has its rows
    /// already may take them again.
    pub(super) fn allows(&self, wanted: &Wanted<'_>, clock_ms: u64) -> Result<(), Denied> {
        if let Some(hold) = self.hold(wanted.transaction, wanted.branch) {
            let same = hold.resource == *wanted.resource && hold.lock_keys == *wanted.lock_keys;
            return if same { Ok(()) } else { Err(Denied::OtherRows) };
        }
        match self.conflict(wanted.transaction, wanted.resource, &wanted.rows, clock_ms) {
            Some(conflict) => Err(Denied::Conflict(conflict)),
            None => Ok(()),
        }
    }

    /// Takes every row for the branch, after [`LockTable::allows`]. One that has them keeps them, and their age.
    pub(super) fn take(&mut self, wanted: Wanted<'_>, since_ms: u64) {
        if self.hold(wanted.transaction, wanted.branch).is_some() {
            sometimes!("branch_took_its_rows_again");
            return;
        }
        let parts = self.resources.entry(wanted.resource.clone()).or_default();
        let mut rows = Vec::with_capacity(wanted.rows.len());
        for row in wanted.rows {
            let part = Arc::make_mut(parts.entry(part_of_row(&row)).or_default());
            // The key that is there, if one is, so that each row is kept once.
            let key = match part.entry(Arc::new(row)) {
                Entry::Occupied(mut held) => {
                    sometimes!("row_held_through_two_branches");
                    if !bug!("first_branch_holds") {
                        held.get_mut().through.add(wanted.branch);
                    }
                    held.key().clone()
                }
                Entry::Vacant(free) => {
                    let key = free.key().clone();
                    self.size.rows += 1;
                    self.size.bytes += row_bytes(&key);
                    free.insert(Holder { owner: wanted.transaction, through: Through::One(wanted.branch) });
                    key
                }
            };
            rows.push(key);
        }
        let hold = Hold {
            fence: wanted.fence,
            resource: wanted.resource.clone(),
            lock_keys: wanted.lock_keys.clone(),
            rows,
            since_ms,
        };
        self.size.holds += 1;
        self.size.bytes += hold_bytes(&hold);
        let part = Arc::make_mut(self.holds.entry(part_of_transaction(wanted.transaction)).or_default());
        part.by_age.insert((since_ms, wanted.transaction, wanted.branch));
        part.holds.insert((wanted.transaction, wanted.branch), Arc::new(hold));
    }

    /// Lets go of what the transaction holds through these branches. What is not there is released already.
    pub(super) fn release(&mut self, transaction: TransactionId, scope: &ReleaseScope) {
        match scope {
            ReleaseScope::All => {
                while let Some(branch) = self.first_hold(transaction) {
                    self.release_branch(transaction, branch);
                }
            }
            ReleaseScope::Branches(branches) => {
                branches.iter().for_each(|branch| self.release_branch(transaction, *branch));
            }
        }
    }

    /// As [`LockTable::release`], of one branch.
    pub(super) fn release_branch(&mut self, transaction: TransactionId, branch: BranchId) {
        let part_number = part_of_transaction(transaction);
        let Some(shared) = self.holds.get_mut(&part_number) else { return };
        if !shared.holds.contains_key(&(transaction, branch)) {
            return; // before make_mut: a release of nothing must not copy a part
        }
        let part = Arc::make_mut(shared);
        let Some(hold) = part.holds.remove(&(transaction, branch)) else { return };
        part.by_age.remove(&(hold.since_ms, transaction, branch));
        if part.holds.is_empty() {
            self.holds.remove(&part_number);
        }
        self.size.holds -= 1;
        self.size.bytes -= hold_bytes(&hold);
        self.free_rows(&hold, branch);
    }

    fn free_rows(&mut self, hold: &Hold, branch: BranchId) {
        let Some(parts) = self.resources.get_mut(&hold.resource) else { return };
        for row in &hold.rows {
            let part_number = part_of_row(row);
            let Some(shared) = parts.get_mut(&part_number) else { continue };
            let part = Arc::make_mut(shared);
            let Some(holder) = part.get_mut(row) else { continue };
            if holder.through.leave(branch) {
                part.remove(row);
                self.size.rows -= 1;
                self.size.bytes -= row_bytes(row);
            }
            if part.is_empty() {
                parts.remove(&part_number);
            }
        }
        if parts.is_empty() {
            self.resources.remove(&hold.resource);
        }
    }

    /// The first of these rows that another transaction than `asker` holds.
    pub(super) fn conflict(
        &self,
        asker: TransactionId,
        resource: &str,
        rows: &LockKeys,
        clock_ms: u64,
    ) -> Option<Conflict> {
        let parts = self.resources.get(resource)?;
        let (row, holder) = rows.iter().find_map(|row| {
            let holder = parts.get(&part_of_row(row))?.get(row)?;
            (holder.owner != asker).then_some((row, holder))
        })?;
        let since_ms = holder.through.branches().iter().filter_map(|branch| self.hold(holder.owner, *branch));
        let since_ms = since_ms.map(|hold| hold.since_ms).min().unwrap_or(clock_ms);
        Some(Conflict { row: row.clone(), holder: holder.owner, held_ms: clock_ms.saturating_sub(since_ms) })
    }

    /// What one branch holds.
    pub(super) fn hold(&self, transaction: TransactionId, branch: BranchId) -> Option<&Hold> {
        let part = self.holds.get(&part_of_transaction(transaction))?;
        part.holds.get(&(transaction, branch)).map(Arc::as_ref)
    }

    /// What one transaction holds, by branch.
    pub(super) fn holds_of(&self, transaction: TransactionId) -> impl Iterator<Item = (BranchId, &Hold)> {
        let all = (transaction, BranchId(i64::MIN))..=(transaction, BranchId(i64::MAX));
        let part = self.holds.get(&part_of_transaction(transaction));
        part.into_iter()
            .flat_map(move |part| part.holds.range(all.clone()))
            .map(|((_, branch), hold)| (*branch, hold.as_ref()))
    }

    fn first_hold(&self, transaction: TransactionId) -> Option<BranchId> {
        self.holds_of(transaction).next().map(|(branch, _)| branch)
    }

    /// All holds, in the order of their parts, then by transaction and branch.
    pub(super) fn holds(&self) -> impl Iterator<Item = (TransactionId, BranchId, &Hold)> {
        self.holds
            .values()
            .flat_map(|part| part.holds.iter())
            .map(|((transaction, branch), hold)| (*transaction, *branch, hold.as_ref()))
    }

    /// Holds taken at `until_ms` of the group clock or before.
    pub(super) fn holds_until(&self, until_ms: u64) -> impl Iterator<Item = (TransactionId, BranchId, &Hold)> {
        let until = (until_ms, TransactionId(i64::MAX), BranchId(i64::MAX));
        self.holds.values().flat_map(move |part| {
            part.by_age.range(..=until).filter_map(|(_, transaction, branch)| {
                part.holds.get(&(*transaction, *branch)).map(|hold| (*transaction, *branch, hold.as_ref()))
            })
        })
    }

    /// All rows held, resource by resource, in the order of their parts.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &RowKey, &Holder)> {
        self.resources.iter().flat_map(|(resource, parts)| {
            parts
                .values()
                .flat_map(|part| part.iter())
                .map(move |(row, holder)| (resource.as_ref(), row.as_ref(), holder))
        })
    }

    /// Who has a row.
    pub(super) fn holder(&self, resource: &str, row: &RowKey) -> Option<&Holder> {
        self.resources.get(resource)?.get(&part_of_row(row))?.get(row)
    }

    /// The first of the branches that a row is held through.
    pub(super) fn first_branch(&self, resource: &str, row: &RowKey) -> Option<BranchId> {
        self.holder(resource, row)?.through.branches().first().copied()
    }

    pub(super) fn size(&self) -> LockSize {
        self.size
    }
}

fn part_of_row(row: &RowKey) -> u8 {
    (xxh3_64_with_seed(row.key.as_bytes(), xxh3_64(row.table.as_bytes())) % PARTS) as u8
}

fn part_of_transaction(transaction: TransactionId) -> u8 {
    // Those of one run of begins lie together.
    (transaction.sequence() / BEGINS_IN_A_SLOT % PARTS) as u8
}

fn row_bytes(row: &RowKey) -> u64 {
    ROW_BYTES + (row.table.len() + row.key.len()) as u64
}

fn hold_bytes(hold: &Hold) -> u64 {
    HOLD_BYTES + (hold.resource.len() + hold.lock_keys.len() + hold.rows.len() * size_of::<Arc<RowKey>>()) as u64
}

impl Through {
    /// Ascending, at least one.
    pub(super) fn branches(&self) -> &[BranchId] {
        match self {
            Through::One(branch) => core::slice::from_ref(branch),
            Through::Many(branches) => branches,
        }
    }

    fn add(&mut self, branch: BranchId) {
        let Err(place) = self.branches().binary_search(&branch) else { return };
        let mut branches = self.branches().to_vec();
        branches.insert(place, branch);
        *self = Through::Many(branches);
    }

    /// Takes a branch away. True: nobody holds the row any more.
    fn leave(&mut self, branch: BranchId) -> bool {
        match self {
            Through::One(only) => *only == branch,
            Through::Many(branches) => {
                sometimes!("row_stays_with_another_branch");
                branches.retain(|other| *other != branch);
                if let [only] = branches[..] {
                    *self = Through::One(only);
                }
                false
            }
        }
    }
}
