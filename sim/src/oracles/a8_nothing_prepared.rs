//! Source: simulation notes, A8; X/Open, Distributed TP: the XA specification, sections 2.3.3 and 3.4 (heuristic completion).
//!
//! A8, nothing stays prepared: when a transaction has ended no XA branch of it is prepared, and what its databases did is what is told.
//!
//! A branch that is prepared after its end was never asked again: that shows when all is at rest.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Bank, BranchKey, Effect};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, BranchType, GlobalStatus, TransactionId};
use quorate_core::txn::status::{self, Direction};
use quorate_core::txn::{Command, Outcome};
use std::collections::BTreeMap;

/// What a database did with a branch; nothing yet: it is prepared.
type Fate = Option<Direction>;

/// See the page.
#[derive(Default)]
pub struct NothingPrepared {
    fates: BTreeMap<BranchKey, Fate>,
}

impl NothingPrepared {
    /// Where it ends in one of the two ways, all of its branches have gone there. Other ends tell of a failure.
    fn ends(&self, transaction: TransactionId, ended: GlobalStatus) -> Judgement {
        let is_told_done = GlobalStatus::ALL.iter().any(|from| status::done(*from) == Some(ended));
        let Some(way) = status::direction(ended).filter(|_| is_told_done) else { return Ok(()) };
        let its = self.fates.range((transaction, BranchId(i64::MIN))..=(transaction, BranchId(i64::MAX)));
        for ((_, branch), fate) in its {
            let text = match fate {
                None => format!("it ends as {ended}, and XA branch {branch} is prepared"),
                Some(fate) if *fate != way => format!("it ends as {ended}, and XA branch {branch} went by {fate:?}"),
                Some(_) => continue,
            };
            return Err(Finding::about(transaction, text));
        }
        Ok(())
    }
}

impl Oracle for NothingPrepared {
    fn name(&self) -> &'static str {
        "A8"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::Database { key, effect, .. } = seen else { return Ok(()) };
        let listed = ghost.transaction(key.0).and_then(|found| found.listed.get(&key.1));
        if listed.is_none_or(|listed| listed.kind != BranchType::XA) {
            return Ok(());
        }
        match effect {
            Effect::Tried => _ = self.fates.insert(*key, None),
            Effect::Committed => _ = self.fates.insert(*key, Some(Direction::Commit)),
            Effect::RolledBack => _ = self.fates.insert(*key, Some(Direction::Rollback)),
            Effect::Nothing | Effect::Guarded => {}
        }
        Ok(())
    }

    fn step(&mut self, _ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let (Command::End(ended), Outcome::Now(status)) = (step.command, step.outcome) else { return Ok(()) };
        self.ends(ended.transaction, *status).map_err(|found| found.in_group(step.group))
    }

    fn pending(&self, ghost: &Ghost, bank: &Bank) -> Vec<Finding> {
        let has_ended = |transaction| ghost.transaction(transaction).is_none_or(|found| found.ended_clock_ms.is_some());
        let prepared = bank.xa.iter().flat_map(|(resource, table)| table.open().map(move |key| (resource, key)));
        let left = prepared.filter(|(_, key)| has_ended(key.0)).map(|(resource, (transaction, branch))| {
            Finding::about(transaction, format!("it has ended, and branch {branch} is prepared in {resource}"))
        });
        left.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, database, ended, ghost_with};
    use super::*;

    fn judged(effects: &[Effect], end: GlobalStatus) -> Judgement {
        let (ghost, mut oracle) = (ghost_with(BranchType::XA, ""), NothingPrepared::default());
        effects.iter().try_for_each(|effect| oracle.see(&ghost, &database("xa-1", *effect)))?;
        ended(&mut oracle, &ghost, end)
    }

    #[test]
    fn an_end_finds_every_branch_where_it_says() {
        use Effect::{Committed, Nothing, RolledBack, Tried};
        assert_eq!(judged(&[Tried, Committed, Nothing], GlobalStatus::Committed), Ok(()));
        assert_eq!(judged(&[Nothing, Tried, RolledBack], GlobalStatus::TimeoutRollbacked), Ok(()));
        assert_eq!(judged(&[Nothing], GlobalStatus::Rollbacked), Ok(()), "it was never prepared");
        assert_eq!(judged(&[Tried], GlobalStatus::CommitFailed), Ok(()), "which is told");
        assert!(judged(&[Tried], GlobalStatus::Committed).is_err());
        assert!(judged(&[Nothing, Tried], GlobalStatus::Rollbacked).is_err(), "its RM was slow");
        assert!(judged(&[Tried, RolledBack], GlobalStatus::Committed).is_err(), "a silent heuristic");
    }

    #[test]
    fn what_is_prepared_after_the_end_keeps_the_world_from_rest() {
        let one = |kind: &str| [format!("{kind}-1")].into_iter();
        let mut bank = Bank::open(one("at"), one("tcc"), one("xa"), one("saga_annotation"));
        let (mut ghost, oracle) = (ghost_with(BranchType::XA, ""), NothingPrepared::default());
        bank.xa.get_mut("xa-1").expect("it is there").prepare((FIRST, BRANCH), 1, 5);
        assert_eq!(oracle.pending(&ghost, &bank), [], "it goes on");
        ghost.transactions.get_mut(&FIRST).expect("it is there").ended_clock_ms = Some(9);
        assert_eq!(oracle.pending(&ghost, &bank).len(), 1);
        bank.xa.get_mut("xa-1").expect("it is there").roll_back((FIRST, BRANCH));
        assert_eq!(oracle.pending(&ghost, &bank), []);
    }
}
