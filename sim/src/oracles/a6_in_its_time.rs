//! Source: simulation notes, A6; Seata semantics, section 1.4 (time-out before commit, while nothing is decided).
//!
//! A6, in its time: a transaction is rolled back by time-out only after its time, and not committed after it.
//!
//! Judged by the group clock, which may not run ahead of the world's time by more than clocks run wrong. A begin may be
//! applied long after its stamp, so a transaction by itself cannot be held against the world's time. That the time-out
//! comes at all is G1's.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Step;
use quorate_core::model::{GlobalStatus, GroupId};
use quorate_core::txn::{Command, Outcome};
use quorate_world::time::Duration;
use std::collections::BTreeMap;

/// Clocks run wrong by an eighth at most (`plan::draw_options`, `nemesis`),
const CLOCK_ERROR: u32 = 8;
/// and a group's first entry is applied soon after its stamp.
const FIRST_ENTRY_MAX: Duration = Duration::from_secs(5);

/// See the page.
#[derive(Default)]
pub struct InItsTime {
    /// When a group's first command was seen, and what its clock was.
    first: BTreeMap<GroupId, (Duration, u64)>,
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
}

impl Oracle for InItsTime {
    fn name(&self) -> &'static str {
        "A6"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        self.clock_is_no_faster(ghost, step.group)?;
        let (Command::Decide(decide), Outcome::Decided(status)) = (step.command, step.outcome) else { return Ok(()) };
        let Some(found) = ghost.transaction(decide.transaction) else { return Ok(()) };
        let lived_ms = found.decided_clock_ms.saturating_sub(found.begun_clock_ms);
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
    use super::super::tests::{FIRST, GROUP, decided, ghost_with, home};
    use super::*;
    use quorate_core::model::{BranchType, LogId, LogIndex, Term};
    use quorate_core::txn::Batch;
    use quorate_core::txn::command::Stamp;

    /// Its time is a second.
    fn judged(lived_ms: u64, status: GlobalStatus) -> Judgement {
        let mut ghost = ghost_with(BranchType::AT, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decided_clock_ms = lived_ms;
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
