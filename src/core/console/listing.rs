//! The first keys of a long list, and how long it is.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Keys that one list holds at most, so that its answer fits into a frame between nodes by far.
pub(super) const REACH_MAX: u32 = 10_000;

/// The first keys in order, up to a reach, and how many there are in all.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listing<K: Ord> {
    reach: u32,
    total: u64,
    first: BTreeSet<K>,
}

impl<K: Ord> Listing<K> {
    /// An empty list of at most `reach` keys; of [`REACH_MAX`] if that is less.
    pub fn new(reach: u32) -> Listing<K> {
        Listing { reach: reach.min(REACH_MAX), total: 0, first: BTreeSet::new() }
    }

    /// One more.
    pub fn take(&mut self, key: K) {
        self.total += 1;
        self.keep(key);
    }

    /// What another list has.
    pub fn merge(&mut self, other: Listing<K>) {
        self.total = self.total.saturating_add(other.total);
        other.first.into_iter().for_each(|key| self.keep(key));
    }

    fn keep(&mut self, key: K) {
        let is_full = self.first.len() >= self.reach as usize;
        if is_full && self.first.last().is_none_or(|last| *last <= key) {
            return;
        }
        self.first.insert(key);
        if self.first.len() > self.reach as usize {
            self.first.pop_last();
        }
    }

    /// How many there are, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Those kept, in order.
    pub fn into_keys(self) -> Vec<K> {
        self.first.into_iter().collect()
    }
}
