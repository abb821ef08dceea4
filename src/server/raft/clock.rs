//! The group clock: milliseconds that pass while the group has a leader.
//!
//! A new leader goes on from the clock of its applied state with its own forward clock; every entry carries the reading, and
//! apply never turns the clock back. So nothing that happens to a wall clock times anything out, and time without a leader
//! is not held against a transaction (design, section 2, "Time").

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use quorate_core::model::Term;
use quorate_core::txn::Stamp;
use quorate_world::time::{self, Instant};

/// The clock of one group on one node. It runs only while the node leads.
#[derive(Default)]
pub(crate) struct GroupClock {
    applied_ms: AtomicU64,
    running: Mutex<Option<Running>>,
}

#[derive(Clone, Copy)]
struct Running {
    term: Term,
    /// The applied clock at `since`.
    base_ms: u64,
    since: Instant,
}

impl GroupClock {
    /// The applied state's clock, after an entry or a snapshot.
    pub fn note_applied(&self, clock_ms: u64) {
        self.applied_ms.fetch_max(clock_ms, Ordering::AcqRel);
    }

    /// This node leads from now on.
    pub fn start(&self, term: Term) {
        let base_ms = self.applied_ms.load(Ordering::Acquire);
        *self.running() = Some(Running { term, base_ms, since: Instant::now() });
    }

    /// This node leads no longer.
    pub fn stop(&self) {
        *self.running() = None;
    }

    /// The reading, and the term it belongs to; nothing while another node leads, or none.
    pub fn now_ms(&self) -> Option<(Term, u64)> {
        let applied_ms = self.applied_ms.load(Ordering::Acquire);
        let mut running = self.running();
        let clock = running.as_mut()?;
        let now_ms = clock.base_ms.saturating_add(millis(clock.since));
        if now_ms < applied_ms {
            quorate_core::sometimes!("group_clock_was_started_too_low");
            // The rest of an earlier leader's entries was applied after this node had begun to lead: it started too low.
            *clock = Running { term: clock.term, base_ms: applied_ms, since: Instant::now() };
            return Some((clock.term, applied_ms));
        }
        Some((clock.term, now_ms))
    }

    /// The stamp for an entry proposed now; nothing if this node does not lead.
    pub fn stamp(&self) -> Option<Stamp> {
        let (_, clock_ms) = self.now_ms()?;
        Some(Stamp { clock_ms, wall_ms: time::wall_ms() })
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use quorate_world::runtime::run_test;
    use quorate_world::time::{Duration, sleep};

    use super::*;

    #[test]
    fn it_runs_only_while_the_node_leads() {
        run_test(async {
            let clock = GroupClock::default();
            clock.note_applied(5_000);
            assert_eq!(clock.now_ms(), None);
            clock.start(Term(3));
            sleep(Duration::from_millis(20)).await;
            let (term, now_ms) = clock.now_ms().expect("leads");
            assert_eq!(term, Term(3));
            assert!((5_020..6_000).contains(&now_ms), "{now_ms}");
            clock.stop();
            assert_eq!(clock.stamp(), None);
        });
    }

    #[test]
    fn entries_of_an_earlier_leader_push_it_forward_and_never_back() {
        run_test(async {
            let clock = GroupClock::default();
            clock.start(Term(1));
            clock.note_applied(90_000);
            let first = clock.stamp().expect("leads").clock_ms;
            assert!((90_000..91_000).contains(&first));
            clock.note_applied(10);
            assert!(clock.stamp().expect("leads").clock_ms >= first);
        });
    }
}
