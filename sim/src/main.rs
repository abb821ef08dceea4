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
mod chronicle;
mod cluster;
mod coverage;
mod damage;
mod gate;
mod ghost;
mod histories;
mod linearize;
mod logging;
mod nemesis;
mod oracles;
mod plan;
mod planted;
mod remains;
mod scene;
mod seen;
mod shrink;
mod simpler;
mod single;
mod story;
mod tally;
mod taps;
mod verdict;
mod view;
mod world;

use artefact::Artefact;
use batch::Seeds;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use plan::{Plan, Size};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verdict::Kind;
use world::Looks;

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
    /// Small failures of old, fresh seeds for a while, and some of them again
    Gate(GateArgs),
    /// An artefact again
    Replay(ReplayArgs),
    /// A failure with as little in it as possible
    Shrink(ShrinkArgs),
    /// What happened in an artefact, in plain text
    Story(FileArgs),
    /// The same as a page to look at: FILE with .html at its end
    View(FileArgs),
    /// Each seed twice, in fresh processes: the same hashes
    Determinism(DeterminismArgs),
    /// Is every planted bug found?
    Bugs(BugsArgs),
}

#[derive(Args)]
struct RunArgs {
    #[arg(long)]
    seed: u64,
    /// R1, R0 for a small one, or R2, where nodes come and go
    #[arg(long, default_value = "R1", value_parser = size)]
    world: Size,
    /// Plants this bug
    #[arg(long, value_parser = PossibleValuesParser::new(planted::names()), hide_possible_values = true)]
    bug: Option<String>,
    #[command(flatten)]
    windows: Windows,
}

#[derive(Args)]
struct ReplayArgs {
    #[command(flatten)]
    what: FileArgs,
    #[command(flatten)]
    windows: Windows,
}

#[derive(Args)]
struct FileArgs {
    /// What a failed run has written
    file: PathBuf,
    /// Without the planted bug of the artefact
    #[arg(long)]
    no_bug: bool,
}

#[derive(Args)]
struct Jobs {
    /// Processes at a time; by default as many as there are cores
    #[arg(long)]
    jobs: Option<usize>,
}

impl Jobs {
    fn count(&self) -> usize {
        self.jobs.unwrap_or_else(batch::cores)
    }
}

#[derive(Args)]
struct ShrinkArgs {
    /// What a failed run has written
    #[arg(required_unless_present = "seed", conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// Runs this seed first
    #[arg(long)]
    seed: Option<u64>,
    /// R1, R0 for a small one, or R2, where nodes come and go
    #[arg(long, default_value = "R1", value_parser = size)]
    world: Size,
    /// Plants this bug
    #[arg(long, value_parser = PossibleValuesParser::new(planted::names()), hide_possible_values = true)]
    bug: Option<String>,
    #[command(flatten)]
    jobs: Jobs,
    /// Seconds of CPU time after which the best so far has to do
    #[arg(long, default_value_t = 120)]
    cpu_s: u64,
}

/// How a run is looked into.
#[derive(Args)]
struct Windows {
    /// Writes every event of the run to this file
    #[arg(long)]
    trace: Option<String>,
    /// Writes the log of all machines to standard error, by a filter such as `info` or `quorate_server=debug`
    #[arg(long)]
    log: Option<String>,
    /// Says what happened and what was covered in a form for whoever adds up many runs
    #[arg(long, hide = true)]
    tally: bool,
}

#[derive(Args)]
struct HuntArgs {
    /// Both ends included: 1..100
    #[arg(long)]
    seeds: Seeds,
    /// R1, R0 for a small one, or R2, where nodes come and go
    #[arg(long, default_value = "R1", value_parser = size)]
    world: Size,
    /// Plants this bug
    #[arg(long, value_parser = PossibleValuesParser::new(planted::names()), hide_possible_values = true)]
    bug: Option<String>,
    /// Writes a summary to this file
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    jobs: Jobs,
}

#[derive(Args)]
struct GateArgs {
    /// The first fresh seed
    #[arg(long)]
    first: u64,
    /// Seconds of CPU time for all of it
    #[arg(long)]
    cpu_s: u64,
    /// R1, R0 for a small one, or R2, where nodes come and go
    #[arg(long, default_value = "R1", value_parser = size)]
    world: Size,
    /// Where small failures of old are
    #[arg(long, default_value = "sim/bugs")]
    corpus: PathBuf,
    /// Writes a summary to this file
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    jobs: Jobs,
}

#[derive(Args)]
struct DeterminismArgs {
    /// Both ends included; 1..20 if only a world is given. Without either: 1..16 of R0 and 1..4 of R1
    #[arg(long)]
    seeds: Option<Seeds>,
    /// R1, R0 for a small one, or R2, where nodes come and go; R0 if only seeds are given
    #[arg(long, value_parser = size)]
    world: Option<Size>,
    #[command(flatten)]
    jobs: Jobs,
}

impl DeterminismArgs {
    /// Which seeds of which worlds.
    fn runs(&self) -> Vec<(Seeds, Size)> {
        let [r1, r0, _] = plan::SIZES;
        match (self.seeds, self.world) {
            (None, None) => vec![(Seeds { first: 1, last: 16 }, r0), (Seeds { first: 1, last: 4 }, r1)],
            (seeds, world) => vec![(seeds.unwrap_or(Seeds { first: 1, last: 20 }), world.unwrap_or(r0))],
        }
    }
}

#[derive(Args)]
struct BugsArgs {
    /// Only these
    #[arg(value_parser = PossibleValuesParser::new(planted::looked_for()), hide_possible_values = true)]
    names: Vec<String>,
    /// Of several equal parts of them only this one, counted from 0: K/N
    #[arg(long)]
    part: Option<batch::Part>,
    #[command(flatten)]
    jobs: Jobs,
}

fn size(name: &str) -> Result<Size, String> {
    let known: Vec<&str> = plan::SIZES.iter().map(|size| size.name).collect();
    Size::named(name).ok_or_else(|| format!("no such world; there are {}", known.join(", ")))
}

fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Run(args) if !is_usable(args.bug.as_deref()) => Ok(EXIT_USAGE),
        Command::Run(args) => Ok(single::run(&Plan::draw(args.seed, args.world), &args.windows.looks(args.bug))),
        Command::Replay(args) => {
            Ok(args.what.with(|path, artefact, bug| single::replay(path, artefact, &args.windows.looks(bug))))
        }
        Command::View(args) => Ok(args.with(single::draw)),
        Command::Story(args) => Ok(args.with(|_, artefact, bug| single::tell(artefact, bug))),
        Command::Shrink(args) if !is_usable(args.bug.as_deref()) => Ok(EXIT_USAGE),
        Command::Shrink(args) => shrink(args),
        Command::Hunt(args) if !is_usable(args.bug.as_deref()) => Ok(EXIT_USAGE),
        Command::Hunt(args) => {
            let (bug, json) = (args.bug.as_deref(), args.json.as_deref());
            batch::hunt(args.seeds, args.world, bug, args.jobs.count(), json)
        }
        Command::Gate(args) => pass(&args),
        Command::Determinism(args) => batch::determinism(&args.runs(), args.jobs.count()),
        Command::Bugs(_) if !is_usable(Some(planted::BUGS[0].0)) => Ok(EXIT_USAGE),
        Command::Bugs(args) => batch::bugs(plan::SIZES[1], &args.names, args.part, args.jobs.count()),
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

fn pass(args: &GateArgs) -> io::Result<u8> {
    let GateArgs { first, cpu_s, world, corpus, json, jobs } = args;
    let (cpu_max, jobs) = (std::time::Duration::from_secs(*cpu_s), jobs.count());
    gate::Gate { first: *first, cpu_max, corpus, json: json.as_deref(), jobs }.run(*world)
}

impl FileArgs {
    /// Does something with an artefact and its planted bug, if it can be read and run here.
    fn with(&self, act: impl FnOnce(&Path, &Artefact, Option<String>) -> u8) -> u8 {
        let artefact = match Artefact::read(&self.file) {
            Ok(artefact) => artefact,
            Err(error) => {
                eprintln!("{}: {error}", self.file.display());
                return Kind::Harness.exit_code();
            }
        };
        let bug = artefact.bug.clone().filter(|_| !self.no_bug);
        if !is_usable(bug.as_deref()) {
            return EXIT_USAGE;
        }
        if let Some(unknown) = bug.as_deref().filter(|bug| !planted::names().any(|name| name == *bug)) {
            eprintln!("{}: no bug is planted as {unknown}", self.file.display());
            return Kind::Harness.exit_code();
        }
        act(&self.file, &artefact, bug)
    }
}

fn shrink(args: ShrinkArgs) -> io::Result<u8> {
    let jobs = args.jobs.count();
    let cpu_max = std::time::Duration::from_secs(args.cpu_s);
    if let Some(file) = &args.file {
        return shrink::shrink(file, jobs, cpu_max);
    }
    let seed = args.seed.unwrap_or_default();
    let ended = child::Job::seed(seed, args.world.name, args.bug.as_deref()).run()?;
    eprintln!("{}", ended.line);
    if ended.code == 0 {
        return Ok(Kind::Harness.exit_code());
    }
    shrink::shrink(&artefact::usual_path(args.world.name, seed, args.bug.as_deref()), jobs, cpu_max)
}

impl Windows {
    fn looks(self, bug: Option<String>) -> Looks {
        Looks { bug, trace: self.trace, log: self.log, tally: self.tally, chronicle: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn determinism_looks_at_both_worlds_unless_told() {
        let runs = |line: &str| {
            let cli = Cli::try_parse_from(line.split(' ')).expect("the line is right");
            let Command::Determinism(args) = cli.command else { panic!("{line}") };
            let runs = args.runs().into_iter().map(|(seeds, size)| (size.name, seeds.first, seeds.last));
            runs.collect::<Vec<(&str, u64, u64)>>()
        };
        assert_eq!(runs("sim determinism"), [("R0", 1, 16), ("R1", 1, 4)]);
        assert_eq!(runs("sim determinism --world R2"), [("R2", 1, 20)]);
        assert_eq!(runs("sim determinism --seeds 3..5"), [("R0", 3, 5)]);
        assert_eq!(runs("sim determinism --seeds 3..5 --world R1"), [("R1", 3, 5)]);
    }
}
