//! Transactions counted as Seata's metrics count them (semantics, section 7.6): by application and transaction service
//! group. The values that the coordinator fills and the metrics page shows, and which change of a status counts as what.
//!
//! Unlike Seata's, a count only rises, and what is told of late is told of the last full minute: who reads changes nothing for
//! those who read beside him, and no event gets the labels of another (W25). Labels come from clients, so there is a bound
//! on them; what is beyond it goes under one pair.
//!
//! Not here: whose clock says how late it is, and locks (`coordinator`); how it is spelled on the page (`admin`).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::model::GlobalStatus::{self, *};
use crate::txn::Session;
use crate::txn::status::{is_running, is_stopped};

/// Pairs of application and service group that are told apart; the others are counted under [`OTHER`].
pub const PAIRS_MAX: usize = 256;
/// A name that is longer is counted under [`OTHER`]: the page has some forty lines for each pair.
pub const LABEL_BYTES_MAX: usize = 128;
/// Application and service group of all that is beyond the bounds.
pub const OTHER: &str = "other";
/// What happens of late is kept by steps of so long.
pub const STEP_S: u64 = 10;
/// So many full steps are the window.
const STEPS: usize = 6;
/// What is told of late is told of this time, up to the end of the last full step.
pub const WINDOW_S: u64 = STEP_S * STEPS as u64;

/// What is counted of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Its TM was told, or may be, that it is committed: an AT commit by the decision, others by their end.
    Committed,
    /// It ended as Rollbacked. One that was rolled back by its time-out is in Seata's count no more than here.
    Rollbacked,
    /// Phase two has failed for good.
    Failed,
    /// Phase two was given up, or the rollback after a time-out has failed for good.
    PhaseTwoTimeout,
    /// A commit has ended; the time is that of its last step.
    AfterCommitted,
    /// A rollback has ended, also one after a time-out.
    AfterRollbacked,
}

impl Event {
    /// All of them, in the order of their declaration.
    pub const ALL: [Event; 6] = [
        Event::Committed,
        Event::Rollbacked,
        Event::Failed,
        Event::PhaseTwoTimeout,
        Event::AfterCommitted,
        Event::AfterRollbacked,
    ];

    /// Whether its time counts from the begin, and not only that of the last step.
    pub const fn is_from_begin(self) -> bool {
        match self {
            Event::Committed | Event::Rollbacked | Event::Failed | Event::PhaseTwoTimeout => true,
            Event::AfterCommitted | Event::AfterRollbacked => false,
        }
    }
}

/// What it counts as that a transaction went from one status to another. Each is counted once, however often phase two was
/// tried: Seata forgets to count as committed or rolled back what did not succeed at the first try.
pub const fn events(before: GlobalStatus, after: GlobalStatus) -> &'static [Event] {
    match (before, after) {
        (AsyncCommitting, AsyncCommitting) => &[],
        (_, AsyncCommitting) => &[Event::Committed],
        // Counted at its decision.
        (AsyncCommitting, Committed) => &[Event::AfterCommitted],
        (_, Committed) => &[Event::Committed, Event::AfterCommitted],
        (_, Rollbacked) => &[Event::Rollbacked, Event::AfterRollbacked],
        (_, TimeoutRollbacked) => &[Event::AfterRollbacked],
        (CommitFailed, CommitFailed)
        | (RollbackFailed, RollbackFailed)
        | (TimeoutRollbackFailed, TimeoutRollbackFailed)
        | (CommitRetryTimeout, CommitRetryTimeout)
        | (RollbackRetryTimeout, RollbackRetryTimeout) => &[],
        (_, CommitFailed | RollbackFailed) => &[Event::Failed],
        (_, TimeoutRollbackFailed | CommitRetryTimeout | RollbackRetryTimeout) => &[Event::PhaseTwoTimeout],
        (
            _,
            UnKnown
            | Begin
            | Committing
            | CommitRetrying
            | Rollbacking
            | RollbackRetrying
            | TimeoutRollbacking
            | TimeoutRollbackRetrying
            | Finished
            | Deleting
            | StopCommitOrCommitRetry
            | StopRollbackOrRollbackRetry,
        ) => &[],
    }
}

/// Whether a transaction is active: neither counted as committed nor failed.
pub const fn is_active(status: GlobalStatus) -> bool {
    let is_open = matches!(status, Begin) || is_running(status) || is_stopped(status);
    is_open && !matches!(status, AsyncCommitting)
}

/// Whose transactions are counted together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Labels {
    /// Application id of the TM.
    pub application: Arc<str>,
    /// Its transaction service group.
    pub service_group: Arc<str>,
}

impl Labels {
    /// Those of a transaction.
    pub fn of(session: &Session) -> Labels {
        Labels { application: session.application.clone(), service_group: session.service_group.clone() }
    }

    fn other() -> Labels {
        Labels { application: OTHER.into(), service_group: OTHER.into() }
    }

    fn is_short(&self) -> bool {
        self.application.len().max(self.service_group.len()) <= LABEL_BYTES_MAX
    }
}

/// What happened in some time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sum {
    /// How often.
    pub count: u64,
    /// How long it took, all together.
    pub total_ms: u64,
    /// How long the longest took.
    pub max_ms: u64,
}

impl Sum {
    fn add(&mut self, more: Sum) {
        self.count += more.count;
        self.total_ms = self.total_ms.saturating_add(more.total_ms);
        self.max_ms = self.max_ms.max(more.max_ms);
    }
}

/// One event of one pair: since the process started, and step by step.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    ever: Sum,
    /// Each with the number of its step; the present one and those of the window.
    steps: [(u64, Sum); STEPS + 1],
}

impl Tally {
    fn add(&mut self, took_ms: u64, step: u64) {
        let one = Sum { count: 1, total_ms: took_ms, max_ms: took_ms };
        self.ever.add(one);
        let (of, sum) = &mut self.steps[(step % (STEPS as u64 + 1)) as usize];
        if *of != step {
            (*of, *sum) = (step, Sum::default());
        }
        sum.add(one);
    }

    fn figures(&self, step: u64) -> Figures {
        let window = step.saturating_sub(STEPS as u64)..step;
        let mut recent = Sum::default();
        self.steps.iter().filter(|(of, _)| window.contains(of)).for_each(|(_, sum)| recent.add(*sum));
        Figures { ever: self.ever, recent }
    }
}

/// One event of one pair, as it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Since the process started.
    pub ever: Sum,
    /// In the window.
    pub recent: Sum,
}

/// What is shown of one pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PairFigures {
    /// Whose transactions.
    pub labels: Labels,
    /// How many are active.
    pub active: u64,
    /// One for each of [`Event::ALL`].
    pub of_events: [Figures; Event::ALL.len()],
}

/// All pairs of a node. None is ever forgotten.
#[derive(Default, Debug)]
pub struct Meters {
    pairs: BTreeMap<Labels, [Tally; Event::ALL.len()]>,
}

impl Meters {
    /// The labels under which transactions with these are counted.
    pub fn place(&mut self, labels: Labels) -> Labels {
        if self.pairs.contains_key(&labels) {
            return labels;
        }
        let placed = if labels.is_short() && self.pairs.len() < PAIRS_MAX { labels } else { Labels::other() };
        self.pairs.entry(placed.clone()).or_default();
        placed
    }

    /// Something happened to a transaction, after so long, in this step.
    pub fn count(&mut self, labels: Labels, event: Event, took_ms: u64, step: u64) {
        let placed = self.place(labels);
        if let Some(tallies) = self.pairs.get_mut(&placed) {
            tallies[event as usize].add(took_ms, step);
        }
    }

    /// All pairs in this step, with the active transactions of each.
    pub fn figures(&self, active: &BTreeMap<Labels, u64>, step: u64) -> Vec<PairFigures> {
        let shown = |(labels, tallies): (&Labels, &[Tally; Event::ALL.len()])| PairFigures {
            labels: labels.clone(),
            active: active.get(labels).copied().unwrap_or(0),
            of_events: tallies.map(|tally| tally.figures(step)),
        };
        self.pairs.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;

    fn labels(application: &str) -> Labels {
        Labels { application: application.into(), service_group: "default_tx_group".into() }
    }

    fn committed(meters: &Meters, application: &str, step: u64) -> Figures {
        let figures = meters.figures(&BTreeMap::new(), step);
        let pair = figures.iter().find(|pair| *pair.labels.application == *application);
        pair.map(|pair| pair.of_events[Event::Committed as usize]).unwrap_or_default()
    }

    #[test]
    fn events_are_in_their_order() {
        for (place, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, place);
        }
    }

    #[test]
    fn every_way_to_the_end_counts_once() {
        let of = |path: &[GlobalStatus]| -> Vec<Event> {
            path.windows(2).flat_map(|step| events(step[0], step[1])).copied().collect()
        };
        use Event::*;
        assert_eq!(of(&[Begin, GlobalStatus::Committed]), [Event::Committed, AfterCommitted]);
        for path in [
            &[Begin, AsyncCommitting, GlobalStatus::Committed][..],
            &[Begin, Committing, GlobalStatus::Committed],
            &[Begin, Committing, CommitRetrying, GlobalStatus::Committed],
            &[Begin, Committing, AsyncCommitting, AsyncCommitting, GlobalStatus::Committed],
        ] {
            assert_eq!(of(path), [Event::Committed, AfterCommitted], "{path:?}");
        }
        let retried = [Begin, Rollbacking, RollbackRetrying, RollbackRetrying, GlobalStatus::Rollbacked];
        assert_eq!(of(&retried), [Event::Rollbacked, AfterRollbacked]);
        assert_eq!(of(&[Begin, TimeoutRollbacking, TimeoutRollbacked]), [AfterRollbacked]);
        assert_eq!(of(&[Begin, Committing, CommitFailed, CommitFailed]), [Failed]);
        assert_eq!(of(&[Begin, Rollbacking, StopRollbackOrRollbackRetry, RollbackFailed]), [Failed]);
        assert_eq!(of(&[Begin, TimeoutRollbacking, TimeoutRollbackFailed]), [PhaseTwoTimeout]);
        assert_eq!(of(&[Begin, CommitRetrying, CommitRetryTimeout]), [PhaseTwoTimeout]);
        assert_eq!(of(&[Begin, RollbackRetrying, RollbackRetryTimeout]), [PhaseTwoTimeout]);
    }

    #[test]
    fn what_is_counted_as_committed_or_failed_is_not_active() {
        for status in [Begin, Committing, RollbackRetrying, TimeoutRollbacking, StopCommitOrCommitRetry] {
            assert!(is_active(status), "{status}");
        }
        for status in [AsyncCommitting, GlobalStatus::Committed, CommitFailed, RollbackRetryTimeout] {
            assert!(!is_active(status), "{status}");
        }
    }

    #[test]
    fn counts_rise_and_the_window_slides() {
        let mut meters = Meters::default();
        meters.count(labels("shop"), Event::Committed, 5, 3);
        meters.count(labels("shop"), Event::Committed, 7, 3);
        meters.count(labels("shop"), Event::Committed, 30, 4);
        let ever = Sum { count: 3, total_ms: 42, max_ms: 30 };
        let nothing = Sum::default();
        let first = Sum { count: 2, total_ms: 12, max_ms: 7 };
        let second = Sum { count: 1, total_ms: 30, max_ms: 30 };
        for (step, recent) in [(3, nothing), (4, first), (5, ever), (9, ever), (10, second), (11, nothing)] {
            assert_eq!(committed(&meters, "shop", step), Figures { ever, recent }, "step {step}");
        }
        // The place of step 4 is taken by step 11.
        meters.count(labels("shop"), Event::Committed, 1, 11);
        let recent = Sum { count: 1, total_ms: 1, max_ms: 1 };
        assert_eq!(committed(&meters, "shop", 12).recent, recent);
    }

    #[test]
    fn the_first_steps_have_no_past() {
        let mut meters = Meters::default();
        meters.count(labels("shop"), Event::Committed, 5, 0);
        assert_eq!(committed(&meters, "shop", 0).recent.count, 0);
        assert_eq!(committed(&meters, "shop", 1).recent.count, 1);
    }

    #[test]
    fn pairs_have_a_bound() {
        let mut meters = Meters::default();
        let long: String = "x".repeat(LABEL_BYTES_MAX + 1);
        for application in 0..PAIRS_MAX + 50 {
            meters.count(labels(&format!("app-{application:04}")), Event::Committed, 1, 0);
        }
        meters.count(labels(&long), Event::Committed, 1, 0);
        let figures = meters.figures(&BTreeMap::new(), 0);
        assert_eq!(figures.len(), PAIRS_MAX + 1);
        assert_eq!(committed(&meters, OTHER, 0).ever.count, 51);
        assert_eq!(committed(&meters, "app-0000", 0).ever.count, 1);
        assert_eq!(meters.place(labels("app-0000")), labels("app-0000"));
        assert_eq!(meters.place(labels("late")), Labels::other());
    }
}
