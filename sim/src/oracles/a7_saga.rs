//! Source: Seata semantics, 2.4 and W16 (a turn loses the session); Garcia-Molina and Salem, Sagas, section 2.
//!
//! A7, a Saga ends as its engine left it: committed with every step done, rolled back with every step undone, never between.

use super::{Finding, Judgement, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;
use quorate_core::model::GlobalStatus;
use quorate_core::txn::status;

/// See the page.
pub struct SagaEnds;

impl Oracle for SagaEnds {
    fn name(&self) -> &'static str {
        "A7"
    }

    fn at_rest(&mut self, ghost: &Ghost, bank: &Bank) -> Judgement {
        for transaction in bank.sagas.all() {
            let Some(found) = ghost.transaction(transaction) else { continue };
            let fate = bank.sagas.fate(transaction);
            // Where it ended, not only which way it went: a session that a turn lost ends in between.
            let ended = GlobalStatus::ALL.iter().any(|from| status::done(*from) == Some(found.status));
            if !ended || fate.is_none() || fate != status::direction(found.status) {
                let text = format!("it ended as {}, and its steps as {fate:?}", found.status);
                return Err(Finding::about(transaction, text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, ghost_with};
    use super::*;
    use crate::plan::operations::PlannedSaga;
    use quorate_core::model::BranchType;

    /// One of two steps is done, or both, and then so many undone; it ended so.
    fn judged(done: usize, undone: usize, ended: GlobalStatus) -> Judgement {
        let mut ghost = ghost_with(BranchType::SAGA, "");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").status = ended;
        let mut bank = Bank::default();
        let planned = PlannedSaga { steps: vec![(1, 5), (2, -5)], ..PlannedSaga::default() };
        assert!(bank.sagas.start(FIRST, &planned));
        (0..done).for_each(|_| _ = bank.sagas.step(FIRST));
        (0..undone).for_each(|_| _ = bank.sagas.undo(FIRST));
        SagaEnds.at_rest(&ghost, &bank)
    }

    #[test]
    fn a_saga_is_done_or_undone_as_it_is_told() {
        assert_eq!(judged(2, 0, GlobalStatus::Committed), Ok(()));
        assert_eq!(judged(1, 1, GlobalStatus::Rollbacked), Ok(()));
        assert!(judged(1, 0, GlobalStatus::Committed).is_err(), "a step is missing");
        assert!(judged(2, 1, GlobalStatus::Rollbacked).is_err(), "a step is left");
        assert!(judged(1, 1, GlobalStatus::Committed).is_err(), "the other way");
        assert!(judged(2, 0, GlobalStatus::Committing).is_err(), "in between");
    }
}
