//! What becomes of a branch by an operator's order, beside what was decided (semantics, section 7.5).
//!
//! A deleted branch stays in the list: the list is fixed from the decision on (lock protocol, rule 10), and a new leader
//! learns from it which row locks are owed a release (rule 13). Phase two passes over it.

use serde::{Deserialize, Serialize};

use super::session::{Branch, Session};
use super::status::{self, Direction};
use crate::model::{BranchStatus, BranchType, GlobalStatus};

/// What an operator has ordered about a branch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub enum Fate {
    /// Nothing: it goes the way of its transaction.
    #[default]
    Kept,
    /// Its RM is to clean up, until it has.
    CleanUp,
    /// Its RM has.
    CleanedUp,
    /// It is done with, and no RM was told.
    Dropped,
}

impl Fate {
    /// There is nothing left to do for it.
    pub const fn is_settled(self) -> bool {
        matches!(self, Fate::CleanedUp | Fate::Dropped)
    }
}

impl Branch {
    /// Which way its RM cleans up: of an AT branch the undo log goes and what it changed stays; any other is undone.
    pub fn clean_up_direction(&self) -> Direction {
        match self.kind {
            BranchType::AT => Direction::Commit,
            BranchType::TCC | BranchType::XA | BranchType::SAGA | BranchType::SAGA_ANNOTATION => Direction::Rollback,
        }
    }

    /// An RM has something to clean up for it. Of the steps of a Saga only its engine knows.
    pub(super) fn has_remains(&self) -> bool {
        let is_read_only = self.kind == BranchType::XA && self.status == BranchStatus::PhaseOne_RDONLY;
        self.kind != BranchType::SAGA && !is_read_only && !self.has_failed_phase_one()
    }

    /// It went, and nobody can say that it went the way that was decided. What an AT branch changed stays, told or not, and
    /// that is what a commit is.
    fn went_astray(&self, decided: Direction) -> bool {
        match self.fate {
            Fate::Kept | Fate::CleanUp => false,
            _ if !self.has_remains() => false,
            Fate::CleanedUp => self.clean_up_direction() != decided,
            Fate::Dropped => !(self.kind == BranchType::AT && decided == Direction::Commit),
        }
    }
}

impl Session {
    /// An operator has it deleted: it goes when every branch is settled, and has failed.
    pub fn is_deleted(&self) -> bool {
        self.is_deleted
    }

    /// A branch is to be cleaned up by its RM.
    pub fn is_cleaning(&self) -> bool {
        self.cleaning > 0
    }

    /// Phase two has something to do: what was decided, or what an operator has ordered.
    pub fn is_unfinished(&self) -> bool {
        status::is_running(self.status) || self.is_deleted || self.is_cleaning()
    }

    /// How it is shown to an operator.
    pub fn shown_status(&self) -> GlobalStatus {
        if self.is_deleted { GlobalStatus::Deleting } else { self.status }
    }

    /// The status with which it may end now, as far as its status says: nobody is told that it went as decided if a branch was
    /// deleted against that.
    pub(super) fn final_status(&self) -> Option<GlobalStatus> {
        if self.is_deleted {
            return (!self.is_cleaning()).then_some(self.status);
        }
        let done = status::done(self.status)?;
        let decided = self.direction()?;
        let is_astray = self.branches.values().any(|branch| branch.went_astray(decided));
        if is_astray { status::failed(self.status) } else { Some(done) }
    }
}
