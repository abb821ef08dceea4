//! The way from one node to another, as raft sees it: bytes out, bytes back, a deadline.
//!
//! The peer port implements it with frames and connections; tests implement it inside one process.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use quorate_core::model::{GroupId, NodeId};
use quorate_world::time::Duration;
use quorate_world::watch;

/// A future behind a pointer, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a body is. The peer port gives each its own kind, and [`RaftRpc::Snapshot`] the bulk connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RaftRpc {
    /// Log entries for a follower.
    Append,
    /// An append without entries, several groups in one body (the group named beside it is the first of them).
    Heartbeat,
    /// Please vote for me.
    Vote,
    /// Would you vote for me?
    PreVote,
    /// Please take over.
    Transfer,
    /// One chunk of a snapshot.
    Snapshot,
    /// Please sleep.
    Hibernate,
}

/// What is known of another node without asking it anything.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sign {
    /// Nothing has come from it for too long.
    pub silent: bool,
    /// How many of its starts were met after the first.
    pub lives: u64,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection, and none to be had now: asking again at once is useless.
    #[error("unreachable")]
    Unreachable,
    /// Sent, and no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Too much is waiting for that node.
    #[error("too much is waiting for that node")]
    Full,
    /// The other side answered that it will not.
    #[error("refused: {0}")]
    Refused(String),
}

/// Carries one request to another node and brings the answer back.
pub trait Transport: Send + Sync + 'static {
    /// Asks `to`. At the latest after `timeout` there is an answer or an error.
    fn call(
        &self,
        to: NodeId,
        group: GroupId,
        rpc: RaftRpc,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;

    /// The signs of life of the other nodes that are known.
    fn signs(&self) -> watch::Receiver<BTreeMap<NodeId, Sign>>;

    /// How long nothing has come from another node; for ever, if it is not known.
    fn quiet_for(&self, node: NodeId) -> Duration;
}
