//! The record of one transaction in the ghost model.

use quorate_core::model::{BranchId, BranchStatus, BranchType, GlobalStatus, GroupId, LogIndex};
use quorate_core::txn::command::{BeginV1, RegisterBranchV1, ReportBranchV1};
use quorate_core::txn::saga::NAME_PREFIX;
use quorate_core::txn::status::{self, Direction};
use std::collections::{BTreeMap, BTreeSet};

/// One transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Where it lives.
    pub group: GroupId,
    /// As the TM named it.
    pub name: String,
    /// Branches in the list.
    pub listed: BTreeMap<BranchId, Listed>,
    /// Branches that an RM was told of, or is being told of.
    pub acknowledged: BTreeSet<BranchId>,
    /// What was decided.
    pub decision: Option<Direction>,
    /// Where it stands.
    pub status: GlobalStatus,
    /// All that it has been, in order.
    pub statuses: Vec<GlobalStatus>,
    /// The group clock at its begin; below zero where its slot has moved to a group that is younger than it.
    pub begun_clock_ms: i64,
    /// How long it has.
    pub timeout_ms: u64,
    /// The group clock at its decision.
    pub decided_clock_ms: i64,
    /// The entry of its decision; of a Saga's engine there may be several.
    pub decided_at: Option<LogIndex>,
    /// The group clock at its end.
    pub ended_clock_ms: Option<u64>,
    /// An operator has deleted it by force: what its branches did is his to finish.
    pub forced: bool,
    /// Branches that he has dropped: those too.
    pub dropped: BTreeSet<BranchId>,
    /// The last that was heard of phase two, branch by branch.
    pub phase_two: BTreeMap<BranchId, String>,
}

/// A branch in the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// AT or TCC.
    pub kind: BranchType,
    /// Its resource.
    pub resource: String,
    /// Its rows, as sent.
    pub lock_keys: String,
    /// What its RM wrote beside it.
    pub data: String,
    /// As reported before the decision.
    pub status: BranchStatus,
}

/// Clocks of two groups are compared so roughly.
const ABOUT_MS: i64 = 30_000;

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Transaction {
    /// One that has just begun.
    pub fn begun(group: GroupId, clock_ms: u64, begin: &BeginV1) -> Transaction {
        Transaction {
            group,
            name: begin.name.clone(),
            listed: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            decision: None,
            status: GlobalStatus::Begin,
            statuses: vec![GlobalStatus::Begin],
            begun_clock_ms: signed(clock_ms),
            timeout_ms: u64::try_from(begin.timeout_ms).unwrap_or(0),
            decided_clock_ms: 0,
            decided_at: None,
            ended_clock_ms: None,
            forced: false,
            dropped: BTreeSet::new(),
            phase_two: BTreeMap::new(),
        }
    }

    pub(super) fn register(&mut self, register: &RegisterBranchV1) {
        let listed = Listed {
            kind: register.kind,
            resource: register.resource.clone(),
            lock_keys: register.lock_keys.clone(),
            data: register.application_data.clone(),
            status: BranchStatus::Registered,
        };
        self.listed.entry(register.branch).or_insert(listed);
    }

    pub(super) fn report(&mut self, report: &ReportBranchV1) {
        if self.decision.is_some() {
            return;
        }
        if let Some(listed) = self.listed.get_mut(&report.branch) {
            listed.status = report.status;
        }
    }

    /// Its slot has moved to a group with another clock, where it is so old, unless it has ended; or else by about so much.
    pub(super) fn moved(&mut self, clock_ms: u64, age_ms: Option<u64>, about: i64) {
        let shift = age_ms.map_or(about, |age_ms| signed(clock_ms) - signed(age_ms) - self.begun_clock_ms);
        self.begun_clock_ms += shift;
        self.decided_clock_ms += shift;
        // A group that is idle has a clock that stands still: nobody may be held to a tombstone a little longer than it stands.
        let ended = self.ended_clock_ms.map(|ended| signed(ended) + shift - ABOUT_MS);
        self.ended_clock_ms = ended.map(|ended| u64::try_from(ended).unwrap_or(0));
    }

    /// It stands so from now on.
    pub fn become_status(&mut self, now: GlobalStatus) {
        if self.status != now {
            self.status = now;
            self.statuses.push(now);
        }
    }

    /// It is decided, if it was not before.
    pub fn decide(&mut self, decided: GlobalStatus, clock_ms: u64) {
        self.become_status(decided);
        self.decided_clock_ms = signed(clock_ms);
        self.decision = self.decision.or(status::direction(decided));
    }

    /// The engine of a Saga has spoken: it may turn what was decided, or end it at once.
    pub(super) fn hear(&mut self, now: GlobalStatus, clock_ms: u64) {
        self.become_status(now);
        self.decision = status::direction(now);
        if !status::is_running(now) {
            self.end(now, clock_ms);
        }
    }

    /// An engine may turn it.
    pub fn is_saga(&self) -> bool {
        self.name.starts_with(NAME_PREFIX) || self.listed.values().any(|listed| listed.kind == BranchType::SAGA)
    }

    /// A Saga and nothing beside it, so that it may turn.
    pub fn is_pure_saga(&self) -> bool {
        self.is_saga() && self.listed.values().all(|listed| listed.kind == BranchType::SAGA)
    }

    pub(super) fn end(&mut self, now: GlobalStatus, clock_ms: u64) {
        self.become_status(now);
        self.ended_clock_ms.get_or_insert(clock_ms);
    }

    /// An operator finishes what this branch did, by hand.
    pub fn is_left(&self, branch: BranchId) -> bool {
        self.forced || self.dropped.contains(&branch)
    }

    /// Its phase one came to nothing, so nobody is told in phase two.
    pub fn has_failed(&self, branch: BranchId) -> bool {
        let failed = [BranchStatus::PhaseOne_Failed, BranchStatus::PhaseOne_PrepareFailed];
        self.listed.get(&branch).is_some_and(|listed| failed.contains(&listed.status))
    }
}
