//! Crashes while snapshots are built, received and installed: afterwards there is one, whole, and it covers what was
//! purged.
#![cfg(madsim)]

mod common;

use bytes::Bytes;
use common::*;
use quorate_core::model::{GroupId, LogId};
use quorate_storage::{GroupLog, SnapshotMeta, SnapshotStore, Storage, StorageOptions};
use quorate_world::disk::NodeDisk;
use quorate_world::net::IpAddr;
use quorate_world::random;
use quorate_world::sim::{self, Dice, DiskFaults, Ending, Options};
use quorate_world::time::{Duration, sleep};
use std::sync::{Arc, Mutex};

const GROUP: GroupId = GroupId(1);
const ROUNDS: u64 = 12;
const TERM: u64 = 3;

fn fast() -> StorageOptions {
    StorageOptions { snapshot_pace_bytes_per_s: u64::MAX, purge_needs_snapshot: true, ..options() }
}

/// A state that its index determines.
fn state(index: u64) -> Vec<(u16, Vec<u8>)> {
    (0..40 + index % 7).map(|n| (1, vec![(index + n) as u8; 9_000])).collect()
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last: Some(id(TERM, index)), membership: Bytes::from_static(b"members") }
}

/// What everybody outside knows.
#[derive(Default)]
struct Told {
    /// The highest index that was acknowledged or installed.
    last: u64,
    snapshot: u64,
    starts: u64,
    installed: u64,
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Told>>;
type Prepared = Arc<Vec<(u64, Vec<Bytes>)>>;

/// Snapshots that a peer would send.
async fn prepare() -> Prepared {
    let storage = found(&scratch("peer").await, fast()).await;
    let mut prepared = Vec::new();
    for index in (1..40).map(|n| n * 50) {
        let file = storage.snapshots(GROUP).write(meta(index), state(index)).await.expect("written");
        let mut chunks = Vec::new();
        for number in 0..file.chunks() {
            chunks.push(file.chunk(number).await.expect("whole"));
        }
        prepared.push((index, chunks));
    }
    storage.close().await;
    Arc::new(prepared)
}

fn index_of(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index.0)
}

async fn check(log: &GroupLog, snapshots: &SnapshotStore, told: &Shared) {
    let mut wrong = Vec::new();
    let snapshot = match snapshots.current().await {
        Ok(Some(file)) => {
            let index = index_of(file.meta().last);
            if file.load().await.expect("verified") != state(index) || *file.meta() != meta(index) {
                wrong.push(format!("the snapshot at {index} is of another state"));
            }
            index
        }
        Ok(None) => 0,
        Err(error) => panic!("{error}"),
    };
    let state = log.state();
    let last = index_of(state.last).max(snapshot);
    if index_of(state.last) < snapshot {
        log.purge(id(TERM, snapshot));
    }
    let mut told = told.lock().expect("no panic");
    if snapshot < told.snapshot || last < told.last {
        wrong.push(format!("found {snapshot} and {last}, told {} and {}", told.snapshot, told.last));
    }
    if index_of(state.purged) > snapshot {
        wrong.push(format!("purged up to {} with a snapshot of {snapshot}", index_of(state.purged)));
    }
    told.starts += 1;
    told.wrong.extend(wrong);
}

async fn live(told: Shared, prepared: Prepared) -> i32 {
    let disk = NodeDisk::open_root("data").expect("a root");
    let (storage, recovered) = match Storage::open(disk, fast()).await {
        Ok(opened) => opened,
        Err(error) => return error.exit_code(),
    };
    if recovered.is_none()
        && let Err(error) = storage.found(IDENTITY).await
    {
        return error.exit_code();
    }
    let (log, snapshots) = (storage.group(GROUP), storage.snapshots(GROUP));
    check(&log, &snapshots, &told).await;
    loop {
        let last = index_of(log.state().last);
        match random::below(10) {
            0..6 => {
                let upto = last + 1 + random::below(5);
                append(&log, entries(GROUP, TERM, last + 1..upto + 1)).await;
                told.lock().expect("no panic").last = upto;
            }
            6..8 if last > 0 => {
                let file = snapshots.write(meta(last), state(last)).await.expect("space");
                let built = index_of(file.meta().last);
                told.lock().expect("no panic").snapshot = built;
                log.purge(id(TERM, built.saturating_sub(random::below(5)).max(index_of(log.state().purged))));
            }
            8 => install(&log, &snapshots, &prepared, &told).await,
            _ => sleep(Duration::from_micros(random::below(500))).await,
        }
    }
}

/// Takes the next snapshot that lies ahead of the log.
async fn install(log: &GroupLog, snapshots: &SnapshotStore, prepared: &Prepared, told: &Shared) {
    let last = index_of(log.state().last);
    let Some((index, chunks)) = prepared.iter().find(|(index, _)| *index > last) else { return };
    let mut receiving = snapshots.receive().await.expect("space");
    for chunk in chunks {
        receiving.push(chunk.clone()).await.expect("the next one");
    }
    let received = receiving.finish().await.expect("complete");
    snapshots.install(&received).await.expect("installed");
    let mut told = told.lock().expect("no panic");
    (told.snapshot, told.last, told.installed) = (*index, *index, told.installed + 1);
    log.purge(id(TERM, *index));
}

fn run_seed(seed: u64, faults: DiskFaults) -> (u64, u64, Vec<String>) {
    let run = sim::run(seed, Options::default(), move || async move {
        let prepared = prepare().await;
        let told = Shared::default();
        let shared = told.clone();
        let machine =
            sim::add_machine("node", IpAddr::from([10, 0, 0, 1]), move || live(shared.clone(), prepared.clone()));
        let mut dice = Dice::new(seed, "crashes");
        for _ in 0..ROUNDS {
            machine.disk().set_faults(faults);
            machine.start();
            sleep(Duration::from_micros(dice.below(40_000))).await;
            match machine.ending().filter(|_| !machine.is_running()) {
                None if dice.below(2) == 0 => drop(machine.kill()),
                None => drop(machine.power_fail()),
                Some(Ending::Exited(74)) => drop(machine.power_fail()),
                Some(other) => {
                    told.lock().expect("no panic").wrong.push(format!("it ended by itself: {other:?}"));
                    break;
                }
            }
        }
        let told = told.lock().expect("no panic");
        (told.starts, told.installed, told.wrong.clone())
    });
    run.output
}

fn run_all(seeds: u64, faults: DiskFaults) {
    let (mut starts, mut installed, mut bad) = (0, 0, Vec::new());
    for seed in 1..=seeds {
        let (started, done, wrong) = run_seed(seed, faults);
        (starts, installed) = (starts + started, installed + done);
        bad.extend(wrong.into_iter().map(|what| format!("seed {seed}: {what}")));
    }
    eprintln!("seeds={seeds} starts={starts} installed={installed} bad={}", bad.len());
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(starts > 30 && installed > 20, "starts {starts}, installed {installed}");
}

#[test]
fn kills_and_power_failures() {
    run_all(12, DiskFaults::default());
}

#[test]
fn failing_syncs() {
    run_all(12, DiskFaults { sync_error_per_million: 4_000, ..DiskFaults::default() });
}
