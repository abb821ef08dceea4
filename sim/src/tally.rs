//! Many runs added up: what failed, what was brought about, what never was, how fast it went; for people and as JSON.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "outside of all worlds: files are real")]

use crate::artefact;
use crate::child::Ended;
use crate::coverage::probes;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A class that was planned so often and never happened is a fault of the harness.
const PLANNED_MIN: u64 = 20;
/// What is not rare is passed within so many runs of R1.
const RUNS_FOR_ALL: u64 = 1_000;

/// The sums.
#[derive(Default)]
pub struct Tally {
    world: String,
    bug: Option<String>,
    /// The first and the last.
    seeds: Option<(u64, u64)>,
    runs: u64,
    reds: Vec<Red>,
    faults: BTreeMap<String, (u64, u64)>,
    probes: BTreeMap<String, u64>,
    cells: BTreeSet<String>,
    events: u64,
    simulated_ms: u64,
    walls: Vec<Duration>,
}

/// A run that failed.
#[derive(Clone, Serialize)]
pub struct Red {
    seed: u64,
    kind: String,
    oracle: String,
    exit_code: u8,
    artefact: String,
    line: String,
}

/// All of it, for a machine.
#[derive(Serialize)]
struct Summary<'a> {
    world: &'a str,
    bug: Option<&'a str>,
    first_seed: Option<u64>,
    last_seed: Option<u64>,
    runs: u64,
    failed: usize,
    exit_code: u8,
    reds: &'a [Red],
    cpu_s: f64,
    events: u64,
    events_per_cpu_s: f64,
    simulated_s: f64,
    simulated_s_per_cpu_s: f64,
    seeds_per_cpu_hour: f64,
    faults_planned_and_happened: &'a BTreeMap<String, (u64, u64)>,
    faults_never: Vec<&'a str>,
    probes: usize,
    probes_passed: usize,
    probes_never: Vec<&'static str>,
    probes_runs: &'a BTreeMap<String, u64>,
    cells: usize,
    /// Beyond the runs: what else was checked, and how it ended.
    checks: &'a BTreeMap<String, String>,
}

impl Tally {
    /// Of no run in this world yet.
    pub fn new(world: &str, bug: Option<&str>) -> Tally {
        Tally { world: world.to_owned(), bug: bug.map(str::to_owned), ..Tally::default() }
    }

    /// Adds a run.
    pub fn add(&mut self, ended: &Ended) {
        self.runs += 1;
        let (first, last) = self.seeds.unwrap_or((ended.seed, ended.seed));
        self.seeds = Some((first.min(ended.seed), last.max(ended.seed)));
        for (class, (planned, happened)) in &ended.faults {
            let sum = self.faults.entry(class.clone()).or_default();
            *sum = (sum.0 + planned, sum.1 + happened);
        }
        for probe in ended.coverage.probes.keys() {
            *self.probes.entry(probe.clone()).or_default() += 1;
        }
        self.cells.extend(ended.coverage.cells.iter().cloned());
        self.events += ended.coverage.events;
        self.simulated_ms += ended.coverage.simulated_ms;
        self.walls.push(ended.wall);
        if ended.code != 0 {
            let (kind, oracle) = ended.failure();
            let path = artefact::usual_path(&self.world, ended.seed, self.bug.as_deref());
            self.reds.push(Red {
                seed: ended.seed,
                kind: kind.to_owned(),
                oracle: oracle.to_owned(),
                exit_code: ended.code,
                artefact: path.display().to_string(),
                line: ended.line.clone(),
            });
        }
    }

    /// The lowest code of all that is wrong.
    pub fn exit_code(&self) -> u8 {
        let reds = self.reds.iter().map(|red| red.exit_code).min();
        let idle = !self.never_happened().is_empty() || !self.missed().is_empty();
        reds.unwrap_or(if idle { 13 } else { 0 })
    }

    fn never_happened(&self) -> Vec<&str> {
        let never = self.faults.iter().filter(|(_, (planned, happened))| *planned >= PLANNED_MIN && *happened == 0);
        never.map(|(class, _)| class.as_str()).collect()
    }

    fn never_passed(&self) -> Vec<(&'static str, bool)> {
        probes().filter(|(name, _)| !self.probes.contains_key(*name)).collect()
    }

    /// Probes that so many runs should have passed. With a planted bug the runs end early.
    fn missed(&self) -> Vec<&'static str> {
        if self.runs < RUNS_FOR_ALL || self.bug.is_some() || self.world != "R1" {
            return Vec::new();
        }
        self.never_passed().into_iter().filter(|(_, rare)| !rare).map(|(name, _)| name).collect()
    }

    /// Tells standard error what was covered and what was not, and standard output how many failed.
    pub fn tell(&mut self) {
        for class in self.never_happened() {
            eprintln!("{class} was planned and never happened in any of these runs");
        }
        let never = self.never_passed();
        let all = probes().count();
        eprintln!("{} of {all} probes were passed in {} runs; never:", all - never.len(), self.runs);
        for (name, rare) in &never {
            eprintln!("  {name}{}", if *rare { " (rare)" } else { "" });
        }
        for name in self.missed() {
            eprintln!("{name} is not rare and was never passed");
        }
        eprintln!("{} cells of transaction status, branch status and fault", self.cells.len());
        self.walls.sort_unstable();
        if let (Some(median), Some(longest)) = (self.walls.get(self.walls.len() / 2), self.walls.last()) {
            eprintln!("a seed took {:.1}s in the median, {:.1}s at most", median.as_secs_f64(), longest.as_secs_f64());
        }
        println!("{} passed, {} failed", self.runs - self.reds.len() as u64, self.reds.len());
    }

    /// Writes all of it to a file.
    pub fn write(
        &self,
        path: &Path,
        cpu: Duration,
        exit_code: u8,
        checks: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        let cpu_s = cpu.as_secs_f64();
        let per_cpu_s = |value: f64| if cpu_s > 0.0 { (value / cpu_s * 10.0).round() / 10.0 } else { 0.0 };
        let never = self.never_passed();
        let all = probes().count();
        let simulated_s = self.simulated_ms as f64 / 1e3;
        let summary = Summary {
            world: &self.world,
            bug: self.bug.as_deref(),
            first_seed: self.seeds.map(|(first, _)| first),
            last_seed: self.seeds.map(|(_, last)| last),
            runs: self.runs,
            failed: self.reds.len(),
            exit_code,
            reds: &self.reds,
            cpu_s,
            events: self.events,
            events_per_cpu_s: per_cpu_s(self.events as f64),
            simulated_s,
            simulated_s_per_cpu_s: per_cpu_s(simulated_s),
            seeds_per_cpu_hour: per_cpu_s(self.runs as f64 * 3600.0),
            faults_planned_and_happened: &self.faults,
            faults_never: self.never_happened(),
            probes: all,
            probes_passed: all - never.len(),
            probes_never: never.into_iter().map(|(name, _)| name).collect(),
            probes_runs: &self.probes,
            cells: self.cells.len(),
            checks,
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&summary)? + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::Coverage;

    fn ended(seed: u64, code: u8) -> Ended {
        let line = match code {
            0 => format!("seed {seed} ok hash=0 events=5"),
            _ => format!("seed {seed} FAILED safety oracle=A1 xid=4 at=1.0s hash=0"),
        };
        let probes = BTreeMap::from([("ended_committed".to_owned(), 3)]);
        let coverage = Coverage { events: 5, simulated_ms: 1_000, probes, cells: BTreeSet::from(["a b c".to_owned()]) };
        let faults = BTreeMap::from([("kill".to_owned(), (15, 0))]);
        Ended { seed, line, code, faults, coverage, wall: Duration::from_secs(1) }
    }

    #[test]
    fn the_lowest_code_counts_and_idle_faults_do_too() {
        let mut tally = Tally::new("R1", None);
        tally.add(&ended(4, 0));
        assert_eq!(tally.exit_code(), 0, "it was planned 15 times");
        tally.add(&ended(3, 0));
        assert_eq!((tally.exit_code(), tally.seeds), (13, Some((3, 4))), "and now 30 times");
        tally.add(&ended(5, 10));
        assert_eq!((tally.exit_code(), tally.runs), (10, 3));
        assert!(tally.missed().is_empty(), "three runs miss nothing");
        assert_eq!(tally.reds[0].artefact, "target/sim/failures/R1-5.jsonl");
    }

    #[test]
    fn the_summary_is_json() {
        let mut tally = Tally::new("R1", None);
        (1..4).for_each(|seed| tally.add(&ended(seed, u8::from(seed == 2) * 10)));
        let path = std::env::temp_dir().join(format!("quorate-tally-{}.json", std::process::id()));
        let checks = BTreeMap::from([("corpus".to_owned(), "9 as they were".to_owned())]);
        tally.write(&path, Duration::from_secs(2), 10, &checks).expect("a file for a test");
        let text = std::fs::read_to_string(&path).expect("it was written");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        std::fs::remove_file(&path).expect("it is there");
        assert_eq!(
            (read["runs"].as_u64(), read["failed"].as_u64(), read["exit_code"].as_u64()),
            (Some(3), Some(1), Some(10))
        );
        assert_eq!(read["reds"][0]["oracle"], "A1");
        assert_eq!(read["events_per_cpu_s"].as_f64(), Some(7.5));
        let never = read["probes_never"].as_array().expect("a list").len() as u64;
        assert_eq!(read["probes_passed"].as_u64(), Some(1));
        assert_eq!(read["probes"].as_u64(), Some(1 + never));
    }
}
