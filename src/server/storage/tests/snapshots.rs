//! Snapshots: written, verified, sent chunk by chunk, installed, and found again.

mod common;

use bytes::Bytes;
use common::*;
use quorate_core::model::{GroupId, LogId};
use quorate_storage::{SnapshotError, SnapshotFile, SnapshotMeta, Storage, StorageError, StorageOptions};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep};

const ONE: GroupId = GroupId(1);

fn fast() -> StorageOptions {
    StorageOptions { snapshot_pace_bytes_per_s: u64::MAX, purge_needs_snapshot: true, ..options() }
}

fn meta(last: Option<LogId>) -> SnapshotMeta {
    SnapshotMeta { last, membership: Bytes::from_static(b"voters 1 2 3") }
}

/// Three tables, one of them larger than a chunk.
fn state(seed: u8) -> Vec<(u16, Vec<u8>)> {
    let small = (0..10).map(|n| (1, vec![seed; n]));
    let large = (0..900).map(|n| (2, vec![n as u8 ^ seed; 1000]));
    small.chain(large).chain([(7, b"the end".to_vec())]).collect()
}

async fn names(disk: &NodeDisk) -> Vec<String> {
    disk.list("snap").await.expect("listed")
}

async fn chunks(file: &SnapshotFile) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    for number in 0..file.chunks() {
        chunks.push(file.chunk(number).await.expect("whole"));
    }
    chunks
}

#[test]
fn a_snapshot_is_found_again_and_replaces_the_older_one() {
    run_test(async {
        let disk = scratch("snap-again").await;
        let storage = found(&disk, fast()).await;
        let store = storage.snapshots(ONE);
        assert!(store.current().await.expect("none").is_none());
        let first = store.write(meta(None), state(1)).await.expect("written");
        assert_eq!(names(&disk).await, ["g0000000001-t000000000000-i000000000000.qsn"]);
        let second = store.write(meta(Some(id(4, 70))), state(2)).await.expect("written");
        assert_eq!(names(&disk).await, ["g0000000001-t000000000004-i000000000070.qsn"]);
        assert_ne!(first.name(), second.name());
        assert_eq!(first.load().await.expect("an open file lives on"), state(1));
        storage.close().await;
        drop((storage, store));

        let (storage, _) = reopen(&disk, fast()).await;
        let file = storage.snapshots(ONE).current().await.expect("whole").expect("there");
        assert_eq!((file.meta(), file.name()), (&meta(Some(id(4, 70))), second.name()));
        assert_eq!(file.load().await.expect("whole"), state(2));
        storage.close().await;
    });
}

#[test]
fn equal_states_are_equal_bytes() {
    run_test(async {
        let disk = scratch("snap-equal").await;
        let storage = found(&disk, fast()).await;
        let mut all = Vec::new();
        for _ in 0..2 {
            let file = storage.snapshots(ONE).write(meta(Some(id(1, 9))), state(5)).await.expect("written");
            all.push((file.name(), chunks(&file).await));
        }
        assert!(all[0] == all[1] && all[0].1.len() > 5);
        let other = storage.snapshots(ONE).write(meta(Some(id(1, 9))), state(6)).await.expect("written");
        assert_ne!(other.name(), all[0].0);
        storage.close().await;
    });
}

#[test]
fn a_peer_receives_chunk_by_chunk_and_installs() {
    run_test(async {
        let (here, there) = (scratch("snap-send").await, scratch("snap-receive").await);
        let (sender, receiver) = (found(&here, fast()).await, found(&there, fast()).await);
        let sent = sender.snapshots(ONE).write(meta(Some(id(3, 50))), state(9)).await.expect("written");
        let store = receiver.snapshots(ONE);
        let log = receiver.group(ONE);
        append(&log, entries(ONE, 1, 1..5)).await;

        let mut receiving = store.receive().await.expect("begun");
        let all = chunks(&sent).await;
        for (number, chunk) in all.iter().enumerate() {
            assert_eq!(receiving.next_chunk() as usize, number);
            let mut broken = chunk.to_vec();
            broken[chunk.len() / 2] ^= 1;
            let refused = receiving.push(broken.into()).await;
            assert!(matches!(refused, Err(SnapshotError::Chunk(_))), "a broken chunk may be sent again");
            let last = receiving.push(chunk.clone()).await.expect("the next one");
            assert_eq!(last, number + 1 == all.len());
        }
        assert_eq!(receiving.meta(), Some(sent.meta()));
        let received = receiving.finish().await.expect("complete");
        assert_eq!(received.load().await.expect("whole"), state(9));
        assert!(store.current().await.expect("none").is_none(), "not before it is installed");
        let installed = store.install(&received).await.expect("installed");
        assert_eq!(installed.name(), sent.name());
        log.purge(id(3, 50));
        append(&log, entries(ONE, 3, 51..53)).await;
        // Installing what is current changes nothing.
        store.install(&installed).await.expect("it is there");
        receiver.close().await;
        drop((receiver, store, log));

        let (receiver, _) = reopen(&there, fast()).await;
        let file = receiver.snapshots(ONE).current().await.expect("whole").expect("there");
        assert_eq!(chunks(&file).await, all);
        assert_eq!(receiver.group(ONE).state().purged, Some(id(3, 50)));
        receiver.close().await;
        sender.close().await;
    });
}

#[test]
fn what_is_given_up_leaves_nothing_behind() {
    run_test(async {
        let disk = scratch("snap-abandoned").await;
        let storage = found(&disk, fast()).await;
        let store = storage.snapshots(ONE);
        let mut writer = store.writer(store.turn().await, meta(Some(id(1, 1)))).await.expect("begun");
        writer.record(1, b"one").await.expect("written");
        drop(writer);
        let receiving = store.receive().await.expect("begun");
        assert!(matches!(receiving.finish().await, Err(SnapshotError::Unfinished)));
        let all = chunks(&store.write(meta(Some(id(1, 1))), state(1)).await.expect("written")).await;
        let mut receiving = store.receive().await.expect("begun");
        for chunk in all {
            receiving.push(chunk).await.expect("the next one");
        }
        drop(receiving.finish().await.expect("complete, but never installed"));
        store.write(meta(Some(id(1, 2))), state(1)).await.expect("written");
        assert_eq!(names(&disk).await, ["g0000000001-t000000000001-i000000000002.qsn"]);
        storage.close().await;
    });
}

#[test]
fn a_late_build_does_not_replace_a_newer_snapshot() {
    run_test(async {
        let disk = scratch("snap-late").await;
        let storage = found(&disk, fast()).await;
        let store = storage.snapshots(ONE);
        let late = store.writer(store.turn().await, meta(Some(id(1, 10)))).await.expect("begun");
        let mut receiving = store.receive().await.expect("begun");
        let newer = {
            let other = scratch("snap-late-peer").await;
            let peer = found(&other, fast()).await;
            let file = peer.snapshots(ONE).write(meta(Some(id(2, 20))), state(3)).await.expect("written");
            let all = chunks(&file).await;
            peer.close().await;
            all
        };
        for chunk in newer {
            receiving.push(chunk).await.expect("the next one");
        }
        let received = receiving.finish().await.expect("complete");
        store.install(&received).await.expect("installed");
        let finished = late.finish().await.expect("written");
        assert_eq!(finished.meta().last, Some(id(2, 20)));
        assert_eq!(names(&disk).await, ["g0000000001-t000000000002-i000000000020.qsn"]);
        storage.close().await;
    });
}

/// Found by the simulation (R2, seed 542): both removed the same older one.
#[test]
fn a_removal_and_what_takes_its_place_meanwhile_leave_nothing() {
    run_test(async {
        let disk = scratch("snap-removal").await;
        let storage = found(&disk, fast()).await;
        let store = storage.snapshots(ONE);
        for index in 0..20 {
            store.write(meta(Some(id(1, 10))), state(1)).await.expect("written");
            let mut writer = store.writer(store.turn().await, meta(Some(id(1, 20 + index)))).await.expect("begun");
            for (table, record) in state(2).into_iter().take(index as usize * 50) {
                writer.record(table, &record).await.expect("written");
            }
            let removed = store.clone();
            let removing = task::spawn(async move {
                sleep(Duration::from_micros(100 * index)).await;
                removed.remove().await;
            });
            let finished = writer.finish().await;
            removing.await.expect("removed");
            assert!(matches!(&finished, Ok(_) | Err(SnapshotError::Removed)), "{finished:?}");
            assert!(store.current().await.expect("none").is_none());
            assert_eq!(names(&disk).await, Vec::<String>::new(), "{finished:?}");
        }
        storage.close().await;
    });
}

#[test]
fn what_was_begun_before_a_removal_takes_its_place_no_more() {
    run_test(async {
        let disk = scratch("snap-removed").await;
        let storage = found(&disk, fast()).await;
        let store = storage.snapshots(ONE);
        let writer = store.writer(store.turn().await, meta(Some(id(1, 1)))).await.expect("begun");
        store.remove().await;
        assert_eq!(writer.finish().await.err(), Some(SnapshotError::Removed));
        let all = chunks(&store.write(meta(Some(id(1, 2))), state(1)).await.expect("a later one")).await;
        let mut receiving = store.receive().await.expect("begun");
        for chunk in all {
            receiving.push(chunk).await.expect("the next one");
        }
        let received = receiving.finish().await.expect("complete");
        let given_up = store.writer(store.turn().await, meta(Some(id(1, 3)))).await.expect("begun");
        drop(given_up);
        store.remove().await;
        assert_eq!(store.install(&received).await.err(), Some(SnapshotError::Removed));
        assert!(store.current().await.expect("none").is_none());
        assert_eq!(names(&disk).await, Vec::<String>::new());
        storage.close().await;
    });
}

/// A founded folder with one snapshot at index 70 and a log purged up to there.
async fn with_a_snapshot(name: &str) -> NodeDisk {
    let disk = scratch(name).await;
    let storage = found(&disk, fast()).await;
    let log = storage.group(ONE);
    append(&log, entries(ONE, 4, 68..75)).await;
    storage.snapshots(ONE).write(meta(Some(id(4, 70))), state(2)).await.expect("written");
    log.purge(id(4, 70));
    storage.close().await;
    disk
}

const PATH: &str = "snap/g0000000001-t000000000004-i000000000070.qsn";

#[test]
fn every_flipped_byte_and_every_cut_is_damage() {
    run_test(async {
        let disk = with_a_snapshot("snap-damage").await;
        let file = disk.open(PATH, OpenHow::Write).await.expect("opened");
        let bytes = file.len().await.expect("read");
        let whole = file.read_at(0, vec![0; bytes as usize]).await.expect("read");
        let (storage, _) = reopen(&disk, fast()).await;
        storage.close().await;
        drop(storage);
        for at in (0..whole.len()).step_by(39_119).chain([0, 10, 19, whole.len() - 1]) {
            file.write_at(at as u64, vec![whole[at] ^ 0x10].into()).await.expect("written");
            damaged(&disk).await;
            file.write_at(at as u64, vec![whole[at]].into()).await.expect("written");
        }
        file.set_len(bytes - 1).await.expect("cut");
        damaged(&disk).await;
        file.set_len(0).await.expect("cut");
        damaged(&disk).await;
    });
}

async fn damaged(disk: &NodeDisk) {
    let (storage, _) = reopen(disk, fast()).await;
    let error = storage.snapshots(ONE).current().await.expect_err("refused");
    assert!(matches!(&error, StorageError::Damaged(damage) if damage.file == PATH), "{error}");
    storage.close().await;
}

#[test]
fn a_purge_without_its_snapshot_is_damage() {
    run_test(async {
        let disk = with_a_snapshot("snap-missing").await;
        disk.remove(PATH).await.expect("removed");
        let error = Storage::open(disk.clone(), fast()).await.err().expect("refused");
        assert!(error.to_string().contains("no snapshot goes that far"), "{error}");
    });
}

#[test]
fn leftovers_of_a_crash_go_at_the_next_start() {
    run_test(async {
        let disk = with_a_snapshot("snap-leftovers").await;
        for name in ["snap/g0000000001-7.tmp", "snap/g0000000001-t000000000003-i000000000060.qsn"] {
            disk.open(name, OpenHow::CreateNew).await.expect("created");
        }
        let (storage, _) = reopen(&disk, fast()).await;
        assert_eq!(names(&disk).await, [PATH.trim_start_matches("snap/")]);
        storage.close().await;
    });
}
