//! Undo logs that phase two leaves behind: the guard rows of rollbacks that came before their phase one.

/// When RMs are asked to delete such undo logs, and which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UndoLogDeletion {
    /// Time between two requests, ms; zero: they are never asked.
    pub period_ms: u64,
    /// Undo logs of so many days are kept.
    pub save_days: i16,
}

impl UndoLogDeletion {
    /// As Seata: daily, all that is older than a week.
    pub const DEFAULT: UndoLogDeletion = UndoLogDeletion { period_ms: 86_400_000, save_days: 7 };
}
