//! The server: one process of the cluster.
//!
//! A request flows one way: listener, wire, coordinator, (peer), raft, storage and peers, apply, and the answer back
//! the same way. Ring 1: everything here acts and decides nothing; what is decided stands in `quorate-core`.

pub mod admin;
pub mod config;
pub mod coordinator;
pub mod exit;
pub mod listener;
mod mac;
mod node;
pub use node::events as node_events;
pub mod peer;

pub use node::run;
