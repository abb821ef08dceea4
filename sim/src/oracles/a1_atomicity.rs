//! Source: Gray and Lamport, Consensus on Transaction Commit, section 2 (consistency); Seata semantics, section 1.
//!
//! A1, atomicity: no branch of a transaction is visibly committed while another is visibly rolled back.
//!
//! Seen where it counts, in the databases of the RMs.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Damage, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::TransactionId;
use quorate_core::txn::status::Direction;
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct Atomicity {
    gone: BTreeMap<TransactionId, Direction>,
}

impl Oracle for Atomicity {
    fn name(&self) -> &'static str {
        "A1"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        let (key, way, resource) = match seen {
            Seen::Database { key, effect: Effect::Committed, resource, .. } => (key, Direction::Commit, resource),
            Seen::Database { key, effect: Effect::RolledBack, resource, .. } => (key, Direction::Rollback, resource),
            Seen::Damaged { key, damage: Damage::BothWays, resource } => {
                let text = format!("branch {} at {resource} went both ways", key.1);
                return Err(Finding::about(key.0, text));
            }
            _ => return Ok(()),
        };
        let first = *self.gone.entry(key.0).or_insert(way);
        if first == way {
            return Ok(());
        }
        let text = format!("branch {} at {resource} took effect as {way:?}, an earlier one as {first:?}", key.1);
        Err(Finding::about(key.0, text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, database};
    use super::*;
    use quorate_core::model::BranchId;

    #[test]
    fn all_branches_go_one_way() {
        let other = |effect| {
            let (resource, key, others) = ("tcc-1".to_owned(), (FIRST, BranchId(8)), Vec::new());
            Seen::Database { resource, key, effect, others }
        };
        let judged = |seen: &[Seen]| {
            let mut oracle = Atomicity::default();
            seen.iter().try_for_each(|seen| oracle.see(&Ghost::default(), seen))
        };
        let (committed, rolled_back) = (Effect::Committed, Effect::RolledBack);
        assert_eq!(judged(&[database("at-1", committed), other(Effect::Nothing), other(committed)]), Ok(()));
        assert!(judged(&[database("at-1", committed), other(rolled_back)]).is_err());
        let (resource, damage) = ("tcc-1".to_owned(), Damage::BothWays);
        assert!(judged(&[Seen::Damaged { resource, key: (FIRST, BRANCH), damage }]).is_err());
    }
}
