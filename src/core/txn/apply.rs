//! How an entry changes the state: the one way, on leader and follower alike.
//!
//! Apply is total: every command has an outcome in every state. Each handler checks everything first and changes after,
//! so a refused command changes nothing, not even the id counter. What an entry does beside its commands is the same
//! whether they are refused or not: its stamp moves the clock on, and tombstones that have stood long enough go.
//!
//! Here: founding, leading, beginning, deciding, ending. `apply_branch` has branches and row locks, `apply_saga` what
//! Saga engines say, `apply_operate` and `apply_delete` what an operator does, `apply_slot` how slots move.

use super::branches::Branches;
use super::command::{Batch, BeginV1, Command, DecideV1, Decision, FailV1, FoundV1, LeadV1, Stamp, TransactionV1};
use super::outcome::{IdBlock, Outcome, Refusal};
use super::session::Session;
use super::slot::{Ownership, SlotState};
use super::state::Transactions;
use super::status::{self, Direction, may_become};
use super::{ReleaseScope, bounds};
use crate::model::{BranchId, BranchStatus, Epoch, GlobalStatus, SLOTS, Slot, TransactionId, limits};
use alloc::vec::Vec;

/// Sequence numbers end here: an id is positive with the slot in its low twelve bits.
pub(super) const SEQUENCE_END: u64 = 1 << 51;
/// Tombstones that one entry takes away beside two for each of its commands.
const EXPIRED_PER_ENTRY_MIN: usize = 64;

impl Transactions {
    /// Applies one log entry; one outcome per command, in order.
    pub fn apply(&mut self, batch: &Batch) -> Vec<Outcome> {
        self.clock_ms = self.clock_ms.max(batch.stamp.clock_ms);
        let outcomes = batch.commands.iter().map(|command| self.run(batch.stamp, command)).collect();
        self.expire(EXPIRED_PER_ENTRY_MIN + 2 * batch.commands.len());
        outcomes
    }

    fn run(&mut self, stamp: Stamp, command: &Command) -> Outcome {
        let outcome = bounds::check(command).and_then(|()| match command {
            Command::Found(found) => self.found(found),
            Command::Lead(lead) => self.lead(lead),
            Command::Begin(begin) => self.begin(stamp, begin, self.next_slot()),
            Command::BeginNear(begin) => self.begin(stamp, begin, self.near_slot()),
            Command::RegisterBranch(register) => self.register_branch(register, None),
            Command::RegisterBranchOnce(once) => self.register_branch(&once.register, Some(once.request)),
            Command::RemoveBranch(branch) => self.remove_branch(branch),
            Command::ReportBranch(report) => self.report_branch(report),
            Command::Decide(decide) => self.decide(decide),
            Command::Retry(retry) => self.retry(retry),
            Command::Fail(fail) => self.fail(fail),
            Command::End(end) => self.end(end),
            Command::AcquireLocks(acquire) => self.acquire_locks(acquire),
            Command::ReleaseLocks(release) => self.release_locks(release),
            Command::Tick => Ok(Outcome::Done),
            Command::Detach(detach) => self.detach(detach),
            Command::Forget(name) => self.reserved(name),
            Command::Report(report) => self.report(report),
            Command::GiveUp(give_up) => self.give_up(give_up),
            Command::Operate(operate) => self.operate(operate),
            Command::CleanedUp(cleaned) => self.cleaned_up(cleaned),
            Command::FreezeSlot(step) => self.freeze_slot(step),
            Command::InstallSlot(install) => self.install_slot(install),
            Command::ActivateSlot(step) => self.activate_slot(step),
            Command::DropSlot(step) => self.drop_slot(step),
            Command::UnfreezeSlot(step) => self.unfreeze_slot(step),
            Command::DiscardSlot(step) => self.discard_slot(step),
        });
        let outcome = outcome.unwrap_or_else(Outcome::Refused);
        #[cfg(feature = "probes")]
        super::probes::note(command, &outcome);
        outcome
    }

    fn found(&mut self, found: &FoundV1) -> Result<Outcome, Refusal> {
        if self.is_founded() {
            return Err(Refusal::Founded);
        }
        let ascending = found.slots.is_sorted_by(|a, b| a < b);
        let in_range = found.slots.last().is_none_or(|last| last.0 < SLOTS);
        if !ascending || !in_range || found.sequence == 0 || found.sequence >= SEQUENCE_END {
            return Err(Refusal::BadFounding);
        }
        self.counter = found.sequence;
        for slot in &found.slots {
            let ownership = Ownership::Active(found.epoch);
            self.put_slot(*slot, SlotState::empty(ownership, found.epoch, found.sequence));
        }
        Ok(Outcome::Done)
    }

    /// A tenure as high as the stored one is no mistake: a node that restarted may lead on in its own term.
    fn lead(&mut self, lead: &LeadV1) -> Result<Outcome, Refusal> {
        if lead.tenure < self.tenure || (lead.tenure == self.tenure && bug!("same_tenure_is_refused")) {
            return Err(Refusal::OldTenure { tenure: self.tenure });
        }
        let count = if self.is_founded() { lead.block } else { 0 };
        let next = self.counter.saturating_add(u64::from(count));
        if next > SEQUENCE_END {
            return Err(Refusal::Exhausted);
        }
        let block = IdBlock { first: self.counter, count };
        self.counter = next;
        self.tenure = lead.tenure;
        Ok(Outcome::Led(block))
    }

    fn begin(&mut self, stamp: Stamp, begin: &BeginV1, slot: Option<Slot>) -> Result<Outcome, Refusal> {
        let slot = slot.ok_or(Refusal::NotOwner { epoch: Epoch(0) })?;
        let transaction = TransactionId::mint(self.counter, slot).ok_or(Refusal::Exhausted)?;
        let session = Session {
            transaction,
            address: begin.address.as_str().into(),
            application: begin.application.as_str().into(),
            service_group: begin.service_group.as_str().into(),
            name: begin.name.as_str().into(),
            timeout_ms: begin.timeout_ms,
            begun_clock_ms: self.clock_ms,
            before_ms: 0,
            begun_wall_ms: stamp.wall_ms,
            status: GlobalStatus::Begin,
            branches: Branches::new(),
            rows: 0,
            branch_bytes: 0,
            unreported: Default::default(),
            is_deleted: false,
            cleaning: 0,
        };
        self.counter += 1;
        self.last_slot = slot;
        self.change(slot, |state| state.insert(session));
        Ok(Outcome::Begun(transaction))
    }

    /// The decision, once: everybody after the first is told how it stands. A commit that comes after the deadline
    /// decides as the time-out would have (semantics 1.4: time-out before commit, while nothing is decided).
    fn decide(&mut self, decide: &DecideV1) -> Result<Outcome, Refusal> {
        let session = match self.live(decide.transaction) {
            Ok(session) => session,
            Err(Missing::Ended(status)) => return Ok(Outcome::Standing(status)),
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        if session.status != GlobalStatus::Begin {
            return Ok(Outcome::Standing(session.status));
        }
        let is_due = self.clock_ms >= session.due_ms();
        let status = match decide.decision {
            Decision::Commit | Decision::TimeoutRollback if is_due => GlobalStatus::TimeoutRollbacking,
            Decision::Commit if session.is_async_committable() => GlobalStatus::AsyncCommitting,
            Decision::Commit => GlobalStatus::Committing,
            Decision::Rollback => GlobalStatus::Rollbacking,
            Decision::TimeoutRollback => return Err(Refusal::NotDue { due_ms: session.due_ms() }),
        };
        self.become_status(decide.transaction, status)?;
        if status::direction(status) == Some(Direction::Commit) {
            self.release_own(decide.transaction);
        }
        Ok(Outcome::Decided(status))
    }

    fn retry(&mut self, retry: &TransactionV1) -> Result<Outcome, Refusal> {
        let status = self.live_status(retry.transaction)?;
        let retrying = status::retrying(status).ok_or(Refusal::Illegal { status })?;
        self.become_status(retry.transaction, retrying)
    }

    fn detach(&mut self, detach: &TransactionV1) -> Result<Outcome, Refusal> {
        self.live_status(detach.transaction)?;
        match self.direction_of(detach.transaction) {
            Some(Direction::Commit) => self.become_status(detach.transaction, GlobalStatus::AsyncCommitting),
            Some(Direction::Rollback) | None => Err(Refusal::Illegal { status: self.live_status(detach.transaction)? }),
        }
    }

    fn fail(&mut self, fail: &FailV1) -> Result<Outcome, Refusal> {
        let status = self.live_status(fail.transaction)?;
        let direction = status::direction(status).ok_or(Refusal::Illegal { status })?;
        let final_failure = match direction {
            Direction::Commit => BranchStatus::PhaseTwo_CommitFailed_Unretryable,
            Direction::Rollback => BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
        };
        if fail.status != final_failure {
            return Err(Refusal::NoFailure { status: fail.status });
        }
        let has_branch = |session: &Session| {
            session.branches.contains_key(&fail.branch) || (fail.branch == BranchId::WHOLE && session.has_engine())
        };
        if !self.session(fail.transaction).is_some_and(has_branch) {
            return Err(Refusal::NoSuchBranch);
        }
        if status::is_failed(status) {
            return Ok(Outcome::Now(status));
        }
        let failed = status::failed(status).ok_or(Refusal::Illegal { status })?;
        let outcome = self.become_status(fail.transaction, failed)?;
        self.change(fail.transaction.slot(), |state| {
            state.change(fail.transaction, |session| session.change(fail.branch, |branch| branch.status = fail.status));
        });
        Ok(outcome)
    }

    fn end(&mut self, end: &TransactionV1) -> Result<Outcome, Refusal> {
        let session = match self.live(end.transaction) {
            Ok(session) => session,
            Err(Missing::Ended(status)) => return Ok(Outcome::Now(status)),
            Err(Missing::Refused(refusal)) => return Err(refusal),
        };
        let done = match session.final_status().ok_or(Refusal::Illegal { status: session.status })? {
            GlobalStatus::TimeoutRollbacked if bug!("time_out_ends_as_a_rollback") => GlobalStatus::Rollbacked,
            done => done,
        };
        self.bury(end.transaction, done);
        Ok(Outcome::Now(done))
    }

    /// Of what was never proposed and never will be.
    fn reserved(&self, name: &TransactionV1) -> Result<Outcome, Refusal> {
        Err(Refusal::Illegal { status: self.live_status(name.transaction)? })
    }

    /// The session goes, its tombstone stays. Its owed releases are acknowledged by now; locks of slots that have come
    /// here since go with it all the same, for after this nobody would release them but the audit.
    pub(super) fn bury(&mut self, transaction: TransactionId, status: GlobalStatus) {
        self.release_own(transaction);
        let clock_ms = self.clock_ms;
        self.change(transaction.slot(), |state| state.end(transaction, status, clock_ms));
    }

    /// Moves a session to `to` if the status machine lets it; where it is already, nothing changes.
    pub(super) fn become_status(&mut self, transaction: TransactionId, to: GlobalStatus) -> Result<Outcome, Refusal> {
        let status = self.live_status(transaction)?;
        if status == to {
            return Ok(Outcome::Now(to));
        }
        if !may_become(status, to) {
            return Err(Refusal::Illegal { status });
        }
        self.change(transaction.slot(), |state| state.change(transaction, |session| session.status = to));
        Ok(Outcome::Now(to))
    }

    /// Releases all that a transaction holds in the lock slots of its branches, as far as they are active here.
    pub(super) fn release_own(&mut self, transaction: TransactionId) {
        let slots = self.session(transaction).map(Session::lock_slots).unwrap_or_default();
        for slot in slots {
            self.release(slot, transaction, &ReleaseScope::All);
        }
    }

    /// Releases in a slot, if it is active here and anything is held: a release of nothing must copy nothing.
    pub(super) fn release(&mut self, slot: Slot, transaction: TransactionId, scope: &ReleaseScope) {
        let holds = |state: &SlotState| state.is_active() && state.locks.holds_of(transaction).next().is_some();
        if self.slots.get(slot).is_some_and(holds) {
            self.change(slot, |state| state.locks.release(transaction, scope));
        }
    }

    fn expire(&mut self, count_max: usize) {
        for _ in 0..count_max {
            let Some((ended_clock_ms, transaction)) = self.oldest_tombstone() else { return };
            if self.clock_ms.saturating_sub(ended_clock_ms) < limits::TOMBSTONE_LIFE_MS {
                return;
            }
            sometimes!("tombstone_expired");
            self.change(transaction.slot(), |state| state.forget(transaction));
        }
    }

    fn direction_of(&self, transaction: TransactionId) -> Option<Direction> {
        self.session(transaction).and_then(Session::direction)
    }

    pub(super) fn live_status(&self, transaction: TransactionId) -> Result<GlobalStatus, Refusal> {
        match self.live(transaction) {
            Ok(session) => Ok(session.status),
            Err(Missing::Ended(status)) => Err(Refusal::Illegal { status }),
            Err(Missing::Refused(refusal)) => Err(refusal),
        }
    }

    pub(super) fn live(&self, transaction: TransactionId) -> Result<&Session, Missing> {
        let (state, _) = self.active(transaction.slot()).map_err(Missing::Refused)?;
        let tombstone = || match state.tombstone(transaction) {
            Some(tombstone) => {
                sometimes!("answered_by_a_tombstone");
                Missing::Ended(tombstone.status)
            }
            None => Missing::Refused(Refusal::NoSuchTransaction),
        };
        state.session(transaction).ok_or_else(tombstone)
    }
}

/// Why there is no session to change.
pub(super) enum Missing {
    Ended(GlobalStatus),
    Refused(Refusal),
}
