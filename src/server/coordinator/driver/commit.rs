//! Commit: locks first, then the branches that the TM waits for, one after the other in the order of registration, then
//! the AT branches, one at a time per resource and all resources side by side (semantics, section 2.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::model::{BranchId, BranchStatus, BranchType, GlobalStatus, Slot};
use quorate_core::txn::command::TransactionV1;
use quorate_core::txn::session::Branch;
use quorate_core::txn::{Command, Outcome, Refusal, ReleaseScope};
use quorate_world::task;

use super::super::begin::unreachable_outcome;
use super::super::message::Way;
use super::super::tenure::Lost;
use super::{Drive, Told};

/// Enough of a branch to know whom to wait for.
struct Target {
    branch: BranchId,
    kind: BranchType,
    resource: Arc<str>,
    client: Arc<str>,
}

/// How a lane of branches ended.
enum Lane {
    Done,
    Never(BranchId, BranchStatus),
}

impl Drive {
    pub(super) async fn commit(&mut self) -> Result<(), Lost> {
        let owed = self.owed_at_commit();
        if !owed.is_empty() {
            self.release(owed, &ReleaseScope::All).await;
        }
        if self.status() == Some(GlobalStatus::AsyncCommitting) {
            self.answer();
        }
        if let Lane::Never(branch, status) = self.commit_waited_for().await? {
            return self.fail(branch, status).await;
        }
        self.detach().await?;
        if let Lane::Never(branch, status) = self.commit_rest().await {
            return self.fail(branch, status).await;
        }
        self.end().await
    }

    /// Lock slots that may still hold something of it. Those of this group were released with the decision, in its own
    /// apply; where a slot has come here since, the state shows what is left.
    fn owed_at_commit(&self) -> Vec<Slot> {
        self.tenure.replica.read(|state| {
            let slots = state.session(self.transaction).map(|session| session.lock_slots()).unwrap_or_default();
            let is_owed = |slot: &Slot| match state.owns(*slot) {
                Some(_) => state.holds_of(*slot, self.transaction).next().is_some(),
                None => true,
            };
            slots.into_iter().filter(is_owed).collect()
        })
    }

    fn targets(&self, wanted: impl Fn(&Branch) -> bool) -> Vec<Target> {
        self.tenure.replica.read(|state| {
            let session = state.session(self.transaction);
            let branches = session.into_iter().flat_map(|session| session.branches.values());
            let open = branches.filter(|branch| !self.done.contains(&branch.branch));
            open.filter(|branch| wanted(branch) && !branch.has_failed_phase_one())
                .map(|branch| Target {
                    branch: branch.branch,
                    kind: branch.kind,
                    resource: branch.resource.clone(),
                    client: branch.client.clone(),
                })
                .collect()
        })
    }

    /// Branches that the TM waits for. The first pass stops at the first failure, later ones go on behind a silent RM.
    async fn commit_waited_for(&mut self) -> Result<Lane, Lost> {
        loop {
            let mut failed = None;
            for target in self.targets(|branch| !branch.is_async_committable()) {
                match self.ask(Way::Commit, target.branch).await {
                    Told::Done => _ = self.done.insert(target.branch),
                    Told::Never(status) => return Ok(Lane::Never(target.branch, status)),
                    Told::Again => {
                        failed = Some((target, false));
                        break;
                    }
                    told @ (Told::Silent | Told::Nobody) => {
                        failed = failed.or(Some((target, matches!(told, Told::Nobody))));
                        if self.attempts == 0 {
                            break;
                        }
                    }
                }
            }
            let Some((target, nobody)) = failed else { return Ok(Lane::Done) };
            self.retry_later().await?;
            self.rest(&target.resource, &target.client, target.kind == BranchType::AT, nobody).await;
        }
    }

    /// What the TM waits for is done and AT branches are left: the transaction goes on behind the answer.
    async fn detach(&mut self) -> Result<(), Lost> {
        let is_left = !self.targets(Branch::is_async_committable).is_empty();
        if !is_left || self.status() != Some(GlobalStatus::Committing) {
            return Ok(());
        }
        match self.tenure.insist(Command::Detach(TransactionV1 { transaction: self.transaction })).await? {
            Outcome::Now(_) => {}
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
            Outcome::Refused(refusal) => tracing::error!(transaction = self.transaction.0, %refusal, "no detach"),
            outcome => unreachable_outcome("Detach", &outcome),
        }
        self.answer();
        Ok(())
    }

    /// AT branches: a lane for each resource.
    async fn commit_rest(&mut self) -> Lane {
        let mut lanes: BTreeMap<Arc<str>, Vec<Target>> = BTreeMap::new();
        for target in self.targets(Branch::is_async_committable) {
            lanes.entry(target.resource.clone()).or_default().push(target);
        }
        let last = lanes.pop_last();
        let others: Vec<_> = lanes
            .into_values()
            .map(|lane| {
                let mut drive = self.sibling();
                task::spawn(async move { drive.commit_lane(lane).await })
            })
            .collect();
        let mut end = match last {
            Some((_, lane)) => self.commit_lane(lane).await,
            None => Lane::Done,
        };
        for other in others {
            if let Ok(Lane::Never(branch, status)) = other.await {
                end = Lane::Never(branch, status);
            }
        }
        end
    }

    /// The same transaction, for a lane beside: it shares nothing but the tenure.
    fn sibling(&self) -> Drive {
        Drive {
            coordinator: self.coordinator.clone(),
            tenure: self.tenure.clone(),
            transaction: self.transaction,
            waiter: None,
            done: Default::default(),
            releases: Vec::new(),
            attempts: 0,
        }
    }

    async fn commit_lane(&mut self, lane: Vec<Target>) -> Lane {
        self.attempts = 0;
        for target in lane {
            loop {
                let nobody = match self.ask(Way::Commit, target.branch).await {
                    Told::Done => break,
                    Told::Never(status) => return Lane::Never(target.branch, status),
                    Told::Again | Told::Silent => false,
                    Told::Nobody => true,
                };
                if self.tenure.is_over() {
                    return Lane::Done;
                }
                self.attempts = self.attempts.saturating_add(1);
                self.rest(&target.resource, &target.client, target.kind == BranchType::AT, nobody).await;
            }
        }
        Lane::Done
    }
}
