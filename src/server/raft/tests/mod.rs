//! Replicas against each other in one process, over a transport that can be slow, lossy and cut. The same tests run in
//! the real world and in the simulated one.

mod cluster;
mod disk;
mod hibernating;
mod leading;
mod ledger;
mod measuring;
mod proposing;
mod recovering;
mod roughly;
mod suite;
mod wiping;

use quorate_core::model::NodeId;

/// The three nodes of most tests.
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
