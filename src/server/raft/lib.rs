//! Consensus: everything that names openraft, behind an API that does not.
//!
//! A [`Replica`] is this node's member of one raft group and holds one [`Machine`], the replicated state. Whoever wants
//! something changed proposes a command to it and gets the command's own outcome back; whoever wants to know
//! something reads the applied state, after [`Replica::confirm`] if it must not be old.
//!
//! Read in this order: `machine` (what a replicated state is), `replica` (what can be asked of it), `proposer` (how
//! commands become log entries), `reads`, `keeper` (leadership and snapshots), `hibernation` (idle groups), then the adapters,
//! each the mirror of one openraft trait: `types`, `log_store`, `state_machine`, `network`; last `message` and `entry`, our own
//! forms on the wire and on the disk.
//!
//! Deliberately not here: what a command means (`core::txn`, `core::cluster`), sockets (`Transport` is implemented by the
//! peer port) and files (`quorate-storage`). openraft's generic core is compiled once, in this package: the state machine it
//! sees is type-erased (`state_machine`), and its serde forms are switched off, so they cannot reach a disk or a wire.

pub mod entry;
pub mod events;
pub mod machine;
pub mod options;
mod past;
pub mod replica;
pub mod replicas;
pub mod transport;

mod clock;
mod hibernation;
mod keeper;
mod life;
mod log_store;
mod message;
mod network;
mod proposer;
mod reads;
mod snapshot;
mod state_machine;
mod types;

#[cfg(test)]
mod tests;

pub use machine::Machine;
pub use options::RaftOptions;
pub use proposer::Pending;
pub use replica::{
    Health, Leadership, Members, MembersChange, MembersNow, MembershipError, NotLeader, Progress, ProposeError,
    Replica, Role,
};
pub use replicas::{OpenError, Replicas, ServeError};
pub use transport::{BoxFuture, RaftRpc, Sign, Transport, TransportError};
