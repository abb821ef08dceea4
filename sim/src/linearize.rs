//! Source: Wing and Gong, Testing and Verifying Concurrent Objects; Lowe, Testing for Linearizability (to remember what led nowhere).
//!
//! Operations on one register, each called and returned at a moment: is there an order in which nothing comes before what had returned
//! when it was called, and in which every read gives what was written last? A search, and nothing else: it knows no transaction.
//!
//! Whoever was never answered is not in the history: a read that nobody heard of proves nothing.

use std::collections::BTreeSet;

/// When: how many events were before.
pub type Moment = u64;

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Does<V, R> {
    /// The register has this value from then on.
    Writes(V),
    /// Somebody was told this.
    Reads(R),
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation<V, R> {
    /// It took effect at this moment at the earliest,
    pub called: Moment,
    /// and at this one at the latest.
    pub returned: Moment,
    /// See there.
    pub does: Does<V, R>,
}

/// An order of all operations, by their places, if there is one. `fits`: whether who finds this value is told that.
pub fn order<V: Copy + Ord, R>(
    first: V,
    operations: &[Operation<V, R>],
    fits: impl Fn(V, &R) -> bool,
) -> Option<Vec<usize>> {
    let mut search = Search { operations, fits, order: Vec::new(), tried: BTreeSet::new() };
    search.goes_on(first).then_some(search.order)
}

struct Search<'a, V, R, F> {
    operations: &'a [Operation<V, R>],
    fits: F,
    order: Vec<usize>,
    /// What was in order already, and the value then.
    tried: BTreeSet<(Vec<bool>, V)>,
}

impl<V: Copy + Ord, R, F: Fn(V, &R) -> bool> Search<'_, V, R, F> {
    fn goes_on(&mut self, value: V) -> bool {
        let mut is_done = vec![false; self.operations.len()];
        self.order.iter().for_each(|place| is_done[*place] = true);
        let left: Vec<usize> = (0..is_done.len()).filter(|place| !is_done[*place]).collect();
        let Some(first_return) = left.iter().map(|place| self.operations[*place].returned).min() else { return true };
        if !self.tried.insert((is_done, value)) {
            return false;
        }
        for place in left {
            let Operation { called, ref does, .. } = self.operations[place];
            let now = match does {
                _ if called > first_return => continue,
                Does::Writes(written) => *written,
                Does::Reads(told) if (self.fits)(value, told) => value,
                Does::Reads(_) => continue,
            };
            self.order.push(place);
            if self.goes_on(now) {
                return true;
            }
            self.order.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(called: Moment, returned: Moment, value: u8) -> Operation<u8, u8> {
        Operation { called, returned, does: Does::Writes(value) }
    }

    fn reads(called: Moment, returned: Moment, value: u8) -> Operation<u8, u8> {
        Operation { called, returned, does: Does::Reads(value) }
    }

    fn order(operations: &[Operation<u8, u8>]) -> Option<Vec<usize>> {
        super::order(0, operations, |value, told| value == *told)
    }

    #[test]
    fn who_asks_meanwhile_may_hear_either() {
        for told in [0, 1] {
            assert!(order(&[writes(2, 5, 1), reads(1, 3, told)]).is_some());
            assert!(order(&[writes(2, 5, 1), reads(4, 9, told)]).is_some());
        }
        assert_eq!(order(&[writes(2, 5, 1), reads(3, 4, 0), reads(3, 4, 1)]), Some(vec![1, 0, 2]));
        assert_eq!(order(&[]), Some(vec![]));
    }

    #[test]
    fn who_asks_later_hears_what_was_written() {
        assert!(order(&[writes(2, 5, 1), reads(6, 7, 1)]).is_some());
        assert_eq!(order(&[writes(2, 5, 1), reads(6, 7, 0)]), None, "what was over");
        assert_eq!(order(&[writes(2, 5, 1), reads(0, 1, 1)]), None, "what was to come");
        assert_eq!(order(&[writes(2, 5, 1), reads(6, 7, 2)]), None, "what never was");
    }

    #[test]
    fn nobody_hears_what_was_there_before_what_another_has_heard() {
        let write = writes(1, 9, 1);
        assert!(order(&[write, reads(2, 3, 0), reads(4, 5, 1)]).is_some());
        assert_eq!(order(&[write, reads(2, 3, 1), reads(4, 5, 0)]), None);
        assert!(order(&[write, reads(2, 4, 1), reads(3, 5, 0)]).is_some(), "at the same time");
    }

    #[test]
    fn writes_may_change_places_while_they_go_on() {
        let both = [writes(1, 4, 1), writes(2, 5, 2)];
        for last in [1, 2] {
            assert!(order(&[both[0], both[1], reads(6, 7, last)]).is_some());
        }
        assert_eq!(order(&[both[0], both[1], reads(6, 7, 1), reads(8, 9, 2)]), None);
    }
}
