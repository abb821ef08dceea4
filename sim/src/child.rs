//! A run in a process of its own: one seed per process, so that nothing of one run can reach the next.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: processes and threads are real"
)]

use crate::coverage::Coverage;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A run that takes longer has stopped making progress.
const WALL_MAX: Duration = Duration::from_secs(1_800);

/// The kernel counts CPU time in hundredths of a second, on every Linux.
const TICK_MS: u64 = 10;

/// How the lines begin that a run says for us alone: its faults, its coverage.
const MACHINE: [&str; 2] = ["faults ", "coverage "];

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    seed: u64,
    arguments: Vec<String>,
    /// Failures are expected: what a run says about its own stays untold.
    quiet: bool,
    wall_max: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The seed.
    pub seed: u64,
    /// The last line of its standard output.
    pub line: String,
    /// Its exit code.
    pub code: u8,
    /// Classes of faults: planned and happened.
    pub faults: BTreeMap<String, (u64, u64)>,
    /// What it has brought about.
    pub coverage: Coverage,
    /// How long it took.
    pub wall: Duration,
}

/// Exit code of a child that the operating system ended, or that hung.
const CODE_HARNESS: u8 = 13;

/// A run ends before its memory is missed: the C library need not give any of it back, nor map large pieces apart. A tenth of the CPU
/// time of a run; nothing else reads it.
const ALLOCATOR: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.trim_threshold=1073741824:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.top_pad=16777216",
);

impl Job {
    /// A seed of a world, with a planted bug or without.
    pub fn seed(seed: u64, world: &str, bug: Option<&str>) -> Job {
        let seed_text = seed.to_string();
        let mut arguments: Vec<String> =
            ["run", "--tally", "--seed", &seed_text, "--world", world].map(str::to_owned).into();
        arguments.extend(bug.iter().flat_map(|bug| ["--bug".to_owned(), (*bug).to_owned()]));
        Job { seed, arguments, quiet: bug.is_some(), wall_max: WALL_MAX }
    }

    /// An artefact, which may fail or not, and in this time.
    pub fn artefact(path: &Path, wall_max: Duration) -> Job {
        let arguments = vec!["replay".to_owned(), "--tally".to_owned(), path.to_string_lossy().into_owned()];
        Job { seed: 0, arguments, quiet: true, wall_max }
    }

    /// The same without its planted bug.
    pub fn without_bug(mut self) -> Job {
        self.arguments.push("--no-bug".to_owned());
        self
    }

    /// The same, and what it says stays untold.
    pub fn quiet(self) -> Job {
        Job { quiet: true, ..self }
    }

    /// The same, and its trace goes to a file.
    pub fn traced(mut self, path: &Path) -> Job {
        self.arguments.extend(["--trace".to_owned(), path.to_string_lossy().into_owned()]);
        self
    }

    /// The same under another number, to know it by among others.
    pub fn numbered(self, seed: u64) -> Job {
        Job { seed, ..self }
    }

    /// Runs it to its end.
    pub fn run(&self) -> io::Result<Ended> {
        let began = Instant::now();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.arguments).env(ALLOCATOR.0, ALLOCATOR.1);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (out, err) = (reader(child.stdout.take()), reader(child.stderr.take()));
        let code = loop {
            if let Some(status) = child.try_wait()? {
                break status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(CODE_HARNESS);
            }
            if began.elapsed() > self.wall_max {
                child.kill()?;
                child.wait()?;
                break CODE_HARNESS;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
        let (out, err) = (text(out), text(err));
        let no_line = format!("seed {} FAILED harness oracle=- (no line; exit code {code})", self.seed);
        let line = out.lines().last().map_or(no_line, str::to_owned);
        if code != 0 && !self.quiet {
            err.lines()
                .filter(|line| !MACHINE.iter().any(|what| line.starts_with(what)))
                .for_each(|line| eprintln!("{line}"));
        }
        let (faults, coverage) = (told(&err, MACHINE[0]), told(&err, MACHINE[1]));
        Ok(Ended { seed: self.seed, line, code, faults, coverage, wall: began.elapsed() })
    }
}

impl Ended {
    /// The kind of its failure and who found it; `-` for both if there was none.
    pub fn failure(&self) -> (&str, &str) {
        let mut words = self.line.split_whitespace().skip_while(|word| *word != "FAILED").skip(1);
        let kind = words.next().unwrap_or("-");
        let oracle = words.next().and_then(|word| word.strip_prefix("oracle=")).unwrap_or("-");
        (kind, oracle)
    }

    /// When it failed, by the world's time.
    pub fn failed_at_ms(&self) -> Option<u64> {
        let at = self.line.split_whitespace().find_map(|word| word.strip_prefix("at="))?;
        let seconds: f64 = at.strip_suffix('s')?.parse().ok()?;
        Some((seconds * 1e3).ceil() as u64)
    }
}

fn reader<R: Read + Send + 'static>(from: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What could be read counts.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// What a run tells on a line of standard error that begins so: `faults {"kill":[3,3],..}`.
fn told<T: DeserializeOwned + Default>(err: &str, what: &str) -> T {
    let line = err.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

/// User and system time of all processes that this one has started and seen the end of; zero where the kernel does not tell.
pub fn children_cpu() -> Duration {
    let Ok(text) = std::fs::read_to_string("/proc/self/stat") else { return Duration::ZERO };
    // The name in the second field may have spaces; behind it the first is field 3.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// Runs jobs, as many at a time as asked, and shows each as it ends, in no order. `show` says whether to go on.
pub fn run_all(jobs: &[Job], at_a_time: usize, show: impl Fn(&Ended) -> bool + Sync) -> io::Result<Vec<Ended>> {
    let next = AtomicU64::new(0);
    let ended = Mutex::new(Ok(Vec::new()));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let result = job.run();
            let Ok(mut all) = ended.lock() else { return };
            match (&mut *all, result) {
                (Ok(all), Ok(end)) => {
                    if !show(&end) {
                        next.store(jobs.len() as u64, Ordering::Relaxed);
                    }
                    all.push(end);
                }
                (all, Err(error)) => *all = Err(error),
                (Err(_), Ok(_)) => return,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.max(1) {
            scope.spawn(work);
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)?;
    ended.sort_by_key(|ended: &Ended| ended.seed);
    Ok(ended)
}
