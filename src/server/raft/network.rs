//! openraft's network over [`Transport`]: a request becomes a body, the answer becomes a response.
//!
//! Entries get a longer deadline than openraft proposes (its heartbeat): the answer waits for the follower's disk, and
//! asking again at once would only send the same entries to a slow disk twice. Heartbeats keep theirs.
//!
//! The body of a heartbeat has room for those of several groups to one node; today each travels alone.

use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::impls::EmptyNode;
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use quorate_core::codec::{self, CodecError, Persisted};
use quorate_core::model::{GroupId, NodeId};
use quorate_storage::SnapshotFile;
use quorate_world::select::{Either2, select2};
use quorate_world::time::Duration;

use crate::message::{
    AppendAnswerV1, AppendV1, AskVoteV1, HeartbeatAnswersV1, HeartbeatV1, HeartbeatsV1, SnapshotAnswerV1,
    TransferAnswerV1, TransferV1, VoteAnswerV1,
};
use crate::options::RaftOptions;
use crate::snapshot::{self, Snapshot};
use crate::transport::{RaftRpc, Transport, TransportError};
use crate::types::{Consensus, Vote};

/// How often in a row a chunk of a snapshot may have no answer in time. The last one's answer waits for the installation.
const CHUNK_TRIES_MAX: u32 = 16;

/// Makes the links of one group.
#[derive(Clone)]
pub(crate) struct Network {
    pub node: NodeId,
    pub group: GroupId,
    pub transport: Arc<dyn Transport>,
    pub options: RaftOptions,
}

/// A group's way to one other node.
pub(crate) struct Link {
    network: Network,
    to: NodeId,
    heartbeats: bool,
}

/// Why a call brought nothing.
enum CallError {
    Transport(TransportError, Duration),
    Codec(CodecError),
}

impl RaftNetworkFactory<Consensus> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, EmptyNode {}: &EmptyNode) -> Link {
        Link { network: self.clone(), to: NodeId(target), heartbeats: false }
    }

    async fn new_heartbeat_client(&mut self, target: u64, EmptyNode {}: &EmptyNode) -> Link {
        Link { network: self.clone(), to: NodeId(target), heartbeats: true }
    }
}

impl Link {
    async fn call<Q: Persisted, A: Persisted>(
        &self,
        rpc: RaftRpc,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, CallError> {
        let Network { group, transport, .. } = &self.network;
        let body = Bytes::from(codec::encode(request).map_err(CallError::Codec)?);
        let answer = transport.call(self.to, *group, rpc, body, timeout).await;
        let answer = answer.map_err(|error| CallError::Transport(error, timeout))?;
        codec::decode(&answer).map_err(CallError::Codec)
    }

    fn error(&self, action: RPCTypes, error: CallError) -> RPCError<Consensus> {
        match error {
            CallError::Transport(TransportError::TimedOut, timeout) => {
                quorate_core::sometimes!("raft_request_got_no_answer_in_time");
                RPCError::Timeout(Timeout { action, id: self.network.node.0, target: self.to.0, timeout })
            }
            // All of these would be as they are if asked again at once: openraft backs off.
            CallError::Transport(
                error @ (TransportError::Unreachable | TransportError::Full | TransportError::Refused(_)),
                _,
            ) => RPCError::Unreachable(Unreachable::new(&error)),
            CallError::Codec(error) => RPCError::Unreachable(Unreachable::new(&io::Error::other(error))),
        }
    }

    async fn heartbeat(
        &self,
        request: &AppendEntriesRequest<Consensus>,
        timeout: Duration,
    ) -> Result<AppendAnswerV1, CallError> {
        let beats = HeartbeatsV1 { beats: vec![HeartbeatV1::of(self.network.group, request)] };
        let mut answers: HeartbeatAnswersV1 = self.call(RaftRpc::Heartbeat, &beats, timeout).await?;
        let answer = answers.answers.pop().flatten();
        let refused = || CallError::Transport(TransportError::Refused("no such group there".into()), timeout);
        answer.ok_or_else(refused)
    }

    /// Sends what the receiver asks for, until it says that it is over. Repeating a chunk does no harm.
    async fn send_snapshot(
        &self,
        vote: &Vote,
        file: &SnapshotFile,
    ) -> Result<SnapshotResponse<Consensus>, StreamingError<Consensus>> {
        let timeout = 2 * self.network.options.election_timeout_max();
        let (mut number, mut tries) = (0, 0);
        loop {
            let chunk = snapshot::chunk(file, vote, number).await;
            tries += 1;
            match self.call(RaftRpc::Snapshot, &chunk, timeout).await {
                Ok(SnapshotAnswerV1::Over(vote)) => {
                    quorate_core::sometimes!("snapshot_was_sent_whole");
                    return Ok(SnapshotResponse::new(vote.theirs()));
                }
                Ok(SnapshotAnswerV1::Wanted(wanted)) if wanted < file.chunks() => (number, tries) = (wanted, 0),
                Ok(SnapshotAnswerV1::Wanted(wanted)) => {
                    let error = io::Error::other(format!("chunk {wanted} of {} is wanted", file.chunks()));
                    return Err(StreamingError::Unreachable(Unreachable::new(&error)));
                }
                Err(CallError::Transport(TransportError::TimedOut, _)) if tries < CHUNK_TRIES_MAX => {
                    quorate_core::sometimes!("chunk_of_a_snapshot_is_sent_again");
                }
                Err(error) => {
                    quorate_core::sometimes!("transfer_of_a_snapshot_failed");
                    return Err(self.error(RPCTypes::InstallSnapshot, error).into());
                }
            }
        }
    }
}

impl RaftNetworkV2<Consensus> for Link {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Consensus>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Consensus>, RPCError<Consensus>> {
        let answer = if self.heartbeats && request.entries.is_empty() {
            self.heartbeat(&request, option.soft_ttl()).await
        } else {
            let timeout = option.soft_ttl().max(self.network.options.election_timeout_min());
            self.call(RaftRpc::Append, &AppendV1::of(&request), timeout).await
        };
        answer.map(AppendAnswerV1::theirs).map_err(|error| self.error(RPCTypes::AppendEntries, error))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Consensus>,
        option: RPCOption,
    ) -> Result<VoteResponse<Consensus>, RPCError<Consensus>> {
        let answer = self.call(RaftRpc::Vote, &AskVoteV1::of(&request), option.soft_ttl()).await;
        answer.map(VoteAnswerV1::theirs).map_err(|error| self.error(RPCTypes::Vote, error))
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Consensus>,
        option: RPCOption,
    ) -> Result<VoteResponse<Consensus>, RPCError<Consensus>> {
        let answer = self.call(RaftRpc::PreVote, &AskVoteV1::of(&request), option.soft_ttl()).await;
        answer.map(VoteAnswerV1::theirs).map_err(|error| self.error(RPCTypes::Vote, error))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Consensus>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Consensus>, RPCError<Consensus>> {
        let answer = self.call(RaftRpc::Transfer, &TransferV1::of(&request), option.soft_ttl()).await;
        answer.map(TransferAnswerV1::theirs).map_err(|error| self.error(RPCTypes::TransferLeader, error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Consensus>, StreamingError<Consensus>> {
        match select2(cancel, self.send_snapshot(&vote, &snapshot.snapshot)).await {
            Either2::First(closed) => {
                quorate_core::sometimes!("transfer_of_a_snapshot_was_called_off");
                Err(StreamingError::Closed(closed))
            }
            Either2::Second(sent) => sent,
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(self.network.options.heartbeat_ms))))
    }
}
