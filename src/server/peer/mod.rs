//! The one port between nodes.
//!
//! Not here: what the bodies say. Raft, the coordinator and the founding each have their own messages.

use core::future::Future;
use core::pin::Pin;

use bytes::Bytes;
use quorate_core::cluster::{Addresses, ClusterId, DiskId, StartEpoch, StartId};
use quorate_core::model::{GroupId, NodeId};

/// A future that may be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a frame is about; its number stands in the head and never changes (`docs/WIRE.md`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// First frame both ways.
    Hello = 1,
    /// Entries or a heartbeat of one group.
    RaftAppend = 16,
    /// A vote or a pre-vote is asked for.
    RaftVote = 17,
    /// The leader hands over.
    RaftTransfer = 18,
    /// A part of a snapshot. Travels on the bulk connection.
    RaftSnapshot = 32,
    /// Forwarded requests, lock commands, phase-two relays, channel lists: the coordinator's own messages.
    Coordinator = 64,
    /// Words to the leader of the meta group.
    Meta = 80,
}

/// Which of the three connections of a pair a frame travels on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Class {
    /// Appends, votes, heartbeats of all groups.
    Raft = 1,
    /// Snapshots and migration: must not hold up the others.
    Bulk = 2,
    /// Everything else.
    Request = 3,
}

/// Who this node is, as it says in each hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    /// None before the cluster is founded or joined.
    pub cluster: Option<ClusterId>,
    /// Its id.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// The number of this start.
    pub epoch: StartEpoch,
    /// The random id of this start.
    pub start: StartId,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// How a call to another node fails. A call that reached the network may have been done there, except after
/// [`CallError::Full`] and [`CallError::Refused`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke, or the node has been silent for two election timeouts.
    #[error("the node is not reachable")]
    Unreachable,
    /// No answer within the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// The queue to that node is at its bound; nothing was sent.
    #[error("the queue to the node is full")]
    Full,
    /// The node answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// Serves what other nodes ask.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. For a cast the result is dropped.
    fn handle(&self, from: NodeId, kind: Kind, group: GroupId, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;
}
