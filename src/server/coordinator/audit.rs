//! The audit of row locks (rule 14): a lock that stands in somebody's way, or is old, and that nobody owns rightfully any
//! more, is found and released. Safety never depends on it.
//!
//! The lock home's leader asks the leader of the transaction's group; what that one calls gone is gone for ever, so its
//! answer may be late or doubled.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::model::{BranchId, Fence, GroupId, Slot, TransactionId};
use quorate_core::txn::command::ReleaseLocksV1;
use quorate_core::txn::{Conflict, ReleaseScope};
use quorate_world::select::select2;
use quorate_world::time::{Duration, Instant, sleep_until};

use super::context::{Coordinator, Leader};
use super::events;
use super::message::{AuditV1, Query, Response};
use super::tenure::{Lost, Tenure};

/// A lock in somebody's way is looked at from this age on,
const SUSPECT_AFTER_MS: u64 = 2_000;
/// any other from this one on,
const OLD_AFTER_MS: u64 = 60_000;
/// and again after this time.
const ROUND: Duration = Duration::from_secs(60);
/// Holds looked at in one round.
const HOLDS_PER_ROUND_MAX: usize = 10_000;
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Holds of one transaction in one lock slot.
type Holds = BTreeMap<(TransactionId, Slot), Vec<(BranchId, Fence)>>;

impl Coordinator {
    /// Runs as long as the tenure: suspects as they come, everything old once a minute.
    pub(super) async fn audit(self: Arc<Self>, tenure: Arc<Tenure>) {
        if quorate_world::bug!("orphan_locks_never_audited") {
            return;
        }
        let (mut next_round, mut rounds, mut old) = (Instant::now() + ROUND, Rounds::default(), Holds::new());
        loop {
            if old.is_empty() {
                _ = select2(tenure.suspected(), sleep_until(next_round)).await;
            }
            // First those that somebody waits for; an answer may take its time.
            let mut now = holds_of(&tenure, &tenure.take_suspects());
            now.extend(old.pop_first());
            for ((transaction, slot), holds) in now {
                if tenure.is_over() {
                    return;
                }
                self.audit_transaction(&tenure, transaction, slot, holds).await;
            }
            if tenure.is_over() {
                return;
            }
            if old.is_empty() && Instant::now() >= next_round {
                next_round = Instant::now() + ROUND;
                old = old_holds(&tenure, &mut rounds);
                if !old.is_empty() {
                    quorate_core::sometimes!("old_lock_is_audited");
                }
            }
        }
    }

    /// A lock stands in somebody's way.
    pub(super) fn suspect(&self, tenure: &Tenure, slot: Slot, conflict: &Conflict) {
        if conflict.held_ms >= SUSPECT_AFTER_MS {
            quorate_core::sometimes!("old_lock_in_the_way_is_suspected");
            tenure.suspect(conflict.holder, slot);
        }
    }

    async fn audit_transaction(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        slot: Slot,
        holds: Vec<(BranchId, Fence)>,
    ) {
        // Where nobody answers, the hold stays as it is.
        let gone = self.ask_gone(transaction, holds).await.unwrap_or_default();
        quorate_world::linger!("gone_is_heard_late");
        if gone.is_empty() {
            quorate_core::sometimes!("audited_lock_has_its_owner");
        } else {
            quorate_core::sometimes!("audit_releases_an_orphan_lock");
            _ = self.release_gone(tenure, transaction, slot, gone).await;
        }
    }

    /// Asks the leader of a transaction's group which of these branches are gone; nothing: there was no answer.
    pub(super) async fn ask_gone(
        &self,
        transaction: TransactionId,
        holds: Vec<(BranchId, Fence)>,
    ) -> Option<Vec<BranchId>> {
        self.counters.audits_asked.add(holds.len() as u64);
        let audit = AuditV1 { transaction, holds };
        match self.leader_of(transaction.slot()) {
            Leader::Here(asked) => Some(self.gone(&asked, &audit)),
            Leader::There(node, group) => match self.ask_there(node, group, &Query::Audit(audit), PATIENCE).await {
                Ok(Response::Gone(gone)) => Some(gone),
                Ok(_) | Err(_) => {
                    quorate_core::sometimes!("audit_got_no_answer");
                    None
                }
            },
            Leader::Nobody => None,
        }
    }

    /// Lets go what branches hold that are gone.
    pub(super) async fn release_gone(
        &self,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        slot: Slot,
        gone: Vec<BranchId>,
    ) -> Result<(), Lost> {
        self.counters.orphans_released.add(gone.len() as u64);
        tracing::info!(transaction = transaction.0, holds = gone.len(), "releases orphan locks");
        let release = ReleaseLocksV1 { transaction, slot, scope: ReleaseScope::Branches(gone) };
        self.release_at(tenure, release).await
    }

    /// Another group's leader asks about holds of a transaction of this group.
    pub(super) fn serve_audit(&self, group: GroupId, audit: AuditV1) -> Response {
        match self.led.tenure(group) {
            Some(tenure) => Response::Gone(self.gone(&tenure, &audit)),
            None => self.elsewhere(group),
        }
    }

    fn gone(&self, tenure: &Tenure, audit: &AuditV1) -> Vec<BranchId> {
        let transaction = audit.transaction;
        // Pending is looked at first, with the state held afterwards: a branch leaves pending only once its register is
        // applied or void, so what was not pending then is either listed by now or never will be.
        let pending: Vec<bool> = match quorate_world::bug!("audit_ignores_pending") {
            true => vec![false; audit.holds.len()],
            false => audit.holds.iter().map(|(branch, _)| tenure.is_pending(*branch)).collect(),
        };
        let gone: Vec<BranchId> = tenure.replica.read(|state| {
            let asked = audit.holds.iter().zip(pending);
            let is_gone = |(branch, fence): &(BranchId, Fence), pending: bool| {
                state.is_gone(transaction, *branch, *fence, pending).unwrap_or(false)
            };
            asked.filter(|(hold, pending)| is_gone(hold, *pending)).map(|((branch, _), _)| *branch).collect()
        });
        quorate_world::tap!(events::AuditAnswered {
            node: self.node,
            group: tenure.group,
            transaction,
            gone: gone.clone(),
        });
        gone
    }
}

/// Goes through all old holds, so many in a round, also where most of them are rightful and stay.
#[derive(Default)]
struct Rounds {
    /// Looked at in the rounds before.
    passed: usize,
}

impl Rounds {
    /// What the next round looks at. Holds that went since the last one let it miss as many, until it comes by again.
    fn next<T>(&mut self, holds: impl Iterator<Item = T>) -> Vec<T> {
        let next: Vec<T> = holds.skip(self.passed).take(HOLDS_PER_ROUND_MAX).collect();
        self.passed = if next.len() < HOLDS_PER_ROUND_MAX { 0 } else { self.passed + next.len() };
        next
    }
}

fn old_holds(tenure: &Tenure, rounds: &mut Rounds) -> Holds {
    let (mut holds, clock_ms) = (Holds::new(), tenure.clock_ms().unwrap_or(0));
    tenure.replica.read(|state| {
        for hold in rounds.next(state.holds_older_than(OLD_AFTER_MS, clock_ms)) {
            holds.entry((hold.transaction, hold.slot)).or_default().push((hold.branch, hold.fence));
        }
    });
    holds
}

fn holds_of(tenure: &Tenure, suspects: &[(TransactionId, Slot)]) -> Holds {
    let mut holds = Holds::new();
    tenure.replica.read(|state| {
        for (transaction, slot) in suspects {
            for hold in state.holds_of(*slot, *transaction) {
                holds.entry((*transaction, *slot)).or_default().push((hold.branch, hold.fence));
            }
        }
    });
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rightful_holds_hide_no_orphan() {
        let mut rounds = Rounds::default();
        let mut seen: Vec<usize> = (0..3).flat_map(|_| rounds.next(0..25_000)).collect();
        assert_eq!(seen.len(), 25_000);
        seen.dedup();
        assert_eq!(seen, (0..25_000).collect::<Vec<_>>());
        assert_eq!(rounds.next(0..25_000).first(), Some(&0), "from the beginning");
    }
}
