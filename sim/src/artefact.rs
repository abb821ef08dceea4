//! The artefact of a failure: all that a run needs to happen again, and how it ended (design, section 10.8).
//!
//! JSON, an object a line: what the run is made of, then each transaction and each fault of the plan, then the verdict. The
//! plan is here as data and is not drawn again, so an artefact outlives changes of how plans are drawn. Lines of transactions and
//! faults may be taken out by hand: each has its own number and its own chance.
//!
//! What is not known is refused: a field that this version does not understand might have decided the run.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: files and processes are real"
)]

use crate::bank::ring::{CHANGES, ROWS_MIN};
use crate::plan::faults::Fault;
use crate::plan::operations::{Operation, PlannedBranch, ROWS, Work};
use crate::plan::{Options, Plan};
use crate::verdict::Failure;
use quorate_world::sim::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// Where failures are kept.
const FOLDER: &str = "target/sim/failures";
/// What is read and written here.
const VERSION: u32 = 1;
/// What an artefact has at most. A plan of R1 takes 30 kB, one in which nearly everything is heavy twice that.
#[cfg(test)]
const BYTES_MAX: usize = 64_000;
/// A larger file is not read: no artefact, or it was written by hand. Earlier builds wrote up to 67 kB.
const BYTES_READ_MAX: usize = 96 << 10;
const NODES_MAX: u32 = 7;
const CLIENTS_MAX: u32 = 64;
const GROUPS_MAX: u32 = 256;
const RING_MAX: u64 = 1_000;
/// What one change adds or takes at most.
const DELTA_MAX: u64 = 1_000_000;
/// No plan goes on for longer than a simulated month.
const TIME_MS_MAX: u64 = 31 * 24 * 3_600_000;

/// A run that can happen again, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Artefact {
    /// All that is planned.
    pub plan: Plan,
    /// The planted bug.
    pub bug: Option<String>,
    /// The commit of the build, if it was known.
    pub commit: Option<String>,
    /// How it ended.
    pub verdict: Verdict,
    /// Of all that happened; none if the world did not come to an end of its own.
    pub hash: Option<String>,
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// `safety`, `liveness`, `crash` or `harness`.
    pub kind: String,
    /// Who saw it; `-` if no oracle did.
    pub oracle: String,
    /// What is wrong.
    pub text: String,
    /// In which transaction,
    pub xid: Option<i64>,
    /// group,
    pub group: Option<u32>,
    /// and node.
    pub node: Option<u64>,
    /// When, by the world's time.
    pub at_ms: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    quorate_seed: u32,
    seed: u64,
    world: String,
    bug: Option<String>,
    commit: Option<String>,
    options: Options,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    verdict: Verdict,
    hash: Option<String>,
}

/// Why a file is no artefact.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It is of a later version.
    #[error("it is of version {0}, and this build reads version {VERSION}: use a build of its commit or later")]
    Version(u64),
    /// A line is not what it should be.
    #[error("line {line}: {what}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// It ends in the middle.
    #[error("its last line, the verdict, is missing: it was cut short")]
    CutShort,
    /// It is too large.
    #[error("it has more than {BYTES_READ_MAX} bytes")]
    TooLarge,
}

impl Verdict {
    /// Of a failure.
    pub fn of(failure: &Failure) -> Verdict {
        let finding = &failure.finding;
        Verdict {
            kind: failure.kind.word().to_owned(),
            oracle: failure.oracle.clone(),
            text: finding.text.chars().take(1_000).collect(),
            xid: finding.transaction.map(|transaction| transaction.0),
            group: finding.group.map(|group| group.0),
            node: finding.node.map(|node| node.0),
            at_ms: failure.at.as_millis() as u64,
        }
    }

    /// Whether both broke the same promise.
    pub fn is_like(&self, other: &Verdict) -> bool {
        self.kind == other.kind && self.oracle == other.oracle
    }
}

/// Where failures of this world, seed and bug are kept.
pub fn usual_path(world: &str, seed: u64, bug: Option<&str>) -> PathBuf {
    let bug = bug.map(|bug| format!("-{bug}")).unwrap_or_default();
    Path::new(FOLDER).join(format!("{world}-{seed}{bug}.jsonl"))
}

/// The 32 digits of a hash.
pub fn digits(digest: Digest) -> String {
    format!("{:032x}", digest.hash)
}

impl Artefact {
    /// Of a failed run.
    pub fn of(plan: &Plan, bug: Option<&str>, failure: &Failure, digest: Option<Digest>) -> Artefact {
        Artefact {
            plan: plan.clone(),
            bug: bug.map(str::to_owned),
            commit: commit(),
            verdict: Verdict::of(failure),
            hash: digest.map(digits),
        }
    }

    /// Writes it, folders and all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, self.text())
    }

    /// Reads one.
    pub fn read(path: &Path) -> Result<Artefact, ReadError> {
        if std::fs::metadata(path)?.len() > BYTES_READ_MAX as u64 {
            return Err(ReadError::TooLarge);
        }
        Artefact::parse(&std::fs::read_to_string(path)?)
    }

    /// The bytes of the file.
    pub fn text(&self) -> String {
        let Plan { seed, world, options, operations, faults } = &self.plan;
        let header = Header {
            quorate_seed: VERSION,
            seed: *seed,
            world: world.clone(),
            bug: self.bug.clone(),
            commit: self.commit.clone(),
            options: options.clone(),
        };
        let end = End { verdict: self.verdict.clone(), hash: self.hash.clone() };
        let operations = operations.iter().map(line);
        let faults = faults.iter().map(line);
        [line(&header)].into_iter().chain(operations).chain(faults).chain([line(&end)]).collect()
    }

    fn parse(text: &str) -> Result<Artefact, ReadError> {
        let mut lines = (1..).zip(text.lines());
        let wrong = |line: usize, what: String| ReadError::Line { line, what };
        let (_, first) = lines.next().ok_or(ReadError::CutShort)?;
        let header = parse_header(first)?;
        let (mut operations, mut faults, mut end) = (Vec::new(), Vec::new(), None);
        for (number, line) in lines {
            if end.is_some() {
                return Err(wrong(number, "it comes after the verdict".to_owned()));
            }
            let value = object(number, line)?;
            let kind = ["op", "fault", "verdict"].into_iter().find(|name| value.get(name).is_some());
            let parsed = match kind {
                Some("op") => serde_json::from_value(value).map(|operation: Operation| operations.push(operation)),
                Some("fault") => serde_json::from_value(value).map(|fault: Fault| faults.push(fault)),
                Some(_) => serde_json::from_value(value).map(|found: End| end = Some(found)),
                None => return Err(wrong(number, "neither a transaction, a fault nor the verdict".to_owned())),
            };
            parsed.map_err(|error| wrong(number, error.to_string()))?;
        }
        let End { verdict, hash } = end.ok_or(ReadError::CutShort)?;
        let Header { seed, world, bug, commit, options, .. } = header;
        let plan = Plan { seed, world, options, operations, faults };
        check(&plan)?;
        Ok(Artefact { plan, bug, commit, verdict, hash })
    }
}

fn line(item: &impl Serialize) -> String {
    let text = serde_json::to_string(item).expect("numbers, texts and names of fields are JSON");
    text + "\n"
}

fn object(line: usize, text: &str) -> Result<Value, ReadError> {
    let value: Value = serde_json::from_str(text).map_err(|error| ReadError::Line { line, what: error.to_string() })?;
    if value.is_object() {
        return Ok(value);
    }
    Err(ReadError::Line { line, what: "no JSON object".to_owned() })
}

fn parse_header(text: &str) -> Result<Header, ReadError> {
    let value = object(1, text)?;
    let wrong = |what: &str| ReadError::Line { line: 1, what: what.to_owned() };
    let version = value.get("quorate_seed").and_then(Value::as_u64);
    match version {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => return Err(ReadError::Version(version)),
        None => return Err(wrong("no artefact of this simulation: `quorate_seed` is missing")),
    }
    serde_json::from_value(value).map_err(|error| wrong(&error.to_string()))
}

/// What the types do not say and a run relies on.
fn check(plan: &Plan) -> Result<(), ReadError> {
    let Options { safety_ms, nodes, tms, rms, groups, heartbeat_ms, ring, .. } = plan.options;
    let known = (1..=NODES_MAX).contains(&nodes)
        && (1..=CLIENTS_MAX).contains(&tms)
        && (2..=CLIENTS_MAX).contains(&rms)
        && rms.is_multiple_of(2)
        && (1..=GROUPS_MAX).contains(&groups)
        && (1..=TIME_MS_MAX).contains(&safety_ms)
        && (10..=60_000).contains(&heartbeat_ms)
        && (ring == 0 || (ROWS_MIN..=RING_MAX).contains(&ring));
    let line = |line: usize, what: String| Err(ReadError::Line { line, what });
    if !known {
        return line(
            1,
            "such a world there is not: nodes, tms, rms, groups, safety_ms, heartbeat_ms or ring".to_owned(),
        );
    }
    let mut last = None;
    for (number, operation) in (2..).zip(&plan.operations) {
        let there = operation.tm < tms && operation.branches.iter().all(|branch| branch.rm < rms);
        let changes = operation.branches.iter().flat_map(|branch| changes(&branch.work));
        let steps = operation.saga.iter().flat_map(|saga| saga.steps.iter().copied());
        let mut changes = changes.chain(steps);
        let fits = changes.all(|(row, delta)| row < ROWS && delta.unsigned_abs() <= DELTA_MAX);
        if !there || !fits || !fits_ring(operation, ring) || operation.at_ms > TIME_MS_MAX {
            return line(number, format!("transaction {} is about what there is not", operation.op));
        }
        if operation.delta() != 0 {
            return line(
                number,
                format!("transaction {} makes money: its changes do not add up to nothing", operation.op),
            );
        }
        if last.is_some_and(|last| operation.op <= last) {
            return line(number, "transactions are not in the order of their numbers".to_owned());
        }
        last = Some(operation.op);
    }
    let faults = (2 + plan.operations.len()..).zip(&plan.faults);
    for (number, fault) in faults {
        if fault.from_ms > TIME_MS_MAX || fault.lasts_ms > TIME_MS_MAX {
            return line(number, format!("fault {} is too long", fault.fault));
        }
    }
    Ok(())
}

/// A swap has three branches, which change what they find.
fn fits_ring(operation: &Operation, rows: u64) -> bool {
    let finds = |branch: &PlannedBranch| branch.work == Work::At(Vec::new());
    operation.ring.is_none_or(|start| {
        let branches = &operation.branches;
        start < rows && operation.saga.is_none() && branches.len() == CHANGES && branches.iter().all(finds)
    })
}

fn changes(work: &Work) -> Vec<(u64, i64)> {
    match work {
        Work::At(rows) => rows.clone(),
        Work::Tcc(account, delta) | Work::Xa(account, delta) | Work::Step(account, delta) => vec![(*account, *delta)],
    }
}

/// What was built, as well as it can be known.
fn commit() -> Option<String> {
    let told = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| told.status.success() && !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SIZES;
    use crate::verdict::Kind;
    use quorate_world::time::Duration;

    fn artefact(seed: u64) -> Artefact {
        let failure = Failure::plain(Kind::Safety, "broken \"word\"", Duration::from_secs(3));
        Artefact::of(&Plan::draw(seed, SIZES[0]), Some("a_bug"), &failure, Some(Digest { hash: 7, events: 1 }))
    }

    #[test]
    fn what_is_written_is_read() {
        for seed in 0..40 {
            let written = artefact(seed);
            assert_eq!(Artefact::parse(&written.text()).expect("it was written here"), written);
        }
    }

    #[test]
    fn every_plan_fits() {
        let sizes = (0..2_000).map(|seed| (artefact(seed).text().len(), seed));
        let (longest, seed) = sizes.max().expect("there are some");
        assert!(longest <= BYTES_MAX, "{longest} bytes, seed {seed}");
    }

    /// As builds before this one wrote it: every field, and what a branch does in a field of its own.
    #[test]
    fn the_longer_form_is_read() {
        let short = r#"{"op":4,"tm":0,"at_ms":5,"branches":[{"rm":1,"at":[[3,-7],[1,7]]},{"rm":0,"tcc":[2,0]}]}"#;
        let long = r#"{"op":4,"tm":0,"at_ms":5,"timeout_ms":60000,"branches":[{"rm":1,"work":{"at":[[3,-7],[1,7]]}},
            {"rm":0,"work":{"tcc":[2,0]},"fails":false,"retries":0}],"commit":true,"thinks_ms":0}"#;
        let read = |text: &str| serde_json::from_str::<Operation>(text).expect("an operation");
        assert_eq!(read(short), read(long));
        assert_eq!(line(&read(long)), format!("{short}\n"));
        let saga = r#"{"op":1,"tm":0,"at_ms":5,"saga":{"steps":[[0,0]],"goes_on":false,"undoes_later":false}}"#;
        assert_eq!(read(saga).saga.map(|saga| saga.steps), Some(vec![(0, 0)]));
        for wrong in [r#"{"rm":1}"#, r#"{"rm":1,"at":[],"tcc":[1,1]}"#, r#"{"rm":1,"xa":[1,1],"more":1}"#] {
            let text = format!(r#"{{"op":4,"tm":0,"at_ms":5,"branches":[{wrong}]}}"#);
            assert!(serde_json::from_str::<Operation>(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_may_be_taken_out() {
        let written = artefact(3);
        let text = written.text();
        let without: String =
            text.lines().enumerate().filter(|(at, _)| *at != 5).map(|(_, line)| format!("{line}\n")).collect();
        let read = Artefact::parse(&without).expect("a plan with a transaction less");
        assert_eq!(read.plan.operations.len(), 199);
        assert_eq!(read.plan.operation(4), None);
        assert_eq!(read.plan.operation(5), written.plan.operation(5));
        assert_eq!(read.plan.faults, written.plan.faults);
    }

    #[test]
    fn what_is_damaged_is_refused_and_says_where() {
        let text = artefact(3).text();
        let error = |text: &str| Artefact::parse(text).expect_err("damaged").to_string();
        let cut: String = text.lines().take(9).map(|line| format!("{line}\n")).collect();
        assert!(error(&cut).contains("cut short"), "{}", error(&cut));
        assert!(error("").contains("cut short"));
        assert!(error(&text[..text.len() - 3]).contains("line "));
        let renamed = text.replacen("\"tm\":", "\"tn\":", 1);
        assert!(error(&renamed).starts_with("line 2: unknown field `tn`"), "{}", error(&renamed));
        let strange = text.replacen("\"tm\":", "\"tm\":7", 1);
        assert!(error(&strange).contains("what there is not"), "{}", error(&strange));
        assert!(error("{\"a\":1}\n").contains("no artefact"));
    }

    #[test]
    fn a_later_version_is_refused() {
        let text = artefact(3).text().replacen("\"quorate_seed\":1", "\"quorate_seed\":2", 1);
        let error = Artefact::parse(&text).expect_err("a later one").to_string();
        assert!(error.contains("version 2"), "{error}");
    }
}
