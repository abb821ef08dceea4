//! Which group gets which slot. A strategy only proposes; the routing table in the meta group is the truth.
//!
//! The default is a consistent-hash ring, so that the n-th group takes about 1/n of the slots, each from whoever had
//! it, and no slot moves between the others. Frozen by golden vectors (`tests/golden/ring.txt`): two versions of
//! the software that disagree here would propose to move slots for nothing.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::model::hash::{ring_point_of_group, ring_point_of_slot};
use crate::model::{GroupId, SLOTS, Slot};

/// Virtual nodes on the ring per unit of weight.
pub const VIRTUAL_NODES: u32 = 256;
/// A weight beyond it is taken as this: 1,024 groups of it are 4 million points.
pub const WEIGHT_MAX: u32 = 16;

/// A group and how much of the slots it should have, relative to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Weighted {
    /// Which.
    pub group: GroupId,
    /// At least 1.
    pub weight: u32,
}

/// Proposes the owner of every slot. `groups`: at least one, ids distinct; the order does not matter.
pub trait ShardingStrategy {
    /// The owner of each slot, by slot number; 4096 of them.
    fn assign(&self, groups: &[Weighted]) -> Result<Vec<GroupId>, ShardingError>;
}

/// Why a strategy has no proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShardingError {
    /// Nobody to own a slot.
    #[error("there is no group")]
    NoGroup,
    /// A group is listed twice.
    #[error("group {0} is listed twice")]
    Twice(GroupId),
    /// More groups than slots.
    #[error("there are more groups than slots")]
    TooMany,
    /// A table names a group that is not there.
    #[error("the table names group {0}, which is not there")]
    UnknownGroup(GroupId),
    /// A table leaves a slot without owner.
    #[error("the table has no group for slot {0}")]
    Uncovered(Slot),
    /// A table names a slot twice, or one beyond 4095.
    #[error("the table's range {first}-{last} is empty, out of 0-4095 or overlaps another")]
    BadRange {
        /// Its first slot.
        first: u16,
        /// Its last slot.
        last: u16,
    },
    /// A table leaves a group without slot.
    #[error("the table has no slot for group {0}")]
    Slotless(GroupId),
}

/// The consistent-hash ring of design 10.1.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsistentHash;

/// Slot modulo number of groups, weights ignored; for tests, as it moves nearly every slot when a group is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct Modulo;

/// A table of ranges, weights ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explicit {
    /// First and last slot, both included, and their owner.
    pub ranges: Vec<SlotRange>,
}

/// One line of an explicit table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlotRange {
    /// First slot.
    pub first: u16,
    /// Last slot, included.
    pub last: u16,
    /// The owner.
    pub group: GroupId,
}

impl ShardingStrategy for ConsistentHash {
    fn assign(&self, groups: &[Weighted]) -> Result<Vec<GroupId>, ShardingError> {
        let groups = checked(groups)?;
        let ring = ring(&groups);
        let mut slots: Vec<GroupId> = (0..SLOTS).map(|slot| owner_on(&ring, Slot(slot))).collect();
        feed_the_slotless(&mut slots, &groups);
        Ok(slots)
    }
}

impl ShardingStrategy for Modulo {
    fn assign(&self, groups: &[Weighted]) -> Result<Vec<GroupId>, ShardingError> {
        let groups = checked(groups)?;
        Ok((0..usize::from(SLOTS)).map(|slot| groups[slot % groups.len()].group).collect())
    }
}

impl ShardingStrategy for Explicit {
    fn assign(&self, groups: &[Weighted]) -> Result<Vec<GroupId>, ShardingError> {
        let groups = checked(groups)?;
        let mut slots: Vec<Option<GroupId>> = vec![None; usize::from(SLOTS)];
        for range in &self.ranges {
            fill(&mut slots, range, &groups)?;
        }
        let whole: Result<Vec<GroupId>, ShardingError> =
            (0..SLOTS).zip(slots).map(|(slot, group)| group.ok_or(ShardingError::Uncovered(Slot(slot)))).collect();
        let whole = whole?;
        match groups.iter().find(|weighted| !whole.contains(&weighted.group)) {
            Some(slotless) => Err(ShardingError::Slotless(slotless.group)),
            None => Ok(whole),
        }
    }
}

/// The groups in ascending order, each once.
fn checked(groups: &[Weighted]) -> Result<Vec<Weighted>, ShardingError> {
    let mut sorted = groups.to_vec();
    sorted.sort_by_key(|weighted| weighted.group);
    if sorted.is_empty() {
        return Err(ShardingError::NoGroup);
    }
    if sorted.len() > usize::from(SLOTS) {
        return Err(ShardingError::TooMany);
    }
    match sorted.windows(2).find(|pair| pair[0].group == pair[1].group) {
        Some(pair) => Err(ShardingError::Twice(pair[0].group)),
        None => Ok(sorted),
    }
}

/// Every virtual node, in the order of the ring; among equals the lower group stands first.
fn ring(groups: &[Weighted]) -> Vec<(u64, GroupId)> {
    let mut ring: Vec<(u64, GroupId)> = groups
        .iter()
        .flat_map(|weighted| {
            let nodes = VIRTUAL_NODES * weighted.weight.clamp(1, WEIGHT_MAX);
            (0..nodes).map(|node| (ring_point_of_group(weighted.group, node), weighted.group))
        })
        .collect();
    ring.sort_unstable();
    ring
}

/// The group of the first virtual node at or after the slot's point, around the end if need be.
fn owner_on(ring: &[(u64, GroupId)], slot: Slot) -> GroupId {
    let point = ring_point_of_slot(slot);
    let after = ring.partition_point(|(at, _)| *at < point);
    ring[after % ring.len()].1
}

/// A group left without a slot takes the lowest of the group that has most (the lower group if several have).
fn feed_the_slotless(slots: &mut [GroupId], groups: &[Weighted]) {
    let mut held: BTreeMap<GroupId, Vec<usize>> = groups.iter().map(|weighted| (weighted.group, Vec::new())).collect();
    for (slot, group) in slots.iter().enumerate() {
        held.entry(*group).or_default().push(slot);
    }
    for Weighted { group, .. } in groups {
        if held.get(group).is_some_and(|own| !own.is_empty()) {
            continue;
        }
        let richest = held.iter().rev().max_by_key(|(_, own)| own.len()).map(|(richest, _)| *richest);
        // There are at most as many groups as slots, so while one has none another has two.
        let lowest = richest.and_then(|richest| held.get_mut(&richest)).map(|own| own.remove(0));
        let lowest = lowest.expect("some group holds a slot: all 4096 are held");
        slots[lowest] = *group;
        held.entry(*group).or_default().push(lowest);
    }
}

fn fill(slots: &mut [Option<GroupId>], range: &SlotRange, groups: &[Weighted]) -> Result<(), ShardingError> {
    let SlotRange { first, last, group } = *range;
    if !groups.iter().any(|weighted| weighted.group == group) {
        return Err(ShardingError::UnknownGroup(group));
    }
    let span = slots.get_mut(usize::from(first)..usize::from(last) + 1);
    let span = span.filter(|span| !span.is_empty() && span.iter().all(Option::is_none));
    span.ok_or(ShardingError::BadRange { first, last })?.fill(Some(group));
    Ok(())
}

#[cfg(test)]
mod tests;
