//! What the groups of this node hold in memory, and what is refused when that is too much.
//!
//! First of all begins, at the budget: what has begun is let to its end. A quarter beyond it, branches and long data of
//! reports, so that no transaction outgrows the node. Never what ends a transaction or asks about one: decisions,
//! phase two, releases, statuses.
//!
//! Not here: requests that are not answered yet, which have a room of their own (`in_hand`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_core::model::ExceptionCode;
use quorate_world::time::{Duration, sleep};

use super::ask::Failure;
use super::context::Coordinator;

/// Between two looks. What comes in meanwhile has its own bound.
const INTERVAL: Duration = Duration::from_millis(250);
/// A report may always bring so much.
const REPORT_BYTES_EASY: usize = 4 << 10;

/// The budget, and what is taken of it.
pub struct Memory {
    budget_bytes: u64,
    bytes: AtomicU64,
}

impl Memory {
    /// Nothing is taken yet.
    pub fn new(budget_bytes: u64) -> Memory {
        Memory { budget_bytes, bytes: AtomicU64::new(0) }
    }

    /// So much is taken now.
    pub fn note(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// What was taken at the last look.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a transaction may begin.
    pub fn begin(&self) -> Result<(), Failure> {
        self.below(self.budget_bytes, ExceptionCode::BeginFailed)
    }

    /// Whether a branch may join.
    pub fn register(&self) -> Result<(), Failure> {
        self.below(self.with_reserve(), ExceptionCode::FailedToAddBranch)
    }

    /// Whether a report may bring this data.
    pub fn report(&self, application_data: &str) -> Result<(), Failure> {
        if application_data.len() <= REPORT_BYTES_EASY {
            return Ok(());
        }
        self.below(self.with_reserve(), ExceptionCode::BranchReportFailed)
    }

    fn with_reserve(&self) -> u64 {
        self.budget_bytes.saturating_add(self.budget_bytes / 4)
    }

    fn below(&self, bytes_max: u64, code: ExceptionCode) -> Result<(), Failure> {
        let bytes = self.bytes();
        if bytes <= bytes_max {
            return Ok(());
        }
        let budget = self.budget_bytes;
        let text = format!("the server is full: its transactions take {bytes} bytes, memory.budget_bytes is {budget}");
        Err(Failure::new(code, text))
    }
}

impl Coordinator {
    /// Looks again and again.
    pub(super) async fn watch_memory(self: Arc<Self>) {
        loop {
            let replicas = self.led.replicas();
            self.memory.note(replicas.iter().map(|replica| replica.read(|state| state.counts().bytes)).sum());
            sleep(INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_are_refused_first_and_small_reports_never() {
        let memory = Memory::new(1_000);
        let data = "x".repeat(REPORT_BYTES_EASY + 1);
        let codes = |memory: &Memory| {
            let code = |result: Result<(), Failure>| result.err().map(|failure| failure.code);
            [memory.begin(), memory.register(), memory.report(&data), memory.report("{}")].map(code)
        };
        assert_eq!(codes(&memory), [None; 4]);
        memory.note(1_001);
        assert_eq!(codes(&memory), [Some(ExceptionCode::BeginFailed), None, None, None]);
        memory.note(1_251);
        let [begin, register, report, small] = codes(&memory);
        assert_eq!((begin, small), (Some(ExceptionCode::BeginFailed), None));
        assert_eq!(register, Some(ExceptionCode::FailedToAddBranch));
        assert_eq!(report, Some(ExceptionCode::BranchReportFailed));
        let text = memory.begin().expect_err("full").message();
        assert!(text.contains("memory.budget_bytes is 1000"), "{text}");
        memory.note(1_000);
        assert_eq!(codes(&memory), [None; 4]);
    }
}
