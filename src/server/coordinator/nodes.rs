//! The way to the coordinators of other nodes.

use bytes::Bytes;
use quorate_core::codec;
use quorate_core::model::{GroupId, NodeId};
use quorate_world::time::Duration;

use super::message::{Query, Response};
use crate::peer::{BoxFuture, CallError, Kind, Peers};

/// Carries bodies of kind 64 to other nodes. The peer port in production; in tests, the neighbour in the same process.
pub trait Nodes: Send + Sync + 'static {
    /// Asks `to` and waits for its answer.
    fn call(
        &self,
        to: NodeId,
        group: GroupId,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, CallError>>;
    /// Tells `to` and waits for nothing. May be lost.
    fn cast(&self, to: NodeId, group: GroupId, body: Bytes);
}

impl Nodes for Peers {
    fn call(
        &self,
        to: NodeId,
        group: GroupId,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(Peers::call(self, to, Kind::Coordinator, group, body, timeout))
    }

    fn cast(&self, to: NodeId, group: GroupId, body: Bytes) {
        // Only hints are cast; a lost one costs nobody anything but time.
        _ = Peers::cast(self, to, Kind::Coordinator, group, body);
    }
}

/// Asks a node. After an error, what was asked may have been done all the same.
pub async fn ask(
    nodes: &dyn Nodes,
    to: NodeId,
    group: GroupId,
    query: &Query,
    timeout: Duration,
) -> Result<Response, CallError> {
    let malformed = |error: codec::CodecError| CallError::Refused(error.to_string());
    let answer = nodes.call(to, group, query.to_bytes().map_err(malformed)?, timeout).await?;
    codec::decode(&answer).map_err(malformed)
}

/// Tells a node something that needs no answer.
pub fn tell(nodes: &dyn Nodes, to: NodeId, group: GroupId, query: &Query) {
    if let Ok(body) = query.to_bytes() {
        nodes.cast(to, group, body);
    }
}
