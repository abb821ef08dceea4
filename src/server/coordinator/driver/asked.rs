//! Phase-two requests that wait for an answer, node-wide.
//!
//! An RM may answer over any of its connections, `seata-go` even over one to another node: so the id of a request says which
//! node asked, and what was asked is looked up by the id alone (design, section 10.1; clients/go, note 8).
//!
//! An RM that is busy may answer after its request was given up, or when another node leads than the one that asked. That a
//! branch is done stays true: once the leader has found it in its state (`late`), it serves the request that repeats it,
//! ends a pause, or is remembered until the branch is asked again. Without it an RM with more to do than it has time for
//! would get the same work again and again, and none of it would ever count.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use quorate_core::model::{BranchId, BranchStatus, NodeId};
use quorate_world::sync::{Notify, oneshot};

use super::super::channel::ChannelId;
use super::super::guard::locked;
use super::super::message::Way;

/// Ids of a server's requests begin here, far from where clients count.
const IDS_FROM: u32 = 0x4000_0000;
const COUNTER_BITS: u32 = 24;
const COUNTER_MASK: u32 = (1 << COUNTER_BITS) - 1;
const NODE_MASK: u64 = 63;
/// Late answers that are remembered; beyond that the oldest are forgotten, which costs a request.
const LATE_MAX: usize = 10_000;

/// The table.
pub struct Asked {
    node: NodeId,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last: u32,
    waiting: BTreeMap<u32, Waiting>,
    /// The last request for each branch.
    counters: BTreeMap<BranchId, u32>,
    /// Branches in a pause.
    resting: BTreeMap<BranchId, Arc<Notify>>,
    late: Late,
}

struct Waiting {
    branch: BranchId,
    way: Way,
    channel: Option<ChannelId>,
    answer: oneshot::Sender<BranchStatus>,
}

/// Branches that are done, as was heard when nobody waited for it.
#[derive(Default)]
struct Late {
    done: BTreeMap<BranchId, Way>,
    order: VecDeque<BranchId>,
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

/// A pause of a branch. Ends when dropped.
pub struct Rest<'a> {
    asked: &'a Asked,
    branch: BranchId,
    heard: Arc<Notify>,
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
        Asked { node, table: Mutex::new(Table { last, ..Table::default() }) }
    }

    /// An id for a message that nobody answers.
    pub fn unused_id(&self) -> i32 {
        let counter = locked(&self.table).next();
        self.id(counter)
    }

    /// Enters a request for `branch` that goes out over `channel`, or through another node.
    pub fn enter(&self, branch: BranchId, way: Way, channel: Option<ChannelId>) -> Place<'_> {
        let (sender, answer) = oneshot::channel();
        let mut table = locked(&self.table);
        let counter = table.next();
        table.waiting.insert(counter, Waiting { branch, way, channel, answer: sender });
        // A Saga's engine is asked by a name that all Sagas share.
        if branch != BranchId::WHOLE {
            table.counters.insert(branch, counter);
        }
        Place { asked: self, counter, id: self.id(counter), answer }
    }

    /// A branch is done, says an answer that nobody waited for; the state does not contradict it.
    pub fn late(&self, branch: BranchId, way: Way) {
        let mut table = locked(&self.table);
        let repeated = table.counters.get(&branch).copied().and_then(|counter| table.remove(counter));
        if repeated.is_some_and(|waiting| waiting.way == way && waiting.answer.send(done(way)).is_ok()) {
            quorate_core::sometimes!("late_answer_serves_the_request_that_repeats_it");
            return;
        }
        table.late.put(branch, way);
        if let Some(heard) = table.resting.get(&branch) {
            quorate_core::sometimes!("late_answer_ends_a_rest");
            heard.notify_waiters();
        }
    }

    /// Whether it was heard, when nobody waited for it, that this branch is done.
    pub fn heard_late(&self, branch: BranchId, way: Way) -> bool {
        locked(&self.table).late.done.get(&branch) == Some(&way)
    }

    /// A pause of `branch` begins.
    pub fn rest(&self, branch: BranchId) -> Rest<'_> {
        let heard = locked(&self.table).resting.entry(branch).or_default().clone();
        Rest { asked: self, branch, heard }
    }

    fn id(&self, counter: u32) -> i32 {
        let node = (self.node.0 & NODE_MASK) as u32;
        (IDS_FROM | (node << COUNTER_BITS) | counter) as i32
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
        let is_asked = table.waiting.get(&counter).is_some_and(|waiting| waiting.branch == branch);
        if let Some(waiting) = is_asked.then(|| table.remove(counter)).flatten() {
            return match waiting.answer.send(status) {
                Ok(()) => Answer::Taken,
                Err(_) => Answer::Unknown,
            };
        }
        Answer::Unknown
    }

    /// A connection is gone: whoever waits for an answer from it stops waiting.
    pub fn lost(&self, channel: ChannelId) {
        let mut table = locked(&self.table);
        let lost = table.waiting.iter().filter(|(_, waiting)| waiting.channel == Some(channel));
        for counter in lost.map(|(counter, _)| *counter).collect::<Vec<_>>() {
            quorate_core::sometimes!("answer_is_lost_with_its_connection");
            table.remove(counter);
        }
    }
}

impl Table {
    /// A counter that nobody waits with.
    fn next(&mut self) -> u32 {
        loop {
            self.last = (self.last + 1) & COUNTER_MASK;
            if !self.waiting.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    fn remove(&mut self, counter: u32) -> Option<Waiting> {
        let waiting = self.waiting.remove(&counter)?;
        if self.counters.get(&waiting.branch) == Some(&counter) {
            self.counters.remove(&waiting.branch);
        }
        Some(waiting)
    }
}

impl Late {
    fn put(&mut self, branch: BranchId, way: Way) {
        if self.done.insert(branch, way).is_none() {
            self.order.push_back(branch);
        }
        if self.order.len() > LATE_MAX {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.done.remove(&oldest));
        }
    }
}

/// What an RM says when it has gone this way.
pub fn done(way: Way) -> BranchStatus {
    match way {
        Way::Commit => BranchStatus::PhaseTwo_Committed,
        Way::Rollback => BranchStatus::PhaseTwo_Rollbacked,
    }
}

impl Rest<'_> {
    /// Rings when it is heard that the branch is done. Ask for it first, ask [`Asked::heard_late`] then.
    pub fn heard(&self) -> impl Future<Output = ()> + '_ {
        self.heard.notified()
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        let mut table = locked(&self.asked.table);
        // This one and the table's: there is no other pause of the branch, of an earlier leadership.
        if Arc::strong_count(&self.heard) <= 2 {
            table.resting.remove(&self.branch);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.asked.table).remove(self.counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_the_node_and_are_found_by_themselves() {
        let asked = Asked::new(NodeId(65), u64::MAX);
        let mut place = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1)));
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
        let id = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1))).id;
        assert_eq!(asked.answered(id, BranchId(8), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        let mut place = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1)));
        asked.lost(ChannelId(1));
        assert!(place.answer.try_recv().is_err());
    }

    #[test]
    fn what_is_heard_late_counts() {
        let asked = Asked::new(NodeId(1), 0);
        let (branch, done) = (BranchId(7), BranchStatus::PhaseTwo_Committed);
        drop(asked.enter(branch, Way::Commit, Some(ChannelId(1))));
        // The request that repeats it is served, wherever it went.
        let mut again = asked.enter(branch, Way::Commit, None);
        asked.late(branch, Way::Commit);
        assert_eq!(again.answer.try_recv(), Ok(done));
        assert!(!asked.heard_late(branch, Way::Commit), "there is no other one");
        // Nobody repeats it: whoever asks next hears it.
        drop(again);
        asked.late(branch, Way::Commit);
        assert!(asked.heard_late(branch, Way::Commit) && !asked.heard_late(branch, Way::Rollback));
    }

    #[test]
    fn only_so_much_is_remembered() {
        let asked = Asked::new(NodeId(1), 0);
        let branches = (1..=LATE_MAX as i64 + 1).map(BranchId);
        branches.for_each(|branch| asked.late(branch, Way::Commit));
        assert!(!asked.heard_late(BranchId(1), Way::Commit) && asked.heard_late(BranchId(2), Way::Commit));
    }
}
