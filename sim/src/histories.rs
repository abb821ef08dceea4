//! The check of the checker: a second opinion about what C3 judges, when the run is over.
//!
//! For each transaction a history of one register is kept: what the log made of it, and what TMs were told of it. It is read off the
//! state that the ghost's own state machine has, and has moments of its own, so that it shares neither the ghost's list of statuses nor
//! the place in it that a TM notes before it asks. `linearize` looks for an order of it. C3 and the search have to agree.

use crate::coverage::about;
use crate::ghost::Ghost;
use crate::linearize::{Does, Moment, Operation, order};
use crate::oracles::Finding;
use crate::seen::{Seen, Step};
use crate::verdict::{Failure, Kind};
use quorate_core::model::{GlobalStatus, TransactionId};
use quorate_core::txn::answer::{UNKNOWN, status_answer};
use quorate_core::txn::command::Decision;
use quorate_core::txn::{Command, Outcome};
use quorate_core::wire::ClientVersion;
use quorate_world::time::Duration;
use std::collections::BTreeMap;

/// How a transaction stands; nothing: nobody knows it, not yet or no more.
type Standing = Option<GlobalStatus>;
/// What somebody was told, in words of this version.
type Told = (GlobalStatus, ClientVersion);

/// Whose word is looked at a second time.
const ORACLE: &str = "C3";

/// See the page.
#[derive(Default)]
pub struct Histories {
    now: Moment,
    /// When TMs asked for ends, and how transactions stand.
    ends: BTreeMap<TransactionId, Moment>,
    questions: BTreeMap<u64, Moment>,
    histories: BTreeMap<TransactionId, Vec<Operation<Standing, Told>>>,
}

impl Histories {
    /// Somebody saw something.
    pub fn see(&mut self, ghost: &Ghost, seen: &Seen) {
        self.now += 1;
        match seen {
            Seen::AsksEnd { transaction, .. } => _ = self.ends.entry(*transaction).or_insert(self.now),
            Seen::AsksStatus { question, .. } => _ = self.questions.insert(*question, self.now),
            Seen::ToldStatus { question, transaction, status, knows, .. } => {
                // Time alone makes a group forget: at some moment since the last entry about it.
                let since = self.last(*transaction).map(|(_, changed)| changed);
                self.follow(ghost, *transaction, since);
                let Some(called) = self.questions.remove(question) else { return };
                self.add(*transaction, called, Does::Reads((*status, *knows)));
            }
            _ => {}
        }
    }

    /// A group has applied a command.
    pub fn step(&mut self, ghost: &Ghost, step: &Step<'_>) {
        self.now += 1;
        let Some(transaction) = about(step.command, step.outcome) else { return };
        let of_tm = matches!((step.command, step.outcome), (Command::Decide(decide), Outcome::Decided(_))
            if matches!(decide.decision, Decision::Commit | Decision::Rollback));
        let asked = self.ends.get(&transaction).copied().filter(|_| of_tm);
        self.follow(ghost, transaction, asked);
    }

    /// Notes how a transaction stands now, if it has changed, since this moment at the earliest.
    fn follow(&mut self, ghost: &Ghost, transaction: TransactionId, since: Option<Moment>) {
        let group = ghost.transaction(transaction).and_then(|found| ghost.groups.get(&found.group));
        let Some(standing) = group.map(|group| group.model.standing(transaction)) else { return };
        if self.last(transaction).and_then(|(last, _)| last) != standing {
            self.add(transaction, since.unwrap_or(self.now), Does::Writes(standing));
        }
    }

    fn last(&self, transaction: TransactionId) -> Option<(Standing, Moment)> {
        self.histories.get(&transaction)?.iter().rev().find_map(|operation| match operation.does {
            Does::Writes(standing) => Some((standing, operation.returned)),
            Does::Reads(_) => None,
        })
    }

    fn add(&mut self, transaction: TransactionId, called: Moment, does: Does<Standing, Told>) {
        self.histories.entry(transaction).or_default().push(Operation { called, returned: self.now, does });
    }

    /// The first transaction of which TMs were told what fits into no order.
    pub fn search(&self) -> Option<Finding> {
        let (transaction, operations) = self.histories.iter().find(|(_, operations)| !is_linear(operations))?;
        Some(Finding::about(*transaction, format!("no order of {} is one of a register", told(operations))))
    }

    /// Nothing if C3 and the search say the same of a run that ended so: else who says what. What another oracle has found says nothing
    /// of the two.
    pub fn disagree(&self, failure: Option<&Failure>, now: Duration) -> Option<Failure> {
        let complaint = || self.search().filter(|_| failure.is_none());
        let by_c3 = failure.filter(|failure| failure.oracle == ORACLE);
        let of_c3 = by_c3.and_then(|failure| failure.finding.transaction);
        let operations = of_c3.and_then(|transaction| self.histories.get(&transaction));
        let finding = match (operations, by_c3) {
            (Some(operations), Some(failure)) if is_linear(operations) => {
                let text = format!("C3 says: {}; and {} has an order", failure.finding.text, told(operations));
                Finding { text, ..failure.finding.clone() }
            }
            (_, None) => {
                complaint().map(|found| Finding { text: format!("C3 says nothing, and {}", found.text), ..found })?
            }
            (_, Some(_)) => return None,
        };
        let at = failure.map_or(now, |failure| failure.at);
        Some(Failure { finding, ..Failure::plain(Kind::Harness, "", at) })
    }
}

fn is_linear(operations: &[Operation<Standing, Told>]) -> bool {
    let words = |standing: Standing, knows: ClientVersion| {
        standing.map_or(UNKNOWN, |status| knows.global_status(status_answer(status)))
    };
    order(None, operations, |standing, (status, knows)| words(standing, *knows) == *status).is_some()
}

fn told(operations: &[Operation<Standing, Told>]) -> String {
    let told = operations.iter().map(|Operation { called, returned, does }| {
        let what = match does {
            Does::Writes(standing) => format!("is {}", standing.map_or("forgotten", GlobalStatus::name)),
            Does::Reads((status, _)) => format!("told {status}"),
        };
        format!("{what} ({called} to {returned})")
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracles::tests::GROUP;
    use crate::oracles::{Judgement, Oracle, all};
    use quorate_core::model::{Epoch, LogId, LogIndex, Slot, Term};
    use quorate_core::txn::Batch;
    use quorate_core::txn::command::{BeginV1, DecideV1, FoundV1, Stamp};

    /// A group with one transaction, and who looks on.
    struct World {
        ghost: Ghost,
        histories: Histories,
        c3: Box<dyn Oracle>,
        entries: u64,
    }

    impl World {
        /// It has begun.
        fn begun() -> (World, TransactionId) {
            let c3 = all().into_iter().find(|oracle| oracle.name() == ORACLE).expect("it is one of them");
            let mut world = World { ghost: Ghost::default(), histories: Histories::default(), c3, entries: 0 };
            let name = String::new;
            let (address, application, service_group) = (name(), name(), name());
            let begin = BeginV1 { address, application, service_group, name: name(), timeout_ms: 60_000 };
            world.apply(Command::Found(FoundV1 { slots: vec![Slot(0)], epoch: Epoch(1), sequence: 1_000 }));
            let Outcome::Begun(transaction) = world.apply(Command::BeginNear(begin)) else { panic!("it begins") };
            (world, transaction)
        }

        fn apply(&mut self, command: Command) -> Outcome {
            self.entries += 1;
            let log_id = LogId { term: Term(1), index: LogIndex(self.entries) };
            let batch = Batch { stamp: Stamp::default(), commands: vec![command] };
            let (done, _) = self.ghost.apply(GROUP, log_id, &batch).expect("it is new");
            let (command, outcome) = &done[0];
            self.histories.step(&self.ghost, &Step { group: GROUP, command, outcome });
            outcome.clone()
        }

        fn commits(&mut self, transaction: TransactionId) {
            self.see(&Seen::AsksEnd { transaction, commit: true }).expect("C3 does not mind");
            let outcome = self.apply(Command::Decide(DecideV1 { transaction, decision: Decision::Commit }));
            assert!(matches!(outcome, Outcome::Decided(_)), "{outcome:?}");
        }

        fn see(&mut self, seen: &Seen) -> Judgement {
            self.histories.see(&self.ghost, seen);
            self.c3.see(&self.ghost, seen)
        }

        fn asks(&mut self, question: u64, transaction: TransactionId) {
            self.see(&Seen::AsksStatus { question, transaction }).expect("C3 does not mind");
        }

        /// What C3 says. `since`: as the TM has noted when it asked.
        fn told(&mut self, question: u64, transaction: TransactionId, since: usize, status: GlobalStatus) -> Judgement {
            self.see(&Seen::ToldStatus { question, transaction, since, status, knows: ClientVersion::default() })
        }
    }

    #[test]
    fn what_c3_lets_pass_has_an_order() {
        let (mut world, transaction) = World::begun();
        world.asks(1, transaction);
        world.commits(transaction);
        world.asks(2, transaction);
        let now = world.ghost.transaction(transaction).expect("it has begun").status;
        assert_eq!(world.told(1, transaction, 1, GlobalStatus::Begin), Ok(()), "it was that when the question left");
        assert_eq!(world.told(2, transaction, 2, now), Ok(()));
        assert_eq!((world.histories.search(), world.histories.disagree(None, Duration::ZERO)), (None, None));
    }

    #[test]
    fn what_a_blind_c3_lets_pass_is_found() {
        let (mut world, transaction) = World::begun();
        world.commits(transaction);
        world.asks(1, transaction);
        // The TM has noted wrongly how many statuses there had been: C3 believes it.
        assert_eq!(world.told(1, transaction, 1, GlobalStatus::Begin), Ok(()));
        let found = world.histories.disagree(None, Duration::ZERO).expect("no order has this");
        assert_eq!((found.kind, found.finding.transaction), (Kind::Harness, Some(transaction)));
        assert!(found.finding.text.starts_with("C3 says nothing"), "{}", found.finding.text);
    }

    #[test]
    fn what_is_told_without_a_decision_is_found() {
        for status in [GlobalStatus::Finished, GlobalStatus::Rollbacking] {
            let (mut world, transaction) = World::begun();
            world.asks(1, transaction);
            let judged = world.told(1, transaction, 1, status);
            assert!(judged.is_err() && world.histories.search().is_some(), "{status}");
        }
    }

    #[test]
    fn c3_is_not_believed_either() {
        let (mut world, transaction) = World::begun();
        world.commits(transaction);
        world.asks(1, transaction);
        let by_c3 = |finding| Failure {
            oracle: ORACLE.to_owned(),
            finding,
            ..Failure::plain(Kind::Safety, "", Duration::ZERO)
        };
        let now = world.ghost.transaction(transaction).expect("it has begun").status;
        let wrong = by_c3(world.told(1, transaction, 9, now).expect_err("so many there have not been"));
        assert_eq!(world.histories.disagree(Some(&wrong), Duration::ZERO).map(|found| found.kind), Some(Kind::Harness));

        world.asks(2, transaction);
        let right = by_c3(world.told(2, transaction, 2, GlobalStatus::Begin).expect_err("it was over"));
        assert_eq!(world.histories.disagree(Some(&right), Duration::ZERO), None);
        let by_another = Failure { oracle: "A1".to_owned(), ..right };
        assert_eq!(world.histories.disagree(Some(&by_another), Duration::ZERO), None, "it says nothing of C3");
    }
}
