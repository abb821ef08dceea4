//! D2, durable first: what storage told raft, and what clients were answered, is on disks that would survive a power failure.
//! Source: Ongaro and Ousterhout, Raft, figure 2 ("updated on stable storage before responding to RPCs"); openraft PR 1753.
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
