//! Source: simulation notes, C6; etcd robustness tests (a failed request has no effect); design, section 4; acceptance W1.
//!
//! C6, an honest no: what a client was told to have failed was not done and never will be; else it is told nothing.
//!
//! A begin that is refused begins nothing. A commit that is told to be rolled back commits nothing, and a rollback told to
//! be committed undoes nothing. A refused branch is none of these: nobody was told of it, and it may stay in the list for phase two
//! to ask in vain (lock protocol, rules 9 to 11).

use super::{Finding, Judgement, Oracle};
use crate::bank::Effect;
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_client::Conclusion;
use quorate_client::tm::{conclude_commit, conclude_rollback};
use quorate_core::model::TransactionId;
use quorate_core::txn::status::Direction;
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// See the page.
#[derive(Default)]
pub struct HonestNo {
    /// Each transaction of the plan has a name of its own.
    refused: BTreeSet<String>,
    begun: BTreeMap<String, TransactionId>,
    /// What TMs were told will not be.
    never: BTreeMap<TransactionId, Direction>,
}

impl HonestNo {
    fn acts(&self, transaction: TransactionId, way: Direction, what: &str) -> Judgement {
        if self.never.get(&transaction) != Some(&way) {
            return Ok(());
        }
        Err(Finding::about(transaction, format!("{what}: {way:?}, and its TM was told that this will not be")))
    }
}

impl Oracle for HonestNo {
    fn name(&self) -> &'static str {
        "C6"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let judged = match (step.command, step.outcome) {
            (Command::Begin(begin) | Command::BeginNear(begin), Outcome::Begun(transaction)) => {
                self.begun.insert(begin.name.clone(), *transaction);
                match self.refused.contains(&begin.name) {
                    true => Err(Finding::about(*transaction, format!("{} begins, and was refused before", begin.name))),
                    false => Ok(()),
                }
            }
            (Command::Decide(decide), Outcome::Decided(_)) => ghost
                .decision(decide.transaction)
                .map_or(Ok(()), |way| self.acts(decide.transaction, way, "an entry decides")),
            _ => Ok(()),
        };
        judged.map_err(|found| found.in_group(step.group))
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::ToldNotBegun { name } => {
                self.refused.insert(name.clone());
                let begun = self.begun.get(name);
                begun.map_or(Ok(()), |transaction| {
                    Err(Finding::about(*transaction, format!("{name} has begun, and its TM is refused it")))
                })
            }
            Seen::ToldEnd { transaction, commit, status } => {
                let conclusion =
                    if *commit { conclude_commit(Some(*status)) } else { conclude_rollback(Some(*status)) };
                let never = match conclusion {
                    Conclusion::RolledBack if *commit => Direction::Commit,
                    Conclusion::Committed if !commit => Direction::Rollback,
                    Conclusion::RolledBack | Conclusion::Committed | Conclusion::Unknown => return Ok(()),
                };
                self.never.insert(*transaction, never);
                Ok(())
            }
            Seen::Database { key, effect: Effect::Committed, .. } => {
                self.acts(key.0, Direction::Commit, "a database acts")
            }
            Seen::Database { key, effect: Effect::RolledBack, .. } => {
                self.acts(key.0, Direction::Rollback, "a database acts")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, GROUP, database, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus};
    use quorate_core::txn::command::BeginV1;

    fn begins(oracle: &mut HonestNo, name: &str) -> Judgement {
        let begin = BeginV1 {
            address: String::new(),
            application: String::new(),
            service_group: String::new(),
            name: name.to_owned(),
            timeout_ms: 1_000,
        };
        let (command, outcome) = (Command::BeginNear(begin), Outcome::Begun(FIRST));
        oracle.step(&Ghost::default(), &Step { group: GROUP, command: &command, outcome: &outcome })
    }

    fn refused(oracle: &mut HonestNo, name: &str) -> Judgement {
        oracle.see(&Ghost::default(), &Seen::ToldNotBegun { name: name.to_owned() })
    }

    #[test]
    fn a_begin_that_was_refused_begins_nothing() {
        let mut oracle = HonestNo::default();
        assert_eq!((refused(&mut oracle, "first"), begins(&mut oracle, "second")), (Ok(()), Ok(())));
        assert!(begins(&mut oracle, "first").is_err(), "later");
        assert!(refused(&mut oracle, "second").is_err(), "before");
    }

    #[test]
    fn what_was_told_not_to_be_never_is() {
        let ghost = ghost_with(BranchType::AT, "account:1");
        let told = |commit, status, effect| {
            let mut oracle = HonestNo::default();
            oracle.see(&ghost, &Seen::ToldEnd { transaction: FIRST, commit, status })?;
            oracle.see(&ghost, &database("at-1", effect))
        };
        assert_eq!(told(true, GlobalStatus::Committed, Effect::Committed), Ok(()));
        assert_eq!(told(true, GlobalStatus::TimeoutRollbacked, Effect::RolledBack), Ok(()));
        assert_eq!(told(true, GlobalStatus::Finished, Effect::Committed), Ok(()), "nobody knows");
        assert!(told(true, GlobalStatus::TimeoutRollbacked, Effect::Committed).is_err());
        assert!(told(false, GlobalStatus::Committed, Effect::RolledBack).is_err());
    }
}
