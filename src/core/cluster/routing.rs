//! The picture that every node routes by: which group owns a slot, which nodes carry a group, where a node is.
//!
//! It is the applied state of the meta group, shared by reference: a clone costs a few counters. A node with an old
//! picture asks the wrong group, which refuses by its own state; a wrong picture is never a wrong answer.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::member::{ClusterId, DiskId, GroupKey, Node};
use super::migration::Migration;
use super::resharding::Reshard;
use crate::model::{Epoch, GroupId, NodeId, SLOTS, Slot};

/// 2026-01-01T00:00:00Z in ms since 1970: where id counters count from.
pub const BIRTH_ZERO_MS: u64 = 1_767_225_600_000;

/// Who owns a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotRoute {
    /// The owner.
    pub group: GroupId,
    /// The version of its ownership.
    pub epoch: Epoch,
}

/// Where a group is going.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The picture number with which it was wished: the name of the wish.
    pub since: u64,
}

/// Who carries a data group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupRoute {
    /// Its name in the configuration; may be empty.
    pub label: String,
    /// Those who vote, or voted before the move that is under way; the preferred leader first. Nobody if the group is
    /// being removed.
    pub replicas: Vec<NodeId>,
    /// Where it is going, if it is.
    pub target: Option<Target>,
    /// Nodes that may have something of it left, and are neither here nor there; ascending.
    pub former: Vec<NodeId>,
}

impl GroupRoute {
    /// A group that rests on these nodes.
    pub fn at(label: String, replicas: Vec<NodeId>) -> GroupRoute {
        GroupRoute { label, replicas, target: None, former: Vec::new() }
    }

    /// Who carries it, or is about to: the replicas, then those that join them.
    pub fn carriers(&self) -> impl Iterator<Item = NodeId> + '_ {
        let joining = self.target.iter().flat_map(|target| &target.replicas);
        let joining = joining.filter(|node| !self.replicas.contains(node));
        self.replicas.iter().chain(joining).copied()
    }

    /// Where it rests, or will.
    pub fn aim(&self) -> &[NodeId] {
        self.target.as_ref().map_or(&self.replicas, |target| &target.replicas)
    }

    /// Whether this node has to wipe what it has of the group.
    pub fn is_left_by(&self, node: NodeId) -> bool {
        self.target.is_none() && self.former.contains(&node)
    }
}

/// Where a transaction service group is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VgroupRoute {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the unit.
    pub unit: String,
}

/// The cluster as of one picture number.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Routing {
    pub(super) picture: u64,
    pub(super) cluster: Option<ClusterId>,
    pub(super) birth_ms: u64,
    pub(super) slots: Arc<Vec<SlotRoute>>,
    pub(super) groups: Arc<BTreeMap<GroupId, GroupRoute>>,
    pub(super) nodes: Arc<BTreeMap<NodeId, Node>>,
    pub(super) vgroups: Arc<BTreeMap<String, VgroupRoute>>,
    pub(super) removed: Arc<BTreeMap<NodeId, DiskId>>,
    pub(super) replicas_wanted: u32,
    pub(super) migrations: Arc<BTreeMap<Slot, Migration>>,
    pub(super) last_epoch: Epoch,
    pub(super) last_group: GroupId,
    /// Who asked for which group; with those that are no more.
    pub(super) added: Arc<BTreeMap<GroupKey, GroupId>>,
    pub(super) reshard: Option<Arc<Reshard>>,
}

impl Routing {
    /// Before a cluster is founded, or before this node knows of it: nothing is routed.
    pub fn empty() -> Routing {
        Routing::default()
    }

    /// Rises with every change of nodes, their silence, routing, and mapped service groups. 0 before the founding.
    pub fn picture(&self) -> u64 {
        self.picture
    }

    /// None before the founding.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// Wall time of the founding, ms since 1970.
    pub fn birth_ms(&self) -> u64 {
        self.birth_ms
    }

    /// Where every group's id counter starts: a wiped and founded-again cluster repeats no id.
    pub fn first_sequence(&self) -> u64 {
        // A counter starts at 1 at least; a birth before 2026 counts as 2026.
        (self.birth_ms.saturating_sub(BIRTH_ZERO_MS) << 8).max(1)
    }

    /// The owner of a slot.
    pub fn slot(&self, slot: Slot) -> Option<SlotRoute> {
        self.slots.get(usize::from(slot.0)).copied()
    }

    /// The group that owns a slot.
    pub fn group_of(&self, slot: Slot) -> Option<GroupId> {
        self.slot(slot).map(|route| route.group)
    }

    /// Whether every slot has the owner that it has in another picture.
    pub fn has_owners_of(&self, other: &Routing) -> bool {
        Arc::ptr_eq(&self.slots, &other.slots) || self.slots == other.slots
    }

    /// The version of a slot's ownership.
    pub fn epoch_of(&self, slot: Slot) -> Option<Epoch> {
        self.slot(slot).map(|route| route.epoch)
    }

    /// The slots of one group, ascending. A scan, for founding and for people.
    pub fn slots_of(&self, group: GroupId) -> impl Iterator<Item = (Slot, Epoch)> + '_ {
        (0..SLOTS)
            .zip(self.slots.iter())
            .filter_map(move |(slot, route)| (route.group == group).then_some((Slot(slot), route.epoch)))
    }

    /// All data groups, ascending; the meta group is not among them.
    pub fn groups(&self) -> impl Iterator<Item = (GroupId, &GroupRoute)> {
        self.groups.iter().map(|(group, route)| (*group, route))
    }

    /// One data group.
    pub fn group(&self, group: GroupId) -> Option<&GroupRoute> {
        self.groups.get(&group)
    }

    /// The nodes that carry a group or are about to, preferred leader first; for the meta group all nodes. Empty if unknown,
    /// or if the group is being removed.
    pub fn replicas(&self, group: GroupId) -> Vec<NodeId> {
        if group == GroupId::META {
            return self.nodes.keys().copied().collect();
        }
        self.groups.get(&group).map(|route| route.carriers().collect()).unwrap_or_default()
    }

    /// The node that should lead a data group while it is up.
    pub fn preferred_leader(&self, group: GroupId) -> Option<NodeId> {
        self.groups.get(&group).and_then(|route| route.replicas.first().copied())
    }

    /// All nodes, ascending.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The transaction service groups that are mapped, by name.
    pub fn vgroups(&self) -> impl Iterator<Item = (&str, &VgroupRoute)> {
        self.vgroups.iter().map(|(vgroup, route)| (vgroup.as_str(), route))
    }

    /// How many replicas a group should have once there are nodes for them; 0: as many as it has.
    pub fn replicas_wanted(&self) -> usize {
        self.replicas_wanted as usize
    }

    /// Whether a node was a member once and is none any more.
    pub fn was_removed(&self, node: NodeId) -> bool {
        self.removed.contains_key(&node)
    }

    /// Nodes that were members once.
    pub fn removed(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.removed.keys().copied()
    }

    /// Whether any group has something on this node, or is about to.
    pub fn carries(&self, node: NodeId) -> bool {
        self.groups.values().any(|route| route.carriers().any(|carrier| carrier == node))
    }

    /// One node.
    pub fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }
}
