//! Many runs: a hunt through a range of seeds, the check that runs repeat, the search for planted bugs.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: files, processes and standard output are real"
)]

use crate::child::{Ended, Job, children_cpu, run_all};
use crate::plan::Size;
use crate::planted::{BUGS, BUGS_OF_R1, BUGS_OF_R2};
use crate::tally::Tally;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Seeds that each planted bug is looked for in.
const BUG_SEEDS: u64 = 200;

/// Seeds, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl std::str::FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let wrong = || format!("{text:?} is no range of seeds; write 1..100, both ends included");
        let (first, last) = text.split_once("..").ok_or_else(wrong)?;
        let first = first.parse().map_err(|_| wrong())?;
        let last = last.trim_start_matches('=').parse().map_err(|_| wrong())?;
        if first > last {
            return Err(wrong());
        }
        Ok(Seeds { first, last })
    }
}

/// As many as there are cores.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

pub(crate) fn job(seed: u64, size: Size, bug: Option<&str>) -> Job {
    Job::seed(seed, size.name, bug)
}

/// Runs a range of seeds. Gives the exit code.
pub fn hunt(seeds: Seeds, size: Size, bug: Option<&str>, at_a_time: usize, json: Option<&Path>) -> io::Result<u8> {
    let jobs: Vec<Job> = (seeds.first..=seeds.last).map(|seed| job(seed, size, bug)).collect();
    let ended = run_all(&jobs, at_a_time, |ended| {
        eprintln!("{}", ended.line);
        true
    })?;
    let mut tally = Tally::new(size.name, bug);
    ended.iter().for_each(|ended| tally.add(ended));
    tally.tell();
    let code = tally.exit_code();
    if let Some(path) = json {
        tally.write(path, children_cpu(), code, &BTreeMap::new())?;
    }
    Ok(code)
}

/// Runs each seed of each world twice and compares the hashes. Gives the exit code.
pub fn determinism(runs: &[(Seeds, Size)], at_a_time: usize) -> io::Result<u8> {
    let (mut same, mut different) = (0, 0);
    for (seeds, size) in runs {
        let (alike, unlike) = compared(*seeds, *size, at_a_time)?;
        same += alike;
        different += unlike;
    }
    println!("{same} the same, {different} different");
    Ok(if different == 0 { 0 } else { 13 })
}

/// How many seeds of a world ran the same way twice, and how many did not.
fn compared(seeds: Seeds, size: Size, at_a_time: usize) -> io::Result<(usize, usize)> {
    let jobs: Vec<Job> =
        (seeds.first..=seeds.last).flat_map(|seed| [job(seed, size, None), job(seed, size, None)]).collect();
    let ended = run_all(&jobs, at_a_time, |_| true)?;
    let mut different = 0;
    for pair in ended.chunks(2) {
        let [one, other] = pair else { continue };
        if is_same(&one.line, &other.line) {
            eprintln!("same {} {}", size.name, one.line);
        } else {
            different += 1;
            eprintln!("DIFFERENT {0} {1}\nDIFFERENT {0} {2}", size.name, one.line, other.line);
            tell_difference(one.seed, size)?;
        }
    }
    Ok((ended.len() / 2 - different, different))
}

/// Whether two lines are of the same run. Without a hash, as of children that died, nothing says so.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    has_hash(one) && hashed(one) == hashed(other)
}

/// The line without what only the outside world decides.
fn hashed(line: &str) -> &str {
    line.split(" wall=").next().unwrap_or(line)
}

/// All zeros are the hash of a world that did not come to its end.
fn has_hash(line: &str) -> bool {
    let hash = line.split_whitespace().find_map(|word| word.strip_prefix("hash="));
    hash.is_some_and(|hash| {
        hash.len() == 32 && hash.chars().all(|c| c.is_ascii_hexdigit()) && hash.chars().any(|c| c != '0')
    })
}

/// Runs a seed twice more with a trace, and shows where the two part.
pub(crate) fn tell_difference(seed: u64, size: Size) -> io::Result<()> {
    let folder = std::env::temp_dir();
    let path = |which: &str| folder.join(format!("quorate-trace-{}-{seed}-{which}", std::process::id()));
    let paths = [path("one"), path("other")];
    for path in &paths {
        let ended = job(seed, size, None).traced(path).run()?;
        if !path.exists() {
            eprintln!("seed {seed}: no trace; {}", ended.line);
            return paths.iter().filter(|path| path.exists()).try_for_each(std::fs::remove_file);
        }
    }
    let [one, other] = &paths;
    let lines = BufReader::new(File::open(one)?).lines().zip(BufReader::new(File::open(other)?).lines());
    for (number, (one, other)) in lines.enumerate() {
        let (one, other) = (one?, other?);
        if one != other {
            eprintln!("seed {seed}: the traces part in line {}\n  {one}\n  {other}", number + 1);
            break;
        }
    }
    paths.iter().try_for_each(std::fs::remove_file)
}

/// One of several equal parts, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    this: usize,
    of: usize,
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let numbers = text.split_once('/').and_then(|(this, of)| Some((this.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((this, of)) if this < of => Ok(Part { this, of }),
            _ => Err(format!("`{text}` is no part: write the first quarter as 0/4, the last one as 3/4")),
        }
    }
}

/// Looks for every planted bug, or for those of these names, or a part of them, and prints the table. Gives the exit code.
pub fn bugs(size: Size, names: &[String], part: Option<Part>, at_a_time: usize) -> io::Result<u8> {
    println!("| bug | found by | first seed | seeds tried | wrongly found by |");
    println!("|---|---|---|---|---|");
    let mut missed = 0;
    let in_world = |name| Size::named(name).unwrap_or(size);
    let of_r1 = BUGS_OF_R1.map(|bug| (bug, in_world("R1")));
    let of_r2 = BUGS_OF_R2.map(|bug| (bug, in_world("R2")));
    let is_wanted = |bug: &str| names.is_empty() || names.iter().any(|name| name == bug);
    let all = BUGS.map(|bug| (bug, size)).into_iter().chain(of_r1).chain(of_r2);
    let Part { this, of } = part.unwrap_or(Part { this: 0, of: 1 });
    let wanted = all.filter(|((bug, _), _)| is_wanted(bug)).skip(this).step_by(of);
    for ((bug, oracles), size) in wanted {
        let is_find = |ended: &Ended| ended.code != 0 && oracles.contains(&oracle_in(&ended.line));
        let jobs: Vec<Job> = (1..=BUG_SEEDS).map(|seed| job(seed, size, Some(bug))).collect();
        let ended = run_all(&jobs, at_a_time, |ended| !is_find(ended))?;
        let find = ended.iter().find(|ended| is_find(ended));
        let others: Vec<&str> = ended
            .iter()
            .filter(|ended| ended.code != 0 && !is_find(ended))
            .map(|ended| oracle_in(&ended.line))
            .collect();
        let (oracle, seed) = match find {
            Some(find) => (oracle_in(&find.line), find.seed.to_string()),
            None => {
                missed += 1;
                ("nobody", "none".to_owned())
            }
        };
        println!("| {bug} | {oracle} | {seed} | {} | {} |", ended.len(), others.join(", "));
    }
    Ok(if missed == 0 { 0 } else { 13 })
}

fn oracle_in(line: &str) -> &str {
    line.split_whitespace().find_map(|word| word.strip_prefix("oracle=")).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_nothing() {
        assert_eq!("0/4".parse(), Ok(Part { this: 0, of: 4 }));
        assert_eq!("3/4".parse(), Ok(Part { this: 3, of: 4 }));
        assert!("4/4".parse::<Part>().is_err());
        assert!("quarter".parse::<Part>().is_err());
    }

    #[test]
    fn ranges_have_both_ends() {
        assert_eq!("3..7".parse(), Ok(Seeds { first: 3, last: 7 }));
        assert_eq!("3..=3".parse(), Ok(Seeds { first: 3, last: 3 }));
        assert!("7..3".parse::<Seeds>().is_err());
        assert!("7".parse::<Seeds>().is_err());
    }

    #[test]
    fn a_line_tells_its_oracle() {
        assert_eq!(oracle_in("seed 7 FAILED safety oracle=A1 xid=4"), "A1");
        assert_eq!(oracle_in("seed 7 ok hash=1"), "-");
        assert_eq!(hashed("seed 7 ok hash=1 wall=2s"), "seed 7 ok hash=1");
    }

    #[test]
    fn only_hashes_make_runs_the_same() {
        let line = |digit: &str, wall| format!("seed 7 ok hash={} events=9 wall={wall}s", digit.repeat(32));
        assert!(is_same(&line("a", 1), &line("a", 2)));
        assert!(!is_same(&line("a", 1), &line("b", 1)));
        assert!(!is_same(&line("0", 1), &line("0", 1)), "neither world came to its end");
        let died = "seed 7 FAILED harness oracle=- (no line; exit code 101)";
        assert!(!is_same(died, died));
        assert!(!is_same("seed 7 ok hash=a", "seed 7 ok hash=a"));
    }
}
