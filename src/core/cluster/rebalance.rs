//! Which group goes where next: nodes that should carry nothing are left, groups have their replicas, load is even.
//!
//! One move at a time, the smallest that mends the worst: first replicas on nodes that carry nothing any more, then
//! groups with too few of them, then nodes that carry two more than others, then nodes that lead two more. Each step
//! lowers one of these and raises none before it, so it comes to an end; property tests hold it to that.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::command::PlaceGroupV1;
use super::placement::META_VOTERS_MAX;
use super::routing::{GroupRoute, Routing};
use crate::model::{GroupId, NodeId};

/// The next wish, if anything is to be wished for now: nothing while a group moves, unless to a node that no longer
/// carries groups. `refuses` are nodes that take no replica now, because they are silent.
pub fn next(routing: &Routing, refuses: &BTreeSet<NodeId>) -> Option<PlaceGroupV1> {
    let load = Load::of(routing, refuses);
    if let Some((group, route)) = routing.groups().find(|(_, route)| route.target.is_some()) {
        // The move under way is planned anew if it leads where nothing can go. Who is silent and there already may come back.
        let blocks = |node: &NodeId| load.leaves(*node) || (load.is_unfit(*node) && !route.replicas.contains(node));
        let stuck = route.aim().iter().any(blocks);
        return if stuck { load.mended(group, route) } else { None };
    }
    let left = routing.groups().filter(|(_, route)| route.replicas.iter().any(|node| load.leaves(*node)));
    let short = routing.groups().filter(|(_, route)| !route.is_going() && route.replicas.len() < load.wanted(route));
    let mut urgent = left.chain(short);
    urgent
        .find_map(|(group, route)| load.mended(group, route))
        .or_else(|| load.evened(routing))
        .or_else(|| load.led_evenly(routing))
}

/// Where a group that is added rests: on nodes that carry least, that one first of them that leads least.
pub fn place_new(routing: &Routing) -> Vec<NodeId> {
    let silent = routing.nodes().filter(|node| node.silent).map(|node| node.id).collect();
    let load = Load::of(routing, &silent);
    let route = GroupRoute::at(Default::default(), Vec::new());
    let mut replicas: Vec<NodeId> = Vec::new();
    let wanted = routing.replicas_wanted().max(routing.groups().map(|(_, route)| route.aim().len()).max().unwrap_or(1));
    let wanted = if load.nodes.len() >= wanted { wanted } else { 1 };
    while replicas.len() < wanted {
        match load.least_loaded(&route, &replicas) {
            Some(node) => replicas.push(node),
            None => break,
        }
    }
    replicas.sort_by_key(|node| load.leads(*node));
    replicas
}

/// The voters that the meta group should have: those that it has, as far as they may stay, filled up by the lowest ids
/// to one, three or five.
pub fn meta_voters(routing: &Routing, now: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let may = |node: &NodeId| routing.node(*node).is_some_and(|node| node.standing.carries());
    let fit = routing.nodes().map(|node| node.id).filter(may).count();
    let stay: BTreeSet<NodeId> = now.iter().copied().filter(may).collect();
    // An even number bears no more failures than the odd one below; what is there stays all the same.
    let odd = if fit.is_multiple_of(2) && fit > 2 { fit - 1 } else { fit };
    let wanted = odd.min(META_VOTERS_MAX).max(stay.len().min(META_VOTERS_MAX));
    let others = routing
        .nodes()
        .filter(|node| !node.silent)
        .map(|node| node.id)
        .filter(|node| may(node) && !stay.contains(node));
    let missing = wanted.saturating_sub(stay.len());
    let voters: BTreeSet<NodeId> = stay.iter().copied().chain(others.take(missing)).collect();
    // Without a successor nobody goes: a voter less is worse than one that should carry nothing.
    if voters.len() < now.len().min(wanted) || voters.is_empty() { now.clone() } else { voters }
}

/// A group whose place somebody has chosen, and named, stays there as long as its nodes do.
fn may_be_evened(route: &GroupRoute) -> bool {
    route.label.is_empty()
}

struct NodeLoad {
    carries: usize,
    leads: usize,
}

struct Load<'a> {
    routing: &'a Routing,
    /// Of the nodes that take replicas.
    nodes: BTreeMap<NodeId, NodeLoad>,
}

impl<'a> Load<'a> {
    fn of(routing: &'a Routing, refuses: &BTreeSet<NodeId>) -> Load<'a> {
        let fit = routing.nodes().filter(|node| node.standing.carries() && !refuses.contains(&node.id));
        let mut nodes: BTreeMap<NodeId, NodeLoad> =
            fit.map(|node| (node.id, NodeLoad { carries: 0, leads: 0 })).collect();
        for (_, route) in routing.groups() {
            for node in route.aim() {
                nodes.entry(*node).and_modify(|load| load.carries += 1);
            }
            if let Some(leader) = route.aim().first() {
                nodes.entry(*leader).and_modify(|load| load.leads += 1);
            }
        }
        Load { routing, nodes }
    }

    /// Whether replicas go away from a node. One that is merely silent keeps what it has.
    fn leaves(&self, node: NodeId) -> bool {
        self.routing.node(node).is_none_or(|node| !node.standing.carries())
    }

    /// Whether no move may end there.
    fn is_unfit(&self, node: NodeId) -> bool {
        !self.nodes.contains_key(&node)
    }

    fn wanted(&self, route: &GroupRoute) -> usize {
        let wanted = self.routing.replicas_wanted();
        let possible = if self.nodes.len() >= wanted { wanted } else { 0 };
        route.replicas.len().max(possible)
    }

    /// The group with everybody replaced who should not carry it, and filled up. None if there is nobody to replace them.
    fn mended(&self, group: GroupId, route: &GroupRoute) -> Option<PlaceGroupV1> {
        let wanted = self.wanted(route);
        let mut replicas: Vec<NodeId> = route.replicas.iter().copied().filter(|node| !self.leaves(*node)).collect();
        while replicas.len() < wanted {
            match self.least_loaded(route, &replicas) {
                Some(node) => replicas.push(node),
                None => break,
            }
        }
        if replicas.len() < route.replicas.len() {
            return None;
        }
        // Of those, whoever leads least, unless the one who led before is still among them.
        if route.replicas.first() != replicas.first() {
            let least = (0..replicas.len()).min_by_key(|place| self.leads(replicas[*place]))?;
            replicas.swap(0, least);
        }
        (replicas != route.aim()).then_some(PlaceGroupV1 { group, replicas })
    }

    fn least_loaded(&self, route: &GroupRoute, without: &[NodeId]) -> Option<NodeId> {
        let free = self.nodes.iter().filter(|(node, _)| !without.contains(node) && !route.former.contains(node));
        free.min_by_key(|(node, load)| (load.carries, load.leads, **node)).map(|(node, _)| *node)
    }

    fn leads(&self, node: NodeId) -> (usize, NodeId) {
        (self.nodes.get(&node).map_or(usize::MAX, |load| load.leads), node)
    }

    /// One replica from a node that carries most to the one that carries least.
    fn evened(&self, routing: &Routing) -> Option<PlaceGroupV1> {
        let (to, least) = self.nodes.iter().min_by_key(|(node, load)| (load.carries, **node))?;
        let mut most: Vec<(&NodeId, &NodeLoad)> =
            self.nodes.iter().filter(|(_, load)| load.carries >= least.carries + 2).collect();
        most.sort_by_key(|(node, load)| (usize::MAX - load.carries, **node));
        most.iter().find_map(|(from, of_from)| {
            let movable = |route: &GroupRoute| {
                may_be_evened(route)
                    && route.replicas.contains(from)
                    && !route.replicas.contains(to)
                    && !route.former.contains(to)
            };
            let groups = routing.groups().filter(|(_, route)| movable(route));
            // Rather one that it does not lead, unless it leads more than the other would.
            let leads_more = of_from.leads > least.leads + 1;
            let (group, route) =
                groups.min_by_key(|(_, route)| (route.replicas.first() == Some(*from)) != leads_more)?;
            let replicas = route.replicas.iter().map(|node| if node == *from { *to } else { *node }).collect();
            Some(PlaceGroupV1 { group, replicas })
        })
    }

    /// The same replicas in another order: led by the one of them that leads least.
    fn led_evenly(&self, routing: &Routing) -> Option<PlaceGroupV1> {
        let heavier = |route: &GroupRoute| {
            let (leader, others) = route.replicas.split_first()?;
            let leads = |node: &NodeId| self.nodes.get(node).map(|load| load.leads);
            let least = others.iter().filter(|node| leads(node).is_some()).min_by_key(|node| self.leads(**node))?;
            (may_be_evened(route) && leads(leader)? >= leads(least)? + 2).then_some(*least)
        };
        let (group, route, to) = routing.groups().find_map(|(group, route)| Some((group, route, heavier(route)?)))?;
        let others = route.replicas.iter().copied().filter(|node| *node != to);
        Some(PlaceGroupV1 { group, replicas: core::iter::once(to).chain(others).collect() })
    }
}

#[cfg(test)]
mod tests;
