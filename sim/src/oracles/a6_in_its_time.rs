//! Source: simulation notes, A6; Seata semantics, section 1.4 (time-out before commit, while nothing is decided).
//!
//! A6, in its time: a transaction is rolled back by time-out only after its time, and not committed after it; given up only when it has failed for
//! as long as it may, and an XA branch that its database does not know is taken for done only when its window is over.
//!
//! Judged by the group clock, which may not run ahead of the world's time by more than clocks run wrong. A begin may be
//! applied long after its stamp, so a transaction by itself cannot be held against the world's time. That the time-out
//! comes at all is G1's.

use super::{Finding, Judgement, Oracle};
use crate::bank::BranchKey;
use crate::ghost::Ghost;
use crate::ghost::transaction::{Listed, Transaction};
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchStatus, BranchType, GlobalStatus, GroupId, TransactionId};
use quorate_core::txn::{Command, Outcome, status};
use quorate_world::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Clocks run wrong by an eighth at most (`plan::draw_options`, `nemesis`),
const CLOCK_ERROR: u32 = 8;
/// and a group's first entry is applied soon after its stamp.
const FIRST_ENTRY_MAX: Duration = Duration::from_secs(5);

/// See the page.
#[derive(Default)]
pub struct InItsTime {
    /// When a group's first command was seen, and what its clock was.
    first: BTreeMap<GroupId, (Duration, u64)>,
    /// Branches whose RM has said that they are done.
    done: BTreeSet<BranchKey>,
    /// An operator has had a hand in these: he may have a branch left out.
    operated: BTreeSet<TransactionId>,
}

impl InItsTime {
    fn clock_is_no_faster(&mut self, ghost: &Ghost, group: GroupId) -> Judgement {
        let Some(clock_ms) = ghost.groups.get(&group).map(|found| found.model.clock_ms()) else { return Ok(()) };
        let (began, first_ms) = *self.first.entry(group).or_insert((ghost.now, clock_ms));
        let passed = ghost.now.saturating_sub(began) + FIRST_ENTRY_MAX;
        let most = passed + passed / CLOCK_ERROR;
        let clock = Duration::from_millis(clock_ms.saturating_sub(first_ms));
        if clock <= most {
            return Ok(());
        }
        Err(Finding::new(format!("its clock has gone on by {clock:?} in {passed:?}")).in_group(group))
    }

    /// Given up, in either direction.
    fn given_up(ghost: &Ghost, group: GroupId, transaction: TransactionId, status: GlobalStatus) -> Judgement {
        let patience_ms = match status {
            GlobalStatus::CommitRetryTimeout => ghost.patience.commit_retry_ms,
            GlobalStatus::RollbackRetryTimeout => ghost.patience.rollback_retry_ms,
            _ => return Ok(()),
        };
        let Some((found, lived_ms)) = lived(ghost, group, transaction) else { return Ok(()) };
        if patience_ms.is_some_and(|patience_ms| lived_ms >= patience_ms) {
            return Ok(());
        }
        let text = format!("{} becomes {status} after {lived_ms} ms, wanted is {patience_ms:?}", found.name);
        Err(Finding::about(transaction, text))
    }

    /// It ends as decided: who has not said that he has done it is one that his database has not known for long.
    fn knows_its_branches(&self, ghost: &Ghost, group: GroupId, transaction: TransactionId) -> Judgement {
        let Some((found, lived_ms)) = lived(ghost, group, transaction) else { return Ok(()) };
        let window_ms = found.timeout_ms + found.timeout_ms.max(ghost.patience.xaer_nota_ms);
        if lived_ms > window_ms || self.operated.contains(&transaction) {
            return Ok(());
        }
        let is_asked =
            |listed: &Listed| listed.kind == BranchType::XA && listed.status != BranchStatus::PhaseOne_RDONLY;
        let unknown = found.listed.iter().find(|(branch, listed)| {
            is_asked(listed) && !found.has_failed(**branch) && !self.done.contains(&(transaction, **branch))
        });
        let Some((branch, _)) = unknown else { return Ok(()) };
        let text = format!("it ends after {lived_ms} of {window_ms} ms, and XA branch {branch} has never been done");
        Err(Finding::about(transaction, text))
    }
}

/// So long a transaction has lived, by its group's clock.
fn lived(ghost: &Ghost, group: GroupId, transaction: TransactionId) -> Option<(&Transaction, u64)> {
    let clock_ms = ghost.groups.get(&group).map(|found| found.model.clock_ms())?;
    let found = ghost.transaction(transaction)?;
    let lived_ms = i64::try_from(clock_ms).unwrap_or(i64::MAX) - found.begun_clock_ms;
    Some((found, u64::try_from(lived_ms).unwrap_or(0)))
}

impl Oracle for InItsTime {
    fn name(&self) -> &'static str {
        "A6"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        if let Seen::Says { transaction, branch, status } = seen
            && matches!(status, BranchStatus::PhaseTwo_Committed | BranchStatus::PhaseTwo_Rollbacked)
        {
            self.done.insert((*transaction, *branch));
        }
        Ok(())
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        self.clock_is_no_faster(ghost, step.group)?;
        match (step.command, step.outcome) {
            (Command::GiveUp(at), Outcome::Now(status)) => {
                return Self::given_up(ghost, step.group, at.transaction, *status)
                    .map_err(|found| found.in_group(step.group));
            }
            (Command::End(ends), Outcome::Now(ended)) if !status::is_failed(*ended) => {
                return self
                    .knows_its_branches(ghost, step.group, ends.transaction)
                    .map_err(|found| found.in_group(step.group));
            }
            (Command::Operate(operate), _) => _ = self.operated.insert(operate.transaction),
            _ => {}
        }
        let (Command::Decide(decide), Outcome::Decided(status)) = (step.command, step.outcome) else { return Ok(()) };
        let Some(found) = ghost.transaction(decide.transaction) else { return Ok(()) };
        let lived_ms = u64::try_from(found.decided_clock_ms - found.begun_clock_ms).unwrap_or(0);
        let is_due = lived_ms >= found.timeout_ms;
        let right = match status {
            GlobalStatus::TimeoutRollbacking => is_due,
            GlobalStatus::Committing | GlobalStatus::AsyncCommitting => !is_due,
            _ => true,
        };
        if right {
            return Ok(());
        }
        let text = format!("it has lived {lived_ms} of {} ms, and becomes {status}", found.timeout_ms);
        Err(Finding::about(decide.transaction, text).in_group(step.group))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, decided, ended, ghost_with, given_up, home};
    use super::*;
    use quorate_core::model::{LogId, LogIndex, Term};
    use quorate_core::phase_two::Patience;
    use quorate_core::txn::Batch;
    use quorate_core::txn::command::Stamp;

    /// Its time is a second.
    fn judged(lived_ms: u64, status: GlobalStatus) -> Judgement {
        let mut ghost = ghost_with(BranchType::AT, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decided_clock_ms = lived_ms as i64;
        decided(&mut InItsTime::default(), &mut ghost, status)
    }

    #[test]
    fn a_time_out_comes_after_its_time_and_a_commit_before() {
        assert_eq!(judged(1_000, GlobalStatus::TimeoutRollbacking), Ok(()));
        assert_eq!(judged(999, GlobalStatus::AsyncCommitting), Ok(()));
        assert_eq!(judged(5_000, GlobalStatus::Rollbacking), Ok(()), "asked for, whenever");
        assert!(judged(999, GlobalStatus::TimeoutRollbacking).is_err());
        assert!(judged(1_000, GlobalStatus::AsyncCommitting).is_err());
    }

    /// The group has its clock at this.
    fn at(clock_ms: u64) -> Ghost {
        let mut ghost = home("");
        let batch = Batch { stamp: Stamp { clock_ms, wall_ms: 0 }, commands: vec![Command::Tick] };
        assert!(ghost.apply(GROUP, LogId { term: Term(1), index: LogIndex(2) }, &batch).is_some());
        ghost
    }

    #[test]
    fn nothing_is_given_up_before_its_time() {
        let judged = |clock_ms, rollback_retry_ms| {
            let mut ghost = at(clock_ms);
            ghost.patience.rollback_retry_ms = rollback_retry_ms;
            given_up(&mut InItsTime::default(), &mut ghost, false)
        };
        assert_eq!(judged(15_000, Some(15_000)), Ok(()));
        assert!(judged(14_999, Some(15_000)).is_err());
        assert!(judged(90_000, None).is_err(), "never");
    }

    #[test]
    fn an_unknown_branch_is_asked_until_its_window_is_over() {
        let ends = |clock_ms, said: Option<BranchStatus>| {
            let (mut ghost, mut oracle) = (at(clock_ms), InItsTime::default());
            let xa = ghost_with(BranchType::XA, "");
            ghost.transactions = xa.transactions;
            ghost.patience = Patience { xaer_nota_ms: 45_000, ..Patience::DEFAULT };
            if let Some(status) = said {
                let says = Seen::Says { transaction: FIRST, branch: BRANCH, status };
                assert_eq!(oracle.see(&ghost, &says), Ok(()));
            }
            ended(&mut oracle, &ghost, GlobalStatus::Rollbacked)
        };
        assert_eq!(ends(46_001, None), Ok(()), "a second and the window");
        assert_eq!(ends(2_000, Some(BranchStatus::PhaseTwo_Rollbacked)), Ok(()));
        assert!(ends(46_000, None).is_err());
        assert!(ends(2_000, Some(BranchStatus::PhaseTwo_RollbackFailed_XAER_NOTA_Retryable)).is_err());
    }

    #[test]
    fn the_clock_of_a_group_does_not_run_ahead() {
        let judged = |clock_ms: u64, world_s: u64| {
            let (mut ghost, mut oracle) = (home(""), InItsTime::default());
            oracle.clock_is_no_faster(&ghost, GROUP)?;
            let stamp = Stamp { clock_ms, wall_ms: 0 };
            let at = LogId { term: Term(1), index: LogIndex(2) };
            assert!(ghost.apply(GROUP, at, &Batch { stamp, commands: vec![Command::Tick] }).is_some());
            ghost.now = Duration::from_secs(world_s);
            oracle.clock_is_no_faster(&ghost, GROUP)
        };
        assert_eq!(judged(60_000, 60), Ok(()));
        assert_eq!(judged(1_000, 60), Ok(()), "it may stand");
        assert!(judged(3_600_000, 60).is_err());
    }
}
