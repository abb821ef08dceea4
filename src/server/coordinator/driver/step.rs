//! The steps of a driver that change the state: releases, the statuses in between, the end (lock protocol, rules 12, 13).

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::model::{BranchId, BranchStatus, GlobalStatus, Slot, TransactionId};
use quorate_core::phase_two::is_skipped;
use quorate_core::txn::command::{BranchV1, FailV1, GiveUpV1, ReleaseLocksV1, ReportV1, TransactionV1};
use quorate_core::txn::status::is_running;
use quorate_core::txn::{Branch, Command, Direction, Fate, Outcome, Refusal, ReleaseScope, Session, Transactions};
use quorate_world::select::select2;
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, sleep, timeout};

use super::super::begin::unreachable_outcome;
use super::super::context::Coordinator;
use super::super::events;
use super::super::tenure::{Lost, Tenure};
use super::Drive;

/// The state has moved on under a step: the next plan waits for so long.
const REFUSED: Duration = Duration::from_secs(1);
/// For so long a lock home is waited for before anything else goes on.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

/// Lock slots of a rollback that was given up.
fn given_up_slots(state: &Transactions, transaction: TransactionId) -> Vec<Slot> {
    state.session(transaction).map(slots_to_unlock).unwrap_or_default()
}

fn slots_to_unlock(session: &Session) -> Vec<Slot> {
    if session.status == GlobalStatus::RollbackRetryTimeout { session.lock_slots() } else { Vec::new() }
}

/// Rollbacks that were given up, by the lock slots in which they have rows. Looked for in a clone, which shares what nobody
/// changes and makes every change copy: it goes before anything waits for a lock home. Others go first between two slots.
async fn given_up(tenure: &Tenure) -> BTreeMap<Slot, Vec<TransactionId>> {
    let state = tenure.replica.read(Transactions::clone);
    let mut given_up: BTreeMap<Slot, Vec<TransactionId>> = BTreeMap::new();
    for (slot, _) in state.slots() {
        for session in state.sessions_in(slot) {
            for home in slots_to_unlock(session) {
                given_up.entry(home).or_default().push(session.transaction);
            }
        }
        task::yield_now().await;
    }
    given_up
}

impl Coordinator {
    /// A new leader lets the row locks of rollbacks go that were given up, where an operator wants that: the one before may
    /// have been lost before it did. One after the other in a lock slot, the lock slots side by side: a lock home that is
    /// away holds up no rows but its own.
    pub(in super::super) async fn unlock_given_up(self: Arc<Self>, tenure: Arc<Tenure>) {
        for (slot, transactions) in given_up(&tenure).await {
            let (coordinator, tenure) = (self.clone(), tenure.clone());
            task::spawn(async move {
                for transaction in transactions {
                    // An operator may have had it tried again meanwhile.
                    if tenure.replica.read(|state| given_up_slots(state, transaction).contains(&slot)) {
                        let release = ReleaseLocksV1 { transaction, slot, scope: ReleaseScope::All };
                        coordinator.release(&tenure, release).await;
                    }
                }
            });
        }
    }
}

impl Drive {
    /// A commit lets all locks go. Those of slots that this group owned at the decision went with it, in its own apply;
    /// where a slot has come here since, the state shows what is left.
    pub(super) async fn release_for_commit(&mut self) {
        let owed: Vec<Slot> = self.tenure.replica.read(|state| {
            let slots = state.session(self.transaction).map(|session| session.lock_slots()).unwrap_or_default();
            let is_owed = |slot: &Slot| match state.owns(*slot) {
                Some(_) => state.holds_of(*slot, self.transaction).next().is_some(),
                None => true,
            };
            slots.into_iter().filter(is_owed).collect()
        });
        if quorate_world::bug!("releases_of_a_commit_are_not_awaited") {
            let (transaction, scope) = (self.transaction, ReleaseScope::All);
            let owed = owed.into_iter().map(|slot| ReleaseLocksV1 { transaction, slot, scope: scope.clone() });
            self.releases = owed.map(|release| self.release_beside(release)).collect();
            return;
        }
        self.release(owed.into_iter().map(|slot| (slot, ReleaseScope::All)).collect()).await;
    }

    /// In rollback the locks of a branch go when it is undone; those of branches with nothing to undo at once.
    pub(super) async fn release_skipped(&mut self) {
        let skipped = self.releases_of(|branch| is_skipped(branch, Direction::Rollback));
        self.release(skipped).await;
    }

    /// The branch is undone.
    pub(super) async fn release_undone(&mut self, undone: BranchId) {
        let release = self.releases_of(|branch| branch.branch == undone);
        self.release(release).await;
    }

    fn releases_of(&self, wanted: impl Fn(&Branch) -> bool) -> Vec<(Slot, ReleaseScope)> {
        self.tenure.replica.read(|state| {
            let session = state.session(self.transaction);
            let branches = session.into_iter().flat_map(|session| session.branches.values());
            branches
                .filter(|branch| wanted(branch))
                .filter_map(|branch| Some((branch.lock_slot()?, ReleaseScope::Branches(vec![branch.branch]))))
                .collect()
        })
    }

    /// Releases side by side. What is not acknowledged within the patience goes on by itself; the end waits for it.
    async fn release(&mut self, wanted: Vec<(Slot, ReleaseScope)>) {
        if wanted.is_empty() {
            return;
        }
        let transaction = self.transaction;
        let mut wanted: Vec<ReleaseLocksV1> =
            wanted.into_iter().map(|(slot, scope)| ReleaseLocksV1 { transaction, slot, scope }).collect();
        // Usually there is one lock home, and it answers: no task for that.
        if let [single] = wanted.as_slice() {
            let release = self.coordinator.release(&self.tenure, single.clone());
            if timeout(RELEASE_PATIENCE, release).await.is_err() {
                quorate_core::sometimes!("lock_home_takes_its_time_to_release");
                self.releases.extend(wanted.pop().map(|release| self.release_beside(release)));
            }
            return;
        }
        if wanted.len() > 1 {
            quorate_core::sometimes!("several_lock_homes_release_side_by_side");
        }
        let mut started: Vec<JoinHandle<()>> = wanted.into_iter().map(|release| self.release_beside(release)).collect();
        let all = async {
            while let Some(release) = started.last_mut() {
                _ = release.await;
                started.pop();
            }
        };
        _ = timeout(RELEASE_PATIENCE, all).await;
        self.releases.append(&mut started);
    }

    fn release_beside(&self, release: ReleaseLocksV1) -> JoinHandle<()> {
        let (coordinator, tenure) = (self.coordinator.clone(), self.tenure.clone());
        task::spawn(async move { coordinator.release(&tenure, release).await })
    }

    /// Whoever waits for its rows with a local transaction open is told not to (semantics, section 3.3).
    pub(super) fn mark_rolling_back(&self) {
        let homes = self
            .tenure
            .replica
            .read(|state| state.session(self.transaction).map(|session| session.lock_slots()).unwrap_or_default());
        self.coordinator.mark_rolling_back(self.transaction, homes);
    }

    /// A failed pass will be repeated: the status says so before the TM is answered.
    pub(super) async fn retry_later(&mut self) -> Result<(), Lost> {
        let retry = Command::Retry(TransactionV1 { transaction: self.transaction });
        if self.change_status("Retry", retry).await? {
            self.answer();
        }
        Ok(())
    }

    /// What the TM waits for is done, AT branches are left: the transaction goes on behind the answer.
    pub(super) async fn detach(&mut self) -> Result<(), Lost> {
        let detach = Command::Detach(TransactionV1 { transaction: self.transaction });
        if self.change_status("Detach", detach).await? {
            self.answer();
        }
        Ok(())
    }

    /// Phase two has failed for good: the session stays for an operator. False: the state has moved on, plan anew.
    ///
    /// The rows of what was undone before are let go first: only this driver knows that it was, and whoever leads next has
    /// nothing to do for a transaction that has failed. A commit owes all its rows, which an audit knows too.
    pub(super) async fn fail(&mut self, branch: BranchId, status: BranchStatus) -> Result<bool, Lost> {
        if self.direction() == Some(Direction::Rollback) {
            self.await_releases().await;
        }
        let fail = Command::Fail(FailV1 { transaction: self.transaction, branch, status });
        if !self.change_status("Fail", fail).await? {
            return Ok(false);
        }
        tracing::error!(transaction = self.transaction.0, branch = branch.0, %status, "phase two failed for good");
        self.answer();
        self.await_releases().await;
        Ok(true)
    }

    /// The RM of a branch that an operator has had deleted has cleaned up. Its row locks went before, or go by themselves; a
    /// transaction that ends waits for that.
    pub(super) async fn cleaned_up(&mut self, branch: BranchId) -> Result<(), Lost> {
        let cleaned = Command::CleanedUp(BranchV1 { transaction: self.transaction, branch });
        if self.change_status("CleanedUp", cleaned).await? {
            let transaction = self.transaction.0;
            tracing::warn!(transaction, branch = branch.0, "deleted: its RM has cleaned up");
        }
        Ok(())
    }

    /// The engine of a Saga has turned it, or has ended it. Where it turned, it is asked again after a pause, to go the
    /// other way.
    pub(super) async fn report(&mut self, status: GlobalStatus, asked: GlobalStatus) -> Result<(), Lost> {
        self.await_releases().await;
        let report = Command::Report(ReportV1 { transaction: self.transaction, status, asked: Some(asked) });
        let before = self.coordinator.meters.before(&self.tenure, self.transaction);
        match self.tenure.insist(report).await? {
            Outcome::Now(status) if !is_running(status) => {
                self.coordinator.counters.ended.one();
                self.coordinator.meters.after(&self.tenure, before, status);
            }
            Outcome::Now(status) => {
                tracing::info!(transaction = self.transaction.0, %status, "the engine of a saga has turned it");
            }
            Outcome::Standing(_) => quorate_core::sometimes!("word_of_an_engine_came_too_late"),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
            // It stands otherwise by now, and the word was to what stood before.
            Outcome::Refused(refusal) => {
                tracing::warn!(transaction = self.transaction.0, %refusal, "Report was refused");
                self.run.noted();
                return Ok(());
            }
            outcome => unreachable_outcome("Report", &outcome),
        }
        self.run.noted();
        self.answer();
        Ok(())
    }

    /// It was tried for as long as an operator wants: the session stays, for an operator. False, and what goes first: as in
    /// [`Drive::fail`].
    ///
    /// Row locks go after it, if they are to go: the log says whether an operator's stop came first, and what he has stopped
    /// keeps them. If this leader is lost in between, the next one lets them go ([`Coordinator::unlock_given_up`]).
    ///
    /// [`Coordinator::unlock_given_up`]: super::super::context::Coordinator::unlock_given_up
    pub(super) async fn give_up(&mut self, after_ms: u64) -> Result<bool, Lost> {
        if self.direction() == Some(Direction::Rollback) {
            self.await_releases().await;
        }
        let give_up = Command::GiveUp(GiveUpV1 { transaction: self.transaction, after_ms });
        if !self.change_status("GiveUp", give_up).await? {
            return Ok(false);
        }
        tracing::error!(transaction = self.transaction.0, after_ms, "phase two was given up");
        if self.run.unlocks() || quorate_world::bug!("given_up_lets_its_locks_go") {
            let owed = self.tenure.replica.read(|state| given_up_slots(state, self.transaction));
            self.release(owed.into_iter().map(|slot| (slot, ReleaseScope::All)).collect()).await;
        }
        self.answer();
        self.await_releases().await;
        Ok(true)
    }

    /// Everything is done, and every release that is owed was acknowledged (rule 13): the transaction ends. False: as in
    /// [`Drive::fail`].
    pub(super) async fn end(&mut self) -> Result<bool, Lost> {
        // What an operator has dropped meanwhile is owed too, whoever lets it go besides.
        let dropped = self.releases_of(|branch| branch.fate == Fate::Dropped);
        self.release(dropped).await;
        self.await_releases().await;
        if self.tenure.is_over() {
            quorate_core::sometimes!("leader_lost_right_before_the_end");
            return Err(Lost);
        }
        let (node, group, transaction) = (self.coordinator.node, self.tenure.group, self.transaction);
        quorate_world::tap!(events::Ending { node, group, transaction });
        if !self.change_status("End", Command::End(TransactionV1 { transaction })).await? {
            return Ok(false);
        }
        self.coordinator.counters.ended.one();
        self.answer();
        Ok(true)
    }

    fn direction(&self) -> Option<Direction> {
        self.tenure.replica.read(|state| state.session(self.transaction)?.direction())
    }

    async fn await_releases(&mut self) {
        for release in std::mem::take(&mut self.releases) {
            // It ends with the tenure at the latest.
            _ = release.await;
        }
    }

    /// False: refused, because somebody else was faster (an operator, a report). The next plan sees what he did, and the
    /// driver stays: whoever goes on with the transaction is this one.
    async fn change_status(&self, name: &str, command: Command) -> Result<bool, Lost> {
        let before = self.coordinator.meters.before(&self.tenure, self.transaction);
        match self.tenure.insist(command).await? {
            Outcome::Now(status) => {
                self.coordinator.meters.after(&self.tenure, before, status);
                Ok(true)
            }
            Outcome::Standing(_) => Ok(true),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => Err(Lost),
            Outcome::Refused(refusal) => {
                quorate_core::sometimes!("step_of_a_driver_is_refused");
                tracing::warn!(transaction = self.transaction.0, %refusal, "{name} was refused");
                _ = select2(self.tenure.ended(), sleep(REFUSED)).await;
                Ok(false)
            }
            outcome => unreachable_outcome(name, &outcome),
        }
    }
}
