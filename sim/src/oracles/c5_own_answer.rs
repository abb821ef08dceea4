//! Source: simulation notes, C5; KIP-890 and Bufstream (a late EndTxn that commits a later transaction).
//!
//! C5, everybody's own: no request is answered with what came of another one, and no message of one transaction touches another.
//!
//! Everything that the log does at somebody's wish must have been wished, in these words, by a client; and what a client is
//! told must be about what it asked. No client wishes for what an operator does, for a time-out, or for the end of a TM that
//! is gone: A5, A6 and A12 judge these.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step, Wanted};
use quorate_core::model::{BranchId, BranchStatus, BranchType, TransactionId};
use quorate_core::txn::command::{Decision, RegisterBranchOnceV1, RegisterBranchV1};
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct OwnAnswer {
    begun: BTreeSet<TransactionId>,
    /// Ends that TMs have asked for; true: to commit.
    ends: BTreeSet<(TransactionId, bool)>,
    /// Branches that RMs have asked for: how often, and with what ids they have joined.
    wanted: BTreeMap<(TransactionId, Wanted), (usize, BTreeSet<BranchId>)>,
    registered: BTreeSet<(TransactionId, BranchId)>,
    reported: BTreeSet<(TransactionId, BranchId, BranchStatus)>,
    said: BTreeSet<(TransactionId, BranchId, BranchStatus)>,
}

impl OwnAnswer {
    fn told_begun(&mut self, ghost: &Ghost, transaction: TransactionId, name: &str, timeout_ms: i32) -> Judgement {
        if !self.begun.insert(transaction) {
            return Err(Finding::about(transaction, format!("two begins were answered with it, the second is {name}")));
        }
        // That there is one at all is C1's.
        let Some(found) = ghost.transaction(transaction) else { return Ok(()) };
        if found.name == name && found.timeout_ms == u64::try_from(timeout_ms).unwrap_or(0) {
            return Ok(());
        }
        let text = format!("{name} with {timeout_ms} ms is answered with {} with {} ms", found.name, found.timeout_ms);
        Err(Finding::about(transaction, text))
    }

    fn told_registered(
        &mut self,
        ghost: &Ghost,
        transaction: TransactionId,
        branch: BranchId,
        wanted: &Wanted,
    ) -> Judgement {
        if !self.registered.insert((transaction, branch)) {
            return Err(Finding::about(transaction, format!("two registers were answered with branch {branch}")));
        }
        let Some(listed) = ghost.transaction(transaction).and_then(|found| found.listed.get(&branch)) else {
            return Ok(());
        };
        let is_it = listed.kind == wanted.kind
            && listed.resource == wanted.resource
            && listed.lock_keys == wanted.lock_keys
            && listed.data == wanted.data;
        if is_it {
            return Ok(());
        }
        Err(Finding::about(transaction, format!("{wanted:?} is answered with branch {branch}, which is {listed:?}")))
    }

    /// A phase-two request has come with what belongs to its branch.
    fn asked(
        &self,
        ghost: &Ghost,
        key: (TransactionId, BranchId),
        kind: BranchType,
        (resource, data): (&str, &str),
    ) -> Judgement {
        let Some(listed) = ghost.transaction(key.0).and_then(|found| found.listed.get(&key.1)) else { return Ok(()) };
        // A report without data takes the data along (Seata semantics, section 2.1).
        let is_it = listed.kind == kind && listed.resource == resource && (listed.data == data || data.is_empty());
        if is_it {
            return Ok(());
        }
        let text = format!("phase two of branch {} comes as {kind} {resource} {data:?}, it is {listed:?}", key.1);
        Err(Finding::about(key.0, text))
    }

    /// It was asked for, and not more often than it was asked for. AT branches and steps may be registered once more where an
    /// answer was lost: phase two asks them in vain.
    fn is_wanted(&mut self, register: &RegisterBranchV1) -> bool {
        let wanted = Wanted {
            kind: register.kind,
            resource: register.resource.clone(),
            lock_keys: register.lock_keys.clone(),
            data: register.application_data.clone(),
        };
        let may_be_repeated = matches!(wanted.kind, BranchType::AT | BranchType::SAGA);
        let Some((asked, joined)) = self.wanted.get_mut(&(register.transaction, wanted)) else { return false };
        joined.insert(register.branch);
        may_be_repeated || joined.len() <= *asked
    }
}

impl Oracle for OwnAnswer {
    fn name(&self) -> &'static str {
        "C5"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let (transaction, what) = match (step.command, step.outcome) {
            (Command::Decide(decide), Outcome::Decided(_)) => {
                let commit = match decide.decision {
                    Decision::Commit => true,
                    Decision::Rollback if ghost.rolls_back_lost_tms() => return Ok(()),
                    Decision::Rollback => false,
                    Decision::TimeoutRollback => return Ok(()),
                };
                if self.ends.contains(&(decide.transaction, commit)) {
                    return Ok(());
                }
                (decide.transaction, format!("{:?} is decided", decide.decision))
            }
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) if !self.is_wanted(register) => {
                (register.transaction, format!("branch {} joins at {}", register.branch, register.resource))
            }
            (Command::ReportBranch(report), Outcome::Done)
                if !self.reported.contains(&(report.transaction, report.branch, report.status)) =>
            {
                (report.transaction, format!("branch {} is reported as {}", report.branch, report.status))
            }
            _ => return Ok(()),
        };
        Err(Finding::about(transaction, format!("{what}, and no client has asked for that")).in_group(step.group))
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::ToldBegun { transaction, name, timeout_ms } => {
                return self.told_begun(ghost, *transaction, name, *timeout_ms);
            }
            Seen::ToldRegistered { transaction, branch, wanted, .. } => {
                return self.told_registered(ghost, *transaction, *branch, wanted);
            }
            Seen::Asked { transaction, branch, kind, resource, data } => {
                return self.asked(ghost, (*transaction, *branch), *kind, (resource, data));
            }
            Seen::AsksEnd { transaction, commit } => _ = self.ends.insert((*transaction, *commit)),
            Seen::AsksBranch { transaction, wanted, .. } => {
                self.wanted.entry((*transaction, wanted.clone())).or_default().0 += 1;
            }
            Seen::AsksReport { transaction, branch, status } => {
                self.reported.insert((*transaction, *branch, *status));
            }
            Seen::Says { transaction, branch, status } => _ = self.said.insert((*transaction, *branch, *status)),
            // All steps of a Saga are asked as one, and its engine's word is judged by A7.
            Seen::PhaseTwoAnswered { transaction, branch, status, .. }
                if *branch != BranchId::WHOLE && !self.said.contains(&(*transaction, *branch, *status)) =>
            {
                let text = format!("branch {branch} is taken to have answered {status}, which its RM has not said");
                return Err(Finding::about(*transaction, text));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, SECOND, ghost_with};
    use super::*;
    use quorate_core::model::{Fence, GlobalStatus, NodeId};
    use quorate_core::txn::command::{DecideV1, ReportBranchV1};

    fn step(oracle: &mut OwnAnswer, command: &Command, outcome: &Outcome) -> Judgement {
        oracle.step(&Ghost::default(), &Step { group: GROUP, command, outcome })
    }

    fn wanted(data: &str) -> Wanted {
        let (resource, lock_keys, data) = ("at-1".to_owned(), "account:1".to_owned(), data.to_owned());
        Wanted { kind: BranchType::AT, resource, lock_keys, data }
    }

    fn told(oracle: &mut OwnAnswer, wanted: &Wanted) -> Judgement {
        let (question, transaction, branch, wanted) = (1, FIRST, BRANCH, wanted.clone());
        let seen = Seen::ToldRegistered { question, transaction, branch, wanted };
        oracle.see(&ghost_with(BranchType::AT, "account:1"), &seen)
    }

    #[test]
    fn a_begin_is_answered_once_with_what_was_asked_for() {
        let ghost = ghost_with(BranchType::AT, "");
        let told = |oracle: &mut OwnAnswer, name: &str, timeout_ms| {
            oracle.see(&ghost, &Seen::ToldBegun { transaction: FIRST, name: name.to_owned(), timeout_ms })
        };
        let mut oracle = OwnAnswer::default();
        assert_eq!(told(&mut oracle, "first", 1_000), Ok(()));
        assert!(told(&mut oracle, "first", 1_000).is_err(), "two of one");
        assert!(told(&mut OwnAnswer::default(), "second", 1_000).is_err(), "another's");
        assert!(told(&mut OwnAnswer::default(), "first", 2_000).is_err(), "another time-out");
    }

    #[test]
    fn only_an_end_that_its_tm_has_asked_for_is_decided() {
        let mut oracle = OwnAnswer::default();
        let decide = |transaction, decision| Command::Decide(DecideV1 { transaction, decision });
        let decided = Outcome::Decided(GlobalStatus::Committing);
        assert_eq!(oracle.see(&Ghost::default(), &Seen::AsksEnd { transaction: FIRST, commit: true }), Ok(()));
        assert_eq!(step(&mut oracle, &decide(FIRST, Decision::Commit), &decided), Ok(()));
        assert_eq!(step(&mut oracle, &decide(SECOND, Decision::TimeoutRollback), &decided), Ok(()));
        assert!(step(&mut oracle, &decide(FIRST, Decision::Rollback), &decided).is_err());
        assert!(step(&mut oracle, &decide(SECOND, Decision::Commit), &decided).is_err(), "a late message");
    }

    #[test]
    fn a_register_is_answered_with_its_own_branch() {
        let mut oracle = OwnAnswer::default();
        assert_eq!(told(&mut oracle, &wanted("0/0")), Ok(()));
        assert!(told(&mut oracle, &wanted("0/0")).is_err(), "two of one");
        assert!(told(&mut OwnAnswer::default(), &wanted("0/1")).is_err(), "another's");
    }

    #[test]
    fn a_branch_joins_as_often_as_it_was_asked_for() {
        let joins = |oracle: &mut OwnAnswer, kind, branch| {
            let Wanted { resource, lock_keys, data, .. } = wanted("0/0");
            let register = RegisterBranchV1 {
                transaction: FIRST,
                branch: BranchId(branch),
                fence: Fence::default(),
                kind,
                resource,
                lock_keys,
                application_data: data,
                client: String::new(),
                with_locks: false,
            };
            step(oracle, &Command::RegisterBranch(register), &Outcome::Registered)
        };
        for (kind, may_be_repeated) in [(BranchType::AT, true), (BranchType::TCC, false)] {
            let mut oracle = OwnAnswer::default();
            assert!(joins(&mut oracle, kind, 7).is_err(), "nobody has asked");
            let (client, wanted) = (String::new(), Wanted { kind, ..wanted("0/0") });
            let asks = Seen::AsksBranch { question: 1, client, transaction: FIRST, wanted };
            assert_eq!(oracle.see(&Ghost::default(), &asks), Ok(()));
            assert_eq!(joins(&mut oracle, kind, 7), Ok(()));
            assert_eq!(joins(&mut oracle, kind, 7), Ok(()), "the same entry again");
            assert_eq!(joins(&mut oracle, kind, 8).is_ok(), may_be_repeated);
        }
    }

    #[test]
    fn what_is_reported_and_said_is_its_own() {
        let (mut oracle, ghost) = (OwnAnswer::default(), ghost_with(BranchType::AT, "account:1"));
        let status = BranchStatus::PhaseOne_Failed;
        let report = |transaction| {
            let application_data = String::new();
            Command::ReportBranch(ReportBranchV1 { transaction, branch: BRANCH, status, application_data })
        };
        assert_eq!(oracle.see(&ghost, &Seen::AsksReport { transaction: FIRST, branch: BRANCH, status }), Ok(()));
        assert_eq!(step(&mut oracle, &report(FIRST), &Outcome::Done), Ok(()));
        assert!(step(&mut oracle, &report(SECOND), &Outcome::Done).is_err());

        let status = BranchStatus::PhaseTwo_Committed;
        assert_eq!(oracle.see(&ghost, &Seen::Says { transaction: FIRST, branch: BRANCH, status }), Ok(()));
        let heard = |transaction| Seen::PhaseTwoAnswered { node: NodeId(1), transaction, branch: BRANCH, status };
        assert_eq!(oracle.see(&ghost, &heard(FIRST)), Ok(()));
        assert!(oracle.see(&ghost, &heard(SECOND)).is_err());
    }

    #[test]
    fn phase_two_comes_with_what_belongs_to_its_branch() {
        let asked = |resource: &str, data: &str| {
            let (kind, resource, data) = (BranchType::AT, resource.to_owned(), data.to_owned());
            let seen = Seen::Asked { transaction: FIRST, branch: BRANCH, kind, resource, data };
            OwnAnswer::default().see(&ghost_with(kind, "account:1"), &seen)
        };
        assert_eq!(asked("at-1", "0/0"), Ok(()));
        assert_eq!(asked("at-1", ""), Ok(()), "a report took it along");
        assert!(asked("at-2", "0/0").is_err());
        assert!(asked("at-1", "0/1").is_err());
    }
}
