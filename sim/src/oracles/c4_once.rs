//! Source: simulation notes, C4 and A9; Seata's TCC fence (empty rollback, no hanging, idempotence).
//!
//! C4, once: whatever is resent, a branch takes effect at most once, and at rest exactly once in the decided direction.
//!
//! A step of an annotated Saga takes effect when it is tried; at a commit nothing more becomes of it.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Bank, BranchKey, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::BranchType;
use quorate_core::txn::status::Direction;
use std::collections::BTreeMap;

#[derive(Default)]
struct Effects {
    tried: u32,
    committed: u32,
    rolled_back: u32,
}

/// See the page.
#[derive(Default)]
pub struct Once {
    effects: BTreeMap<BranchKey, Effects>,
}

impl Oracle for Once {
    fn name(&self) -> &'static str {
        "C4"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::Database { resource, key, effect, .. } = seen else { return Ok(()) };
        let effects = self.effects.entry(*key).or_default();
        let count = match effect {
            Effect::Tried => &mut effects.tried,
            Effect::Committed => &mut effects.committed,
            Effect::RolledBack => &mut effects.rolled_back,
            Effect::Nothing | Effect::Guarded => return Ok(()),
        };
        *count += 1;
        if *count == 1 {
            return Ok(());
        }
        Err(Finding::about(key.0, format!("branch {} at {resource} took effect twice: {effect:?}", key.1)))
    }

    fn at_rest(&mut self, ghost: &Ghost, _bank: &Bank) -> Judgement {
        for (key, effects) in &self.effects {
            let Some(found) = ghost.transaction(key.0) else { continue };
            // Nobody is told of a branch that failed: its RM undid it itself.
            if effects.tried == 0 || found.has_failed(key.1) {
                continue;
            }
            let is_step = found.listed.get(&key.1).is_some_and(|listed| listed.kind == BranchType::SAGA_ANNOTATION);
            let (done, due) = match found.decision {
                Some(Direction::Commit) if is_step => (effects.committed + effects.rolled_back, 0),
                Some(Direction::Commit) => (effects.committed, 1),
                Some(Direction::Rollback) => (effects.rolled_back, 1),
                None => (0, 1),
            };
            if done != due {
                let text = format!("decided {:?}, and branch {} took effect {done} times", found.decision, key.1);
                return Err(Finding::about(key.0, text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, database, ghost_with};
    use super::*;
    use quorate_core::model::GlobalStatus;

    fn judged(decided: GlobalStatus, effects: &[Effect]) -> Judgement {
        judged_of(BranchType::TCC, decided, effects)
    }

    fn judged_of(kind: BranchType, decided: GlobalStatus, effects: &[Effect]) -> Judgement {
        let mut ghost = ghost_with(kind, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(decided, 5);
        let mut oracle = Once::default();
        effects.iter().try_for_each(|effect| oracle.see(&ghost, &database("tcc-1", *effect)))?;
        oracle.at_rest(&ghost, &Bank::default())
    }

    #[test]
    fn each_branch_takes_effect_once() {
        use Effect::{Committed, Nothing, RolledBack, Tried};
        assert_eq!(judged(GlobalStatus::Committing, &[Tried, Committed, Nothing]), Ok(()));
        assert_eq!(judged(GlobalStatus::Rollbacking, &[Nothing]), Ok(()), "it never tried");
        assert!(judged(GlobalStatus::Committing, &[Tried, Committed, Committed]).is_err(), "twice");
        assert!(judged(GlobalStatus::Committing, &[Tried]).is_err(), "never");
        assert!(judged(GlobalStatus::Rollbacking, &[Tried, Committed]).is_err(), "the other way");
        assert_eq!(judged(GlobalStatus::Rollbacking, &[Tried, RolledBack]), Ok(()));
    }

    #[test]
    fn a_step_that_is_done_is_final_unless_it_is_compensated() {
        use Effect::{RolledBack, Tried};
        let step = |decided, effects: &[Effect]| judged_of(BranchType::SAGA_ANNOTATION, decided, effects);
        assert_eq!(step(GlobalStatus::Committing, &[Tried]), Ok(()));
        assert_eq!(step(GlobalStatus::Rollbacking, &[Tried, RolledBack]), Ok(()));
        assert!(step(GlobalStatus::Rollbacking, &[Tried]).is_err(), "not compensated");
        assert!(step(GlobalStatus::Committing, &[Tried, RolledBack]).is_err(), "the other way");
    }
}
