//! What raft says between nodes: one body per [`crate::RaftRpc`], one answer each, in the codec's form.
//!
//! openraft's own types stop here. Structs never change and variants are only added (`core::codec`); the frame around a body
//! carries the format number.

use std::io;

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use quorate_core::codec::Persisted;
use quorate_core::model::{GroupId, LogId, NodeId, Term};
use quorate_storage as storage;
use serde::{Deserialize, Serialize};

use crate::entry::{self, EntryBody};
use crate::types::{self, Consensus, Entry, Payload};

/// A body with entries: one of at most 12 MiB, or several of at most 1 MiB together.
const APPEND_BYTES_MAX: usize = 16 << 20;
const SMALL_BYTES_MAX: usize = 64 << 10;

macro_rules! persisted {
    ($($name:ident <= $bytes:expr),* $(,)?) => {
        $(impl Persisted for $name { const BYTES_MAX: usize = $bytes; })*
    };
}

persisted! {
    AppendV1 <= APPEND_BYTES_MAX,
    AppendAnswerV1 <= SMALL_BYTES_MAX,
    HeartbeatsV1 <= 1 << 20,
    HeartbeatAnswersV1 <= 1 << 20,
    AskVoteV1 <= SMALL_BYTES_MAX,
    VoteAnswerV1 <= SMALL_BYTES_MAX,
    TransferV1 <= SMALL_BYTES_MAX,
    TransferAnswerV1 <= SMALL_BYTES_MAX,
    HibernateV1 <= SMALL_BYTES_MAX,
    HibernateAnswerV1 <= SMALL_BYTES_MAX,
    SnapshotChunkV1 <= APPEND_BYTES_MAX,
    SnapshotAnswerV1 <= SMALL_BYTES_MAX,
}

/// Whom a node supports: a candidate, or the leader of a term once `committed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteV1 {
    pub term: Term,
    pub node: NodeId,
    pub committed: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryV1 {
    pub log_id: LogId,
    /// As in the log (`entry`).
    pub body: Bytes,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AppendV1 {
    pub vote: VoteV1,
    pub previous: Option<LogId>,
    pub committed: Option<LogId>,
    pub entries: Vec<EntryV1>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum AppendAnswerV1 {
    Success,
    Partial(Option<LogId>),
    Conflict,
    HigherVote(VoteV1),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct HeartbeatV1 {
    pub group: GroupId,
    pub vote: VoteV1,
    pub previous: Option<LogId>,
    pub committed: Option<LogId>,
}

/// Heartbeats of several groups to one node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct HeartbeatsV1 {
    pub beats: Vec<HeartbeatV1>,
}

/// In the order of the beats; none where that group has no answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct HeartbeatAnswersV1 {
    pub answers: Vec<Option<AppendAnswerV1>>,
}

/// A vote or a pre-vote is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct AskVoteV1 {
    pub vote: VoteV1,
    pub last: Option<LogId>,
    /// The leader itself wants it: its lease does not count.
    pub transfer: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteAnswerV1 {
    pub vote: VoteV1,
    pub granted: bool,
    pub last: Option<LogId>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TransferV1 {
    pub from: VoteV1,
    pub to: NodeId,
    pub last: Option<LogId>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum TransferAnswerV1 {
    Accepted,
    VoteChanged { expected: VoteV1, actual: VoteV1 },
    Behind { expected: Option<LogId>, actual: Option<LogId> },
}

/// A leader would like a member to sleep (`hibernation`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct HibernateV1 {
    /// Whom the member follows.
    pub vote: VoteV1,
    /// What it has applied, and no more.
    pub last: LogId,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum HibernateAnswerV1 {
    Asleep,
    Awake,
}

/// One chunk of a snapshot file, as it lies on the sender's disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SnapshotChunkV1 {
    pub vote: VoteV1,
    /// Names the snapshot; a receiver that has begun another begins anew.
    pub last: Option<LogId>,
    pub chunk: u32,
    pub bytes: Bytes,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum SnapshotAnswerV1 {
    /// Go on with this chunk.
    Wanted(u32),
    /// Installed, or not because of a higher vote; the receiver's vote now.
    Over(VoteV1),
}

impl VoteV1 {
    pub fn of(theirs: &types::Vote) -> VoteV1 {
        let storage::Vote { term, node, committed } = types::our_vote(theirs);
        VoteV1 { term, node, committed }
    }

    pub fn theirs(self) -> types::Vote {
        types::vote(storage::Vote { term: self.term, node: self.node, committed: self.committed })
    }
}

fn ours(log_id: &Option<types::LogId>) -> Option<LogId> {
    log_id.as_ref().map(types::our_log_id)
}

fn theirs(log_id: Option<LogId>) -> Option<types::LogId> {
    log_id.map(types::log_id)
}

/// The bytes of an entry, as they go to the disk and the wire.
pub(crate) fn entry_bytes(payload: &openraft::EntryPayload<Payload, u64, openraft::impls::EmptyNode>) -> Bytes {
    match payload {
        openraft::EntryPayload::Blank => entry::blank(),
        openraft::EntryPayload::Normal(payload) => payload.0.clone(),
        openraft::EntryPayload::Membership(members) => {
            entry::members(&types::our_membership(members)).expect("64 nodes fit into a membership's bytes")
        }
    }
}

/// The entry that these bytes are. Commands are looked into by apply only.
pub(crate) fn entry_from(log_id: LogId, body: Bytes) -> Result<Entry, io::Error> {
    let payload = match entry::read(&body).map_err(io::Error::other)? {
        EntryBody::Blank => openraft::EntryPayload::Blank,
        EntryBody::Commands(_) => openraft::EntryPayload::Normal(Payload(body)),
        EntryBody::Members(members) => openraft::EntryPayload::Membership(types::membership(&members)),
    };
    Ok(Entry::new(types::log_id(log_id), payload))
}

impl AppendV1 {
    pub fn of(request: &AppendEntriesRequest<Consensus>) -> AppendV1 {
        let entry =
            |entry: &Entry| EntryV1 { log_id: types::our_log_id(&entry.log_id), body: entry_bytes(&entry.payload) };
        AppendV1 {
            vote: VoteV1::of(&request.vote),
            previous: ours(&request.prev_log_id),
            committed: ours(&request.leader_commit),
            entries: request.entries.iter().map(entry).collect(),
        }
    }

    pub fn theirs(self) -> Result<AppendEntriesRequest<Consensus>, io::Error> {
        let entries: Result<Vec<Entry>, io::Error> =
            self.entries.into_iter().map(|entry| entry_from(entry.log_id, entry.body)).collect();
        Ok(AppendEntriesRequest {
            vote: self.vote.theirs(),
            prev_log_id: theirs(self.previous),
            entries: entries?,
            leader_commit: theirs(self.committed),
        })
    }
}

impl HeartbeatV1 {
    pub fn of(group: GroupId, request: &AppendEntriesRequest<Consensus>) -> HeartbeatV1 {
        HeartbeatV1 {
            group,
            vote: VoteV1::of(&request.vote),
            previous: ours(&request.prev_log_id),
            committed: ours(&request.leader_commit),
        }
    }

    pub fn theirs(self) -> AppendEntriesRequest<Consensus> {
        AppendEntriesRequest {
            vote: self.vote.theirs(),
            prev_log_id: theirs(self.previous),
            entries: Vec::new(),
            leader_commit: theirs(self.committed),
        }
    }
}

impl AppendAnswerV1 {
    pub fn of(response: AppendEntriesResponse<Consensus>) -> AppendAnswerV1 {
        match response {
            AppendEntriesResponse::Success => AppendAnswerV1::Success,
            AppendEntriesResponse::PartialSuccess(up_to) => AppendAnswerV1::Partial(ours(&up_to)),
            AppendEntriesResponse::Conflict => AppendAnswerV1::Conflict,
            AppendEntriesResponse::HigherVote(vote) => AppendAnswerV1::HigherVote(VoteV1::of(&vote)),
        }
    }

    pub fn theirs(self) -> AppendEntriesResponse<Consensus> {
        match self {
            AppendAnswerV1::Success => AppendEntriesResponse::Success,
            AppendAnswerV1::Partial(up_to) => AppendEntriesResponse::PartialSuccess(theirs(up_to)),
            AppendAnswerV1::Conflict => AppendEntriesResponse::Conflict,
            AppendAnswerV1::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote.theirs()),
        }
    }
}

impl AskVoteV1 {
    pub fn of(request: &VoteRequest<Consensus>) -> AskVoteV1 {
        AskVoteV1 {
            vote: VoteV1::of(&request.vote),
            last: ours(&request.last_log_id),
            transfer: request.leadership_transfer,
        }
    }

    pub fn theirs(self) -> VoteRequest<Consensus> {
        VoteRequest { vote: self.vote.theirs(), last_log_id: theirs(self.last), leadership_transfer: self.transfer }
    }
}

impl VoteAnswerV1 {
    pub fn of(response: VoteResponse<Consensus>) -> VoteAnswerV1 {
        VoteAnswerV1 {
            vote: VoteV1::of(&response.vote),
            granted: response.vote_granted,
            last: ours(&response.last_log_id),
        }
    }

    pub fn theirs(self) -> VoteResponse<Consensus> {
        VoteResponse::new(self.vote.theirs(), theirs(self.last), self.granted)
    }
}

impl TransferV1 {
    pub fn of(request: &TransferLeaderRequest<Consensus>) -> TransferV1 {
        TransferV1 {
            from: VoteV1::of(request.from_leader()),
            to: NodeId(*request.to_node_id()),
            last: request.last_log_id().map(types::our_log_id),
        }
    }

    pub fn theirs(self) -> TransferLeaderRequest<Consensus> {
        TransferLeaderRequest::new(self.from.theirs(), self.to.0, theirs(self.last))
    }
}

impl TransferAnswerV1 {
    pub fn of(response: TransferLeaderResponse<Consensus>) -> TransferAnswerV1 {
        match response {
            Ok(()) => TransferAnswerV1::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferAnswerV1::VoteChanged { expected: VoteV1::of(&expected), actual: VoteV1::of(&actual) }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                TransferAnswerV1::Behind { expected: ours(&expected), actual: ours(&actual) }
            }
        }
    }

    pub fn theirs(self) -> TransferLeaderResponse<Consensus> {
        match self {
            TransferAnswerV1::Accepted => Ok(()),
            TransferAnswerV1::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.theirs(), actual: actual.theirs() })
            }
            TransferAnswerV1::Behind { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed { expected: theirs(expected), actual: theirs(actual) })
            }
        }
    }
}
