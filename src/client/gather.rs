//! Requests that wait a moment for others, to leave with them in one merged frame: as stock Java clients send theirs.
//!
//! A queue for each node that is asked for, and one for whoever asks any. The first request of a queue waits, then all that
//! is there leaves, though it be one alone (protocol, section 5.4). Java picks a node before it queues; here one is picked for
//! the whole frame.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_core::model::limits::MERGED_REQUESTS_MAX;
use quorate_core::wire::ClientVersion;
use quorate_world::time::{Duration, sleep};

use crate::connection::Asked;

/// See the page. As long as its requests may wait: each has somebody who waits for it.
pub struct Gather {
    window: Duration,
    with_ids: bool,
    queues: Mutex<BTreeMap<Option<String>, Vec<Asked>>>,
}

impl Gather {
    /// Waits for so long each time.
    pub fn new(window: Duration, version: ClientVersion) -> Gather {
        Gather { window, with_ids: version >= ClientVersion::V1_5, queues: Mutex::default() }
    }

    /// Whether merged frames have ids.
    pub fn with_ids(&self) -> bool {
        self.with_ids
    }

    /// Queues a request. True: it is the first, and somebody has to send [`Gather::frames`].
    pub fn add(&self, to: Option<&str>, asked: Asked) -> bool {
        let mut queues = self.queues();
        let queue = queues.entry(to.map(str::to_owned)).or_default();
        queue.push(asked);
        queue.len() == 1
    }

    /// What is there when the time is over, in frames that are not too large.
    pub async fn frames(&self, to: Option<&str>) -> Vec<Vec<Asked>> {
        sleep(self.window).await;
        let mut left = self.queues().remove(&to.map(str::to_owned)).unwrap_or_default();
        let mut frames = Vec::new();
        while !left.is_empty() {
            let rest = left.split_off(left.len().min(MERGED_REQUESTS_MAX));
            frames.push(std::mem::replace(&mut left, rest));
        }
        frames
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Vec<Asked>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
