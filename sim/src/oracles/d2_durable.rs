//! Source: Ongaro and Ousterhout, Raft, figure 2 ("updated on stable storage before responding to RPCs"); openraft PR 1753.
//!
//! D2, durable first: what storage told raft, and what clients were answered, is on disks that would survive a power failure.
//!
//! Judged at the moment it is told, on the disk as it is for certain (`remains`), so no power has to fail for it.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::ghost::told::Told;
use crate::remains::{Found, Replica};
use crate::seen::Seen;
use quorate_core::model::GroupId;
use std::collections::BTreeMap;

/// See the page.
pub struct DurableFirst;

impl Oracle for DurableFirst {
    fn name(&self) -> &'static str {
        "D2"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Remains { node, told, found: Err(error), .. } if !told.is_empty() => {
                let text = format!("after a power failure its disk would be of no use: {error}");
                Err(Finding::new(text).at_node(*node))
            }
            Seen::Remains { node, told, found: Ok(found), .. } => {
                judge(told, found).map_err(|found| found.at_node(*node))
            }
            Seen::Holders { group, log_id, holders, nodes } if holders.len() * 2 <= *nodes => {
                let text = format!("entry {log_id:?} was answered, and only {holders:?} have it for certain");
                Err(Finding::new(text).in_group(*group))
            }
            _ => Ok(()),
        }
    }
}

fn judge(told: &BTreeMap<GroupId, Told>, found: &Found) -> Judgement {
    for (group, told) in told {
        let lost = match found.get(group) {
            Some(replica) => lost(told, replica),
            None => (!told.is_nothing()).then(|| format!("nothing is left of {told:?}")),
        };
        if let Some(text) = lost {
            return Err(Finding::new(text).in_group(*group));
        }
    }
    Ok(())
}

/// What a replica was told that its disk does not know for certain.
fn lost(told: &Told, replica: &Replica) -> Option<String> {
    let vote = replica.log.vote.map(|vote| (vote.term, vote.committed, vote.node));
    if vote < told.vote {
        return Some(format!("it has voted {:?}, and its disk only knows of {vote:?}", told.vote));
    }
    if replica.snapshot < told.snapshot {
        return Some(format!("it has a snapshot of {:?}, and its disk of {:?}", told.snapshot, replica.snapshot));
    }
    let (index, term) = told.last?;
    let covered = replica.snapshot.is_some_and(|last| last.index >= index);
    let there = replica.term_at(index);
    if covered || (there.is_some() && (term.is_none() || there == term)) {
        return None;
    }
    let log = &replica.log;
    Some(format!("entry {index} of {term:?} is durable, it was told, and its disk has {there:?} there: {log:?}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::GROUP;
    use super::*;
    use quorate_core::model::{LogId, LogIndex, NodeId, Term};
    use std::collections::BTreeSet;

    fn at(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(index) }
    }

    /// A replica was told of entry 7 of term 2; its disk has the log up to there.
    fn judged(last: Option<LogId>, snapshot: Option<LogId>) -> Judgement {
        let mut told = Told::default();
        told.last = Some((LogIndex(7), Some(Term(2))));
        let mut replica = Replica::default();
        (replica.log.last, replica.snapshot) = (last, snapshot);
        replica.term_starts = last.map(|last| LogId { index: LogIndex(5), ..last }).into_iter().collect();
        let (node, told) = (NodeId(1), BTreeMap::from([(GROUP, told)]));
        let found = Ok(BTreeMap::from([(GROUP, replica)]));
        DurableFirst.see(&Ghost::default(), &Seen::Remains { node, told, model: None, found })
    }

    #[test]
    fn a_disk_has_what_its_node_was_told_of() {
        assert_eq!(judged(Some(at(2, 7)), None), Ok(()));
        assert_eq!(judged(None, Some(at(2, 9))), Ok(()), "a snapshot has it");
        assert!(judged(Some(at(2, 6)), None).is_err(), "cut short");
        assert!(judged(Some(at(1, 7)), None).is_err(), "another one");
        assert!(judged(None, None).is_err(), "nothing");
    }

    #[test]
    fn what_was_answered_is_on_a_majority_of_disks() {
        let held = |nodes: &[u64]| {
            let holders: BTreeSet<NodeId> = nodes.iter().copied().map(NodeId).collect();
            DurableFirst.see(&Ghost::default(), &Seen::Holders { group: GROUP, log_id: at(1, 7), holders, nodes: 3 })
        };
        assert_eq!(held(&[1, 3]), Ok(()));
        assert!(held(&[1]).is_err());
    }
}
