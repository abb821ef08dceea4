//! B3, no lock without an owner: an ended transaction has been let out of every lock it was listed with.
//! Source: Seata issues 4232, 6932, 6935, 7068 (locks left behind); lock protocol, promise B3 and rule 13.
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
