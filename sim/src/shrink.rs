//! From a failure to a small one: delta debugging over the plan of an artefact.
//!
//! A candidate is a plan with something left out (`simpler`), run in a process of its own. It is kept if the same oracle
//! finds something. Candidates are tried in the order of their boldness, as many at a time as there are cores, and the first in that order
//! that fails is taken: the result does not depend on how many cores there are. Leaving something out moves the order of tasks,
//! so what does not fail may have failed by another schedule: what is still large in the end is tried again with others.
//!
//! Zeller and Hildebrandt, Simplifying and Isolating Failure-Inducing Input (2002), over transactions and faults.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: files, processes and output are real"
)]

use crate::artefact::{Artefact, Verdict};
use crate::child::{Ended, Job, children_cpu, run_all};
use crate::plan::Plan;
use crate::simpler::{self, Item};
use crate::single;
use crate::verdict::Kind;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A candidate that takes longer is not worth it.
const WALL_MAX: Duration = Duration::from_secs(60);
/// What a failure should come down to; above it other schedules are tried.
const OPERATIONS_GOAL: usize = 12;
const FAULTS_GOAL: usize = 4;
/// How many other schedules.
const SCHEDULES: u64 = 3;

/// Shrinks one failure.
pub struct Shrinker {
    best: Plan,
    bug: Option<String>,
    wanted: Verdict,
    failed_at_ms: u64,
    folder: PathBuf,
    at_a_time: usize,
    cpu_max: Duration,
    tried: u64,
}

/// What came of it.
pub struct Shrunk {
    /// The smallest plan found.
    pub plan: Plan,
    /// How many candidates were tried.
    pub tried: u64,
    /// User and system time of all their processes.
    pub cpu: Duration,
}

impl Shrinker {
    /// Of this failure; candidates are written to `folder`, which goes when they are through.
    pub fn new(artefact: &Artefact, at_a_time: usize, cpu_max: Duration) -> Shrinker {
        Shrinker {
            best: artefact.plan.clone(),
            bug: artefact.bug.clone(),
            wanted: artefact.verdict.clone(),
            failed_at_ms: artefact.verdict.at_ms,
            folder: Path::new("target/sim/shrink").join(std::process::id().to_string()),
            at_a_time,
            cpu_max,
            tried: 0,
        }
    }

    /// Shrinks as far as it goes, or as the time allows. None if it does not fail any more.
    pub fn shrink(mut self) -> io::Result<Option<Shrunk>> {
        std::fs::create_dir_all(&self.folder)?;
        let result = self.all_passes();
        std::fs::remove_dir_all(&self.folder)?;
        let is_there = result?;
        Ok(is_there.then(|| Shrunk { plan: self.best, tried: self.tried, cpu: children_cpu() }))
    }

    fn all_passes(&mut self) -> io::Result<bool> {
        let first = self.best.clone();
        if !self.take_first(std::slice::from_ref(&first))? {
            return Ok(false);
        }
        self.take_first(&[simpler::until(&self.best, self.failed_at_ms)])?;
        loop {
            let before = self.best.clone();
            self.leave_out_items(0)?;
            self.one_after_another("worlds", simpler::worlds)?;
            self.one_after_another("times", simpler::times)?;
            self.take_first(&[simpler::until(&self.best, self.failed_at_ms)])?;
            self.one_after_another("details", simpler::details)?;
            if self.is_over() {
                return Ok(true);
            }
            if self.best == before && !self.other_schedules()? {
                return Ok(true);
            }
        }
    }

    /// Whether another schedule let something more be left out.
    fn other_schedules(&mut self) -> io::Result<bool> {
        let before = self.best.clone();
        let is_large = |plan: &Plan| plan.operations.len() > OPERATIONS_GOAL || plan.faults.len() > FAULTS_GOAL;
        for schedule in 1..=SCHEDULES {
            if is_large(&self.best) && !self.is_over() {
                self.leave_out_items(schedule)?;
            }
        }
        Ok(self.best != before)
    }

    /// Transactions and faults: halves, quarters, and so on down to single ones, until none of those can go.
    fn leave_out_items(&mut self, schedule: u64) -> io::Result<()> {
        let on = self.best.options.schedule.wrapping_add(schedule);
        let no_faults: Vec<Item> = (0..self.best.faults.len()).map(Item::Fault).collect();
        if !no_faults.is_empty() {
            self.take_first(&[scheduled(simpler::without(&self.best, &no_faults), on)])?;
        }
        let mut length = simpler::items(&self.best).len().div_ceil(2);
        while length > 0 && !self.is_over() {
            let mut from = 0;
            loop {
                let items = simpler::items(&self.best);
                let parts: Vec<&[Item]> = items.chunks(length).skip(from).collect();
                let plans: Vec<Plan> =
                    parts.iter().map(|part| scheduled(simpler::without(&self.best, part), on)).collect();
                match self.first_that_fails(&plans)? {
                    Some(place) => from += place,
                    None => break,
                }
            }
            self.tell("items", length);
            length = if length == 1 { 0 } else { length.div_ceil(2) };
        }
        Ok(())
    }

    /// Takes whatever works of what is proposed, again and again, each proposal once.
    fn one_after_another(&mut self, what: &str, propose: impl Fn(&Plan) -> Vec<Plan>) -> io::Result<()> {
        let mut from = 0;
        while !self.is_over() {
            let plans: Vec<Plan> = propose(&self.best).into_iter().skip(from).collect();
            match self.first_that_fails(&plans)? {
                Some(place) => from += place,
                None => break,
            }
        }
        self.tell(what, 1);
        Ok(())
    }

    fn take_first(&mut self, plans: &[Plan]) -> io::Result<bool> {
        Ok(self.first_that_fails(plans)?.is_some())
    }

    /// Tries plans in their order, takes the first that fails as wanted and says which it was.
    fn first_that_fails(&mut self, plans: &[Plan]) -> io::Result<Option<usize>> {
        let fresh: Vec<(usize, &Plan)> =
            plans.iter().enumerate().filter(|(_, plan)| self.tried == 0 || **plan != self.best).collect();
        for some in fresh.chunks(self.at_a_time.max(1)) {
            if self.is_over() {
                return Ok(None);
            }
            let mut jobs = Vec::new();
            for (place, plan) in some {
                let path = self.folder.join(format!("{place}.jsonl"));
                self.artefact(plan).write(&path)?;
                jobs.push(Job::artefact(&path, WALL_MAX).numbered(*place as u64));
            }
            self.tried += jobs.len() as u64;
            let ended = run_all(&jobs, self.at_a_time, |_| true)?;
            let fails = |(place, _): &&(usize, &Plan)| {
                ended.iter().find(|ended| ended.seed == *place as u64).filter(|ended| self.is_wanted(ended)).is_some()
            };
            if let Some((place, plan)) = some.iter().find(fails) {
                let at_ms = ended.iter().find(|ended| ended.seed == *place as u64).and_then(Ended::failed_at_ms);
                self.failed_at_ms = at_ms.unwrap_or(self.failed_at_ms);
                self.best = (*plan).clone();
                return Ok(Some(*place));
            }
        }
        Ok(None)
    }

    fn is_wanted(&self, ended: &Ended) -> bool {
        let (kind, oracle) = ended.failure();
        kind == self.wanted.kind && oracle == self.wanted.oracle
    }

    fn artefact(&self, plan: &Plan) -> Artefact {
        let (bug, verdict) = (self.bug.clone(), self.wanted.clone());
        Artefact { plan: plan.clone(), bug, commit: None, verdict, hash: None }
    }

    fn is_over(&self) -> bool {
        children_cpu() >= self.cpu_max
    }

    fn tell(&self, what: &str, length: usize) {
        let Plan { operations, faults, options, .. } = &self.best;
        eprintln!(
            "{} transactions, {} faults, {} nodes, {} groups, {:.1} s; {} candidates, {:.1} CPU s ({what} by {length})",
            operations.len(),
            faults.len(),
            options.nodes,
            options.groups,
            options.safety_ms as f64 / 1e3,
            self.tried,
            children_cpu().as_secs_f64(),
        );
    }
}

fn scheduled(mut plan: Plan, schedule: u64) -> Plan {
    plan.options.schedule = schedule;
    plan
}

/// Shrinks an artefact into another beside it. Gives the exit code.
pub fn shrink(path: &Path, at_a_time: usize, cpu_max: Duration) -> io::Result<u8> {
    let artefact = match Artefact::read(path) {
        Ok(artefact) => artefact,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return Ok(Kind::Harness.exit_code());
        }
    };
    let Some(shrunk) = Shrinker::new(&artefact, at_a_time, cpu_max).shrink()? else {
        eprintln!("it does not fail by {} {} in this build", artefact.verdict.kind, artefact.verdict.oracle);
        return Ok(Kind::Harness.exit_code());
    };
    let small = path.with_extension("small.jsonl");
    let Shrunk { plan, tried, cpu } = &shrunk;
    let code = single::keep(plan, artefact.bug.as_deref(), &small)?;
    println!(
        "{} transactions, {} faults left of {} and {}; {tried} candidates, {:.1} CPU s; make replay FILE={}",
        plan.operations.len(),
        plan.faults.len(),
        artefact.plan.operations.len(),
        artefact.plan.faults.len(),
        cpu.as_secs_f64(),
        small.display(),
    );
    Ok(if code == 0 { Kind::Harness.exit_code() } else { 0 })
}
