//! The replicated transaction state machine of a data group: sessions, branches, row locks, tombstones, ids, clock.
//!
//! Pure and synchronous: [`Transactions::apply`] is the only way to change it, on leader and follower alike, and
//! everything a change depends on is in the command or in the state. Not here: raft, time, who sends what to whom.

pub mod answer;
pub mod command;
pub mod outcome;
pub mod status;

pub use command::{Batch, Command, Stamp};
pub use outcome::{Conflict, IdBlock, Outcome, Refusal};
