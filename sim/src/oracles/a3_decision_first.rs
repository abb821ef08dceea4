//! Source: lock protocol, promise A2 and rule 12; the write-ahead rule of Gray and Reuter, Transaction Processing, 10.3.
//!
//! A3, the decision comes first: no phase-two request leaves before the decision is committed in the owning group.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;

/// See the page.
pub struct DecisionFirst;

impl Oracle for DecisionFirst {
    fn name(&self) -> &'static str {
        "A3"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::PhaseTwoSent { node, transaction, branch, way } = seen else { return Ok(()) };
        if ghost.decision(*transaction).is_some() {
            return Ok(());
        }
        let text = format!("branch {branch} is told to {way:?}, and no replica has applied a decision");
        Err(Finding::about(*transaction, text).at_node(*node))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus, NodeId};
    use quorate_server::coordinator::message::Way;

    #[test]
    fn nobody_is_told_before_it_is_decided() {
        let mut ghost = ghost_with(BranchType::AT, "");
        let sent = Seen::PhaseTwoSent { node: NodeId(1), transaction: FIRST, branch: BRANCH, way: Way::Commit };
        assert!(DecisionFirst.see(&ghost, &sent).is_err());
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::Committing, 5);
        assert_eq!(DecisionFirst.see(&ghost, &sent), Ok(()));
    }
}
