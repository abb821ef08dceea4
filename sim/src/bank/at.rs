//! A database under AT: rows, undo logs with both images, guard rows (Seata semantics, AT mode).
//!
//! A local commit writes rows and undo log in one; commit drops the log; rollback puts the before image back if the row
//! still is the after image, or leaves a guard row that stops a local commit that comes later.

use super::{BranchKey, Damage, Effect, ring};
use std::collections::{BTreeMap, BTreeSet};

/// Who has written last what stands in each row; nobody has written the others.
pub type Written = BTreeMap<u64, BranchKey>;

/// One row as a branch changed it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Change {
    row: u64,
    before: i64,
    after: i64,
    /// Who had written it before.
    writer: Option<BranchKey>,
}

/// A database.
#[derive(Debug, Default)]
pub struct AtTable {
    rows: BTreeMap<u64, i64>,
    written: Written,
    undo_logs: BTreeMap<BranchKey, Vec<Change>>,
    guards: BTreeSet<BranchKey>,
}

impl AtTable {
    /// What stands in a row.
    pub fn value(&self, row: u64) -> i64 {
        self.rows.get(&row).copied().unwrap_or_default()
    }

    /// A row was there before anybody wrote.
    pub fn lay(&mut self, row: u64, value: i64) {
        self.rows.insert(row, value);
    }

    /// Phase one: changes rows.
    pub fn commit_locally(&mut self, key: BranchKey, changes: &[(u64, i64)]) -> Effect {
        if self.guards.contains(&key) {
            return Effect::Guarded;
        }
        let mut undo_log = Vec::new();
        for (row, delta) in changes {
            let value = self.rows.entry(*row).or_default();
            let writer = self.written.insert(*row, key);
            undo_log.push(Change { row: *row, before: *value, after: *value + delta, writer });
            *value += delta;
        }
        self.undo_logs.insert(key, undo_log);
        Effect::Tried
    }

    /// Phase two, forward.
    pub fn commit(&mut self, key: BranchKey) -> Effect {
        match self.undo_logs.remove(&key) {
            Some(_) => Effect::Committed,
            None => Effect::Nothing,
        }
    }

    /// Phase two, back.
    pub fn roll_back(&mut self, key: BranchKey) -> Result<Effect, Damage> {
        let Some(undo_log) = self.undo_logs.get(&key).cloned() else {
            self.guards.insert(key);
            return Ok(Effect::Nothing);
        };
        let undone = if quorate_world::bug!("second_row_not_undone") { 1 } else { undo_log.len() };
        for change in &undo_log {
            let found = self.value(change.row);
            if found != change.after {
                return Err(Damage::DirtyWrite(format!(
                    "row {} is {found}, this branch left {}",
                    change.row, change.after
                )));
            }
        }
        for change in undo_log.iter().take(undone).rev() {
            self.rows.insert(change.row, change.before);
            self.is_written_by(change.row, change.writer);
        }
        self.undo_logs.remove(&key);
        self.guards.insert(key);
        Ok(Effect::RolledBack)
    }

    /// What nobody can put back any more because it was written over, somebody takes off by hand.
    pub fn correct(&mut self, key: BranchKey) -> Effect {
        let Some(undo_log) = self.undo_logs.remove(&key) else { return Effect::Nothing };
        for change in undo_log.iter().rev() {
            *self.rows.entry(change.row).or_default() -= change.after - change.before;
            // Whoever wrote over it stays.
            if self.written.get(&change.row) == Some(&key) {
                self.is_written_by(change.row, change.writer);
            }
        }
        self.guards.insert(key);
        Effect::RolledBack
    }

    fn is_written_by(&mut self, row: u64, writer: Option<BranchKey>) {
        match writer {
            Some(writer) => _ = self.written.insert(row, writer),
            None => _ = self.written.remove(&row),
        }
    }

    /// Who has written what stands in these rows.
    pub fn written(&self, rows: &[(u64, i64)]) -> Written {
        rows.iter().filter_map(|(row, _)| Some((*row, *self.written.get(row)?))).collect()
    }

    /// Branches with an undo log that changed one of these rows.
    pub fn changed_by(&self, rows: &[(u64, i64)]) -> impl Iterator<Item = BranchKey> {
        let touches = |log: &[Change]| log.iter().any(|change| rows.iter().any(|(row, _)| *row == change.row));
        self.undo_logs.iter().filter(move |(_, log)| touches(log)).map(|(key, _)| *key)
    }

    /// Branches with an undo log.
    pub fn open(&self) -> impl Iterator<Item = BranchKey> {
        self.undo_logs.keys().copied()
    }

    /// All accounts together.
    pub fn sum(&self) -> i64 {
        self.rows.range(..ring::FIRST_ROW).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::model::{BranchId, TransactionId};

    const FIRST: BranchKey = (TransactionId(1), BranchId(1));
    const SECOND: BranchKey = (TransactionId(2), BranchId(2));

    #[test]
    fn a_rollback_puts_the_row_back_and_bars_the_branch() {
        let mut table = AtTable::default();
        assert_eq!(table.commit_locally(FIRST, &[(1, 5), (2, -7)]), Effect::Tried);
        assert_eq!(table.roll_back(FIRST), Ok(Effect::RolledBack));
        assert_eq!(table.sum(), 0);
        assert_eq!(table.roll_back(FIRST), Ok(Effect::Nothing));
        assert_eq!(table.commit_locally(FIRST, &[(1, 5)]), Effect::Guarded);
    }

    #[test]
    fn what_was_written_over_is_taken_off_by_hand() {
        let mut table = AtTable::default();
        table.commit_locally(FIRST, &[(2, 7), (1, 5)]);
        table.commit_locally(SECOND, &[(1, 6)]);
        assert!(table.roll_back(FIRST).is_err());
        assert_eq!(table.sum(), 18, "nothing was put back by half");
        assert_eq!((table.correct(FIRST), table.correct(FIRST)), (Effect::RolledBack, Effect::Nothing));
        assert_eq!((table.commit(SECOND), table.sum()), (Effect::Committed, 6));
        assert_eq!(table.roll_back(FIRST), Ok(Effect::Nothing));
    }

    #[test]
    fn a_row_tells_who_has_written_what_stands_there() {
        let (mut table, rows) = (AtTable::default(), [(1, 0), (2, 0)]);
        table.commit_locally(FIRST, &[(1, 5), (1, 5)]);
        assert_eq!(table.written(&rows), [(1, FIRST)].into());
        assert_eq!(table.commit(FIRST), Effect::Committed);
        table.commit_locally(SECOND, &[(2, 6), (1, 6)]);
        assert_eq!(table.written(&rows), [(1, SECOND), (2, SECOND)].into());
        assert_eq!(table.roll_back(SECOND), Ok(Effect::RolledBack));
        assert_eq!(table.written(&rows), [(1, FIRST)].into(), "as it was before");

        let mut table = AtTable::default();
        table.commit_locally(FIRST, &[(2, 7), (1, 5)]);
        table.commit_locally(SECOND, &[(1, 6)]);
        assert_eq!(table.correct(FIRST), Effect::RolledBack);
        assert_eq!(table.written(&rows), [(1, SECOND)].into());
    }

    #[test]
    fn a_row_written_over_is_noticed() {
        let mut table = AtTable::default();
        table.commit_locally(FIRST, &[(1, 5)]);
        table.commit_locally(SECOND, &[(1, 6)]);
        assert_eq!(table.changed_by(&[(1, 0)]).count(), 2);
        assert!(matches!(table.roll_back(FIRST), Err(Damage::DirtyWrite(_))));
        assert_eq!(table.commit(SECOND), Effect::Committed);
        assert_eq!(table.commit(SECOND), Effect::Nothing);
    }
}
