//! The offline tools: what they tell of a healthy folder and of a damaged one, and that they change nothing.

mod common;

use bytes::Bytes;
use common::*;
use quorate_core::model::{GroupId, LogIndex};
use quorate_storage::inspect::{self, DumpedRecord};
use quorate_storage::{SnapshotMeta, StorageError, Tail};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::runtime::run_test;

async fn folder(name: &str) -> NodeDisk {
    let disk = scratch(name).await;
    let storage = found(&disk, options()).await;
    let (one, two) = (storage.group(GroupId(1)), storage.group(GroupId(2)));
    one.save_vote(vote(4, 2)).await;
    append(&one, entries(GroupId(1), 4, 1..8)).await;
    append(&two, entries(GroupId(2), 5, 1..3)).await;
    one.truncate_from(LogIndex(7)).await;
    let meta = SnapshotMeta { last: Some(id(4, 3)), membership: Bytes::new() };
    storage.snapshots(GroupId(1)).write(meta, [(1, b"state".to_vec())]).await.expect("written");
    one.purge(id(4, 3));
    storage.close().await;
    disk
}

async fn listing(disk: &NodeDisk) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for folder in ["wal", "snap"] {
        for name in disk.list(folder).await.expect("listed") {
            let file = disk.open(&format!("{folder}/{name}"), OpenHow::Read).await.expect("opened");
            let bytes = file.len().await.expect("read") as usize;
            files.push((name, file.read_at(0, vec![0; bytes]).await.expect("read")));
        }
    }
    files
}

#[test]
fn a_healthy_folder() {
    run_test(async {
        let disk = folder("inspect-healthy").await;
        let before = listing(&disk).await;
        let report = inspect::verify(&disk).await.expect("readable");
        assert_eq!((report.identity, report.tail), (IDENTITY, Some(Tail::Clean)));
        assert_eq!(report.damage, []);
        assert_eq!(report.segments.len(), 1);
        assert_eq!((report.segments[0].epoch, report.segments[0].live_entries), (1, 5));
        let one = &report.groups[0];
        assert_eq!((one.group, one.marks.vote, one.marks.purged), (GroupId(1), Some(vote(4, 2)), Some(id(4, 3))));
        assert_eq!((one.marks.first, one.marks.next, one.terms), (LogIndex(4), LogIndex(7), 1));
        assert!(one.snapshot.is_some() && report.groups[1].snapshot.is_none());
        assert!(before == listing(&disk).await, "nothing was changed");
    });
}

#[test]
fn all_records_of_a_group() {
    run_test(async {
        let disk = folder("inspect-dump").await;
        let mut seen: Vec<DumpedRecord> = Vec::new();
        inspect::dump(&disk, Some(GroupId(1)), None, &mut |record| seen.push(record)).await.expect("readable");
        let kinds: Vec<&str> = seen.iter().filter_map(|record| record.text.split(' ').next()).collect();
        assert_eq!(kinds[..2], ["vote", "entry"]);
        assert_eq!(kinds[kinds.len() - 2..], ["truncate_from", "purge"]);
        assert_eq!(seen[1].text, "entry index=1 term=4 bytes=54");
        assert_eq!(seen[1].payload, b"group 1 term 4 index 1".as_slice()[..].to_vec());
    });
}

#[test]
fn all_damage_is_told() {
    run_test(async {
        let disk = folder("inspect-damage").await;
        let snapshot = format!("snap/{}", disk.list("snap").await.expect("listed")[0]);
        for (path, at) in [("wal/wal-0000000001.log", 8192), (snapshot.as_str(), 30)] {
            let file = disk.open(path, OpenHow::Write).await.expect("opened");
            file.write_at(at, Bytes::from_static(b"XXXX")).await.expect("written");
        }
        let report = inspect::verify(&disk).await.expect("readable");
        let files: Vec<(&str, u64)> =
            report.damage.iter().map(|damage| (damage.file.as_str(), damage.offset)).collect();
        assert_eq!(files, [("wal/wal-0000000001.log", 8192), (snapshot.as_str(), 0)]);
    });
}

#[test]
fn a_folder_in_use_or_without_a_founder_is_refused() {
    run_test(async {
        let disk = scratch("inspect-refused").await;
        let blank = inspect::verify(&disk).await.expect_err("refused");
        assert!(matches!(blank, StorageError::Refused(_)), "{blank}");
        let storage = found(&disk, options()).await;
        let used = inspect::verify(&disk).await.expect_err("refused");
        assert!(matches!(used, StorageError::InUse), "{used}");
        storage.close().await;
    });
}
