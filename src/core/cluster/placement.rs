//! Which nodes carry which group: replicas spread evenly, and so are the leaders.
//!
//! The first replica is the preferred leader. The others are chosen so that the groups of one leader fall to
//! different nodes when it dies.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::model::{GroupId, NodeId};

/// Voters of the meta group; further nodes follow it as learners.
pub const META_VOTERS_MAX: usize = 5;

/// The replicas of the meta group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaReplicas {
    /// The lowest ids.
    pub voters: Vec<NodeId>,
    /// The rest.
    pub learners: Vec<NodeId>,
}

/// All nodes follow the meta group, up to five of them vote.
pub fn meta_replicas(nodes: &[NodeId]) -> MetaReplicas {
    let mut voters = nodes.to_vec();
    voters.sort_unstable();
    voters.dedup();
    let learners = voters.split_off(voters.len().min(META_VOTERS_MAX));
    MetaReplicas { voters, learners }
}

/// The replicas of each group, preferred leader first. `fixed` groups stay as given and count as load.
/// `replicas` is cut to the number of nodes; without a node a group gets none.
pub fn place(
    nodes: &[NodeId],
    groups: &[GroupId],
    replicas: usize,
    fixed: &BTreeMap<GroupId, Vec<NodeId>>,
) -> BTreeMap<GroupId, Vec<NodeId>> {
    let mut load: Load = nodes.iter().map(|node| (*node, NodeLoad::default())).collect();
    let mut placed = BTreeMap::new();
    for group in groups {
        if let Some(given) = fixed.get(group) {
            add(&mut load, given);
            placed.insert(*group, given.clone());
        }
    }
    for group in groups {
        if !placed.contains_key(group) {
            let chosen = choose(&load, replicas.min(nodes.len()));
            add(&mut load, &chosen);
            placed.insert(*group, chosen);
        }
    }
    placed
}

type Load = BTreeMap<NodeId, NodeLoad>;

#[derive(Default)]
struct NodeLoad {
    leads: usize,
    carries: usize,
    /// How often each other node stands second, third, .. behind this leader.
    followed_by: BTreeMap<NodeId, usize>,
}

fn choose(load: &Load, replicas: usize) -> Vec<NodeId> {
    let leader = load.iter().min_by_key(|(node, load)| (load.leads, load.carries, **node));
    let Some((leader, of_leader)) = leader.filter(|_| replicas > 0) else {
        return Vec::new();
    };
    let mut followers: Vec<(usize, usize, NodeId)> = load
        .iter()
        .filter(|(node, _)| *node != leader)
        .map(|(node, load)| (load.carries, of_leader.followed_by.get(node).copied().unwrap_or(0), *node))
        .collect();
    followers.sort_unstable();
    let mut chosen: Vec<NodeId> = followers.into_iter().take(replicas - 1).map(|(_, _, node)| node).collect();
    chosen.insert(0, *leader);
    chosen
}

fn add(load: &mut Load, replicas: &[NodeId]) {
    for node in replicas {
        load.entry(*node).or_default().carries += 1;
    }
    if let [leader, second, ..] = replicas {
        *load.entry(*leader).or_default().followed_by.entry(*second).or_default() += 1;
    }
    if let [leader, ..] = replicas {
        load.entry(*leader).or_default().leads += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    fn groups(count: u32) -> Vec<GroupId> {
        (1..=count).map(GroupId).collect()
    }

    fn spread(counts: impl Iterator<Item = usize>) -> usize {
        let counts: Vec<usize> = counts.collect();
        counts.iter().max().copied().unwrap_or(0) - counts.iter().min().copied().unwrap_or(0)
    }

    #[test]
    fn five_nodes_vote_in_the_meta_group_and_the_rest_learn() {
        let replicas = meta_replicas(&[NodeId(9), NodeId(1), NodeId(4), NodeId(3), NodeId(7), NodeId(5), NodeId(6)]);
        assert_eq!(replicas.voters, [1, 3, 4, 5, 6].map(NodeId));
        assert_eq!(replicas.learners, [7, 9].map(NodeId));
        assert_eq!(meta_replicas(&nodes(2)).learners, []);
    }

    #[test]
    fn fixed_groups_stay_and_the_others_fill_up_around_them() {
        let fixed = BTreeMap::from([(GroupId(1), nodes(3)), (GroupId(2), nodes(3))]);
        let placed = place(&nodes(3), &groups(4), 3, &fixed);
        assert_eq!(placed[&GroupId(2)], nodes(3));
        let leaders: Vec<NodeId> = placed.values().map(|replicas| replicas[0]).collect();
        assert_eq!(leaders, [1, 1, 2, 3].map(NodeId));
    }

    #[test]
    fn the_groups_of_a_dead_leader_fall_to_different_nodes() {
        let placed = place(&nodes(3), &groups(12), 3, &BTreeMap::new());
        for leader in nodes(3) {
            let led = placed.values().filter(|replicas| replicas[0] == leader);
            let seconds: Vec<NodeId> = led.map(|replicas| replicas[1]).collect();
            let of = |node: &NodeId| seconds.iter().filter(|second| *second == node).count();
            assert!(nodes(3).iter().filter(|node| **node != leader).all(|node| of(node) == 2), "{placed:?}");
        }
    }

    #[test]
    fn without_nodes_there_are_no_replicas() {
        assert_eq!(place(&[], &groups(1), 3, &BTreeMap::new())[&GroupId(1)], []);
    }

    proptest! {
        #[test]
        fn load_is_even(node_count in 1u64..9, group_count in 1u32..40, replicas in 1usize..6) {
            let nodes = nodes(node_count);
            let placed = place(&nodes, &groups(group_count), replicas, &BTreeMap::new());
            for members in placed.values() {
                let mut distinct = members.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), replicas.min(nodes.len()));
            }
            let leads = |node: &NodeId| placed.values().filter(|members| members[0] == *node).count();
            let carries = |node: &NodeId| placed.values().filter(|members| members.contains(node)).count();
            prop_assert!(spread(nodes.iter().map(leads)) <= 1);
            prop_assert!(spread(nodes.iter().map(carries)) <= 2, "{placed:?}");
        }
    }
}
