//! Source: FoundationDB's Cycle workload; simulation notes, B6.
//!
//! B11, one ring: rows of all AT databases that name each other in a ring do so at rest, though transactions have swapped neighbours all
//! the while. A swap that was done in part, undone in part or made of what another one had changed leaves none, or several.

use super::{Finding, Judgement, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;

/// See the page.
pub struct OneRing;

impl Oracle for OneRing {
    fn name(&self) -> &'static str {
        "B11"
    }

    fn at_rest(&mut self, _ghost: &Ghost, bank: &Bank) -> Judgement {
        bank.walk_ring().map_err(|text| Finding::new(format!("it is no ring any more: {text}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::Effect;
    use crate::bank::ring::tests::{bank, make, swap_behind};

    fn judge(bank: &Bank) -> Judgement {
        OneRing.at_rest(&Ghost::default(), bank)
    }

    #[test]
    fn a_ring_is_walked_to_its_end() {
        let mut bank = bank();
        assert_eq!(judge(&bank), Ok(()));
        for change in swap_behind(&bank, 2) {
            make(&mut bank, 1, change);
        }
        assert_eq!(judge(&bank), Ok(()));
        assert_eq!(judge(&Bank::default()), Ok(()), "where there is none");
    }

    #[test]
    fn half_a_swap_leaves_none() {
        for without in 0..3 {
            let mut bank = bank();
            let changes = swap_behind(&bank, 2);
            let mut undone = Vec::new();
            for (number, change) in changes.into_iter().enumerate() {
                let made = make(&mut bank, 1, change).expect("it is as it was read");
                undone.extend((number != without).then_some(made));
            }
            let (resource, key) = undone.pop().expect("two are left");
            let undo = |bank: &mut Bank| bank.at.get_mut(&resource).map(|table| table.roll_back(key));
            assert_eq!(undo(&mut bank), Some(Ok(Effect::RolledBack)));
            assert!(judge(&bank).is_err());
            assert_eq!(bank.sum(), 0, "and no money is missing");
        }
    }

    #[test]
    fn two_swaps_of_the_same_rows_leave_none() {
        let mut bank = bank();
        let (one, other) = (swap_behind(&bank, 0), swap_behind(&bank, 1));
        for change in one {
            make(&mut bank, 1, change);
        }
        // As if it had not been looked at again.
        for change in other {
            let from = bank.successor(change.row).expect("it is there");
            make(&mut bank, 2, crate::bank::ring::Change { from, ..change });
        }
        assert!(judge(&bank).is_err());
    }
}
