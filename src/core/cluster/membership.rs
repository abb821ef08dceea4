//! Nodes that come and go, and groups that move between them, as the meta group applies it.
//!
//! A node that joins gets a number, never used before, and carries nothing until it has started under it; if it never does,
//! it is forgotten, so that another disk can join from its address. A lost node holds its addresses only until another one
//! has them: no two members are ever reached at the same. A node that
//! should go is given up by its groups first. A group moves in two words: a wish ([`MetaCommand::PlaceGroup`]), carried
//! out by the group's own leader through raft's joint consensus, and its report ([`MetaCommand::GroupPlaced`]). What it
//! leaves behind is wiped by its owner, after asking once more through the log: a picture that is read after a restart
//! may be older than what the disk has taken part in since.
//!
//! [`MetaCommand::PlaceGroup`]: super::MetaCommand::PlaceGroup
//! [`MetaCommand::GroupPlaced`]: super::MetaCommand::GroupPlaced

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::command::{
    AdmitNodeV1, GroupFault, MetaOutcome, MetaRefusal, PlaceGroupV1, ReplicaV1, SetStandingV1, WishV1,
};
use super::member::{Addresses, Node, Standing, StartEpoch, StartId};
use super::meta::Meta;
use super::routing::{GroupRoute, Routing, Target};
use crate::model::limits::NODES_MAX;
use crate::model::{GroupId, NodeId};

impl Routing {
    /// Whether a node that should go, or that never started, can be forgotten: no group is on it or on its way there, and
    /// it has wiped what it had. What a lost one has left behind will never be wiped.
    pub fn may_be_forgotten(&self, node: NodeId) -> bool {
        let Some(known) = self.node(node) else { return false };
        let leaves = |route: &GroupRoute| route.former.contains(&node) && known.standing != Standing::Lost;
        let may_go = known.standing.goes() || known.standing == Standing::Admitted;
        may_go && !self.carries(node) && !self.groups.values().any(leaves)
    }
}

impl Meta {
    pub(super) fn admit_node(&mut self, asker: &AdmitNodeV1) -> MetaOutcome {
        match self.number_for(asker) {
            Ok(node) => {
                let admitted = Node {
                    id: node,
                    disk: asker.disk,
                    epoch: StartEpoch(0),
                    start: StartId::default(),
                    addresses: asker.addresses.clone(),
                    silent: true,
                    standing: Standing::Admitted,
                };
                let known = self.routing.nodes.get(&node);
                // It asks again, perhaps after it has started.
                let news = known.is_none_or(|known| known.standing == Standing::Admitted && *known != admitted);
                if news {
                    self.vacate(&asker.addresses);
                    Arc::make_mut(&mut self.routing.nodes).insert(node, admitted);
                    self.routing.picture += 1;
                }
                MetaOutcome::Admitted { node, picture: self.routing.picture }
            }
            Err(refusal) => MetaOutcome::Refused(refusal),
        }
    }

    fn number_for(&self, asker: &AdmitNodeV1) -> Result<NodeId, MetaRefusal> {
        let routing = &self.routing;
        if routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        if let Some((node, _)) = routing.removed.iter().find(|(_, disk)| **disk == asker.disk) {
            return Err(MetaRefusal::Removed(*node));
        }
        if let Some(known) = routing.nodes.values().find(|node| node.disk == asker.disk) {
            return Ok(known.id);
        }
        let shares = |node: &&Node| {
            let (known, new) = (&node.addresses, &asker.addresses);
            known.peer == new.peer || known.advertised == new.advertised || known.admin == new.admin
        };
        let mut others = routing.nodes.values().filter(|node| node.standing != Standing::Lost);
        match others.find(shares) {
            // One of the two has lost its folder, and nobody can tell which: its question may come late, too.
            Some(known) if known.standing == Standing::Admitted => Err(MetaRefusal::Joining(known.id)),
            Some(known) => Err(MetaRefusal::AddressTaken(known.id)),
            None => self.free_number().ok_or(MetaRefusal::Full),
        }
    }

    /// Somebody else is reached here now: lost nodes are not any more.
    pub(super) fn vacate(&mut self, addresses: &Addresses) {
        let lost = |node: &&mut Node| node.standing == Standing::Lost;
        for node in Arc::make_mut(&mut self.routing.nodes).values_mut().filter(lost) {
            let Addresses { advertised, peer, admin } = &mut node.addresses;
            for (held, taken) in
                [(advertised, &addresses.advertised), (peer, &addresses.peer), (admin, &addresses.admin)]
            {
                if held == taken {
                    held.clear();
                }
            }
        }
    }

    /// The lowest above all that were ever used, and not equal to another modulo 64: that is what request ids tell nodes by.
    fn free_number(&self) -> Option<NodeId> {
        let routing = &self.routing;
        if routing.nodes.len() >= NODES_MAX {
            return None;
        }
        let residue = |node: NodeId| node.0 % NODES_MAX as u64;
        let taken: BTreeSet<u64> = routing.nodes.keys().map(|node| residue(*node)).collect();
        let removed = routing.removed.keys().filter(|_| !bug!("number_of_a_removed_node_is_given_again"));
        let last = routing.nodes.keys().chain(removed).max()?.0;
        let free = (last + 1..=last + NODES_MAX as u64).map(NodeId).find(|node| !taken.contains(&residue(*node)))?;
        (free.0 <= u64::from(u32::MAX)).then_some(free)
    }

    pub(super) fn set_standing(&mut self, wish: SetStandingV1) -> Result<bool, MetaRefusal> {
        let SetStandingV1 { node, standing: wanted } = wish;
        let standing = self.node_mut(node)?.standing;
        let possible = match (standing, wanted) {
            (_, Standing::Admitted) => false,
            // Whose place is taken does not come back.
            (Standing::Lost, wanted) => wanted == Standing::Lost,
            (Standing::Admitted, wanted) => wanted.goes(),
            (_, _) => true,
        };
        if !possible {
            return Err(MetaRefusal::Standing { node, standing, wanted });
        }
        // A lost node is lost, whether or not there is another in its place by now.
        if !wanted.carries() && wanted != Standing::Lost {
            self.room_without(node)?;
        }
        self.node_mut(node)?.standing = wanted;
        Ok(standing != wanted)
    }

    fn room_without(&self, node: NodeId) -> Result<(), MetaRefusal> {
        let left = self.routing.nodes.values().filter(|other| other.id != node && other.standing.carries()).count();
        let replicas = self.routing.groups.values().map(|route| route.aim().len()).max().unwrap_or(0);
        if left < replicas && self.routing.carries(node) {
            return Err(MetaRefusal::TooFew { left: left as u32, replicas: replicas as u32 });
        }
        Ok(())
    }

    pub(super) fn forget_node(&mut self, node: NodeId) -> Result<bool, MetaRefusal> {
        if self.routing.removed.contains_key(&node) {
            return Ok(false);
        }
        let disk = self.node_mut(node)?.disk;
        if !self.routing.may_be_forgotten(node) {
            return Err(MetaRefusal::StillThere(node));
        }
        Arc::make_mut(&mut self.routing.nodes).remove(&node);
        Arc::make_mut(&mut self.routing.removed).insert(node, disk);
        for route in Arc::make_mut(&mut self.routing.groups).values_mut() {
            route.former.retain(|former| *former != node);
        }
        self.forget_groups();
        Ok(true)
    }

    pub(super) fn place_group(&mut self, wish: &PlaceGroupV1) -> Result<bool, MetaRefusal> {
        let refused = MetaRefusal::Placement(wish.group);
        let route = self.route(wish.group)?;
        if route.is_going() {
            return Err(MetaRefusal::Group(GroupFault::Removed(wish.group)));
        }
        if route.aim() == wish.replicas {
            return Ok(false);
        }
        let distinct: BTreeSet<NodeId> = wish.replicas.iter().copied().collect();
        let carries = |node: &NodeId| self.routing.nodes.get(node).is_some_and(|node| node.standing.carries());
        let fits = |node: &NodeId| !route.former.contains(node) && (carries(node) || route.replicas.contains(node));
        if distinct.is_empty() || distinct.len() != wish.replicas.len() || !distinct.iter().all(fits) {
            return Err(refused);
        }
        let since = self.routing.picture + 1;
        let route = self.route_mut(wish.group)?;
        let given_up = route.target.replace(Target { replicas: wish.replicas.clone(), since });
        leave(route, given_up.map(|target| target.replicas).unwrap_or_default());
        Ok(true)
    }

    pub(super) fn ask_to_move(&self, wish: WishV1) -> Result<(), MetaRefusal> {
        match &self.route(wish.group)?.target {
            Some(target) if target.since == wish.since => Ok(()),
            Some(_) | None => Err(MetaRefusal::Placement(wish.group)),
        }
    }

    pub(super) fn group_placed(&mut self, wish: WishV1) -> Result<bool, MetaRefusal> {
        self.ask_to_move(wish)?;
        let route = self.route_mut(wish.group)?;
        if let Some(target) = route.target.take() {
            let before = core::mem::replace(&mut route.replicas, target.replicas);
            leave(route, before);
        }
        Ok(true)
    }

    pub(super) fn ask_to_leave(&self, replica: ReplicaV1) -> Result<(), MetaRefusal> {
        if self.route(replica.group)?.is_left_by(replica.node) {
            return Ok(());
        }
        Err(MetaRefusal::Placement(replica.group))
    }

    pub(super) fn replica_gone(&mut self, replica: ReplicaV1) -> Result<bool, MetaRefusal> {
        if self.routing.was_group(replica.group) {
            return Ok(false);
        }
        let route = self.route_mut(replica.group)?;
        let before = route.former.len();
        route.former.retain(|node| *node != replica.node);
        let changed = route.former.len() != before;
        self.forget_groups();
        Ok(changed)
    }

    pub(super) fn route(&self, group: GroupId) -> Result<&GroupRoute, MetaRefusal> {
        self.routing.groups.get(&group).ok_or(MetaRefusal::UnknownGroup(group))
    }

    pub(super) fn route_mut(&mut self, group: GroupId) -> Result<&mut GroupRoute, MetaRefusal> {
        self.route(group)?;
        let groups = Arc::make_mut(&mut self.routing.groups);
        groups.get_mut(&group).ok_or(MetaRefusal::UnknownGroup(group))
    }
}

/// Those of `before` that the group neither rests on nor goes to.
fn leave(route: &mut GroupRoute, before: Vec<NodeId>) {
    let (replicas, target) = (&route.replicas, &route.target);
    let stays =
        |node: &NodeId| replicas.contains(node) || target.as_ref().is_some_and(|target| target.replicas.contains(node));
    let gone: Vec<NodeId> = before.into_iter().filter(|node| !stays(node) && !route.former.contains(node)).collect();
    route.former.extend(gone);
    route.former.sort_unstable();
}

#[cfg(test)]
mod tests;
