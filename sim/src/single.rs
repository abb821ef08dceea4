//! One run in this process, of a seed or of an artefact: the line at its end, the artefact of its failure.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: real time, files and output"
)]

use crate::artefact::{Artefact, Verdict, digits, usual_path};
use crate::coverage::Coverage;
use crate::plan::Plan;
use crate::plan::swarm::Class;
use crate::story;
use crate::verdict::{Failure, Kind, Line};
use crate::view;
use crate::world::{self, Looks, Outcome, SeenThrough};
use quorate_world::sim::Digest;
use quorate_world::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// What came of a run.
pub struct Ran {
    /// Nothing if all went well.
    pub failure: Option<Failure>,
    /// Of all that happened; nothing if the world did not come to an end of its own.
    pub digest: Option<Digest>,
    /// What was kept beside, if it was asked for.
    pub seen: SeenThrough,
    simulated: Duration,
    wall: std::time::Duration,
}

/// Runs a plan, with a word about its faults on standard error.
pub fn play(plan: &Plan, looks: &Looks) -> Ran {
    let began = std::time::Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| world::run(plan.clone(), looks)));
    let wall = began.elapsed();
    let Ok(run) = ran else {
        let failure = Failure::plain(Kind::Harness, "the simulation itself panicked; see above", Duration::ZERO);
        return Ran {
            failure: Some(failure),
            digest: None,
            seen: SeenThrough::default(),
            simulated: Duration::ZERO,
            wall,
        };
    };
    tell_faults(plan, &run.output, looks.tally);
    if looks.bug.is_some() && !run.bug_passed && !quorate_core::bug::was_passed() {
        eprintln!("the place of the planted bug was not reached");
    }
    let Outcome { failure, seen, cells, .. } = run.output;
    if looks.tally {
        let coverage = Coverage::of_this_process(run.digest.events, run.simulated, cells);
        match serde_json::to_string(&coverage) {
            Ok(text) => eprintln!("coverage {text}"),
            Err(error) => eprintln!("what was covered cannot be told: {error}"),
        }
    }
    Ran { failure, digest: Some(run.digest), seen, simulated: run.simulated, wall }
}

/// Runs a plan that a seed has drawn, and keeps the artefact if it fails. Gives the exit code.
pub fn run(plan: &Plan, looks: &Looks) -> u8 {
    let ran = play(plan, looks);
    let mut replay = String::new();
    if let Some(failure) = &ran.failure {
        eprintln!("{}: {}", failure.oracle, failure.finding.text);
        let artefact = Artefact::of(plan, looks.bug.as_deref(), failure, ran.digest);
        let path = usual_path(&plan.world, plan.seed, looks.bug.as_deref());
        replay = format!("make replay FILE={}", path.display());
        if let Err(error) = artefact.write(&path) {
            eprintln!("the artefact could not be written: {error}");
        }
    }
    end(plan, &ran, &replay)
}

/// Runs a plan that fails, keeps it as an artefact there, and tells its story. Gives the exit code.
pub fn keep(plan: &Plan, bug: Option<&str>, path: &Path) -> io::Result<u8> {
    let ran = play(plan, &looking(bug));
    let Some(failure) = &ran.failure else { return Ok(0) };
    Artefact::of(plan, bug, failure, ran.digest).write(path)?;
    println!("{}", story::tell(plan, bug, Some(failure), &ran.seen));
    Ok(failure.kind.exit_code())
}

/// Runs an artefact again and tells its story. Gives the exit code of what happened.
pub fn tell(artefact: &Artefact, bug: Option<String>) -> u8 {
    let ran = play(&artefact.plan, &looking(bug.as_deref()));
    print!("{}", story::tell(&artefact.plan, bug.as_deref(), ran.failure.as_ref(), &ran.seen));
    ran.failure.map_or(0, |failure| failure.kind.exit_code())
}

/// Runs an artefact again and draws the page of it beside. Gives the exit code of what happened.
pub fn draw(path: &Path, artefact: &Artefact, bug: Option<String>) -> u8 {
    let ran = play(&artefact.plan, &looking(bug.as_deref()));
    let page = view::page(&artefact.plan, bug.as_deref(), ran.failure.as_ref(), &ran.seen);
    let path = path.with_extension("html");
    if let Err(error) = std::fs::write(&path, page) {
        eprintln!("{}: {error}", path.display());
        return Kind::Harness.exit_code();
    }
    println!("{}", path.display());
    ran.failure.map_or(0, |failure| failure.kind.exit_code())
}

fn looking(bug: Option<&str>) -> Looks {
    Looks { bug: bug.map(str::to_owned), chronicle: true, ..Looks::default() }
}

/// Runs an artefact again and says whether it went the same way. Gives the exit code of what happened.
pub fn replay(path: &Path, artefact: &Artefact, looks: &Looks) -> u8 {
    let ran = play(&artefact.plan, looks);
    if let Some(failure) = &ran.failure {
        eprintln!("{}: {}", failure.oracle, failure.finding.text);
    }
    eprintln!("{}", comparison(artefact, &ran));
    end(&artefact.plan, &ran, &format!("make replay FILE={}", path.display()))
}

fn comparison(artefact: &Artefact, ran: &Ran) -> String {
    let then = &artefact.verdict;
    let built = artefact.commit.as_ref().map(|commit| format!(" of {commit}")).unwrap_or_default();
    let Some(now) = ran.failure.as_ref().map(Verdict::of) else {
        return format!("the artefact{built} failed by {} {}; this run does not", then.kind, then.oracle);
    };
    if !now.is_like(then) {
        let Verdict { kind, oracle, .. } = &now;
        return format!("another failure: {kind} {oracle}, and the artefact{built} has {} {}", then.kind, then.oracle);
    }
    if ran.digest.map(digits) == artefact.hash {
        return "the same run, event for event".to_owned();
    }
    format!("the same failure in another run: the code is not that of the artefact{built}, or the plan was changed")
}

fn end(plan: &Plan, ran: &Ran, replay: &str) -> u8 {
    let Ran { failure, digest, simulated, wall, .. } = ran;
    let line = Line {
        seed: plan.seed,
        failure: failure.as_ref(),
        digest: *digest,
        simulated: *simulated,
        wall: *wall,
        replay,
    };
    println!("{line}");
    failure.as_ref().map_or(0, |failure| failure.kind.exit_code())
}

/// Each class of faults, how often it was planned and how often it happened; and how far the clients came.
fn tell_faults(plan: &Plan, outcome: &Outcome, tally: bool) {
    let fired = |class: Class| outcome.fired.get(&class).copied().unwrap_or(0);
    let faults: BTreeMap<Class, (u64, u64)> =
        plan.planned().into_iter().map(|(class, planned)| (class, (planned, fired(class)))).collect();
    if tally {
        match serde_json::to_string(&faults) {
            Ok(text) => eprintln!("faults {text}"),
            Err(error) => eprintln!("the faults cannot be told: {error}"),
        }
        return;
    }
    let told = faults.iter().map(|(class, (planned, fired))| format!("{} {fired} of {planned}", class.name()));
    eprintln!("faults: {}", told.collect::<Vec<_>>().join(", "));
    let (begun, committed) = outcome.told;
    eprintln!("transactions: {begun} begun, {committed} commits answered");
}
