//! A1, atomicity: no branch of a transaction is visibly committed while another is visibly rolled back.
//! Source: Gray and Lamport, Consensus on Transaction Commit, section 2 (consistency); Seata semantics, section 1.
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
