//! A7, a Saga ends as its engine left it: committed with every step done, rolled back with every step undone, never between.
//! Source: Seata semantics, 2.4 and W16 (a turn loses the session); Garcia-Molina and Salem, Sagas, section 2.

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
