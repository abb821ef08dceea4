//! Which slots should move, and where: the difference between what a [`ShardingStrategy`] proposes and what is there.
//!
//! With the ring a group that comes takes its share from all others and nothing else moves, and of one that goes only
//! its own slots move. Migrations under way count as if they were through, so a plan that is made again meanwhile asks
//! for nothing twice, and one that is made after all moves is empty.
//!
//! Not here: when to move, and how many at a time; [`SlotPlan::due`] cuts as much off a plan as is asked for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::command::{SlotTargetV1, StartMigrationsV1};
use super::routing::Routing;
use super::sharding::{ShardingError, ShardingStrategy, Weighted};
use crate::model::{GroupId, SLOTS, Slot};

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
