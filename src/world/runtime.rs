//! The executor under it all, and its face towards openraft.

use std::future::Future;

#[cfg(not(madsim))]
use crate::real::runtime as at_hand;
#[cfg(madsim)]
use crate::simulated::runtime as at_hand;

/// The runtime that openraft is built on.
#[cfg(not(madsim))]
pub type OpenraftRuntime = openraft_rt_tokio::TokioRuntime;
/// The runtime that openraft is built on.
#[cfg(madsim)]
pub type OpenraftRuntime = crate::simulated::openraft::SimulatedRuntime;

/// How the executor of a process is built.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeOptions {
    /// Worker threads; as many as there are cores if none are given.
    pub workers: Option<usize>,
}

/// Runs `main` as the whole of a process and returns what it returns.
pub fn block_on_main<F: Future>(main: F) -> F::Output {
    block_on_main_with(RuntimeOptions::default(), main)
}

/// Like [`block_on_main`], with options.
pub fn block_on_main_with<F: Future>(options: RuntimeOptions, main: F) -> F::Output {
    at_hand::block_on_main(options, main)
}

/// Runs one test in a world of its own: two workers and the real world, or a calm simulated one with seed 1.
pub fn run_test<F: Future>(test: F) -> F::Output {
    at_hand::run_test(test)
}

/// An empty folder for the disks of one test. It stays when the test is over, for a node that ends may still write
/// there; the next process that wants one removes those of processes that are gone.
pub fn test_folder() -> String {
    at_hand::test_folder()
}
