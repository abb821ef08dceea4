//! Snapshots on their way: from the state into a file, from node to node in chunks, from a file into the state.
//!
//! A file travels as it lies on the disk, chunk by chunk, each asked for by the receiver's answer to the one before; so a
//! transfer that was cut off goes on where it stopped. The receiver verifies what it gets and installs only a whole file.
//!
//! Not here: the form of the file and its checksums (`quorate-storage`).

use std::io;
use std::sync::Arc;
use quorate_world::time::Duration;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use quorate_core::codec;
use quorate_core::model::{GroupId, LogId, NodeId};
use quorate_world::sync::Mutex;
use quorate_world::tap;
use quorate_world::time::sleep;

use crate::entry::StoredMembersV1;
use crate::events;
use crate::message::{SnapshotAnswerV1, SnapshotChunkV1, VoteV1};
use crate::state_machine::{Frozen, Growth};
use crate::storage_stub::{self as storage, SnapshotFile, SnapshotReceived, SnapshotReceiver, SnapshotStore};
use crate::types::{self, Consensus, Raft, SnapshotMeta};

/// A build that found the disk full is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// A snapshot that openraft can hand around.
pub(crate) enum SnapshotData {
    /// This node's current one.
    Stored(SnapshotFile),
    /// Received whole, not yet this node's.
    Received(SnapshotReceived),
}

pub(crate) type Snapshot = openraft::alias::SnapshotOf<Consensus, SnapshotData>;

fn storage_meta(meta: &SnapshotMeta) -> storage::SnapshotMeta {
    let members = codec::encode(&types::our_stored_membership(&meta.last_membership));
    storage::SnapshotMeta {
        last: meta.last_log_id.as_ref().map(types::our_log_id),
        membership: Bytes::from(members.expect("64 nodes fit into a membership's bytes")),
    }
}

fn meta(last: Option<LogId>, members: &StoredMembersV1) -> SnapshotMeta {
    SnapshotMeta { last_log_id: last.map(types::log_id), last_membership: types::stored_membership(members) }
}

/// A stored file, with what openraft wants to know of it.
pub(crate) fn of_file(file: SnapshotFile) -> Result<Snapshot, io::Error> {
    let stored = file.meta();
    let members = codec::decode::<StoredMembersV1>(&stored.membership).map_err(io::Error::other)?;
    Ok(Snapshot { meta: meta(stored.last, &members), snapshot: SnapshotData::Stored(file) })
}

/// Makes a received file this node's current one.
pub(crate) async fn store(snapshots: &SnapshotStore, data: SnapshotData) -> Result<SnapshotFile, io::Error> {
    match data {
        SnapshotData::Stored(file) => Ok(file),
        SnapshotData::Received(received) => snapshots.install(received).await.map_err(io::Error::other),
    }
}

/// Writes a state that changes no more into a file.
pub(crate) struct SnapshotBuilder {
    pub node: NodeId,
    pub group: GroupId,
    pub meta: SnapshotMeta,
    pub state: Box<dyn Frozen>,
    pub snapshots: SnapshotStore,
    pub growth: Arc<Growth>,
}

impl SnapshotBuilder {
    async fn write(&self) -> Result<SnapshotFile, storage::StorageError> {
        let mut writer = self.snapshots.writer(storage_meta(&self.meta)).await?;
        for (table, record) in self.state.tables() {
            writer.table(table, &record).await?;
        }
        writer.finish().await
    }
}

impl RaftSnapshotBuilder<Consensus> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let file = loop {
            match self.write().await {
                Ok(file) => break file,
                // Only a full disk comes back as an error; everything else has stopped the process. The log stays longer.
                Err(error) => {
                    tracing::warn!(group = %self.group, %error, "a snapshot could not be written, trying again");
                    sleep(RETRY_AFTER).await;
                }
            }
        };
        self.growth.note_snapshot(file.bytes());
        let last = self.meta.last_log_id.as_ref().map(types::our_log_id);
        tap!(events::SnapshotBuilt { node: self.node, group: self.group, last });
        tracing::info!(group = %self.group, ?last, bytes = file.bytes(), "snapshot built");
        Ok(Snapshot { meta: self.meta.clone(), snapshot: SnapshotData::Stored(file) })
    }
}

impl Drop for SnapshotBuilder {
    fn drop(&mut self) {
        self.growth.built.notify_one();
    }
}

/// The chunk that `answer` asks for, after which an answer decides how to go on.
pub(crate) async fn chunk(
    file: &SnapshotFile,
    vote: &types::Vote,
    meta: &SnapshotMeta,
    number: u32,
) -> Result<SnapshotChunkV1, io::Error> {
    let bytes = file.chunk(number).await.map_err(io::Error::other)?;
    Ok(SnapshotChunkV1 {
        vote: VoteV1::of(vote),
        last: meta.last_log_id.as_ref().map(types::our_log_id),
        members: types::our_stored_membership(&meta.last_membership),
        chunk: number,
        ends: number + 1 == file.chunks(),
        bytes,
    })
}

/// A group's end of an incoming transfer. One at a time; a new one replaces it.
pub(crate) struct Receiving {
    raft: Raft,
    snapshots: SnapshotStore,
    transfer: Mutex<Option<Transfer>>,
}

struct Transfer {
    vote: VoteV1,
    last: Option<LogId>,
    next: u32,
    file: SnapshotReceiver,
}

/// Why a chunk was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error(transparent)]
    Storage(#[from] storage::StorageError),
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

impl Receiving {
    pub fn new(raft: Raft, snapshots: SnapshotStore) -> Receiving {
        Receiving { raft, snapshots, transfer: Mutex::new(None) }
    }

    /// Takes a chunk; says which one is wanted next, or how the whole ended.
    pub async fn take(&self, chunk: SnapshotChunkV1) -> Result<SnapshotAnswerV1, ChunkError> {
        let mut held = self.transfer.lock().await;
        let same = |transfer: &Transfer| transfer.vote == chunk.vote && transfer.last == chunk.last;
        let mut transfer = match held.take() {
            Some(transfer) if same(&transfer) => transfer,
            _ if chunk.chunk > 0 => return Ok(SnapshotAnswerV1::Wanted(0)),
            _ => {
                let file = self.snapshots.receive(storage_meta(&meta(chunk.last, &chunk.members))).await?;
                Transfer { vote: chunk.vote, last: chunk.last, next: 0, file }
            }
        };
        if chunk.chunk != transfer.next {
            let next = transfer.next;
            *held = Some(transfer);
            return Ok(SnapshotAnswerV1::Wanted(next));
        }
        // On an error the transfer is gone, and begins anew.
        transfer.file.chunk(chunk.chunk, chunk.bytes).await?;
        transfer.next += 1;
        if !chunk.ends {
            let next = transfer.next;
            *held = Some(transfer);
            return Ok(SnapshotAnswerV1::Wanted(next));
        }
        let received = transfer.file.finish().await?;
        let snapshot = Snapshot {
            meta: meta(chunk.last, &chunk.members),
            snapshot: SnapshotData::Received(received),
        };
        let installed = self.raft.install_full_snapshot(chunk.vote.theirs(), snapshot).await;
        let response = installed.map_err(|fatal| ChunkError::Stopped(fatal.to_string()))?;
        Ok(SnapshotAnswerV1::Over(VoteV1::of(&response.vote)))
    }
}
