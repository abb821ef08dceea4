//! Source: Seata semantics 4 (`UndoLogDelete`).
//!
//! G7, old undo logs go: an RM of each AT resource is asked to delete them, again and again, but for those of the days that
//! are configured. No server knows which resources are AT ones, so the others are asked too.

use super::{Finding, Judgement, Oracle};
use crate::bank::Bank;
use crate::cluster::UNDO_LOG_DAYS;
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::BranchType;
use quorate_world::time::Duration;
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct UndoLogs {
    /// When each resource was asked for the last time.
    asked: BTreeMap<String, Duration>,
}

impl Oracle for UndoLogs {
    fn name(&self) -> &'static str {
        "G7"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::AskedToDelete { kind, resource, save_days } = seen else { return Ok(()) };
        if *kind != BranchType::AT || *save_days != UNDO_LOG_DAYS {
            let text =
                format!("{resource} was asked to delete undo logs of {kind} that are older than {save_days} days");
            return Err(Finding::new(text));
        }
        self.asked.insert(resource.clone(), ghost.now);
        Ok(())
    }

    fn pending(&self, ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        let unasked = |resource: &&String| self.asked.get(*resource).is_none_or(|asked| *asked < ghost.restless_until);
        let resources = ghost.undo_logs.iter().filter(unasked);
        resources.map(|resource| Finding::new(format!("{resource} keeps its old undo logs: nobody asks"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn all_are_asked_when_it_is_calm() {
        let (second, undo_logs) = (Duration::from_secs(1), BTreeSet::from(["at-1".to_owned()]));
        let mut ghost = Ghost { undo_logs, restless_until: second * 9, ..Ghost::default() };
        let mut oracle = UndoLogs::default();
        let mut asks = |at: Duration, kind, resource: &str, save_days| {
            ghost.now = at;
            let judged = oracle.see(&ghost, &Seen::AskedToDelete { kind, resource: resource.to_owned(), save_days });
            (judged.is_ok(), oracle.pending(&ghost, &Bank::default()).len())
        };
        assert_eq!(asks(second * 8, BranchType::AT, "at-1", UNDO_LOG_DAYS), (true, 1), "all may change until then");
        assert_eq!(asks(second * 10, BranchType::AT, "at-1", UNDO_LOG_DAYS + 1), (false, 1));
        assert_eq!(asks(second * 10, BranchType::TCC, "at-1", UNDO_LOG_DAYS), (false, 1));
        assert_eq!(asks(second * 10, BranchType::AT, "tcc-1", UNDO_LOG_DAYS), (true, 1));
        assert_eq!(asks(second * 10, BranchType::AT, "at-1", UNDO_LOG_DAYS), (true, 0));
    }
}
