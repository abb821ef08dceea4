//! B2, no dirty write: an AT branch changes a row only if no other undecided or rolling-back transaction has changed it.
//! Source: Seata issue 1991 ("dirty records when undo"); Seata semantics, section 3 (write isolation).

use super::{Finding, Judgement, Oracle};
use crate::bank::{Damage, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::txn::status::Direction;

/// See the page.
pub struct DirtyWrite;

impl Oracle for DirtyWrite {
    fn name(&self) -> &'static str {
        "B2"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Database { resource, key, effect: Effect::Tried, others } => {
                let open = others.iter().find(|other| ghost.decision(other.0) != Some(Direction::Commit));
                open.map_or(Ok(()), |(other, branch)| {
                    let text = format!("at {resource} it writes over branch {branch} of {other}, which may be undone");
                    Err(Finding::about(key.0, text))
                })
            }
            Seen::Damaged { resource, key, damage: Damage::DirtyWrite(what) } => {
                Err(Finding::about(key.0, format!("dirty write at {resource}: {what}")))
            }
            _ => Ok(()),
        }
    }
}
