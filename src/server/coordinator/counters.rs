//! What the coordinator counts, for the metrics page. Plain atomics: read without a lock, added without a thought.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counted since the process started.
        #[derive(Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)+ }

        /// The counts at one moment.
        #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            /// All of them now; not one instant for all.
            pub fn snapshot(&self) -> Counts {
                Counts { $($name: self.$name.get(),)+ }
            }
        }

        impl Counts {
            /// Names and values, in the order of the source; a name is what stands between `quorate_` and `_total`.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Begin requests.
    begins,
    /// Commit requests.
    commits,
    /// Rollback requests.
    rollbacks,
    /// Status requests.
    status_queries,
    /// Saga reports.
    reports,
    /// BranchRegister requests.
    branch_registers,
    /// BranchReport requests.
    branch_reports,
    /// Lock queries.
    lock_queries,
    /// Answers with a refusal in them.
    refusals,
    /// Requests that ran out of time and were not answered.
    unanswered,
    /// Requests refused because a limit, a decoder or a missing registration stood in the way.
    rejected,
    /// Messages that could not be decoded.
    undecodable,
    /// Requests passed on to another node.
    forwarded,
    /// Requests of other nodes served here.
    served_for_others,
    /// Times a request had to wait for a leader.
    parked,
    /// Branches refused for a row lock.
    lock_conflicts,
    /// Of those, refused before any log entry.
    lock_conflicts_early,
    /// Branches given up.
    branches_given_up,
    /// Decisions taken by a time-out.
    timeouts,
    /// Transactions rolled back early because their TM was gone.
    lost_tm_rollbacks,
    /// Transactions ended.
    ended,
    /// Commits answered before every lock home had released.
    commits_answered_early,
    /// Phase-two requests sent to RMs.
    phase_two_sent,
    /// Of those, again for the same branch.
    phase_two_repeated,
    /// Phase-two requests that joined one which the RM had not answered yet.
    phase_two_joined,
    /// Phase-two answers taken.
    phase_two_answered,
    /// Phase-two requests without an answer in time.
    phase_two_silent,
    /// Phase-two requests sent through another node.
    phase_two_relayed,
    /// Branches parked because no RM is there.
    phase_two_parked,
    /// Answers that a branch is done, taken though nobody waited for them any more.
    answers_late,
    /// Phase-two answers nobody waited for.
    answers_unknown,
    /// Phase-two answers passed on to the node that asked.
    answers_passed_on,
    /// Releases sent again.
    releases_repeated,
    /// Holds asked about by the audit.
    audits_asked,
    /// Holds that the audit found to be orphans.
    orphans_released,
}

/// One count.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_has_all_of_them() {
        let counters = Counters::default();
        counters.begins.one();
        counters.forwarded.add(3);
        let counts = counters.snapshot();
        assert_eq!((counts.begins, counts.forwarded, counts.ended), (1, 3, 0));
        assert!(counts.named().any(|(name, count)| name == "forwarded" && count == 3));
    }
}
