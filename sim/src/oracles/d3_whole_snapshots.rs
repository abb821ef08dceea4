//! Source: Raft, section 7 (a snapshot replaces the log before it); Seata issue 6932 (locks lost on the way).
//!
//! D3, whole snapshots: what a snapshot holds, read back and loaded, is the state that it was made of.
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

#[cfg(test)]
mod tests {
    use super::super::tests::GROUP;
    use super::*;
    use crate::remains::{Modelled, Replica};
    use quorate_core::model::{LogIndex, NodeId, Term};

    #[test]
    fn a_snapshot_is_the_state_that_it_is_of() {
        let last = LogId { term: Term(1), index: LogIndex(7) };
        let judged = |of: LogId, snapshot_hash: u64| {
            let replica = Replica { snapshot: Some(of), snapshot_hash: Some(snapshot_hash), ..Replica::default() };
            let model = Some(Modelled { group: GROUP, last, state_hash: 5 });
            let (node, told, found) = (NodeId(1), BTreeMap::new(), Ok(BTreeMap::from([(GROUP, replica)])));
            WholeSnapshots::default().see(&Ghost::default(), &Seen::Remains { node, told, model, found })
        };
        assert_eq!(judged(last, 5), Ok(()));
        assert!(judged(last, 6).is_err());
        assert_eq!(judged(LogId { index: LogIndex(6), ..last }, 6), Ok(()), "it is of another entry");
    }
}
