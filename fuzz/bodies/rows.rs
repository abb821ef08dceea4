//! What the model of the operations target knows of branches that join and of row locks: which rows each branch holds in
//! each lock slot, of transactions of this group and of others.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{BranchId, BranchStatus, BranchType, Epoch, GlobalStatus, Slot, TransactionId};
use quorate_core::txn::command::{AcquireLocksV1, RegisterBranchV1, ReleaseLocksV1};
use quorate_core::txn::{Fate, Outcome, Refusal, ReleaseScope, Transactions};

use super::operate::{Branch, Transaction};
use super::{Expected, Model};

pub type HoldId = (Slot, TransactionId, BranchId);

#[derive(PartialEq)]
pub struct Hold {
    resource: String,
    rows: BTreeSet<String>,
}

/// Who holds a row of a resource, and through which branches.
type Rows = BTreeMap<(String, String), BTreeSet<(TransactionId, BranchId)>>;

/// All of one table.
fn rows_of(lock_keys: &str) -> BTreeSet<String> {
    let keys = lock_keys.strip_prefix("t:").unwrap_or_default();
    keys.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

fn refused<T>(refusal: Refusal) -> Result<T, Expected> {
    Err(Expected::Outcome(Outcome::Refused(refusal)))
}

impl Model {
    pub(super) fn register(&mut self, register: &RegisterBranchV1, request: Option<u64>) -> Expected {
        self.join(register, request).map_or_else(|not| not, Expected::Outcome)
    }

    pub(super) fn acquire(&mut self, acquire: &AcquireLocksV1) -> Expected {
        self.lock(acquire).map_or_else(|not| not, Expected::Outcome)
    }

    pub(super) fn release_locks(&mut self, release: &ReleaseLocksV1) -> Expected {
        if let Err(elsewhere) = self.owns(release.slot) {
            return elsewhere;
        }
        self.holds.retain(|(slot, transaction, branch), _| {
            let is_meant = match &release.scope {
                ReleaseScope::All => true,
                ReleaseScope::Branches(branches) => branches.contains(branch),
            };
            !(*slot == release.slot && *transaction == release.transaction && is_meant)
        });
        Expected::Outcome(Outcome::Released)
    }

    /// Under the fence of today's leader, all rows or none, of one request once, and only while nothing is decided: but
    /// the steps of a Saga join as long as it is there.
    fn join(&mut self, register: &RegisterBranchV1, request: Option<u64>) -> Result<Outcome, Expected> {
        self.owns(register.transaction.slot())?;
        if register.fence.tenure != self.tenure {
            return refused(Refusal::OldTenure { tenure: self.tenure });
        }
        let of = self.open(register.transaction, register.kind == BranchType::SAGA)?;
        let joined = of.branches.iter().find(|(_, branch)| request.is_some() && branch.request == request);
        if let Some((id, _)) = joined.filter(|(id, _)| **id != register.branch) {
            return Ok(Outcome::RegisteredBefore(*id));
        }
        let asked = RegisterBranchV1 { with_locks: true, ..register.clone() };
        let present = of.branches.get(&register.branch);
        if present.is_some_and(|branch| branch.register != asked) {
            return refused(Refusal::BadBranchId);
        }
        let is_new = present.is_none();
        if register.with_locks {
            let keys = if register.kind == BranchType::AT { register.lock_keys.as_str() } else { "" };
            self.take(register.transaction, register.branch, &register.resource, keys)?;
        }
        if let Some(of) = self.transactions.get_mut(&register.transaction).filter(|_| is_new) {
            let status = BranchStatus::Registered;
            of.branches.insert(register.branch, Branch { register: asked, request, status, fate: Fate::Kept });
        }
        Ok(Outcome::Registered)
    }

    /// For a branch of this group only before the decision, and as it is listed; of others nothing is known here.
    fn lock(&mut self, acquire: &AcquireLocksV1) -> Result<Outcome, Expected> {
        self.owns(lock_slot(&acquire.resource))?;
        if self.owns(acquire.transaction.slot()).is_ok() {
            let listed = self.open(acquire.transaction, false)?.branches.get(&acquire.branch);
            let is_other = |branch: &Branch| {
                let of = &branch.register;
                !branch.is_at() || of.resource != acquire.resource || of.lock_keys != acquire.lock_keys
            };
            if listed.is_some_and(is_other) {
                return refused(Refusal::BadBranchId);
            }
        }
        self.take(acquire.transaction, acquire.branch, &acquire.resource, &acquire.lock_keys)?;
        Ok(Outcome::Acquired)
    }

    fn owns(&self, slot: Slot) -> Result<(), Expected> {
        match self.slots.contains(&slot) {
            true => Ok(()),
            false => refused(Refusal::NotOwner { epoch: Epoch(0) }),
        }
    }

    /// A transaction that takes a branch.
    fn open(&self, transaction: TransactionId, is_step: bool) -> Result<&Transaction, Expected> {
        match self.transactions.get(&transaction).filter(|of| of.ended_ms.is_none()) {
            Some(of) if of.status == GlobalStatus::Begin || (is_step && of.has_engine()) => Ok(of),
            Some(of) => refused(Refusal::NotActive { status: of.status }),
            None => refused(Refusal::NoSuchTransaction),
        }
    }

    /// What a branch has it may take again, and nothing else.
    fn take(
        &mut self,
        transaction: TransactionId,
        branch: BranchId,
        resource: &str,
        lock_keys: &str,
    ) -> Result<(), Expected> {
        let slot = lock_slot(resource);
        self.owns(slot)?;
        let wanted = Hold { resource: resource.to_owned(), rows: rows_of(lock_keys) };
        if wanted.rows.is_empty() {
            return Ok(());
        }
        if let Some(hold) = self.holds.get(&(slot, transaction, branch)) {
            return if *hold == wanted { Ok(()) } else { refused(Refusal::BadBranchId) };
        }
        let is_in_the_way = |((_, holder, _), hold): (&HoldId, &Hold)| {
            *holder != transaction && hold.resource == resource && !hold.rows.is_disjoint(&wanted.rows)
        };
        if self.holds.iter().any(is_in_the_way) {
            return Err(Expected::Conflict(resource.to_owned()));
        }
        self.holds.insert((slot, transaction, branch), wanted);
        Ok(())
    }

    /// All that a transaction holds in the lock slots that its branches name; what a branch holds that is not listed is for
    /// the audit.
    pub(super) fn release_all(&mut self, transaction: TransactionId, of: &Transaction) {
        let named: BTreeSet<Slot> = of.branches.values().filter_map(Branch::lock_slot).collect();
        self.holds.retain(|(slot, holder, _), _| *holder != transaction || !named.contains(slot));
    }

    pub(super) fn release_branch(&mut self, transaction: TransactionId, id: BranchId, branch: &Branch) {
        if let Some(slot) = branch.lock_slot() {
            self.holds.remove(&(slot, transaction, id));
        }
    }

    pub(super) fn holders(&self, resource: &str, row: &str) -> BTreeSet<TransactionId> {
        let holds = self.holds.iter().filter(|(_, hold)| hold.resource == resource && hold.rows.contains(row));
        holds.map(|((_, transaction, _), _)| *transaction).collect()
    }

    pub(super) fn compare_rows(&self, state: &Transactions) {
        let mut expected = Rows::new();
        for ((_, transaction, branch), hold) in &self.holds {
            for row in &hold.rows {
                let held = expected.entry((hold.resource.clone(), row.clone())).or_default();
                held.insert((*transaction, *branch));
            }
        }
        let mut seen = Rows::new();
        for lock in state.locks() {
            let through = lock.branches.iter().map(|branch| (lock.transaction, *branch)).collect();
            seen.insert((lock.resource.to_owned(), lock.row.key.clone()), through);
        }
        assert_eq!(seen, expected);
        let counts = state.counts();
        assert_eq!((counts.row_locks, counts.holds), (expected.len() as u64, self.holds.len() as u64));
    }
}
