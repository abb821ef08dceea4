//! The one port between nodes.
//!
//! For every ordered pair of nodes up to three connections, one for each [`Class`], opened by the one who asks; the
//! answers come back on the same. So a snapshot holds up no heartbeat, and a flood of requests no append. Read in this
//! order: `kind`, `frame` (bytes), `hello` and `shake` (who may speak), `outgoing` (what waits to be written), `pending` (who
//! waits for an answer), `link` (a connection we open), `serve` (one we accept), `neighbour` (one other node), `peers` (what can
//! be asked), `stranger` (a node that has no id yet).
//!
//! Every question has a deadline at the asker. What waits for a node is bounded in bytes, and at the bound the asker
//! is told at once. A node that has sent nothing for two election timeouts is silent: everything pending on it is
//! answered.
//!
//! Not here: what the bodies say. Raft, the coordinator and the founding each have their own messages.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use quorate_core::model::{GroupId, NodeId};

pub mod frame;
pub mod hello;
pub mod kind;
mod link;
mod neighbour;
mod outgoing;
mod peers;
mod pending;
mod refused;
mod serve;
mod shake;
mod stranger;
#[cfg(test)]
mod tests;

pub use hello::{HelloRefusal, HelloV1, Own};
pub use kind::{Class, Kind};
pub use neighbour::Contact;
pub use peers::{Counters, PeerOptions, Peers};
pub use stranger::{AskError, ask_as_stranger};

/// A future that may be sent to another thread.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How a call to another node fails. A call that reached the network may have been done there, except after
/// [`CallError::Full`] and [`CallError::Refused`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or the node has been silent for two election timeouts: nothing was sent.
    #[error("the node is not reachable")]
    Unreachable,
    /// The connection broke, or the node fell silent, before the answer came: it may have been done all the same.
    #[error("the connection broke before the answer came")]
    Broken,
    /// No answer within the deadline.
    #[error("no answer in time")]
    TimedOut,
    /// The queue to that node is at its bound; nothing was done.
    #[error("too much is waiting for that node")]
    Full,
    /// The node answered with an error.
    #[error("{0}")]
    Refused(String),
}

/// Serves what other nodes ask.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Where none is wanted the answer is dropped.
    fn handle(&self, from: NodeId, kind: Kind, group: GroupId, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;

    /// Answers the one request of a node that has no id yet.
    fn handle_stranger(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;
}
