//! Source: simulation notes, G2; Seata issues 6875, 6932; lock protocol, oracle LK8.
//!
//! G2, nothing is left: after the heal no row lock is held, and no undo log or reservation is open in any database.

use super::{Finding, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;

/// See the page.
pub struct NothingLeft;

impl Oracle for NothingLeft {
    fn name(&self) -> &'static str {
        "G2"
    }

    fn pending(&self, ghost: &Ghost, bank: &Bank) -> Vec<Finding> {
        let status =
            |transaction| ghost.transaction(transaction).map_or("unknown".to_owned(), |found| found.status.to_string());
        let locks = ghost.locks.all().map(|(owner, branch, resource)| {
            let text = format!("branch {branch} of {owner} ({}) holds rows of {resource}", status(owner));
            Finding::about(owner, text)
        });
        let open = bank.open_branches().into_iter().map(|(resource, (owner, branch))| {
            let text = format!("branch {branch} of {owner} ({}) is open in the database {resource}", status(owner));
            Finding::about(owner, text)
        });
        let left = ghost.left.iter().map(|(owner, branch)| {
            Finding::about(
                *owner,
                format!("branch {branch} of {owner} is left to an operator, and he has not finished it"),
            )
        });
        locks.chain(open).chain(left).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, hash};

    #[test]
    fn the_world_rests_when_nothing_is_held_or_open() {
        let one = |kind: &str| [format!("{kind}-1")].into_iter();
        let mut bank = Bank::open(one("at"), one("tcc"), one("xa"), one("saga_annotation"));
        let mut ghost = ghost_with(BranchType::AT, "account:1");
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1");
        bank.tcc.get_mut("tcc-1").expect("it is there").reserve((FIRST, BRANCH), 1, 5);
        assert_eq!(NothingLeft.pending(&ghost, &bank).len(), 2);
        ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1"));
        assert_eq!(
            bank.tcc.get_mut("tcc-1").expect("it is there").cancel((FIRST, BRANCH)),
            Ok(crate::bank::Effect::RolledBack)
        );
        assert_eq!(NothingLeft.pending(&ghost, &bank), []);
    }
}
