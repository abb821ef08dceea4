//! What disks keep and what they forget.

use crate::{idle_machine, ip};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, NodeFile, OpenHow};
use quorate_world::io::ErrorKind;
use quorate_world::sim::{self, DiskFaults, Ending, FaultClass, Machine, Moment, Options};
use quorate_world::time::{Duration, Instant, sleep, timeout};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

const MS: Duration = Duration::from_millis(1);

/// A machine that works on its disk and then waits for its end.
fn working_machine<F: Future<Output = ()> + 'static>(
    work: impl Fn(NodeDisk) -> F + Send + Sync + Clone + 'static,
) -> Machine {
    let machine = sim::add_machine("n1", ip(1), move || {
        let work = work.clone();
        async move {
            work(NodeDisk::open_root("/data/").expect("a root")).await;
            std::future::pending().await
        }
    });
    machine.start();
    machine
}

async fn synced_file(disk: &NodeDisk, name: &str, bytes: Vec<u8>) -> NodeFile {
    let file = disk.open(name, OpenHow::CreateNew).await.expect("creates");
    file.write_at(0, bytes.into()).await.expect("writes");
    file.sync_all().await.expect("syncs");
    disk.sync_folder("").await.expect("syncs the folder");
    file
}

const SECTOR: usize = 512;
const SECTORS: usize = 40;

/// Sector `n` of what is synced is full of 1, of the first overwrite of 2, of the second of 3; the file grows unsynced.
async fn overwrite(disk: NodeDisk) {
    let file = synced_file(&disk, "f", vec![1; SECTORS * SECTOR]).await;
    file.write_at((10 * SECTOR) as u64, vec![2; 20 * SECTOR].into()).await.expect("writes");
    file.write_at((20 * SECTOR) as u64, vec![3; 30 * SECTOR].into()).await.expect("writes");
}

#[test]
fn a_power_failure_never_touches_what_is_synced_and_tears_the_rest_at_sectors() {
    let mut outcomes: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut counters = BTreeMap::new();
    for seed in 0..300 {
        let run = sim::run(seed, Options::default(), || async {
            let machine = working_machine(overwrite);
            sleep(50 * MS).await;
            machine.power_fail();
            machine.disk().read("data/f").expect("its name was synced")
        });
        let bytes = run.output;
        let length = bytes.len();
        let sectors: Vec<u8> = bytes
            .chunks(SECTOR)
            .map(|sector| {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "torn within a sector");
                sector[0]
            })
            .collect();
        assert!((SECTORS * SECTOR..=50 * SECTOR).contains(&length), "{length}");
        assert!(sectors[..10].iter().all(|sector| *sector == 1));
        assert!(sectors[10..20].iter().all(|sector| *sector == 1 || *sector == 2));
        assert!(sectors[20..30].iter().all(|sector| (1..=3).contains(sector)));
        assert!(sectors[30..40].iter().all(|sector| *sector == 1 || *sector == 3));
        assert!(sectors[40..].iter().all(|sector| *sector == 0 || *sector == 3));
        *outcomes.entry(sectors).or_default() += 1;
        for (class, count) in run.counters {
            *counters.entry(class).or_insert(0) += count;
        }
    }
    assert!(outcomes.len() > 40, "{} different outcomes only", outcomes.len());
    for class in [FaultClass::DiskTorn, FaultClass::DiskLost, FaultClass::DiskLength, FaultClass::PowerFailure] {
        assert!(counters.get(&class).is_some_and(|count| *count > 10), "{class:?} in {counters:?}");
    }
}

#[test]
fn a_process_kill_loses_nothing() {
    for seed in 0..20 {
        sim::run(seed, Options::default(), || async {
            let machine = working_machine(overwrite);
            sleep(50 * MS).await;
            machine.kill();
            let bytes = machine.disk().read("data/f").expect("is there");
            assert_eq!(bytes.len(), 50 * SECTOR);
            assert!(bytes[10 * SECTOR..20 * SECTOR].iter().all(|byte| *byte == 2));
            // But it is not durable either: power may fail later.
            assert!(machine.disk().unsynced_bytes() > 0);
        });
    }
}

#[test]
fn a_sync_covers_what_was_written_before_it_and_ends_when_it_says() {
    let mut lost = 0;
    for seed in 0..100 {
        let run = sim::run(seed, Options::default(), || async {
            let synced = Arc::new(Mutex::new(false));
            let tell = synced.clone();
            let machine = working_machine(move |disk| {
                let tell = tell.clone();
                async move {
                    let file = synced_file(&disk, "f", vec![1; SECTOR]).await;
                    file.write_at(0, vec![2; SECTOR].into()).await.expect("writes");
                    file.sync_data().await.expect("syncs");
                    *tell.lock().expect("no panic") = true;
                }
            });
            // Somewhere around the second sync.
            let mut dice = sim::Dice::new(sim::seed(), "moment");
            sleep(Duration::from_micros(dice.between(400, 1600))).await;
            let said = *synced.lock().expect("no panic");
            machine.power_fail();
            (said, machine.disk().read("data/f").ok())
        });
        let (said, bytes) = run.output;
        if said {
            assert_eq!(bytes, Some(vec![2; SECTOR]), "seed {seed}");
        } else {
            lost += usize::from(bytes != Some(vec![2; SECTOR]));
        }
    }
    assert!(lost > 5, "no power failure met the sync: {lost}");
}

#[test]
fn names_are_durable_only_after_a_sync_of_their_folder() {
    let mut outcomes = BTreeMap::new();
    for seed in 0..200 {
        let files = sim::run(seed, Options::default(), || async {
            let machine = working_machine(|disk| async move {
                synced_file(&disk, "old", vec![1]).await;
                synced_file(&disk, "gone", vec![1]).await;
                disk.rename("old", "new").await.expect("renames");
                disk.remove("gone").await.expect("removes");
                let file = disk.open("fresh", OpenHow::CreateNew).await.expect("creates");
                file.write_at(0, vec![7].into()).await.expect("writes");
                file.sync_all().await.expect("syncs the file, not its name");
            });
            sleep(50 * MS).await;
            machine.power_fail();
            machine.disk().files().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        });
        *outcomes.entry(files.output).or_insert(0) += 1;
    }
    let seen: Vec<&str> = outcomes.keys().map(String::as_str).collect();
    // A prefix of the changes, in the order in which they were made.
    let prefixes = ["data/fresh data/new", "data/gone data/new", "data/gone data/old", "data/new"];
    assert_eq!(seen, prefixes);
}

#[test]
fn a_replaced_name_is_the_old_file_or_the_new_one() {
    let mut outcomes = BTreeMap::new();
    for seed in 0..60 {
        let run = sim::run(seed, Options::default(), || async {
            let machine = working_machine(|disk| async move {
                synced_file(&disk, "f", b"old".to_vec()).await;
                synced_file(&disk, "f.tmp", b"new".to_vec()).await;
                disk.rename("f.tmp", "f").await.expect("renames");
            });
            sleep(50 * MS).await;
            machine.power_fail();
            machine.disk().read("data/f").expect("one of them")
        });
        *outcomes.entry(run.output).or_insert(0) += 1;
    }
    assert_eq!(outcomes.into_keys().collect::<Vec<_>>(), [b"new".to_vec(), b"old".to_vec()]);
}

#[test]
fn a_folder_that_is_lost_takes_what_is_in_it() {
    let mut lost = 0;
    for seed in 0..40 {
        let run = sim::run(seed, Options::default(), || async {
            let machine = working_machine(|disk| async move {
                disk.make_folder("wal").await.expect("makes");
                let file = disk.open("wal/a", OpenHow::CreateNew).await.expect("creates");
                file.sync_all().await.expect("syncs");
                disk.sync_folder("wal").await.expect("syncs the folder, not its own name");
            });
            sleep(50 * MS).await;
            machine.power_fail();
            machine.disk().files().len()
        });
        lost += usize::from(run.output == 0);
    }
    assert!(lost > 5 && lost < 35, "{lost}");
}

#[test]
fn a_failed_sync_fails_once_and_forgets() {
    let mut lost = 0;
    for seed in 0..40 {
        let run = sim::run(seed, Options::default(), || async {
            let machine = working_machine(|disk| async move {
                let file = synced_file(&disk, "f", vec![1; SECTOR]).await;
                sleep(20 * MS).await;
                file.write_at(0, vec![2; SECTOR].into()).await.expect("writes");
                file.sync_data().await.expect_err("fails");
                file.sync_data().await.expect("and then says it is fine");
            });
            sleep(10 * MS).await;
            machine.disk().fail_next_sync();
            sleep(50 * MS).await;
            assert!(machine.is_running());
            machine.power_fail();
            assert_eq!(sim::counters()[&FaultClass::DiskSyncError], 1);
            machine.disk().read("data/f").expect("is there")
        });
        lost += usize::from(run.output == vec![1; SECTOR]);
    }
    assert!(lost > 5, "{lost}");
}

#[test]
fn faults_of_all_kinds_are_met() {
    sim::run(1, Options::default(), || async {
        let kinds = Arc::new(Mutex::new(Vec::new()));
        let told = kinds.clone();
        let machine = working_machine(move |disk| {
            let told = told.clone();
            async move {
                let file = synced_file(&disk, "f", vec![1; 2000]).await;
                loop {
                    sleep(10 * MS).await;
                    let read = file.read_at(0, vec![0; 1000]).await.err();
                    let write = file.write_at(2000, vec![1; 3000].into()).await.err();
                    let kinds = [read, write].map(|error| error.map(|error| error.kind()));
                    *told.lock().expect("no panic") = kinds.to_vec();
                    file.set_len(2000).await.ok();
                }
            }
        });
        let latest = async || {
            sleep(30 * MS).await;
            kinds.lock().expect("no panic").clone()
        };
        let disk = machine.disk();
        assert_eq!(latest().await, [None, None]);
        disk.set_faults(DiskFaults { capacity_bytes: Some(4000), ..DiskFaults::default() });
        assert_eq!(latest().await, [None, Some(ErrorKind::StorageFull)]);
        disk.set_faults(DiskFaults { read_only: true, ..DiskFaults::default() });
        assert_eq!(latest().await, [None, Some(ErrorKind::ReadOnlyFilesystem)]);
        disk.set_faults(DiskFaults { read_error_per_million: 1_000_000, ..DiskFaults::default() });
        assert!(matches!(latest().await[..], [Some(_), None]));
        disk.set_faults(DiskFaults { write_error_per_million: 1_000_000, ..DiskFaults::default() });
        assert!(matches!(latest().await[..], [None, Some(_)]));
        disk.set_faults(DiskFaults::default());
        disk.make_bad("data/f", 500, 600).expect("is there");
        assert!(matches!(latest().await[..], [Some(_), None]));
    });
}

#[test]
fn a_slow_disk_is_slow() {
    sim::run(1, Options::default(), || async {
        let disk = NodeDisk::open_root("data").expect("a root");
        let file = synced_file(&disk, "f", vec![1; 10]).await;
        let control = sim::HARNESS.disk();
        control.set_faults(DiskFaults {
            slow_sync_per_million: 1_000_000,
            slow_sync: 1000 * MS,
            ..DiskFaults::default()
        });
        let begun = Instant::now();
        for _ in 0..10 {
            file.sync_data().await.expect("syncs");
        }
        assert!(begun.elapsed() > 1000 * MS, "{:?}", begun.elapsed());
        control.set_faults(DiskFaults::default());
        control.stall(5000 * MS);
        assert!(timeout(4900 * MS, file.sync_data()).await.is_err());
        assert!(sim::counters()[&FaultClass::DiskSlow] >= 11);
    });
}

#[test]
fn a_lying_sync_is_found_out_by_a_power_failure() {
    let kept = (0..40)
        .filter(|seed| {
            let run = sim::run(*seed, Options::default(), || async {
                let machine = working_machine(|disk| async move {
                    let file = synced_file(&disk, "f", vec![1; SECTOR]).await;
                    sleep(20 * MS).await;
                    file.write_at(0, vec![2; SECTOR].into()).await.expect("writes");
                    file.sync_data().await.expect("says so");
                });
                sleep(10 * MS).await;
                machine.disk().set_faults(DiskFaults { lying_sync: true, ..DiskFaults::default() });
                sleep(50 * MS).await;
                machine.power_fail();
                machine.disk().read("data/f").expect("is there")
            });
            run.output == vec![2; SECTOR]
        })
        .count();
    assert!(kept < 35, "{kept}");
}

#[test]
fn disks_are_looked_at_changed_swapped_and_rolled_back() {
    sim::run(1, Options::default(), || async {
        let machine = working_machine(|disk| async move {
            if disk.list("").await.expect("lists").is_empty() {
                synced_file(&disk, "f", b"first".to_vec()).await;
            }
        });
        sleep(50 * MS).await;
        machine.kill();
        let disk = machine.disk();
        assert_eq!(disk.files(), [("data/f".to_owned(), 5)]);
        let before = disk.image();
        disk.flip_bit("data/f", 0, 0).expect("is there");
        disk.overwrite("data/f", 1, b"IR").expect("is there");
        assert_eq!(disk.read("data/f").expect("is there"), b"gIRst");
        disk.put(before.clone());
        assert_eq!(disk.read("data/f").expect("is there"), b"first");
        let other = idle_machine(2);
        other.kill();
        other.disk().put(before);
        assert_eq!(other.disk().read("data/f").expect("is there"), b"first");
        disk.wipe();
        assert_eq!(disk.files(), []);
        machine.start();
        sleep(50 * MS).await;
        assert_eq!(disk.read("data/f").expect("made again"), b"first");
        assert_eq!(disk.used_bytes(), 5);
    });
}

#[test]
fn a_crash_can_be_planned_for_every_single_call() {
    // open_root, open, write, sync, sync_folder: at each of them, before and after, power or process.
    let mut outcomes = BTreeMap::new();
    for (call, moment) in (1..=4).flat_map(|call| [(call, Moment::Before), (call, Moment::After)]) {
        for seed in 0..20 {
            let run = sim::run(seed, Options::default(), move || async move {
                let machine = working_machine(|disk| async move {
                    synced_file(&disk, "f", b"whole".to_vec()).await;
                });
                machine.disk().power_fail_at_call(call, moment);
                assert_eq!(machine.ended().await, Ending::PowerFailed);
                assert!(!machine.disk().is_crash_planned());
                machine.disk().read("data/f").ok()
            });
            *outcomes.entry((call, moment == Moment::After, run.output == Some(b"whole".to_vec()))).or_insert(0) += 1;
        }
    }
    assert_eq!(outcomes.get(&(4, true, true)), Some(&20), "all was said to be durable");
    assert!(outcomes.contains_key(&(4, false, true)) && outcomes.contains_key(&(4, false, false)));
    assert!((1..=2).all(|call| !outcomes.contains_key(&(call, false, true))), "{outcomes:?}");
    sim::run(1, Options::default(), || async {
        let machine = working_machine(|disk| async move {
            synced_file(&disk, "f", b"whole".to_vec()).await;
        });
        machine.disk().kill_at_call(2, Moment::After);
        assert_eq!(machine.ended().await, Ending::Killed);
        assert_eq!(machine.disk().read("data/f").expect("the kernel has it"), b"whole");
    });
}

#[test]
fn a_lost_write_is_seen_until_the_power_fails() {
    sim::run(1, Options::default(), || async {
        let machine = working_machine(|disk| async move {
            let file = synced_file(&disk, "f", b"old".to_vec()).await;
            sleep(20 * MS).await;
            file.write_at(0, b"newer".as_slice().into()).await.expect("writes");
            file.sync_data().await.expect("syncs");
            assert_eq!(file.read_at(0, vec![0; 5]).await.expect("reads"), b"newer");
        });
        sleep(10 * MS).await;
        machine.disk().set_faults(DiskFaults { lost_write_per_million: 1_000_000, ..DiskFaults::default() });
        sleep(50 * MS).await;
        assert!(machine.is_running(), "{:?}", machine.ending());
        machine.power_fail();
        assert_eq!(machine.disk().read("data/f").expect("is there"), b"old\0\0");
        assert_eq!(sim::counters()[&FaultClass::DiskLostWrite], 1);
    });
}
