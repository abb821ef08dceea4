//! Source: lock protocol, rules 12, 13 and 26, oracle LK4.
//!
//! LK4, only an owner acknowledges: what a transaction's leader counts as let go, the owner of the lock slot has let go, all that
//! was asked.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{BranchId, Slot, TransactionId};
use quorate_core::txn::command::ReleaseLocksV1;
use quorate_core::txn::{Command, Outcome, ReleaseScope};
use std::collections::BTreeSet;

/// See the page.
#[derive(Default)]
pub struct OwnerReleases {
    /// Let go whole,
    all: BTreeSet<(TransactionId, Slot)>,
    /// or branch by branch.
    branches: BTreeSet<(TransactionId, Slot, BranchId)>,
}

impl Oracle for OwnerReleases {
    fn name(&self) -> &'static str {
        "LK4"
    }

    // That it is the owner who says so is LK2's.
    fn step(&mut self, _ghost: &Ghost, step: &Step<'_>) -> Judgement {
        let (Command::ReleaseLocks(release), Outcome::Released) = (step.command, step.outcome) else { return Ok(()) };
        let ReleaseLocksV1 { transaction, slot, scope } = release;
        match scope {
            ReleaseScope::All => _ = self.all.insert((*transaction, *slot)),
            ReleaseScope::Branches(of) => self.branches.extend(of.iter().map(|branch| (*transaction, *slot, *branch))),
        }
        Ok(())
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::ReleaseCounted { node, transaction, slot, scope } = seen else { return Ok(()) };
        let has_gone = |branch: &BranchId| self.branches.contains(&(*transaction, *slot, *branch));
        let is_so = self.all.contains(&(*transaction, *slot))
            || matches!(scope, ReleaseScope::Branches(branches) if branches.iter().all(has_gone));
        if is_so {
            return Ok(());
        }
        let text = format!("{scope:?} in lock slot {} counts as let go, and its owner has done nothing of it", slot.0);
        Err(Finding::about(*transaction, text).at_node(*node))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, ghost_with, released};
    use super::*;
    use quorate_core::model::{BranchType, NodeId, hash};

    fn counted(scope: ReleaseScope) -> Seen {
        Seen::ReleaseCounted { node: NodeId(1), transaction: FIRST, slot: hash::lock_slot("at-1"), scope }
    }

    #[test]
    fn a_release_counts_when_the_owner_has_applied_it() {
        let (mut oracle, ghost) = (OwnerReleases::default(), ghost_with(BranchType::AT, "account:1"));
        let one = || counted(ReleaseScope::Branches(vec![BRANCH]));
        assert!(oracle.see(&ghost, &one()).is_err(), "nobody has done it");
        oracle.branches.insert((FIRST, hash::lock_slot("at-1"), BRANCH));
        assert_eq!(oracle.see(&ghost, &one()), Ok(()));
        assert!(oracle.see(&ghost, &counted(ReleaseScope::All)).is_err(), "one of them is not all");
        assert_eq!(released(&mut oracle, &ghost), Ok(()));
        assert_eq!(oracle.see(&ghost, &counted(ReleaseScope::All)), Ok(()));
    }
}
