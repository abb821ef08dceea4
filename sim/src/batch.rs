//! Many runs: a hunt through a range of seeds, the check that runs repeat, the search for planted bugs.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "outside of all worlds: files, processes and standard output are real"
)]

use crate::child::{Ended, Job, children_cpu, run_all};
use crate::plan::Size;
use crate::tally::Tally;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// A planted bug, and the oracles that may find it.
type Planted = (&'static str, &'static [&'static str]);

/// The planted bugs.
pub const BUGS: [Planted; 66] = [
    ("acknowledge_before_sync", &["D2"]),
    ("append_acknowledged_before_sync", &["D2"]),
    ("log_not_synced", &["D2"]),
    ("vote_not_awaited", &["D2"]),
    ("vote_forgotten_at_start", &["D", "D2"]),
    ("checkpoint_not_synced", &["D2"]),
    ("no_folder_sync", &["D2"]),
    ("last_batch_not_rewritten", &["D2"]),
    ("snapshot_not_synced", &["D2"]),
    ("snapshot_name_not_synced", &["D2"]),
    ("snapshot_cut_short", &["D2", "D3"]),
    ("applied_twice", &["D"]),
    ("read_without_quorum", &["C3", "C7"]),
    ("parked_answered_unknown", &["C1", "C3", "C7"]),
    ("commit_told_before_decided", &["C1"]),
    ("decide_before_commit", &["A3"]),
    ("phase_two_turned", &["A1", "A2"]),
    ("branch_forgotten", &["A6", "A8", "C4", "G2"]),
    ("lock_kept_at_end", &["B3"]),
    ("acknowledged_without_locks", &["B1"]),
    ("released_before_undo", &["B5"]),
    ("group_clock_is_the_wall_clock", &["A6"]),
    ("deadlines_forgotten_at_failover", &["G1"]),
    ("decisions_forgotten_at_failover", &["G1"]),
    ("deletions_forgotten_at_failover", &["G1"]),
    ("deleted_without_its_rm", &["A8", "C4", "G2"]),
    ("acknowledged_and_removed", &["A4"]),
    ("one_branch_goes_the_other_way", &["A1"]),
    ("saga_failure_heard_as_done", &["A7"]),
    ("second_row_not_locked", &["B2"]),
    ("release_not_repeated", &["B3"]),
    ("rollback_told_as_commit", &["C1"]),
    ("status_from_any_replica", &["C3", "C7"]),
    ("silence_is_taken_for_done", &["A6", "A8", "B5", "C4", "G2"]),
    ("snapshot_of_a_later_state", &["D", "D3"]),
    ("back_off_without_end", &["G1"]),
    ("stop_waits_for_all_connections", &["G3"]),
    ("only_the_first_row_is_locked", &["B4"]),
    ("second_row_not_undone", &["B6"]),
    ("conflict_is_waited_out", &["B7"]),
    ("branch_ids_dealt_twice", &["C2"]),
    ("late_end_commits_the_next", &["C5"]),
    ("resource_names_the_request", &["C5"]),
    ("slow_begin_is_refused", &["C6"]),
    ("silent_leader_is_answered_for", &["C7"]),
    // The mutants of the lock protocol.
    ("same_tenure_is_refused", &["LK6", "B7", "G1"]),
    ("new_leader_deals_ids_again", &["C2"]),
    ("branches_join_after_the_decision", &["A4"]),
    ("first_branch_holds", &["B1", "B4"]),
    ("acknowledged_before_it_is_listed", &["A4"]),
    ("decision_is_not_looked_at", &["A4"]),
    ("given_up_and_acknowledged", &["B1", "LK6"]),
    ("new_leader_removes_branches", &["A4", "B5"]),
    ("stranger_acknowledges_a_release", &["LK4"]),
    ("audit_frees_what_rolls_back", &["LK6"]),
    ("two_groups_own_a_slot", &["LK2"]),
    ("time_out_ends_as_a_rollback", &["A5"]),
    ("failed_branch_is_asked", &["A10"]),
    ("refusal_is_asked_again", &["A11"]),
    ("annotated_step_is_committed", &["A10"]),
    ("given_up_early", &["A6"]),
    ("lock_query_sees_one_row", &["B8"]),
    ("lock_query_is_asked_by_nobody", &["B8"]),
    ("everybody_fails_fast", &["B9"]),
    ("given_up_lets_its_locks_go", &["B5"]),
    ("unknown_branch_is_taken_for_undone", &["A6", "A8"]),
];

/// Those that a small world hardly ever brings about.
pub const BUGS_OF_R1: [Planted; 3] = [
    ("orphan_locks_never_audited", &["B7", "G2"]),
    ("empty_rollback_leaves_no_fence", &["A9"]),
    ("tcc_registered_again", &["C5"]),
];

/// Those that need a world whose nodes come and go.
pub const BUGS_OF_R2: [Planted; 2] =
    [("left_replica_is_not_wiped", &["G3"]), ("drained_node_keeps_its_groups", &["G3"])];

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

/// Runs each seed twice and compares the hashes. Gives the exit code.
pub fn determinism(seeds: Seeds, size: Size, at_a_time: usize) -> io::Result<u8> {
    let jobs: Vec<Job> =
        (seeds.first..=seeds.last).flat_map(|seed| [job(seed, size, None), job(seed, size, None)]).collect();
    let ended = run_all(&jobs, at_a_time, |_| true)?;
    let mut different = 0;
    for pair in ended.chunks(2) {
        let [one, other] = pair else { continue };
        let same = hashed(&one.line) == hashed(&other.line);
        eprintln!("{} {}", if same { "same" } else { "DIFFERENT" }, one.line);
        if !same {
            different += 1;
            eprintln!("DIFFERENT {}", other.line);
            tell_difference(one.seed, size)?;
        }
    }
    println!("{} the same, {different} different", ended.len() / 2 - different);
    Ok(if different == 0 { 0 } else { 13 })
}

/// The line without what only the outside world decides.
pub(crate) fn hashed(line: &str) -> &str {
    line.split(" wall=").next().unwrap_or(line)
}

/// Runs a seed twice more with a trace, and shows where the two part.
pub(crate) fn tell_difference(seed: u64, size: Size) -> io::Result<()> {
    let folder = std::env::temp_dir();
    let path = |which: &str| folder.join(format!("quorate-trace-{}-{seed}-{which}", std::process::id()));
    let paths = [path("one"), path("other")];
    for path in &paths {
        job(seed, size, None).traced(path).run()?;
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
}
