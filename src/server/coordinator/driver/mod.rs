//! The phase-two driver: carries a decision out, until every branch is done and every owed release acknowledged.
//!
//! One task per decided transaction, at the leader of its group, from replicated state alone: a new leader starts the same
//! task and has no second path. Who was told already is known to the task only; RMs are asked again after a change of
//! leader, which they stand (design, section 5).
//!
//! What holds a transaction up holds up no other: a task that waits for a silent RM, for one that is away, or for a lock
//! home costs its memory. What an RM gets at a time is bounded per channel (`channel`).

mod asked;
mod commit;
mod rest;
mod rollback;
mod send;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::model::{BranchId, BranchStatus, GlobalStatus, Slot, TransactionId};
use quorate_core::txn::command::{FailV1, ReleaseLocksV1, TransactionV1};
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome, Refusal, ReleaseScope};
use quorate_world::sync::oneshot;
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, timeout};

use super::begin::unreachable_outcome;
use super::context::Coordinator;
use super::events;
use super::message::{Untold, Way};
use super::tenure::{Lost, Tenure};

pub use asked::Asked;

/// For so long a lock home is waited for before anything else goes on.
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);

/// One decided transaction and what its task remembers.
struct Drive {
    coordinator: Arc<Coordinator>,
    tenure: Arc<Tenure>,
    transaction: TransactionId,
    /// The TM's request, as long as it waits.
    waiter: Option<oneshot::Sender<()>>,
    /// Branches that are done.
    done: BTreeSet<BranchId>,
    /// Releases that were not acknowledged at once and go on by themselves.
    releases: Vec<JoinHandle<()>>,
    /// Failed passes so far.
    attempts: u32,
}

/// What an RM was brought to say.
enum Told {
    /// The branch is done.
    Done,
    /// It never will be.
    Never(BranchStatus),
    /// Not now.
    Again,
    /// Nothing: it was asked and was silent.
    Silent,
    /// Nothing: nobody is there to be asked.
    Nobody,
}

impl Coordinator {
    /// Starts the driver of a decided transaction, unless it has one. `waiter` is told when the TM may be answered; it is
    /// dropped if there is nothing to wait for.
    pub(super) fn drive(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        waiter: Option<oneshot::Sender<()>>,
    ) {
        tenure.drive(transaction, || {
            let drive = Drive {
                coordinator: self.clone(),
                tenure: tenure.clone(),
                transaction,
                waiter,
                done: BTreeSet::new(),
                releases: Vec::new(),
                attempts: 0,
            };
            task::spawn(drive.run())
        });
    }

    /// Planted bug: phase two before the decision.
    pub(super) fn commit_branches_unasked(self: &Arc<Self>, tenure: &Tenure, transaction: TransactionId) {
        let requests = tenure.replica.read(|state| view::requests(state, transaction, Way::Commit));
        for request in requests {
            let coordinator = self.clone();
            task::spawn(async move { coordinator.reach_rm(&request).await });
        }
    }
}

impl Drive {
    async fn run(mut self) {
        let status = self.status();
        let carried_out = match status.and_then(quorate_core::txn::status::direction) {
            Some(Direction::Commit) => self.commit().await,
            Some(Direction::Rollback) => self.rollback().await,
            None => Ok(()),
        };
        if carried_out == Err(Lost) {
            tracing::debug!(transaction = self.transaction.0, "the driver stops: the leadership is gone");
        }
        self.tenure.driven(self.transaction);
    }

    /// Where the transaction stands in the applied state, as long as it is a session.
    fn status(&self) -> Option<GlobalStatus> {
        self.tenure.replica.read(|state| state.session(self.transaction).map(|session| session.status))
    }

    /// The TM may be answered now.
    fn answer(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            // It may have lost patience.
            _ = waiter.send(());
        }
    }

    /// Asks an RM to commit or roll back one branch.
    async fn ask(&self, way: Way, branch: BranchId) -> Told {
        let request = self.tenure.replica.read(|state| view::request(state, self.transaction, branch, way));
        let Some(request) = request else { return Told::Done };
        if self.attempts > 0 {
            self.coordinator.counters.phase_two_repeated.one();
        }
        match self.coordinator.reach_rm(&request).await {
            Ok(status) => {
                quorate_world::tap!(events::PhaseTwoAnswered {
                    node: self.coordinator.node,
                    transaction: self.transaction,
                    branch,
                    status,
                });
                view::meaning(way, status)
            }
            Err(Untold::Silent) => Told::Silent,
            Err(Untold::NoChannel) => Told::Nobody,
        }
    }

    /// Releases locks in these slots, side by side. What is not acknowledged within the patience goes on by itself.
    async fn release(&mut self, slots: impl IntoIterator<Item = Slot>, scope: &ReleaseScope) {
        let started: Vec<JoinHandle<()>> = slots
            .into_iter()
            .map(|slot| {
                let (coordinator, tenure) = (self.coordinator.clone(), self.tenure.clone());
                let release = ReleaseLocksV1 { transaction: self.transaction, slot, scope: scope.clone() };
                task::spawn(async move { coordinator.release(&tenure, release).await })
            })
            .collect();
        let first = self.releases.len();
        self.releases.extend(started);
        _ = timeout(RELEASE_PATIENCE, async {
            while self.releases.len() > first {
                if let Some(last) = self.releases.last_mut() {
                    _ = last.await;
                }
                self.releases.pop();
            }
        })
        .await;
    }

    /// The transaction ends: everything is done, and here is waited for all releases (rule 13).
    async fn end(&mut self) -> Result<(), Lost> {
        for release in std::mem::take(&mut self.releases) {
            _ = release.await;
        }
        if self.tenure.is_over() {
            return Err(Lost);
        }
        let (node, group, transaction) = (self.coordinator.node, self.tenure.group, self.transaction);
        quorate_world::tap!(events::Ending { node, group, transaction });
        match self.tenure.insist(Command::End(TransactionV1 { transaction })).await? {
            Outcome::Now(_) => self.coordinator.counters.ended.one(),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
            Outcome::Refused(refusal) => tracing::error!(transaction = transaction.0, %refusal, "no end"),
            outcome => unreachable_outcome("End", &outcome),
        }
        self.answer();
        Ok(())
    }

    /// Phase two has failed for good: the session stays for an operator. Releases that are owed still go out.
    async fn fail(&mut self, branch: BranchId, status: BranchStatus) -> Result<(), Lost> {
        let transaction = self.transaction;
        match self.tenure.insist(Command::Fail(FailV1 { transaction, branch, status })).await? {
            Outcome::Now(status) => {
                tracing::error!(transaction = transaction.0, branch = branch.0, %status, "phase two failed for good");
            }
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
            Outcome::Refused(refusal) => tracing::error!(transaction = transaction.0, %refusal, "no failure"),
            outcome => unreachable_outcome("Fail", &outcome),
        }
        self.answer();
        for release in std::mem::take(&mut self.releases) {
            _ = release.await;
        }
        Ok(())
    }

    /// The first pass has failed and the rest will be repeated: the status says so before the TM is answered.
    async fn retry_later(&mut self) -> Result<(), Lost> {
        let status = self.status();
        if matches!(status, Some(GlobalStatus::Committing | GlobalStatus::Rollbacking)) {
            let retry = Command::Retry(TransactionV1 { transaction: self.transaction });
            match self.tenure.insist(retry).await? {
                Outcome::Now(_) => {}
                Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
                Outcome::Refused(refusal) => {
                    tracing::error!(transaction = self.transaction.0, %refusal, "no retrying status");
                }
                outcome => unreachable_outcome("Retry", &outcome),
            }
        }
        self.attempts = self.attempts.saturating_add(1);
        self.answer();
        Ok(())
    }
}
