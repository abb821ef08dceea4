//! Row locks in the ghost model: who holds what, through which branches, and in which group that is.

use quorate_core::model::{BranchId, GroupId, LockKeys, RowKey, Slot, TransactionId, hash, lock_key};
use std::collections::{BTreeMap, BTreeSet};

/// One row of a resource.
pub type Row = (String, RowKey);

/// Who holds a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The transaction.
    pub owner: TransactionId,
    /// Through these branches.
    pub branches: BTreeSet<BranchId>,
}

#[derive(Clone, Debug)]
struct Hold {
    group: GroupId,
    slot: Slot,
    resource: String,
    rows: LockKeys,
}

/// All row locks.
#[derive(Debug, Default)]
pub struct Locks {
    holds: BTreeMap<(TransactionId, BranchId), Hold>,
    rows: BTreeMap<Row, Holder>,
    /// Rows that were taken while another transaction had them: for oracle B1 to pick up.
    pub taken_twice: Vec<(Row, TransactionId, TransactionId)>,
    /// Slots that were released for a transaction, by whom ever,
    released: BTreeSet<(TransactionId, Slot)>,
    /// and branches that were.
    released_branches: BTreeSet<(TransactionId, BranchId)>,
}

impl Locks {
    /// A branch takes rows, whoever had them.
    pub fn take(&mut self, group: GroupId, owner: TransactionId, branch: BranchId, resource: &str, keys: &str) {
        let rows = lock_key::parse(keys).unwrap_or_default();
        if rows.is_empty() {
            return;
        }
        for row in &rows {
            let place = (resource.to_owned(), row.clone());
            let holder = self.rows.entry(place.clone()).or_insert_with(|| Holder { owner, branches: BTreeSet::new() });
            if holder.owner != owner {
                self.taken_twice.push((place, holder.owner, owner));
                *holder = Holder { owner, branches: BTreeSet::new() };
            }
            holder.branches.insert(branch);
        }
        let hold = Hold { group, slot: hash::lock_slot(resource), resource: resource.to_owned(), rows };
        self.holds.insert((owner, branch), hold);
    }

    /// A branch lets go what it has in a slot.
    pub fn release(&mut self, owner: TransactionId, branch: BranchId, slot: Slot) {
        self.released_branches.insert((owner, branch));
        if self.holds.get(&(owner, branch)).is_none_or(|hold| hold.slot != slot) {
            return;
        }
        let Some(hold) = self.holds.remove(&(owner, branch)) else { return };
        for row in hold.rows {
            let place = (hold.resource.clone(), row);
            let Some(holder) = self.rows.get_mut(&place) else { continue };
            if holder.owner == owner {
                holder.branches.remove(&branch);
            }
            if holder.branches.is_empty() {
                self.rows.remove(&place);
            }
        }
    }

    pub(super) fn release_slot(&mut self, owner: TransactionId, slot: Slot) {
        self.released.insert((owner, slot));
        for branch in self.branches_of(owner, |hold| hold.slot == slot) {
            self.release(owner, branch, slot);
        }
    }

    pub(super) fn release_own(&mut self, group: GroupId, owner: TransactionId) {
        for branch in self.branches_of(owner, |hold| hold.group == group) {
            self.release_branch_at(group, owner, branch);
        }
    }

    pub(super) fn release_branch_at(&mut self, group: GroupId, owner: TransactionId, branch: BranchId) {
        let slot = self.holds.get(&(owner, branch)).filter(|hold| hold.group == group).map(|hold| hold.slot);
        if let Some(slot) = slot {
            self.release(owner, branch, slot);
        }
    }

    /// A lock slot is another group's from here on.
    pub(super) fn moved(&mut self, slot: Slot, group: GroupId) {
        self.holds.values_mut().filter(|hold| hold.slot == slot).for_each(|hold| hold.group = group);
    }

    fn branches_of(&self, owner: TransactionId, wanted: impl Fn(&Hold) -> bool) -> Vec<BranchId> {
        let holds = self.holds.range((owner, BranchId(i64::MIN))..=(owner, BranchId(i64::MAX)));
        holds.filter(|(_, hold)| wanted(hold)).map(|((_, branch), _)| *branch).collect()
    }

    /// Who holds a row.
    pub fn holder(&self, row: &Row) -> Option<&Holder> {
        self.rows.get(row)
    }

    /// Everything that is held, and how.
    pub fn all(&self) -> impl Iterator<Item = (TransactionId, BranchId, &str)> {
        self.holds.iter().map(|((owner, branch), hold)| (*owner, *branch, hold.resource.as_str()))
    }

    /// Branches through which a transaction holds rows, and of which resource.
    pub fn held_by(&self, owner: TransactionId) -> impl Iterator<Item = (BranchId, &str)> {
        let holds = self.holds.range((owner, BranchId(i64::MIN))..=(owner, BranchId(i64::MAX)));
        holds.map(|((_, branch), hold)| (*branch, hold.resource.as_str()))
    }

    /// What a transaction holds that was never released: a release that came before a late acquire counts.
    pub fn never_released(&self, owner: TransactionId) -> Vec<(BranchId, String)> {
        let holds = self.holds.range((owner, BranchId(i64::MIN))..=(owner, BranchId(i64::MAX)));
        let kept = holds.filter(|((owner, branch), hold)| {
            !self.released.contains(&(*owner, hold.slot)) && !self.released_branches.contains(&(*owner, *branch))
        });
        kept.map(|((_, branch), hold)| (*branch, hold.resource.clone())).collect()
    }
}
