//! How an entry moves a slot from group to group: the guards and effects of the lock protocol, rules 16 and 18 to 23.
//!
//! The meta group allots an epoch to every attempt and says which step is due; each step is sent until its outcome is known.
//! The guards make a late or doubled one harmless: freezing and installing are refused once a later epoch was seen, all other
//! steps name their attempt. A step that took effect before is answered as the first time, as far as the state still shows it.
//!
//! Not here: the copy itself (`copy`), and which of the steps are due.

use super::command::{InstallSlotV1, SlotStepV1};
use super::copy::{self, Added};
use super::outcome::{Outcome, Refusal};
use super::slot::{Ownership, SlotState};
use super::state::Transactions;
use crate::model::{Epoch, SLOTS, Slot};

impl Transactions {
    /// Rule 16. From here on nothing changes in the slot, not even its tombstones, until the attempt ends.
    pub(super) fn freeze_slot(&mut self, step: &SlotStepV1) -> Result<Outcome, Refusal> {
        let SlotStepV1 { slot, epoch: attempt } = *step;
        let (ownership, seen) = self.slot_stands(slot)?;
        match ownership {
            Ownership::Active(epoch) if epoch < attempt && attempt > seen => {
                Ok(self.stand(slot, Ownership::Frozen { epoch, attempt }, seen))
            }
            Ownership::Active(_) => Err(Refusal::AttemptOver { seen }),
            Ownership::Frozen { attempt: held, .. } if held == attempt => Ok(Outcome::Slot(ownership)),
            Ownership::None | Ownership::Passive(_) | Ownership::Frozen { .. } | Ownership::Installing { .. } => {
                Err(Refusal::SlotStands { ownership })
            }
        }
    }

    /// Rule 18, chunk by chunk. The first one of a later attempt takes the place of what an earlier one has left.
    pub(super) fn install_slot(&mut self, install: &InstallSlotV1) -> Result<Outcome, Refusal> {
        let InstallSlotV1 { slot, epoch: attempt, chunk, ref bytes } = *install;
        let (ownership, seen) = self.slot_stands(slot)?;
        let stands = Err(Refusal::SlotStands { ownership });
        let expected = match ownership {
            Ownership::Active(_) | Ownership::Frozen { .. } => return stands,
            Ownership::Passive(held) if held == attempt => return Ok(Outcome::Slot(ownership)),
            Ownership::Installing { attempt: held, chunks } if held == attempt && chunk < chunks => {
                return Ok(Outcome::Slot(ownership));
            }
            Ownership::Passive(held) | Ownership::Installing { attempt: held, .. } if held > attempt => return stands,
            Ownership::Installing { attempt: held, chunks } if held == attempt => chunks,
            Ownership::None | Ownership::Passive(_) | Ownership::Installing { .. } => 0,
        };
        if attempt <= seen {
            return Err(Refusal::AttemptOver { seen });
        }
        if chunk != expected {
            return Err(Refusal::ChunkExpected { chunk: expected });
        }
        let here = self.slots.get(slot).filter(|_| chunk > 0).cloned();
        let before = here.unwrap_or_else(|| SlotState::empty(Ownership::None, seen, 0));
        let Added { mut state, counter, is_whole } = copy::add_chunk(slot, before, self.clock_ms, bytes)?;
        let ownership = match (is_whole, chunk.checked_add(1)) {
            (true, _) => Ownership::Passive(attempt),
            (false, Some(chunks)) => Ownership::Installing { attempt, chunks },
            (false, None) => return Err(Refusal::BadCopy { what: "it has too many chunks".into() }),
        };
        state.stand(ownership);
        self.counter = self.counter.max(counter);
        self.put_slot(slot, state);
        Ok(Outcome::Slot(ownership))
    }

    /// Rule 20.
    pub(super) fn activate_slot(&mut self, step: &SlotStepV1) -> Result<Outcome, Refusal> {
        let SlotStepV1 { slot, epoch: attempt } = *step;
        let (ownership, seen) = self.slot_stands(slot)?;
        match ownership {
            Ownership::Passive(held) if held == attempt => {
                Ok(self.stand(slot, Ownership::Active(attempt), seen.max(attempt)))
            }
            Ownership::Active(held) if held == attempt => Ok(Outcome::Slot(ownership)),
            Ownership::None
            | Ownership::Passive(_)
            | Ownership::Active(_)
            | Ownership::Frozen { .. }
            | Ownership::Installing { .. } => Err(Refusal::SlotStands { ownership }),
        }
    }

    /// Rule 21. A slot that is not here, and of which the attempt was seen, was dropped before.
    pub(super) fn drop_slot(&mut self, step: &SlotStepV1) -> Result<Outcome, Refusal> {
        let SlotStepV1 { slot, epoch: attempt } = *step;
        let (ownership, seen) = self.slot_stands(slot)?;
        match ownership {
            Ownership::Frozen { attempt: held, .. } if held == attempt => Ok(self.clear(slot, seen.max(attempt))),
            Ownership::None if attempt <= seen => Ok(Outcome::Slot(ownership)),
            Ownership::None
            | Ownership::Passive(_)
            | Ownership::Active(_)
            | Ownership::Frozen { .. }
            | Ownership::Installing { .. } => Err(Refusal::SlotStands { ownership }),
        }
    }

    /// Rule 22. Closes the attempt in any case, so that its freeze comes too late if it comes yet.
    pub(super) fn unfreeze_slot(&mut self, step: &SlotStepV1) -> Result<Outcome, Refusal> {
        let SlotStepV1 { slot, epoch: attempt } = *step;
        let (ownership, seen) = self.slot_stands(slot)?;
        let stands = match ownership {
            Ownership::Frozen { epoch, attempt: held } if held == attempt => Ownership::Active(epoch),
            other => other,
        };
        Ok(self.stand(slot, stands, seen.max(attempt)))
    }

    /// Rule 23. Closes the attempt, so that what of its copy comes yet comes too late.
    pub(super) fn discard_slot(&mut self, step: &SlotStepV1) -> Result<Outcome, Refusal> {
        let SlotStepV1 { slot, epoch: attempt } = *step;
        let (ownership, seen) = self.slot_stands(slot)?;
        let seen = seen.max(attempt);
        match ownership {
            Ownership::Active(_) | Ownership::Frozen { .. } => Err(Refusal::SlotStands { ownership }),
            Ownership::Passive(held) | Ownership::Installing { attempt: held, .. } if held == attempt => {
                Ok(self.clear(slot, seen))
            }
            Ownership::None | Ownership::Passive(_) | Ownership::Installing { .. } => {
                Ok(self.stand(slot, ownership, seen))
            }
        }
    }

    /// How the group stands to a slot, and the highest epoch seen of it. A group that was not founded takes part in nothing:
    /// its founding would not know what came before.
    fn slot_stands(&self, slot: Slot) -> Result<(Ownership, Epoch), Refusal> {
        if slot.0 >= SLOTS {
            return Err(Refusal::NoSuchSlot);
        }
        if !self.is_founded() {
            return Err(Refusal::NotFounded);
        }
        Ok(self.slots.get(slot).map_or((Ownership::None, Epoch(0)), |state| (state.ownership(), state.seen)))
    }

    fn stand(&mut self, slot: Slot, ownership: Ownership, seen: Epoch) -> Outcome {
        match self.slots.get(slot) {
            // A repeat must copy nothing.
            Some(state) if state.ownership() == ownership && state.seen == seen => return Outcome::Slot(ownership),
            Some(_) => {}
            None => self.put_slot(slot, SlotState::default()),
        }
        self.change(slot, |state| {
            state.stand(ownership);
            state.seen = seen;
        });
        Outcome::Slot(ownership)
    }

    /// All that is here of a slot goes, but for the epoch.
    fn clear(&mut self, slot: Slot, seen: Epoch) -> Outcome {
        self.put_slot(slot, SlotState::empty(Ownership::None, seen, 0));
        Outcome::Slot(Ownership::None)
    }
}
