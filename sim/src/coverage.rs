//! What a run has brought about: which probes (`sometimes!`) were passed, and which statuses of transactions and branches met
//! which faults. None of it goes into the hash.
//!
//! `sim/probes.txt` lists every probe, a name a line; `rare` behind it says that an ordinary batch need not pass it.

use crate::plan::swarm::Class;
use quorate_core::model::{GroupId, TransactionId};
use quorate_core::probe;
use quorate_core::txn::command::RegisterBranchOnceV1;
use quorate_core::txn::{Command, Outcome, Transactions};
use quorate_world::sim;
use quorate_world::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A fault of a moment is taken to bear on what happens so long after it.
const LINGERS: Duration = Duration::from_secs(5);

/// All probes.
const PROBES: &str = include_str!("../probes.txt");

/// Every probe: its name, and whether it is rare.
pub fn probes() -> impl Iterator<Item = (&'static str, bool)> {
    let lines = PROBES.lines().filter(|line| !line.is_empty());
    lines.map(|line| line.split_once(' ').map_or((line, false), |(name, mark)| (name, mark == "rare")))
}

/// Of one run, for whoever adds up many.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Coverage {
    /// Events of the hashed trace.
    pub events: u64,
    /// How much time passed in the world.
    pub simulated_ms: u64,
    /// How often each probe was passed; those that were not are absent.
    pub probes: BTreeMap<String, u64>,
    /// Status of a transaction, of a branch of it, and a class of faults that went on.
    pub cells: BTreeSet<String>,
}

impl Coverage {
    /// Of this process, which has had one run.
    pub fn of_this_process(events: u64, simulated: Duration, cells: BTreeSet<Cell>) -> Coverage {
        let counted = probes().map(|(name, _)| (name.to_owned(), probe::count(name)));
        Coverage {
            events,
            simulated_ms: simulated.as_millis() as u64,
            probes: counted.filter(|(_, count)| *count > 0).collect(),
            cells: cells.iter().map(|(status, branch, fault)| format!("{status} {branch} {fault}")).collect(),
        }
    }
}

/// Status of a transaction, status of a branch (`none` without one), fault (`calm` without one).
pub type Cell = (&'static str, &'static str, &'static str);

/// Which faults go on, and what they met.
#[derive(Default, Debug)]
pub struct Cells {
    going_on: BTreeMap<Class, Duration>,
    met: BTreeSet<Cell>,
}

impl Cells {
    /// A fault has begun, and goes on for so long.
    pub fn strikes(&mut self, class: Class, lasts: Duration) {
        let until = sim::now() + lasts.max(LINGERS);
        let known = self.going_on.entry(class).or_default();
        *known = until.max(*known);
    }

    /// A command was applied: where its transaction stands now.
    pub fn applied(&mut self, group: GroupId, model: &Transactions, command: &Command, outcome: &Outcome) {
        debug_assert!(group != GroupId::META, "the group of the cluster has no transactions");
        let Some(transaction) = about(command, outcome) else { return };
        let Some(status) = model.standing(transaction) else { return };
        let session = model.session(transaction);
        let mut branches: BTreeSet<&str> = session
            .into_iter()
            .flat_map(|session| session.branches.values())
            .map(|branch| branch.status.name())
            .collect();
        if branches.is_empty() {
            branches.insert("none");
        }
        let now = sim::now();
        let mut faults: Vec<&str> =
            self.going_on.iter().filter(|(_, until)| **until >= now).map(|(class, _)| class.name()).collect();
        if faults.is_empty() {
            faults.push("calm");
        }
        for branch in branches {
            self.met.extend(faults.iter().map(|fault| (status.name(), branch, *fault)));
        }
    }

    /// All that met.
    pub fn met(&self) -> &BTreeSet<Cell> {
        &self.met
    }
}

/// Which transaction a command of the log is about; row locks in another group are none of its steps.
pub fn about(command: &Command, outcome: &Outcome) -> Option<TransactionId> {
    Some(match command {
        Command::Begin(_) | Command::BeginNear(_) => match outcome {
            Outcome::Begun(transaction) => *transaction,
            _ => return None,
        },
        Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }) => {
            register.transaction
        }
        Command::RemoveBranch(which) | Command::CleanedUp(which) => which.transaction,
        Command::ReportBranch(report) => report.transaction,
        Command::Decide(decide) => decide.transaction,
        Command::Retry(which) | Command::Detach(which) | Command::End(which) | Command::Forget(which) => {
            which.transaction
        }
        Command::Fail(fail) => fail.transaction,
        Command::Report(report) => report.transaction,
        Command::GiveUp(give_up) => give_up.transaction,
        Command::Operate(operate) => operate.transaction,
        Command::Found(_) | Command::Lead(_) | Command::AcquireLocks(_) | Command::ReleaseLocks(_) | Command::Tick => {
            return None;
        }
        Command::FreezeSlot(_)
        | Command::InstallSlot(_)
        | Command::ActivateSlot(_)
        | Command::DropSlot(_)
        | Command::UnfreezeSlot(_)
        | Command::DiscardSlot(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_says_everything_once() {
        let names: Vec<&str> = probes().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "sort it, and name each probe once");
        assert!(names.len() >= 200, "{} probes", names.len());
        let numbers: BTreeSet<u64> = names.iter().map(|name| probe::number_of(name)).collect();
        assert_eq!(numbers.len(), names.len(), "two names with one number");
        for line in PROBES.lines() {
            let marks: Vec<&str> = line.split(' ').skip(1).collect();
            assert!(marks.is_empty() || marks == ["rare"], "{line}");
        }
    }
}
