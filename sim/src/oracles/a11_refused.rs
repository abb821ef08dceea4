//! Source: Seata semantics, 1.3 (G7, G15, G19) and 2.2, 2.3 (Unretryable), acceptance 7.
//!
//! A11, refused: what an RM has refused for good is shown as failed, is nothing else, and nothing fails that nobody has refused.
//!
//! A leader that has heard a refusal writes the failure down before anything else becomes of the transaction; one that loses
//! its leadership before may have its successor ask again, and be told otherwise. An operator may be faster too.

use super::{Finding, Judgement, Oracle};
use crate::bank::BranchKey;
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, BranchStatus, GlobalStatus, NodeId, Term, TransactionId};
use quorate_core::txn::status::{self, Direction};
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct Refused {
    /// What RMs have said.
    said: BTreeSet<(TransactionId, BranchId, BranchStatus)>,
    /// Branches that were heard to be done, and by which leader.
    done: BTreeSet<(BranchKey, (Term, NodeId))>,
    /// The first refusal that a leader has heard, which the log does not show yet.
    heard: BTreeMap<TransactionId, (BranchId, (Term, NodeId))>,
    /// An operator has had a hand in these.
    operated: BTreeSet<TransactionId>,
}

fn refusal(way: Direction) -> BranchStatus {
    match way {
        Direction::Commit => BranchStatus::PhaseTwo_CommitFailed_Unretryable,
        Direction::Rollback => BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
    }
}

fn success(way: Direction) -> BranchStatus {
    match way {
        Direction::Commit => BranchStatus::PhaseTwo_Committed,
        Direction::Rollback => BranchStatus::PhaseTwo_Rollbacked,
    }
}

impl Refused {
    fn hear(&mut self, ghost: &Ghost, node: NodeId, key: BranchKey, status: BranchStatus) {
        let Some(found) = ghost.transaction(key.0) else { return };
        let (Some(way), Some(leader)) = (found.decision, ghost.leaders.get(&found.group)) else { return };
        // From a node that leads no more it says nothing, and of a Saga its engine has a say.
        if leader.1 != node || found.is_saga() || self.operated.contains(&key.0) {
            return;
        }
        if status == success(way) {
            self.done.insert((key, *leader));
        } else if status == refusal(way) && !self.done.contains(&(key, *leader)) {
            self.heard.entry(key.0).or_insert((key.1, *leader));
        }
    }

    fn ends(&self, ghost: &Ghost, transaction: TransactionId, ended: GlobalStatus) -> Judgement {
        let Some((branch, heard_by)) = self.heard.get(&transaction).filter(|_| !status::is_failed(ended)) else {
            return Ok(());
        };
        let leader = ghost.transaction(transaction).and_then(|found| ghost.leaders.get(&found.group));
        if leader != Some(heard_by) {
            return Ok(());
        }
        let text = format!("it ends as {ended}, and node {} has heard branch {branch} refuse for good", heard_by.1);
        Err(Finding::about(transaction, text))
    }
}

impl Oracle for Refused {
    fn name(&self) -> &'static str {
        "A11"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Says { transaction, branch, status } => _ = self.said.insert((*transaction, *branch, *status)),
            Seen::PhaseTwoAnswered { node, transaction, branch, status } => {
                self.hear(ghost, *node, (*transaction, *branch), *status);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let judged = match (step.command, step.outcome) {
            (Command::Fail(fail), Outcome::Now(_)) => {
                self.heard.remove(&fail.transaction);
                let is_said = self.said.contains(&(fail.transaction, fail.branch, fail.status));
                match is_said || fail.branch == BranchId::WHOLE {
                    true => Ok(()),
                    false => {
                        let text =
                            format!("it fails by {} of branch {}, which no RM has said", fail.status, fail.branch);
                        Err(Finding::about(fail.transaction, text))
                    }
                }
            }
            (Command::Operate(operate), Outcome::Now(_)) => {
                self.heard.remove(&operate.transaction);
                self.operated.insert(operate.transaction);
                Ok(())
            }
            (Command::End(end), Outcome::Now(ended)) => self.ends(ghost, end.transaction, *ended),
            _ => Ok(()),
        };
        judged.map_err(|found| found.in_group(step.group))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, ended, ghost_with};
    use super::*;
    use quorate_core::model::BranchType;
    use quorate_core::txn::command::{FailV1, OperateV1, Operation};

    const NEVER: BranchStatus = BranchStatus::PhaseTwo_RollbackFailed_Unretryable;
    const LEADER: (Term, NodeId) = (Term(3), NodeId(1));

    /// It is to be rolled back, and its leader has heard this.
    fn heard(statuses: &[BranchStatus]) -> (Ghost, Refused) {
        let (mut ghost, mut oracle) = (ghost_with(BranchType::TCC, ""), Refused::default());
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::Rollbacking, 5);
        ghost.leaders.insert(GROUP, LEADER);
        for status in statuses {
            let (transaction, branch, status) = (FIRST, BRANCH, *status);
            let said = Seen::Says { transaction, branch, status };
            let answered = Seen::PhaseTwoAnswered { node: LEADER.1, transaction, branch, status };
            assert_eq!([said, answered].map(|seen| oracle.see(&ghost, &seen)), [Ok(()), Ok(())]);
        }
        (ghost, oracle)
    }

    fn step(oracle: &mut Refused, ghost: &Ghost, command: &Command, status: GlobalStatus) -> Judgement {
        oracle.step(ghost, &Step { group: GROUP, command, outcome: &Outcome::Now(status) })
    }

    fn fail(oracle: &mut Refused, ghost: &Ghost) -> Judgement {
        let fail = Command::Fail(FailV1 { transaction: FIRST, branch: BRANCH, status: NEVER });
        step(oracle, ghost, &fail, GlobalStatus::RollbackFailed)
    }

    #[test]
    fn a_refusal_is_a_failure_before_it_is_anything_else() {
        use BranchStatus::{PhaseTwo_RollbackFailed_Retryable, PhaseTwo_Rollbacked};
        let ends = |oracle: &mut Refused, ghost: &Ghost| ended(oracle, ghost, GlobalStatus::Rollbacked);
        let (ghost, mut oracle) = heard(&[NEVER, PhaseTwo_Rollbacked]);
        assert!(ends(&mut oracle, &ghost).is_err(), "it was asked again");
        let (ghost, mut oracle) = heard(&[NEVER]);
        assert_eq!(fail(&mut oracle, &ghost), Ok(()));
        assert_eq!(ends(&mut oracle, &ghost), Ok(()), "and then it was tried again");
        for innocent in [vec![PhaseTwo_RollbackFailed_Retryable], vec![PhaseTwo_Rollbacked, NEVER]] {
            let (ghost, mut oracle) = heard(&innocent);
            assert_eq!(ends(&mut oracle, &ghost), Ok(()), "{innocent:?}");
        }
    }

    #[test]
    fn another_leader_or_an_operator_may_know_better() {
        let (mut ghost, mut oracle) = heard(&[NEVER]);
        ghost.leaders.insert(GROUP, (Term(4), NodeId(2)));
        assert_eq!(ended(&mut oracle, &ghost, GlobalStatus::Rollbacked), Ok(()));
        let (ghost, mut oracle) = heard(&[NEVER]);
        let operate = Command::Operate(OperateV1 { transaction: FIRST, operation: Operation::CleanUpBranch(BRANCH) });
        assert_eq!(step(&mut oracle, &ghost, &operate, GlobalStatus::Rollbacking), Ok(()));
        assert_eq!(ended(&mut oracle, &ghost, GlobalStatus::Rollbacked), Ok(()));
    }

    #[test]
    fn nothing_fails_that_nobody_has_refused() {
        let (ghost, mut oracle) = heard(&[BranchStatus::PhaseTwo_RollbackFailed_Retryable]);
        assert!(fail(&mut oracle, &ghost).is_err());
    }
}
