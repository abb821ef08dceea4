//! Source: simulation notes, A9; Seata's TCC fence (empty rollback, no hanging).
//!
//! A9, fenced: a TCC branch or a step of an annotated Saga is tried before it is finished, and after its end, an empty rollback too, nothing is tried.
//!
//! That each of the two takes effect at most once is C4's.

use super::{Finding, Judgement, Oracle};
use crate::bank::{BranchKey, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::BranchType;
use quorate_core::txn::status::Direction;
use std::collections::BTreeMap;

/// How far a branch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cell {
    Tried,
    Finished,
}

/// See the page.
#[derive(Default)]
pub struct Fenced {
    cells: BTreeMap<BranchKey, Cell>,
}

impl Fenced {
    fn take(&mut self, key: BranchKey, effect: Effect, rolls_back: bool) -> Result<(), String> {
        let cell = self.cells.get(&key).copied();
        let next = match (cell, effect) {
            (None | Some(Cell::Tried), Effect::Tried) => Cell::Tried,
            (Some(Cell::Tried), Effect::Committed | Effect::RolledBack) => Cell::Finished,
            // An empty rollback, after which nothing may be tried.
            (None, Effect::Nothing) if rolls_back => Cell::Finished,
            (_, Effect::Nothing) => return Ok(()),
            // Barred by the rollback, or by its own RM.
            (None | Some(Cell::Finished), Effect::Guarded) => return Ok(()),
            (cell, effect) => return Err(format!("{effect:?} comes to a branch that is {cell:?}")),
        };
        self.cells.insert(key, next);
        Ok(())
    }
}

impl Oracle for Fenced {
    fn name(&self) -> &'static str {
        "A9"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::Database { resource, key, effect, .. } = seen else { return Ok(()) };
        let listed = ghost.transaction(key.0).and_then(|found| found.listed.get(&key.1));
        if listed.is_none_or(|listed| !matches!(listed.kind, BranchType::TCC | BranchType::SAGA_ANNOTATION)) {
            return Ok(());
        }
        let rolls_back = ghost.decision(key.0) == Some(Direction::Rollback);
        self.take(*key, *effect, rolls_back)
            .map_err(|what| Finding::about(key.0, format!("at {resource}, branch {}: {what}", key.1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::model::{BranchId, TransactionId};

    fn judge(effects: &[(Effect, bool)]) -> Result<(), String> {
        let mut fenced = Fenced::default();
        let key = (TransactionId(1), BranchId(1));
        effects.iter().try_for_each(|(effect, rolls_back)| fenced.take(key, *effect, *rolls_back))
    }

    #[test]
    fn each_in_its_turn() {
        use Effect::{Committed, Guarded, Nothing, RolledBack, Tried};
        assert_eq!(judge(&[(Tried, false), (Nothing, false), (Committed, false), (Nothing, false)]), Ok(()));
        assert_eq!(judge(&[(Tried, false), (RolledBack, true), (Nothing, true), (Guarded, true)]), Ok(()));
        assert_eq!(judge(&[(Nothing, true), (Guarded, true)]), Ok(()), "an empty rollback");
        assert!(judge(&[(Nothing, true), (Tried, true)]).is_err(), "it hangs");
        assert!(judge(&[(Tried, false), (Committed, false), (Tried, false)]).is_err(), "it hangs");
        assert!(judge(&[(Committed, false)]).is_err(), "nobody tried it");
        assert!(judge(&[(Tried, false), (Guarded, false)]).is_err(), "nothing bars it yet");
    }
}
