//! Waiting for file descriptors.
//!
//! Without one left, opening fails before anything has happened, so it can be tried again, and nothing is lost: the log waits
//! as it does at a full device. Others close connections meanwhile, and the node says that it is not ready.
//!
//! Not here: the error of anything but opening. A failed write or sync is never repeated.

use crate::error::{StorageError, Tried};
use core::sync::atomic::{AtomicUsize, Ordering};
use quorate_world::disk::is_out_of_descriptors;
use quorate_world::time::{Duration, sleep};
use std::io;

const RETRY: Duration = Duration::from_millis(500);

/// Who waits for a descriptor, of one node.
#[derive(Default)]
pub(crate) struct Descriptors {
    waiting: AtomicUsize,
}

/// Counts one that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Descriptors {
    /// Whether anybody waits.
    pub fn are_missing(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Opens something, or syncs a folder, which opens it: again and again while there is no descriptor for it.
    pub async fn wait_for<T, F>(&self, what: &str, mut open: impl FnMut() -> F) -> Result<T, StorageError>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut waiting = None;
        loop {
            match open().await {
                Err(error) if is_out_of_descriptors(&error) => {
                    if waiting.is_none() {
                        quorate_core::sometimes!("storage_waits_for_a_file_descriptor");
                        tracing::error!("storage: {what}: {error}: trying again until others are closed");
                        self.waiting.fetch_add(1, Ordering::Relaxed);
                        waiting = Some(Waiting(&self.waiting));
                    }
                    sleep(RETRY).await;
                }
                done => return done.tried(what),
            }
        }
    }
}
