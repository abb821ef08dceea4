//! A database of an annotated Saga: a step takes effect at once, and its compensation takes it back.
//!
//! There is no second step forward: what was done is final unless it is compensated. The fence is that of TCC: a compensation
//! of a step that never was does nothing, and bars it.

use super::{BranchKey, Damage, Effect};
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fence {
    Done { account: u64, delta: i64 },
    Compensated,
}

/// A database.
#[derive(Debug, Default)]
pub struct StepTable {
    accounts: BTreeMap<u64, i64>,
    fences: BTreeMap<BranchKey, Fence>,
}

impl StepTable {
    /// Phase one: takes effect.
    pub fn act(&mut self, key: BranchKey, account: u64, delta: i64) -> Effect {
        match self.fences.get(&key) {
            None => {
                *self.accounts.entry(account).or_default() += delta;
                self.fences.insert(key, Fence::Done { account, delta });
                Effect::Tried
            }
            Some(Fence::Done { .. }) => Effect::Nothing,
            Some(Fence::Compensated) => Effect::Guarded,
        }
    }

    /// Phase two, forward: nobody has any business to ask for that.
    pub fn confirm(&mut self, key: BranchKey) -> Result<Effect, Damage> {
        match self.fences.get(&key) {
            Some(Fence::Done { .. }) => Ok(Effect::Nothing),
            Some(Fence::Compensated) => Err(Damage::BothWays),
            None => Err(Damage::NeverTried),
        }
    }

    /// Phase two, back.
    pub fn compensate(&mut self, key: BranchKey) -> Effect {
        match self.fences.insert(key, Fence::Compensated) {
            Some(Fence::Done { account, delta }) => {
                *self.accounts.entry(account).or_default() -= delta;
                Effect::RolledBack
            }
            Some(Fence::Compensated) | None => Effect::Nothing,
        }
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
    fn a_step_takes_effect_at_once_and_is_compensated_once() {
        let mut table = StepTable::default();
        assert_eq!((table.act(KEY, 1, 5), table.sum()), (Effect::Tried, 5));
        assert_eq!((table.act(KEY, 1, 5), table.confirm(KEY)), (Effect::Nothing, Ok(Effect::Nothing)));
        assert_eq!((table.compensate(KEY), table.sum()), (Effect::RolledBack, 0));
        assert_eq!((table.compensate(KEY), table.act(KEY, 1, 5)), (Effect::Nothing, Effect::Guarded));
        assert_eq!(table.confirm(KEY), Err(Damage::BothWays));
    }

    #[test]
    fn an_empty_compensation_bars_the_step() {
        let mut table = StepTable::default();
        assert_eq!(table.confirm(KEY), Err(Damage::NeverTried));
        assert_eq!((table.compensate(KEY), table.act(KEY, 1, 5)), (Effect::Nothing, Effect::Guarded));
        assert_eq!(table.sum(), 0);
    }
}
