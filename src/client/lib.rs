//! The client's side of the Seata protocol: a TM that begins and ends transactions, an RM that owns resources.
//!
//! Three layers, each usable alone: a [`connection::Connection`] to one node (requests, answers, heartbeats), a
//! [`pool::Pool`] that keeps one to every node of a list and picks as stock clients do, and on top of it
//! [`tm::TransactionManager`] and [`rm::ResourceManager`]. The simulation's clients and `quorate bench`  are
//! made of the same parts.
//!
//! Deliberately not here yet: undo logs, the TCC fence, a journal of unfinished transactions.

pub mod connection;
mod gather;
pub mod pool;
pub mod rm;
pub mod tm;

pub mod load;

pub use connection::{CallError, Connection, Speech};
pub use pool::{Application, Pool, Signs};
pub use quorate_compressor::Compressor;
pub use rm::{Branch, Resource, ResourceManager};
pub use tm::{Conclusion, TransactionManager};

#[cfg(test)]
mod merged_tests;
#[cfg(test)]
mod tests;
