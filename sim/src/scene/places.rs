//! Where the nodes are: which machine each lives on, and which of them have lost a disk or had one damaged.

use super::Scene;
use quorate_core::model::NodeId;
use quorate_world::sim::Machine;
use std::collections::BTreeMap;

impl Scene {
    /// The disk of a machine is damaged from now on; nothing: of none. False: another one is.
    pub fn damage(&self, machine: Option<Machine>) -> bool {
        let mut watch = self.watch();
        let free = watch.damaged.is_none() || machine.is_none();
        if free {
            watch.damaged = machine;
        }
        free
    }

    /// Whose disk is damaged.
    pub fn damaged(&self) -> Option<Machine> {
        self.watch().damaged
    }

    /// A disk is lost for good: true if it is the first, and none is damaged. One at most, so that each group has a quorum
    /// of good ones.
    pub fn may_lose_a_disk(&self) -> bool {
        let mut watch = self.watch();
        let may = !watch.lost_a_disk && watch.damaged.is_none();
        watch.lost_a_disk |= may;
        may
    }

    /// Whether a disk was.
    pub fn lost_a_disk(&self) -> bool {
        self.watch().lost_a_disk
    }

    /// A node was seen at work on a machine.
    pub fn lives_at(&self, node: NodeId, machine: Machine) {
        let mut watch = self.watch();
        if watch.places.get(&node) != Some(&machine) {
            watch.places.retain(|_, place| *place != machine);
            watch.places.insert(node, machine);
        }
    }

    /// The machine of a node.
    pub fn machine_of(&self, node: NodeId) -> Option<Machine> {
        self.watch().places.get(&node).copied()
    }

    /// The number under which a machine runs, or ran last.
    pub fn node_at(&self, machine: Machine) -> Option<NodeId> {
        self.watch().places.iter().find(|(_, place)| **place == machine).map(|(node, _)| *node)
    }

    /// All nodes that were seen at work, each where it is.
    pub fn places(&self) -> BTreeMap<NodeId, Machine> {
        self.watch().places.clone()
    }
}
