//! The slots of a group by their number: found in one step, because every command looks for several.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::slot::SlotState;
use crate::model::{SLOTS, Slot};

/// What is here of each slot. A clone shares the states.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Slots(
    /// By slot number; empty, or one place for each slot that there is.
    Vec<Option<Arc<SlotState>>>,
);

impl Slots {
    pub(super) fn get(&self, slot: Slot) -> Option<&SlotState> {
        self.0.get(usize::from(slot.0))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Arc<SlotState>> {
        self.0.get_mut(usize::from(slot.0))?.as_mut()
    }

    /// Puts in a slot whose number is below [`SLOTS`].
    pub(super) fn insert(&mut self, slot: Slot, state: SlotState) {
        if self.0.is_empty() {
            self.0.resize(usize::from(SLOTS), None);
        }
        self.0[usize::from(slot.0)] = Some(Arc::new(state));
    }

    /// All, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &SlotState)> {
        self.from(Slot(0))
    }

    /// All from this one on, ascending.
    pub(super) fn from(&self, first: Slot) -> impl Iterator<Item = (Slot, &SlotState)> {
        let places = self.0.get(usize::from(first.0)..).unwrap_or_default();
        (first.0..).zip(places).filter_map(|(number, state)| Some((Slot(number), state.as_deref()?)))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &SlotState> {
        self.0.iter().filter_map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;
    use crate::txn::slot::Ownership;

    #[test]
    fn what_is_put_in_is_found_and_comes_out_in_order() {
        let mut slots = Slots::default();
        assert!(slots.get(Slot(0)).is_none() && slots.get_mut(Slot(SLOTS - 1)).is_none());
        for number in [7, SLOTS - 1, 0] {
            slots.insert(Slot(number), SlotState::empty(Ownership::Active(Epoch(1)), Epoch(1), u64::from(number)));
        }
        assert_eq!(slots.iter().map(|(slot, _)| slot.0).collect::<Vec<_>>(), [0, 7, SLOTS - 1]);
        assert_eq!(slots.from(Slot(1)).map(|(_, state)| state.ids_from).collect::<Vec<_>>(), [7, u64::from(SLOTS - 1)]);
        assert!(slots.get(Slot(6)).is_none() && slots.get(Slot(SLOTS)).is_none());
        assert_eq!(slots.get(Slot(7)).map(|state| state.ids_from), Some(7));
    }
}
