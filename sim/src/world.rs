//! One run of a world: build it, let the plan happen, heal, wait for rest, judge, stop.

use crate::actors::{lazy, mover, operator, rm, rm_ip, steward, stranger, tm, tm_ip};
use crate::chronicle::{Chronicle, Kind as About};
use crate::cluster::Cluster;
use crate::coverage::Cell;
use crate::nemesis::{Nemesis, disturb_founding};
use crate::oracles::Finding;
use crate::plan::faults::Fault;
use crate::plan::swarm::{Class, Level};
use crate::plan::{Options, Plan, ms};
use crate::remains::Remains;
use crate::scene::Scene;
use crate::seen::Seen;
use crate::taps;
use crate::verdict::{Failure, Kind};
use quorate_world::select::{Either2, select2};
use quorate_world::sim::{self, Carried, Dice, Machine, Run};
use quorate_world::task;
use quorate_world::time::{Duration, sleep};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// After the heal everything comes to rest in this time. A TM may still wait 30 s for each of five answers that a broken
/// connection took along, and an orphan lock for two rounds of the audit.
const REST_PATIENCE: Duration = Duration::from_secs(240);
/// A class of faults whose first item comes later than this before the end is not asked whether it happened.
const LATE_MS: u64 = 30_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Nothing if all went well.
    pub failure: Option<Failure>,
    /// How often each class of planned faults has happened.
    pub fired: BTreeMap<Class, u64>,
    /// Begins and commits that clients saw.
    pub told: (u64, u64),
    /// What faults met.
    pub cells: BTreeSet<Cell>,
    /// Empty if nothing was kept.
    pub seen: SeenThrough,
}

/// What a run that is looked through keeps beside.
#[derive(Clone, Default, Debug)]
pub struct SeenThrough {
    /// What happened.
    pub chronicle: Chronicle,
    /// Every message that arrived.
    pub messages: Vec<Carried>,
    /// Names of machines, by their number.
    pub machines: BTreeMap<u32, String>,
}

/// How a run is looked at.
#[derive(Clone, Default, Debug)]
pub struct Looks {
    /// The planted bug.
    pub bug: Option<String>,
    /// Where the trace goes.
    pub trace: Option<String>,
    /// Filter of the log, which goes to standard error.
    pub log: Option<String>,
    /// Keeps the chronicle and the messages.
    pub chronicle: bool,
    /// Says what happened and what was covered in a form for whoever adds up many runs.
    pub tally: bool,
}

/// Runs a plan in a world of its own.
pub fn run(plan: Plan, looks: &Looks) -> Run<Outcome> {
    let options = sim::Options {
        link: plan.options.link(),
        disk: plan.options.disk(),
        clock_ppm_max: plan.options.clock_ppm_max,
        wall_skew_ms_max: plan.options.wall_skew_ms_max,
        trace_path: looks.trace.clone(),
        keep_messages: looks.chronicle,
        linger_per_million: plan.options.linger_per_million,
        narrow: plan.options.knobs.narrow,
        bug: looks.bug.clone(),
    };
    // The core knows no world to ask.
    quorate_core::bug::choose(looks.bug.as_deref());
    let (log, keeps_chronicle) = (looks.log.clone(), looks.chronicle);
    sim::run(plan.options.schedule, options, move || async move {
        if let Some(filter) = &log {
            crate::logging::start(filter);
        }
        play(plan, keeps_chronicle).await
    })
}

async fn play(plan: Plan, keeps_chronicle: bool) -> Outcome {
    let scene = Scene::new(plan, keeps_chronicle);
    let shown = scene.clone();
    let remains = Remains::begin(&scene);
    let looks = remains.clone();
    sim::set_tap_hook(move |tap| taps::show(&shown, &looks, &tap));
    let failure = match select2(scene.failed(), acts(&scene, &remains)).await {
        Either2::First(failure) => Some(failure),
        Either2::Second(()) => {
            let failure = scene.watch().failure();
            failure.or_else(|| never_fired(&scene))
        }
    };
    let disagreement = scene.watch().histories.disagree(failure.as_ref(), sim::now());
    let failure = disagreement.or(failure);
    let chronicle = scene.chronicle().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default();
    let seen = SeenThrough { chronicle, messages: sim::take_messages(), machines: machine_names(&scene.plan) };
    let watch = scene.watch();
    let cells = watch.cells.met().clone();
    Outcome { failure, fired: watch.fired.clone(), told: watch.told, cells, seen }
}

fn machine_names(plan: &Plan) -> BTreeMap<u32, String> {
    let many = |kind: &'static str, count: u32| (1..=count).map(move |number| format!("{kind}{number}"));
    let Options { nodes, spares, tms, rms, .. } = plan.options;
    let names = many("n", nodes + spares)
        .chain(many("tm", tms))
        .chain(many("rm", rms))
        .chain(["operator", "steward", "mover", "lazy", "stranger"].map(str::to_owned));
    names.filter_map(|name| Some((sim::machine(&name)?.index() as u32, name))).collect()
}

async fn acts(scene: &Arc<Scene>, remains: &Remains) {
    let cluster = Arc::new(Cluster::build(scene));
    let clients = add_clients(scene);
    disturb_founding(scene, &cluster);
    cluster.start_all().await;
    scene.begin();
    sim::note("the plan begins");
    scene.tell(About::Process, &[], Duration::ZERO, "the cluster is founded: the plan begins");
    for (number, client) in (1..).zip(&clients) {
        keep_running(scene.clone(), *client, number);
    }
    if scene.plan.needs_operator() {
        let shared = scene.clone();
        sim::add_machine("operator", operator::ip(), move || operator::run(shared.clone())).start();
    }
    if scene.plan.faults.iter().any(|fault| fault.class == Class::Transfer) {
        let shared = scene.clone();
        sim::add_machine("mover", mover::ip(), move || mover::run(shared.clone())).start();
    }
    if scene.plan.faults.iter().any(|fault| fault.class == Class::SlowReader) {
        let shared = scene.clone();
        let lazy = sim::add_machine("lazy", lazy::ip(), move || lazy::run(shared.clone()));
        lazy.set_receive_window(lazy::WINDOW_BYTES);
        lazy.start();
    }
    if scene.plan.options.knobs.access_keys {
        let shared = scene.clone();
        sim::add_machine("stranger", stranger::ip(), move || stranger::run(shared.clone())).start();
    }
    if scene.plan.options.spares > 0 || scene.plan.options.level(Class::Slots) != Level::Off {
        let shared = scene.clone();
        sim::add_machine("steward", steward::ip(), move || steward::run(shared.clone())).start();
    }
    let nemesis = Nemesis::new(scene.clone(), cluster.clone(), clients);
    let faults = nemesis.begin();
    scene.until(scene.plan.options.safety_ms).await;
    faults.iter().for_each(task::JoinHandle::abort);
    nemesis.heal();
    scene.watch().is_healed = true;
    sim::note("healed");
    scene.tell(About::Fault, &[], Duration::ZERO, "everything is healed");
    come_to_rest(scene).await;
    judge_rest(scene);
    scene.watch().ghost.keep_history();
    cluster.stop_all().await;
    remains.finish().await;
}

fn add_clients(scene: &Arc<Scene>) -> Vec<Machine> {
    let options = &scene.plan.options;
    let tms = (1..=options.tms).map(|number| {
        let scene = scene.clone();
        sim::add_machine(&format!("tm{number}"), tm_ip(number), move || tm::run(scene.clone(), number))
    });
    let tms: Vec<Machine> = tms.collect();
    let rms = (1..=options.rms).map(|number| {
        let scene = scene.clone();
        sim::add_machine(&format!("rm{number}"), rm_ip(number), move || rm::run(scene.clone(), number))
    });
    tms.into_iter().chain(rms).collect()
}

/// Clients die of the plan only, and are started again soon after. TMs are numbered first.
fn keep_running(scene: Arc<Scene>, client: Machine, number: u32) {
    let mut dice = Dice::new(scene.plan.options.schedule, &format!("restarts of {}", client.name()));
    task::spawn(async move {
        loop {
            client.start();
            let ending = client.ended().await;
            scene.tell(About::Process, &[client.name()], Duration::ZERO, "dies, as planned");
            if ending.code() != Some(crate::actors::EXIT_KILLED) {
                let text = format!("client {} ended: {ending:?}", client.name());
                scene.fail(&mut scene.watch(), Failure::plain(Kind::Harness, text, sim::now()));
                return;
            }
            scene.abandon(number);
            scene.saw(Seen::Died { client: client.name() });
            // Where lost TMs are rolled back early, some stay away for longer than that takes.
            let away_ms_max = 8_000 + 2 * scene.plan.options.lost_tm_ms;
            sleep(ms(dice.between(10, away_ms_max))).await;
            scene.tell(About::Process, &[client.name()], Duration::ZERO, "starts again");
        }
    });
}

/// Waits until nothing is pending, or says what is and why.
async fn come_to_rest(scene: &Scene) {
    let until = sim::now() + REST_PATIENCE;
    loop {
        let (pending, unfinished) = {
            let watch = scene.watch();
            (watch.pending(), watch.unfinished())
        };
        if pending.is_empty() && unfinished.is_empty() {
            return;
        }
        if sim::now() >= until {
            for (oracle, finding) in &pending {
                eprintln!("pending {oracle}: {}", finding.text);
            }
            let waits = || ("G1", Finding::new(format!("TMs still wait in transactions {unfinished:?} of the plan")));
            let (oracle, finding) = pending.into_iter().next().unwrap_or_else(waits);
            let failure = Failure { kind: Kind::Liveness, oracle: oracle.to_owned(), finding, at: sim::now() };
            scene.fail(&mut scene.watch(), failure);
            return;
        }
        sleep(ms(250)).await;
    }
}

fn judge_rest(scene: &Scene) {
    let mut watch = scene.watch();
    if let Err((oracle, finding)) = watch.at_rest() {
        let failure = Failure { kind: Kind::Safety, oracle: oracle.to_owned(), finding, at: sim::now() };
        scene.fail(&mut watch, failure);
    }
}

/// A run that plans faults which never happen proves nothing.
fn never_fired(scene: &Scene) -> Option<Failure> {
    let watch = scene.watch();
    let in_time = |from_ms: u64| from_ms + LATE_MS < scene.plan.options.safety_ms;
    let strikes = |fault: &&Fault| in_time(fault.from_ms) && fault.class != Class::Founding;
    let mut planned = scene.plan.faults.iter().filter(strikes);
    let class = planned.find(|fault| !watch.fired.contains_key(&fault.class))?.class;
    Some(Failure::plain(Kind::Harness, format!("{class:?} was planned and never happened"), sim::now()))
}
