#![allow(missing_docs, unused_variables, dead_code)]
use bytes::Bytes;
use quorate_core::model::*;
#[derive(Clone)]
pub struct Storage;
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote { pub term: Term, pub node: NodeId, pub committed: bool }
pub struct LogRecord { pub log_id: LogId, pub payload: Bytes }
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct StorageError;
pub struct LogState { pub vote: Option<Vote>, pub committed: Option<LogId>, pub purged: Option<LogId>, pub last: Option<LogId> }
#[derive(Clone)]
pub struct GroupLog;
impl Storage {
    pub fn group(&self, group: GroupId) -> GroupLog { unimplemented!() }
    pub fn snapshots(&self, group: GroupId) -> SnapshotStore { unimplemented!() }
}
impl GroupLog {
    pub async fn append(&self, records: Vec<LogRecord>, durable: Box<dyn FnOnce() + Send>) { unimplemented!() }
    pub async fn save_vote(&self, vote: Vote) { unimplemented!() }
    pub async fn truncate_from(&self, index: LogIndex) { unimplemented!() }
    pub fn purge(&self, to: LogId) { unimplemented!() }
    pub fn save_committed(&self, to: LogId) { unimplemented!() }
    pub fn state(&self) -> LogState { unimplemented!() }
    pub fn key_log_ids(&self) -> Vec<LogId> { unimplemented!() }
    pub async fn read(&self, range: std::ops::Range<LogIndex>, bytes_max: usize) -> Result<Vec<LogRecord>, StorageError> { unimplemented!() }
}
#[derive(Clone)]
pub struct SnapshotStore;
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotMeta { pub last: Option<LogId>, pub membership: Bytes }
pub struct SnapshotWriter;
#[derive(Clone)]
pub struct SnapshotFile;
pub struct SnapshotReceiver;
pub struct SnapshotReceived;
impl SnapshotStore {
    pub fn current(&self) -> Option<SnapshotFile> { unimplemented!() }
    pub async fn writer(&self, meta: SnapshotMeta) -> Result<SnapshotWriter, StorageError> { unimplemented!() }
    pub async fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, StorageError> { unimplemented!() }
    pub async fn install(&self, received: SnapshotReceived) -> Result<SnapshotFile, StorageError> { unimplemented!() }
}
impl SnapshotWriter {
    pub async fn table(&mut self, table: u16, record: &[u8]) -> Result<(), StorageError> { unimplemented!() }
    pub async fn finish(self) -> Result<SnapshotFile, StorageError> { unimplemented!() }
}
impl SnapshotFile {
    pub fn meta(&self) -> &SnapshotMeta { unimplemented!() }
    pub fn bytes(&self) -> u64 { unimplemented!() }
    pub fn chunks(&self) -> u32 { unimplemented!() }
    pub async fn chunk(&self, chunk: u32) -> Result<Bytes, StorageError> { unimplemented!() }
    pub async fn records(&self) -> Result<Vec<(u16, Vec<u8>)>, StorageError> { unimplemented!() }
}
impl SnapshotReceiver {
    pub async fn chunk(&mut self, chunk: u32, bytes: Bytes) -> Result<(), StorageError> { unimplemented!() }
    pub async fn finish(self) -> Result<SnapshotReceived, StorageError> { unimplemented!() }
}
