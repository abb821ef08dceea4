//! Snapshots on their way: from the state into a file, from node to node in chunks, from a file into the state.
//!
//! A file travels as it lies on the disk, chunk by chunk, each asked for by the receiver's answer to the one before; so a
//! transfer that was cut off goes on where it stopped. The receiver verifies what it gets and installs only a whole file.
//!
//! Not here: the form of the file and its checksums (`quorate-storage`).

use quorate_world::time::Duration;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use quorate_core::codec;
use quorate_core::model::{GroupId, LogId, NodeId, Term, limits};
use quorate_world::select::{Either2, select2};
use quorate_world::sync::Mutex;
use quorate_world::time::sleep;
use quorate_world::{bug, tap};

use crate::entry::StoredMembersV1;
use crate::events;
use crate::life::Hold;
use crate::message::{SnapshotAnswerV1, SnapshotChunkV1, VoteV1};
use crate::state_machine::{Frozen, Growth};
use crate::types::{self, Consensus, Raft, SnapshotMeta};
use quorate_storage::{self as storage, SnapshotError, SnapshotFile, SnapshotReceiver, SnapshotStore};

/// A build that found the disk full is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// With its reserve, and as much again for what is proposed between two looks and what ends transactions.
const _: () = assert!(limits::GROUP_STATE_BYTES_MAX / 2 * 3 <= storage::limits::SNAPSHOT_BYTES_MAX);

pub(crate) type Snapshot = openraft::alias::SnapshotOf<Consensus, SnapshotFile>;

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
    Ok(Snapshot { meta: meta(stored.last, &members), snapshot: file })
}

/// Writes a state that changes no more into a file.
pub(crate) struct SnapshotBuilder {
    pub node: NodeId,
    pub group: GroupId,
    pub meta: SnapshotMeta,
    pub state: Box<dyn Frozen>,
    pub snapshots: SnapshotStore,
    pub growth: Arc<Growth>,
    pub hold: Hold,
}

impl SnapshotBuilder {
    /// Writes the file and gives it its place; none if the replica stops before.
    async fn write(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        // Only the wait is cut short: what is begun on the disk is brought to an end, so that its name is known.
        let Either2::Second(turn) = select2(self.hold.over(), self.snapshots.turn()).await else { return Ok(None) };
        let mut writer = self.snapshots.writer(turn, storage_meta(&self.meta)).await?;
        let mut records = self.state.tables().peekable();
        while let Some((table, record)) = records.next() {
            if self.hold.is_over() {
                return Ok(None);
            }
            if records.peek().is_none() && bug!("snapshot_cut_short") {
                break;
            }
            writer.record(table, &record).await?;
        }
        writer.finish().await.map(Some)
    }

    /// Tries until there is a file; none if the replica stops before.
    async fn build(&self) -> Option<SnapshotFile> {
        while !self.hold.is_over() {
            match self.write().await {
                Ok(Some(file)) => return Some(file),
                Ok(None) | Err(SnapshotError::Removed) => break,
                // A full disk, or a state that is too large: the log stays longer. All else has stopped the process.
                Err(error) => {
                    tracing::warn!(group = %self.group, %error, "a snapshot could not be written, trying again");
                    select2(self.hold.over(), sleep(RETRY_AFTER)).await;
                }
            }
        }
        quorate_core::sometimes!("snapshot_of_a_replica_that_stops_is_given_up");
        None
    }
}

impl RaftSnapshotBuilder<Consensus> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        // openraft's core has ended by then, and hears no error.
        let file = self.build().await.ok_or_else(|| io::Error::other("the replica has stopped"))?;
        self.growth.note_snapshot(file.bytes());
        let last = file.meta().last;
        tap!(events::SnapshotBuilt { node: self.node, group: self.group, last, state_hash: file.name() });
        tracing::info!(group = %self.group, ?last, bytes = file.bytes(), "snapshot built");
        // Of the file, not of the state: one that was installed meanwhile may have won.
        of_file(file)
    }
}

impl Drop for SnapshotBuilder {
    fn drop(&mut self) {
        self.growth.built.notify_one();
    }
}

/// One chunk on its way. The receiver's answer says which one comes next.
pub(crate) async fn chunk(file: &SnapshotFile, vote: &types::Vote, number: u32) -> SnapshotChunkV1 {
    let bytes = file.chunk_or_stop(number).await;
    SnapshotChunkV1 { vote: VoteV1::of(vote), last: file.meta().last, chunk: number, bytes }
}

/// A group's end of an incoming transfer. One at a time; a new one replaces it.
pub(crate) struct Receiving {
    raft: Raft,
    snapshots: SnapshotStore,
    transfer: Mutex<Incoming>,
}

#[derive(Default)]
struct Incoming {
    running: Option<Transfer>,
    /// The last transfer that ended well: its answer may have been lost.
    over: Option<Over>,
}

/// How a transfer ended.
#[derive(Clone, Copy)]
struct Over {
    vote: VoteV1,
    last: Option<LogId>,
    answer: VoteV1,
}

struct Transfer {
    vote: VoteV1,
    last: Option<LogId>,
    file: SnapshotReceiver,
}

/// Why a chunk was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{0}")]
    Members(io::Error),
    #[error("raft has stopped: {0}")]
    Stopped(String),
}

impl Receiving {
    pub fn new(raft: Raft, snapshots: SnapshotStore) -> Receiving {
        Receiving { raft, snapshots, transfer: Mutex::default() }
    }

    /// Gives up what an earlier leader began: it holds one of the node's few turns. Not while a chunk is being taken: then
    /// the sender is alive.
    pub fn forget_before(&self, term: Term) {
        let Ok(mut held) = self.transfer.try_lock() else { return };
        if held.running.as_ref().is_some_and(|transfer| transfer.vote.term < term) {
            quorate_core::sometimes!("snapshot_of_a_deposed_leader_is_forgotten");
            held.running = None;
        }
    }

    /// Takes a chunk; says which one is wanted next, or how the whole ended.
    pub async fn take(&self, chunk: SnapshotChunkV1) -> Result<SnapshotAnswerV1, ChunkError> {
        let mut held = self.transfer.lock().await;
        if let Some(over) = held.over.filter(|over| over.vote == chunk.vote && over.last == chunk.last) {
            quorate_core::sometimes!("end_of_a_snapshot_is_told_again");
            return Ok(SnapshotAnswerV1::Over(over.answer));
        }
        if self.is_behind_the_log(chunk.vote, chunk.last) {
            quorate_core::sometimes!("snapshot_is_behind_the_log");
            held.running = None;
            return Ok(SnapshotAnswerV1::Over(chunk.vote));
        }
        let same = |transfer: &Transfer| transfer.vote == chunk.vote && transfer.last == chunk.last;
        let mut transfer = match held.running.take() {
            Some(transfer) if same(&transfer) => transfer,
            other => {
                if other.is_some() {
                    quorate_core::sometimes!("snapshot_begins_anew_in_place_of_another");
                }
                // The turn of the one that is replaced is free before the new one asks for its own.
                drop(other);
                let file = self.snapshots.receive().await?;
                Transfer { vote: chunk.vote, last: chunk.last, file }
            }
        };
        let wanted = transfer.file.next_chunk();
        if chunk.chunk != wanted {
            quorate_core::sometimes!("transfer_of_a_snapshot_goes_on_where_it_was");
            held.running = Some(transfer);
            return Ok(SnapshotAnswerV1::Wanted(wanted));
        }
        // On an error the transfer is gone, and begins anew.
        if !transfer.file.push(chunk.bytes).await? {
            let wanted = transfer.file.next_chunk();
            held.running = Some(transfer);
            return Ok(SnapshotAnswerV1::Wanted(wanted));
        }
        // It took its time.
        if self.is_behind_the_log(chunk.vote, chunk.last) {
            return Ok(SnapshotAnswerV1::Over(chunk.vote));
        }
        let snapshot = of_file(transfer.file.finish().await?).map_err(ChunkError::Members)?;
        let installed = self.raft.install_full_snapshot(chunk.vote.theirs(), snapshot).await;
        let response = installed.map_err(|fatal| ChunkError::Stopped(fatal.to_string()))?;
        let answer = VoteV1::of(&response.vote);
        held.over = Some(Over { vote: chunk.vote, last: chunk.last, answer });
        Ok(SnapshotAnswerV1::Over(answer))
    }

    /// Whether all that the snapshot covers is in the log, from the same leader and on the disk: its entries arrived, and no
    /// answer did, so that it does not know. Raft need not install such a one, and openraft's assertions do not bear it.
    fn is_behind_the_log(&self, vote: VoteV1, last: Option<LogId>) -> bool {
        let flushed = self.raft.watch_log_progress().get();
        flushed.is_some_and(|flushed| {
            flushed.vote == vote.theirs() && flushed.last_log_id.map(|id| types::our_log_id(&id)) >= last
        })
    }
}
