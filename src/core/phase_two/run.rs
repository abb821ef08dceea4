//! What the leader that drives a session knows of its branches. Volatile on purpose: an entry per branch would double
//! the log, and a new leader that asks again does no harm.

use alloc::collections::BTreeMap;

use super::patience::Patience;
use super::verdict::{Reply, Verdict, is_unknown, judge, judge_engine, refusal};
use crate::model::{BranchId, BranchStatus, GlobalStatus};
use crate::txn::{Branch, Direction, Fate, Session};

/// The phase two of one session, as far as this leader has come. Starts empty.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Run {
    /// All steps of a Saga together are [`BranchId::WHOLE`].
    branches: BTreeMap<BranchId, Progress>,
    failed: Option<(BranchId, BranchStatus)>,
    /// The word of an engine, and the status in which it was asked.
    reported: Option<(GlobalStatus, GlobalStatus)>,
    patience: Patience,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Progress {
    at: At,
    /// How often it was asked in vain, or could not be asked.
    attempts: u32,
    /// How often nobody answered.
    silences: u32,
}

/// How far a branch has come.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum At {
    /// To be asked.
    #[default]
    Idle,
    /// Asked, not answered.
    Asked,
    /// Has failed, its back-off runs.
    Later(Why),
    /// Done, in this direction: a Saga that has turned since is not.
    Done(Direction),
}

/// Why a branch is asked again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// No RM answered, or could be asked.
    Silent,
    /// Its database does not know it: it is done, and a leader before this one has heard so, or its phase one still goes on,
    /// and nobody sees anything of it before it commits. Either way it holds up nobody.
    Unknown,
    /// An RM said so.
    Failed,
}

impl Run {
    /// One that waits for so long.
    pub fn new(patience: Patience) -> Run {
        Run { patience, ..Run::default() }
    }

    /// The branch is being asked.
    pub fn asked(&mut self, branch: BranchId) {
        let progress = self.branches.entry(branch).or_default();
        progress.at = At::Asked;
        self.failed = self.failed.filter(|(failed, _)| *failed != branch);
    }

    /// What came of it. After [`Verdict::RetryLater`] the branch waits until [`Run::wake`].
    pub fn answered(&mut self, session: &Session, branch: BranchId, reply: Reply, clock_ms: u64) -> Verdict {
        let is_whole = branch == BranchId::WHOLE && session.has_engine();
        let is_known = is_whole || session.branches.contains_key(&branch);
        let ordered = session.branches.get(&branch).filter(|branch| branch.fate == Fate::CleanUp);
        let wanted = ordered.map(Branch::clean_up_direction).or(session.direction());
        let Some(direction) = wanted.filter(|_| is_known) else {
            return Verdict::RetryLater; // of another session, or before the decision: says nothing
        };
        let verdict = match is_whole {
            true => judge_engine(session, direction, reply),
            false => judge(session, direction, reply, clock_ms, self.patience.xaer_nota_ms),
        };
        let verdict = match verdict {
            // A refusal to clean up fails nothing that was decided.
            Verdict::FailForGood(_) if ordered.is_some() => Verdict::RetryLater,
            verdict => verdict,
        };
        let progress = self.branches.entry(branch).or_default();
        match verdict {
            Verdict::Done => progress.at = At::Done(direction),
            Verdict::FailForGood(status) if progress.at != At::Done(direction) => {
                self.failed = Some((branch, status));
                // If an operator has it deleted before that is in the log, it is asked again.
                progress.at = At::Later(Why::Failed);
            }
            // A late answer to a question that was given up is no news.
            Verdict::RetryLater | Verdict::Reported(_) if progress.at == At::Asked => {
                progress.at = At::Later(match reply {
                    Reply::Nothing | Reply::NotAsked => Why::Silent,
                    Reply::Status(status) if is_unknown(status, direction) => Why::Unknown,
                    Reply::Status(_) => Why::Failed,
                });
                progress.attempts = progress.attempts.saturating_add(1);
                progress.silences = progress.silences.saturating_add(u32::from(reply == Reply::Nothing));
                if let Verdict::Reported(word) = verdict {
                    self.reported = Some((word, session.status));
                }
            }
            Verdict::FailForGood(_) | Verdict::RetryLater | Verdict::Reported(_) => {
                sometimes!("answer_to_a_question_that_was_given_up");
            }
        }
        verdict
    }

    /// Its Saga has turned since the engine was asked: what it said means nothing.
    pub fn answered_in_vain(&mut self, branch: BranchId) {
        if let Some(progress) = self.branches.get_mut(&branch)
            && progress.at == At::Asked
        {
            sometimes!("question_was_answered_in_vain");
            progress.at = At::Idle;
        }
    }

    /// What an engine reported is in the state, or comes too late.
    pub fn noted(&mut self) {
        self.reported = None;
    }

    /// At this reading of the group clock it is given up; nothing: never.
    pub fn gives_up_ms(&self, session: &Session) -> Option<u64> {
        let after_ms = self.gives_up_after_ms(session)?;
        Some(session.aged_at_ms(after_ms))
    }

    /// So long after its begin a session is given up; nothing: never. An AT commit never is, its TM was told Committed.
    pub(super) fn gives_up_after_ms(&self, session: &Session) -> Option<u64> {
        crate::txn::status::given_up(session.status)?;
        match session.direction()? {
            Direction::Commit => self.patience.commit_retry_ms,
            Direction::Rollback => self.patience.rollback_retry_ms,
        }
    }

    /// What a rollback that is given up does with its row locks.
    pub fn unlocks(&self) -> bool {
        self.patience.unlocks
    }

    /// The back-off of a branch is over, or a channel for its resource has appeared: it may be asked again.
    pub fn wake(&mut self, branch: BranchId) {
        if let Some(progress) = self.branches.get_mut(&branch)
            && matches!(progress.at, At::Later(_))
        {
            progress.at = At::Idle;
        }
    }

    /// Branches whose back-off runs.
    pub fn waiting(&self) -> impl Iterator<Item = BranchId> {
        let waiting = self.branches.iter().filter(|(_, progress)| matches!(progress.at, At::Later(_)));
        waiting.map(|(branch, _)| *branch)
    }

    /// How often a branch was asked and did not answer: it may have much to do.
    pub fn silences(&self, branch: BranchId) -> u32 {
        self.branches.get(&branch).map_or(0, |progress| progress.silences)
    }

    /// How often a branch was asked in vain, or could not be asked.
    pub fn attempts(&self, branch: BranchId) -> u32 {
        self.branches.get(&branch).map_or(0, |progress| progress.attempts)
    }

    /// Whether the branch is done in a direction. One that [`super::plan`] passes over never gets here.
    pub fn is_done(&self, branch: BranchId, direction: Direction) -> bool {
        self.at(branch, direction) == At::Done(direction)
    }

    /// How far a branch is on the way in a direction.
    pub(super) fn at(&self, branch: BranchId, direction: Direction) -> At {
        match self.branches.get(&branch).map_or(At::Idle, |progress| progress.at) {
            At::Done(done) if done != direction => At::Idle,
            // It refused for good to go the other way, and its Saga has turned since.
            At::Later(_)
                if self.failed.is_some_and(|(failed, status)| failed == branch && status != refusal(direction)) =>
            {
                sometimes!("saga_has_turned_since_its_engine_refused");
                At::Idle
            }
            at => at,
        }
    }

    pub(super) fn reported(&self) -> Option<(GlobalStatus, GlobalStatus)> {
        self.reported
    }

    /// The branch that has refused for good to go this way.
    pub(super) fn failed(&self, direction: Option<Direction>) -> Option<(BranchId, BranchStatus)> {
        self.failed.filter(|(_, status)| direction.map(refusal) == Some(*status))
    }

    pub(super) fn has_failures(&self) -> bool {
        self.branches.values().any(|progress| progress.attempts > 0)
    }
}
