//! The replicated transaction state machine of a data group: sessions, branches, row locks, tombstones, ids, clock.
//!
//! Pure and synchronous: [`Transactions::apply`] is the only way to change it, on leader and follower alike, and
//! everything a change depends on is in the command or in the state. Not here: raft, time, who sends what to whom.

pub mod answer;
pub mod bounds;
pub mod command;
pub mod copy;
pub mod outcome;
#[cfg(feature = "probes")]
mod probes;
pub mod saga;
pub mod status;
pub mod tables;

mod apply;
mod apply_branch;
mod apply_delete;
mod apply_operate;
mod apply_saga;
mod apply_slot;
mod branches;
mod fate;
mod invariants;
mod loader;
mod locks;
mod session;
mod slot;
mod slots;
mod state;
mod unreported;
mod views;

pub use branches::Branches;
pub use command::{Batch, Command, Decision, ReleaseScope, Stamp};
pub use fate::Fate;
pub use outcome::{Conflict, IdBlock, Outcome, Refusal};
pub use session::{Branch, Session};
pub use slot::Ownership;
pub use state::Transactions;
pub use status::Direction;
pub use tables::LoadError;
pub use views::{Counts, HeldRow, HoldView, LockView};

#[cfg(test)]
mod tests;
