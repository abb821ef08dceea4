//! Row locks of a branch, from both ends: T's leader wants them ([`Coordinator::acquire`]), the lock home's leader gives
//! them or says who is in the way ([`Coordinator::acquire_at`]). Rules 4, 5 and 7 of the lock protocol.

use std::sync::Arc;

use quorate_core::model::{GlobalStatus, Slot, TransactionId, hash, lock_key};
use quorate_core::txn::command::AcquireLocksV1;
use quorate_core::txn::status::{self, Direction};
use quorate_core::txn::{Command, Conflict, Outcome, Refusal, Transactions};
use quorate_world::select::{Either2, select2};
use quorate_world::time::{Instant, timeout};

use super::begin::unreachable_outcome;
use super::context::{Coordinator, Leader};
use super::message::{Query, RefusedV1, Response};
use super::nodes;
use super::route::Pause;
use super::tenure::{Lost, Tenure};

/// What the lock home says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Locks {
    /// The rows are held for the branch.
    Acquired,
    /// Somebody is in the way, and held the row already when the lock home was asked: nothing was taken.
    Refused(RefusedV1),
    /// They cannot be had, and never will.
    Unable(String),
}

impl Coordinator {
    /// Asks the lock home, wherever it is now, until it has answered; nothing: not until then, and the locks may be taken.
    pub(super) async fn acquire(&self, locks: &AcquireLocksV1, until: Instant) -> Option<Locks> {
        let slot = hash::lock_slot(&locks.resource);
        let mut pause = Pause::new();
        loop {
            let changed = self.changed.notified();
            let answer = match self.leader_of(slot) {
                Leader::Here(tenure) => self.acquire_at(&tenure, locks).await.ok(),
                Leader::There(node, group) => {
                    let patience = until.saturating_duration_since(Instant::now());
                    let query = Query::Acquire(locks.clone());
                    let asked = self.ask_there(node, group, &query, patience);
                    match select2(asked, self.succeeded(group, node)).await {
                        Either2::First(Ok(Response::Acquired)) => Some(Locks::Acquired),
                        Either2::First(Ok(Response::Refused(refused))) => Some(Locks::Refused(refused)),
                        Either2::First(Ok(Response::Unable(why))) => Some(Locks::Unable(why)),
                        Either2::First(Ok(Response::Elsewhere(_))) => {
                            quorate_core::sometimes!("lock_home_is_led_elsewhere");
                            None
                        }
                        Either2::First(Ok(_) | Err(_)) => {
                            quorate_core::sometimes!("lock_home_did_not_answer");
                            None
                        }
                        Either2::Second(()) => {
                            quorate_core::sometimes!("lock_home_is_left_for_the_next_leader");
                            None
                        }
                    }
                }
                Leader::Nobody => {
                    quorate_core::sometimes!("lock_home_has_no_leader");
                    None
                }
            };
            quorate_world::linger!("lock_home_is_heard_late");
            if answer.is_some() {
                return answer;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                quorate_core::sometimes!("lock_home_was_not_heard_in_time");
                return None;
            }
            // The same branch again: the home may have moved, and asking twice does no harm (rule 9).
            _ = timeout(left.min(pause.next()), changed).await;
        }
    }

    /// Serves an acquire in the group that owns the lock slot.
    pub(super) async fn acquire_at(&self, tenure: &Arc<Tenure>, locks: &AcquireLocksV1) -> Result<Locks, Lost> {
        let rows = match lock_key::parse(&locks.lock_keys) {
            Ok(rows) => rows,
            Err(error) => return Ok(Locks::Unable(error.to_string())),
        };
        let slot = hash::lock_slot(&locks.resource);
        let conflict = |transactions: &Transactions| {
            let clock_ms = tenure.clock_ms().unwrap_or(0);
            transactions.owns(slot).map(|_| transactions.conflict(locks.transaction, &locks.resource, &rows, clock_ms))
        };
        let look = || tenure.replica.read(conflict).ok_or(Lost);
        if let Some(conflict) = look()?
            && let Some(refused) = self.refused_early(tenure, slot, conflict, look).await?
        {
            quorate_core::sometimes!("lock_home_refuses_before_the_log");
            return Ok(Locks::Refused(refused));
        }
        if let Err(full) = self.memory.register(tenure.group) {
            return Ok(Locks::Unable(full.message()));
        }
        quorate_world::linger!("acquire_is_proposed_late");
        match tenure.propose(Command::AcquireLocks(locks.clone())).await? {
            Outcome::Acquired => Ok(Locks::Acquired),
            Outcome::Refused(Refusal::Conflict(conflict)) => Ok(Locks::Refused(self.refused(tenure, slot, conflict))),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => Err(Lost),
            Outcome::Refused(refusal) => Ok(Locks::Unable(refusal.to_string())),
            outcome => unreachable_outcome("AcquireLocks", &outcome),
        }
    }

    /// Who is in the way before anything is proposed; nothing: nobody any more. An old no is safe and costs no entry (rule
    /// 5): who hears it tries again. But one because of a holder that rolls back ends the asker's own transaction, so the
    /// leader makes sure that it leads, and looks again.
    pub(super) async fn refused_early(
        &self,
        tenure: &Tenure,
        slot: Slot,
        conflict: Conflict,
        look: impl FnOnce() -> Result<Option<Conflict>, Lost>,
    ) -> Result<Option<RefusedV1>, Lost> {
        let mut refused = self.refused(tenure, slot, conflict);
        if refused.rolling_back && !quorate_world::bug!("fail_fast_is_old_news") {
            tenure.confirm().await?;
            let Some(conflict) = look()? else {
                quorate_core::sometimes!("refusal_to_fail_fast_was_old_news");
                return Ok(None);
            };
            refused = self.refused(tenure, slot, conflict);
        }
        self.counters.lock_conflicts_early.one();
        Ok(Some(refused))
    }

    /// Completes a conflict with what this node knows of its holder.
    pub(super) fn refused(&self, tenure: &Tenure, slot: Slot, conflict: Conflict) -> RefusedV1 {
        self.suspect(tenure, slot, &conflict);
        let rolling_back = tenure.is_rolling_back(conflict.holder) || self.seems_rolling_back(conflict.holder);
        if rolling_back {
            quorate_core::sometimes!("lock_is_held_by_one_that_rolls_back");
        }
        RefusedV1 { conflict, rolling_back }
    }

    /// This node's replica of the holder's group may know, perhaps a little late: good enough for a hint.
    fn seems_rolling_back(&self, holder: TransactionId) -> bool {
        let replica = self.group_of(holder.slot()).and_then(|group| self.led.replica(group));
        replica.is_some_and(|replica| {
            replica.read(|transactions| transactions.standing(holder).is_some_and(is_rolling_back))
        })
    }

    /// Tells the lock homes of a transaction that it rolls back: a hint, neither logged nor waited for.
    pub(super) fn mark_rolling_back(&self, transaction: TransactionId, homes: impl IntoIterator<Item = Slot>) {
        for slot in homes {
            match self.leader_of(slot) {
                Leader::Here(tenure) => tenure.note_rolling_back(transaction),
                Leader::There(node, group) => {
                    nodes::tell(&*self.nodes, node, group, &Query::MarkRollingBack(transaction));
                }
                Leader::Nobody => {}
            }
        }
    }
}

fn is_rolling_back(status: GlobalStatus) -> bool {
    status::direction(status) == Some(Direction::Rollback)
}
