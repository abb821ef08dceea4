//! What `/quorate/v1/status` shows: nodes, groups, leaders, health, as this node sees them.

use quorate_core::cluster::health::Health;
use quorate_core::cluster::routing::Routing;
use quorate_core::model::{GroupId, NodeId, Term};
use serde::Serialize;

/// One group as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// Which; the meta group too.
    pub group: GroupId,
    /// The leader and its term, if one is known.
    pub leader: Option<(Term, NodeId)>,
    /// How it is.
    pub health: Health,
    /// Entries known to be committed here.
    pub committed: u64,
    /// Entries applied here.
    pub applied: u64,
    /// It was idle and sleeps.
    pub asleep: bool,
}

/// The answer. 64-bit numbers that may exceed 2^53 do not occur.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Status {
    node: Option<u64>,
    cluster: Option<String>,
    picture: u64,
    ready: bool,
    version: &'static str,
    nodes: Vec<NodeRow>,
    groups: Vec<GroupRow>,
    vgroups: Vec<VgroupRow>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct VgroupRow {
    vgroup: String,
    cluster: String,
    unit: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct NodeRow {
    node: u64,
    seata: String,
    admin: String,
    peer: String,
    silent: bool,
    standing: String,
    groups: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct GroupRow {
    group: u32,
    label: String,
    health: String,
    leader: Option<u64>,
    term: u64,
    replicas: Vec<u64>,
    target: Option<Vec<u64>>,
    slots: usize,
    committed: u64,
    applied: u64,
}

fn numbers(nodes: &[NodeId]) -> Vec<u64> {
    nodes.iter().map(|node| node.0).collect()
}

/// Puts the picture and the groups' own state side by side. `own` is this node.
pub fn status(own: NodeId, ready: bool, routing: &Routing, groups: &[GroupStatus]) -> Status {
    let nodes = routing.nodes().map(|node| NodeRow {
        node: node.id.0,
        seata: node.addresses.advertised.clone(),
        admin: node.addresses.admin.clone(),
        peer: node.addresses.peer.clone(),
        silent: node.silent,
        standing: node.standing.to_string(),
        groups: routing.groups().filter(|(_, route)| route.carriers().any(|carrier| carrier == node.id)).count(),
    });
    let groups = groups.iter().map(|seen| GroupRow {
        group: seen.group.0,
        label: routing.group(seen.group).map(|route| route.label.clone()).unwrap_or_default(),
        health: seen.health.to_string(),
        leader: seen.leader.map(|(_, node)| node.0),
        term: seen.leader.map_or(0, |(term, _)| term.0),
        replicas: match routing.group(seen.group) {
            Some(route) => numbers(&route.replicas),
            None => numbers(&routing.replicas(seen.group)),
        },
        target: routing.group(seen.group).and_then(|route| route.target.as_ref()).map(|to| numbers(&to.replicas)),
        slots: routing.slots_of(seen.group).count(),
        committed: seen.committed,
        applied: seen.applied,
    });
    let vgroups = routing.vgroups().map(|(vgroup, route)| VgroupRow {
        vgroup: vgroup.to_owned(),
        cluster: route.cluster.clone(),
        unit: route.unit.clone(),
    });
    Status {
        node: routing.node(own).map(|node| node.id.0),
        cluster: routing.cluster().map(|cluster| cluster.to_string()),
        picture: routing.picture(),
        ready,
        version: env!("CARGO_PKG_VERSION"),
        nodes: nodes.collect(),
        groups: groups.collect(),
        vgroups: vgroups.collect(),
    }
}
