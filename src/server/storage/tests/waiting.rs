//! Without space or a file descriptor left a log waits, and loses nothing.
#![cfg(madsim)]

mod common;

use bytes::Bytes;
use common::*;
use quorate_core::model::GroupId;
use quorate_storage::{SnapshotError, SnapshotMeta, Storage};
use quorate_world::disk::NodeDisk;
use quorate_world::net::IpAddr;
use quorate_world::sim::{self, DiskFaults, FaultClass, Machine, Options};
use quorate_world::task;
use quorate_world::time::{Duration, sleep};
use std::future::pending;
use std::sync::{Arc, Mutex};

const ONE: GroupId = GroupId(1);

/// What the harness sees of the node.
#[derive(Default)]
struct Seen {
    storage: Option<Storage>,
    acknowledged: u64,
    snapshots: Vec<Option<SnapshotError>>,
    /// What a start found.
    found: Option<u64>,
}

type Shared = Arc<Mutex<Seen>>;

async fn live(seen: Shared, purges: bool) {
    let disk = NodeDisk::open_root("data").expect("a root");
    let (storage, recovered) = Storage::open(disk, options()).await.expect("it opens");
    if recovered.is_none() {
        storage.found(IDENTITY).await.expect("founded");
    }
    let log = storage.group(ONE);
    let first = all(&log).await.last().map_or(0, |last| last.log_id.index.0 + 1);
    {
        let mut seen = seen.lock().expect("no panic");
        seen.found = recovered.map(|_| first);
        seen.storage = Some(storage.clone());
    }
    task::spawn(build_snapshots(storage, seen.clone()));
    for index in first.. {
        append(&log, vec![entry(1, index, vec![7; 8_000])]).await;
        seen.lock().expect("no panic").acknowledged = index + 1;
        // The last one stays, so that a start finds where it was. What is purged makes spares without any space.
        if let Some(before) = index.checked_sub(1).filter(|_| purges) {
            log.purge(id(1, before));
        }
        sleep(Duration::from_millis(1)).await;
    }
}

async fn build_snapshots(storage: Storage, seen: Shared) {
    loop {
        let meta = SnapshotMeta { last: None, membership: Bytes::new() };
        let written = storage.snapshots(GroupId(2)).write(meta, [(1, vec![1; 100])]).await;
        seen.lock().expect("no panic").snapshots.push(written.err());
        sleep(Duration::from_millis(100)).await;
    }
}

fn start(seen: &Shared, purges: bool) -> Machine {
    let shared = seen.clone();
    let machine = sim::add_machine("node", IpAddr::from([10, 0, 0, 1]), move || {
        let shared = shared.clone();
        async move {
            live(shared, purges).await;
            pending().await
        }
    });
    machine.start();
    machine
}

fn is_waiting(seen: &Shared) -> bool {
    seen.lock().expect("no panic").storage.as_ref().is_some_and(Storage::is_waiting)
}

fn a_log_waits_and_goes_on(none: DiskFaults, error: &SnapshotError, fault: FaultClass) {
    for seed in 1..=5 {
        let error = error.clone();
        let run = sim::run(seed, Options::default(), move || async move {
            let seen = Shared::default();
            let machine = start(&seen, fault == FaultClass::NoDescriptor);
            sleep(Duration::from_secs(1)).await;
            assert!(!is_waiting(&seen));
            for _ in 0..3 {
                machine.disk().set_faults(none);
                while !is_waiting(&seen) {
                    sleep(Duration::from_millis(10)).await;
                }
                seen.lock().expect("no panic").snapshots.clear();
                // What is left of the newest segment and its spares is soon used up.
                sleep(Duration::from_secs(20)).await;
                let acknowledged = seen.lock().expect("no panic").acknowledged;
                sleep(Duration::from_secs(20)).await;
                assert!(machine.is_running(), "{:?}", machine.ending());
                assert_eq!(seen.lock().expect("no panic").acknowledged, acknowledged, "it waits");
                let refused = |snapshot: &Option<SnapshotError>| snapshot.as_ref() == Some(&error);
                assert!(seen.lock().expect("no panic").snapshots.iter().all(refused));

                machine.disk().set_faults(DiskFaults::default());
                sleep(Duration::from_secs(5)).await;
                assert!(machine.is_running() && !is_waiting(&seen));
                assert!(seen.lock().expect("no panic").acknowledged > acknowledged + 500, "it goes on");
                assert_eq!(seen.lock().expect("no panic").snapshots.last(), Some(&None));
            }
            machine.power_fail();
            let acknowledged = seen.lock().expect("no panic").acknowledged;
            seen.lock().expect("no panic").found = None;
            machine.start();
            sleep(Duration::from_secs(1)).await;
            let found = seen.lock().expect("no panic").found;
            assert!(found.is_some_and(|found| found >= acknowledged), "{found:?} of {acknowledged}");
        });
        assert!(run.counters.get(&fault).is_some_and(|count| *count > 10), "{:?}", run.counters);
    }
}

#[test]
fn a_log_waits_for_a_descriptor_and_goes_on() {
    let none = DiskFaults { no_descriptor_per_million: 1_000_000, ..DiskFaults::default() };
    a_log_waits_and_goes_on(none, &SnapshotError::NoDescriptor, FaultClass::NoDescriptor);
}

/// Not even for the name of a file is there any left.
#[test]
fn a_log_waits_for_space_and_goes_on() {
    let none = DiskFaults { capacity_bytes: Some(0), ..DiskFaults::default() };
    a_log_waits_and_goes_on(none, &SnapshotError::Full, FaultClass::DiskFull);
}
