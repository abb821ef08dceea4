//! A hint: where transactions of a name locked their rows lately. A transaction that is minted in its lock home takes one
//! command for a branch and its locks in place of two, and none for their release (lock protocol, rule 6; design,
//! section 3).
//!
//! Never more than a hint: a wrong one costs what no hint costs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::GroupId;

use super::guard::locked;

/// Names remembered; beyond that all are forgotten, and learned again.
const NAMES_MAX: usize = 4_096;
/// One Begin in so many goes where its turn is: names that lock in several homes keep being seen in all of them.
const ANYWHERE_EVERY: u64 = 8;

/// Transaction name -> lock home of the last branch.
#[derive(Default)]
pub struct Homes(Mutex<Known>);

#[derive(Default)]
struct Known {
    homes: BTreeMap<Arc<str>, GroupId>,
    asked: u64,
}

impl Homes {
    /// A transaction of this name has locked rows in this group.
    pub fn note(&self, name: &Arc<str>, home: GroupId) {
        let mut known = locked(&self.0);
        match known.homes.get_mut(&**name) {
            Some(before) => *before = home,
            None => {
                if known.homes.len() >= NAMES_MAX {
                    known.homes.clear();
                }
                known.homes.insert(name.clone(), home);
            }
        }
    }

    /// Where one of this name will probably lock.
    pub fn of(&self, name: &str) -> Option<GroupId> {
        let mut known = locked(&self.0);
        known.asked += 1;
        if known.asked.is_multiple_of(ANYWHERE_EVERY) {
            return None;
        }
        known.homes.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_home_counts_but_not_always() {
        let homes = Homes::default();
        assert_eq!(homes.of("buy"), None);
        homes.note(&"buy".into(), GroupId(1));
        homes.note(&"buy".into(), GroupId(2));
        let answers: Vec<_> = (0..16).map(|_| homes.of("buy")).collect();
        assert_eq!(answers.iter().filter(|answer| **answer == Some(GroupId(2))).count(), 14);
        assert_eq!(answers.iter().filter(|answer| answer.is_none()).count(), 2);
        (0..2 * NAMES_MAX).for_each(|n| homes.note(&format!("{n}").into(), GroupId(1)));
        assert!(locked(&homes.0).homes.len() <= NAMES_MAX);
    }
}
