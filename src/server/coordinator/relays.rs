//! How much another node is asked at a time to ask RMs of its own: turns of the RM there, and of the way to that node.
//!
//! A relayed question waits there for its RM, and counts meanwhile among all that the node is asked: without a bound one RM that
//! hangs would fill that, and no forwarded request, acquire or release would get through between the two nodes. So here too
//! a resource of an RM has more turns with its answers, and fewer when it is silent (`turns`); a question takes a turn for
//! each begun [`TURN_BYTES`], which bounds what waits at the other node in memory. A process has a share of the way and no
//! more, however many resources it has: one that hangs leaves the rest to the others. Whoever waits, waits here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::{NodeId, limits};
use quorate_world::linger::narrow;
use quorate_world::sync::Semaphore;

use super::guard::locked;
use super::message::RelayV1;
use super::turns::{self, Bounds, CHANNEL_MAX, NODE_MAX, RESOURCE_MAX, Turns};

/// Of one node. More than its RM has turns there, and all far below what a node serves at a time. The longest question takes
/// all that its resource has at least: so they may take 128 MiB there, all others 64 MiB.
pub const BOUNDS: Bounds = Bounds { resource_min: 32, resource_max: 256, process: 512, all: 4_096 };
/// The same in runs of the simulation where it is little.
const NARROW: Bounds = Bounds { resource_min: 1, resource_max: 2, process: 2, all: 3 };
/// So long a question takes one turn.
const TURN_BYTES: usize = 16 << 10;

const _: () = assert!(BOUNDS.all / BOUNDS.resource_min * limits::APPLICATION_DATA_BYTES_MAX <= 128 << 20);
const _: () = assert!(BOUNDS.resource_max > RESOURCE_MAX && BOUNDS.all <= NODE_MAX);
// More than a connection has there, and some of its resources may hang.
const _: () = assert!(BOUNDS.process > CHANNEL_MAX && BOUNDS.process >= 2 * BOUNDS.resource_max);
const _: () = assert!(BOUNDS.process * 8 <= BOUNDS.all);

/// What a node asks of another one.
pub fn bounds() -> Bounds {
    narrow("relays", BOUNDS, NARROW)
}

/// The ways to all other nodes.
pub struct Relays {
    bounds: Bounds,
    ways: Mutex<BTreeMap<NodeId, Arc<Turns>>>,
    /// Turns over all of them.
    pub all: Semaphore,
}

impl Relays {
    /// Nobody is asked.
    pub fn new(bounds: Bounds) -> Relays {
        Relays { bounds, ways: Mutex::default(), all: turns::of_node() }
    }

    /// The turns of the way to a node.
    pub fn way(&self, node: NodeId) -> Arc<Turns> {
        let fresh = || Arc::new(Turns::within(self.bounds));
        locked(&self.ways).entry(node).or_insert_with(fresh).clone()
    }

    /// The node is no more.
    pub fn forget(&self, node: NodeId) {
        locked(&self.ways).remove(&node);
    }
}

/// Whose turns a question takes: those of the resource of the RM that it is for, for of several processes one may hang.
pub fn whose(request: &RelayV1) -> String {
    format!("{} of {}", request.resource, request.client)
}

/// How many turns a question takes.
pub fn turns_of(request: &RelayV1) -> usize {
    let RelayV1 { resource, application_data, client, address, .. } = request;
    1 + (resource.len() + application_data.len() + client.len() + address.len()) / TURN_BYTES
}
