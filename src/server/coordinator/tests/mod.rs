//! The coordinator over real replicas, in one process: hand-made channels in front, raft and a disk behind, and between
//! nodes a network that can be cut. The same tests run in the real world and in the simulated one.

mod access;
mod at;
mod client;
mod cluster;
mod console;
mod costs;
mod deletion;
mod failover;
mod flood;
mod give_up;
mod golden;
mod lost_tm;
mod meters;
mod operate;
mod relays;
mod saga;
mod stress;
mod tcc;
mod turns;
mod undo_log;
mod xa;

use quorate_core::model::NodeId;

const ONE: [NodeId; 1] = [NodeId(1)];
const THREE: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
