//! What to send next in phase two, to which channel, and when to try again: pure policy over a session.
//!
//! Everything durable is in the session; what the driving leader knows beside it is a [`Run`], lost with the leader. A
//! new leader starts with an empty one and asks again, which RMs have to bear. So there is one way through phase two,
//! not one for the first pass and one for recovery.
//!
//! The driver's loop: [`plan`] says the next [`Step`]; after each answer, each back-off that has passed and each applied
//! command it is asked again. Not here: channels, timers, and the releases owed to lock slots (`txn`, lock protocol 13).

pub mod back_off;
pub mod channel;
mod clean_up;
mod patience;
mod plan;
mod run;
mod undo_log;
mod verdict;

pub use clean_up::direction_of;
pub use patience::Patience;
pub use plan::{Step, is_skipped, plan};
pub use run::Run;
pub use undo_log::UndoLogDeletion;
pub use verdict::{Reply, Verdict, judge, judge_engine};

#[cfg(test)]
mod tests;
