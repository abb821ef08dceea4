//! The log as a replica uses it, through closing and opening again. Runs on the real and on the simulated disk.

mod common;

use common::*;
use quorate_core::model::{GroupId, LogIndex};
use quorate_storage::{GroupLog, LogState, Storage, StorageError, StorageOptions, Tail};
use quorate_world::disk::{Disk, DiskFile, OpenHow};
use quorate_world::runtime::run_test;
use std::sync::{Arc, Mutex};

const ONE: GroupId = GroupId(1);
const TWO: GroupId = GroupId(2);

#[test]
fn an_empty_folder_is_founded_once_and_counts_its_starts() {
    run_test(async {
        let disk = scratch("founding").await;
        let storage = found(&disk, options()).await;
        assert_eq!((storage.epoch(), storage.identity()), (1, Some(IDENTITY)));
        assert_eq!(storage.groups(), []);
        storage.close().await;
        drop(storage);
        for epoch in 2..5 {
            let (storage, recovered) = reopen(&disk, options()).await;
            assert_eq!((storage.epoch(), recovered.epoch, recovered.tail), (epoch, epoch, Tail::Clean));
            storage.close().await;
        }
    });
}

#[test]
fn what_was_written_is_there_again() {
    run_test(async {
        let disk = scratch("again").await;
        let storage = found(&disk, options()).await;
        let (one, two) = (storage.group(ONE), storage.group(TWO));
        one.save_vote(vote(1, 3)).await;
        append(&one, entries(ONE, 1, 1..6)).await;
        append(&two, entries(TWO, 2, 0..3)).await;
        append(&one, entries(ONE, 2, 6..9)).await;
        one.truncate_from(LogIndex(8)).await;
        append(&one, entries(ONE, 3, 8..10)).await;
        one.save_committed(id(2, 7));
        one.purge(id(1, 2));
        let expected = (one.state(), all(&one).await, one.term_starts(), two.state(), all(&two).await);
        assert_eq!(expected.2, [id(1, 3), id(2, 6), id(3, 8)]);
        assert_eq!((expected.0.last, expected.0.purged), (Some(id(3, 9)), Some(id(1, 2))));
        assert_eq!(expected.1.len(), 7);
        storage.close().await;
        drop((storage, one, two));

        let (storage, recovered) = reopen(&disk, options()).await;
        assert_eq!((recovered.groups, recovered.tail), (2, Tail::Clean));
        assert_eq!(storage.groups(), [ONE, TWO]);
        let (one, two) = (storage.group(ONE), storage.group(TWO));
        let found = (one.state(), all(&one).await, one.term_starts(), two.state(), all(&two).await);
        assert_eq!(found, expected);
        assert_eq!(found.0.committed, Some(id(2, 7)));
        storage.close().await;
    });
}

#[test]
fn entries_are_read_before_they_are_durable_and_callbacks_come_in_order() {
    run_test(async {
        let disk = scratch("order").await;
        let storage = found(&disk, options()).await;
        let log = storage.group(ONE);
        let told = Arc::new(Mutex::new(Vec::new()));
        for index in 0..200 {
            let told = told.clone();
            let durable = Box::new(move || told.lock().expect("no panic").push(index));
            log.append(entries(ONE, 1, index..index + 1), durable).await;
            assert_eq!(log.read(LogIndex(index)..LogIndex(index + 1), 1).await, entries(ONE, 1, index..index + 1));
        }
        log.flush().await;
        assert_eq!(*told.lock().expect("no panic"), (0..200).collect::<Vec<_>>());
        assert!(storage.figures().batches < 200, "batches gather while the disk works");
        storage.close().await;
    });
}

#[test]
fn the_edges_of_a_log() {
    run_test(async {
        let disk = scratch("edges").await;
        let storage = found(&disk, options()).await;
        let log = storage.group(ONE);
        assert_eq!(log.state(), LogState::default());
        assert_eq!((all(&log).await, log.term_starts()), (vec![], vec![]));
        log.truncate_from(LogIndex(7)).await;
        append(&log, vec![]).await;
        append(&log, entries(ONE, 1, 2..5)).await;
        log.truncate_from(LogIndex(5)).await;
        assert_eq!(log.state().last, Some(id(1, 4)));
        log.save_committed(id(9, 900));
        assert_eq!(log.state().committed, Some(id(1, 4)), "never beyond the end");
        log.purge(id(3, 20));
        assert_eq!((log.state().last, log.state().purged), (Some(id(3, 20)), Some(id(3, 20))));
        assert_eq!(all(&log).await, []);
        // Legal only behind the purge, and both may still be on their way.
        append(&log, entries(ONE, 4, 21..23)).await;
        log.truncate_from(LogIndex(0)).await;
        assert_eq!(log.state().last, Some(id(3, 20)));
        append(&log, entries(ONE, 5, 21..22)).await;
        assert_eq!((all(&log).await, log.term_starts()), (entries(ONE, 5, 21..22), vec![id(5, 21)]));
        storage.close().await;
    });
}

#[test]
fn a_removed_group_keeps_its_vote_and_where_its_log_ended() {
    run_test(async {
        let disk = scratch("removed").await;
        let storage = found(&disk, options()).await;
        let log = storage.group(ONE);
        log.save_vote(vote(7, 2)).await;
        append(&log, entries(ONE, 7, 1..4)).await;
        log.save_committed(id(7, 3));
        log.remove().await;
        assert_eq!(storage.groups(), []);
        storage.close().await;
        drop((storage, log));
        let (storage, _) = reopen(&disk, options()).await;
        assert_eq!(storage.groups(), []);
        let log = storage.group(ONE);
        assert_eq!(log.state(), LogState { vote: Some(vote(7, 2)), had: Some(id(7, 3)), ..LogState::default() });
        append(&log, entries(ONE, 9, 2..3)).await;
        assert_eq!(storage.groups(), [ONE]);
        storage.close().await;
        drop((storage, log));
        // Still so when it is here again, and whatever it has by then.
        let (storage, _) = reopen(&disk, options()).await;
        let state = storage.group(ONE).state();
        assert_eq!((state.last, state.had), (Some(id(9, 2)), Some(id(7, 3))));
        storage.close().await;
    });
}

#[test]
fn a_folder_in_use_is_refused() {
    run_test(async {
        let disk = scratch("in-use").await;
        let storage = found(&disk, options()).await;
        let error = Storage::open(disk.clone(), options()).await.err().expect("refused");
        assert!(matches!(error, StorageError::InUse) && error.exit_code() == 75);
        storage.close().await;
    });
}

#[test]
fn log_and_identity_belong_together() {
    run_test(async {
        let disk = scratch("together").await;
        let storage = found(&disk, options()).await;
        storage.close().await;
        drop(storage);
        disk.rename("IDENTITY", "HIDDEN").await.expect("renamed");
        let error = Storage::open(disk.clone(), options()).await.err().expect("refused");
        assert!(matches!(error, StorageError::Refused(_)), "{error}");
        disk.rename("HIDDEN", "IDENTITY").await.expect("renamed");
        for name in disk.list("wal").await.expect("listed") {
            disk.remove(&format!("wal/{name}")).await.expect("removed");
        }
        let error = Storage::open(disk.clone(), options()).await.err().expect("refused");
        assert!(matches!(error, StorageError::Refused(_)), "{error}");
    });
}

#[test]
fn a_founding_that_was_cut_short_is_done_over() {
    run_test(async {
        let disk = scratch("cut-short").await;
        let storage = found(&disk, options()).await;
        storage.close().await;
        drop(storage);
        disk.rename("IDENTITY", "IDENTITY.tmp").await.expect("renamed");
        let storage = found(&disk, options()).await;
        append(&storage.group(ONE), entries(ONE, 1, 0..3)).await;
        storage.close().await;
        drop(storage);
        let (storage, _) = reopen(&disk, options()).await;
        assert_eq!(all(&storage.group(ONE)).await, entries(ONE, 1, 0..3));
        storage.close().await;
    });
}

/// Writes so much that segments rotate; the payload tells index and term.
async fn fill(log: &GroupLog, indexes: std::ops::Range<u64>, payload_bytes: usize) {
    for index in indexes {
        append(log, vec![entry(1, index, vec![index as u8; payload_bytes])]).await;
    }
}

async fn segments(disk: &impl Disk) -> Vec<String> {
    let names = disk.list("wal").await.expect("listed");
    names.into_iter().filter(|name| name.ends_with(".log")).collect()
}

#[test]
fn segments_rotate_and_what_is_purged_is_recycled() {
    run_test(async {
        let disk = scratch("rotate").await;
        let storage = found(&disk, options()).await;
        let (one, two) = (storage.group(ONE), storage.group(TWO));
        append(&two, entries(TWO, 1, 1..4)).await;
        for round in 0..20 {
            fill(&one, round * 10..round * 10 + 10, 60_000).await;
            one.purge(id(1, round * 10 + 7));
        }
        let expected = (all(&one).await, all(&two).await);
        assert!(segments(&disk).await.len() <= 7, "{:?}", segments(&disk).await);
        storage.close().await;
        drop((storage, one, two));
        let (storage, recovered) = reopen(&disk, options()).await;
        assert!(recovered.segments >= 2);
        let (one, two) = (storage.group(ONE), storage.group(TWO));
        assert_eq!((all(&one).await, all(&two).await), expected);
        storage.close().await;
    });
}

#[test]
fn a_slow_group_is_carried_forward() {
    run_test(async {
        let disk = scratch("carry").await;
        let options = StorageOptions { wal_bytes_target: 4 << 20, ..options() };
        let storage = found(&disk, options.clone()).await;
        let (one, two) = (storage.group(ONE), storage.group(TWO));
        for round in 0..60 {
            append(&two, entries(TWO, 1, round..round + 1)).await;
            fill(&one, round * 5..round * 5 + 5, 60_000).await;
            one.purge(id(1, round * 5 + 4));
        }
        assert!(segments(&disk).await.len() <= 8, "{:?}", segments(&disk).await);
        assert_eq!(all(&two).await, entries(TWO, 1, 0..60));
        storage.close().await;
        drop((storage, one, two));
        let (storage, _) = reopen(&disk, options).await;
        assert_eq!(all(&storage.group(TWO)).await, entries(TWO, 1, 0..60));
        storage.close().await;
    });
}

#[test]
fn many_slow_groups_are_carried_forward() {
    run_test(async {
        let disk = scratch("carry-many").await;
        let options = StorageOptions { wal_bytes_target: 2 << 20, cache_bytes: 0, ..options() };
        let storage = found(&disk, options.clone()).await;
        let slow = 10..400;
        for group in slow.clone().map(GroupId) {
            storage.group(group).append(entries(group, 1, 1..3), Box::new(|| {})).await;
        }
        let one = storage.group(ONE);
        for round in 0..30 {
            fill(&one, round * 5..round * 5 + 5, 60_000).await;
            one.purge(id(1, round * 5 + 4));
        }
        assert!(segments(&disk).await.len() <= 6, "{:?}", segments(&disk).await);
        storage.close().await;
        drop((storage, one));
        let (storage, _) = reopen(&disk, options).await;
        for group in slow.map(GroupId) {
            assert_eq!(all(&storage.group(group)).await, entries(group, 1, 1..3));
        }
        storage.close().await;
    });
}

#[test]
fn without_a_cache_everything_is_read_from_the_disk() {
    run_test(async {
        let disk = scratch("cold").await;
        let storage = found(&disk, StorageOptions { cache_bytes: 0, ..options() }).await;
        let (one, two) = (storage.group(ONE), storage.group(TWO));
        for index in 0..30 {
            append(&one, entries(ONE, 1, index..index + 1)).await;
            append(&two, vec![entry(1, index, vec![index as u8; 1000 * index as usize])]).await;
        }
        one.flush().await;
        assert_eq!(storage.figures().cached_bytes, 0);
        assert_eq!(all(&one).await, entries(ONE, 1, 0..30));
        let read = all(&two).await;
        assert!(read.iter().all(|record| record.payload.len() == 1000 * record.log_id.index.0 as usize));
        let some = two.read(LogIndex(20)..LogIndex(30), 45_000).await;
        assert_eq!(some.len(), 2, "as many as stay within the bound");
        assert_eq!(two.read(LogIndex(29)..LogIndex(30), 1).await.len(), 1, "at least one");
        storage.close().await;
    });
}

#[test]
fn large_appends_are_cut_into_batches() {
    run_test(async {
        let disk = scratch("large").await;
        let storage = found(&disk, options()).await;
        let log = storage.group(ONE);
        let largest = storage.payload_bytes_max();
        let many: Vec<_> = (0..40).map(|index| entry(1, index, vec![index as u8; largest / 4])).collect();
        append(&log, many.clone()).await;
        append(&log, vec![entry(1, 40, vec![40; largest])]).await;
        assert_eq!(storage.queued_bytes(), 0);
        storage.close().await;
        drop((storage, log));
        let (storage, _) = reopen(&disk, options()).await;
        let read = all(&storage.group(ONE)).await;
        assert_eq!(read[..40], many[..]);
        assert_eq!(read[40].payload.len(), largest);
        storage.close().await;
    });
}

#[test]
fn a_newer_format_is_refused_as_such() {
    run_test(async {
        let disk = scratch("newer").await;
        let storage = found(&disk, options()).await;
        storage.close().await;
        drop(storage);
        let file = disk.open("IDENTITY", OpenHow::Write).await.expect("opened");
        let mut sector = file.read_at(0, vec![0; 512]).await.expect("read");
        sector[8 + 4] = 2;
        let crc = crc32c::crc32c_append(0, &sector[..508]);
        sector[508..].copy_from_slice(&crc.to_le_bytes());
        file.write_at(0, sector.into()).await.expect("written");
        let error = Storage::open(disk.clone(), options()).await.err().expect("refused");
        assert!(matches!(error, StorageError::Newer { found: 2, .. }) && error.exit_code() == 76, "{error}");
    });
}
