//! Source: Seata semantics, 3.5 (lock query) and W14 (stale reads); Herlihy and Wing, Linearizability.
//!
//! B8, asked rows: a lock query is answered as the rows were at some moment of the call: free only if no other transaction held one of them all the while,
//! held only if one of them was held by another at some time.
//!
//! Judged by the ghost's books of the lock homes. Its own rows are free to whoever asks with their transaction.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::ghost::locks::Row;
use crate::seen::{Seen, Step};
use quorate_core::model::{TransactionId, lock_key};
use quorate_core::txn::{Command, Outcome};
use std::collections::{BTreeMap, BTreeSet};

/// Rows that somebody asks for, and who has held them since.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) client: String,
    asker: Option<TransactionId>,
    rows: Vec<Row>,
    /// Held by the same other transaction ever since,
    held_on: BTreeMap<Row, TransactionId>,
    /// and all that have held one at some time.
    met: BTreeSet<TransactionId>,
}

impl Asked {
    pub(super) fn at(ghost: &Ghost, client: &str, asker: Option<TransactionId>, resource: &str, keys: &str) -> Asked {
        let rows = lock_key::parse(keys).unwrap_or_default().into_iter().map(|row| (resource.to_owned(), row));
        let (rows, client) = (rows.collect(), client.to_owned());
        let mut asked = Asked { client, asker, rows, held_on: BTreeMap::new(), met: BTreeSet::new() };
        asked.held_on = asked.held(ghost);
        asked.met.extend(asked.held_on.values());
        asked
    }

    /// Rows that others hold.
    fn held(&self, ghost: &Ghost) -> BTreeMap<Row, TransactionId> {
        let held = self.rows.iter().filter_map(|row| Some((row.clone(), ghost.locks.holder(row)?.owner)));
        held.filter(|(_, owner)| Some(*owner) != self.asker).collect()
    }

    /// Rows were taken or let go.
    pub(super) fn moves_on(&mut self, ghost: &Ghost, step: &Step<'_>) {
        let held = self.held(ghost);
        self.held_on.retain(|row, owner| held.get(row) == Some(owner));
        self.met.extend(held.values());
        // What was taken and let go in one entry is not in the books.
        let (owner, resource, keys) = match (step.command, step.outcome) {
            (Command::AcquireLocks(taken), Outcome::Acquired) => (taken.transaction, &taken.resource, &taken.lock_keys),
            (Command::RegisterBranch(taken), Outcome::Registered) if taken.with_locks => {
                (taken.transaction, &taken.resource, &taken.lock_keys)
            }
            _ => return,
        };
        let taken = lock_key::parse(keys).unwrap_or_default();
        let meets = |row: &&Row| row.0 == *resource && taken.contains(&row.1);
        if Some(owner) != self.asker && self.rows.iter().any(|row| meets(&row)) {
            self.met.insert(owner);
        }
    }

    /// Other transactions that have held one of the rows while it was asked for.
    pub(super) fn met(&self) -> impl Iterator<Item = TransactionId> {
        self.met.iter().copied()
    }

    fn judge(&self, lockable: bool) -> Judgement {
        let asker = self.asker.map_or("nobody".to_owned(), |asker| asker.to_string());
        let text = match (lockable, self.held_on.iter().next()) {
            (true, Some((row, owner))) => {
                format!("{} hears that row {} of {} is free for {asker}; {owner} holds it", self.client, row.1, row.0)
            }
            (false, _) if self.met.is_empty() => {
                format!("{} hears that {:?} are not free for {asker}; nobody held them", self.client, self.rows)
            }
            (_, _) => return Ok(()),
        };
        Err(Finding { transaction: self.asker, ..Finding::new(text) })
    }
}

/// Whether a command may take rows or let them go.
pub(super) fn moves_locks(command: &Command) -> bool {
    !matches!(command, Command::Tick | Command::Found(_) | Command::Lead(_) | Command::Begin(_) | Command::BeginNear(_))
}

/// See the page.
#[derive(Default)]
pub struct RowsAsked {
    asked: BTreeMap<u64, Asked>,
}

impl Oracle for RowsAsked {
    fn name(&self) -> &'static str {
        "B8"
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        if moves_locks(step.command) {
            self.asked.values_mut().for_each(|asked| asked.moves_on(ghost, step));
        }
        Ok(())
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::AsksRows { question, client, asker, resource, lock_keys, .. } => {
                self.asked.insert(*question, Asked::at(ghost, client, *asker, resource, lock_keys));
                Ok(())
            }
            Seen::ToldRows { question, lockable, .. } => {
                let asked = self.asked.remove(question);
                asked.zip(*lockable).map_or(Ok(()), |(asked, lockable)| asked.judge(lockable))
            }
            Seen::Died { client } => {
                self.asked.retain(|_, asked| asked.client != *client);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, SECOND, ghost_with, released};
    use super::*;
    use crate::bank::at::Written;
    use quorate_core::model::{BranchType, hash};

    /// The first holds row 1 or does not, and that may change while it is asked for.
    fn told(held: [bool; 2], asker: Option<TransactionId>, lockable: bool) -> Judgement {
        let (mut ghost, mut oracle) = (ghost_with(BranchType::AT, "account:1"), RowsAsked::default());
        let hold = |ghost: &mut Ghost, held: bool| match held {
            true => ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1"),
            false => ghost.locks.release(FIRST, BRANCH, hash::lock_slot("at-1")),
        };
        hold(&mut ghost, held[0]);
        let (resource, lock_keys, client) = ("at-1".to_owned(), "account:2,1".to_owned(), "rm1".to_owned());
        let written = Written::new();
        oracle.see(&ghost, &Seen::AsksRows { question: 1, client, asker, resource, lock_keys, written })?;
        hold(&mut ghost, held[1]);
        released(&mut oracle, &ghost)?;
        oracle.see(&ghost, &Seen::ToldRows { question: 1, lockable: Some(lockable), written: Written::new() })
    }

    #[test]
    fn an_answer_is_as_the_rows_were_at_some_moment() {
        for asker in [Some(SECOND), None] {
            assert_eq!(told([false, false], asker, true), Ok(()));
            assert_eq!(told([true, true], asker, false), Ok(()));
            for lockable in [true, false] {
                assert_eq!(told([true, false], asker, lockable), Ok(()), "it was let go meanwhile");
                assert_eq!(told([false, true], asker, lockable), Ok(()), "it was taken meanwhile");
            }
            assert!(told([true, true], asker, true).is_err(), "it was held all the while");
            assert!(told([false, false], asker, false).is_err(), "nobody held it");
        }
    }

    #[test]
    fn ones_own_rows_are_free() {
        assert_eq!(told([true, true], Some(FIRST), true), Ok(()));
        assert!(told([true, true], Some(FIRST), false).is_err());
    }
}
