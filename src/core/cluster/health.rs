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
    // A voter that is alone is its own quorum, and acknowledges nothing to itself.
    if leading && view.voters.len() > 1 && view.quorum_ms_ago.is_some_and(|ago_ms| ago_ms > limit_ms) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: Term = Term(3);

    /// Three voters as node 1 sees them: `heard` ms ago, and whom the two others follow.
    fn view(
        heard: [Option<u64>; 2],
        follows: [Option<(Term, NodeId)>; 2],
        leader: Option<(Term, NodeId)>,
    ) -> GroupView {
        let voter = |index: usize| VoterView { heard_ms_ago: heard[index], follows: follows[index] };
        GroupView {
            me: NodeId(1),
            voters: BTreeMap::from([(NodeId(1), VoterView::default()), (NodeId(2), voter(0)), (NodeId(3), voter(1))]),
            leader,
            quorum_ms_ago: None,
            election_timeout_ms: 500,
        }
    }

    const NEAR: Option<u64> = Some(100);
    const SILENT: Option<u64> = Some(1_001);
    const LED: Option<(Term, NodeId)> = Some((T, NodeId(1)));

    #[test]
    fn each_state_has_its_sign() {
        assert_eq!(health(&view([NEAR, NEAR], [LED, LED], LED)), Health::Healthy);
        assert_eq!(health(&view([NEAR, SILENT], [LED, LED], LED)), Health::FollowerDown);
        assert_eq!(health(&view([NEAR, None], [LED, None], LED)), Health::FollowerDown);
        assert_eq!(health(&view([NEAR, NEAR], [None, None], None)), Health::LeaderDown);
        assert_eq!(health(&view([SILENT, SILENT], [LED, LED], LED)), Health::QuorumLost);
        let other = Some((Term(4), NodeId(2)));
        assert_eq!(health(&view([NEAR, NEAR], [other, other], LED)), Health::NetworkPartition);
        let nothing = GroupView { voters: BTreeMap::new(), ..view([NEAR, NEAR], [LED, LED], LED) };
        assert_eq!(health(&nothing), Health::Unknown);
    }

    #[test]
    fn a_leader_without_acknowledgement_is_cut_off() {
        let mut cut_off = view([NEAR, NEAR], [None, None], LED);
        cut_off.quorum_ms_ago = Some(1_001);
        assert_eq!(health(&cut_off), Health::NetworkPartition);
        cut_off.quorum_ms_ago = Some(1_000);
        assert_eq!(health(&cut_off), Health::Healthy);
    }

    #[test]
    fn what_a_silent_voter_said_does_not_count() {
        let other = Some((Term(2), NodeId(3)));
        assert_eq!(health(&view([NEAR, SILENT], [LED, other], LED)), Health::FollowerDown);
    }

    #[test]
    fn one_node_alone_is_healthy_when_it_leads() {
        let alone = GroupView {
            voters: BTreeMap::from([(NodeId(1), VoterView::default())]),
            // Raft counts acknowledgements of others only, so this one grows old.
            quorum_ms_ago: Some(90_000),
            ..view([None, None], [None, None], LED)
        };
        assert_eq!(health(&alone), Health::Healthy);
    }

    proptest! {
        #[test]
        fn a_minority_is_always_quorum_lost_and_a_majority_never(
            heard in proptest::collection::vec(proptest::option::of(0u64..3_000), 0..5),
            led in proptest::bool::ANY,
        ) {
            let mut voters: BTreeMap<NodeId, VoterView> = (2u64..)
                .zip(&heard)
                .map(|(node, heard_ms_ago)| (NodeId(node), VoterView { heard_ms_ago: *heard_ms_ago, follows: None }))
                .collect();
            voters.insert(NodeId(1), VoterView::default());
            let reachable = 1 + heard.iter().flatten().filter(|ago_ms| **ago_ms <= 1_000).count();
            let total = voters.len();
            let leader = led.then_some((T, NodeId(1)));
            let view = GroupView { me: NodeId(1), voters, leader, quorum_ms_ago: None, election_timeout_ms: 500 };
            prop_assert_eq!(health(&view) == Health::QuorumLost, reachable * 2 <= total);
        }
    }
}
