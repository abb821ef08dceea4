//! Deadlines of the transactions of one group: one timer, at the earliest of them.
//!
//! The leader decides when to propose a time-out, apply decides whether it is due, both by the group clock. While
//! anything waits for that clock, an entry is stamped now and then, so that a change of leader puts deadlines off by
//! little (design, section 2, "Time").

use std::sync::Arc;

use quorate_core::model::{TransactionId, limits};
use quorate_core::txn::Command;
use quorate_world::select::{Either3, select3};
use quorate_world::time::{Duration, Instant, sleep};

use super::context::Coordinator;
use super::tenure::{Lost, Tenure};

/// Time-outs proposed side by side.
const TIMEOUTS_IN_FLIGHT_MAX: usize = 256;
/// A reading of the clock that is refused as too early is repeated after so much at least.
const TOO_EARLY: Duration = Duration::from_millis(2);
/// What cannot be proposed now is tried again after so much.
const NO_QUORUM: Duration = Duration::from_millis(100);

impl Coordinator {
    /// Runs as long as the tenure.
    pub(super) async fn watch_deadlines(self: Arc<Self>, tenure: Arc<Tenure>) {
        if quorate_world::bug!("deadlines_forgotten_at_failover")
            && tenure.replica.read(|state| state.next_due().is_some())
        {
            return;
        }
        let mut stamped = Instant::now();
        while !tenure.is_over() {
            // Asked for first: a Begin from here on rings.
            tenure.sleeps_until(u64::MAX);
            let (due, awaits_clock) = tenure.replica.read(|state| (state.next_due(), state.awaits_clock()));
            let Ok(now_ms) = tenure.clock_ms() else {
                // Raft knows already that this node leads no more.
                quorate_core::sometimes!("timer_has_no_clock");
                _ = select3(tenure.ended(), tenure.deadlines.notified(), sleep(NO_QUORUM)).await;
                continue;
            };
            match due {
                Some((due_ms, _)) if due_ms <= now_ms => {
                    match self.time_out_all(&tenure, now_ms).await {
                        Ok(false) => {}
                        Ok(true) => {
                            quorate_core::sometimes!("time_out_was_proposed_too_early");
                            sleep(TOO_EARLY).await;
                        }
                        Err(Lost) => {
                            quorate_core::sometimes!("time_out_could_not_be_proposed");
                            sleep(NO_QUORUM).await;
                        }
                    }
                    stamped = Instant::now();
                }
                Some(_) | None => {
                    let interval = Duration::from_millis(limits::STAMP_INTERVAL_MS);
                    let due_ms = due.map_or(u64::MAX, |(due_ms, _)| due_ms);
                    tenure.sleeps_until(due_ms);
                    let until_due = Duration::from_millis(due_ms.saturating_sub(now_ms).min(limits::STAMP_INTERVAL_MS));
                    let woken = select3(tenure.ended(), tenure.deadlines.notified(), sleep(until_due)).await;
                    let quiet = stamped.elapsed() >= interval;
                    if matches!(woken, Either3::Third(())) && awaits_clock && quiet {
                        _ = tenure.propose(Command::Tick).await;
                        stamped = Instant::now();
                    }
                }
            }
        }
    }

    /// Proposes the time-outs of all that is due, side by side. True: one of them was too early.
    async fn time_out_all(self: &Arc<Self>, tenure: &Arc<Tenure>, now_ms: u64) -> Result<bool, Lost> {
        let due: Vec<TransactionId> =
            tenure.replica.read(|state| state.due_until(now_ms).take(TIMEOUTS_IN_FLIGHT_MAX).collect());
        let mut tries = Vec::with_capacity(due.len());
        for transaction in due {
            let (coordinator, tenure) = (self.clone(), tenure.clone());
            tries.push(quorate_world::task::spawn(async move { coordinator.time_out(&tenure, transaction).await }));
        }
        let mut outcomes = Vec::with_capacity(tries.len());
        for outcome in tries {
            outcomes.push(outcome.await.unwrap_or(Err(Lost)));
        }
        let early: Result<Vec<Option<u64>>, Lost> = outcomes.into_iter().collect();
        early.map(|early| early.iter().any(Option::is_some))
    }
}
