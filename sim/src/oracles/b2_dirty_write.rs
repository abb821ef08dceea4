//! Source: Seata issue 1991 ("dirty records when undo"); Seata semantics, section 3 (write isolation).
//!
//! B2, no dirty write: an AT branch changes a row only if no other undecided or rolling-back transaction has changed it.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Damage, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::txn::status::Direction;

/// See the page.
pub struct DirtyWrite;

impl Oracle for DirtyWrite {
    fn name(&self) -> &'static str {
        "B2"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Database { resource, key, effect: Effect::Tried, others } => {
                let open = others.iter().find(|other| ghost.decision(other.0) != Some(Direction::Commit));
                open.map_or(Ok(()), |(other, branch)| {
                    let text = format!("at {resource} it writes over branch {branch} of {other}, which may be undone");
                    Err(Finding::about(key.0, text))
                })
            }
            Seen::Damaged { resource, key, damage: Damage::DirtyWrite(what) } => {
                Err(Finding::about(key.0, format!("dirty write at {resource}: {what}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, SECOND, ghost_with};
    use super::*;
    use quorate_core::model::{BranchId, BranchType, GlobalStatus};

    #[test]
    fn nobody_writes_over_what_may_be_undone() {
        let mut ghost = ghost_with(BranchType::AT, "account:1");
        let others = vec![(FIRST, BRANCH)];
        let (resource, key, effect) = ("at-1".to_owned(), (SECOND, BranchId(8)), Effect::Tried);
        let writes = Seen::Database { resource: resource.clone(), key, effect, others };
        assert!(DirtyWrite.see(&ghost, &writes).is_err(), "it is undecided");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::AsyncCommitting, 5);
        assert_eq!(DirtyWrite.see(&ghost, &writes), Ok(()), "it is committed, and its undo log is to go");
        let damage = Damage::DirtyWrite("row 1".to_owned());
        assert!(DirtyWrite.see(&ghost, &Seen::Damaged { resource, key, damage }).is_err());
    }
}
