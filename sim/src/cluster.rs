//! The coordinator nodes: three machines that run the production entry function on a configuration text, another one once a
//! disk was lost.
//!
//! A node that ends by itself, whatever its code, ends the run: nothing that the simulation does to it is a reason to.

use crate::actors::{node_ip, operator};
use crate::chronicle::Kind as About;
use crate::plan::{Plan, ms};
use crate::scene::Scene;
use crate::verdict::{Failure, Kind};
use quorate_core::model::NodeId;
use quorate_server::config::{Config, ConfigError};
use quorate_server::exit::ExitCode;
use quorate_world::sim::{self, Ending, Machine};
use quorate_world::task;
use quorate_world::time::{Duration, sleep};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A founding or a restart of all, without faults, takes no longer.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// What the server promises for a stop, and a little for the simulated way.
const STOP_PATIENCE: Duration = Duration::from_secs(12);

/// Undo logs of so many days are kept.
pub const UNDO_LOG_DAYS: i16 = 5;

/// How a node ends that is a member no more.
const IDENTITY: i32 = 77;

/// The nodes.
pub struct Cluster {
    scene: Arc<Scene>,
    /// One machine per node, n1 first, those that may join after the founders.
    pub machines: Vec<Machine>,
    founders: usize,
    stopping: Arc<AtomicBool>,
    losses: Vec<Arc<Loss>>,
    /// Whether the node that may join has been asked to, and whether it is to go for good.
    spare: Arc<Spare>,
}

/// Of the disk of one machine.
#[derive(Default)]
struct Loss {
    /// It is gone, and there is no other yet.
    away: AtomicBool,
    /// It is another one, and the node on it joins.
    joins: AtomicBool,
}

#[derive(Default)]
struct Spare {
    called: AtomicBool,
    dismissed: AtomicBool,
    /// It was told to go, or is dead.
    gone: AtomicBool,
}

/// What a node is told.
fn config(plan: &Plan, number: u32, joins: bool) -> Result<Config, ConfigError> {
    let mut config = Config::from_toml(&configuration(plan, number, joins))?;
    plan.options.knobs.set(&mut config);
    Ok(config)
}

fn configuration(plan: &Plan, number: u32, joins: bool) -> String {
    let peers: Vec<String> = (1..=plan.options.nodes).map(|node| format!("{node}={}:9091", node_ip(node))).collect();
    let belongs = if !joins {
        format!("node_id = {number}\npeers = \"{}\"", peers.join(","))
    } else {
        format!("join = \"{}:9091\"", node_ip(1 + number % plan.options.nodes))
    };
    let given = |key: &str, ms: Option<u64>| ms.map_or(String::new(), |ms| format!("{key} = {ms}\n"));
    let patience = plan.options.patience();
    let phase_two = format!(
        "[phase_two]\nxaer_nota_ms = {}\nrollback_unlock = {}\n{}{}",
        patience.xaer_nota_ms,
        patience.unlocks,
        given("commit_retry_ms", patience.commit_retry_ms),
        given("rollback_retry_ms", patience.rollback_retry_ms),
    );
    format!(
        "{belongs}\nadvertise = \"{}:8091\"\ndata_dir = \"data\"\ngroups = {}\nadmin.token = \"{}\"\n\
         [raft]\nheartbeat_ms = {}\nelection_timeout_ms = {}\nhibernate_after_ms = {}\nsnapshot_interval_s = {}\nlog_entries_kept = {}\n\
         batch_commands_max = {}\nbatches_in_flight_max = {}\n{}{phase_two}{}{}[clients]\nbatch_results = {}\n{}{}",
        node_ip(number),
        plan.options.groups,
        operator::TOKEN,
        plan.options.heartbeat_ms,
        plan.options.heartbeat_ms * 10 / 3,
        plan.options.hibernate_ms,
        plan.options.snapshot_interval_s,
        plan.options.log_entries_kept,
        plan.options.batch_commands_max,
        plan.options.batches_in_flight_max,
        plan.options.knobs.of_raft(),
        match plan.options.lost_tm_ms {
            0 => String::new(),
            lost_tm_ms => format!("[tm]\nlost_rollback_ms = {lost_tm_ms}\n"),
        },
        match plan.options.undo_logs_ms {
            0 => format!("[undo_log]\nsave_days = {UNDO_LOG_DAYS}\n"),
            period_ms => format!("[undo_log]\ndelete_period_ms = {period_ms}\nsave_days = {UNDO_LOG_DAYS}\n"),
        },
        plan.options.batch_results,
        plan.options.knobs.storage(),
        plan.options.knobs.tables(),
    )
}

impl Cluster {
    /// Adds the machines, without starting them.
    pub fn build(scene: &Arc<Scene>) -> Cluster {
        let (founders, all) = (scene.plan.options.nodes, scene.plan.options.nodes + scene.plan.options.spares);
        let losses: Vec<Arc<Loss>> = (1..=all).map(|_| Arc::default()).collect();
        let add = |(number, loss): (u32, &Arc<Loss>)| {
            let configs = [false, true].map(|joins| config(&scene.plan, number, joins));
            let loss = loss.clone();
            sim::add_machine(&format!("n{number}"), node_ip(number), move || {
                let joins = number > founders || loss.joins.load(Ordering::Relaxed);
                run_node(configs[usize::from(joins)].clone())
            })
        };
        Cluster {
            scene: scene.clone(),
            machines: (1..).zip(&losses).map(add).collect(),
            losses,
            founders: scene.plan.options.nodes as usize,
            stopping: Arc::default(),
            spare: Arc::default(),
        }
    }

    /// The node that may join, and whether it has been asked to.
    pub fn spare(&self) -> Option<(Machine, bool)> {
        let machine = self.machines.get(self.founders)?;
        Some((*machine, self.spare.called.load(Ordering::Relaxed)))
    }

    /// Lets it join.
    pub fn call_spare(&self) {
        self.spare.called.store(true, Ordering::Relaxed);
        self.spare().into_iter().for_each(|(machine, _)| self.start(machine));
    }

    /// From now on it may end by itself, and is started no more once it has; or not at all.
    pub fn dismiss_spare(&self, for_good: bool) {
        self.spare.dismissed.store(true, Ordering::Relaxed);
        self.spare.gone.fetch_or(for_good, Ordering::Relaxed);
    }

    /// The node dies and its disk is taken out. It starts no more before it has another one.
    pub fn lose_disk(&self, machine: Machine) {
        self.loss(machine).into_iter().for_each(|loss| loss.away.store(true, Ordering::Relaxed));
        machine.kill();
        machine.disk().wipe();
    }

    /// It has an empty disk now, and joins.
    pub fn return_empty(&self, machine: Machine) {
        let Some(loss) = self.loss(machine) else { return };
        loss.joins.store(true, Ordering::Relaxed);
        loss.away.store(false, Ordering::Relaxed);
        self.start(machine);
    }

    fn loss(&self, machine: Machine) -> Option<&Loss> {
        let place = self.machines.iter().position(|known| *known == machine)?;
        self.losses.get(place).map(Arc::as_ref)
    }

    /// Whether a machine is somewhere on its way in or out, or not there yet.
    fn stays_away(&self, machine: Machine) -> bool {
        if self.loss(machine).is_some_and(|loss| loss.away.load(Ordering::Relaxed)) {
            return true;
        }
        let called = self.spare.called.load(Ordering::Relaxed) && !self.spare.gone.load(Ordering::Relaxed);
        self.spare().is_some_and(|(spare, _)| spare == machine) && !called
    }

    /// Starts a node that does not run, and watches over its end.
    pub fn start(&self, machine: Machine) {
        if machine.is_running() || self.stays_away(machine) {
            return;
        }
        if is_full(machine) {
            _ = machine.take_said();
        }
        machine.start();
        let node = self.node(machine);
        node.into_iter().for_each(|node| self.scene.watch().ghost.starts(node));
        self.scene.tell(About::Process, &[machine.name()], Duration::ZERO, "starts");
        let (scene, stopping) = (self.scene.clone(), self.stopping.clone());
        let spare = self.spare().is_some_and(|(spare, _)| spare == machine).then(|| self.spare.clone());
        let life = machine.lives();
        task::spawn(async move {
            let ending = machine.ended().await;
            let text = match &ending {
                Ending::Killed | Ending::PowerFailed => return,
                Ending::Returned if stopping.load(Ordering::Relaxed) => return,
                Ending::Returned => "it stopped, and nobody had asked it to".to_owned(),
                Ending::Exited(code) if *code == ExitCode::Damaged.number() && scene.damaged() == Some(machine) => {
                    scene.tell(About::Process, &[machine.name()], Duration::ZERO, "refuses its damaged disk");
                    return;
                }
                // A start needs a segment of its own. Whoever serves already waits for room.
                Ending::Exited(code)
                    if *code == ExitCode::Io.number() && is_full(machine) && !is_ready(&machine.take_said()) =>
                {
                    scene.tell(About::Process, &[machine.name()], Duration::ZERO, "finds no room to start");
                    return;
                }
                Ending::Exited(IDENTITY)
                    if spare.as_ref().is_some_and(|spare| spare.dismissed.load(Ordering::Relaxed)) =>
                {
                    spare.iter().for_each(|spare| spare.gone.store(true, Ordering::Relaxed));
                    scene.tell(About::Process, &[machine.name()], Duration::ZERO, "goes, as it was asked to");
                    return;
                }
                Ending::Exited(code) => format!("it left with code {code}"),
                Ending::Panicked(text) => format!("it panicked: {text}"),
            };
            if machine.lives() == life {
                let mut failure = Failure::plain(Kind::Crash, text, sim::now());
                failure.finding.node = node;
                scene.fail(&mut scene.watch(), failure);
            }
        });
    }

    /// Starts all and waits until each would serve a Begin.
    pub async fn start_all(&self) {
        let founders = &self.machines[..self.founders];
        founders.iter().for_each(|machine| self.start(*machine));
        let until = sim::now() + READY_PATIENCE;
        let mut waiting = founders.to_vec();
        while !waiting.is_empty() {
            if sim::now() > until {
                let names: Vec<String> = waiting.iter().map(|machine| machine.name()).collect();
                let text = format!("{} said no ready line in {READY_PATIENCE:?}", names.join(", "));
                self.fail(Kind::Liveness, "G3", text);
                return;
            }
            sleep(ms(50)).await;
            waiting.retain(|machine| !is_ready(&machine.take_said()));
        }
    }

    /// Asks all to stop, as SIGTERM does, and waits for it.
    pub async fn stop_all(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.machines.iter().for_each(|machine| machine.request_stop());
        let until = sim::now() + STOP_PATIENCE;
        while self.machines.iter().any(|machine| machine.is_running()) {
            if sim::now() > until {
                let text = format!("a node has not stopped in {STOP_PATIENCE:?}");
                self.fail(Kind::Liveness, "G3", text);
                return;
            }
            sleep(ms(50)).await;
        }
    }

    /// Which node it is.
    pub fn node(&self, machine: Machine) -> Option<NodeId> {
        self.scene.node_at(machine)
    }

    fn fail(&self, kind: Kind, oracle: &str, text: String) {
        let failure = Failure { oracle: oracle.to_owned(), ..Failure::plain(kind, text, sim::now()) };
        self.scene.fail(&mut self.scene.watch(), failure);
    }
}

/// Somebody else has filled its disk, or nearly.
fn is_full(machine: Machine) -> bool {
    machine.disk().faults().capacity_bytes.is_some()
}

fn is_ready(said: &[String]) -> bool {
    said.iter().any(|line| line.starts_with("ready "))
}

async fn run_node(config: Result<Config, ConfigError>) -> i32 {
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "the configuration is refused");
            return ExitCode::Usage.number();
        }
    };
    match quorate_server::run(config).await {
        Ok(()) => 0,
        Err(failure) => {
            tracing::error!(%failure, "the node gives up");
            failure.code.number()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SIZES;
    use quorate_server::config::keys;
    use std::collections::{BTreeMap, BTreeSet};

    const PAGE: &str = include_str!("../../docs/SIMULATION.md");

    /// Rows of the table of keys: the key, and whether seeds differ in it.
    fn listed() -> Vec<(&'static str, &'static str)> {
        let rows = PAGE
            .lines()
            .skip_while(|line| *line != "## Configuration")
            .take_while(|line| !line.starts_with("What nobody"));
        let cells = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        cells.map(|(key, rest)| (key, rest.split(' ').next().unwrap_or_default())).collect()
    }

    /// What a node is told, key by key.
    fn told(plan: &Plan) -> BTreeMap<String, String> {
        let config = config(plan, 1, false).expect("what is drawn may be set");
        let text = config.to_toml();
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        let mut told: BTreeMap<String, String> = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        told.insert("auth.access_keys".to_owned(), format!("{:?}", config.access_keys));
        told
    }

    #[test]
    fn every_key_is_drawn_or_the_page_says_why_not() {
        let listed: Vec<&str> = listed().into_iter().map(|(key, _)| key).collect();
        let known: Vec<&str> = keys::KEYS.iter().map(|key| key.name).chain(["groups_at.GROUP"]).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn what_is_listed_as_drawn_differs_between_seeds() {
        let mut values: BTreeMap<String, BTreeSet<Option<String>>> = BTreeMap::new();
        for seed in 0..200 {
            let told = told(&Plan::draw(seed, SIZES[2]));
            for (key, _) in listed() {
                values.entry(key.to_owned()).or_default().insert(told.get(key).cloned());
            }
        }
        for (key, is_drawn) in listed() {
            let differs = values.get(key).is_some_and(|values| values.len() > 1);
            assert_eq!(differs, is_drawn == "yes", "{key}: {is_drawn}, and seeds have {:?}", values.get(key));
        }
    }
}
