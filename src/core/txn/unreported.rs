//! Branches of undecided transactions of which no RM has said anything yet, counted by the second of their registration, so
//! that nobody who wants to know how many are how old looks at the sessions.
//!
//! [`Seconds`] is what one session has, [`Unreported`] what a group has. Derived: it is in no snapshot.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Of one session: seconds of the group clock, ascending, and how many branches were registered in each. Most have one, and
/// every change of a session copies them, so one lies here itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Seconds {
    /// The count is 0: there is none.
    first: (u64, u64),
    later: Vec<(u64, u64)>,
}

impl Seconds {
    /// A branch that was registered then.
    pub(super) fn add(&mut self, clock_ms: u64) {
        let second = clock_ms / 1_000;
        if self.first.1 == 0 {
            self.first = (second, 1);
        } else if second == self.first.0 {
            self.first.1 += 1;
        } else if second < self.first.0 {
            self.later.insert(0, core::mem::replace(&mut self.first, (second, 1)));
        } else {
            match self.place(second) {
                Ok(at) => self.later[at].1 += 1,
                Err(at) => self.later.insert(at, (second, 1)),
            }
        }
    }

    /// It has gone, or was reported.
    pub(super) fn remove(&mut self, clock_ms: u64) {
        let second = clock_ms / 1_000;
        if self.first.1 > 0 && second == self.first.0 {
            self.first.1 -= 1;
            if self.first.1 == 0 {
                self.first = if self.later.is_empty() { (0, 0) } else { self.later.remove(0) };
            }
        } else if let Ok(at) = self.place(second) {
            self.later[at].1 -= 1;
            if self.later[at].1 == 0 {
                self.later.remove(at);
            }
        }
    }

    fn place(&self, second: u64) -> Result<usize, usize> {
        self.later.binary_search_by_key(&second, |(second, _)| *second)
    }

    fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        core::iter::once(self.first).filter(|(_, count)| *count > 0).chain(self.later.iter().copied())
    }
}

/// Of a group.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Unreported {
    seconds: BTreeMap<u64, u64>,
    total: u64,
}

impl Unreported {
    /// A session has so many more or fewer than before.
    pub(super) fn exchange(&mut self, changed: Changed) {
        let Changed { before, after } = changed;
        for (second, count) in before.iter() {
            self.total -= count;
            if let Some(left) = self.seconds.get_mut(&second) {
                *left -= count;
                if *left == 0 {
                    self.seconds.remove(&second);
                }
            }
        }
        for (second, count) in after.iter() {
            self.total += count;
            *self.seconds.entry(second).or_default() += count;
        }
    }

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Those of at least this age, of which the last second is counted when it is over. Looks at as many seconds as the age
    /// has, at most.
    pub(super) fn older_than(&self, age_s: u64, clock_ms: u64) -> u64 {
        let Some(until_ms) = clock_ms.checked_sub(age_s * 1_000) else { return 0 };
        let younger: u64 = self.seconds.range(until_ms / 1_000..).map(|(_, count)| *count).sum();
        self.total - younger
    }
}

/// What a change has done to a session.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Changed {
    pub(super) before: Seconds,
    pub(super) after: Seconds,
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn counted_by_whole_seconds() {
        let mut session = Seconds::default();
        [1_999, 1_000, 7_500].into_iter().for_each(|clock_ms| session.add(clock_ms));
        let mut group = Unreported::default();
        group.exchange(Changed { before: Seconds::default(), after: session.clone() });
        let older = |group: &Unreported, clock_ms| [0, 1, 6].map(|age_s| group.older_than(age_s, clock_ms));
        assert_eq!((group.total(), older(&group, 500)), (3, [0, 0, 0]));
        assert_eq!(older(&group, 2_999), [2, 0, 0], "the second is not over");
        assert_eq!(older(&group, 3_000), [2, 2, 0]);
        assert_eq!(older(&group, 9_000), [3, 3, 2]);
        let before = session.clone();
        [1_000, 1_500].into_iter().for_each(|clock_ms| session.remove(clock_ms));
        group.exchange(Changed { before, after: session.clone() });
        assert_eq!((group.total(), older(&group, 9_000)), (1, [1, 1, 0]));
        group.exchange(Changed { before: session.clone(), after: Seconds::default() });
        assert_eq!(group, Unreported::default());
        session.remove(7_000);
        assert_eq!(session, Seconds::default());
    }

    #[test]
    fn any_order_is_the_same_order() {
        let of = |all: &[u64]| {
            let mut seconds = Seconds::default();
            all.iter().for_each(|second| seconds.add(second * 1_000));
            seconds
        };
        let sorted = of(&[1, 2, 2, 5]);
        for all in [[5, 2, 1, 2], [2, 5, 2, 1], [2, 1, 5, 2]] {
            let mut seconds = of(&all);
            assert_eq!(seconds, sorted);
            for (second, left) in [(1, vec![(2, 2), (5, 1)]), (5, vec![(2, 2)]), (9, vec![(2, 2)]), (2, vec![(2, 1)])] {
                seconds.remove(second * 1_000);
                assert_eq!(seconds.iter().collect::<Vec<_>>(), left);
            }
        }
    }
}
