//! Source: Seata issue 1991 ("dirty records when undo"); Seata semantics, section 3 (write isolation), 2.3 (RollbackRetryTimeout).
//!
//! B2, no dirty write: an AT branch changes a row only if no other undecided or rolling-back transaction has changed it.
//!
//! Two exceptions are wanted: a rollback that was given up lets its rows go where an operator has set that, and they are not put
//! back; and he may delete a transaction or a branch by force, with its locks, before he has put its rows back by hand. Who writes over these, and nobody else, may be found written over too: when they are put back under it.

use super::{Finding, Judgement, Oracle};
use crate::bank::{BranchKey, Damage, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::txn::status::Direction;
use std::collections::BTreeSet;

/// See the page.
#[derive(Default)]
pub struct DirtyWrite {
    /// Branches that wrote over what was given up, or over one of these.
    over: BTreeSet<BranchKey>,
}

impl DirtyWrite {
    fn may_be_written_over(&self, ghost: &Ghost, key: BranchKey) -> bool {
        ghost.lets_go_of(key) || self.over.contains(&key)
    }

    fn writes(&mut self, ghost: &Ghost, resource: &str, key: BranchKey, others: &[BranchKey]) -> Judgement {
        for other in others {
            if self.may_be_written_over(ghost, *other) {
                self.over.insert(key);
            } else if ghost.decision(other.0) != Some(Direction::Commit) {
                let (other, branch) = *other;
                let text = format!("at {resource} it writes over branch {branch} of {other}, which may be undone");
                return Err(Finding::about(key.0, text));
            }
        }
        Ok(())
    }
}

impl Oracle for DirtyWrite {
    fn name(&self) -> &'static str {
        "B2"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Database { resource, key, effect: Effect::Tried, others } => {
                self.writes(ghost, resource, *key, others)
            }
            Seen::Damaged { key, damage: Damage::DirtyWrite(_), .. } if self.may_be_written_over(ghost, *key) => Ok(()),
            Seen::Damaged { resource, key, damage: Damage::DirtyWrite(what) } => {
                Err(Finding::about(key.0, format!("dirty write at {resource}: {what}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, SECOND, ghost_with, given_up};
    use super::*;
    use quorate_core::model::{BranchId, BranchType, GlobalStatus, TransactionId};

    const THIRD: BranchKey = (TransactionId(3), BranchId(9));

    fn writes(key: BranchKey, others: &[BranchKey]) -> Seen {
        let (resource, others) = ("at-1".to_owned(), others.to_vec());
        Seen::Database { resource, key, effect: Effect::Tried, others }
    }

    fn found_dirty(key: BranchKey) -> Seen {
        Seen::Damaged { resource: "at-1".to_owned(), key, damage: Damage::DirtyWrite("row 1".to_owned()) }
    }

    #[test]
    fn nobody_writes_over_what_may_be_undone() {
        let (mut ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), DirtyWrite::default());
        let second = (SECOND, BranchId(8));
        let over = writes(second, &[(FIRST, BRANCH)]);
        assert!(oracle.see(&ghost, &over).is_err(), "it is undecided");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::AsyncCommitting, 5);
        assert_eq!(oracle.see(&ghost, &over), Ok(()), "it is committed, and its undo log is to go");
        assert!(oracle.see(&ghost, &found_dirty(second)).is_err());
    }

    #[test]
    fn what_was_given_up_may_be_written_over_and_nothing_else() {
        let second = (SECOND, BranchId(8));
        for (unlocks, is_right) in [(true, true), (false, false)] {
            let (mut ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), DirtyWrite::default());
            ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::Rollbacking, 5);
            assert_eq!(given_up(&mut oracle, &mut ghost, unlocks), Ok(()));
            assert!(oracle.see(&ghost, &found_dirty(second)).is_err(), "it has written over nothing");
            assert_eq!(oracle.see(&ghost, &writes(second, &[(FIRST, BRANCH)])).is_ok(), is_right);
            assert_eq!(oracle.see(&ghost, &found_dirty((FIRST, BRANCH))).is_ok(), is_right);
            assert_eq!(oracle.see(&ghost, &found_dirty(second)).is_ok(), is_right);
            assert_eq!(oracle.see(&ghost, &writes(THIRD, &[second])).is_ok(), is_right, "nor does it last any longer");
            assert!(oracle.see(&ghost, &writes(THIRD, &[(TransactionId(4), BRANCH)])).is_err(), "that one has rights");
        }
    }
}
