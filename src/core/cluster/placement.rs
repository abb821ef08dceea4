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
