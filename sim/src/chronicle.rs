//! The chronicle of a run: what happened, in the words of the field, for stories and for the page. Kept only when asked for,
//! and never looked at by the run itself.
//!
//! Lines are written with the ids of the moment; [`Chronicle::named`] puts the names of the plan in their place, which are not known
//! before.

use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, GroupId, NodeId, TransactionId};
use quorate_core::txn::command::RegisterBranchOnceV1;
use quorate_core::txn::{Command, Outcome};
use quorate_world::sim;
use quorate_world::time::Duration;
use std::collections::BTreeMap;

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A fault strikes, or all are healed.
    Fault,
    /// A process starts or ends.
    Process,
    /// A node leads a group.
    Leader,
    /// A group has applied a command.
    Entry,
    /// What a client does or is told.
    Client,
    /// What a database does.
    Database,
    /// Phase two on its way.
    PhaseTwo,
    /// What a disk has for certain.
    Disk,
    /// A promise is broken.
    Verdict,
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// By the world's time.
    pub at: Duration,
    /// For faults that go on.
    pub lasts: Duration,
    /// Machines and groups that it is about; the first is who does it.
    pub lanes: Vec<String>,
    /// See there.
    pub kind: Kind,
    /// What happened, with ids.
    pub text: String,
}

/// See the page.
#[derive(Clone, Default, Debug)]
pub struct Chronicle {
    /// In the order of time.
    pub entries: Vec<Entry>,
    /// Names of transactions.
    pub transactions: BTreeMap<TransactionId, String>,
    /// Whose branch, and its name.
    pub branches: BTreeMap<BranchId, (TransactionId, String)>,
}

/// The lane of a node.
pub fn of_node(node: NodeId) -> String {
    format!("n{node}")
}

/// The lane of a group.
pub fn of_group(group: GroupId) -> String {
    if group == GroupId::META { "meta group".to_owned() } else { format!("group {group}") }
}

impl Chronicle {
    /// Something happened now.
    pub fn add(&mut self, kind: Kind, lanes: Vec<String>, lasts: Duration, text: String) {
        self.entries.push(Entry { at: sim::now(), lasts, lanes, kind, text });
    }

    /// Somebody saw something.
    pub fn see(&mut self, seen: &Seen) {
        let here = sim::here().map(|(name, _)| name).unwrap_or_default();
        let told = match seen {
            Seen::Elected { node, group, term } => {
                let text = format!("leads {} in term {term}", of_group(*group));
                (Kind::Leader, vec![of_node(*node), of_group(*group)], text)
            }
            Seen::Acknowledged { node, transaction, branch } => {
                (Kind::PhaseTwo, vec![of_node(*node)], format!("acknowledges {branch} of {transaction}"))
            }
            Seen::PhaseTwoSent { node, transaction, branch, way } => {
                let text = format!("sends phase two of {branch} of {transaction}: {way:?}");
                (Kind::PhaseTwo, vec![of_node(*node)], text)
            }
            Seen::PhaseTwoAnswered { transaction, branch, status, .. } => {
                (Kind::PhaseTwo, vec![here], format!("hears of {branch} of {transaction}: {status}"))
            }
            Seen::Database { resource, key, effect, .. } => {
                (Kind::Database, vec![here], format!("{resource}: {} of {} is {effect:?}", key.1, key.0))
            }
            Seen::Damaged { resource, key, damage } => {
                (Kind::Database, vec![here], format!("{resource}: {} of {} finds {damage:?}", key.1, key.0))
            }
            Seen::Voted { node, group, term, candidate, .. } => {
                let text =
                    format!("is told that its vote is durable: {} term {term}, for n{candidate}", of_group(*group));
                (Kind::Disk, vec![of_node(*node), of_group(*group)], text)
            }
            Seen::Appended { node, group, last } => {
                let text = format!("is told that {} is durable up to entry {}", of_group(*group), last.index);
                (Kind::Disk, vec![of_node(*node), of_group(*group)], text)
            }
            Seen::Snapshot { node, group, last: Some(last), .. } => {
                let text = format!("has a snapshot of {} up to entry {}", of_group(*group), last.index);
                (Kind::Disk, vec![of_node(*node), of_group(*group)], text)
            }
            Seen::Answered { node, group, log_id } => {
                let text = format!("answers entry {} of {}", log_id.index, of_group(*group));
                (Kind::Disk, vec![of_node(*node), of_group(*group)], text)
            }
            _ => return,
        };
        let (kind, lanes, text) = told;
        self.add(kind, lanes, Duration::ZERO, text);
    }

    /// A group has applied a command.
    pub fn step(&mut self, step: &Step<'_>) {
        self.learn_names(step);
        let Some(text) = told(step.command, step.outcome) else { return };
        let here = sim::here().map(|(name, _)| name).unwrap_or_default();
        self.add(Kind::Entry, vec![of_group(step.group), here], Duration::ZERO, text);
    }

    fn learn_names(&mut self, step: &Step<'_>) {
        match (step.command, step.outcome) {
            (Command::Begin(begin) | Command::BeginNear(begin), Outcome::Begun(transaction)) => {
                let name = begin.name.trim_start_matches("$Saga_").to_owned();
                self.transactions.insert(*transaction, name);
            }
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) => {
                let number = self.branches.values().filter(|(whose, _)| *whose == register.transaction).count();
                let name = match register.application_data.split_once('/') {
                    Some((_, branch)) => format!("branch {branch}"),
                    None => format!("step {number}"),
                };
                self.branches.entry(register.branch).or_insert((register.transaction, name));
            }
            (_, _) => {}
        }
    }

    /// A text with the names of transactions and branches instead of their ids.
    pub fn named(&self, text: &str) -> String {
        let mut named = String::new();
        let mut rest = text;
        while let Some(from) = rest.find(|letter: char| letter.is_ascii_digit()) {
            let digits = rest[from..].find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len() - from);
            named.push_str(&rest[..from]);
            let word = &rest[from..from + digits];
            match self.name_of(word) {
                Some(name) => {
                    drop_address(&mut named);
                    named.push_str(name);
                }
                None => named.push_str(word),
            }
            rest = &rest[from + digits..];
        }
        plain(&(named + rest))
    }

    fn name_of(&self, digits: &str) -> Option<&str> {
        let id: i64 = digits.parse().ok()?;
        let transaction = self.transactions.get(&TransactionId(id)).map(String::as_str);
        transaction.or_else(|| self.branches.get(&BranchId(id)).map(|(_, name)| name.as_str()))
    }

    /// The transactions that a text is about.
    pub fn about(&self, text: &str) -> Vec<TransactionId> {
        let words = text.split(|letter: char| !letter.is_ascii_digit()).filter(|word| word.len() > 6);
        let ids = words.filter_map(|word| word.parse::<i64>().ok());
        let mut about: Vec<TransactionId> = ids
            .filter_map(|id| {
                let own = Some(TransactionId(id)).filter(|id| self.transactions.contains_key(id));
                own.or_else(|| self.branches.get(&BranchId(id)).map(|(whose, _)| *whose))
            })
            .collect();
        about.dedup();
        about
    }
}

/// An XID is an address and an id: the name stands for both.
fn drop_address(text: &mut String) {
    let kept = text.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == ':');
    if text[kept.len()..].matches(':').count() == 2 {
        text.truncate(kept.len());
    }
}

/// What notes say with ids is said twice with names.
fn plain(text: &str) -> String {
    let text = heard(&text.replace("branch branch ", "branch "));
    let text = match text.split_once(' ') {
        Some((name, rest)) if rest.starts_with(&format!("{name} ")) => rest.to_owned(),
        _ => text,
    };
    match text.split_once(" is ") {
        Some((name, same)) if name == same => format!("is told that {name} has begun"),
        Some((name, of)) if name.starts_with("branch ") && of.starts_with("branch ") && of.contains(" of ") => {
            format!("is told that {of} is registered")
        }
        _ => text,
    }
}

/// An answer that a client got or not, in words.
fn heard(text: &str) -> String {
    let answer = |before: &str, answer: &str| match answer.strip_prefix("Some(").and_then(|rest| rest.strip_suffix(')'))
    {
        Some(status) => Some(format!("{before} {status}")),
        None => (answer == "None").then(|| format!("{before} nothing that was heard")),
    };
    text.rsplit_once(' ').and_then(|(before, word)| answer(before, word)).unwrap_or_else(|| text.to_owned())
}

fn told(command: &Command, outcome: &Outcome) -> Option<String> {
    let came = |done: &str| match outcome {
        Outcome::Refused(refusal) => format!("refused, {refusal}"),
        Outcome::Now(status) | Outcome::Decided(status) => format!("{status}"),
        Outcome::Standing(status) => format!("it stands at {status} already"),
        Outcome::Slot(ownership) => format!("it is {ownership} here"),
        _ => done.to_owned(),
    };
    Some(match command {
        Command::Found(_) | Command::Lead(_) | Command::Tick => return None,
        Command::Begin(begin) | Command::BeginNear(begin) => match outcome {
            Outcome::Begun(transaction) => format!("begins {transaction}, with {} ms", begin.timeout_ms),
            _ => format!("begins nothing: {}", came("")),
        },
        Command::RegisterBranch(at) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: at, .. }) => {
            let locks = match (at.lock_keys.as_str(), at.with_locks) {
                ("", _) => String::new(),
                (rows, true) => format!(", rows {rows} with it"),
                (rows, false) => format!(", rows {rows} elsewhere"),
            };
            let what = format!("lists {} of {} ({} at {}{locks})", at.branch, at.transaction, at.kind, at.resource);
            format!("{what}: {}", came("done"))
        }
        Command::RemoveBranch(at) => format!("gives {} of {} up: {}", at.branch, at.transaction, came("done")),
        Command::ReportBranch(at) => {
            format!("notes {} of {} as {}: {}", at.branch, at.transaction, at.status, came("done"))
        }
        Command::Decide(at) => format!("decides {} ({:?}): {}", at.transaction, at.decision, came("done")),
        Command::AcquireLocks(at) => {
            format!("locks rows {} of {} for {}: {}", at.lock_keys, at.resource, at.branch, came("done"))
        }
        Command::ReleaseLocks(at) => format!("lets rows of {} go ({:?}): {}", at.transaction, at.scope, came("done")),
        Command::End(at) => format!("ends {}: {}", at.transaction, came("done")),
        Command::Forget(at) => format!("says a word of old about {}: {}", at.transaction, came("done")),
        Command::Retry(at) => format!("goes on with {} later: {}", at.transaction, came("done")),
        Command::Detach(at) => format!("goes on with {} behind the answer: {}", at.transaction, came("done")),
        Command::Fail(at) => format!("{} fails for good: {}", at.transaction, came("done")),
        Command::Report(at) => format!("hears how the Saga {} stands: {}", at.transaction, came("done")),
        Command::GiveUp(at) => format!("gives {} up: {}", at.transaction, came("done")),
        Command::Operate(at) => {
            format!("an operator has a hand in {} ({:?}): {}", at.transaction, at.operation, came("done"))
        }
        Command::CleanedUp(at) => format!("has {} of {} cleaned up: {}", at.branch, at.transaction, came("done")),
        Command::FreezeSlot(at) => format!("freezes slot {} for attempt {}: {}", at.slot, at.epoch, came("done")),
        Command::InstallSlot(at) => {
            let what = format!("installs chunk {} of slot {} for attempt {}", at.chunk, at.slot, at.epoch);
            format!("{what}: {}", came("done"))
        }
        Command::ActivateSlot(at) => format!("activates slot {} of attempt {}: {}", at.slot, at.epoch, came("done")),
        Command::DropSlot(at) => format!("drops slot {} of attempt {}: {}", at.slot, at.epoch, came("done")),
        Command::UnfreezeSlot(at) => format!("unfreezes slot {} of attempt {}: {}", at.slot, at.epoch, came("done")),
        Command::DiscardSlot(at) => format!("discards slot {} of attempt {}: {}", at.slot, at.epoch, came("done")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_names() {
        let mut chronicle = Chronicle::default();
        let (transaction, branch) = (TransactionId(282_193_273_141_858_306), BranchId(282_193_272_873_435_138));
        chronicle.transactions.insert(transaction, "op-3".to_owned());
        chronicle.branches.insert(branch, (transaction, "branch 1".to_owned()));
        let text = "10.0.0.1:8091:282193273141858306 stands at 7 with 282193272873435138";
        assert_eq!(chronicle.named(text), "op-3 stands at 7 with branch 1");
        for (text, named) in [
            ("282193273141858306 stands at Some(Committed)", "op-3 stands at Committed"),
            ("op-3 asked to commit: None", "op-3 asked to commit: nothing that was heard"),
            ("op-3 282193273141858306 is Committing; leader node 1", "op-3 is Committing; leader node 1"),
        ] {
            assert_eq!(chronicle.named(text), named);
        }
        assert_eq!(chronicle.about(text), [transaction]);
        assert_eq!(chronicle.named("n1 waits 300 ms"), "n1 waits 300 ms");
        assert_eq!(chronicle.named("op-3 is 10.0.0.1:8091:282193273141858306"), "is told that op-3 has begun");
        let note = "branch 3/1 is 282193272873435138 of 282193273141858306";
        assert_eq!(chronicle.named(note), "is told that branch 1 of op-3 is registered");
    }
}
