//! A database under TCC with a fence: try reserves, confirm makes it permanent, cancel gives it back.
//!
//! The fence makes the three safe in any order and number: a cancel without a try is an empty rollback and does
//! nothing, a try after it is refused (no hanging), a second confirm or cancel does nothing.

use super::{BranchKey, Damage, Effect};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fence {
    Tried { account: u64, delta: i64 },
    Committed,
    RolledBack,
}

/// A database.
#[derive(Debug, Default)]
pub struct TccTable {
    accounts: BTreeMap<u64, i64>,
    fences: BTreeMap<BranchKey, Fence>,
}

impl TccTable {
    /// Phase one: reserves.
    pub fn reserve(&mut self, key: BranchKey, account: u64, delta: i64) -> Effect {
        match self.fences.get(&key) {
            None => {
                self.fences.insert(key, Fence::Tried { account, delta });
                Effect::Tried
            }
            Some(Fence::Tried { .. } | Fence::Committed) => Effect::Nothing,
            Some(Fence::RolledBack) => Effect::Guarded,
        }
    }

    /// Phase two, forward.
    pub fn confirm(&mut self, key: BranchKey) -> Result<Effect, Damage> {
        match self.fences.get(&key).copied() {
            Some(Fence::Tried { account, delta }) => {
                *self.accounts.entry(account).or_default() += delta;
                self.fences.insert(key, Fence::Committed);
                Ok(Effect::Committed)
            }
            Some(Fence::Committed) => Ok(Effect::Nothing),
            Some(Fence::RolledBack) => Err(Damage::BothWays),
            None => Err(Damage::NeverTried),
        }
    }

    /// Phase two, back.
    pub fn cancel(&mut self, key: BranchKey) -> Result<Effect, Damage> {
        if quorate_world::bug!("empty_rollback_leaves_no_fence") && !self.fences.contains_key(&key) {
            return Ok(Effect::Nothing);
        }
        match self.fences.insert(key, Fence::RolledBack) {
            Some(Fence::Tried { .. }) => Ok(Effect::RolledBack),
            Some(Fence::RolledBack) | None => Ok(Effect::Nothing),
            Some(Fence::Committed) => Err(Damage::BothWays),
        }
    }

    /// Branches that have reserved something.
    pub fn open(&self) -> impl Iterator<Item = BranchKey> {
        self.fences.iter().filter(|(_, fence)| matches!(fence, Fence::Tried { .. })).map(|(key, _)| *key)
    }

    /// All accounts together.
    pub fn sum(&self) -> i64 {
        self.accounts.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::model::{BranchId, TransactionId};

    const KEY: BranchKey = (TransactionId(1), BranchId(1));

    #[test]
    fn an_empty_rollback_does_nothing_and_bars_the_try() {
        let mut table = TccTable::default();
        assert_eq!(table.cancel(KEY), Ok(Effect::Nothing));
        assert_eq!(table.reserve(KEY, 1, 5), Effect::Guarded);
        assert_eq!(table.confirm(KEY), Err(Damage::BothWays));
    }

    #[test]
    fn phase_two_counts_once() {
        let mut table = TccTable::default();
        assert_eq!(table.confirm(KEY), Err(Damage::NeverTried));
        assert_eq!(table.reserve(KEY, 1, 5), Effect::Tried);
        assert_eq!(table.open().count(), 1);
        assert_eq!(table.confirm(KEY), Ok(Effect::Committed));
        assert_eq!(table.confirm(KEY), Ok(Effect::Nothing));
        assert_eq!(table.sum(), 5);
        assert_eq!(table.cancel(KEY), Err(Damage::BothWays));
    }
}
