//! Source: lock protocol, rules 1, 3, 9, 11, 14 and 15, oracle LK6.
//!
//! LK6, gone for ever: a branch that an audit was told is gone, while nothing was decided or its rollback went on, is never
//! acknowledged, neither earlier nor later; nor is one that was given up. What an earlier leader proposed is void once the next has
//! begun, else what was gone might come back; and the next is whoever leads, again too.
//!
//! What an operator has done with is gone too, whatever was acknowledged before.

use super::{Finding, Judgement, Oracle};
use crate::bank::BranchKey;
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, GroupId, NodeId, Term, TransactionId};
use quorate_core::txn::command::{OperateV1, Operation, RegisterBranchOnceV1};
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome, Refusal};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct GoneForEver {
    /// Branches that nobody may be told of any more, and why.
    gone: BTreeMap<BranchKey, &'static str>,
    acknowledged: BTreeSet<BranchKey>,
    /// Branches that an operator had something to do with.
    operated: BTreeSet<BranchKey>,
    /// Who leads each group, by its own log.
    tenures: BTreeMap<GroupId, Term>,
}

impl GoneForEver {
    fn goes(&mut self, key: BranchKey, how: &'static str) -> Judgement {
        if self.acknowledged.contains(&key) && !self.operated.contains(&key) {
            let text = format!("branch {} {how}, and was acknowledged before", key.1);
            return Err(Finding::about(key.0, text));
        }
        self.gone.entry(key).or_insert(how);
        Ok(())
    }

    fn is_told_gone(&mut self, ghost: &Ghost, transaction: TransactionId, branches: &[BranchId]) -> Judgement {
        let Some(found) = ghost.transaction(transaction) else { return Ok(()) };
        // After that a row may be let go, and who is told success then comes too late, as in Seata.
        if found.ended_clock_ms.is_some() || found.decision == Some(Direction::Commit) {
            return Ok(());
        }
        branches.iter().try_for_each(|branch| self.goes((transaction, *branch), "is told to be gone"))
    }

    fn is_operated(&mut self, ghost: &Ghost, operate: &OperateV1) {
        let transaction = operate.transaction;
        match operate.operation {
            Operation::DropBranch(branch) | Operation::CleanUpBranch(branch) => {
                self.operated.insert((transaction, branch));
            }
            Operation::CleanUp => {
                let listed = ghost.transaction(transaction).into_iter().flat_map(|found| found.listed.keys());
                self.operated.extend(listed.map(|branch| (transaction, *branch)));
            }
            Operation::Stop
            | Operation::Start
            | Operation::Reopen
            | Operation::Delete
            | Operation::ForceDelete
            | Operation::StopBranch(_)
            | Operation::StartBranch(_) => {}
        }
    }

    fn is_acknowledged(&mut self, key: BranchKey, node: NodeId) -> Judgement {
        self.acknowledged.insert(key);
        let Some(how) = self.gone.get(&key) else { return Ok(()) };
        let text = format!("branch {} is acknowledged, and it {how} before", key.1);
        Err(Finding::about(key.0, text).at_node(node))
    }
}

impl Oracle for GoneForEver {
    fn name(&self) -> &'static str {
        "LK6"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        match (step.command, step.outcome) {
            (Command::Lead(lead), Outcome::Led(_)) => _ = self.tenures.insert(step.group, lead.tenure),
            (Command::Lead(lead), Outcome::Refused(Refusal::OldTenure { .. }))
                if self.tenures.get(&step.group) <= Some(&lead.tenure) =>
            {
                let text = format!("tenure {} is refused, and there is no later one", lead.tenure);
                return Err(Finding::new(text).in_group(step.group));
            }
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered | Outcome::RegisteredBefore(_),
            ) => {
                let of = register.fence.tenure;
                let now = self.tenures.get(&step.group).copied().unwrap_or(of);
                if of < now {
                    let text = format!("branch {} of tenure {of} is registered in tenure {now}", register.branch);
                    return Err(Finding::about(register.transaction, text).in_group(step.group));
                }
            }
            (Command::Operate(operate), Outcome::Now(_)) => self.is_operated(ghost, operate),
            _ => {}
        }
        Ok(())
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Gone { node, transaction, branches, .. } => {
                self.is_told_gone(ghost, *transaction, branches).map_err(|found| found.at_node(*node))
            }
            Seen::GivenUp { node, transaction, branch } => {
                self.goes((*transaction, *branch), "is given up").map_err(|found| found.at_node(*node))
            }
            Seen::Acknowledged { node, transaction, branch } => self.is_acknowledged((*transaction, *branch), *node),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, acknowledged, decided, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, Epoch, Fence, GlobalStatus};
    use quorate_core::txn::IdBlock;
    use quorate_core::txn::command::{LeadV1, RegisterBranchV1};

    const LED: Outcome = Outcome::Led(IdBlock { first: 1, count: 16 });

    fn gone() -> Seen {
        Seen::Gone { node: NodeId(1), group: GROUP, transaction: FIRST, branches: vec![BRANCH] }
    }

    fn given_up() -> Seen {
        Seen::GivenUp { node: NodeId(1), transaction: FIRST, branch: BRANCH }
    }

    #[test]
    fn who_is_gone_or_given_up_is_never_acknowledged() {
        for end in [gone(), given_up()] {
            let judged = |seen: &[&Seen]| {
                let (ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), GoneForEver::default());
                seen.iter().try_for_each(|seen| oracle.see(&ghost, seen))
            };
            assert_eq!(judged(&[&end, &end]), Ok(()));
            assert_eq!(judged(&[&acknowledged(), &acknowledged()]), Ok(()));
            assert!(judged(&[&end, &acknowledged()]).is_err(), "later");
            assert!(judged(&[&acknowledged(), &end]).is_err(), "earlier");
        }
    }

    #[test]
    fn after_a_commit_everything_is_gone_and_in_a_rollback_nothing() {
        let judged = |status| {
            let (mut ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), GoneForEver::default());
            oracle.see(&ghost, &acknowledged())?;
            decided(&mut oracle, &mut ghost, status)?;
            oracle.see(&ghost, &gone())
        };
        assert_eq!(judged(GlobalStatus::AsyncCommitting), Ok(()));
        assert!(judged(GlobalStatus::Rollbacking).is_err());
    }

    fn lead(tenure: u64) -> Command {
        Command::Lead(LeadV1 { tenure: Term(tenure), block: 16 })
    }

    fn register(tenure: u64) -> RegisterBranchV1 {
        let none = String::new;
        RegisterBranchV1 {
            transaction: FIRST,
            branch: BRANCH,
            fence: Fence { epoch: Epoch(1), tenure: Term(tenure) },
            kind: BranchType::TCC,
            resource: none(),
            lock_keys: none(),
            application_data: none(),
            client: none(),
            with_locks: false,
        }
    }

    fn applies(oracle: &mut GoneForEver, command: &Command, outcome: &Outcome) -> Judgement {
        oracle.step(&Ghost::default(), &Step { group: GROUP, command, outcome })
    }

    #[test]
    fn what_an_earlier_leader_proposed_is_void() {
        let plain = |tenure| Command::RegisterBranch(register(tenure));
        let once =
            |tenure| Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: register(tenure), request: 5 });
        let registers: [&dyn Fn(u64) -> Command; 2] = [&plain, &once];
        for register in registers {
            let mut oracle = GoneForEver::default();
            assert_eq!(applies(&mut oracle, &lead(1), &LED), Ok(()));
            assert_eq!(applies(&mut oracle, &register(1), &Outcome::Registered), Ok(()));
            assert_eq!(applies(&mut oracle, &lead(3), &LED), Ok(()));
            assert_eq!(applies(&mut oracle, &register(3), &Outcome::Registered), Ok(()));
            let refused = Outcome::Refused(Refusal::OldTenure { tenure: Term(3) });
            assert_eq!(applies(&mut oracle, &register(1), &refused), Ok(()));
            for outcome in [Outcome::Registered, Outcome::RegisteredBefore(BRANCH)] {
                assert!(applies(&mut oracle, &register(1), &outcome).is_err());
            }
        }
    }

    #[test]
    fn whoever_leads_again_may() {
        let mut oracle = GoneForEver::default();
        assert_eq!(applies(&mut oracle, &lead(3), &LED), Ok(()));
        let refused = Outcome::Refused(Refusal::OldTenure { tenure: Term(3) });
        assert_eq!(applies(&mut oracle, &lead(2), &refused), Ok(()));
        assert!(applies(&mut oracle, &lead(3), &refused).is_err(), "nobody else would lead");
    }
}
