//! The ghost model: what the whole cluster has agreed on, kept outside of all nodes. No node reads it.
//!
//! It lives off the entries that replicas apply. The first replica to apply an entry moves the model of its group on by
//! the same batch; all others are compared with it (oracle D). From the commands and their outcomes the model keeps a
//! record of every transaction and every row lock, which is deliberately made apart from the coordinator's own state.

pub mod locks;
pub mod told;
pub mod transaction;

use crate::actors::rm::resource_id;
use crate::bank::BranchKey;
use crate::plan::Options;
use crate::seen::Seen;
use locks::Locks;
use quorate_core::cluster::Routing;
use quorate_core::model::{BranchType, GlobalStatus, GroupId, LogId, LogIndex, NodeId, Slot, Term, TransactionId};
use quorate_core::phase_two::Patience;
use quorate_core::txn::command::{OperateV1, Operation, RegisterBranchOnceV1, RegisterBranchV1};
use quorate_core::txn::{Batch, Command, Outcome, ReleaseScope, Transactions, status};
use quorate_raft::events;
use quorate_world::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use told::Told;
use transaction::Transaction;

/// One data group, as its log tells it.
#[derive(Debug)]
pub struct Group {
    /// Its state after the newest entry that any replica has applied.
    pub model: Transactions,
    /// That entry.
    pub at: Option<LogId>,
    /// The state after each of the last entries, while the cluster stops.
    history: BTreeMap<LogIndex, Transactions>,
}

/// All that is known of the cluster.
#[derive(Debug, Default)]
pub struct Ghost {
    /// Data groups.
    pub groups: BTreeMap<GroupId, Group>,
    /// Every transaction that ever began, ended ones too.
    pub transactions: BTreeMap<TransactionId, Transaction>,
    /// Row locks.
    pub locks: Locks,
    /// The newest leader of each group.
    pub leaders: BTreeMap<GroupId, (Term, NodeId)>,
    /// How far each replica has applied.
    pub applied: BTreeMap<(NodeId, GroupId), LogIndex>,
    /// What storage has told each replica.
    pub told: BTreeMap<(NodeId, GroupId), Told>,
    /// Who belongs to each group, by the newest entry about it that any replica has applied.
    pub members: BTreeMap<GroupId, Members>,
    /// By which picture each node routes.
    pub pictures: BTreeMap<NodeId, Routing>,
    /// Transactions of TMs that are gone so long are rolled back before their time, and nobody asks for that; zero: never.
    pub lost_tm_after: Duration,
    /// Of which resources old undo logs are to be deleted, now and then during the run.
    pub undo_logs: BTreeSet<String>,
    /// The processes of nodes that run: which one of its machine. Only where lost TMs matter.
    pub lives: BTreeMap<usize, u32>,
    /// How long phase two waits before it gives something up.
    pub patience: Patience,
    /// Branches that were left to an operator, and that he has not finished yet.
    pub left: BTreeSet<BranchKey>,
    /// The world's time.
    pub now: Duration,
    /// Faults that bear on nodes, disks, clocks or the network go on until then.
    pub restless_until: Duration,
    /// Earlier states of groups are kept.
    pub keeps_history: bool,
}

/// Who belongs to a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members {
    /// The entry that says so.
    pub at: LogIndex,
    /// Who votes; two sets while they change.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Who only follows.
    pub learners: BTreeSet<NodeId>,
}

/// One command of an entry with its outcome.
pub type Done = (Command, Outcome);

impl Ghost {
    /// Of a cluster with these settings, before it is founded.
    pub fn of(options: &Options) -> Ghost {
        let lost_tm_after = Duration::from_millis(options.lost_tm_ms);
        let undo_logs = match options.undo_logs_ms {
            0 => BTreeSet::new(),
            _ => (1..=options.rms).map(|rm| resource_id(BranchType::AT, rm)).collect(),
        };
        Ghost { lost_tm_after, undo_logs, patience: options.patience(), ..Ghost::default() }
    }

    /// Whether early rollback is configured.
    pub fn rolls_back_lost_tms(&self) -> bool {
        !self.lost_tm_after.is_zero()
    }

    /// Moves the model on, if nobody has applied this entry before. Gives the hash of the model's own outcomes.
    pub fn apply(&mut self, group: GroupId, at: LogId, batch: &Batch) -> Option<(Vec<Done>, u64)> {
        let keeps_history = self.keeps_history;
        let found = self.groups.entry(group).or_insert_with(|| Group {
            model: Transactions::new(),
            at: None,
            history: BTreeMap::new(),
        });
        if found.at.is_some_and(|last| last.index >= at.index) {
            return None;
        }
        found.at = Some(at);
        let outcomes = found.model.apply(batch);
        if keeps_history {
            found.history.insert(at.index, found.model.clone());
        }
        let hash = events::outcomes_hash::<Transactions>(&outcomes);
        let clock_ms = found.model.clock_ms();
        let done: Vec<Done> = batch.commands.iter().cloned().zip(outcomes).collect();
        for (command, outcome) in &done {
            self.note(group, clock_ms, command, outcome);
        }
        Some((done, hash))
    }

    /// Storage has told a replica something.
    pub fn tell(&mut self, seen: &Seen) {
        match seen {
            Seen::Voted { node, group, term, candidate, leads } => {
                self.told.entry((*node, *group)).or_default().vote(*term, *candidate, *leads);
            }
            Seen::Appended { node, group, last } => self.told.entry((*node, *group)).or_default().appended(*last),
            Seen::Wiping { node, group } => {
                self.told.entry((*node, *group)).or_default().wiping();
                self.applied.remove(&(*node, *group));
            }
            Seen::Members { group, log_id, voters, learners } => {
                let members = Members { at: log_id.index, voters: voters.clone(), learners: learners.clone() };
                if self.members.get(group).is_none_or(|known| known.at < members.at) {
                    self.members.insert(*group, members);
                }
            }
            Seen::Applied { node, group, .. } => self.told.entry((*node, *group)).or_default().applied(),
            Seen::Pictured { node, routing } => _ = self.pictures.insert(*node, routing.clone()),
            Seen::Truncating { node, group, from } => self.told.entry((*node, *group)).or_default().truncating(*from),
            Seen::Snapshot { node, group, last, .. } => {
                self.told.entry((*node, *group)).or_default().snapshot(*last);
            }
            _ => {}
        }
    }

    /// A node starts: its replicas have applied nothing yet.
    pub fn starts(&mut self, node: NodeId) {
        self.applied.retain(|(other, _), _| *other != node);
    }

    /// All that a node was told, group by group.
    pub fn told_to(&self, node: NodeId) -> BTreeMap<GroupId, Told> {
        let its = self.told.range((node, GroupId(0))..=(node, GroupId(u32::MAX)));
        its.map(|((_, group), told)| (*group, told.clone())).collect()
    }

    /// From now on earlier states can be asked for.
    pub fn keep_history(&mut self) {
        self.keeps_history = true;
        for group in self.groups.values_mut() {
            let at = group.at.map_or(LogIndex(0), |at| at.index);
            group.history.insert(at, group.model.clone());
        }
    }

    /// The hash of the state after the last entry up to this one; none if it was not kept.
    pub fn state_hash_at(&self, group: GroupId, index: LogIndex) -> Option<u64> {
        let (_, state) = self.groups.get(&group)?.history.range(..=index).next_back()?;
        Some(events::state_hash(state))
    }

    fn registered(&mut self, group: GroupId, register: &RegisterBranchV1) {
        if register.with_locks {
            let RegisterBranchV1 { transaction, branch, resource, lock_keys, .. } = register;
            self.locks.take(group, *transaction, *branch, resource, lock_keys);
        }
        if let Some(found) = self.transactions.get_mut(&register.transaction) {
            found.register(register);
        }
    }

    fn note(&mut self, group: GroupId, clock_ms: u64, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (Command::Begin(begin) | Command::BeginNear(begin), Outcome::Begun(transaction)) => {
                let begun = Transaction::begun(group, clock_ms, begin);
                self.transactions.insert(*transaction, begun);
            }
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) => self.registered(group, register),
            (Command::RemoveBranch(remove), Outcome::Done) => {
                self.locks.release_branch_at(group, remove.transaction, remove.branch);
                if let Some(found) = self.transactions.get_mut(&remove.transaction) {
                    found.listed.remove(&remove.branch);
                }
            }
            (Command::ReportBranch(report), Outcome::Done) => {
                if let Some(found) = self.transactions.get_mut(&report.transaction) {
                    found.report(report);
                }
            }
            (Command::Decide(decide), Outcome::Decided(decided)) => {
                let at = self.groups.get(&group).and_then(|group| group.at);
                if let Some(found) = self.transactions.get_mut(&decide.transaction) {
                    found.decide(*decided, clock_ms);
                    found.decided_at = at.map(|at| at.index);
                }
                if status::direction(*decided) == Some(status::Direction::Commit) {
                    self.locks.release_own(group, decide.transaction);
                }
            }
            (Command::AcquireLocks(acquire), Outcome::Acquired) => {
                self.locks.take(group, acquire.transaction, acquire.branch, &acquire.resource, &acquire.lock_keys);
            }
            (Command::ReleaseLocks(release), Outcome::Released) => match &release.scope {
                ReleaseScope::All => self.locks.release_slot(release.transaction, release.slot),
                ReleaseScope::Branches(branches) => {
                    branches.iter().for_each(|branch| self.locks.release(release.transaction, *branch, release.slot));
                }
            },
            (Command::End(ended), Outcome::Now(now)) => {
                self.locks.release_own(group, ended.transaction);
                if let Some(found) = self.transactions.get_mut(&ended.transaction) {
                    found.end(*now, clock_ms);
                }
            }
            (Command::Report(report), Outcome::Decided(now) | Outcome::Now(now)) => {
                let decides = matches!(outcome, Outcome::Decided(_));
                self.heard(group, clock_ms, report.transaction, *now, decides);
            }
            (Command::GiveUp(give_up), Outcome::Now(now)) => self.set_status(give_up.transaction, *now),
            (Command::Operate(operate), Outcome::Now(now)) => self.operated(group, clock_ms, operate, *now),
            (Command::Retry(which) | Command::Detach(which), Outcome::Now(now)) => {
                self.set_status(which.transaction, *now);
            }
            (Command::Fail(fail), Outcome::Now(now)) => self.set_status(fail.transaction, *now),
            (Command::CleanedUp(at), Outcome::Now(_)) => self.locks.release_branch_at(group, at.transaction, at.branch),
            (Command::ActivateSlot(step), Outcome::Slot(_)) => self.moved(step.slot, group),
            (_, _) => {}
        }
    }

    /// A slot serves in this group from here on, if it has not before: its transactions live there, and its rows are held there.
    fn moved(&mut self, slot: Slot, group: GroupId) {
        self.locks.moved(slot, group);
        let clock_of = |group: &GroupId| self.groups.get(group).map_or(0, |found| found.model.clock_ms());
        let clock_ms = clock_of(&group);
        let moving = self.transactions.iter_mut().filter(|(transaction, _)| transaction.slot() == slot);
        for (transaction, found) in moving.filter(|(_, found)| found.group != group) {
            let session = self.groups.get(&group).and_then(|there| there.model.session(*transaction));
            let about = i64::try_from(clock_ms).unwrap_or(0) - i64::try_from(clock_of(&found.group)).unwrap_or(0);
            found.moved(clock_ms, session.map(|session| session.age_ms(clock_ms)), about);
            found.group = group;
        }
    }

    /// An engine has spoken. Where that decides, it decides on the branches beside its steps too.
    fn heard(&mut self, group: GroupId, clock_ms: u64, transaction: TransactionId, now: GlobalStatus, decides: bool) {
        if let Some(found) = self.transactions.get_mut(&transaction) {
            found.hear(now, clock_ms);
        }
        if decides && status::direction(now) == Some(status::Direction::Commit) {
            self.locks.release_own(group, transaction);
        }
    }

    fn operated(&mut self, group: GroupId, clock_ms: u64, operate: &OperateV1, now: GlobalStatus) {
        let has_ended =
            || self.groups.get(&group).is_some_and(|group| group.model.session(operate.transaction).is_none());
        match operate.operation {
            Operation::DropBranch(branch) => {
                self.locks.release_branch_at(group, operate.transaction, branch);
                if let Some(found) = self.transactions.get_mut(&operate.transaction)
                    && found.dropped.insert(branch)
                {
                    self.left.insert((operate.transaction, branch));
                }
            }
            Operation::Stop
            | Operation::Start
            | Operation::Reopen
            | Operation::StopBranch(_)
            | Operation::StartBranch(_)
            | Operation::CleanUpBranch(_) => self.set_status(operate.transaction, now),
            // With nothing to clean up it is over at once.
            Operation::CleanUp if !has_ended() => self.set_status(operate.transaction, now),
            Operation::Delete | Operation::ForceDelete | Operation::CleanUp => {
                self.locks.release_own(group, operate.transaction);
                if let Some(found) = self.transactions.get_mut(&operate.transaction) {
                    found.end(now, clock_ms);
                    if operate.operation == Operation::ForceDelete {
                        found.forced = true;
                        // Nothing was decided before: he has done so.
                        found.decision = found.decision.or(status::direction(now));
                        self.left.extend(found.listed.keys().map(|branch| (operate.transaction, *branch)));
                    }
                }
            }
        }
    }

    fn set_status(&mut self, transaction: TransactionId, now: GlobalStatus) {
        if let Some(found) = self.transactions.get_mut(&transaction) {
            found.become_status(now);
        }
    }

    /// The record of a transaction.
    pub fn transaction(&self, transaction: TransactionId) -> Option<&Transaction> {
        self.transactions.get(&transaction)
    }

    /// Whether a rollback was given up here and lets its rows go though they are not put back.
    pub fn lets_go(&self, transaction: TransactionId) -> bool {
        let found = self.transactions.get(&transaction);
        self.patience.unlocks && found.is_some_and(|found| found.statuses.contains(&GlobalStatus::RollbackRetryTimeout))
    }

    /// Whether the rows of this branch go though they may not be put back: as above, or an operator has let them go by force.
    pub fn lets_go_of(&self, (transaction, branch): BranchKey) -> bool {
        self.lets_go(transaction) || self.is_left((transaction, branch))
    }

    /// Whether an operator finishes what this branch did.
    pub fn is_left(&self, (transaction, branch): BranchKey) -> bool {
        self.transactions.get(&transaction).is_some_and(|found| found.is_left(branch))
    }

    /// What was decided on it, if anything was.
    pub fn decision(&self, transaction: TransactionId) -> Option<status::Direction> {
        self.transactions.get(&transaction)?.decision
    }
}
