//! What the life of a node tells the ghost model of the simulation. Built only there.

use std::fmt;

use quorate_core::cluster::Routing;
use quorate_core::model::NodeId;

/// A node routes by another picture from now on.
pub struct Pictured {
    /// Which node.
    pub node: NodeId,
    /// The picture.
    pub routing: Routing,
}

impl fmt::Debug for Pictured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of it would be long: it is the applied state, which the trace has already.
        write!(f, "Pictured {{ node {}, picture {} }}", self.node, self.routing.picture())
    }
}
