//! Source: Gray and Lamport, Consensus on Transaction Commit, section 2 (stability); lock protocol, promise A2.
//!
//! A2, one decision: of commit and rollback at most one is ever decided, in any group, term or replica, and all act on it.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::TransactionId;
use quorate_core::txn::status::{self, Direction};
use quorate_core::txn::{Command, Outcome};
use quorate_server::coordinator::message::Way;
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct OneDecision {
    decided: BTreeMap<TransactionId, Direction>,
}

impl OneDecision {
    fn judge(&mut self, transaction: TransactionId, way: Direction, who: &str) -> Judgement {
        let first = *self.decided.entry(transaction).or_insert(way);
        if first == way {
            return Ok(());
        }
        Err(Finding::about(transaction, format!("{who} says {way:?}, decided was {first:?}")))
    }
}

impl Oracle for OneDecision {
    fn name(&self) -> &'static str {
        "A2"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let status = match step.outcome {
            Outcome::Decided(status) | Outcome::Standing(status) | Outcome::Now(status) => *status,
            _ => return Ok(()),
        };
        let transaction = match step.command {
            Command::Decide(decide) => decide.transaction,
            Command::Fail(fail) => fail.transaction,
            Command::Operate(operate) => operate.transaction,
            Command::CleanedUp(at) => at.transaction,
            Command::Retry(which) | Command::End(which) | Command::Detach(which) => which.transaction,
            _ => return Ok(()),
        };
        let Some(way) = status::direction(status) else { return Ok(()) };
        if turns(ghost, transaction) {
            return Ok(());
        }
        self.judge(transaction, way, "an applied command").map_err(|found| found.in_group(step.group))
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        if let Seen::DecisionKnown { transaction, .. } | Seen::PhaseTwoSent { transaction, .. } = seen
            && turns(ghost, *transaction)
        {
            return Ok(());
        }
        match seen {
            Seen::DecisionKnown { node, transaction, status, .. } => {
                let Some(way) = status::direction(*status) else { return Ok(()) };
                self.judge(*transaction, way, "a leader").map_err(|found| found.at_node(*node))
            }
            // Without a decision it is A3's.
            Seen::PhaseTwoSent { node, transaction, way, .. } if self.decided.contains_key(transaction) => {
                let way = match way {
                    Way::Commit => Direction::Commit,
                    Way::Rollback => Direction::Rollback,
                };
                self.judge(*transaction, way, "a phase-two request").map_err(|found| found.at_node(*node))
            }
            _ => Ok(()),
        }
    }
}

/// A Saga goes where its engine says (Seata semantics, section 2.4).
fn turns(ghost: &Ghost, transaction: TransactionId) -> bool {
    ghost.transaction(transaction).is_some_and(crate::ghost::transaction::Transaction::is_saga)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, decided, ended, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus, NodeId};

    fn sent(way: Way) -> Seen {
        Seen::PhaseTwoSent { node: NodeId(1), transaction: FIRST, branch: BRANCH, way }
    }

    #[test]
    fn everybody_acts_on_the_one_decision() {
        let (mut oracle, mut ghost) = (OneDecision::default(), ghost_with(BranchType::AT, ""));
        assert_eq!(oracle.see(&ghost, &sent(Way::Rollback)), Ok(()), "which is for A3 to say");
        assert_eq!(decided(&mut oracle, &mut ghost, GlobalStatus::Committing), Ok(()));
        assert_eq!(oracle.see(&ghost, &sent(Way::Commit)), Ok(()));
        assert!(oracle.see(&ghost, &sent(Way::Rollback)).is_err());
        assert_eq!(ended(&mut oracle, &ghost, GlobalStatus::Committed), Ok(()));
        assert!(ended(&mut oracle, &ghost, GlobalStatus::Rollbacked).is_err());
        assert!(decided(&mut oracle, &mut ghost, GlobalStatus::TimeoutRollbacking).is_err(), "a second one");
    }
}
