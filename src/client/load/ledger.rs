//! Which transactions still wait for phase two, and the counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_core::model::{BranchId, BranchStatus};

use crate::rm::{Answer, Branch, Resource};

/// Counts of one run so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Commits answered as committed.
    pub acknowledged: u64,
    /// Of those, with all branches through phase two.
    pub finished: u64,
    /// Transactions that ended in any other way.
    pub failed: u64,
    /// Transactions that a lost connection cut off before their commit, and that were begun anew.
    pub anew: u64,
    /// Registrations refused for a row lock.
    pub conflicts: u64,
    /// Phase-two requests beyond the first for one branch.
    pub repeats: u64,
}

/// Shared by all workers and resources.
#[derive(Default)]
pub struct Ledger {
    /// Branches without phase two, by XID.
    open: Mutex<BTreeMap<String, BTreeSet<BranchId>>>,
    acknowledged: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    anew: AtomicU64,
    conflicts: AtomicU64,
    repeats: AtomicU64,
}

impl Ledger {
    /// Before the commit is asked for: these branches must hear of it.
    pub fn expect(&self, xid: &str, branches: BTreeSet<BranchId>) {
        if !branches.is_empty() {
            self.open().insert(xid.into(), branches);
        }
    }

    /// The commit was answered as committed. Without branches that finishes it too.
    pub fn acknowledge(&self, branches: usize) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        if branches == 0 {
            self.finished.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It came to nothing, or nobody knows.
    pub fn fail(&self, xid: Option<&str>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(xid) = xid {
            self.open().remove(xid);
        }
    }

    /// It was cut off before its commit, and is begun anew.
    pub fn begin_anew(&self) {
        self.anew.fetch_add(1, Ordering::Relaxed);
    }

    /// A row was taken.
    pub fn conflict(&self) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
    }

    /// How many transactions wait for phase two.
    pub fn unfinished(&self) -> usize {
        self.open().len()
    }

    /// The counts just now.
    pub fn counts(&self) -> Counts {
        Counts {
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            finished: self.finished.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            anew: self.anew.load(Ordering::Relaxed),
            conflicts: self.conflicts.load(Ordering::Relaxed),
            repeats: self.repeats.load(Ordering::Relaxed),
        }
    }

    fn committed(&self, branch: &Branch) {
        let mut open = self.open();
        let Some(waiting) = open.get_mut(&branch.xid) else {
            self.repeats.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if !waiting.remove(&branch.id) {
            self.repeats.fetch_add(1, Ordering::Relaxed);
        }
        if waiting.is_empty() {
            open.remove(&branch.xid);
            self.finished.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, BTreeSet<BranchId>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resource that agrees to everything and notes it.
pub struct Agreeable(pub Arc<Ledger>);

impl Resource for Agreeable {
    fn commit(&self, branch: Branch) -> Answer {
        self.0.committed(&branch);
        Box::pin(std::future::ready(Some(BranchStatus::PhaseTwo_Committed)))
    }

    fn rollback(&self, _: Branch) -> Answer {
        Box::pin(std::future::ready(Some(BranchStatus::PhaseTwo_Rollbacked)))
    }
}
