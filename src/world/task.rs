//! Tasks, and threads of their own for those who block.
//!
//! No task dies alone: with [`crate::process::install_panic_hook`] a panic in any of them ends the process, and in the
//! simulation it ends the simulated process the same way. So nobody waits for a task that will never answer.

use std::fmt;

#[cfg(not(madsim))]
pub use crate::real::task::{JoinHandle, spawn, spawn_owned_thread, yield_now, yield_owned_thread};
#[cfg(madsim)]
pub use crate::simulated::task::{JoinHandle, spawn, spawn_owned_thread, yield_now, yield_owned_thread};

/// The task was aborted, or its process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborted;

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was aborted")
    }
}

impl std::error::Error for Aborted {}
