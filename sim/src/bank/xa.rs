//! A database under XA: a branch is prepared, or it is unknown.
//!
//! There is no fence: what was committed or rolled back is forgotten, and a branch may be prepared after its rollback was
//! asked for in vain. That is why a coordinator that hears XAER_NOTA goes on asking for a while.

use super::{BranchKey, Effect};
use std::collections::BTreeMap;

/// A database.
#[derive(Debug, Default)]
pub struct XaTable {
    accounts: BTreeMap<u64, i64>,
    prepared: BTreeMap<BranchKey, (u64, i64)>,
}

impl XaTable {
    /// Phase one.
    pub fn prepare(&mut self, key: BranchKey, account: u64, delta: i64) -> Effect {
        match self.prepared.insert(key, (account, delta)) {
            None => Effect::Tried,
            Some(_) => Effect::Nothing,
        }
    }

    /// Phase two, forward; nothing: XAER_NOTA.
    pub fn commit(&mut self, key: BranchKey) -> Effect {
        let Some((account, delta)) = self.prepared.remove(&key) else { return Effect::Nothing };
        *self.accounts.entry(account).or_default() += delta;
        Effect::Committed
    }

    /// Phase two, back; nothing: XAER_NOTA.
    pub fn roll_back(&mut self, key: BranchKey) -> Effect {
        match self.prepared.remove(&key) {
            Some(_) => Effect::RolledBack,
            None => Effect::Nothing,
        }
    }

    /// Prepared branches.
    pub fn open(&self) -> impl Iterator<Item = BranchKey> {
        self.prepared.keys().copied()
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
    fn what_is_over_is_forgotten() {
        let mut table = XaTable::default();
        assert_eq!(table.roll_back(KEY), Effect::Nothing);
        assert_eq!(table.prepare(KEY, 1, 5), Effect::Tried, "nothing bars it");
        assert_eq!(table.open().count(), 1);
        assert_eq!(table.commit(KEY), Effect::Committed);
        assert_eq!(table.commit(KEY), Effect::Nothing);
        assert_eq!(table.sum(), 5);
    }
}
