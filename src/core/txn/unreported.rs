//! Branches of undecided transactions of which no RM has said anything yet, counted by the second of their registration, so
//! that nobody who wants to know how many are how old looks at the sessions.
//!
//! [`Seconds`] is what one session has, [`Unreported`] what a group has. Derived: it is in no snapshot.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Of one session: seconds of the group clock, ascending, and how many branches were registered in each. Most have one.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Seconds(Vec<(u64, u64)>);

impl Seconds {
    /// A branch that was registered then.
    pub(super) fn add(&mut self, clock_ms: u64) {
        let second = clock_ms / 1_000;
        match self.0.binary_search_by_key(&second, |(second, _)| *second) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (second, 1)),
        }
    }

    /// It has gone, or was reported.
    pub(super) fn remove(&mut self, clock_ms: u64) {
        let second = clock_ms / 1_000;
        if let Ok(at) = self.0.binary_search_by_key(&second, |(second, _)| *second) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
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
        for (second, count) in before.0 {
            self.total -= count;
            if let Some(left) = self.seconds.get_mut(&second) {
                *left -= count;
                if *left == 0 {
                    self.seconds.remove(&second);
                }
            }
        }
        for (second, count) in after.0 {
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
        group.exchange(Changed { before: session, after: Seconds::default() });
        assert_eq!(group, Unreported::default());
    }
}
