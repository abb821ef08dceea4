//! Data groups that come and go, as the meta group applies it.
//!
//! A group that comes gets a number, never used before, and owns nothing: slots come to it by migration. Whoever asked
//! for it may ask again and is told the same number. A group goes when it has nothing left to do: it has no replicas
//! from then on, only former ones, which are wiped like those of a group that has moved
//! ([`MetaCommand::AskToLeave`], [`MetaCommand::ReplicaGone`]), and with the last of them it is no more.
//!
//! Not here: moving its slots away before ([`migration`]), and moving it between nodes ([`membership`]).
//!
//! [`MetaCommand::AskToLeave`]: super::MetaCommand::AskToLeave
//! [`MetaCommand::ReplicaGone`]: super::MetaCommand::ReplicaGone
//! [`migration`]: super::migration
//! [`membership`]: super::membership

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::command::{AddGroupV1, GroupFault, MetaOutcome, MetaRefusal};
use super::member::GroupKey;
use super::meta::Meta;
use super::routing::{GroupRoute, Routing};
use crate::model::limits::{DATA_GROUPS_MAX, GROUP_LABEL_BYTES_MAX, GROUP_NUMBERS_MAX};
use crate::model::{GroupId, NodeId};

impl GroupRoute {
    /// Whether its replicas are to be wiped, and then it is no more.
    pub fn is_going(&self) -> bool {
        self.replicas.is_empty()
    }

    fn is_gone(&self) -> bool {
        self.is_going() && self.former.is_empty()
    }
}

impl Routing {
    /// The highest number that a data group ever had.
    pub fn last_group(&self) -> GroupId {
        self.last_group
    }

    /// The group that was added when somebody asked with this key.
    pub fn added_by(&self, key: GroupKey) -> Option<GroupId> {
        self.added.get(&key).copied()
    }

    /// Whether there was such a data group, and is none any more.
    pub fn was_group(&self, group: GroupId) -> bool {
        group != GroupId::META && group <= self.last_group && !self.groups.contains_key(&group)
    }

    /// Whether a group may be removed: it owns no slot and takes part in no migration.
    pub fn is_idle(&self, group: GroupId) -> bool {
        self.slots_of(group).next().is_none() && self.migrations_of(group).next().is_none()
    }
}

impl Meta {
    pub(super) fn add_group(&mut self, wish: &AddGroupV1) -> MetaOutcome {
        match self.number_of(wish) {
            Ok(group) => {
                if self.routing.group(group).is_none() {
                    let route = GroupRoute::at(wish.label.clone(), wish.replicas.clone());
                    Arc::make_mut(&mut self.routing.groups).insert(group, route);
                    Arc::make_mut(&mut self.routing.added).insert(wish.key, group);
                    self.routing.last_group = group;
                    self.routing.picture += 1;
                }
                MetaOutcome::Added { group, picture: self.routing.picture }
            }
            Err(refusal) => MetaOutcome::Refused(refusal),
        }
    }

    /// The one that it was given before, or the next.
    fn number_of(&self, wish: &AddGroupV1) -> Result<GroupId, MetaRefusal> {
        let routing = &self.routing;
        let fault = |fault| Err(MetaRefusal::Group(fault));
        if routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        if let Some(group) = routing.added.get(&wish.key) {
            let stays = routing.group(*group).is_some_and(|route| !route.is_going());
            return if stays { Ok(*group) } else { fault(GroupFault::Removed(*group)) };
        }
        if wish.label.len() > GROUP_LABEL_BYTES_MAX {
            return fault(GroupFault::Label);
        }
        if routing.groups.len() >= DATA_GROUPS_MAX as usize || routing.last_group.0 >= GROUP_NUMBERS_MAX {
            return fault(GroupFault::Full);
        }
        let group = GroupId(routing.last_group.0 + 1);
        let distinct: BTreeSet<NodeId> = wish.replicas.iter().copied().collect();
        let carries = |node: &NodeId| routing.node(*node).is_some_and(|node| node.standing.carries());
        if distinct.is_empty() || distinct.len() != wish.replicas.len() || !distinct.iter().all(carries) {
            return Err(MetaRefusal::Placement(group));
        }
        Ok(group)
    }

    pub(super) fn remove_group(&mut self, group: GroupId) -> Result<bool, MetaRefusal> {
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        if self.routing.was_group(group) || self.route(group)?.is_going() {
            return Ok(false);
        }
        if !self.routing.is_idle(group) {
            let slots = self.routing.slots_of(group).count() as u32;
            let migrations = self.routing.migrations_of(group).count() as u32;
            return Err(MetaRefusal::Group(GroupFault::InUse { group, slots, migrations }));
        }
        let route = self.route_mut(group)?;
        let carriers: Vec<NodeId> = route.carriers().collect();
        route.former.extend(carriers);
        route.former.sort_unstable();
        route.replicas.clear();
        route.target = None;
        Ok(true)
    }

    /// Groups that were removed and have nothing left anywhere are no more.
    pub(super) fn forget_groups(&mut self) {
        if self.routing.groups.values().any(GroupRoute::is_gone) {
            Arc::make_mut(&mut self.routing.groups).retain(|_, route| !route.is_gone());
        }
    }
}

#[cfg(test)]
mod tests;
