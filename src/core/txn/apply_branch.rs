//! How entries change branches and row locks: the guards of the lock protocol, rules 3, 4, 6, 10 and 12.
//!
//! A branch becomes real in `register_branch` and nowhere else. Its fence must be exactly the current one, so that what
//! a deposed leader proposed is void; that is what makes a "gone" of the audit hold for ever.

use alloc::format;
use alloc::sync::Arc;

use super::bounds;
use super::command::{AcquireLocksV1, BranchV1, RegisterBranchV1, ReleaseLocksV1, ReleaseScope, ReportBranchV1};
use super::fate::Fate;
use super::locks::{Denied, Wanted};
use super::outcome::{Outcome, Refusal};
use super::session::{Branch, Session};
use super::state::Transactions;
use crate::model::hash::lock_slot;
use crate::model::{BranchStatus, BranchType, GlobalStatus, LockKeys, Slot, TransactionId, lock_key};

impl Transactions {
    /// Rules 3 and 6: all guards, then both effects or none. Of a request that is named the first branch joins.
    pub(super) fn register_branch(
        &mut self,
        register: &RegisterBranchV1,
        request: Option<u64>,
    ) -> Result<Outcome, Refusal> {
        let session = self.registering(register)?;
        if let Some(before) = request.and_then(|request| session.registered_by(request))
            && before != register.branch
        {
            return Ok(Outcome::RegisteredBefore(before));
        }
        let rows = match register.kind {
            BranchType::AT => rows_of(&register.lock_keys)?,
            // Only AT branches lock rows (semantics 3).
            BranchType::TCC | BranchType::XA | BranchType::SAGA | BranchType::SAGA_ANNOTATION => LockKeys::new(),
        };
        let present = session.branches.get(&register.branch);
        match present {
            Some(branch) if !is_same(branch, register) => return Err(Refusal::BadBranchId),
            Some(_) => {}
            None => bounds::has_room(session, rows.len())?,
        }
        let is_new = present.is_none();
        let branch = Branch { request, ..branch_of(register, rows.len(), self.clock_ms) };
        if register.with_locks {
            self.take(Wanted {
                transaction: register.transaction,
                branch: register.branch,
                fence: register.fence,
                resource: &branch.resource,
                lock_keys: &branch.lock_keys,
                rows,
            })?;
        }
        if is_new {
            self.change(register.transaction.slot(), |state| {
                state.change(register.transaction, |session| session.add(branch));
            });
        }
        Ok(Outcome::Registered)
    }

    /// The guards of rule 3 that do not need the branch.
    fn registering(&self, register: &RegisterBranchV1) -> Result<&Session, Refusal> {
        let slot = register.transaction.slot();
        let (state, epoch) = self.active(slot)?;
        if register.fence.epoch != epoch {
            return Err(Refusal::NotOwner { epoch: state.seen });
        }
        if register.fence.tenure != self.tenure && !bug!("old_tenure_registers") {
            return Err(Refusal::OldTenure { tenure: self.tenure });
        }
        let session = self.open_to(register.transaction, register.kind)?;
        let dealt = state.ids_from..self.counter;
        let positive = register.branch.0 > 0;
        if !positive || register.branch.slot() != slot || !dealt.contains(&register.branch.sequence()) {
            return Err(Refusal::BadBranchId);
        }
        Ok(session)
    }

    /// Rule 10. The branch was given up, for ever, before anybody was told of it; so its locks may go at once where they
    /// are held here.
    pub(super) fn remove_branch(&mut self, remove: &BranchV1) -> Result<Outcome, Refusal> {
        let session = self.undecided(remove.transaction)?;
        let Some(branch) = session.branches.get(&remove.branch) else {
            sometimes!("removed_branch_was_not_in_the_list");
            return Ok(Outcome::Done);
        };
        if let Some(slot) = branch.lock_slot() {
            self.release(slot, remove.transaction, &ReleaseScope::Branches(alloc::vec![remove.branch]));
        }
        self.change(remove.transaction.slot(), |state| {
            state.change(remove.transaction, |session| session.remove(remove.branch));
        });
        Ok(Outcome::Done)
    }

    /// An RM's report. After the decision only the data is taken: who is told in phase two was part of the decision (an
    /// AT and a failed branch make a commit asynchronous), and a late report must not change it.
    pub(super) fn report_branch(&mut self, report: &ReportBranchV1) -> Result<Outcome, Refusal> {
        let (state, _) = self.active(report.transaction.slot())?;
        let session = state.session(report.transaction).ok_or(Refusal::NoSuchTransaction)?;
        if !session.branches.contains_key(&report.branch) {
            return Err(Refusal::NoSuchBranch);
        }
        // What is said of a Saga's steps decides nothing at any time.
        let is_open = |branch: &Branch| session.status == GlobalStatus::Begin || branch.kind == BranchType::SAGA;
        let is_open = session.branches.get(&report.branch).is_some_and(is_open);
        if !is_open {
            sometimes!("report_after_the_decision_left_its_data_only");
        }
        self.change(report.transaction.slot(), |state| {
            state.change(report.transaction, |session| {
                session.change(report.branch, |branch| {
                    branch.application_data = report.application_data.as_str().into();
                    if is_open {
                        branch.status = report.status;
                    }
                });
            });
        });
        Ok(Outcome::Done)
    }

    /// Rule 4. Where the transaction lives here too, two more guards: it must be undecided, so that an acquire that comes
    /// late leaves no orphan, and a listed branch takes what it is listed with.
    pub(super) fn acquire_locks(&mut self, acquire: &AcquireLocksV1) -> Result<Outcome, Refusal> {
        self.active(lock_slot(&acquire.resource))?;
        if self.owns(acquire.transaction.slot()).is_some() {
            let session = self.undecided(acquire.transaction)?;
            let listed = session.branches.get(&acquire.branch);
            if listed.is_some_and(|branch| !takes(branch, acquire)) {
                return Err(Refusal::BadBranchId);
            }
        }
        let rows = rows_of(&acquire.lock_keys)?;
        self.take(Wanted {
            transaction: acquire.transaction,
            branch: acquire.branch,
            fence: acquire.fence,
            resource: &Arc::from(acquire.resource.as_str()),
            lock_keys: &Arc::from(acquire.lock_keys.as_str()),
            rows,
        })?;
        Ok(Outcome::Acquired)
    }

    /// Rule 12: never acknowledged by a group that does not own the slot.
    pub(super) fn release_locks(&mut self, release: &ReleaseLocksV1) -> Result<Outcome, Refusal> {
        self.active(release.slot)?;
        self.release(release.slot, release.transaction, &release.scope);
        Ok(Outcome::Released)
    }

    /// All rows or none. A conflict is found before a shared slot is copied.
    fn take(&mut self, wanted: Wanted<'_>) -> Result<(), Refusal> {
        let slot: Slot = lock_slot(wanted.resource);
        let (state, _) = self.active(slot)?;
        if wanted.rows.is_empty() {
            return Ok(());
        }
        state.locks.allows(&wanted, self.clock_ms).map_err(|denied| match denied {
            Denied::Conflict(conflict) => Refusal::Conflict(conflict),
            Denied::OtherRows => Refusal::BadBranchId,
        })?;
        let clock_ms = self.clock_ms;
        self.change(slot, |state| state.locks.take(wanted, clock_ms));
        Ok(())
    }

    fn undecided(&self, transaction: TransactionId) -> Result<&Session, Refusal> {
        // The kind of branch that no decided session takes.
        self.open_to(transaction, BranchType::AT)
    }

    fn open_to(&self, transaction: TransactionId, kind: BranchType) -> Result<&Session, Refusal> {
        let (state, _) = self.active(transaction.slot())?;
        let session = state.session(transaction).ok_or(Refusal::NoSuchTransaction)?;
        match session.takes(kind) {
            true => Ok(session),
            false => Err(Refusal::NotActive { status: session.status }),
        }
    }
}

fn rows_of(lock_keys: &str) -> Result<LockKeys, Refusal> {
    lock_key::parse(lock_keys).map_err(|error| Refusal::Limit { limit: format!("{error}") })
}

/// Whether the branch is the one that this command registered before: what a report may change is not compared.
fn is_same(branch: &Branch, register: &RegisterBranchV1) -> bool {
    branch.kind == register.kind
        && *branch.resource == *register.resource
        && *branch.lock_keys == *register.lock_keys
        && *branch.client == *register.client
        && branch.fence == register.fence
}

fn takes(branch: &Branch, acquire: &AcquireLocksV1) -> bool {
    branch.kind == BranchType::AT && *branch.resource == *acquire.resource && *branch.lock_keys == *acquire.lock_keys
}

fn branch_of(register: &RegisterBranchV1, rows: usize, clock_ms: u64) -> Branch {
    Branch {
        branch: register.branch,
        kind: register.kind,
        resource: register.resource.as_str().into(),
        lock_keys: register.lock_keys.as_str().into(),
        rows: u32::try_from(rows).unwrap_or(u32::MAX),
        application_data: register.application_data.as_str().into(),
        client: register.client.as_str().into(),
        fence: register.fence,
        status: BranchStatus::Registered,
        registered_clock_ms: Some(clock_ms),
        request: None,
        fate: Fate::Kept,
    }
}
