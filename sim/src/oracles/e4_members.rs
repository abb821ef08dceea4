//! Source: simulation notes, E4; Ongaro, Consensus: Bridging Theory and Practice, section 4 (joint consensus); raft.github.io, the bug in
//! single-server changes (2015).
//!
//! E4, one quorum: whoever votes in a group, before a change or after it, two quorums have a member in common. Whoever was
//! forgotten never leads again, and a number is never another node's.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::cluster::DiskId;
use quorate_core::model::{GroupId, LogIndex, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Sets of which a quorum needs a majority each.
type Voters = Vec<BTreeSet<NodeId>>;

/// See the page.
#[derive(Default)]
pub struct OneQuorum {
    /// Who votes in each group, and since which entry.
    voters: BTreeMap<GroupId, (LogIndex, Voters)>,
    /// The disk of each number.
    disks: BTreeMap<NodeId, DiskId>,
    removed: BTreeSet<NodeId>,
}

impl Oracle for OneQuorum {
    fn name(&self) -> &'static str {
        "E4"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Members { group, log_id, voters, .. } => {
                let before = self.voters.get(group);
                // Replicas apply one after the other, and again after a restart.
                if before.is_some_and(|(since, _)| *since >= log_id.index) {
                    return Ok(());
                }
                if let Some((since, before)) = before
                    && !meet(before, voters)
                {
                    let text = format!(
                        "entry {} lets {voters:?} vote after {before:?} of entry {since}: quorums of both can be apart",
                        log_id.index
                    );
                    return Err(Finding::new(text).in_group(*group));
                }
                self.voters.insert(*group, (log_id.index, voters.clone()));
                Ok(())
            }
            Seen::Pictured { routing, .. } => {
                self.removed.extend(routing.removed());
                for node in routing.nodes() {
                    // Before its first start another disk may ask for the number.
                    let started = node.epoch.0 > 0;
                    let before = started.then(|| self.disks.insert(node.id, node.disk)).flatten();
                    if let Some(before) = before.filter(|before| *before != node.disk) {
                        let text = format!("number {} was that of disk {before} and is of {} now", node.id, node.disk);
                        return Err(Finding::new(text).at_node(node.id));
                    }
                }
                Ok(())
            }
            Seen::Elected { node, group, .. } if self.removed.contains(node) => {
                Err(Finding::new("it leads, and was forgotten before").in_group(*group).at_node(*node))
            }
            _ => Ok(()),
        }
    }
}

/// Whether any quorum of one has a member in any quorum of the other.
fn meet(one: &Voters, other: &Voters) -> bool {
    let everybody: Vec<NodeId> =
        one.iter().chain(other).flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let is_quorum = |voters: &Voters, there: &dyn Fn(&NodeId) -> bool| {
        voters.iter().all(|half| half.iter().filter(|node| there(node)).count() * 2 > half.len())
    };
    (0u32..1 << everybody.len()).all(|chosen| {
        let place = |node: &NodeId| everybody.iter().position(|known| known == node).unwrap_or_default();
        let inside = |node: &NodeId| chosen >> place(node) & 1 == 1;
        let outside = |node: &NodeId| !inside(node);
        !(is_quorum(one, &inside) && is_quorum(other, &outside))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn quorums_of_a_joint_change_meet_and_others_may_not() {
        let (old, new) = (set(&[1, 2, 3]), set(&[1, 4, 5]));
        let joint = vec![old.clone(), new.clone()];
        assert!(meet(&vec![old.clone()], &joint) && meet(&joint, &vec![new.clone()]));
        assert!(!meet(&vec![old.clone()], &vec![new]), "2 and 3 against 4 and 5");
        assert!(meet(&vec![old.clone()], &vec![set(&[1, 2, 3, 4])]), "one more at a time");
        assert!(!meet(&vec![old], &vec![set(&[3, 4])]) || !meet(&vec![set(&[1])], &vec![set(&[2])]));
    }
}
