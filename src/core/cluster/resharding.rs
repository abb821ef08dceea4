//! Which slots should move, and where: the difference between what a [`ShardingStrategy`] proposes and what is there.
//!
//! With the ring a group that comes takes its share from all others and nothing else moves, and of one that goes only
//! its own slots move. Migrations under way count as if they were through, so a plan that is made again meanwhile asks
//! for nothing twice, and one that is made after all moves is empty.
//!
//! Somebody wishes for it ([`Reshard`]), and the wish stands until it is fulfilled, whoever leads the meta group: a plan is made
//! from it again and again. Not here: how many slots move at a time; [`SlotPlan::due`] cuts as much off a plan as is asked for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::command::{MetaRefusal, RangeV1, ReshardFault, ReshardV1, SlotTargetV1, StartMigrationsV1, StrategyV1};
use super::meta::Meta;
use super::routing::Routing;
use super::sharding::{ConsistentHash, Explicit, Modulo, ShardingError, ShardingStrategy, SlotRange, Weighted};
use crate::model::{GroupId, SLOTS, Slot};

/// How the slots are to be spread over the groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reshard {
    /// Who proposes the owners.
    pub strategy: StrategyV1,
    /// Groups that are to keep none, and are then removed.
    pub leaving: BTreeSet<GroupId>,
    /// The picture number with which it was wished: the name of the wish.
    pub since: u64,
}

impl Reshard {
    /// What has to move yet.
    pub fn plan(&self, routing: &Routing) -> Result<SlotPlan, ShardingError> {
        spread(&self.strategy, routing, &self.leaving)
    }

    /// Groups that have nothing left to do and are still there.
    pub fn emptied(&self, routing: &Routing) -> impl Iterator<Item = GroupId> {
        let there = |group: &GroupId| routing.group(*group).is_some_and(|route| !route.is_going());
        self.leaving.iter().copied().filter(there).filter(|group| routing.is_idle(*group))
    }
}

/// What would have to move so that the slots are spread like this.
pub fn spread(
    strategy: &StrategyV1,
    routing: &Routing,
    leaving: &BTreeSet<GroupId>,
) -> Result<SlotPlan, ShardingError> {
    let groups = lasting(routing, leaving);
    let owners = routing.heirs();
    match strategy {
        StrategyV1::ConsistentHash => plan(&owners, &groups, &ConsistentHash),
        StrategyV1::Modulo => plan(&owners, &groups, &Modulo),
        StrategyV1::Explicit(table) => {
            let range = |range: &RangeV1| SlotRange { first: range.first, last: range.last, group: range.group };
            plan(&owners, &groups, &Explicit { ranges: table.iter().map(range).collect() })
        }
    }
}

impl Routing {
    /// How the slots are to be spread, while they are not.
    pub fn reshard(&self) -> Option<&Reshard> {
        self.reshard.as_deref()
    }
}

impl Meta {
    pub(super) fn reshard(&mut self, wish: &ReshardV1) -> Result<bool, MetaRefusal> {
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        let leaving: BTreeSet<GroupId> = wish.leaving.iter().copied().collect();
        if let Some(unknown) = leaving.iter().find(|group| self.routing.group(**group).is_none()) {
            return Err(MetaRefusal::UnknownGroup(*unknown));
        }
        let stands =
            self.routing.reshard().is_some_and(|now| (&now.strategy, &now.leaving) == (&wish.strategy, &leaving));
        if stands {
            return Ok(false);
        }
        match spread(&wish.strategy, &self.routing, &leaving) {
            Ok(_) => {}
            Err(ShardingError::NoGroup) => return Err(MetaRefusal::Reshard(ReshardFault::NoGroup)),
            Err(
                ShardingError::Twice(_)
                | ShardingError::TooMany
                | ShardingError::UnknownGroup(_)
                | ShardingError::Uncovered(_)
                | ShardingError::BadRange { .. }
                | ShardingError::Slotless(_),
            ) => return Err(MetaRefusal::Reshard(ReshardFault::Strategy)),
        }
        let since = self.routing.picture + 1;
        self.routing.reshard = Some(Arc::new(Reshard { strategy: wish.strategy.clone(), leaving, since }));
        Ok(true)
    }

    pub(super) fn end_reshard(&mut self, since: u64) -> bool {
        let ends = self.routing.reshard().is_some_and(|wish| wish.since == since);
        if ends {
            self.routing.reshard = None;
        }
        ends
    }
}

/// A slot that should move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotMove {
    /// Which.
    pub slot: Slot,
    /// Who has it, or will have it after the migration under way.
    pub from: GroupId,
    /// Who should.
    pub to: GroupId,
}

/// How many slots should move from one group to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// Who gives.
    pub from: GroupId,
    /// Who takes.
    pub to: GroupId,
    /// How many.
    pub slots: usize,
}

/// All slots that should move, each once.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SlotPlan {
    /// Ascending by slot.
    pub moves: Vec<SlotMove>,
}

/// What has to move so that the slots are `groups`' as the strategy proposes, given the owner of each by slot number
/// ([`Routing::heirs`]). A group that is not among `groups` keeps nothing. Without owners there is nothing to move.
pub fn plan(
    owners: &[GroupId],
    groups: &[Weighted],
    strategy: &dyn ShardingStrategy,
) -> Result<SlotPlan, ShardingError> {
    let proposed = strategy.assign(groups)?;
    let slots = (0..SLOTS).map(Slot).zip(owners).zip(proposed);
    let moves = slots.filter(|((_, from), to)| *from != to);
    Ok(SlotPlan { moves: moves.map(|((slot, from), to)| SlotMove { slot, from: *from, to }).collect() })
}

/// The groups that slots may go to, all of one weight: those that are there to stay, but for those in `without`.
pub fn lasting(routing: &Routing, without: &BTreeSet<GroupId>) -> Vec<Weighted> {
    let lasting = routing.groups().filter(|(group, route)| !route.is_going() && !without.contains(group));
    lasting.map(|(group, _)| Weighted { group, weight: 1 }).collect()
}

impl SlotPlan {
    /// Whether everything is where it should be.
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty()
    }

    /// How much moves between each two groups, ascending by both.
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: BTreeMap<(GroupId, GroupId), usize> = BTreeMap::new();
        for SlotMove { from, to, .. } in &self.moves {
            *shares.entry((*from, *to)).or_default() += 1;
        }
        shares.into_iter().map(|((from, to), slots)| Share { from, to, slots }).collect()
    }

    /// At most `slots_max` of these that can be started now, as the command that does it: without those that are on
    /// their way to elsewhere still. None if there are none.
    pub fn due(&self, routing: &Routing, slots_max: usize) -> Option<StartMigrationsV1> {
        let free = self.moves.iter().filter(|wanted| routing.migration(wanted.slot).is_none());
        let slots: Vec<SlotTargetV1> =
            free.take(slots_max).map(|wanted| SlotTargetV1 { slot: wanted.slot, target: wanted.to }).collect();
        (!slots.is_empty()).then_some(StartMigrationsV1 { after: routing.last_epoch(), slots })
    }
}

#[cfg(test)]
mod tests;
