//! Rollback: one branch at a time, the last one first; what is undone gives its locks back before the next one is asked
//! (semantics, section 2.3; lock protocol, rule 13).

use std::sync::Arc;

use quorate_core::model::{BranchId, BranchType, Slot};
use quorate_core::txn::ReleaseScope;

use super::super::message::Way;
use super::super::tenure::Lost;
use super::{Drive, Told};

/// Enough of a branch to undo it.
struct Target {
    branch: BranchId,
    kind: BranchType,
    resource: Arc<str>,
    client: Arc<str>,
    lock_slot: Option<Slot>,
    /// Its phase one failed: there is nothing to undo, and nobody is asked.
    idle: bool,
}

impl Drive {
    pub(super) async fn rollback(&mut self) -> Result<(), Lost> {
        loop {
            self.mark();
            let mut failed = None;
            for target in self.undone_last_first() {
                let told = match target.idle {
                    true => Told::Done,
                    false => self.ask(Way::Rollback, target.branch).await,
                };
                match told {
                    Told::Done => {
                        self.done.insert(target.branch);
                        self.release(target.lock_slot, &ReleaseScope::Branches(vec![target.branch])).await;
                    }
                    Told::Never(status) => return self.fail(target.branch, status).await,
                    Told::Again | Told::Silent | Told::Nobody => {
                        failed = Some((target, matches!(told, Told::Nobody)));
                        break;
                    }
                }
            }
            let Some((target, nobody)) = failed else { break };
            self.retry_later().await?;
            self.rest(&target.resource, &target.client, target.kind == BranchType::AT, nobody).await;
        }
        self.end().await
    }

    /// Whoever waits for its rows with a local transaction open is told not to (semantics, section 3.3).
    fn mark(&self) {
        let homes = self.tenure.replica.read(|state| {
            state.session(self.transaction).map(|session| session.lock_slots()).unwrap_or_default()
        });
        self.coordinator.mark_rolling_back(self.transaction, homes);
    }

    fn undone_last_first(&self) -> Vec<Target> {
        self.tenure.replica.read(|state| {
            let session = state.session(self.transaction);
            let branches = session.into_iter().flat_map(|session| session.branches.values().rev());
            branches
                .filter(|branch| !self.done.contains(&branch.branch))
                .map(|branch| Target {
                    branch: branch.branch,
                    kind: branch.kind,
                    resource: branch.resource.clone(),
                    client: branch.client.clone(),
                    lock_slot: branch.lock_slot(),
                    idle: branch.has_failed_phase_one(),
                })
                .collect()
        })
    }
}
