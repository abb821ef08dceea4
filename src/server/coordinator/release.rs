//! Letting row locks go (rules 12 and 13): resent with back-off, routed anew each time, until the owner of the lock slot has
//! applied it. Only an owner acknowledges.

use std::sync::Arc;

use quorate_core::txn::command::ReleaseLocksV1;
use quorate_core::txn::{Command, Outcome, Refusal};
use quorate_world::task;
use quorate_world::time::{Duration, timeout};

use super::begin::unreachable_outcome;
use super::context::{Coordinator, Leader};
use super::events;
use super::message::{Query, Response};
use super::tenure::{Lost, Tenure};

/// An answer is waited for this long before the release is sent again.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// First pause before it is sent again, doubled up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl Coordinator {
    /// Releases, for as long as it takes and the tenure of the transaction's group lasts. Only called for what is owed
    /// (rule 12).
    pub(super) async fn release(&self, owing: &Tenure, release: ReleaseLocksV1) {
        if quorate_world::bug!("lock_kept_at_end") {
            return;
        }
        let mut pause = PAUSE_MIN;
        while !owing.is_over() {
            let changed = self.changed.notified();
            if self.try_release(&release).await.is_ok() {
                let ReleaseLocksV1 { transaction, slot, scope } = release;
                quorate_world::tap!(events::ReleaseCounted { node: self.node, transaction, slot, scope });
                return;
            }
            quorate_core::sometimes!("release_is_repeated");
            if quorate_world::bug!("release_not_repeated") {
                return;
            }
            self.counters.releases_repeated.one();
            _ = timeout(pause, changed).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Releases once, best effort: a branch was given up (rule 9).
    pub(super) fn release_once(self: &Arc<Self>, release: ReleaseLocksV1) {
        let coordinator = self.clone();
        task::spawn(async move { _ = coordinator.try_release(&release).await });
    }

    async fn try_release(&self, release: &ReleaseLocksV1) -> Result<(), Lost> {
        quorate_world::linger!("release_is_sent_late");
        match self.leader_of(release.slot) {
            Leader::Here(tenure) => self.release_at(&tenure, release.clone()).await,
            Leader::There(node, group) => {
                let query = Query::Release(release.clone());
                match self.ask_there(node, group, &query, ANSWER_PATIENCE).await {
                    Ok(Response::Released) => Ok(()),
                    Ok(_) | Err(_) => Err(Lost),
                }
            }
            Leader::Nobody => Err(Lost),
        }
    }

    /// Serves a release in the group that owns the lock slot. `Lost`: it doesn't, which is no acknowledgement.
    pub(super) async fn release_at(&self, tenure: &Arc<Tenure>, release: ReleaseLocksV1) -> Result<(), Lost> {
        match tenure.propose(Command::ReleaseLocks(release)).await? {
            Outcome::Released => Ok(()),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => Err(Lost),
            Outcome::Refused(refusal) => panic!("a release was refused: {refusal}"),
            outcome => unreachable_outcome("ReleaseLocks", &outcome),
        }
    }
}
