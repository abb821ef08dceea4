//! Source: Seata semantics, 3.3 and 3.4 (autoCommit, LockKeyConflictFailFast), acceptance 10.
//!
//! B9, fail fast: only who holds on to a local transaction is told not to try again, and only because of one that rolls back.
//!
//! That everybody is told so who could be is not promised: a lock home knows who rolls back by word of mouth.

use super::b8_rows_asked::{Asked, moves_locks};
use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::ExceptionCode;
use quorate_core::txn::status::Direction;
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct FailFast {
    asked: BTreeMap<u64, Asked>,
}

impl Oracle for FailFast {
    fn name(&self) -> &'static str {
        "B9"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        if moves_locks(step.command) {
            self.asked.values_mut().for_each(|asked| asked.moves_on(ghost, step));
        }
        Ok(())
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::AsksBranch { question, client, transaction, wanted } if !wanted.lock_keys.is_empty() => {
                let asked = Asked::at(ghost, client, Some(*transaction), &wanted.resource, &wanted.lock_keys);
                self.asked.insert(*question, asked);
            }
            Seen::ToldRegistered { question, .. } => _ = self.asked.remove(question),
            Seen::ToldNoBranch { question, transaction, wanted, code } => {
                let Some(asked) = self.asked.remove(question) else { return Ok(()) };
                if *code != Some(ExceptionCode::LockKeyConflictFailFast) {
                    return Ok(());
                }
                let holds_on = wanted.data.contains(r#""autoCommit":false"#);
                let rolls_back = asked.met().any(|owner| ghost.decision(owner) == Some(Direction::Rollback));
                if holds_on && rolls_back {
                    return Ok(());
                }
                let text = format!(
                    "told to fail fast for {} of {}; it holds on: {holds_on}, and one that rolls back has them: {rolls_back}",
                    wanted.lock_keys, wanted.resource
                );
                return Err(Finding::about(*transaction, text));
            }
            Seen::Died { client } => self.asked.retain(|_, asked| asked.client != *client),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, SECOND, ghost_with};
    use super::*;
    use crate::seen::Wanted;
    use quorate_core::model::{BranchType, GlobalStatus};

    /// The first holds the row and was decided so; the second is told this.
    fn told(decided: Option<GlobalStatus>, data: &str, code: ExceptionCode) -> Judgement {
        let (mut ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), FailFast::default());
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1");
        if let Some(status) = decided {
            ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(status, 5);
        }
        let (resource, lock_keys, data) = ("at-1".to_owned(), "account:1".to_owned(), data.to_owned());
        let wanted = Wanted { kind: BranchType::AT, resource, lock_keys, data };
        let (question, client, transaction) = (1, "rm1".to_owned(), SECOND);
        oracle.see(&ghost, &Seen::AsksBranch { question, client, transaction, wanted: wanted.clone() })?;
        oracle.see(&ghost, &Seen::ToldNoBranch { question, transaction, wanted, code: Some(code) })
    }

    #[test]
    fn who_holds_on_does_not_wait_for_what_rolls_back() {
        let (holds_on, waits) = (r#"{"autoCommit":false}"#, "1/1");
        let (conflict, fail_fast) = (ExceptionCode::LockKeyConflict, ExceptionCode::LockKeyConflictFailFast);
        let rolls_back = Some(GlobalStatus::Rollbacking);
        assert_eq!(told(rolls_back, holds_on, fail_fast), Ok(()));
        assert_eq!(told(rolls_back, holds_on, conflict), Ok(()), "nobody has told its home");
        assert_eq!(told(None, waits, conflict), Ok(()));
        assert!(told(rolls_back, waits, fail_fast).is_err(), "it may try again");
        assert!(told(None, holds_on, fail_fast).is_err(), "it may be committed yet");
    }
}
