//! D3, whole snapshots: what a snapshot holds, read back and loaded, is the state that it was made of.
//! Source: Raft, section 7 (a snapshot replaces the log before it); Seata issue 6932 (locks lost on the way).
//!
//! Judged twice: the model's own state must survive being written down and loaded, and what lies on a node's disk must be
//! the model's state after the same entry.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::{GroupId, LogId};
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct WholeSnapshots {
    /// The entry after which a group's model was looked at last.
    looked: BTreeMap<GroupId, LogId>,
}

impl Oracle for WholeSnapshots {
    fn name(&self) -> &'static str {
        "D3"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Snapshot { group, .. } => {
                let Some(found) = ghost.groups.get(group) else { return Ok(()) };
                let Some(at) = found.at.filter(|at| self.looked.insert(*group, *at) != Some(*at)) else {
                    return Ok(());
                };
                let whole = found.model.check_invariants();
                whole.map_err(|what| Finding::new(format!("after entry {at:?}: {what}")).in_group(*group))
            }
            Seen::Remains { node, model: Some(model), found: Ok(found), .. } => {
                let Some(replica) = found.get(&model.group) else { return Ok(()) };
                if replica.snapshot != Some(model.last) || replica.snapshot_hash == Some(model.state_hash) {
                    return Ok(());
                }
                let text = format!("its snapshot of {:?} is not the state after that entry", model.last);
                Err(Finding::new(text).in_group(model.group).at_node(*node))
            }
            _ => Ok(()),
        }
    }
}
