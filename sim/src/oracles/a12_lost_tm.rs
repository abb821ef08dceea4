//! Source: Seata semantics 10.4 (a TM dies: its time-out, or the optional rule for those that are gone).
//!
//! A12, only who is lost: what nobody wished to roll back is rolled back before its time only if its TM had no connection to any node for a moment, late enough after the begin.
//!
//! Judged by what nodes say of registrations and of connections that closed, and by which processes run; whether the TM came
//! back is not asked, for a rollback that is on its way by then may well come through.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::TransactionId;
use quorate_core::txn::command::Decision;
use quorate_core::txn::{Command, Outcome};
use quorate_world::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Where a connection ends: the machine, which of its processes, and the number there.
type Place = (usize, u32, u64);

/// See the page.
#[derive(Default)]
pub struct LostTm {
    /// Whose connection it is.
    open: BTreeMap<Place, String>,
    /// When an application was without a connection the last time.
    absent: BTreeMap<String, Duration>,
    /// The processes of the nodes, as of then.
    lives: BTreeMap<usize, u32>,
    begun: BTreeMap<TransactionId, (String, Duration)>,
    wished: BTreeSet<TransactionId>,
}

impl LostTm {
    /// Whoever has no connection just now was absent now.
    fn look(&mut self, ghost: &Ghost) {
        self.lives.clone_from(&ghost.lives);
        self.open.retain(|(machine, life, _), _| ghost.lives.get(machine) == Some(life));
        let present: BTreeSet<&String> = self.open.values().collect();
        for (application, absent) in &mut self.absent {
            if !present.contains(application) {
                *absent = ghost.now;
            }
        }
    }

    fn judge(&mut self, ghost: &Ghost, transaction: TransactionId) -> Judgement {
        self.look(ghost);
        let Some((application, begun)) = self.begun.get(&transaction) else { return Ok(()) };
        // Clocks go a little differently.
        let early = *begun + ghost.lost_tm_after * 3 / 4;
        if self.absent.get(application).is_none_or(|absent| *absent >= early) {
            return Ok(());
        }
        let text = format!("rolled back early and unasked, and {application} was connected all the while");
        Err(Finding::about(transaction, text))
    }
}

impl Oracle for LostTm {
    fn name(&self) -> &'static str {
        "A12"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        if self.lives != ghost.lives {
            self.look(ghost);
        }
        match (step.command, step.outcome) {
            (Command::Begin(begin) | Command::BeginNear(begin), Outcome::Begun(transaction)) => {
                self.begun.insert(*transaction, (begin.application.clone(), ghost.now));
                Ok(())
            }
            (Command::Decide(decide), Outcome::Decided(_))
                if decide.decision == Decision::Rollback && !self.wished.contains(&decide.transaction) =>
            {
                self.judge(ghost, decide.transaction)
            }
            _ => Ok(()),
        }
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        if self.lives != ghost.lives {
            self.look(ghost);
        }
        match seen {
            Seen::AsksEnd { transaction, commit: false } => _ = self.wished.insert(*transaction),
            Seen::Registered { machine, life, channel, application } => {
                self.absent.entry(application.clone()).or_default();
                self.look(ghost);
                self.open.insert((*machine, *life, *channel), application.clone());
            }
            Seen::Disconnected { machine, life, channel } => {
                self.open.remove(&(*machine, *life, *channel));
                self.look(ghost);
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, GROUP};
    use super::*;
    use quorate_core::model::GlobalStatus;
    use quorate_core::txn::command::{BeginV1, DecideV1};

    /// Begun at 10 s, by a TM that loses its connection then and is back at another node 2 s later, unless the other node
    /// dies at 15 s; rolled back at 21 s.
    fn rolled_back(is_wished: bool, other_dies: bool) -> Judgement {
        let mut oracle = LostTm::default();
        let second = Duration::from_secs(1);
        let mut ghost =
            Ghost { lost_tm_after: second * 10, lives: BTreeMap::from([(1, 1), (2, 1)]), ..Ghost::default() };
        let registered = |machine| Seen::Registered { machine, life: 1, channel: 5, application: "tm1".to_owned() };
        oracle.see(&ghost, &registered(1))?;
        ghost.now = second * 10;
        let begin = BeginV1 {
            address: String::new(),
            application: "tm1".to_owned(),
            service_group: String::new(),
            name: "first".to_owned(),
            timeout_ms: 60_000,
        };
        let step = Step { group: GROUP, command: &Command::Begin(begin), outcome: &Outcome::Begun(FIRST) };
        oracle.step(&ghost, &step)?;
        oracle.see(&ghost, &Seen::Disconnected { machine: 1, life: 1, channel: 5 })?;
        ghost.now = second * 12;
        oracle.see(&ghost, &registered(2))?;
        if is_wished {
            oracle.see(&ghost, &Seen::AsksEnd { transaction: FIRST, commit: false })?;
        }
        ghost.now = second * 15;
        if other_dies {
            ghost.lives.insert(2, 2);
        }
        ghost.now = second * 21;
        let decide = Command::Decide(DecideV1 { transaction: FIRST, decision: Decision::Rollback });
        let outcome = Outcome::Decided(GlobalStatus::Rollbacking);
        oracle.step(&ghost, &Step { group: GROUP, command: &decide, outcome: &outcome })
    }

    #[test]
    fn who_is_connected_is_not_lost() {
        assert!(rolled_back(false, false).is_err());
        assert_eq!(rolled_back(true, false), Ok(()));
        assert_eq!(rolled_back(false, true), Ok(()), "nobody knows that it came back");
    }
}
