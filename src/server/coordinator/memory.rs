//! What the groups of this node hold in memory, and what is refused when that is too much.
//!
//! First of all begins, at the budget: what has begun is let to its end. A quarter beyond it, branches and long data of
//! reports, so that no transaction outgrows the node. Never what ends a transaction or asks about one: decisions,
//! phase two, releases, statuses.
//!
//! Alike for each group, whatever the budget is: a group that outgrows its snapshot could not be written any more, so its log
//! would grow for good, and no new replica would get it.
//!
//! Not here: requests that are not answered yet, which have a room of their own (`in_hand`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quorate_core::model::limits::GROUP_STATE_BYTES_MAX;
use quorate_core::model::{ExceptionCode, GroupId};
use quorate_world::time::{Duration, sleep};

use super::ask::Failure;
use super::context::Coordinator;
use super::guard::locked;

/// Between two looks. What comes in meanwhile has its own bound.
const INTERVAL: Duration = Duration::from_millis(250);
/// A report may always bring so much.
const REPORT_BYTES_EASY: usize = 4 << 10;

/// The budget, and what is taken of it.
pub struct Memory {
    budget_bytes: u64,
    group_bytes_max: u64,
    bytes: AtomicU64,
    /// Groups beyond their bound, and how much they take.
    full: Mutex<BTreeMap<GroupId, u64>>,
}

impl Memory {
    /// Nothing is taken yet.
    pub fn new(budget_bytes: u64) -> Memory {
        Memory::bounded(budget_bytes, GROUP_STATE_BYTES_MAX)
    }

    fn bounded(budget_bytes: u64, group_bytes_max: u64) -> Memory {
        Memory { budget_bytes, group_bytes_max, bytes: AtomicU64::new(0), full: Mutex::default() }
    }

    /// So much is taken now, by all groups of the node.
    pub fn note(&self, groups: impl IntoIterator<Item = (GroupId, u64)>) {
        let (mut sum, mut full) = (0, BTreeMap::new());
        for (group, bytes) in groups {
            sum += bytes;
            if bytes > self.group_bytes_max {
                full.insert(group, bytes);
            }
        }
        self.bytes.store(sum, Ordering::Relaxed);
        *locked(&self.full) = full;
    }

    /// What was taken at the last look.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a transaction may begin in this group.
    pub fn begin(&self, group: GroupId) -> Result<(), Failure> {
        self.below(group, |bytes_max| bytes_max, ExceptionCode::BeginFailed)
    }

    /// Whether a branch may join in this group, or take its row locks there.
    pub fn register(&self, group: GroupId) -> Result<(), Failure> {
        self.below(group, with_reserve, ExceptionCode::FailedToAddBranch)
    }

    /// Whether a report may bring this data.
    pub fn report(&self, group: GroupId, application_data: &str) -> Result<(), Failure> {
        if application_data.len() <= REPORT_BYTES_EASY {
            return Ok(());
        }
        self.below(group, with_reserve, ExceptionCode::BranchReportFailed)
    }

    fn below(&self, group: GroupId, bound: fn(u64) -> u64, code: ExceptionCode) -> Result<(), Failure> {
        let (bytes, budget) = (self.bytes(), self.budget_bytes);
        if bytes > bound(budget) {
            let text =
                format!("the server is full: its transactions take {bytes} bytes, memory.budget_bytes is {budget}");
            return Err(Failure::new(code, text));
        }
        match locked(&self.full).get(&group).copied() {
            Some(bytes) if bytes > bound(self.group_bytes_max) => {
                let bytes_max = self.group_bytes_max;
                let text = format!(
                    "group {group} is full: its transactions and locks take {bytes} bytes, and no more than {bytes_max} \
                     are sure to fit into its snapshot"
                );
                Err(Failure::new(code, text))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn with_reserve(bytes_max: u64) -> u64 {
    bytes_max.saturating_add(bytes_max / 4)
}

impl Coordinator {
    /// Looks again and again.
    pub(super) async fn watch_memory(self: Arc<Self>) {
        loop {
            let replicas = self.led.replicas();
            self.memory
                .note(replicas.iter().map(|replica| (replica.group(), replica.read(|state| state.counts().bytes))));
            sleep(INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: GroupId = GroupId(1);
    const OTHER: GroupId = GroupId(2);

    fn codes(memory: &Memory, group: GroupId) -> [Option<ExceptionCode>; 4] {
        let data = "x".repeat(REPORT_BYTES_EASY + 1);
        let code = |result: Result<(), Failure>| result.err().map(|failure| failure.code);
        let reports = [memory.report(group, &data), memory.report(group, "{}")];
        let [long, short] = reports.map(code);
        [code(memory.begin(group)), code(memory.register(group)), long, short]
    }

    const BEGINS: [Option<ExceptionCode>; 4] = [Some(ExceptionCode::BeginFailed), None, None, None];
    const ALL: [Option<ExceptionCode>; 4] = [
        Some(ExceptionCode::BeginFailed),
        Some(ExceptionCode::FailedToAddBranch),
        Some(ExceptionCode::BranchReportFailed),
        None,
    ];

    #[test]
    fn begins_are_refused_first_and_small_reports_never() {
        let memory = Memory::new(1_000);
        assert_eq!(codes(&memory, ONE), [None; 4]);
        memory.note([(ONE, 1), (OTHER, 1_000)]);
        assert_eq!(codes(&memory, ONE), BEGINS);
        memory.note([(ONE, 251), (OTHER, 1_000)]);
        assert_eq!(codes(&memory, ONE), ALL);
        let text = memory.begin(ONE).expect_err("full").message();
        assert!(text.contains("memory.budget_bytes is 1000"), "{text}");
        memory.note([(OTHER, 1_000)]);
        assert_eq!(codes(&memory, ONE), [None; 4]);
    }

    /// However much the node may take.
    #[test]
    fn a_group_stays_within_its_snapshot() {
        let memory = Memory::new(1 << 40);
        memory.note([(ONE, GROUP_STATE_BYTES_MAX), (OTHER, 1)]);
        assert_eq!((codes(&memory, ONE), codes(&memory, OTHER)), ([None; 4], [None; 4]));
        memory.note([(ONE, GROUP_STATE_BYTES_MAX + 1), (OTHER, 1)]);
        assert_eq!((codes(&memory, ONE), codes(&memory, OTHER)), (BEGINS, [None; 4]));
        memory.note([(ONE, GROUP_STATE_BYTES_MAX / 4 * 5 + 1), (OTHER, 1)]);
        assert_eq!((codes(&memory, ONE), codes(&memory, OTHER)), (ALL, [None; 4]));
        let text = memory.begin(ONE).expect_err("full").message();
        assert!(text.contains("group 1 is full") && text.contains("snapshot"), "{text}");
        memory.note([(OTHER, 1)]);
        assert_eq!(codes(&memory, ONE), [None; 4]);
    }
}
