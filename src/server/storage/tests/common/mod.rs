//! What the storage's tests share: a data folder of their own, and short words for long calls.
#![allow(dead_code, reason = "each test file takes what it needs")]

use bytes::Bytes;
use quorate_core::model::{GroupId, LogId, LogIndex, NodeId, Term};
use quorate_storage::{GroupLog, Identity, LogRecord, Recovered, Storage, StorageOptions, Vote};
use quorate_world::disk::{Disk, NodeDisk};
use quorate_world::sync::oneshot;

pub const IDENTITY: Identity = Identity { cluster: [0xc1; 16], node: NodeId(3), disk: [0xd1; 16] };
pub const SEGMENT_BYTES: u32 = 1 << 20;

/// An empty data folder, named after its test.
pub async fn scratch(name: &str) -> NodeDisk {
    let disk = NodeDisk::open_root(&format!("{}/storage-{name}", env!("CARGO_TARGET_TMPDIR"))).expect("a folder");
    for folder in ["wal", "snap"] {
        disk.make_folder(folder).await.expect("made");
        for name in disk.list(folder).await.expect("listed") {
            disk.remove(&format!("{folder}/{name}")).await.expect("removed");
        }
    }
    for name in ["LOCK", "IDENTITY", "IDENTITY.tmp"] {
        // Most of them are not there.
        let _ = disk.remove(name).await;
    }
    disk
}

pub fn options() -> StorageOptions {
    StorageOptions { segment_bytes: SEGMENT_BYTES, purge_needs_snapshot: false, ..StorageOptions::default() }
}

/// Founds an empty folder.
pub async fn found(disk: &NodeDisk, options: StorageOptions) -> Storage {
    let (storage, recovered) = Storage::open(disk.clone(), options).await.expect("an empty folder opens");
    assert!(recovered.is_none() && storage.identity().is_none());
    storage.found(IDENTITY).await.expect("founded");
    storage
}

/// Opens a folder that was founded.
pub async fn reopen(disk: &NodeDisk, options: StorageOptions) -> (Storage, Recovered) {
    let (storage, recovered) = Storage::open(disk.clone(), options).await.unwrap_or_else(|error| panic!("{error}"));
    (storage, recovered.expect("it was founded"))
}

pub fn id(term: u64, index: u64) -> LogId {
    LogId { term: Term(term), index: LogIndex(index) }
}

pub fn entry(term: u64, index: u64, payload: impl Into<Bytes>) -> LogRecord {
    LogRecord { log_id: id(term, index), payload: payload.into() }
}

pub fn vote(term: u64, node: u64) -> Vote {
    Vote { term: Term(term), node: NodeId(node), committed: false }
}

/// Entries of one term, their payload telling who they are.
pub fn entries(group: GroupId, term: u64, indexes: std::ops::Range<u64>) -> Vec<LogRecord> {
    indexes.map(|index| entry(term, index, format!("group {group} term {term} index {index}"))).collect()
}

/// Appends and waits until it is durable.
pub async fn append(log: &GroupLog, records: Vec<LogRecord>) {
    let (told, waiting) = oneshot::channel();
    let durable = Box::new(move || told.send(()).expect("somebody waits"));
    log.append(records, durable).await;
    waiting.await.expect("told");
}

/// All that can be read.
pub async fn all(log: &GroupLog) -> Vec<LogRecord> {
    let mut read: Vec<LogRecord> = Vec::new();
    loop {
        let from = read.last().map_or(0, |last: &LogRecord| last.log_id.index.0 + 1);
        let more = log.read(LogIndex(from)..LogIndex(u64::MAX), 1 << 16).await;
        if more.is_empty() {
            return read;
        }
        read.extend(more);
    }
}
