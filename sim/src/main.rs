//! The simulator: the whole cluster and its clients in one process, from a seed that replays exactly.
//!
//! `docs/SIMULATION.md` tells how to use it. In reading order: `plan` (what is going to happen, drawn from the seed),
//! `world` (one run), `cluster` and `actors` (the machines), `nemesis` (the faults), `ghost` and `oracles` (who judges),
//! `verdict` (the line at the end); `batch` and `child` are for many runs.
//!
//! Builds only for the simulated world (`make sim`).

mod actors;
mod artefact;
mod bank;
mod batch;
mod child;
mod cluster;
mod ghost;
mod logging;
mod nemesis;
mod oracles;
mod plan;
mod remains;
mod scene;
mod seen;
mod taps;
mod verdict;
mod world;

use batch::Seeds;
use clap::{Args, Parser, Subcommand};
use plan::swarm::Class;
use plan::{Plan, Size};
use quorate_world::time::Duration;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use verdict::{Failure, Kind, Line};
use world::{Looks, Outcome};

/// Wrong use: flags, an unknown world, a bug that is not compiled in.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(name = "quorate-sim", about = "The deterministic simulation of a Quorate cluster", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One seed
    Run(RunArgs),
    /// A range of seeds, each in a process of its own
    Hunt(HuntArgs),
    /// Each seed twice, in fresh processes: the same hashes
    Determinism(DeterminismArgs),
    /// Is every planted bug found?
    Bugs(BugsArgs),
}

#[derive(Args)]
struct RunArgs {
    #[arg(long)]
    seed: u64,
    /// R1, or R0 for a small one
    #[arg(long, default_value = "R1", value_parser = size)]
    world: Size,
    /// Plants this bug
    #[arg(long)]
    bug: Option<String>,
    /// Writes every event of the run to this file
    #[arg(long)]
    trace: Option<String>,
    /// Writes the log of all machines to standard error, by a filter such as `info` or `quorate_server=debug`
    #[arg(long)]
    log: Option<String>,
}

#[derive(Args)]
struct HuntArgs {
    /// Both ends included: 1..100
    #[arg(long)]
    seeds: Seeds,
    /// R1, or R0 for a small one
    #[arg(long, default_value = "R1", value_parser = size)]
    world: Size,
    /// Plants this bug
    #[arg(long)]
    bug: Option<String>,
    /// Processes at a time; by default as many as there are cores
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Args)]
struct DeterminismArgs {
    /// Both ends included
    #[arg(long, default_value = "1..20")]
    seeds: Seeds,
    /// R1, or R0 for a small one
    #[arg(long, default_value = "R0", value_parser = size)]
    world: Size,
    /// Processes at a time
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Args)]
struct BugsArgs {
    /// Processes at a time
    #[arg(long)]
    jobs: Option<usize>,
}

fn size(name: &str) -> Result<Size, String> {
    let known: Vec<&str> = plan::SIZES.iter().map(|size| size.name).collect();
    Size::named(name).ok_or_else(|| format!("no such world; there are {}", known.join(" and ")))
}

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Run(args) => Ok(if is_usable(args.bug.as_deref()) { run(&args) } else { EXIT_USAGE }),
        Command::Hunt(args) if !is_usable(args.bug.as_deref()) => Ok(EXIT_USAGE),
        Command::Hunt(args) => {
            batch::hunt(args.seeds, args.world, args.bug.as_deref(), args.jobs.unwrap_or_else(batch::cores))
        }
        Command::Determinism(args) => {
            batch::determinism(args.seeds, args.world, args.jobs.unwrap_or_else(batch::cores))
        }
        Command::Bugs(_) if !is_usable(Some(batch::BUGS[0].0)) => Ok(EXIT_USAGE),
        Command::Bugs(args) => batch::bugs(plan::SIZES[1], args.jobs.unwrap_or_else(batch::cores)),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("quorate-sim: {error}");
            ExitCode::from(Kind::Harness.exit_code())
        }
    }
}

fn is_usable(bug: Option<&str>) -> bool {
    if bug.is_some() && !quorate_world::bug::PLANTED {
        eprintln!("planted bugs are not compiled in: build with --features planted_bugs");
        return false;
    }
    true
}

#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "real time and output"
)]
fn run(args: &RunArgs) -> u8 {
    let plan = Plan::draw(args.seed, args.world);
    let looks = Looks { bug: args.bug.clone(), trace: args.trace.clone(), log: args.log.clone() };
    let began = std::time::Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| world::run(plan.clone(), &looks)));
    let wall = began.elapsed();
    let (failure, digest, simulated) = match ran {
        Ok(run) => {
            tell_faults(&plan, &run.output);
            if args.bug.is_some() && !run.bug_passed {
                eprintln!("the place of the planted bug was not reached");
            }
            (run.output.failure, Some(run.digest), run.simulated)
        }
        Err(_) => {
            let text = "the simulation itself panicked; see above";
            (Some(Failure::plain(Kind::Harness, text, Duration::ZERO)), None, Duration::ZERO)
        }
    };
    if let Some(failure) = &failure {
        eprintln!("{}: {}", failure.oracle, failure.finding.text);
        match artefact::write(&plan, args.bug.as_deref(), failure, digest) {
            Ok(path) => eprintln!("the plan is in {}", path.display()),
            Err(error) => eprintln!("the plan could not be written: {error}"),
        }
    }
    let replay = replay(args);
    println!("{}", Line { seed: args.seed, failure: failure.as_ref(), digest, simulated, wall, replay: &replay });
    failure.map_or(0, |failure| failure.kind.exit_code())
}

/// What to type to see it again.
fn replay(args: &RunArgs) -> String {
    let world = if args.world == plan::SIZES[0] { String::new() } else { format!(" WORLD={}", args.world.name) };
    let bug = args.bug.as_ref().map(|bug| format!(" BUG={bug}")).unwrap_or_default();
    format!("make sim SEED={}{world}{bug}", args.seed)
}

/// For whoever adds up many runs: each class of faults, how often it was planned and how often it happened.
fn tell_faults(plan: &Plan, outcome: &Outcome) {
    let mut planned: BTreeMap<Class, u64> = BTreeMap::new();
    for fault in &plan.faults {
        *planned.entry(fault.class).or_default() += 1;
    }
    *planned.entry(Class::Founding).or_default() += plan.options.founding_strikes();
    for operation in &plan.operations {
        *planned.entry(Class::TmDeath).or_default() += u64::from(operation.tm_death.is_some());
        for branch in &operation.branches {
            *planned.entry(Class::RmDeath).or_default() += u64::from(branch.rm_death.is_some());
            *planned.entry(Class::Hiccup).or_default() += u64::from(branch.retries) + u64::from(branch.fails);
        }
    }
    let faults: BTreeMap<Class, (u64, u64)> = planned
        .into_iter()
        .map(|(class, planned)| (class, (planned, outcome.fired.get(&class).copied().unwrap_or(0))))
        .collect();
    match serde_json::to_string(&faults) {
        Ok(text) => eprintln!("faults {text}"),
        Err(error) => eprintln!("the faults cannot be told: {error}"),
    }
    let (begun, committed) = outcome.told;
    eprintln!("clients {begun} begun, {committed} commits answered");
}
