//! What this node shows of its groups: health for the status page, figures for the metrics page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_core::cluster::health::{GroupView, Health, VoterView, health};
use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::Counts;
use quorate_raft::{self as raft, Role};
use quorate_world::time::Instant;

use super::groups::Groups;
use super::seat::Seat;
use crate::admin::{Exposition, GroupStatus};
use crate::peer::{Class, Peers};

/// What is shown, and from where.
pub struct Shown {
    /// This node.
    pub node: NodeId,
    /// The meta group.
    pub seat: Arc<Seat>,
    /// The data groups.
    pub groups: Arc<Groups>,
    /// The others.
    pub peers: Arc<Peers>,
    /// The unit of patience.
    pub election_timeout_ms: u64,
}

impl Shown {
    /// The groups of this node, the meta group first.
    pub fn groups(&self) -> Vec<GroupStatus> {
        let meta = (GroupId::META, self.seat.replica().health());
        let data = self.groups.open().into_iter().map(|(group, replica)| (group, replica.health()));
        std::iter::once(meta).chain(data).map(|(group, seen)| self.status(group, &seen)).collect()
    }

    fn status(&self, group: GroupId, seen: &raft::Health) -> GroupStatus {
        let index = |log_id: Option<quorate_core::model::LogId>| log_id.map_or(0, |log_id| log_id.index.0);
        GroupStatus {
            group,
            leader: seen.leader.map(|leader| (seen.term, leader)),
            health: self.health(seen),
            committed: index(seen.committed),
            applied: index(seen.applied),
            asleep: seen.asleep,
        }
    }

    fn health(&self, seen: &raft::Health) -> Health {
        let contacts = self.peers.contacts();
        let heard_ms_ago = |node: &NodeId| {
            let heard: Option<Instant> = contacts.get(node).and_then(|contact| contact.heard);
            heard.map(|at| at.elapsed().as_millis() as u64)
        };
        let voter = |node: &NodeId| (*node, VoterView { heard_ms_ago: heard_ms_ago(node), follows: None });
        let voters: BTreeMap<NodeId, VoterView> = seen.members.voters.iter().map(voter).collect();
        health(&GroupView {
            me: self.node,
            voters,
            leader: seen.leader.map(|leader| (seen.term, leader)),
            quorum_ms_ago: seen
                .quorum_silent_for
                .filter(|_| seen.role == Role::Leader)
                .map(|ago| ago.as_millis() as u64),
            election_timeout_ms: self.election_timeout_ms,
        })
    }

    /// Writes the figures of groups and peers.
    pub fn write(&self, page: &mut Exposition) {
        let groups = self.groups();
        let named: Vec<(String, &GroupStatus)> = groups.iter().map(|seen| (seen.group.to_string(), seen)).collect();
        let mut family = page.gauge("quorate_group_health", "0 healthy to 5 quorum lost, by urgency");
        for (group, seen) in &named {
            family = family.sample(&[("group", group)], seen.health as u64);
        }
        let mut family = page.gauge("quorate_group_leader_node", "node id of the leader, 0 if none is known");
        for (group, seen) in &named {
            family = family.sample(&[("group", group)], seen.leader.map_or(0, |(_, leader)| leader.0));
        }
        let mut family = page.gauge("quorate_group_unapplied_entries", "committed entries that are not applied here");
        for (group, seen) in &named {
            family = family.sample(&[("group", group)], seen.committed.saturating_sub(seen.applied));
        }
        let mut family = page.gauge("quorate_group_applied_index", "index of the last log entry that is applied here");
        for (group, seen) in &named {
            family = family.sample(&[("group", group)], seen.applied);
        }
        let mut family = page.gauge("quorate_group_asleep", "1 if the group was idle and sleeps");
        for (group, seen) in &named {
            family = family.sample(&[("group", group)], u64::from(seen.asleep));
        }
        self.write_counts(page);
        self.write_peers(page);
    }

    /// What the replicas here hold; the same on every node that has applied the same.
    fn write_counts(&self, page: &mut Exposition) {
        let counts: Vec<(String, Counts)> = self
            .groups
            .open()
            .into_iter()
            .map(|(group, replica)| (group.to_string(), replica.read(|state| state.counts())))
            .collect();
        type Count = fn(&Counts) -> u64;
        let families: [(&str, &str, Count); 5] = [
            ("quorate_group_sessions", "global transactions that have not ended", |counts| counts.sessions),
            ("quorate_group_branches", "branches of those", |counts| counts.branches),
            ("quorate_group_row_locks", "rows locked in this lock home", |counts| counts.row_locks),
            ("quorate_group_tombstones", "ended transactions that are remembered", |counts| counts.tombstones),
            ("quorate_group_state_bytes", "memory of all that, roughly", |counts| counts.bytes),
        ];
        for (name, help, count) in families {
            let mut family = page.gauge(name, help);
            for (group, counts) in &counts {
                family = family.sample(&[("group", group)], count(counts));
            }
        }
    }

    fn write_peers(&self, page: &mut Exposition) {
        let counters = self.peers.counters();
        let counted = [
            ("quorate_peer_frames_wrong_total", "connections closed for a wrong frame", &counters.frames_wrong),
            ("quorate_peer_hellos_refused_total", "hellos of other nodes refused here", &counters.hellos_refused),
            ("quorate_peer_calls_full_total", "calls refused because a queue was full", &counters.calls_full),
            ("quorate_peer_calls_timed_out_total", "calls without an answer in time", &counters.calls_timed_out),
        ];
        for (name, help, count) in counted {
            page.counter(name, help).value(count.load(Ordering::Relaxed));
        }
        let contacts: Vec<(NodeId, String, bool)> =
            self.peers.contacts().iter().map(|(node, contact)| (*node, node.to_string(), contact.silent)).collect();
        let mut family =
            page.gauge("quorate_peer_silent", "1 if nothing has come from the node for two election timeouts");
        for (_, name, silent) in &contacts {
            family = family.sample(&[("node", name)], u64::from(*silent));
        }
        let mut family = page.gauge("quorate_peer_waiting_bytes", "bytes that wait to be written to the node");
        for (node, name, _) in &contacts {
            let waiting: BTreeMap<Class, usize> = self.peers.waiting_bytes(*node);
            family = family.sample(&[("node", name)], waiting.values().sum::<usize>() as u64);
        }
    }
}
