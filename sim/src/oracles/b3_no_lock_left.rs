//! Source: Seata issues 4232, 6932, 6935, 7068 (locks left behind); lock protocol, promise B3 and rule 13.
//!
//! B3, no lock without an owner: an ended transaction has been let out of every lock it was listed with.
//!
//! An orphan, a lock taken late after its release, may stand for a while: the audit removes it, and G2 waits for that.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Step;
use quorate_core::txn::{Command, Outcome};

/// See the page.
pub struct NoLockLeft;

impl Oracle for NoLockLeft {
    fn name(&self) -> &'static str {
        "B3"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let (Command::End(end), Outcome::Now(status)) = (step.command, step.outcome) else { return Ok(()) };
        let listed = |branch| ghost.transaction(end.transaction).is_some_and(|found| found.listed.contains_key(branch));
        let kept = ghost.locks.never_released(end.transaction);
        let Some((branch, resource)) = kept.iter().find(|(branch, _)| listed(branch)) else { return Ok(()) };
        let text = format!("it ends as {status}, and branch {branch} still holds rows of {resource}");
        Err(Finding::about(end.transaction, text).in_group(step.group))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, ended, ghost_with};
    use super::*;
    use quorate_core::model::{BranchId, BranchType, GlobalStatus, hash};

    #[test]
    fn an_end_finds_all_locks_of_the_list_released() {
        let mut ghost = ghost_with(BranchType::AT, "account:1");
        let ends = |ghost: &Ghost| ended(&mut NoLockLeft, ghost, GlobalStatus::Committed);
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1");
        assert!(ends(&ghost).is_err());
        ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1"));
        assert_eq!(ends(&ghost), Ok(()));
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1");
        assert_eq!(ends(&ghost), Ok(()), "a late one: the audit finds it");
        ghost.locks.take(GROUP, FIRST, BranchId(8), "at-1", "account:1");
        assert_eq!(ends(&ghost), Ok(()), "an orphan: the same");
    }
}
