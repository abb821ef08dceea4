//! Source: lock protocol, rule 13, oracle LK5.
//!
//! LK5, let go first: a commit that is answered within a second is answered when no row is held any more by a branch that was acknowledged,
//! in no group, but for what was acquired once more after it.
//!
//! A lock home that takes longer than a second is not waited for, by the clock of the node, which may run fast. A commit that was asked
//! for twice, because its first answer was lost, is answered as it stands, and one in which an operator has a hand at once. What nobody
//! ever lets go is B3's, which sees it at the end: so this oracle speaks when it is let go, too late, or when the transaction ends.

use super::{Finding, Judgement, Oracle};
use crate::bank::BranchKey;
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{GlobalStatus, TransactionId};
use quorate_core::txn::status::{self, Direction};
use quorate_core::txn::{Command, Outcome};
use quorate_world::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The second of the protocol, on the fastest clock.
const SECOND_AT_LEAST: Duration = Duration::from_millis(850);

/// See the page.
#[derive(Default)]
pub struct LetGoFirst {
    /// When TMs asked for a commit.
    asked: BTreeMap<TransactionId, Duration>,
    /// Those whose decision was asked for once more, or in which an operator has had a hand.
    told_as_they_stand: BTreeSet<TransactionId>,
    /// Branches that got rows after the commit was decided.
    late: BTreeSet<BranchKey>,
    /// What was wrong with an answer.
    early: BTreeMap<TransactionId, Finding>,
}

impl LetGoFirst {
    fn is_told(&mut self, ghost: &Ghost, transaction: TransactionId, told: GlobalStatus) {
        let Some(asked) = self.asked.remove(&transaction) else { return };
        let Some(found) = ghost.transaction(transaction) else { return };
        let commits = [found.decision, status::direction(told)] == [Some(Direction::Commit); 2];
        let took = ghost.now.saturating_sub(asked);
        if !commits || took >= SECOND_AT_LEAST || self.told_as_they_stand.contains(&transaction) {
            return;
        }
        let is_kept = |branch| found.acknowledged.contains(&branch) && !self.late.contains(&(transaction, branch));
        let mut kept = ghost.locks.held_by(transaction).filter(|(branch, _)| is_kept(*branch));
        if let Some((branch, resource)) = kept.next() {
            let text = format!(
                "its commit was answered {told} after {took:?}, when branch {branch} still had its rows of {resource}"
            );
            self.early.insert(transaction, Finding::about(transaction, text));
        }
    }

    fn speak(&mut self, transaction: TransactionId) -> Judgement {
        self.early.remove(&transaction).map_or(Ok(()), Err)
    }
}

impl Oracle for LetGoFirst {
    fn name(&self) -> &'static str {
        "LK5"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        match (step.command, step.outcome) {
            (Command::Decide(decide), Outcome::Standing(_)) => {
                self.told_as_they_stand.insert(decide.transaction);
                Ok(())
            }
            (Command::Operate(operate), Outcome::Now(_)) => {
                self.told_as_they_stand.insert(operate.transaction);
                Ok(())
            }
            (Command::AcquireLocks(acquire), Outcome::Acquired) => {
                if ghost.decision(acquire.transaction) == Some(Direction::Commit) {
                    self.late.insert((acquire.transaction, acquire.branch));
                }
                Ok(())
            }
            (Command::ReleaseLocks(release), Outcome::Released) => self.speak(release.transaction),
            (Command::End(end), Outcome::Now(_)) => self.speak(end.transaction),
            _ => Ok(()),
        }
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::AsksEnd { transaction, commit: true } => _ = self.asked.insert(*transaction, ghost.now),
            Seen::ToldEnd { transaction, commit: true, status } => self.is_told(ghost, *transaction, *status),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, ended, ghost_with, released};
    use super::*;
    use quorate_core::model::{BranchId, BranchType, Fence, hash};
    use quorate_core::txn::command::{AcquireLocksV1, DecideV1, Decision, OperateV1, Operation};

    const ELSEWHERE: BranchId = BranchId(8);

    /// A commit that is decided, of a branch with a row of another group.
    fn decided() -> (Ghost, LetGoFirst) {
        let (mut ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), LetGoFirst::default());
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1");
        ghost.now = Duration::from_secs(5);
        assert_eq!(oracle.see(&ghost, &Seen::AsksEnd { transaction: FIRST, commit: true }), Ok(()));
        let found = ghost.transactions.get_mut(&FIRST).expect("it has begun");
        found.decide(GlobalStatus::AsyncCommitting, 5);
        (ghost, oracle)
    }

    /// It is answered so late, and then its row is let go.
    fn answered(ghost: &mut Ghost, oracle: &mut LetGoFirst, after_ms: u64, status: GlobalStatus) -> Judgement {
        ghost.now += Duration::from_millis(after_ms);
        oracle.see(ghost, &Seen::ToldEnd { transaction: FIRST, commit: true, status })?;
        ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1"));
        released(oracle, ghost)
    }

    #[test]
    fn rows_are_let_go_before_the_answer_or_a_second_has_gone() {
        for status in [GlobalStatus::Committed, GlobalStatus::CommitRetrying] {
            let (mut ghost, mut oracle) = decided();
            assert!(answered(&mut ghost, &mut oracle, 20, status).is_err(), "{status}");
            let (mut ghost, mut oracle) = decided();
            ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1"));
            assert_eq!(answered(&mut ghost, &mut oracle, 20, status), Ok(()), "{status}");
            let (mut ghost, mut oracle) = decided();
            assert_eq!(answered(&mut ghost, &mut oracle, 910, status), Ok(()), "its lock home takes its time");
        }
        let (mut ghost, mut oracle) = decided();
        let rolls_back = answered(&mut ghost, &mut oracle, 20, GlobalStatus::TimeoutRollbacking);
        assert_eq!(rolls_back, Ok(()), "no commit");
    }

    #[test]
    fn what_is_never_let_go_is_told_at_the_end() {
        let (ghost, mut oracle) = decided();
        let told = Seen::ToldEnd { transaction: FIRST, commit: true, status: GlobalStatus::Committed };
        assert_eq!(oracle.see(&ghost, &told), Ok(()));
        assert!(ended(&mut oracle, &ghost, GlobalStatus::Committed).is_err());
    }

    #[test]
    fn who_was_not_acknowledged_or_came_late_is_an_orphan() {
        let (mut ghost, mut oracle) = decided();
        ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1"));
        ghost.locks.take(GROUP, FIRST, ELSEWHERE, "at-2", "account:1");
        assert_eq!(answered(&mut ghost, &mut oracle, 20, GlobalStatus::Committed), Ok(()));

        let (mut ghost, mut oracle) = decided();
        let (resource, lock_keys) = ("at-1".to_owned(), "account:1".to_owned());
        let again = AcquireLocksV1 { transaction: FIRST, branch: BRANCH, fence: Fence::default(), resource, lock_keys };
        let command = Command::AcquireLocks(again);
        let late = Step { group: GROUP, command: &command, outcome: &Outcome::Acquired };
        assert_eq!(oracle.step(&ghost, &late), Ok(()));
        assert_eq!(answered(&mut ghost, &mut oracle, 20, GlobalStatus::Committed), Ok(()));
    }

    #[test]
    fn what_is_asked_for_twice_or_stopped_is_answered_as_it_stands() {
        let again = Command::Decide(DecideV1 { transaction: FIRST, decision: Decision::Commit });
        let stop = Command::Operate(OperateV1 { transaction: FIRST, operation: Operation::Stop });
        let status = GlobalStatus::CommitRetrying;
        for (command, outcome) in [(again, Outcome::Standing(status)), (stop, Outcome::Now(status))] {
            let (mut ghost, mut oracle) = decided();
            assert_eq!(oracle.step(&ghost, &Step { group: GROUP, command: &command, outcome: &outcome }), Ok(()));
            assert_eq!(answered(&mut ghost, &mut oracle, 20, status), Ok(()));
        }
    }
}
