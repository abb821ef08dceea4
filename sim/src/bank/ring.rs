//! A ring across the AT databases: each row names its successor. A transaction swaps two neighbours, which changes three rows, each
//! where it happens to be; it stays one ring if the three change together or not at all, and nobody else changes one of them meanwhile.
//!
//! Money cannot tell that: a change that is lost, or made of what was read too early, adds up as well.

use super::Bank;
use super::at::AtTable;
use crate::actors::rm::resource_id;
use quorate_core::model::BranchType;
use std::collections::BTreeSet;

/// Rows of the ring stand behind the accounts of their tables.
pub const FIRST_ROW: u64 = 1_000;
/// The shortest ring in which two neighbours have somebody before them.
pub const ROWS_MIN: u64 = 3;
/// How many rows a transaction changes.
pub const CHANGES: usize = 3;

/// Where the rows are: each resource has every so many of them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ring {
    rows: u64,
    owners: u32,
}

/// What becomes of one row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Which, counted from 0.
    pub row: u64,
    /// Whom it named when it was read,
    pub from: u64,
    /// and whom it is to name.
    pub to: u64,
}

impl Change {
    /// As rows of a table and what is added. Nothing if the row is not as it was read, for then there is nothing to build on.
    pub fn rows(&self, table: &AtTable) -> Option<Vec<(u64, i64)>> {
        let row = FIRST_ROW + self.row;
        let now = table.value(row);
        let is_as_read = now == self.from as i64 || quorate_world::bug!("stale_row_is_built_on");
        is_as_read.then(|| vec![(row, self.to as i64 - now)])
    }
}

/// Of four rows that follow each other the middle ones change places. Nothing if they are no part of a ring.
pub fn swap(rows: [u64; 4]) -> Option<[Change; CHANGES]> {
    let [first, second, third, fourth] = rows;
    let differ = first != second && second != third && third != first;
    let change = |row, from, to| Change { row, from, to };
    differ.then(|| [change(first, second, third), change(second, third, fourth), change(third, fourth, second)])
}

impl Bank {
    /// Lays a ring of so many rows, each named by the one before it; 0: none.
    pub fn lay_ring(&mut self, rows: u64, owners: u32) {
        self.ring = Ring { rows, owners };
        for row in 0..rows {
            if let Some(table) = self.at.get_mut(&self.ring.resource(row)) {
                table.lay(FIRST_ROW + row, ((row + 1) % rows) as i64);
            }
        }
    }

    /// Whom a row names; nothing: there is no such row.
    pub fn successor(&self, row: u64) -> Option<u64> {
        let table = self.at.get(&self.ring.resource(row)).filter(|_| row < self.ring.rows)?;
        u64::try_from(table.value(FIRST_ROW + row)).ok()
    }

    /// Walks through the ring, which has to come back to its first row when it was in every row. Otherwise, what is there.
    pub fn walk_ring(&self) -> Result<(), String> {
        let (mut met, mut row) = (BTreeSet::new(), 0);
        while self.ring.rows > 0 && met.insert(row) {
            row = self.successor(row).unwrap_or(u64::MAX);
        }
        if row == 0 && met.len() as u64 == self.ring.rows {
            return Ok(());
        }
        let names: Vec<String> = (0..self.ring.rows)
            .map(|row| format!("{row}>{}", self.successor(row).map_or("?".to_owned(), |next| next.to_string())))
            .collect();
        Err(format!("{} of {} rows, then row {row} again: {}", met.len(), self.ring.rows, names.join(" ")))
    }
}

impl Ring {
    /// The RM that a row is with, from 1.
    pub fn owner(&self, row: u64) -> u32 {
        1 + (row % u64::from(self.owners.max(1))) as u32
    }

    fn resource(&self, row: u64) -> String {
        resource_id(BranchType::AT, self.owner(row))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bank::{BranchKey, Effect};
    use quorate_core::model::{BranchId, TransactionId};

    /// Two databases with a ring of six rows.
    pub fn bank() -> Bank {
        let none = std::iter::empty::<String>;
        let mut bank = Bank::open((1..=2).map(|owner| format!("at-{owner}")), none(), none(), none());
        bank.lay_ring(6, 2);
        bank
    }

    /// Of the swap behind this row, as the ring is now.
    pub fn swap_behind(bank: &Bank, row: u64) -> [Change; CHANGES] {
        let next = |row| bank.successor(row).expect("it is there");
        let [second, third] = [next(row), next(next(row))];
        swap([row, second, third, next(third)]).expect("they differ")
    }

    /// Makes a change, in a branch of its own.
    pub fn make(bank: &mut Bank, transaction: i64, change: Change) -> Option<(String, BranchKey)> {
        let resource = bank.ring.resource(change.row);
        let key = (TransactionId(transaction), BranchId(change.row as i64));
        let table = bank.at.get_mut(&resource).expect("it is there");
        let rows = change.rows(table)?;
        assert_eq!(table.commit_locally(key, &rows), Effect::Tried);
        Some((resource, key))
    }

    #[test]
    fn a_swap_leaves_a_ring_and_no_money() {
        let mut bank = bank();
        for row in [0, 5, 4, 1, 1, 2] {
            for change in swap_behind(&bank, row) {
                assert!(make(&mut bank, 1, change).is_some());
            }
            assert_eq!((bank.walk_ring(), bank.sum()), (Ok(()), 0));
        }
        assert_eq!(bank.successor(6), None);
    }

    #[test]
    fn what_was_read_too_early_is_not_built_on() {
        let mut bank = bank();
        let [_, _, late] = swap_behind(&bank, 0);
        for change in swap_behind(&bank, 1) {
            assert!(make(&mut bank, 1, change).is_some());
        }
        assert!(make(&mut bank, 2, late).is_none(), "row 2 names another one by now");
        assert_eq!(swap([1, 2, 1, 2]), None, "read in the middle of a change");
    }
}
