//! Source: simulation notes, B4; lock protocol, rule 4 (refused whole); Seata semantics, section 3.
//!
//! B4, all or none: a branch gets all rows that it asks for, or none of them.
//!
//! Counted are the rows in the state of the lock home, against the ghost's own books, and those of the books when the RM is told.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::ghost::locks::Row;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, GroupId, TransactionId, lock_key};
use quorate_core::txn::command::RegisterBranchOnceV1;
use quorate_core::txn::{Command, Outcome, Refusal, Transactions};

/// See the page.
pub struct AllOrNone;

impl Oracle for AllOrNone {
    fn name(&self) -> &'static str {
        "B4"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let (key, resource, lock_keys) = match step.command {
            Command::AcquireLocks(acquire) => {
                ((acquire.transaction, acquire.branch), &acquire.resource, &acquire.lock_keys)
            }
            Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. })
                if register.with_locks =>
            {
                ((register.transaction, register.branch), &register.resource, &register.lock_keys)
            }
            _ => return Ok(()),
        };
        // Sent to the wrong group: it knows of nothing.
        if let Outcome::Refused(Refusal::NotOwner { .. }) = step.outcome {
            return Ok(());
        }
        let rows = rows(resource, lock_keys);
        // Both are as they are after all of the entry. By the books who is refused has what he had before.
        let (held, wanted) = (held_in(ghost, step.group, key, &rows), held_in_books(ghost, key, &rows));
        if held == wanted && (held == 0 || held == rows.len()) {
            return Ok(());
        }
        let text = format!(
            "branch {} was answered {:?} and holds {held} of {} rows of {resource}, by the books {wanted}",
            key.1,
            step.outcome,
            rows.len()
        );
        Err(Finding::about(key.0, text).in_group(step.group))
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::Acknowledged { node, transaction, branch } = seen else { return Ok(()) };
        let Some(listed) = ghost.transaction(*transaction).and_then(|found| found.listed.get(branch)) else {
            return Ok(());
        };
        let rows = rows(&listed.resource, &listed.lock_keys);
        let held = held_in_books(ghost, (*transaction, *branch), &rows);
        // That it holds none of them is B1's, or it is undone already.
        if held == rows.len() || held == 0 {
            return Ok(());
        }
        let text = format!("branch {branch} was told success and holds {held} of {} rows", rows.len());
        Err(Finding::about(*transaction, text).at_node(*node))
    }
}

fn rows(resource: &str, lock_keys: &str) -> Vec<Row> {
    lock_key::parse(lock_keys).unwrap_or_default().into_iter().map(|row| (resource.to_owned(), row)).collect()
}

fn held_in(ghost: &Ghost, group: GroupId, key: (TransactionId, BranchId), rows: &[Row]) -> usize {
    let Some(found) = ghost.groups.get(&group) else { return 0 };
    let holds = |model: &Transactions, row: &Row| {
        let holder = model.holder(&row.0, &row.1);
        holder.is_some_and(|(owner, branches)| owner == key.0 && branches.iter().any(|(branch, _)| *branch == key.1))
    };
    rows.iter().filter(|row| holds(&found.model, row)).count()
}

fn held_in_books(ghost: &Ghost, key: (TransactionId, BranchId), rows: &[Row]) -> usize {
    let holds =
        |row: &&Row| ghost.locks.holder(row).is_some_and(|held| held.owner == key.0 && held.branches.contains(&key.1));
    rows.iter().filter(holds).count()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, acknowledged, ghost_with, home};
    use super::*;
    use quorate_core::model::{BranchType, Fence};
    use quorate_core::txn::command::AcquireLocksV1;

    fn told(taken: &str) -> Judgement {
        let mut ghost = ghost_with(BranchType::AT, "account:1,2");
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", taken);
        AllOrNone.see(&ghost, &acknowledged())
    }

    #[test]
    fn an_rm_is_told_of_all_its_rows() {
        assert_eq!(told("account:1,2"), Ok(()));
        assert_eq!(told("account:1,2,3"), Ok(()), "of more it was not told");
        assert_eq!(told(""), Ok(()), "which is for B1 to say");
        assert!(told("account:2").is_err());
    }

    #[test]
    fn a_lock_home_gives_all_or_none() {
        let acquire = |lock_keys: &str| {
            let (fence, resource) = (Fence::default(), "at-1".to_owned());
            let lock_keys = lock_keys.to_owned();
            Command::AcquireLocks(AcquireLocksV1 { transaction: FIRST, branch: BRANCH, fence, resource, lock_keys })
        };
        let judged = |command: &Command, outcome: &Outcome, ghost: &Ghost| {
            AllOrNone.step(ghost, &Step { group: GROUP, command, outcome })
        };
        // The model is empty: what the books say may not be so.
        let mut ghost = ghost_with(BranchType::AT, "account:1,2");
        let command = acquire("account:1,2");
        assert_eq!(judged(&command, &Outcome::Released, &ghost), Ok(()), "refused, and nothing taken");
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1,2");
        assert!(judged(&command, &Outcome::Acquired, &ghost).is_err(), "granted, and nothing taken");
        let mut ghost = home("account:1,2");
        assert!(judged(&command, &Outcome::Released, &ghost).is_err(), "refused, and all taken");
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1,2");
        assert_eq!(judged(&command, &Outcome::Acquired, &ghost), Ok(()));
        let mut ghost = home("account:2");
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1,2");
        assert!(judged(&command, &Outcome::Acquired, &ghost).is_err(), "granted, and one of them taken");
    }
}
