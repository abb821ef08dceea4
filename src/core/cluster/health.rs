//! How a group is, in one place, by one function (semantics, end of section 10.4).
//!
//! It judges what one node sees. Several groups of one node that fail alike are one report about the node: that is
//! for who shows it.

use alloc::collections::BTreeMap;
use core::fmt;

use crate::model::{NodeId, Term};

/// How a group is. The order is the urgency of recovery, the least urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Health {
    /// The leader is known and every voter is in contact.
    Healthy,
    /// The leader has a quorum, some voter is silent.
    FollowerDown,
    /// Not enough is known.
    Unknown,
    /// No leader is known, a quorum of voters is reachable: an election will bring one.
    LeaderDown,
    /// Reachable voters disagree on the leader, or the leader has no contact with a quorum.
    NetworkPartition,
    /// Fewer than a majority of voters is reachable: nothing goes on without repair.
    QuorumLost,
}

/// What one node sees of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupView {
    /// Who looks.
    pub me: NodeId,
    /// Every voter; the looking node is one only if it votes.
    pub voters: BTreeMap<NodeId, VoterView>,
    /// The leader by this node's own knowledge, and its term.
    pub leader: Option<(Term, NodeId)>,
    /// If this node leads: how long ago a quorum acknowledged it.
    pub quorum_ms_ago: Option<u64>,
    /// A voter is silent beyond twice this; so is a quorum.
    pub election_timeout_ms: u64,
}

/// What is known of one voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VoterView {
    /// How long ago it was heard; None if never. Of itself a node hears always.
    pub heard_ms_ago: Option<u64>,
    /// The leader it follows and the term, as it last said; None if it did not say or knows none.
    pub follows: Option<(Term, NodeId)>,
}

/// Classifies one group.
pub fn health(view: &GroupView) -> Health {
    if view.voters.is_empty() {
        return Health::Unknown;
    }
    let limit_ms = 2 * view.election_timeout_ms;
    let reachable = || {
        let heard = |node: NodeId, voter: &VoterView| {
            node == view.me || voter.heard_ms_ago.is_some_and(|ago_ms| ago_ms <= limit_ms)
        };
        view.voters.iter().filter(move |(node, voter)| heard(**node, voter))
    };
    let count = reachable().count();
    let leading = view.leader.is_some_and(|(_, leader)| leader == view.me);
    if count < view.voters.len() / 2 + 1 {
        return Health::QuorumLost;
    }
    if leading && view.quorum_ms_ago.is_some_and(|ago_ms| ago_ms > limit_ms) {
        return Health::NetworkPartition;
    }
    let mut said = reachable().filter_map(|(_, voter)| voter.follows).chain(view.leader);
    let first = said.next();
    if said.any(|other| Some(other) != first) {
        return Health::NetworkPartition;
    }
    match first {
        None => Health::LeaderDown,
        Some(_) if count < view.voters.len() => Health::FollowerDown,
        Some(_) => Health::Healthy,
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Health::Healthy => "HEALTHY",
            Health::FollowerDown => "FOLLOWER_DOWN",
            Health::Unknown => "UNKNOWN",
            Health::LeaderDown => "LEADER_DOWN",
            Health::NetworkPartition => "NETWORK_PARTITION",
            Health::QuorumLost => "QUORUM_LOST",
        })
    }
}
