//! Source: simulation notes, G3 (one leader, one configuration); design, section 6 (placement); openraft's converge-serve-reconverge.
//!
//! G3, placed: after the heal every node routes by the same picture, and the groups are where it says: as many voters as
//! wanted, on nodes of their own that are to carry groups, none left over, evenly spread, and whoever was left has wiped what it had.
//! No slot is on its way, and each group serves the slots that the picture gives it.

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
        found.extend(spread(ghost, routing).map(Finding::new));
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
    if known.standing == Standing::Lost {
        // It stays in its groups as long as there is nobody for its place, and runs no more.
        return None;
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
    // What a lost one has left behind nobody wipes: it is to be forgotten, if that is possible.
    let is_lost = |node: &NodeId| routing.node(*node).is_some_and(|node| node.standing == Standing::Lost);
    if target.is_some() || !former.iter().all(is_lost) {
        return Some(format!("it is on its way from {replicas:?} to {target:?}, {former:?} have something left"));
    }
    let distinct: BTreeSet<NodeId> = replicas.iter().copied().collect();
    let fit: BTreeSet<NodeId> = carrying(routing).collect();
    let wanted = routing.replicas_wanted().max(1);
    (distinct.len() != replicas.len() || has_room(routing) && (!distinct.is_subset(&fit) || distinct.len() < wanted))
        .then(|| format!("it is on {replicas:?}, {wanted} of {fit:?} are wanted"))
}

/// What is wrong with where slots are: all have come to rest, and each is served by the group that the picture names.
fn spread(ghost: &Ghost, routing: &Routing) -> Option<String> {
    if let Some(wish) = routing.reshard() {
        return Some(format!("slots are to be spread by the wish of picture {}, and are not yet", wish.since));
    }
    if let Some((slot, migration)) = routing.migrations().next() {
        return Some(format!("slot {} is on its way: {migration:?}", slot.0));
    }
    ghost.groups.iter().filter(|(group, _)| **group != GroupId::META && routing.group(**group).is_some()).find_map(
        |(group, found)| {
            let serves = found.model.slots().eq(routing.slots_of(*group));
            let left = found.model.unsettled().next();
            let text = || {
                format!(
                    "group {group} serves {} slots, {:?} among those on their way, and the picture gives it {}",
                    found.model.slots().count(),
                    left,
                    routing.slots_of(*group).count()
                )
            };
            (!serves || left.is_some()).then(text)
        },
    )
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
    use super::*;
    use quorate_core::cluster::command::{
        AdmitNodeV1, FoundClusterV1, GroupV1, MetaOutcome, NodeStartedV1, PlaceGroupV1, SetStandingV1, WishV1,
    };
    use quorate_core::cluster::member::{Addresses, ClusterId, DiskId, StartEpoch, StartId};
    use quorate_core::cluster::{Meta, MetaBatch, MetaCommand};
    use quorate_core::model::SLOTS;
    use quorate_core::txn::Stamp;

    fn say(meta: &mut Meta, command: MetaCommand) {
        let outcome = meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![command] }).remove(0);
        assert!(!matches!(outcome, MetaOutcome::Refused(_)), "{outcome:?}");
    }

    fn started(node: u64) -> NodeStartedV1 {
        let at = |port: u64| format!("n{node}:{port}");
        NodeStartedV1 {
            node: NodeId(node),
            disk: DiskId([node as u8; 16]),
            epoch: StartEpoch(1),
            start: StartId([node as u8; 16]),
            addresses: Addresses { advertised: at(1), peer: at(2), admin: at(3) },
        }
    }

    /// Founded by nodes 1 to `nodes`, with two groups on these three.
    fn founded(nodes: u64, replicas: [u64; 3]) -> Meta {
        let group =
            |group| GroupV1 { group: GroupId(group), label: String::new(), replicas: replicas.map(NodeId).to_vec() };
        let founding = FoundClusterV1 {
            cluster: ClusterId([1; 16]),
            birth_ms: 0,
            nodes: (1..=nodes).map(started).collect(),
            groups: vec![group(1), group(2)],
            slots: vec![GroupId(1); usize::from(SLOTS)],
        };
        let mut meta = Meta::new();
        say(&mut meta, MetaCommand::FoundCluster(founding));
        meta
    }

    fn stands(meta: &mut Meta, node: u64, standing: Standing) {
        say(meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(node), standing }));
    }

    /// What is found when these nodes route by the newest picture and all others by that before it.
    fn pending(before: &Meta, now: &Meta, up_to_date: &[u64]) -> Vec<String> {
        let mut ghost = Ghost::default();
        for node in now.routing().nodes() {
            let meta = if up_to_date.contains(&node.id.0) { now } else { before };
            ghost.pictures.insert(node.id, meta.routing().clone());
        }
        Placed.pending(&ghost, &Bank::default()).into_iter().map(|finding| finding.text).collect()
    }

    /// R2, seed 526: the fourth node died for good when another one was drained, so that nobody could take its place.
    #[test]
    fn a_lost_node_that_nobody_can_replace_need_not_know() {
        let before = founded(3, [1, 2, 3]);
        let mut now = before.clone();
        stands(&mut now, 3, Standing::Lost);
        assert_eq!(pending(&before, &now, &[1, 2]), Vec::<String>::new());
        assert_eq!(pending(&before, &now, &[1]), ["it routes by picture Some(1) and not by 2"]);
        // Somebody can: then it is to be forgotten.
        let NodeStartedV1 { disk, addresses, .. } = started(4);
        say(&mut now, MetaCommand::AdmitNode(AdmitNodeV1 { disk, addresses }));
        say(&mut now, MetaCommand::NodeStarted(started(4)));
        let found = pending(&before, &now, &[1, 2, 4]);
        assert!(found.contains(&"it is lost and not forgotten yet".to_owned()), "{found:?}");
    }

    #[test]
    fn what_a_lost_node_has_left_is_not_waited_for() {
        let mut meta = founded(4, [2, 3, 4]);
        let group = GroupId(2);
        say(&mut meta, MetaCommand::PlaceGroup(PlaceGroupV1 { group, replicas: [1, 2, 3].map(NodeId).to_vec() }));
        let since = meta.routing().picture();
        say(&mut meta, MetaCommand::GroupPlaced(WishV1 { group, since }));
        let found = pending(&meta, &meta, &[]);
        assert!(found.iter().any(|text| text.contains("have something left")), "{found:?}");
        stands(&mut meta, 1, Standing::Draining);
        let before = meta.clone();
        stands(&mut meta, 4, Standing::Lost);
        assert_eq!(pending(&before, &meta, &[1, 2, 3]), Vec::<String>::new());
    }
}
