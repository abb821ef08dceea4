//! Crashes of the simulated disk at any moment, recovery included: process kills, power failures with torn and lost
//! sectors and names, failing syncs, a full device, no file descriptor left, flipped bits.
//!
//! The model is one list of operations of all groups in the order in which they were queued. After a crash the state
//! must be all that were acknowledged, plus a prefix of the others: first in, first out over all groups.
#![cfg(madsim)]

mod common;

use common::*;
use quorate_core::model::{GroupId, LogId, LogIndex};
use quorate_storage::{LogRecord, Storage, StorageError, StorageOptions, Tail, Vote};
use quorate_world::disk::NodeDisk;
use quorate_world::net::IpAddr;
use quorate_world::random;
use quorate_world::sim::{self, Dice, DiskFaults, Ending, Machine, Options};
use quorate_world::task;
use quorate_world::time::{Duration, sleep};
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;

use std::sync::{Arc, Mutex};

const GROUPS: u32 = 6;
const ROUNDS: u64 = 12;

/// What the model knows of one group's log.
#[derive(Clone, Default, PartialEq, Debug)]
struct GroupModel {
    vote: Option<Vote>,
    purged: Option<LogId>,
    had: Option<LogId>,
    entries: Vec<LogRecord>,
}

impl GroupModel {
    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn next(&self) -> u64 {
        self.last().map_or(1, |last| last.index.0 + 1)
    }

    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Append(records) => self.entries.extend(records.iter().cloned()),
            Operation::Vote(vote) => self.vote = Some(*vote),
            Operation::TruncateFrom(index) => self.entries.retain(|entry| entry.log_id.index < *index),
            Operation::Purge(upto) => {
                self.entries.retain(|entry| entry.log_id.index > upto.index);
                self.purged = Some(*upto);
            }
            Operation::Remove => {
                let had = self.had.max(self.purged).max(self.entries.last().map(|entry| entry.log_id));
                *self = GroupModel { vote: self.vote, had, ..GroupModel::default() };
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Append(Vec<LogRecord>),
    Vote(Vote),
    TruncateFrom(LogIndex),
    Purge(LogId),
    Remove,
}

/// What everybody outside knows, over all lives of the node.
#[derive(Default)]
struct Model {
    /// As the last start found it.
    base: BTreeMap<GroupId, GroupModel>,
    /// Queued since then, in that order; and whether it was acknowledged.
    operations: Vec<(GroupId, Operation, bool)>,
    /// Of the groups, when every operation is applied.
    newest: BTreeMap<GroupId, GroupModel>,
    founded: bool,
    tally: Tally,
    wrong: Vec<String>,
}

#[derive(Default, Clone, Debug)]
struct Tally {
    starts: u64,
    torn: u64,
    acknowledged: u64,
    refused: u64,
    io_stops: u64,
    segments_most: usize,
}

type Shared = Arc<Mutex<Model>>;

impl Model {
    fn queue(&mut self, group: GroupId, operation: Operation) -> usize {
        self.newest.entry(group).or_default().apply(&operation);
        self.operations.push((group, operation, false));
        self.operations.len() - 1
    }

    fn acknowledge(&mut self, at: usize) {
        self.tally.acknowledged += 1;
        self.operations[at].2 = true;
    }

    /// Takes what a start found as the truth, if the model allows it.
    fn check(&mut self, found: BTreeMap<GroupId, GroupModel>) {
        let acknowledged = self.operations.iter().rposition(|(_, _, done)| *done).map_or(0, |last| last + 1);
        let mut state = self.base.clone();
        let all: Vec<(GroupId, Operation, bool)> = std::mem::take(&mut self.operations);
        let empty = GroupModel::default();
        let same = |state: &BTreeMap<GroupId, GroupModel>| {
            found.iter().all(|(group, model)| state.get(group).unwrap_or(&empty) == model)
        };
        let mut matched = acknowledged == 0 && same(&state);
        for (at, (group, operation, _)) in all.iter().enumerate() {
            if matched {
                break;
            }
            state.entry(*group).or_default().apply(operation);
            matched = at + 1 >= acknowledged && same(&state);
        }
        if !matched {
            let what = format!("no prefix of {} operations from {acknowledged} on is what was found", all.len());
            self.wrong.push(what);
        }
        self.newest = found.clone();
        self.base = found;
    }
}

/// How a campaign breaks things.
#[derive(Clone, Default)]
struct Campaign {
    faults: DiskFaults,
    flips: bool,
    options: Option<StorageOptions>,
    bug: Option<&'static str>,
}

async fn read_back(storage: &Storage) -> BTreeMap<GroupId, GroupModel> {
    let mut found = BTreeMap::new();
    for group in (1..=GROUPS).map(GroupId) {
        let log = storage.group(group);
        let (state, entries) = (log.state(), all(&log).await);
        assert_eq!(state.last, entries.last().map(|entry| entry.log_id).or(state.purged));
        found.insert(group, GroupModel { vote: state.vote, purged: state.purged, had: state.had, entries });
    }
    found
}

/// One life of the node.
async fn live(model: Shared, options: StorageOptions) -> i32 {
    let disk = NodeDisk::open_root("data").expect("a root");
    let (storage, recovered) = match Storage::open(disk, options).await {
        Ok(opened) => opened,
        Err(error) => {
            let mut model = model.lock().expect("no panic");
            match &error {
                StorageError::Damaged(_) => model.tally.refused += 1,
                StorageError::Io { .. } => {}
                other => model.wrong.push(other.to_string()),
            }
            return error.exit_code();
        }
    };
    match recovered {
        Some(recovered) => {
            let found = read_back(&storage).await;
            let mut model = model.lock().expect("no panic");
            model.check(found);
            model.founded = true;
            model.tally.starts += 1;
            model.tally.torn += u64::from(recovered.tail != Tail::Clean);
            model.tally.segments_most = model.tally.segments_most.max(recovered.segments);
        }
        None => {
            if model.lock().expect("no panic").founded {
                model.lock().expect("no panic").wrong.push("a founded disk is blank".to_owned());
            }
            if let Err(error) = storage.found(IDENTITY).await {
                return error.exit_code();
            }
            model.lock().expect("no panic").founded = true;
        }
    }
    for group in (1..=GROUPS).map(GroupId) {
        task::spawn(client(storage.clone(), model.clone(), group));
    }
    pending().await
}

/// Works on one group for ever.
async fn client(storage: Storage, model: Shared, group: GroupId) {
    let log = storage.group(group);
    loop {
        if group.0 <= 2 || random::below(10) == 0 {
            sleep(Duration::from_micros(random::below(4000))).await;
        }
        let operation = {
            let model = model.lock().expect("no panic");
            draw(group, &model.newest.get(&group).cloned().unwrap_or_default())
        };
        let Some(operation) = operation else { continue };
        let at = model.lock().expect("no panic").queue(group, operation.clone());
        // From here to the queue there is no wait, so the model has the queue's order.
        match operation {
            Operation::Append(records) => {
                let acknowledging = model.clone();
                let durable = move || acknowledging.lock().expect("no panic").acknowledge(at);
                log.append(records, Box::new(durable)).await;
                if random::below(3) == 0 {
                    log.flush().await;
                }
                continue;
            }
            Operation::Purge(upto) => {
                log.purge(upto);
                continue;
            }
            Operation::Vote(vote) => log.save_vote(vote).await,
            Operation::TruncateFrom(index) => log.truncate_from(index).await,
            Operation::Remove => log.remove().await,
        }
        model.lock().expect("no panic").acknowledge(at);
    }
}

/// Groups 1 and 2 never let go of an entry and write little: they pin what they can.
fn draw(id_of_group: GroupId, group: &GroupModel) -> Option<Operation> {
    let term = 1 + random::below(3);
    let next = group.next();
    let inside = |from: u64| from + random::below(next - from);
    let pins = id_of_group.0 <= 2;
    Some(match random::below(if pins { 88 } else { 100 }) {
        0..80 => {
            let records = (0..=random::below(3)).map(|i| {
                let payload: Vec<u8> = match random::below(5) {
                    0 => vec![0; random::below(9000) as usize],
                    _ => random::u64().to_le_bytes().repeat(1 + random::below(400) as usize),
                };
                entry(term, next + i, payload)
            });
            Operation::Append(records.collect())
        }
        80..88 => Operation::Vote(vote(random::below(1000), 1 + random::below(3))),
        88..92 => {
            let first = group.entries.first()?.log_id.index.0;
            Operation::TruncateFrom(LogIndex(inside(first)))
        }
        92..97 => {
            let first = group.entries.first()?.log_id.index.0;
            Operation::Purge(group.entries[(inside(first) - first) as usize].log_id)
        }
        97..99 => Operation::Purge(id(term, next + random::below(50))),
        _ => Operation::Remove,
    })
}

/// Flips one bit of what was written in a segment.
fn flip_a_bit(machine: Machine, dice: &mut Dice) {
    let disk = machine.disk();
    let files: Vec<(String, u64)> = disk.files().into_iter().filter(|(path, _)| path.ends_with(".log")).collect();
    let Some((path, _)) = files.get(dice.below(files.len().max(1) as u64) as usize) else { return };
    let bytes = disk.read(path).expect("read");
    let used: Vec<usize> = (0..bytes.len() / 512).filter(|i| bytes[i * 512..(i + 1) * 512] != [0; 512]).collect();
    if used.is_empty() {
        return;
    }
    // Half of them near the end, where torn and damaged are told apart.
    let from = if dice.below(2) == 0 { used.len().saturating_sub(24) } else { 0 };
    let sector = used[from + dice.below((used.len() - from) as u64) as usize];
    let at = sector as u64 * 512 + dice.below(512);
    disk.flip_bit(path, at, dice.below(8) as u8).expect("flipped");
}

/// Runs one seed and returns what went wrong.
fn run_seed(seed: u64, campaign: Campaign) -> (Vec<String>, Tally) {
    let bug = campaign.bug.map(str::to_owned);
    let run = sim::run(seed, Options { bug, ..Options::default() }, move || async move {
        let model = Shared::default();
        let options = campaign.options.clone().unwrap_or(options());
        let (shared, given) = (model.clone(), options.clone());
        let address = IpAddr::from([10, 0, 0, 1]);
        let machine = sim::add_machine("node", address, move || live(shared.clone(), given.clone()));
        let mut dice = Dice::new(seed, "crashes");
        for _ in 0..ROUNDS {
            machine.disk().set_faults(campaign.faults);
            machine.start();
            // Often inside the recovery, which takes a few milliseconds.
            let upto_us = if dice.below(3) == 0 { 4_000 } else { 60_000 };
            sleep(Duration::from_micros(dice.below(upto_us))).await;
            match machine.ending().filter(|_| !machine.is_running()) {
                None if dice.below(2) == 0 => drop(machine.kill()),
                None => drop(machine.power_fail()),
                Some(Ending::Exited(74) | Ending::Returned) => {
                    model.lock().expect("no panic").tally.io_stops += 1;
                    if dice.below(2) == 0 {
                        machine.power_fail();
                    }
                }
                Some(Ending::Exited(65)) if campaign.flips => break,
                Some(other) => {
                    model.lock().expect("no panic").wrong.push(format!("it ended by itself: {other:?}"));
                    break;
                }
            }
            if campaign.flips && dice.below(2) == 0 {
                flip_a_bit(machine, &mut dice);
            }
        }
        let mut model = model.lock().expect("no panic");
        if model.tally.refused > 0 && !campaign.flips {
            model.wrong.push("refused undamaged data".to_owned());
        }
        (std::mem::take(&mut model.wrong), model.tally.clone())
    });
    run.output
}

/// Runs a campaign; returns the seeds at fault and the sums.
fn run_all(seeds: u64, campaign: &Campaign) -> (BTreeSet<u64>, Tally) {
    let (mut bad, mut sum) = (BTreeSet::new(), Tally::default());
    for seed in 1..=seeds {
        let (wrong, tally) = run_seed(seed, campaign.clone());
        for what in wrong {
            if campaign.bug.is_none() && !campaign.faults.lying_sync {
                eprintln!("seed {seed}: {what}");
            }
            bad.insert(seed);
        }
        sum.starts += tally.starts;
        sum.torn += tally.torn;
        sum.acknowledged += tally.acknowledged;
        sum.refused += tally.refused;
        sum.io_stops += tally.io_stops;
        sum.segments_most = sum.segments_most.max(tally.segments_most);
    }
    eprintln!("seeds={seeds} bad={} {sum:?}", bad.len());
    (bad, sum)
}

/// More seeds by hand: `STORAGE_SEEDS=1000`.
fn seeds(few: u64) -> u64 {
    std::env::var("STORAGE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(few)
}

#[test]
fn kills_and_power_failures() {
    let (bad, sum) = run_all(seeds(20), &Campaign::default());
    assert!(bad.is_empty(), "{bad:?}");
    assert!(sum.torn > 0 && sum.starts > 100 && sum.acknowledged > 1000, "{sum:?}");
}

#[test]
fn failing_syncs() {
    let faults = DiskFaults { sync_error_per_million: 5_000, ..DiskFaults::default() };
    let (bad, sum) = run_all(seeds(15), &Campaign { faults, ..Campaign::default() });
    assert!(bad.is_empty(), "{bad:?}");
    assert!(sum.io_stops > 5, "{sum:?}");
}

#[test]
fn a_full_device() {
    let faults = DiskFaults { capacity_bytes: Some(5 << 20), ..DiskFaults::default() };
    let (bad, sum) = run_all(seeds(10), &Campaign { faults, ..Campaign::default() });
    assert!(bad.is_empty(), "{bad:?}");
    assert!(sum.acknowledged > 1000, "{sum:?}");
}

/// Whoever starts without a descriptor ends; whoever runs waits.
#[test]
fn few_file_descriptors() {
    let faults = DiskFaults { no_descriptor_per_million: 20_000, ..DiskFaults::default() };
    let (bad, sum) = run_all(seeds(10), &Campaign { faults, ..Campaign::default() });
    assert!(bad.is_empty(), "{bad:?}");
    assert!(sum.acknowledged > 1000 && sum.io_stops > 0, "{sum:?}");
}

#[test]
fn carrying_forward_and_cold_reads() {
    let options = StorageOptions { wal_bytes_target: 3 << 20, cache_bytes: 64 << 10, ..options() };
    let (bad, sum) = run_all(seeds(15), &Campaign { options: Some(options), ..Campaign::default() });
    assert!(bad.is_empty(), "{bad:?}");
    assert!(sum.torn > 0 && sum.segments_most < 12, "{sum:?}");
}

#[test]
fn flipped_bits_are_never_lost_silently() {
    let (bad, sum) = run_all(seeds(25), &Campaign { flips: true, ..Campaign::default() });
    assert!(bad.is_empty(), "{bad:?}");
    assert!(sum.refused > 10, "{sum:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..4 {
        let first = run_seed(seed, Campaign::default());
        assert_eq!(format!("{first:?}"), format!("{:?}", run_seed(seed, Campaign::default())));
    }
}

#[test]
fn the_harness_notices_a_lying_sync() {
    let faults = DiskFaults { lying_sync: true, ..DiskFaults::default() };
    let (bad, _) = run_all(10, &Campaign { faults, ..Campaign::default() });
    assert!(bad.len() > 5, "{bad:?}");
}

#[test]
fn the_harness_finds_planted_bugs() {
    if !quorate_world::bug::PLANTED {
        return;
    }
    let syncs_fail = DiskFaults { sync_error_per_million: 20_000, ..DiskFaults::default() };
    for (bug, faults) in [
        ("acknowledge_before_sync", DiskFaults::default()),
        ("no_folder_sync", DiskFaults::default()),
        ("last_batch_not_rewritten", syncs_fail),
        ("first_bad_is_the_end", DiskFaults::default()),
        ("remove_forgets_the_vote", DiskFaults::default()),
        ("remove_forgets_the_log", DiskFaults::default()),
    ] {
        let flips = bug == "first_bad_is_the_end";
        let (bad, _) = run_all(100, &Campaign { bug: Some(bug), faults, flips, ..Campaign::default() });
        assert!(!bad.is_empty(), "{bug} was not found");
    }
}
