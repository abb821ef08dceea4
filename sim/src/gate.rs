//! The gate before a merge, and the night: small failures of old, fresh seeds for as long as there is CPU time, and a tenth of them
//! once more, which must have the same hashes.
//!
//! The budget is CPU time (user and system, of all runs together), so that a busy machine looks no less.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: files, processes, time and output are real"
)]

use crate::artefact::Artefact;
use crate::batch::{is_same, job, tell_difference};
use crate::child::{Ended, Job, children_cpu, run_all};
use crate::plan::Size;
use crate::tally::Tally;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Of the budget; the rest is for running some of them again.
const FRESH_PERCENT: u32 = 88;
/// One of so many seeds is run again.
const AGAIN_OF: usize = 10;
/// Never more in one go.
const SEEDS_MAX: u64 = 1_000_000;
/// Between two words about how far it is.
const WORD_EVERY: Duration = Duration::from_secs(15);
/// For a small failure.
const CORPUS_WALL_MAX: Duration = Duration::from_secs(300);

/// What to do.
pub struct Gate<'a> {
    /// The first fresh seed.
    pub first: u64,
    /// CPU time for all of it.
    pub cpu_max: Duration,
    /// Where small failures of old are.
    pub corpus: &'a Path,
    /// Where the summary goes.
    pub json: Option<&'a Path>,
    /// Processes at a time.
    pub jobs: usize,
}

/// How far it is, for whoever waits.
struct Progress {
    began: Instant,
    said: Instant,
    runs: u32,
    reds: u32,
    on_terminal: bool,
}

impl Gate<'_> {
    /// Does it all. Gives the exit code.
    pub fn run(&self, size: Size) -> io::Result<u8> {
        let mut checks = BTreeMap::new();
        let corpus = self.corpus()?;
        eprintln!("corpus: {corpus}");
        let corpus_code = if corpus.ends_with("as they were") { 0 } else { 13 };
        checks.insert("corpus".to_owned(), corpus);
        let fresh = self.fresh(size)?;
        let mut tally = Tally::new(size.name, None);
        fresh.iter().for_each(|ended| tally.add(ended));
        let again = self.again(&fresh, size)?;
        eprintln!("determinism: {again}");
        let again_code = if again.ends_with(" 0 different") { 0 } else { 13 };
        checks.insert("determinism".to_owned(), again);
        tally.tell();
        let codes = [tally.exit_code(), corpus_code, again_code];
        let code = codes.into_iter().filter(|code| *code != 0).min().unwrap_or(0);
        if let Some(path) = self.json {
            tally.write(path, children_cpu(), code, &checks)?;
        }
        Ok(code)
    }

    /// Every small failure still fails by its oracle, and does not without its planted bug.
    fn corpus(&self) -> io::Result<String> {
        let mut files: Vec<PathBuf> = Vec::new();
        for folder in std::fs::read_dir(self.corpus)? {
            files.push(folder?.path().join("seed.jsonl"));
        }
        files.sort();
        let mut jobs = Vec::new();
        let mut expected = Vec::new();
        for file in &files {
            let artefact =
                Artefact::read(file).map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
            let number = jobs.len() as u64;
            jobs.push(Job::artefact(file, CORPUS_WALL_MAX).numbered(number));
            jobs.push(Job::artefact(file, CORPUS_WALL_MAX).without_bug().numbered(number + 1));
            expected.extend([Some(artefact.verdict.oracle), None]);
        }
        let ended = run_all(&jobs, self.jobs, |_| true)?;
        let mut other = Vec::new();
        for (ended, expected) in ended.iter().zip(&expected) {
            let as_it_was = match expected {
                Some(oracle) => ended.failure().1 == oracle,
                None => ended.code == 0,
            };
            if !as_it_was {
                eprintln!("{}: {}", files[ended.seed as usize / 2].display(), ended.line);
                other.push(ended.line.clone());
            }
        }
        if other.is_empty() {
            return Ok(format!("{} as they were", files.len()));
        }
        Ok(format!("{} of {} runs are not what they were", other.len(), jobs.len()))
    }

    /// Fresh seeds, until their share of the CPU time is used up.
    fn fresh(&self, size: Size) -> io::Result<Vec<Ended>> {
        let share = self.cpu_max * FRESH_PERCENT / 100;
        let progress = Mutex::new(Progress::new());
        let mut all = Vec::new();
        let mut next = self.first;
        // In pieces: nobody knows how many there will be.
        while children_cpu() < share && next - self.first < SEEDS_MAX {
            let jobs: Vec<Job> = (next..next + 200).map(|seed| job(seed, size, None)).collect();
            next += 200;
            all.extend(run_all(&jobs, self.jobs, |ended| {
                let left = share.saturating_sub(children_cpu());
                progress.lock().unwrap_or_else(PoisonError::into_inner).note(ended, left, self.jobs);
                !left.is_zero()
            })?);
        }
        Ok(all)
    }

    /// A tenth of them once more, and all that failed.
    fn again(&self, fresh: &[Ended], size: Size) -> io::Result<String> {
        let chosen = fresh.iter().enumerate().filter(|(place, ended)| place % AGAIN_OF == 0 || ended.code != 0);
        let chosen: Vec<&Ended> = chosen.map(|(_, ended)| ended).collect();
        let jobs: Vec<Job> = chosen.iter().map(|ended| job(ended.seed, size, None).quiet()).collect();
        let again = run_all(&jobs, self.jobs, |_| true)?;
        let mut different = 0;
        for (one, other) in chosen.iter().zip(&again) {
            if !is_same(&one.line, &other.line) {
                different += 1;
                eprintln!("DIFFERENT {}\nDIFFERENT {}", one.line, other.line);
                tell_difference(one.seed, size)?;
            }
        }
        Ok(format!("{} the same, {different} different", again.len() - different))
    }
}

impl Progress {
    fn new() -> Progress {
        let now = Instant::now();
        Progress { began: now, said: now, runs: 0, reds: 0, on_terminal: io::stderr().is_terminal() }
    }

    fn note(&mut self, ended: &Ended, cpu_left: Duration, jobs: usize) {
        self.runs += 1;
        if ended.code != 0 {
            self.reds += 1;
            eprintln!("{}{}", if self.on_terminal { "\r" } else { "" }, ended.line);
        }
        let pause = if self.on_terminal { Duration::from_secs(1) } else { WORD_EVERY };
        if self.said.elapsed() < pause {
            return;
        }
        self.said = Instant::now();
        let took = self.began.elapsed().as_secs_f64();
        let text = format!(
            "{} seeds, {} red, {:.2} seeds/s, at least {:.0} s left",
            self.runs,
            self.reds,
            f64::from(self.runs) / took,
            cpu_left.as_secs_f64() / jobs.max(1) as f64
        );
        match self.on_terminal {
            true => eprint!("\r{text:<70}"),
            false => eprintln!("{text}"),
        }
    }
}
