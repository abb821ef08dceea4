//! A global session and its branches, as replicated.
//!
//! A session is in Begin until it is decided; from then on its list of branches is fixed, but for the steps of a Saga,
//! and it is the durable to-do list of phase two: who is to be told, and which lock slots are owed a release (lock
//! protocol, rule 13).
//! Not here: who was told already. Only the leader that drives it knows, and a new one asks again.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::branches::Branches;
use super::fate::Fate;
use super::status::{self, Direction};
use super::unreported::Seconds;
use crate::model::hash::lock_slot;
use crate::model::{BranchId, BranchStatus, BranchType, Fence, GlobalStatus, Slot, TransactionId, Xid};

/// What a session and a branch cost beside their texts, roughly.
const SESSION_BYTES: u64 = 480;
const BRANCH_BYTES: u64 = 320;

/// One global transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// Its id; the slot is the low twelve bits.
    pub transaction: TransactionId,
    /// `address:port` of its XID.
    pub address: Arc<str>,
    /// Application id of the TM.
    pub application: Arc<str>,
    /// Transaction service group of the TM.
    pub service_group: Arc<str>,
    /// Name of the transaction.
    pub name: Arc<str>,
    /// As requested.
    pub timeout_ms: i32,
    /// Group clock at Begin.
    pub begun_clock_ms: u64,
    /// How much older it is than the group clock is far: its slot has come from a group whose clock was ahead.
    pub before_ms: u64,
    /// Wall time at Begin, to be shown.
    pub begun_wall_ms: u64,
    /// Where it stands.
    pub status: GlobalStatus,
    /// In the order of registration.
    pub branches: Branches,
    /// Sum of [`Branch::rows`], so that no register adds up the branches before it.
    pub(super) rows: u64,
    /// Texts of the branches.
    pub(super) branch_bytes: u64,
    /// When the branches were registered that nobody has reported.
    pub(super) unreported: Seconds,
    /// An operator has it deleted, branch by branch (`fate`).
    pub(super) is_deleted: bool,
    /// How many branches are to be cleaned up.
    pub(super) cleaning: u32,
}

/// One branch of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Its id.
    pub branch: BranchId,
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: Arc<str>,
    /// Lock keys as sent.
    pub lock_keys: Arc<str>,
    /// How many rows the lock keys name: 0 for all kinds but AT.
    pub rows: u32,
    /// Given back to the RM in phase two.
    pub application_data: Arc<str>,
    /// `application:ip:port` of the channel that registered it.
    pub client: Arc<str>,
    /// Whose leader dealt the id, and when.
    pub fence: Fence,
    /// As the RM last reported it before the decision, or its final failure.
    pub status: BranchStatus,
    /// Group clock at its registration, to be shown; nothing: a snapshot of an older version did not say.
    pub registered_clock_ms: Option<u64>,
    /// The request that registered it, if that is to do so once.
    pub request: Option<u64>,
    /// What an operator has ordered.
    pub fate: Fate,
}

impl Session {
    /// One begun at 0 with a time-out of 60 s.
    #[cfg(test)]
    pub(crate) fn for_tests(
        transaction: TransactionId,
        status: GlobalStatus,
        branches: impl Iterator<Item = Branch>,
    ) -> Session {
        let mut session = Session {
            transaction,
            address: "10.0.0.1:8091".into(),
            application: "shop".into(),
            service_group: "default_tx_group".into(),
            name: "buy".into(),
            timeout_ms: 60_000,
            begun_clock_ms: 0,
            before_ms: 0,
            begun_wall_ms: 0,
            status,
            branches: Branches::new(),
            rows: 0,
            branch_bytes: 0,
            unreported: Seconds::default(),
            is_deleted: false,
            cleaning: 0,
        };
        branches.for_each(|branch| session.add(branch));
        session
    }

    /// The branch that this request has registered.
    pub fn registered_by(&self, request: u64) -> Option<BranchId> {
        let named = self.branches.values().rev().find(|branch| branch.request == Some(request));
        named.map(|branch| branch.branch)
    }

    /// When its time is up, by the group clock. A time-out of zero or less is due at once.
    pub fn due_ms(&self) -> u64 {
        self.aged_at_ms(u64::try_from(self.timeout_ms).unwrap_or(0))
    }

    /// When it is so old, by the group clock.
    pub fn aged_at_ms(&self, age_ms: u64) -> u64 {
        self.begun_clock_ms.saturating_add(age_ms).saturating_sub(self.before_ms)
    }

    /// How old it is at this reading of the group clock.
    pub fn age_ms(&self, clock_ms: u64) -> u64 {
        clock_ms.saturating_sub(self.begun_clock_ms).saturating_add(self.before_ms)
    }

    /// It is older by this than its begin says, as far as the group clock goes back and beyond.
    pub(super) fn age_by(&mut self, age_ms: u64) {
        let within_ms = self.begun_clock_ms.min(age_ms);
        self.begun_clock_ms -= within_ms;
        self.before_ms = self.before_ms.saturating_add(age_ms - within_ms);
        // Branches of which nobody knows when they came follow the begin.
        self.unreported = Seconds::default();
        for branch in self.branches.values().filter(|branch| branch.is_unreported()) {
            self.unreported.add(branch.registered_ms(self.begun_clock_ms));
        }
    }

    /// The XID that clients know it by.
    pub fn xid(&self) -> Xid {
        Xid { address: (*self.address).into(), transaction: self.transaction }
    }

    /// What was decided, if anything was.
    pub fn direction(&self) -> Option<Direction> {
        status::direction(self.status)
    }

    /// Whether a commit is answered before its branches are told: all are AT, or have nothing to commit.
    pub fn is_async_committable(&self) -> bool {
        !self.is_saga() && self.branches.values().all(Branch::is_async_committable)
    }

    /// The lock slots that are owed a release at the end, each once, ascending.
    pub fn lock_slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.branches.values().filter_map(Branch::lock_slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// Rows that its branches lock, one named by two branches counted twice.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Memory that it takes, roughly.
    pub fn bytes(&self) -> u64 {
        let texts = [&self.address, &self.application, &self.service_group, &self.name];
        SESSION_BYTES + texts.iter().map(|text| text.len() as u64).sum::<u64>() + self.branch_bytes
    }

    pub(super) fn add(&mut self, branch: Branch) {
        self.rows += u64::from(branch.rows);
        self.branch_bytes += branch.bytes();
        self.cleaning += u32::from(branch.fate == Fate::CleanUp);
        if branch.is_unreported() {
            self.unreported.add(self.registered_ms(&branch));
        }
        self.branches.insert(branch);
    }

    pub(super) fn remove(&mut self, branch: BranchId) {
        if let Some(branch) = self.branches.remove(&branch) {
            self.rows -= u64::from(branch.rows);
            self.branch_bytes -= branch.bytes();
            self.cleaning -= u32::from(branch.fate == Fate::CleanUp);
            if branch.is_unreported() {
                self.unreported.remove(self.registered_ms(&branch));
            }
        }
    }

    /// When a branch was registered, by the group clock; the begin of its transaction where nobody knows.
    pub fn registered_ms(&self, branch: &Branch) -> u64 {
        branch.registered_ms(self.begun_clock_ms)
    }

    pub(super) fn change(&mut self, branch: BranchId, change: impl FnOnce(&mut Branch)) {
        let begun_ms = self.begun_clock_ms;
        let Some(branch) = self.branches.get_mut(&branch) else { return };
        let unreported_ms = |branch: &Branch| branch.is_unreported().then(|| branch.registered_ms(begun_ms));
        let (rows, bytes, before_ms) = (u64::from(branch.rows), branch.bytes(), unreported_ms(branch));
        let was_cleaning = branch.fate == Fate::CleanUp;
        change(branch);
        self.cleaning = self.cleaning - u32::from(was_cleaning) + u32::from(branch.fate == Fate::CleanUp);
        self.rows = self.rows - rows + u64::from(branch.rows);
        self.branch_bytes = self.branch_bytes - bytes + branch.bytes();
        let after_ms = unreported_ms(branch);
        if before_ms != after_ms {
            before_ms.into_iter().for_each(|clock_ms| self.unreported.remove(clock_ms));
            after_ms.into_iter().for_each(|clock_ms| self.unreported.add(clock_ms));
        }
    }
}

impl Branch {
    fn registered_ms(&self, begun_clock_ms: u64) -> u64 {
        self.registered_clock_ms.unwrap_or(begun_clock_ms)
    }

    fn bytes(&self) -> u64 {
        let texts = [&self.resource, &self.lock_keys, &self.application_data, &self.client];
        BRANCH_BYTES + texts.iter().map(|text| text.len() as u64).sum::<u64>()
    }

    /// Where its row locks live; nowhere if it has none.
    pub fn lock_slot(&self) -> Option<Slot> {
        (self.rows > 0).then(|| lock_slot(&self.resource))
    }

    /// Its RM has not said yet how phase one went.
    pub fn is_unreported(&self) -> bool {
        self.status == BranchStatus::Registered
    }

    /// Its phase one came to nothing: there is nothing to commit and nothing to undo, so nobody is told. Of a step of a
    /// Saga only its engine knows.
    pub fn has_failed_phase_one(&self) -> bool {
        let has_failed = matches!(self.status, BranchStatus::PhaseOne_Failed | BranchStatus::PhaseOne_PrepareFailed);
        has_failed && self.kind != BranchType::SAGA
    }

    /// Phase two has something to say to it that may wait. Once started again it counts as registered, so that one which is
    /// passed over must not be stopped.
    pub(super) fn may_be_stopped(&self) -> bool {
        !self.has_failed_phase_one() && self.status != BranchStatus::PhaseOne_RDONLY
    }

    /// Its commit may follow the answer to the TM.
    pub fn is_async_committable(&self) -> bool {
        self.kind == BranchType::AT || self.has_failed_phase_one()
    }
}
