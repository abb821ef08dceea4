//! What the leader that drives a session knows of its branches. Volatile on purpose: an entry per branch would double
//! the log, and a new leader that asks again does no harm.

use alloc::collections::BTreeMap;

use super::verdict::{Reply, Verdict, judge};
use crate::model::{BranchId, BranchStatus};
use crate::txn::Session;

/// The phase two of one session, as far as this leader has come. Starts empty.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Run {
    branches: BTreeMap<BranchId, Progress>,
    failed: Option<(BranchId, BranchStatus)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Progress {
    at: At,
    /// How often it was asked in vain.
    attempts: u32,
}

/// How far a branch has come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum At {
    /// To be asked.
    #[default]
    Idle,
    /// Asked, not answered.
    Asked,
    /// Has failed, its back-off runs. `heard`: an RM answered.
    Later { heard: bool },
    /// Done.
    Done,
}

impl Run {
    /// The branch is being asked.
    pub fn asked(&mut self, branch: BranchId) {
        let progress = self.branches.entry(branch).or_default();
        if progress.at != At::Done {
            progress.at = At::Asked;
        }
    }

    /// What came of it. After [`Verdict::RetryLater`] the branch waits until [`Run::wake`].
    pub fn answered(&mut self, session: &Session, branch: BranchId, reply: Reply, clock_ms: u64) -> Verdict {
        let Some(direction) = session.direction().filter(|_| session.branches.contains_key(&branch)) else {
            return Verdict::RetryLater; // of another session, or before the decision: says nothing
        };
        let verdict = judge(session, direction, reply, clock_ms);
        let progress = self.branches.entry(branch).or_default();
        match verdict {
            Verdict::Done => progress.at = At::Done,
            Verdict::FailForGood(status) if progress.at != At::Done => self.failed = Some((branch, status)),
            // A late answer to a question that was given up is no news.
            Verdict::RetryLater if progress.at == At::Asked => {
                progress.at = At::Later { heard: matches!(reply, Reply::Status(_)) };
                progress.attempts = progress.attempts.saturating_add(1);
            }
            Verdict::FailForGood(_) | Verdict::RetryLater => {}
        }
        verdict
    }

    /// The back-off of a branch is over, or a channel for its resource has appeared: it may be asked again.
    pub fn wake(&mut self, branch: BranchId) {
        if let Some(progress) = self.branches.get_mut(&branch)
            && matches!(progress.at, At::Later { .. })
        {
            progress.at = At::Idle;
        }
    }

    /// Branches whose back-off runs.
    pub fn waiting(&self) -> impl Iterator<Item = BranchId> {
        let waiting = self.branches.iter().filter(|(_, progress)| matches!(progress.at, At::Later { .. }));
        waiting.map(|(branch, _)| *branch)
    }

    /// How often a branch was asked in vain.
    pub fn attempts(&self, branch: BranchId) -> u32 {
        self.branches.get(&branch).map_or(0, |progress| progress.attempts)
    }

    /// Whether the branch is done. One that [`super::plan`] passes over never gets here.
    pub fn is_done(&self, branch: BranchId) -> bool {
        self.at(branch) == At::Done
    }

    pub(super) fn at(&self, branch: BranchId) -> At {
        self.branches.get(&branch).map_or(At::Idle, |progress| progress.at)
    }

    pub(super) fn failed(&self) -> Option<(BranchId, BranchStatus)> {
        self.failed
    }

    pub(super) fn has_failures(&self) -> bool {
        self.branches.values().any(|progress| progress.attempts > 0)
    }
}
