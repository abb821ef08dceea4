//! Phase-two requests that wait for an answer, node-wide.
//!
//! An RM may answer over any of its connections, `seata-go` even over one to another node: so the id of a request says which
//! node asked, and what was asked is looked up by the id alone (design, section 10.1; clients/go, note 8).
//!
//! An RM that is busy may answer after its request was given up. That a branch is done stays true: such an answer serves
//! the request that repeats it, ends a pause, or is remembered until somebody asks again. Without it an RM with more to do
//! than it has time for would get the same work again and again, and none of it would ever count.

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
/// Requests that were given up and may be answered yet; beyond that the oldest are forgotten, which costs a request.
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
    channel: ChannelId,
    answer: oneshot::Sender<BranchStatus>,
}

/// Branches whose last request was given up.
#[derive(Default)]
struct Late {
    given_up: BTreeMap<BranchId, GivenUp>,
    order: VecDeque<BranchId>,
}

struct GivenUp {
    way: Way,
    /// It was heard since that it is done.
    is_done: bool,
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
    /// Its request was given up, and the branch is done.
    Late,
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

    /// Enters a request for `branch` that goes out over `channel`.
    pub fn enter(&self, branch: BranchId, way: Way, channel: ChannelId) -> Place<'_> {
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

    /// Whether it was heard, after its request was given up, that this branch is done.
    pub fn heard_late(&self, branch: BranchId, way: Way) -> bool {
        locked(&self.table).late.is_done(branch, way)
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
        match done(status) {
            Some(way) if table.hear_late(branch, way, status) => Answer::Late,
            Some(_) | None => Answer::Unknown,
        }
    }

    /// A connection is gone: whoever waits for an answer from it stops waiting.
    pub fn lost(&self, channel: ChannelId) {
        let mut table = locked(&self.table);
        let lost = table.waiting.iter().filter(|(_, waiting)| waiting.channel == channel);
        for counter in lost.map(|(counter, _)| *counter).collect::<Vec<_>>() {
            table.give_up(counter);
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

    /// Nobody waits any more, but an answer may come.
    fn give_up(&mut self, counter: u32) {
        if let Some(waiting) = self.remove(counter)
            && waiting.branch != BranchId::WHOLE
        {
            self.late.give_up(waiting.branch, waiting.way);
        }
    }

    /// For the request that repeats it, or for the next one. False: none was given up.
    fn hear_late(&mut self, branch: BranchId, way: Way, status: BranchStatus) -> bool {
        if !self.late.hear(branch, way) {
            return false;
        }
        let repeated = self.counters.get(&branch).copied().and_then(|counter| self.remove(counter));
        if repeated.is_some_and(|waiting| waiting.way == way && waiting.answer.send(status).is_ok()) {
            self.late.forget(branch);
        } else if let Some(heard) = self.resting.get(&branch) {
            heard.notify_waiters();
        }
        true
    }
}

impl Late {
    fn give_up(&mut self, branch: BranchId, way: Way) {
        if self.given_up.insert(branch, GivenUp { way, is_done: false }).is_none() {
            self.order.push_back(branch);
        }
        while self.order.len() > LATE_MAX {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.given_up.remove(&oldest));
        }
    }

    fn hear(&mut self, branch: BranchId, way: Way) -> bool {
        let given_up = self.given_up.get_mut(&branch).filter(|given_up| given_up.way == way);
        given_up.map(|given_up| given_up.is_done = true).is_some()
    }

    fn is_done(&self, branch: BranchId, way: Way) -> bool {
        self.given_up.get(&branch).is_some_and(|given_up| given_up.way == way && given_up.is_done)
    }

    /// Its place in the order stays until it is the oldest.
    fn forget(&mut self, branch: BranchId) {
        self.given_up.remove(&branch);
    }
}

/// The way that is over with this answer.
fn done(status: BranchStatus) -> Option<Way> {
    match status {
        BranchStatus::PhaseTwo_Committed => Some(Way::Commit),
        BranchStatus::PhaseTwo_Rollbacked => Some(Way::Rollback),
        _ => None,
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
        locked(&self.asked.table).resting.remove(&self.branch);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.asked.table).give_up(self.counter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_the_node_and_are_found_by_themselves() {
        let asked = Asked::new(NodeId(65), u64::MAX);
        let mut place = asked.enter(BranchId(7), Way::Commit, ChannelId(1));
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
        let id = asked.enter(BranchId(7), Way::Commit, ChannelId(1)).id;
        assert_eq!(asked.answered(id, BranchId(8), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        let mut place = asked.enter(BranchId(7), Way::Commit, ChannelId(1));
        asked.lost(ChannelId(1));
        assert!(place.answer.try_recv().is_err());
    }

    #[test]
    fn an_answer_to_what_was_given_up_counts() {
        let asked = Asked::new(NodeId(1), 0);
        let (branch, done) = (BranchId(7), BranchStatus::PhaseTwo_Committed);
        let first = asked.enter(branch, Way::Commit, ChannelId(1)).id;
        assert!(!asked.heard_late(branch, Way::Commit));
        // The request that repeats it is served.
        let mut again = asked.enter(branch, Way::Commit, ChannelId(2));
        assert_eq!(asked.answered(first, branch, BranchStatus::PhaseTwo_CommitFailed_Retryable), Answer::Unknown);
        assert_eq!(asked.answered(first, branch, done), Answer::Late);
        assert_eq!(again.answer.try_recv(), Ok(done));
        drop(again);
        // Nobody repeats it: whoever asks next hears it.
        let third = asked.enter(branch, Way::Commit, ChannelId(1)).id;
        assert_eq!(asked.answered(third, branch, BranchStatus::PhaseTwo_Rollbacked), Answer::Unknown, "the other way");
        assert_eq!(asked.answered(third, branch, done), Answer::Late);
        assert!(asked.heard_late(branch, Way::Commit) && !asked.heard_late(branch, Way::Rollback));
        assert_eq!(asked.answered(third, BranchId(9), done), Answer::Unknown, "never asked");
    }

    #[test]
    fn only_so_much_is_remembered() {
        let asked = Asked::new(NodeId(1), 0);
        let ids: Vec<i32> = (1..=LATE_MAX as i64 + 1)
            .map(|branch| asked.enter(BranchId(branch), Way::Commit, ChannelId(1)).id)
            .collect();
        assert_eq!(asked.answered(ids[0], BranchId(1), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        assert_eq!(asked.answered(ids[1], BranchId(2), BranchStatus::PhaseTwo_Committed), Answer::Late);
    }
}
