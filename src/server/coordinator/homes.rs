//! A hint: where transactions of a name locked their rows lately. A transaction that is minted in one of its lock homes
//! takes one command for a branch and its locks in place of two, and none for their release (lock protocol, rule 6; design,
//! section 3).
//!
//! Never more than a hint: a wrong one costs what no hint costs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::GroupId;

use super::guard::locked;

/// Names remembered; beyond that all are forgotten, and learned again.
const NAMES_MAX: usize = 4_096;
/// Homes remembered of a name; the one that was seen longest ago goes first.
const HOMES_MAX: usize = 8;

/// Transaction name -> lock homes of its latest branches.
#[derive(Default)]
pub struct Homes(Mutex<BTreeMap<Arc<str>, Known>>);

/// Of one name.
#[derive(Default)]
struct Known {
    /// The latest is last.
    homes: Vec<GroupId>,
    /// Where the next look begins, so that homes take turns.
    turn: usize,
}

impl Homes {
    /// A transaction of this name has locked rows in this group.
    pub fn note(&self, name: &Arc<str>, home: GroupId) {
        let mut names = locked(&self.0);
        if !names.contains_key(name) && names.len() >= NAMES_MAX {
            names.clear();
        }
        let homes = &mut names.entry(name.clone()).or_default().homes;
        if homes.last() == Some(&home) {
            return;
        }
        homes.retain(|known| *known != home);
        if homes.len() >= HOMES_MAX {
            homes.remove(0);
        }
        homes.push(home);
    }

    /// Where one of this name will probably lock: the first home that `wanted` takes, in turns.
    pub fn find<T>(&self, name: &str, wanted: impl Fn(GroupId) -> Option<T>) -> Option<T> {
        let mut names = locked(&self.0);
        let Known { homes, turn } = names.get_mut(name)?;
        *turn = turn.wrapping_add(1);
        let first = *turn % homes.len().max(1);
        homes.iter().cycle().skip(first).take(homes.len()).find_map(|home| wanted(*home))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_take_turns_among_those_that_are_wanted() {
        let homes = Homes::default();
        assert_eq!(homes.find("buy", Some), None);
        for home in [1, 2, 3, 1] {
            homes.note(&"buy".into(), GroupId(home));
        }
        let found: Vec<_> = (0..6).filter_map(|_| homes.find("buy", Some)).map(|home| home.0).collect();
        assert_eq!(
            (1..=3).map(|home| found.iter().filter(|found| **found == home).count()).max(),
            Some(2),
            "{found:?}"
        );
        let odd = |home: GroupId| (home.0 == 2).then_some(home);
        assert!((0..6).all(|_| homes.find("buy", odd) == Some(GroupId(2))));
        assert_eq!(homes.find("buy", |_| None::<GroupId>), None);
    }

    #[test]
    fn old_homes_and_too_many_names_are_forgotten() {
        let homes = Homes::default();
        (0..20).for_each(|home| homes.note(&"buy".into(), GroupId(home)));
        let known = |home: u32| homes.find("buy", |found| (found.0 == home).then_some(())).is_some();
        assert!((12..20).all(known) && !(0..12).any(known));
        (0..2 * NAMES_MAX).for_each(|n| homes.note(&format!("{n}").into(), GroupId(1)));
        assert!(locked(&homes.0).len() <= NAMES_MAX);
    }
}
