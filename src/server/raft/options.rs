//! The settings of raft, and their translation into openraft's.
//!
//! What is not a setting: pre-vote is on, a restarted leader never resumes without an election (it would serve from a
//! state that was not replayed), and openraft's own snapshot policy is off, because ours counts bytes too.

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};
use quorate_core::model::GroupId;
use quorate_world::time::Duration;

/// How often openraft looks at the clock, as a share of the heartbeat: 13/64.
const TICK_SHARE: (u64, u64) = (13, 64);

/// The settings of all groups of a node (design, sections 10.2 and 10.3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RaftOptions {
    /// A leader shows itself this often.
    pub heartbeat_ms: u64,
    /// A follower waits between this and twice this for its leader; at least 3 heartbeats.
    pub election_timeout_ms: u64,
    /// Commands in one proposed entry.
    pub batch_commands_max: usize,
    /// Bytes of one proposed entry; a larger command goes alone.
    pub batch_bytes_max: usize,
    /// Entries proposed and not yet applied, per group.
    pub batches_in_flight_max: usize,
    /// Commands that wait for their turn, per group; beyond, [`crate::ProposeError::Full`].
    pub proposals_waiting_max: usize,
    /// Bytes of commands that wait for their turn, per group; beyond, [`crate::ProposeError::Full`].
    pub proposals_waiting_bytes_max: usize,
    /// A snapshot after this many entries,
    pub snapshot_entries: u64,
    /// or after this many bytes of log, or as many as the last snapshot has, if those are more,
    pub snapshot_log_bytes: u64,
    /// or after this time if anything was applied; `None`: never.
    pub snapshot_interval: Option<Duration>,
    /// Entries that stay in the log behind a snapshot, so that a follower close behind needs none.
    pub snapshot_log_entries_kept: u64,
    /// A group that was idle for so long sleeps (`hibernation`); `None`: never.
    pub hibernate_after: Option<Duration>,
    /// Groups that load and replay at a time when a node starts.
    pub groups_opening_max: usize,
}

impl Default for RaftOptions {
    fn default() -> Self {
        RaftOptions {
            heartbeat_ms: 150,
            election_timeout_ms: 500,
            batch_commands_max: 512,
            batch_bytes_max: 256 << 10,
            batches_in_flight_max: 4,
            proposals_waiting_max: 16_384,
            proposals_waiting_bytes_max: 32 << 20,
            snapshot_entries: 50_000,
            snapshot_log_bytes: 32 << 20,
            snapshot_interval: None,
            snapshot_log_entries_kept: 1_000,
            hibernate_after: None,
            groups_opening_max: 4,
        }
    }
}

impl RaftOptions {
    /// The longest a follower waits before it stands for election; also how long a leader's lease runs.
    pub fn election_timeout_max(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms * 2)
    }

    /// A leader that no quorum has answered for so long leads no longer, as far as its node is concerned.
    pub fn quorum_patience(&self) -> Duration {
        self.election_timeout_max() * 2
    }

    /// The shortest a follower waits before it stands for election.
    pub fn election_timeout_min(&self) -> Duration {
        Duration::from_millis(self.election_timeout_ms)
    }

    /// Says what is wrong with the settings, in the words of the configuration file.
    pub fn check(&self) -> Result<(), String> {
        if self.heartbeat_ms == 0 || self.election_timeout_ms < 3 * self.heartbeat_ms {
            return Err(format!(
                "raft.election_timeout_ms ({}) must be at least 3 times raft.heartbeat_ms ({}), which must not be 0",
                self.election_timeout_ms, self.heartbeat_ms
            ));
        }
        let bounds = [
            ("raft.batch_commands_max", self.batch_commands_max),
            ("raft.batch_bytes_max", self.batch_bytes_max),
            ("raft.batches_in_flight_max", self.batches_in_flight_max),
            ("proposals_waiting_max", self.proposals_waiting_max),
            ("proposals_waiting_bytes_max", self.proposals_waiting_bytes_max),
            ("groups_opening_max", self.groups_opening_max),
        ];
        match bounds.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!("{name} must not be 0")),
            None => Ok(()),
        }
    }

    /// A heartbeat is left out while entries flow, but never so long that a follower becomes impatient: openraft asks
    /// that heartbeat, this pause and one tick together stay below the shortest election timeout.
    fn heartbeat_pause_ms(&self) -> u64 {
        let tick_ms = (self.heartbeat_ms * TICK_SHARE.0 / TICK_SHARE.1).max(1);
        let room_ms = self.election_timeout_ms.saturating_sub(self.heartbeat_ms + tick_ms + 1);
        room_ms.min(self.heartbeat_ms)
    }

    pub(crate) fn openraft(&self, group: GroupId) -> Arc<Config> {
        Arc::new(Config {
            cluster_name: format!("g{group}"),
            heartbeat_interval: self.heartbeat_ms,
            heartbeat_min_interval: Some(self.heartbeat_pause_ms()),
            election_timeout_min: self.election_timeout_ms,
            election_timeout_max: self.election_timeout_ms * 2,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.snapshot_log_entries_kept,
            // Bounds the wait for one chunk; the network adapter sends chunks and has deadlines of its own.
            install_snapshot_timeout: self.election_timeout_ms * 2,
            ..Config::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_legal() {
        let options = RaftOptions::default();
        options.check().expect("our own defaults");
        let config = (*options.openraft(GroupId(3))).clone().validate().expect("openraft takes them");
        assert_eq!((config.election_timeout_min, config.election_timeout_max), (500, 1_000));
        assert_eq!(config.heartbeat_min_interval, Some(150));
    }

    #[test]
    fn a_heartbeat_is_never_left_out_for_too_long() {
        for (heartbeat_ms, election_timeout_ms) in [(150, 500), (150, 450), (100, 300), (20, 60), (1, 3)] {
            let options = RaftOptions { heartbeat_ms, election_timeout_ms, ..RaftOptions::default() };
            let tick_ms = (heartbeat_ms * 13 / 64).max(1);
            assert!(
                heartbeat_ms + options.heartbeat_pause_ms() + tick_ms
                    < election_timeout_ms.max(heartbeat_ms + tick_ms + 1)
            );
        }
    }

    #[test]
    fn impatient_elections_and_zeros_are_refused() {
        let hasty = RaftOptions { heartbeat_ms: 200, election_timeout_ms: 500, ..RaftOptions::default() };
        assert!(hasty.check().expect_err("less than 3 heartbeats").contains("raft.election_timeout_ms"));
        let idle = RaftOptions { batches_in_flight_max: 0, ..RaftOptions::default() };
        assert!(idle.check().expect_err("nothing could be proposed").contains("batches_in_flight_max"));
    }
}
