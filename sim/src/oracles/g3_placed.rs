//! Source: simulation notes, G3 (one leader, one configuration); design, section 6 (placement); openraft's converge-serve-reconverge.
//!
//! G3, placed: after the heal every node routes by the same picture, and the groups are where it says: as many voters as
//! wanted, on nodes of their own that are to carry groups, none left over, evenly spread, and whoever was left has wiped what it had.

use super::{Finding, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;
use quorate_core::cluster::routing::GroupRoute;
use quorate_core::cluster::{Routing, Standing};
use quorate_core::model::{GroupId, NodeId};
use std::collections::BTreeSet;

/// See the page.
pub struct Placed;

impl Oracle for Placed {
    fn name(&self) -> &'static str {
        "G3"
    }

    fn pending(&self, ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        let Some(routing) = ghost.pictures.values().max_by_key(|routing| routing.picture()) else { return Vec::new() };
        let members = routing.nodes().filter_map(|node| behind(ghost, routing, node.id).map(|text| (node.id, text)));
        let mut found: Vec<Finding> = members.map(|(node, text)| Finding::new(text).at_node(node)).collect();
        for (group, route) in routing.groups() {
            found.extend(unplaced(routing, route).into_iter().map(|text| Finding::new(text).in_group(group)));
            found.extend(otherwise(ghost, group, route).into_iter().map(|text| Finding::new(text).in_group(group)));
        }
        found.extend(uneven(routing).filter(|_| has_room(routing)).map(Finding::new));
        found
    }
}

/// Why a node is not where the cluster is.
fn behind(ghost: &Ghost, routing: &Routing, node: NodeId) -> Option<String> {
    // Whoever has a number and has not started under it has nothing, and knows nothing.
    let known = routing.node(node).filter(|known| known.standing != Standing::Admitted)?;
    if known.standing.goes() && has_room(routing) {
        return Some(format!("it is {} and not forgotten yet", known.standing));
    }
    let carried = |group: &GroupId| routing.group(*group).is_some_and(|route| route.carriers().any(|at| at == node));
    let left = ghost.told_to(node).into_iter().find(|(group, told)| {
        *group != GroupId::META && !carried(group) && (told.last.is_some() || told.snapshot.is_some())
    });
    if let Some((group, _)) = left {
        return Some(format!("it has something of group {group} left, which is elsewhere"));
    }
    let own = ghost.pictures.get(&node);
    (own != Some(routing))
        .then(|| format!("it routes by picture {:?} and not by {}", own.map(Routing::picture), routing.picture()))
}

/// What is wrong with where a group is to be.
fn unplaced(routing: &Routing, route: &GroupRoute) -> Option<String> {
    let GroupRoute { replicas, target, former, .. } = route;
    if target.is_some() || !former.is_empty() {
        return Some(format!("it is on its way from {replicas:?} to {target:?}, {former:?} have something left"));
    }
    let distinct: BTreeSet<NodeId> = replicas.iter().copied().collect();
    let fit: BTreeSet<NodeId> = carrying(routing).collect();
    let wanted = routing.replicas_wanted().max(1);
    (distinct.len() != replicas.len() || has_room(routing) && (!distinct.is_subset(&fit) || distinct.len() < wanted))
        .then(|| format!("it is on {replicas:?}, {wanted} of {fit:?} are wanted"))
}

/// What is wrong with its members, by its own log.
fn otherwise(ghost: &Ghost, group: GroupId, route: &GroupRoute) -> Option<String> {
    let members = ghost.members.get(&group)?;
    let wanted: BTreeSet<NodeId> = route.replicas.iter().copied().collect();
    let leader = ghost.leaders.get(&group).map(|(_, node)| *node);
    if members.voters != [wanted.clone()] || !members.learners.is_empty() {
        return Some(format!("{wanted:?} should vote, and its members are {members:?}"));
    }
    leader
        .filter(|leader| !wanted.contains(leader))
        .map(|leader| format!("node {leader} led it last, who does not vote"))
}

/// Whether some node that is to carry groups has two more than another.
fn uneven(routing: &Routing) -> Option<String> {
    let carried = |node: NodeId| routing.groups().filter(|(_, route)| route.replicas.contains(&node)).count();
    let counts: Vec<(NodeId, usize)> = carrying(routing).map(|node| (node, carried(node))).collect();
    let (least, most) = (counts.iter().map(|(_, count)| count).min()?, counts.iter().map(|(_, count)| count).max()?);
    (most - least > 1).then(|| format!("replicas by node: {counts:?}"))
}

/// Whether there are enough to carry the groups; else these stay with those that they have.
fn has_room(routing: &Routing) -> bool {
    carrying(routing).count() >= routing.replicas_wanted()
}

fn carrying(routing: &Routing) -> impl Iterator<Item = NodeId> {
    routing.nodes().filter(|node| node.standing == Standing::Serving).map(|node| node.id)
}

#[cfg(test)]
mod tests {
    use super::super::tests::GROUP;
    use super::*;
    use crate::ghost::Members;
    use quorate_core::cluster::command::{FoundClusterV1, GroupV1, NodeStartedV1};
    use quorate_core::cluster::{Addresses, ClusterId, DiskId, Meta, MetaBatch, MetaCommand, StartEpoch, StartId};
    use quorate_core::model::LogIndex;
    use quorate_core::txn::Stamp;

    /// Three nodes with one group, which all route by the same picture.
    fn placed() -> Ghost {
        let started = |node: u64| NodeStartedV1 {
            node: NodeId(node),
            disk: DiskId([node as u8; 16]),
            epoch: StartEpoch(1),
            start: StartId([1; 16]),
            addresses: Addresses::default(),
        };
        let nodes = [1, 2, 3].map(NodeId);
        let founding = FoundClusterV1 {
            cluster: ClusterId([7; 16]),
            birth_ms: 1_800_000_000_000,
            nodes: vec![started(1), started(2), started(3)],
            groups: vec![GroupV1 { group: GROUP, label: String::new(), replicas: nodes.to_vec() }],
            slots: vec![GROUP; 4_096],
        };
        let mut meta = Meta::new();
        meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![MetaCommand::FoundCluster(founding)] });
        let mut ghost = Ghost::default();
        ghost.pictures.extend(nodes.map(|node| (node, meta.routing().clone())));
        ghost
    }

    #[test]
    fn the_world_rests_when_groups_are_where_all_nodes_say() {
        let mut ghost = placed();
        assert_eq!(Placed.pending(&ghost, &Bank::default()), []);
        ghost.pictures.insert(NodeId(2), Routing::empty());
        assert_eq!(Placed.pending(&ghost, &Bank::default()).len(), 1, "one routes by an old picture");

        let mut ghost = placed();
        let (at, learners) = (LogIndex(9), BTreeSet::new());
        let voters = vec![[1, 2].map(NodeId).into_iter().collect()];
        ghost.members.insert(GROUP, Members { at, voters, learners });
        assert_eq!(Placed.pending(&ghost, &Bank::default()).len(), 1, "one does not vote");
    }
}
