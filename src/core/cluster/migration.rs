//! Slots that move from one group to another, as the meta group applies it (lock protocol, section 7).
//!
//! Each attempt has an epoch of its own, the next one of a counter that never goes back; an attempt that was given up leaves a
//! gap. The groups are told what to do by whoever leads the meta group, and what has come of it is said here: the copy
//! is installed, the slot is switched, which is the point of no return, and the rest is tidied up. Until the switch the
//! attempt can be given up, and then both sides are put back first.
//!
//! Every word names its attempt. Said again, it gets the same answer and changes nothing. A word that no longer fits is
//! refused: what became of an attempt whose record is gone is read off the table, since the epochs of a slot only rise.
//! Only of an attempt that was followed by another switch nothing is known any more.
//!
//! Not here: freezing, copying, installing, which is the groups' part, and which slots should move ([`resharding`]).
//!
//! [`resharding`]: super::resharding

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::command::{AttemptV1, GroupFault, MetaRefusal, MigrationFault, SlotTargetV1, StartMigrationsV1};
use super::meta::Meta;
use super::routing::{Routing, SlotRoute};
use crate::model::{Epoch, GroupId, SLOTS, Slot};

/// How far an attempt is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Phase {
    /// The source is to freeze the slot, the target to install a copy of it.
    Started,
    /// The target has installed it, and may be given the slot.
    Installed,
    /// The slot is the target's: it is to serve it, the source to drop it.
    Switched,
    /// Given up: the source is to serve the slot again, the target to throw its copy away.
    Aborting,
}

/// A slot on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Migration {
    /// The group that owned it when the attempt was started.
    pub source: GroupId,
    /// The group that is to own it.
    pub target: GroupId,
    /// The name of the attempt, and the epoch of the slot once it is switched.
    pub epoch: Epoch,
    /// How far it is.
    pub phase: Phase,
}

impl Phase {
    /// Whether an attempt goes from here to there.
    pub fn may_become(self, next: Phase) -> bool {
        match (self, next) {
            (Phase::Started, Phase::Installed | Phase::Aborting) => true,
            (Phase::Installed, Phase::Switched | Phase::Aborting) => true,
            (Phase::Started, Phase::Started | Phase::Switched)
            | (Phase::Installed, Phase::Started | Phase::Installed)
            | (Phase::Switched | Phase::Aborting, _) => false,
        }
    }

    /// Whether an attempt that is here has been there, or is there.
    fn has_been(self, there: Phase) -> bool {
        self == there || (self, there) == (Phase::Switched, Phase::Installed)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Started => "started",
            Phase::Installed => "installed",
            Phase::Switched => "switched",
            Phase::Aborting => "being aborted",
        })
    }
}

impl Migration {
    /// Who owns the slot when this has come to its end.
    pub fn heir(&self) -> GroupId {
        match self.phase {
            Phase::Started | Phase::Installed | Phase::Switched => self.target,
            Phase::Aborting => self.source,
        }
    }

    fn concerns(&self, group: GroupId) -> bool {
        self.source == group || self.target == group
    }
}

impl Routing {
    /// The slots that are on their way, ascending; with those that only have to be tidied up.
    pub fn migrations(&self) -> impl Iterator<Item = (Slot, &Migration)> {
        self.migrations.iter().map(|(slot, migration)| (*slot, migration))
    }

    /// How far a slot is on its way, if it is.
    pub fn migration(&self, slot: Slot) -> Option<&Migration> {
        self.migrations.get(&slot)
    }

    /// The migrations that a group gives to or takes from.
    pub fn migrations_of(&self, group: GroupId) -> impl Iterator<Item = (Slot, &Migration)> {
        self.migrations().filter(move |(_, migration)| migration.concerns(group))
    }

    /// The highest epoch that was ever given out: the next attempt gets the one after it.
    pub fn last_epoch(&self) -> Epoch {
        self.last_epoch
    }

    /// The owner of each slot when all migrations under way have come to their end, by slot number. Empty before the
    /// founding.
    pub fn heirs(&self) -> Vec<GroupId> {
        let mut heirs: Vec<GroupId> = self.slots.iter().map(|route| route.group).collect();
        for (slot, migration) in self.migrations() {
            if let Some(heir) = heirs.get_mut(usize::from(slot.0)) {
                *heir = migration.heir();
            }
        }
        heirs
    }

    /// Whether the slot is owned by what this attempt has brought.
    fn was_switched(&self, attempt: AttemptV1) -> bool {
        attempt.epoch > Epoch::FOUNDING && self.epoch_of(attempt.slot) == Some(attempt.epoch)
    }

    /// Whether an attempt of which there is no record came to nothing: it would have been the latest to be switched.
    fn was_undone(&self, attempt: AttemptV1) -> bool {
        attempt.epoch <= self.last_epoch && self.epoch_of(attempt.slot).is_some_and(|epoch| epoch < attempt.epoch)
    }

    /// Whether these attempts were started, and none was undone since.
    fn has_started(&self, wish: &StartMigrationsV1) -> bool {
        wish.after >= Epoch::FOUNDING
            && attempts(wish).all(|(SlotTargetV1 { slot, target }, epoch)| {
                let known = self.migration(slot).map(|migration| (migration.target, migration.epoch));
                let owned = self.slot(slot).map(|route| (route.group, route.epoch));
                known == Some((target, epoch)) || owned == Some((target, epoch))
            })
    }
}

impl Meta {
    pub(super) fn start_migrations(&mut self, wish: &StartMigrationsV1) -> Result<bool, MetaRefusal> {
        let fault = |fault| Err(MetaRefusal::Migration(fault));
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        let slots: BTreeSet<Slot> = wish.slots.iter().map(|wish| wish.slot).collect();
        if slots.is_empty() || slots.len() != wish.slots.len() || slots.iter().any(|slot| slot.0 >= SLOTS) {
            return fault(MigrationFault::List);
        }
        let last = self.routing.last_epoch;
        if wish.after != last {
            return if self.routing.has_started(wish) { Ok(false) } else { fault(MigrationFault::Outdated { last }) };
        }
        let started: Vec<(Slot, Migration)> = attempts(wish)
            .map(|(wish, epoch)| Ok((wish.slot, self.migration_to(wish, epoch)?)))
            .collect::<Result<_, MetaRefusal>>()?;
        if let Some((_, latest)) = started.last() {
            self.routing.last_epoch = latest.epoch;
        }
        Arc::make_mut(&mut self.routing.migrations).extend(started);
        Ok(true)
    }

    fn migration_to(&self, wish: SlotTargetV1, epoch: Epoch) -> Result<Migration, MetaRefusal> {
        let SlotTargetV1 { slot, target } = wish;
        let fault = |fault| Err(MetaRefusal::Migration(fault));
        if let Some(moving) = self.routing.migration(slot) {
            return fault(MigrationFault::Moving { slot, epoch: moving.epoch });
        }
        if self.routing.group(target).ok_or(MetaRefusal::UnknownGroup(target))?.is_going() {
            return Err(MetaRefusal::Group(GroupFault::Removed(target)));
        }
        match self.routing.group_of(slot) {
            Some(source) if source != target => Ok(Migration { source, target, epoch, phase: Phase::Started }),
            Some(group) => fault(MigrationFault::Owned { slot, group }),
            None => fault(MigrationFault::List),
        }
    }

    pub(super) fn migration_installed(&mut self, attempt: AttemptV1) -> Result<bool, MetaRefusal> {
        self.go_on(attempt, Phase::Installed)
    }

    pub(super) fn switch_slot(&mut self, attempt: AttemptV1) -> Result<bool, MetaRefusal> {
        let changed = self.go_on(attempt, Phase::Switched)?;
        let target = self.routing.migration(attempt.slot).map(|migration| migration.target);
        if let Some(group) = target.filter(|_| changed)
            && let Some(route) = Arc::make_mut(&mut self.routing.slots).get_mut(usize::from(attempt.slot.0))
        {
            *route = SlotRoute { group, epoch: attempt.epoch };
        }
        Ok(changed)
    }

    pub(super) fn migration_done(&mut self, attempt: AttemptV1) -> Result<bool, MetaRefusal> {
        self.end(attempt, Phase::Switched)
    }

    pub(super) fn abort_migration(&mut self, attempt: AttemptV1) -> Result<bool, MetaRefusal> {
        self.go_on(attempt, Phase::Aborting)
    }

    pub(super) fn migration_undone(&mut self, attempt: AttemptV1) -> Result<bool, MetaRefusal> {
        self.end(attempt, Phase::Aborting)
    }

    fn go_on(&mut self, attempt: AttemptV1, next: Phase) -> Result<bool, MetaRefusal> {
        let Some(phase) = self.phase(attempt) else { return self.ended(attempt, next) };
        if phase.has_been(next) {
            return Ok(false);
        }
        let AttemptV1 { slot, epoch } = attempt;
        if !phase.may_become(next) {
            return Err(MetaRefusal::Migration(MigrationFault::Phase { slot, epoch, phase }));
        }
        if let Some(migration) = Arc::make_mut(&mut self.routing.migrations).get_mut(&slot) {
            migration.phase = next;
        }
        Ok(true)
    }

    /// Nothing is left to do after `last`: the record goes.
    fn end(&mut self, attempt: AttemptV1, last: Phase) -> Result<bool, MetaRefusal> {
        let AttemptV1 { slot, epoch } = attempt;
        match self.phase(attempt) {
            None => self.ended(attempt, last),
            Some(phase) if phase == last => {
                Arc::make_mut(&mut self.routing.migrations).remove(&slot);
                Ok(true)
            }
            Some(phase) => Err(MetaRefusal::Migration(MigrationFault::Phase { slot, epoch, phase })),
        }
    }

    fn phase(&self, attempt: AttemptV1) -> Option<Phase> {
        let migration = self.routing.migration(attempt.slot)?;
        (migration.epoch == attempt.epoch).then_some(migration.phase)
    }

    /// The answer about an attempt that has no record any more, to a word that would have led it through `phase`.
    fn ended(&self, attempt: AttemptV1, phase: Phase) -> Result<bool, MetaRefusal> {
        if self.routing.cluster.is_none() {
            return Err(MetaRefusal::NotFounded);
        }
        let AttemptV1 { slot, epoch } = attempt;
        let end = [
            (Phase::Switched, self.routing.was_switched(attempt)),
            (Phase::Aborting, self.routing.was_undone(attempt)),
        ];
        match end.into_iter().find(|(_, is_so)| *is_so) {
            Some((end, _)) if end.has_been(phase) => Ok(false),
            Some((Phase::Switched, _)) => {
                Err(MetaRefusal::Migration(MigrationFault::Phase { slot, epoch, phase: Phase::Switched }))
            }
            Some(_) | None => Err(MetaRefusal::Migration(MigrationFault::Over { slot, epoch })),
        }
    }
}

/// Each slot with the epoch that its attempt gets.
fn attempts(wish: &StartMigrationsV1) -> impl Iterator<Item = (SlotTargetV1, Epoch)> + '_ {
    let first = wish.after.0.saturating_add(1);
    wish.slots.iter().copied().zip((first..=u64::MAX).map(Epoch))
}

#[cfg(test)]
mod tests;
