//! The meta group's state machine: the only way the cluster's own state changes.
//!
//! Pure and total, like the transactions': no clock, no I/O, no command that can stop it. The picture number rises
//! with every change, and with nothing else.

use alloc::collections::BTreeMap;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::command::{
    FoundClusterV1, FoundingFault, GroupV1, MetaBatch, MetaCommand, MetaOutcome, MetaRefusal, NodeStartedV1, NodeV1,
    VgroupFault, VgroupV1,
};
use super::member::{Node, Standing};
use super::routing::{GroupRoute, Routing, SlotRoute, VgroupRoute};
use crate::model::limits::{DATA_GROUPS_MAX, NODES_MAX, VGROUP_NAME_BYTES_MAX, VGROUPS_MAX};
use crate::model::{Epoch, GroupId, NodeId, SLOTS};

/// Replicas of a group where nobody asked for another number.
const REPLICAS_USUAL: usize = 3;

/// The replicated state of group 0. A clone shares the tables.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    pub(super) clock_ms: u64,
    pub(super) routing: Routing,
}

impl Meta {
    /// Before the founding.
    pub fn new() -> Meta {
        Meta::default()
    }

    /// The picture that nodes route by.
    pub fn routing(&self) -> &Routing {
        &self.routing
    }

    /// The group clock, ms with a leader.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Applies one entry: an outcome for each command, in order.
    pub fn apply(&mut self, batch: &MetaBatch) -> Vec<MetaOutcome> {
        self.clock_ms = self.clock_ms.max(batch.stamp.clock_ms);
        batch.commands.iter().map(|command| self.apply_one(command)).collect()
    }

    fn apply_one(&mut self, command: &MetaCommand) -> MetaOutcome {
        let changed = match command {
            MetaCommand::FoundCluster(founding) => self.found(founding),
            MetaCommand::NodeStarted(started) => self.node_started(started),
            MetaCommand::NodeSilent(which) => self.node_heard(*which, true),
            MetaCommand::NodeReturned(which) => self.node_heard(*which, false),
            MetaCommand::MapVgroup(vgroup) => self.map_vgroup(vgroup),
            MetaCommand::UnmapVgroup(which) => self.unmap_vgroup(&which.vgroup),
            MetaCommand::AdmitNode(asker) => return self.admit_node(asker),
            MetaCommand::SetStanding(wish) => self.set_standing(*wish),
            MetaCommand::ForgetNode(node) => self.forget_node(*node),
            MetaCommand::PlaceGroup(wish) => self.place_group(wish),
            MetaCommand::AskToMove(wish) => self.ask_to_move(*wish).map(|()| false),
            MetaCommand::GroupPlaced(wish) => self.group_placed(*wish),
            MetaCommand::AskToLeave(replica) => self.ask_to_leave(*replica).map(|()| false),
            MetaCommand::ReplicaGone(replica) => self.replica_gone(*replica),
            MetaCommand::AddGroup(wish) => return self.add_group(wish),
            MetaCommand::RemoveGroup(group) => self.remove_group(*group),
            MetaCommand::StartMigrations(wish) => self.start_migrations(wish),
            MetaCommand::MigrationInstalled(attempt) => self.migration_installed(*attempt),
            MetaCommand::SwitchSlot(attempt) => self.switch_slot(*attempt),
            MetaCommand::MigrationDone(attempt) => self.migration_done(*attempt),
            MetaCommand::AbortMigration(attempt) => self.abort_migration(*attempt),
            MetaCommand::MigrationUndone(attempt) => self.migration_undone(*attempt),
            MetaCommand::Reshard(wish) => self.reshard(wish),
            MetaCommand::EndReshard(since) => Ok(self.end_reshard(*since)),
        };
        self.outcome(changed)
    }

    pub(super) fn outcome(&mut self, changed: Result<bool, MetaRefusal>) -> MetaOutcome {
        match changed {
            Ok(changed) => {
                self.routing.picture += u64::from(changed);
                MetaOutcome::Done { picture: self.routing.picture }
            }
            Err(refusal) => MetaOutcome::Refused(refusal),
        }
    }

    fn found(&mut self, founding: &FoundClusterV1) -> Result<bool, MetaRefusal> {
        if let Some(cluster) = self.routing.cluster {
            sometimes!("second_founding_was_refused");
            return Err(MetaRefusal::Founded(cluster));
        }
        check_founding(founding).map_err(MetaRefusal::Founding)?;
        let epoch = Epoch::FOUNDING;
        let route = |group: &GroupV1| GroupRoute::at(group.label.clone(), group.replicas.clone());
        self.routing = Routing {
            picture: self.routing.picture,
            cluster: Some(founding.cluster),
            birth_ms: founding.birth_ms,
            slots: Arc::new(founding.slots.iter().map(|group| SlotRoute { group: *group, epoch }).collect()),
            groups: Arc::new(founding.groups.iter().map(|group| (group.group, route(group))).collect()),
            nodes: Arc::new(founding.nodes.iter().map(|started| (started.node, node(started))).collect()),
            vgroups: Arc::default(),
            removed: Arc::default(),
            replicas_wanted: replicas_wanted(founding),
            migrations: Arc::default(),
            last_epoch: epoch,
            last_group: founding.groups.iter().map(|group| group.group).max().unwrap_or_default(),
            added: Arc::default(),
            reshard: None,
        };
        Ok(true)
    }

    fn node_started(&mut self, started: &NodeStartedV1) -> Result<bool, MetaRefusal> {
        let known = self.node_mut(started.node)?;
        known.admits(started.disk, started.epoch, started.start).map_err(MetaRefusal::Identity)?;
        // With its first start a node that joins is one like the others.
        let standing = if known.standing == Standing::Admitted { Standing::Serving } else { known.standing };
        let mut new = Node { standing, ..node(started) };
        if standing == Standing::Lost {
            // Another one may be where it says it is.
            new.addresses = known.addresses.clone();
        }
        let changed = *known != new;
        if changed {
            sometimes!("start_of_a_node_was_recorded");
        }
        *known = new;
        if standing != Standing::Lost {
            self.vacate(&started.addresses);
        }
        Ok(changed)
    }

    fn node_heard(&mut self, which: NodeV1, silent: bool) -> Result<bool, MetaRefusal> {
        let known = self.node_mut(which.node)?;
        // A word about an earlier start is void: the node has spoken for itself since.
        let changed = known.epoch == which.epoch && known.silent != silent;
        match (changed, silent) {
            (true, true) => sometimes!("node_was_recorded_as_silent"),
            (true, false) => sometimes!("node_was_recorded_as_back"),
            (false, _) => sometimes!("word_about_a_node_changed_nothing"),
        }
        if changed {
            known.silent = silent;
        }
        Ok(changed)
    }

    fn map_vgroup(&mut self, wanted: &VgroupV1) -> Result<bool, MetaRefusal> {
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        let VgroupV1 { vgroup, cluster, unit } = wanted;
        if ![vgroup, cluster, unit].iter().all(|name| (1..=VGROUP_NAME_BYTES_MAX).contains(&name.len())) {
            return Err(MetaRefusal::Vgroup(VgroupFault::Name));
        }
        let known = self.routing.vgroups.get(vgroup);
        if known.is_none() && self.routing.vgroups.len() >= VGROUPS_MAX {
            return Err(MetaRefusal::Vgroup(VgroupFault::TooMany));
        }
        let route = VgroupRoute { cluster: cluster.clone(), unit: unit.clone() };
        let changed = known != Some(&route);
        if changed {
            Arc::make_mut(&mut self.routing.vgroups).insert(vgroup.clone(), route);
        }
        Ok(changed)
    }

    fn unmap_vgroup(&mut self, vgroup: &str) -> Result<bool, MetaRefusal> {
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        let changed = self.routing.vgroups.contains_key(vgroup);
        if changed {
            Arc::make_mut(&mut self.routing.vgroups).remove(vgroup);
        }
        Ok(changed)
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> Result<&mut Node, MetaRefusal> {
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        if self.routing.removed.contains_key(&id) {
            return Err(MetaRefusal::Removed(id));
        }
        Arc::make_mut(&mut self.routing.nodes).get_mut(&id).ok_or(MetaRefusal::UnknownNode(id))
    }
}

/// What was asked for at the founding; founders who were too few for three replicas want them once there are enough.
fn replicas_wanted(founding: &FoundClusterV1) -> u32 {
    let most = founding.groups.iter().map(|group| group.replicas.len()).max().unwrap_or(0);
    if founding.nodes.len() < REPLICAS_USUAL { REPLICAS_USUAL as u32 } else { most as u32 }
}

pub(super) fn node(started: &NodeStartedV1) -> Node {
    Node {
        id: started.node,
        disk: started.disk,
        epoch: started.epoch,
        start: started.start,
        addresses: started.addresses.clone(),
        silent: false,
        standing: Standing::Serving,
    }
}

fn check_founding(founding: &FoundClusterV1) -> Result<(), FoundingFault> {
    let nodes: BTreeSet<NodeId> = founding.nodes.iter().map(|started| started.node).collect();
    let residues: BTreeSet<u64> = nodes.iter().map(|node| node.0 % NODES_MAX as u64).collect();
    let in_range = nodes.iter().all(|node| (1..=u64::from(u32::MAX)).contains(&node.0));
    // Distinct residues modulo 64 also bound the number of nodes, and find an id that is there twice.
    if nodes.is_empty() || !in_range || residues.len() != founding.nodes.len() {
        return Err(FoundingFault::Nodes);
    }
    let groups: BTreeMap<GroupId, &GroupV1> = founding.groups.iter().map(|group| (group.group, group)).collect();
    let in_range = groups.keys().all(|group| (1..=DATA_GROUPS_MAX).contains(&group.0));
    if groups.is_empty() || !in_range || groups.len() != founding.groups.len() {
        return Err(FoundingFault::Groups);
    }
    for group in &founding.groups {
        let distinct: BTreeSet<NodeId> = group.replicas.iter().copied().collect();
        if distinct.is_empty() || distinct.len() != group.replicas.len() || !distinct.is_subset(&nodes) {
            return Err(FoundingFault::Replicas(group.group));
        }
    }
    if founding.slots.len() != usize::from(SLOTS) || !founding.slots.iter().all(|group| groups.contains_key(group)) {
        return Err(FoundingFault::Slots);
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
