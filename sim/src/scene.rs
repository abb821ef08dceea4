//! What everybody of a run shares outside of the machines: the plan, the ghost model and its oracles, the databases, and
//! what went wrong first.
//!
//! Taps, clients and databases report to [`Scene::saw`]; the first broken promise ends the run. Nothing here waits.

mod places;

use crate::bank::ring::{CHANGES, Change};
use crate::bank::{Bank, BranchKey, Damage, Effect};
use crate::chronicle::{Chronicle, Kind as About, of_group, of_node};
use crate::coverage::Cells;
use crate::ghost::Ghost;
use crate::histories::Histories;
use crate::oracles::{self, Finding, Oracle};
use crate::plan::operations::{PlannedBranch, RmDeath, TmDeath};
use crate::plan::swarm::Class;
use crate::plan::{Plan, ms};
use crate::seen::{Seen, Step};
use crate::verdict::{Failure, Kind};
use quorate_core::model::{GroupId, LogId, NodeId};
use quorate_core::txn::{Batch, Command, Outcome};
use quorate_world::sim::{self, Machine};
use quorate_world::sync::Notify;
use quorate_world::time::{Duration, sleep};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Nodes that come and go move groups for so long, at most.
const MOVES_LAST: Duration = Duration::from_secs(120);

/// See the page.
pub struct Scene {
    /// What is going to happen.
    pub plan: Plan,
    watch: Mutex<Watch>,
    alarm: Notify,
    chronicle: Option<Mutex<Chronicle>>,
}

/// What is known at this moment.
pub struct Watch {
    /// The model.
    pub ghost: Ghost,
    /// The databases.
    pub bank: Bank,
    oracles: Vec<Box<dyn Oracle>>,
    /// For the check of the checker.
    pub histories: Histories,
    failure: Option<Failure>,
    /// When the cluster was ready: the plan's zero.
    ready_at: Option<Duration>,
    started: BTreeSet<u32>,
    finished: BTreeSet<u32>,
    tm_deaths: BTreeSet<(u32, TmDeath)>,
    rm_deaths: BTreeSet<(u32, u32, RmDeath)>,
    /// How often phase two of a branch was answered "try again", and "never".
    retried: BTreeMap<(u32, u32), u32>,
    refused: BTreeMap<(u32, u32), u32>,
    named: BTreeMap<BranchKey, (u32, u32)>,
    /// What a transaction is going to make of rows of the ring, as its TM has read them.
    pub swaps: BTreeMap<u32, [Change; CHANGES]>,
    /// What an undo found written over, and where.
    pub dirty: BTreeSet<(String, BranchKey)>,
    /// Branches that were slow once, as planned.
    slowed: BTreeSet<(u32, u32)>,
    /// How often each class of planned faults has happened.
    pub fired: BTreeMap<Class, u64>,
    /// The faults are over.
    pub is_healed: bool,
    /// What is wished of nodes and not yet said, each as the end of a path.
    pub wishes: VecDeque<String>,
    /// What faults met.
    pub cells: Cells,
    /// Whose disk is damaged.
    damaged: Option<Machine>,
    /// On which machine each node was seen last: numbers and machines part when a disk is lost.
    places: BTreeMap<NodeId, Machine>,
    /// A disk was lost for good.
    lost_a_disk: bool,
    /// How many begins were answered, and how many of them committed, as clients saw it.
    pub told: (u64, u64),
    /// Questions of clients so far.
    questions: u64,
}

impl Scene {
    /// Of a run before it begins.
    pub fn new(plan: Plan, keeps_chronicle: bool) -> Arc<Scene> {
        let resources = |kind: &'static str| (1..=plan.options.rms).map(move |number| format!("{kind}-{number}"));
        let mut bank = Bank::open(resources("at"), resources("tcc"), resources("xa"), resources("saga_annotation"));
        bank.lay_ring(plan.options.ring, plan.options.rms);
        let watch = Watch {
            ghost: Ghost::of(&plan.options),
            bank,
            oracles: oracles::all(),
            histories: Histories::default(),
            failure: None,
            ready_at: None,
            started: BTreeSet::new(),
            finished: BTreeSet::new(),
            tm_deaths: BTreeSet::new(),
            rm_deaths: BTreeSet::new(),
            retried: BTreeMap::new(),
            refused: BTreeMap::new(),
            named: BTreeMap::new(),
            swaps: BTreeMap::new(),
            dirty: BTreeSet::new(),
            slowed: BTreeSet::new(),
            fired: BTreeMap::new(),
            is_healed: false,
            wishes: VecDeque::new(),
            cells: Cells::default(),
            damaged: None,
            places: BTreeMap::new(),
            lost_a_disk: false,
            told: (0, 0),
            questions: 0,
        };
        let chronicle = keeps_chronicle.then(Mutex::default);
        Arc::new(Scene { plan, watch: Mutex::new(watch), alarm: Notify::new(), chronicle })
    }

    /// The chronicle, if one is kept.
    pub fn chronicle(&self) -> Option<MutexGuard<'_, Chronicle>> {
        self.chronicle.as_ref().map(|kept| kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the chronicle of something that happens now and goes on for so long.
    pub fn tell(&self, kind: About, lanes: &[String], lasts: Duration, text: &str) {
        if let Some(mut chronicle) = self.chronicle() {
            chronicle.add(kind, lanes.to_vec(), lasts, text.to_owned());
        }
    }

    /// A client says what it does or was told, to the trace and to the chronicle.
    pub fn note(&self, text: &str) {
        sim::note(text);
        if let Some((here, _)) = self.chronicle.as_ref().and_then(|_| sim::here()) {
            self.tell(About::Client, &[here], Duration::ZERO, text);
        }
    }

    /// Lends what is known. Never held across an await.
    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody saw something.
    pub fn saw(&self, seen: Seen) {
        if let Some(mut chronicle) = self.chronicle() {
            chronicle.see(&seen);
        }
        let mut watch = self.watch();
        let failed = watch.saw(&seen);
        self.raise(&mut watch, failed);
    }

    /// A replica has applied a batch of commands.
    pub fn applied(&self, node: NodeId, group: GroupId, log_id: LogId, batch: &Batch) {
        let mut watch = self.watch();
        let mut failed = Ok(());
        if let Some((done, model_hash)) = watch.ghost.apply(group, log_id, batch) {
            failed = watch.saw(&Seen::Outcomes { node, group, log_id, hash: model_hash });
            for (command, outcome) in &done {
                watch.met(group, command, outcome);
                if let Some(mut chronicle) = self.chronicle() {
                    chronicle.step(&Step { group, command, outcome });
                }
                failed = failed.and_then(|()| watch.step(&Step { group, command, outcome }));
            }
        }
        self.raise(&mut watch, failed);
    }

    fn raise(&self, watch: &mut Watch, failed: Result<(), (&'static str, Finding)>) {
        if let Err((oracle, finding)) = failed {
            self.fail(watch, Failure { kind: Kind::Safety, oracle: oracle.to_owned(), finding, at: sim::now() });
        }
    }

    /// The run has failed; the first time counts.
    pub fn fail(&self, watch: &mut Watch, failure: Failure) {
        if watch.failure.is_none() {
            sim::note(&format!("failure {} {}", failure.oracle, failure.finding.text));
            let Finding { node, group, .. } = failure.finding;
            let lanes: Vec<String> = node.map(of_node).into_iter().chain(group.map(of_group)).collect();
            self.tell(About::Verdict, &lanes, Duration::ZERO, &failure.finding.text);
            watch.failure = Some(failure);
            self.alarm.notify_one();
        }
    }

    /// Waits for the first failure.
    pub async fn failed(&self) -> Failure {
        loop {
            if let Some(failure) = self.watch().failure.clone() {
                return failure;
            }
            self.alarm.notified().await;
        }
    }

    /// The cluster is ready: the plan begins.
    pub fn begin(&self) {
        self.watch().ready_at = Some(sim::now());
    }

    /// Waits for a moment of the plan, by the world's time.
    pub async fn until(&self, at_ms: u64) {
        loop {
            let ready_at = self.watch().ready_at;
            let left = match ready_at {
                Some(ready_at) => (ready_at + ms(at_ms)).saturating_sub(sim::now()),
                None => ms(100),
            };
            if left.is_zero() {
                return;
            }
            sleep(left.max(ms(1))).await;
        }
    }

    /// Whether this transaction has not been started yet; it is, then.
    pub fn claim(&self, op: u32) -> bool {
        self.watch().started.insert(op)
    }

    /// A transaction is over for its TM.
    pub fn finish(&self, op: u32) {
        self.watch().finished.insert(op);
    }

    /// A TM has died: what it was doing is nobody's any more.
    pub fn abandon(&self, tm: u32) {
        let mut watch = self.watch();
        let its = self.plan.operations.iter().filter(|operation| operation.tm + 1 == tm).map(|operation| operation.op);
        let started: Vec<u32> = its.filter(|op| watch.started.contains(op)).collect();
        watch.finished.extend(started);
    }

    /// Whether the faults are over.
    pub fn is_healed(&self) -> bool {
        self.watch().is_healed
    }

    /// A planned fault has happened in a moment.
    pub fn fired(&self, class: Class) {
        self.strikes(class, Duration::ZERO);
    }

    /// A planned fault has begun, and goes on for so long.
    pub fn strikes(&self, class: Class, lasts: Duration) {
        self.watch().strikes(class, lasts);
    }

    /// Code of a node takes its time: nobody is to be judged by how long an answer took.
    pub fn lingers(&self, lasts: Duration) {
        let until = &mut self.watch().ghost.restless_until;
        *until = (*until).max(sim::now() + lasts);
    }

    /// How long this phase-two call takes, beyond the usual; the first of a branch does.
    pub fn slowness(&self, op: u32, branch: u32) -> Duration {
        let slow_ms = self.planned(op, branch).map_or(0, |found| found.slow_ms);
        let mut watch = self.watch();
        if slow_ms == 0 || !watch.slowed.insert((op, branch)) {
            return Duration::ZERO;
        }
        watch.strikes(Class::SlowRm, ms(slow_ms));
        ms(slow_ms)
    }

    /// Whether the TM dies here, which it does once.
    pub fn tm_dies(&self, op: u32, at: TmDeath) -> bool {
        let planned = self.plan.operation(op).is_some_and(|found| found.tm_death == Some(at));
        let mut watch = self.watch();
        let dies = planned && watch.tm_deaths.insert((op, at));
        if dies {
            watch.strikes(Class::TmDeath, Duration::ZERO);
        }
        dies
    }

    /// Whether the RM dies here, which it does once.
    pub fn rm_dies(&self, op: u32, branch: u32, at: RmDeath) -> bool {
        let planned = self.planned(op, branch).is_some_and(|found| found.rm_death == Some(at));
        let mut watch = self.watch();
        let dies = planned && watch.rm_deaths.insert((op, branch, at));
        if dies {
            watch.strikes(Class::RmDeath, Duration::ZERO);
        }
        dies
    }

    /// A number for a question that a client is going to ask.
    pub fn question(&self) -> u64 {
        let mut watch = self.watch();
        watch.questions += 1;
        watch.questions
    }

    /// This is the branch of the plan that a branch id stands for.
    pub fn names(&self, key: BranchKey, op: u32, branch: u32) {
        self.watch().named.insert(key, (op, branch));
    }

    /// Which branch of the plan it is. An RM's own books: a report without data takes the data of the branch along.
    pub fn named(&self, key: BranchKey) -> Option<(u32, u32)> {
        self.watch().named.get(&key).copied()
    }

    /// What this branch is to make of a row of the ring.
    pub fn swap(&self, op: u32, branch: u32) -> Option<Change> {
        self.watch().swaps.get(&op)?.get(branch as usize).copied()
    }

    /// Whether this phase-two call is to be answered "try again".
    pub fn retries(&self, op: u32, branch: u32) -> bool {
        let planned = self.planned(op, branch).map_or(0, |found| found.retries);
        let left = more(self.watch().retried.entry((op, branch)).or_default(), planned);
        left.then(|| self.fired(Class::Hiccup)).is_some()
    }

    /// Whether it is to be answered "never".
    pub fn refuses(&self, op: u32, branch: u32) -> bool {
        let planned = self.planned(op, branch).map_or(0, |found| found.refuses);
        let left = more(self.watch().refused.entry((op, branch)).or_default(), planned);
        left.then(|| self.fired(Class::Hiccup)).is_some()
    }

    fn planned(&self, op: u32, branch: u32) -> Option<&PlannedBranch> {
        self.plan.operation(op)?.branches.get(branch as usize)
    }

    /// Calls a database and shows what came of it. `None`: it found what must not be.
    pub fn bank(
        &self,
        resource: &str,
        key: BranchKey,
        call: impl FnOnce(&mut Bank) -> Option<(Result<Effect, Damage>, Vec<BranchKey>)>,
    ) -> Option<Effect> {
        let mut watch = self.watch();
        let (result, others) = call(&mut watch.bank)?;
        let resource = resource.to_owned();
        let (effect, seen) = match result {
            Ok(effect) => (Some(effect), Seen::Database { resource, key, effect, others }),
            Err(damage) => (None, Seen::Damaged { resource, key, damage }),
        };
        sim::note(&format!("{seen:?}"));
        if let Some(mut chronicle) = self.chronicle() {
            chronicle.see(&seen);
        }
        let failed = watch.saw(&seen);
        self.raise(&mut watch, failed);
        effect
    }
}

/// Whether it has not happened so often yet as it is planned to; it happens.
fn more(so_far: &mut u32, planned: u32) -> bool {
    let left = *so_far < planned;
    *so_far += u32::from(left);
    left
}

impl Watch {
    fn strikes(&mut self, class: Class, lasts: Duration) {
        *self.fired.entry(class).or_default() += 1;
        self.cells.strikes(class, lasts);
        if !class.is_of_clients() {
            // What is wished of the members takes its time.
            let moves = matches!(class, Class::Membership | Class::Slots);
            let lasts = if moves { lasts.max(MOVES_LAST) } else { lasts };
            let until = &mut self.ghost.restless_until;
            *until = (*until).max(sim::now() + lasts);
        }
    }

    /// What time it is, and who lives.
    fn look(&mut self) {
        self.ghost.now = sim::now();
        if self.ghost.rolls_back_lost_tms() {
            let running = self.places.values().filter(|machine| machine.is_running());
            self.ghost.lives = running.map(|machine| (machine.index(), machine.lives())).collect();
        }
    }

    fn saw(&mut self, seen: &Seen) -> Result<(), (&'static str, Finding)> {
        self.look();
        self.remember(seen);
        let Watch { ghost, oracles, histories, .. } = self;
        histories.see(ghost, seen);
        for oracle in oracles {
            oracle.see(ghost, seen).map_err(|finding| (oracle.name(), finding))?;
        }
        Ok(())
    }

    fn met(&mut self, group: GroupId, command: &Command, outcome: &Outcome) {
        let Watch { ghost, cells, .. } = self;
        if let Some(found) = ghost.groups.get(&group) {
            cells.applied(group, &found.model, command, outcome);
        }
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), (&'static str, Finding)> {
        self.look();
        let Watch { ghost, oracles, histories, .. } = self;
        histories.step(ghost, step);
        for oracle in oracles {
            oracle.step(ghost, step).map_err(|finding| (oracle.name(), finding))?;
        }
        Ok(())
    }

    fn remember(&mut self, seen: &Seen) {
        let ghost = &mut self.ghost;
        ghost.tell(seen);
        match seen {
            Seen::Snapshot { node, group, last: Some(last), .. } => {
                let applied = ghost.applied.entry((*node, *group)).or_default();
                *applied = (*applied).max(last.index);
            }
            Seen::Applied { node, group, log_id, .. } => {
                ghost.applied.insert((*node, *group), log_id.index);
            }
            Seen::Elected { node, group, term } => {
                let newest = ghost.leaders.entry(*group).or_insert((*term, *node));
                *newest = (*newest).max((*term, *node));
            }
            Seen::Acknowledged { transaction, branch, .. } => {
                if let Some(found) = ghost.transactions.get_mut(transaction) {
                    found.acknowledged.insert(*branch);
                }
            }
            Seen::PhaseTwoSent { node, transaction, branch, way } => {
                if let Some(found) = ghost.transactions.get_mut(transaction) {
                    found.phase_two.insert(*branch, format!("{way:?} sent by node {node} at {:?}", sim::now()));
                }
            }
            Seen::PhaseTwoAnswered { transaction, branch, status, .. } => {
                if let Some(found) = ghost.transactions.get_mut(transaction) {
                    found.phase_two.insert(*branch, format!("answered {status} at {:?}", sim::now()));
                }
            }
            Seen::Damaged { resource, key, damage: Damage::DirtyWrite(_) } => {
                self.dirty.insert((resource.clone(), *key));
            }
            Seen::ToldBegun { .. } => self.told.0 += 1,
            Seen::ToldEnd { commit: true, .. } => self.told.1 += 1,
            _ => {}
        }
    }

    /// What went wrong, if anything did.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.clone()
    }

    /// What still keeps the world from rest, with the oracle that waits for it.
    pub fn pending(&self) -> Vec<(&'static str, Finding)> {
        let Watch { ghost, bank, oracles, .. } = self;
        let named = |name: &'static str, found: Vec<Finding>| found.into_iter().map(move |finding| (name, finding));
        oracles.iter().flat_map(|oracle| named(oracle.name(), oracle.pending(ghost, bank))).collect()
    }

    /// Transactions that their TMs are still busy with.
    pub fn unfinished(&self) -> Vec<u32> {
        self.started.difference(&self.finished).copied().collect()
    }

    /// Judges the world at rest.
    pub fn at_rest(&mut self) -> Result<(), (&'static str, Finding)> {
        let Watch { ghost, bank, oracles, .. } = self;
        for oracle in oracles {
            oracle.at_rest(ghost, bank).map_err(|finding| (oracle.name(), finding))?;
        }
        Ok(())
    }
}
