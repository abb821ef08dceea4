//! What a node still owes a group that was taken off it, and has come back.
//!
//! Raft counts on a voter's vote, and on its refusing whoever lacks what it has acknowledged. A replica that is wiped and
//! made again would keep neither. Storage keeps the vote, and where the log ended; here the second is held to, until the log
//! reaches as far again: this replica neither votes for one that is further behind, nor stands for election. Without that a
//! member that has slept through the change, and still counts this node among the voters, is elected by the two of them,
//! and what was committed since is lost.

use openraft::async_runtime::watch::WatchReceiver;
use quorate_core::model::LogId;
use quorate_storage::LogState;

use crate::types::{self, Raft};

/// Where the log of this replica ended when its group was last taken off this node, if it was.
#[derive(Clone, Copy)]
pub(crate) struct Past(Option<LogId>);

impl Past {
    /// As storage knows it at the start of the replica, and nothing if its log reaches as far already.
    pub fn of(state: &LogState) -> Past {
        Past(state.had.filter(|had| state.last < Some(*had)))
    }

    /// Whether all that was acknowledged here once was here already at the start.
    pub fn is_over(self) -> bool {
        self.0.is_none()
    }

    /// Whether all that was acknowledged here once is here.
    pub fn is_reached(self, raft: &Raft) -> bool {
        self.0.is_none_or(|had| {
            let metrics = raft.data_metrics();
            let last = metrics.borrow_watched().last_log;
            last.is_some_and(|last| types::our_log_id(&last) >= had)
        })
    }

    /// Whether a candidate whose log ends there may be voted for, as far as it depends on what was here once.
    pub fn allows(self, candidate: Option<LogId>, raft: &Raft) -> bool {
        candidate >= self.0 || self.is_reached(raft)
    }

    /// Lets the replica stand for election as soon as it may.
    pub async fn wait(self, raft: Raft) {
        let mut metrics = raft.data_metrics();
        while !self.is_reached(&raft) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
        raft.runtime_config().elect(true);
    }
}
