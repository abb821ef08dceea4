//! The coordinator: requests of clients become commands of a group, outcomes become replies, decisions become phase two.
//!
//! The loop, whole. The listener hands over decoded frames ([`Coordinator::receive`]). `request` turns a message into an
//! [`ask::Ask`] (`merged`: several in one frame); `route` finds the slot's group and serves it here, if this node leads the group, or forwards it once to the
//! leader, or parks it until there is one. Served here means: `begin`, `register`, `decide` or `query`, each of which
//! proposes a command to the group's replica and reads the outcome. `reply` turns what came of it into the message that
//! the client's version understands, and it leaves on the connection it came in on.
//!
//! Leading is a `tenure`: what a leader remembers beside the replicated state. `term` follows raft: a tenure begins when
//! the leader's `Lead` is applied, and with it its `timers`, the `driver`s of every unfinished transaction, the `audit` of old
//! locks; it ends with the leadership, and everything volatile with it. `locks` and `release` are the two sides of the row
//! locks, whose home may be another group on another node; `serve` is the door for other nodes, `message` their
//! language; `announce` tells them which RMs this node holds; `undo_log` asks those for what Seata asks them daily; `console`
//! is what an operator is shown, of all groups; `lost_tm` is the early rollback that he may ask for, `meters` what is counted as
//! Seata counts it, for those who want that.
//!
//! What clients can make a node hold is bounded: `in_hand` for requests, `outbox` and `outboxes` for what is on its way to
//! them, `memory` for transactions, `channels` for resources;
//! what an RM gets at a time by `turns`, and what another node gets to pass on to its RMs by `relays`.
//! `access` says who may register.
//!
//! What is decided stands in `quorate_core::txn` and `phase_two`; here is nothing but who does what, when.
//! Deliberately not here: sockets and frames (`listener`), connections between nodes (`peer`), HTTP (`admin`).

pub mod ask;
pub mod channel;
pub mod channels;
pub mod console;
pub mod counters;
pub mod events;
pub mod in_hand;
pub mod mask;
pub mod message;
pub mod nodes;
pub mod outbox;
pub mod outboxes;

mod access;
mod announce;
mod audit;
mod begin;
mod context;
mod dealer;
mod decide;
mod disk_room;
mod driver;
mod drives;
mod guard;
mod holders;
mod homes;
mod led;
mod locks;
mod lost_tm;
mod memory;
mod merged;
mod meters;
mod planted;
mod query;
mod receive;
mod register;
mod relays;
mod release;
mod reply;
mod request;
mod route;
mod seldom;
mod serve;
mod slots;
mod tenure;
mod term;
mod timers;
mod turns;
mod undo_log;

#[cfg(test)]
mod tests;

pub use access::{Access, extra_data};
pub use channel::Channel;
pub use context::{Coordinator, CoordinatorContext};
pub use counters::Counts;
pub use disk_room::DiskRoom;
pub use merged::UNKNOWN_WHETHER_DONE;
pub use nodes::Nodes;
pub use outbox::Outbox;
