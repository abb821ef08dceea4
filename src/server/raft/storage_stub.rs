#![allow(missing_docs, clippy::unwrap_used)]
//! Temporary: an in-memory storage until the real one is there.
use bytes::Bytes;
use quorate_core::model::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
#[derive(Clone, Default)]
pub struct Storage(Arc<Mutex<BTreeMap<GroupId, GroupLog>>>);
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote { pub term: Term, pub node: NodeId, pub committed: bool }
#[derive(Clone)]
pub struct LogRecord { pub log_id: LogId, pub payload: Bytes }
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StorageError;
pub struct LogState { pub vote: Option<Vote>, pub committed: Option<LogId>, pub purged: Option<LogId>, pub last: Option<LogId> }
#[derive(Default)]
struct Inner { entries: BTreeMap<u64, LogRecord>, vote: Option<Vote>, committed: Option<LogId>, purged: Option<LogId>, snap: Option<SnapshotFile> }
#[derive(Clone, Default)]
pub struct GroupLog(Arc<Mutex<Inner>>);
impl Storage {
    pub fn group(&self, group: GroupId) -> GroupLog { self.0.lock().unwrap().entry(group).or_default().clone() }
    pub fn snapshots(&self, group: GroupId) -> SnapshotStore { SnapshotStore(self.group(group)) }
}
impl GroupLog {
    pub async fn append(&self, records: Vec<LogRecord>, durable: Box<dyn FnOnce() + Send>) {
        let mut i = self.0.lock().unwrap();
        for r in records { i.entries.insert(r.log_id.index.0, r); }
        drop(i);
        durable();
    }
    pub async fn save_vote(&self, vote: Vote) { self.0.lock().unwrap().vote = Some(vote); }
    pub async fn truncate_from(&self, index: LogIndex) { self.0.lock().unwrap().entries.split_off(&index.0); }
    pub fn purge(&self, to: LogId) { let mut i = self.0.lock().unwrap(); i.entries = i.entries.split_off(&(to.index.0 + 1)); i.purged = Some(to); }
    pub fn save_committed(&self, to: LogId) { self.0.lock().unwrap().committed = Some(to); }
    pub fn state(&self) -> LogState {
        let i = self.0.lock().unwrap();
        LogState { vote: i.vote, committed: i.committed, purged: i.purged, last: i.entries.values().next_back().map(|r| r.log_id) }
    }
    pub fn key_log_ids(&self) -> Vec<LogId> {
        let i = self.0.lock().unwrap();
        let mut out: Vec<LogId> = Vec::new();
        for r in i.entries.values() { if out.last().is_none_or(|l| l.term != r.log_id.term) { out.push(r.log_id); } }
        out
    }
    pub async fn read(&self, range: std::ops::Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>, StorageError> {
        let i = self.0.lock().unwrap();
        let mut out = Vec::new(); let mut n = 0;
        for r in i.entries.range(range.start.0..range.end.0).map(|x| x.1) { n += r.payload.len(); if !out.is_empty() && n > bytes_max { break; } out.push(r.clone()); }
        Ok(out)
    }
}
#[derive(Clone)]
pub struct SnapshotStore(GroupLog);
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotMeta { pub last: Option<LogId>, pub membership: Bytes }
pub struct SnapshotWriter { log: GroupLog, meta: SnapshotMeta, records: Vec<(u16, Vec<u8>)> }
#[derive(Clone)]
pub struct SnapshotFile { meta: SnapshotMeta, records: Arc<Vec<(u16, Vec<u8>)>> }
pub struct SnapshotReceiver { meta: SnapshotMeta, records: Vec<(u16, Vec<u8>)> }
pub struct SnapshotReceived(SnapshotFile);
impl SnapshotStore {
    pub fn current(&self) -> Option<SnapshotFile> { self.0.0.lock().unwrap().snap.clone() }
    pub async fn writer(&self, meta: SnapshotMeta) -> Result<SnapshotWriter, StorageError> { Ok(SnapshotWriter { log: self.0.clone(), meta, records: Vec::new() }) }
    pub async fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, StorageError> { Ok(SnapshotReceiver { meta, records: Vec::new() }) }
    pub async fn install(&self, received: SnapshotReceived) -> Result<SnapshotFile, StorageError> { self.0.0.lock().unwrap().snap = Some(received.0.clone()); Ok(received.0) }
}
impl SnapshotWriter {
    pub async fn table(&mut self, table: u16, record: &[u8]) -> Result<(), StorageError> { self.records.push((table, record.to_vec())); Ok(()) }
    pub async fn finish(self) -> Result<SnapshotFile, StorageError> {
        let f = SnapshotFile { meta: self.meta, records: Arc::new(self.records) };
        self.log.0.lock().unwrap().snap = Some(f.clone());
        Ok(f)
    }
}
impl SnapshotFile {
    pub fn meta(&self) -> &SnapshotMeta { &self.meta }
    pub fn bytes(&self) -> u64 { self.records.iter().map(|r| r.1.len() as u64).sum() }
    pub fn chunks(&self) -> u32 { self.records.len() as u32 + 1 }
    pub async fn chunk(&self, chunk: u32) -> Result<Bytes, StorageError> {
        let Some((t, r)) = self.records.get(chunk as usize) else { return Ok(Bytes::new()) };
        let mut v = t.to_le_bytes().to_vec(); v.extend(r); Ok(v.into())
    }
    pub async fn records(&self) -> Result<Vec<(u16, Vec<u8>)>, StorageError> { Ok(self.records.to_vec()) }
}
impl SnapshotReceiver {
    pub async fn chunk(&mut self, _: u32, b: Bytes) -> Result<(), StorageError> {
        if !b.is_empty() { self.records.push((u16::from_le_bytes([b[0], b[1]]), b[2..].to_vec())); }
        Ok(())
    }
    pub async fn finish(self) -> Result<SnapshotReceived, StorageError> { Ok(SnapshotReceived(SnapshotFile { meta: self.meta, records: Arc::new(self.records) })) }
}
