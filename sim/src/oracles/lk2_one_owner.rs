//! Source: lock protocol, section 7 (Ownership) and oracle LK2; simulation notes, E1 and E3.
//!
//! LK2, one owner: at most one group has a slot Active, as far as each group's newest applied state says, and nobody else begins,
//! registers, decides, locks, lets go or answers for it.
//!
//! A slot that is frozen is nobody's until it is unfrozen, or active elsewhere.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{GroupId, Slot, TransactionId, hash};
use quorate_core::txn::{Command, Outcome, Ownership};
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct OneOwner {
    owners: BTreeMap<Slot, GroupId>,
}

impl OneOwner {
    fn takes(&mut self, group: GroupId, slots: &[Slot]) -> Judgement {
        for slot in slots {
            let owner = *self.owners.entry(*slot).or_insert(group);
            if owner != group {
                let text = format!("slot {} is Active in it, and in group {owner}", slot.0);
                return Err(Finding::new(text).in_group(group));
            }
        }
        Ok(())
    }

    fn rests(&mut self, group: GroupId, slot: Slot) {
        if self.owners.get(&slot) == Some(&group) {
            self.owners.remove(&slot);
        }
    }

    fn owns(&self, group: GroupId, slot: Slot, what: &str) -> Judgement {
        let owner = self.owners.get(&slot).copied();
        if owner == Some(group) {
            return Ok(());
        }
        Err(Finding::new(format!("it {what} slot {}, whose owner is {owner:?}", slot.0)).in_group(group))
    }

    fn answers(&self, group: GroupId, transaction: TransactionId) -> Judgement {
        self.owns(group, transaction.slot(), "answers for")
            .map_err(|found| Finding { transaction: Some(transaction), ..found })
    }
}

impl Oracle for OneOwner {
    fn name(&self) -> &'static str {
        "LK2"
    }

    fn step(&mut self, _ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let group = step.group;
        match (step.command, step.outcome) {
            (Command::Found(found), Outcome::Done) => self.takes(group, &found.slots),
            (Command::FreezeSlot(step), Outcome::Slot(_)) => {
                self.rests(group, step.slot);
                Ok(())
            }
            (Command::ActivateSlot(step) | Command::UnfreezeSlot(step), Outcome::Slot(Ownership::Active(_))) => {
                self.takes(group, &[step.slot])
            }
            (_, Outcome::Begun(transaction)) => self.owns(group, transaction.slot(), "begins a transaction in"),
            (Command::RegisterBranch(register), Outcome::Registered) => {
                self.owns(group, register.transaction.slot(), "registers a branch in")?;
                match register.with_locks {
                    true => self.owns(group, hash::lock_slot(&register.resource), "locks rows in"),
                    false => Ok(()),
                }
            }
            (Command::Decide(decide), Outcome::Decided(_)) => self.owns(group, decide.transaction.slot(), "decides in"),
            (Command::AcquireLocks(acquire), Outcome::Acquired) => {
                self.owns(group, hash::lock_slot(&acquire.resource), "locks rows in")
            }
            (Command::ReleaseLocks(release), Outcome::Released) => self.owns(group, release.slot, "lets rows go in"),
            _ => Ok(()),
        }
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Looked { node, group, transaction } | Seen::Gone { node, group, transaction, .. } => {
                self.answers(*group, *transaction).map_err(|found| found.at_node(*node))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, GROUP, home};
    use super::*;
    use quorate_core::model::{Epoch, NodeId};
    use quorate_core::txn::ReleaseScope;
    use quorate_core::txn::command::{FoundV1, ReleaseLocksV1, SlotStepV1};

    const OTHER: GroupId = GroupId(2);

    fn founds(oracle: &mut OneOwner, group: GroupId, slots: &[u16]) -> Judgement {
        let slots = slots.iter().copied().map(Slot).collect();
        let command = Command::Found(FoundV1 { slots, epoch: Epoch(1), sequence: 1 });
        oracle.step(&Ghost::default(), &Step { group, command: &command, outcome: &Outcome::Done })
    }

    #[test]
    fn a_slot_has_one_owner_and_it_alone_speaks_for_it() {
        let mut oracle = OneOwner::default();
        assert_eq!(founds(&mut oracle, GROUP, &[FIRST.slot().0, 7]), Ok(()));
        assert_eq!(founds(&mut oracle, OTHER, &[8]), Ok(()));
        let looks = |group| Seen::Looked { node: NodeId(1), group, transaction: FIRST };
        assert_eq!(oracle.see(&home(""), &looks(GROUP)), Ok(()));
        assert!(oracle.see(&home(""), &looks(OTHER)).is_err());
        let command =
            Command::ReleaseLocks(ReleaseLocksV1 { transaction: FIRST, slot: Slot(8), scope: ReleaseScope::All });
        let mut releases =
            |group| oracle.step(&home(""), &Step { group, command: &command, outcome: &Outcome::Released });
        assert_eq!(releases(OTHER), Ok(()));
        assert!(releases(GROUP).is_err(), "a stranger lets go");
        assert!(founds(&mut oracle, OTHER, &[9, 7]).is_err(), "two owners");
    }

    #[test]
    fn a_frozen_slot_is_nobodys_until_somebody_has_it_again() {
        let mut oracle = OneOwner::default();
        assert_eq!(founds(&mut oracle, GROUP, &[7]), Ok(()));
        let step = SlotStepV1 { slot: Slot(7), epoch: Epoch(5) };
        let frozen = Outcome::Slot(Ownership::Frozen { epoch: Epoch(1), attempt: Epoch(5) });
        let mut says = |group, command: Command, outcome: Outcome| {
            oracle.step(&home(""), &Step { group, command: &command, outcome: &outcome })
        };
        let active = |epoch| Outcome::Slot(Ownership::Active(Epoch(epoch)));
        assert!(says(OTHER, Command::ActivateSlot(step), active(5)).is_err(), "it is not frozen");
        assert_eq!(says(GROUP, Command::FreezeSlot(step), frozen.clone()), Ok(()));
        let releases = ReleaseLocksV1 { transaction: FIRST, slot: Slot(7), scope: ReleaseScope::All };
        let releases = Command::ReleaseLocks(releases);
        assert!(says(GROUP, releases.clone(), Outcome::Released).is_err(), "it is frozen");
        assert_eq!(says(GROUP, Command::UnfreezeSlot(step), active(1)), Ok(()));
        assert_eq!(says(GROUP, releases.clone(), Outcome::Released), Ok(()));
        assert_eq!(says(GROUP, Command::FreezeSlot(step), frozen.clone()), Ok(()));
        assert_eq!(says(OTHER, Command::ActivateSlot(step), active(5)), Ok(()));
        assert_eq!(says(GROUP, Command::FreezeSlot(step), frozen), Ok(()), "a late one takes nothing away");
        assert_eq!(says(OTHER, releases, Outcome::Released), Ok(()));
    }
}
