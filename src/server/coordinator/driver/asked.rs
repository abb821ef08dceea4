//! Phase-two requests that wait for an answer, node-wide.
//!
//! An RM may answer over any of its connections, `seata-go` even over one to another node: so the id of a request says which
//! node asked, and what was asked is looked up by the id alone (design, section 10.1; clients/go, note 8).

use std::collections::BTreeMap;
use std::sync::Mutex;

use quorate_core::model::{BranchId, BranchStatus, NodeId};
use quorate_world::sync::oneshot;

use super::super::channel::ChannelId;
use super::super::guard::locked;

/// Ids of a server's requests begin here, far from where clients count.
const IDS_FROM: u32 = 0x4000_0000;
const COUNTER_BITS: u32 = 24;
const COUNTER_MASK: u32 = (1 << COUNTER_BITS) - 1;
const NODE_MASK: u64 = 63;

/// The table.
pub struct Asked {
    node: NodeId,
    table: Mutex<Table>,
}

struct Table {
    last: u32,
    waiting: BTreeMap<u32, Waiting>,
}

struct Waiting {
    branch: BranchId,
    channel: ChannelId,
    answer: oneshot::Sender<BranchStatus>,
}

/// A place in the table. Gives it back when dropped.
pub struct Place<'a> {
    asked: &'a Asked,
    counter: u32,
    /// The id to send.
    pub id: i32,
    /// The answer; an error if the connection was lost.
    pub answer: oneshot::Receiver<BranchStatus>,
}

/// Whose answer it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It was waited for here.
    Taken,
    /// Nobody waits for it, or no longer.
    Unknown,
    /// The node with this id, modulo 64, asked.
    Of(u64),
}

impl Asked {
    /// An empty table. The counter begins at a random place, so that answers to an earlier start of this node meet nobody.
    pub fn new(node: NodeId, random: u64) -> Asked {
        let last = random as u32 & COUNTER_MASK;
        Asked { node, table: Mutex::new(Table { last, waiting: BTreeMap::new() }) }
    }

    /// An id for a message that nobody answers.
    pub fn unused_id(&self) -> i32 {
        self.enter(BranchId(0), ChannelId(0)).id
    }

    /// Enters a request for `branch` that goes out over `channel`.
    pub fn enter(&self, branch: BranchId, channel: ChannelId) -> Place<'_> {
        let (sender, answer) = oneshot::channel();
        let mut table = locked(&self.table);
        let mut counter = table.last;
        loop {
            counter = (counter + 1) & COUNTER_MASK;
            if !table.waiting.contains_key(&counter) {
                break;
            }
        }
        table.last = counter;
        table.waiting.insert(counter, Waiting { branch, channel, answer: sender });
        let node = (self.node.0 & NODE_MASK) as u32;
        let id = (IDS_FROM | (node << COUNTER_BITS) | counter) as i32;
        Place { asked: self, counter, id, answer }
    }

    /// An answer has come in.
    pub fn answered(&self, id: i32, branch: BranchId, status: BranchStatus) -> Answer {
        let id = id as u32;
        if id & !(COUNTER_MASK | ((NODE_MASK as u32) << COUNTER_BITS)) != IDS_FROM {
            return Answer::Unknown;
        }
        let node = u64::from(id >> COUNTER_BITS) & NODE_MASK;
        if node != self.node.0 & NODE_MASK {
            return Answer::Of(node);
        }
        let counter = id & COUNTER_MASK;
        let mut table = locked(&self.table);
        // The branch must be the one that was asked about: the answer to another request is nobody's.
        match table.waiting.get(&counter) {
            Some(waiting) if waiting.branch == branch => {}
            Some(_) | None => return Answer::Unknown,
        }
        match table.waiting.remove(&counter).map(|waiting| waiting.answer.send(status)) {
            Some(Ok(())) => Answer::Taken,
            Some(Err(_)) | None => Answer::Unknown,
        }
    }

    /// A connection is gone: whoever waits for an answer from it stops waiting.
    pub fn lost(&self, channel: ChannelId) {
        locked(&self.table).waiting.retain(|_, waiting| waiting.channel != channel);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.asked.table).waiting.remove(&self.counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_the_node_and_are_found_by_themselves() {
        let asked = Asked::new(NodeId(65), u64::MAX);
        let mut place = asked.enter(BranchId(7), ChannelId(1));
        assert_eq!(place.id, 0x4100_0000, "node 65 is 1 modulo 64; the counter wraps");
        assert_eq!(asked.answered(place.id, BranchId(8), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        assert_eq!(asked.answered(place.id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Taken);
        assert_eq!(place.answer.try_recv(), Ok(BranchStatus::PhaseTwo_Committed));
        assert_eq!(asked.answered(place.id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        let other = Asked::new(NodeId(2), 0);
        assert_eq!(other.answered(place.id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Of(1));
        assert_eq!(other.answered(5, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        assert_eq!(other.answered(-1, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
    }

    #[test]
    fn places_are_given_back() {
        let asked = Asked::new(NodeId(1), 0);
        let id = asked.enter(BranchId(7), ChannelId(1)).id;
        assert_eq!(asked.answered(id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        let mut place = asked.enter(BranchId(7), ChannelId(1));
        asked.lost(ChannelId(1));
        assert!(place.answer.try_recv().is_err());
    }
}
