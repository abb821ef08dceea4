//! Phase-two requests that wait for an answer, node-wide.
//!
//! An RM may answer over any of its connections, `seata-go` even over one to another node: so the id of a request says which
//! node asked, and what was asked is looked up by the id alone (design, section 10.1; clients/go, note 8).
//!
//! An RM that is busy may answer after its request was given up, or when another node leads than the one that asked. That a
//! branch is done stays true: once the leader has found it in its state (`late`), it serves the request that repeats it,
//! ends a pause, or is remembered until the branch is asked again. Without it an RM with more to do than it has time for
//! would get the same work again and again, and none of it would ever count.
//!
//! Nor would it get it twice at a time: a question that went out over a connection stays open when its asker gives it up,
//! and whoever asks the same of the same connection, the next leader through this node too, joins it. A connection that
//! lives loses nothing, but an RM may: so a question is joined for a while only, and then asked again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use quorate_core::model::{BranchId, BranchStatus, NodeId};
use quorate_world::sync::{Notify, oneshot};
use quorate_world::time::{Duration, Instant};

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
/// So long after it was sent a question may be joined, at most.
pub const OPEN: Duration = Duration::from_secs(30);
/// Questions that are open though nobody waits; beyond that the oldest are forgotten, which costs a request.
const OPEN_MAX: usize = 10_000;
/// Who may wait for one answer; whoever comes then asks for himself.
const ASKERS_MAX: usize = 8;

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
    /// Those that went out over each connection: one that is lost looks at no others.
    of_channels: BTreeSet<(ChannelId, u32)>,
    /// Requests that nobody waits for any more, in the order in which they were given up.
    given_up: VecDeque<(u32, Instant)>,
    last_asker: u32,
    /// Branches in a pause.
    resting: BTreeMap<BranchId, Arc<Notify>>,
    late: Late,
}

struct Waiting {
    branch: BranchId,
    way: Way,
    channel: Option<ChannelId>,
    sent: Instant,
    /// Each with a number of its own. Nobody, where it was given up.
    askers: Vec<(u32, oneshot::Sender<BranchStatus>)>,
}

/// A place at a request that is open.
struct Joined {
    counter: u32,
    asker: u32,
    answer: oneshot::Receiver<BranchStatus>,
    left: Duration,
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
    asker: u32,
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
    /// No server asked with this id, so nobody is told of it.
    Foreign,
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
        let (counter, asker) = (table.next(), table.next_asker());
        table
            .waiting
            .insert(counter, Waiting { branch, way, channel, sent: Instant::now(), askers: vec![(asker, sender)] });
        table.of_channels.extend(channel.map(|channel| (channel, counter)));
        // A Saga's engine is asked by a name that all Sagas share.
        if branch != BranchId::WHOLE {
            table.counters.insert(branch, counter);
        }
        Place { asked: self, counter, asker, id: self.id(counter), answer }
    }

    /// A place at a request for `branch` that went out over `channel` within the last `open`, and how long it is worth waiting.
    pub fn join(
        &self,
        branch: BranchId,
        way: Way,
        channel: ChannelId,
        open: Duration,
    ) -> Option<(Place<'_>, Duration)> {
        let Joined { counter, asker, answer, left } =
            locked(&self.table).join(branch, way, channel, (Instant::now(), open))?;
        Some((Place { asked: self, counter, asker, id: self.id(counter), answer }, left))
    }

    /// A branch is done, says an answer that nobody waited for; the state does not contradict it.
    pub fn late(&self, branch: BranchId, way: Way) {
        let mut table = locked(&self.table);
        let repeated = table.counters.get(&branch).copied().and_then(|counter| table.remove(counter));
        if repeated.is_some_and(|waiting| waiting.way == way && waiting.tell(done(way))) {
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
            return Answer::Foreign;
        }
        let node = u64::from(id >> COUNTER_BITS) & NODE_MASK;
        if node != self.node.0 & NODE_MASK {
            return Answer::Of(node);
        }
        let counter = id & COUNTER_MASK;
        let mut table = locked(&self.table);
        // The branch must be the one that was asked about: the answer to another request is nobody's.
        let is_asked = table.waiting.get(&counter).is_some_and(|waiting| waiting.branch == branch);
        match is_asked.then(|| table.remove(counter)).flatten() {
            Some(waiting) => match waiting.tell(status) {
                true => Answer::Taken,
                false => Answer::Unknown,
            },
            None => Answer::Unknown,
        }
    }

    /// A connection is gone: whoever waits for an answer from it stops waiting.
    pub fn lost(&self, channel: ChannelId) {
        let mut table = locked(&self.table);
        while let Some(&(_, counter)) = table.of_channels.range((channel, 0)..=(channel, u32::MAX)).next() {
            quorate_core::sometimes!("answer_is_lost_with_its_connection");
            table.of_channels.remove(&(channel, counter));
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

    /// Names a place; two at one request never have the same.
    fn next_asker(&mut self) -> u32 {
        self.last_asker = self.last_asker.wrapping_add(1);
        self.last_asker
    }

    fn join(
        &mut self,
        branch: BranchId,
        way: Way,
        channel: ChannelId,
        (now, open): (Instant, Duration),
    ) -> Option<Joined> {
        let counter = self.counters.get(&branch).copied()?;
        let asker = self.next_asker();
        let waiting = self.waiting.get_mut(&counter)?;
        let left = open.min(OPEN).saturating_sub(now - waiting.sent);
        let is_same = waiting.channel == Some(channel) && waiting.way == way;
        if !is_same || left.is_zero() || waiting.askers.len() >= ASKERS_MAX {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        waiting.askers.push((asker, sender));
        Some(Joined { counter, asker, answer, left })
    }

    /// An asker goes. The last one leaves the request open, if it can be joined.
    fn leave(&mut self, counter: u32, asker: u32) {
        let Some(waiting) = self.waiting.get_mut(&counter) else { return };
        let before = waiting.askers.len();
        waiting.askers.retain(|(other, _)| *other != asker);
        if !waiting.askers.is_empty() || waiting.askers.len() == before {
            return;
        }
        let (branch, channel, sent) = (waiting.branch, waiting.channel, waiting.sent);
        if channel.is_none() || self.counters.get(&branch) != Some(&counter) {
            self.remove(counter);
            return;
        }
        self.given_up.push_back((counter, sent));
        self.sweep(Instant::now());
    }

    /// What was open for long enough goes, and the oldest of what is too much.
    fn sweep(&mut self, now: Instant) {
        while let Some(&(counter, sent)) = self.given_up.front() {
            if self.given_up.len() <= OPEN_MAX && now - sent < OPEN {
                return;
            }
            self.given_up.pop_front();
            // It may have been answered, joined again, or its number dealt again.
            let is_over = |waiting: &Waiting| waiting.sent == sent && waiting.askers.is_empty();
            if self.waiting.get(&counter).is_some_and(is_over) {
                self.remove(counter);
            }
        }
    }

    fn remove(&mut self, counter: u32) -> Option<Waiting> {
        let waiting = self.waiting.remove(&counter)?;
        if let Some(channel) = waiting.channel {
            self.of_channels.remove(&(channel, counter));
        }
        if self.counters.get(&waiting.branch) == Some(&counter) {
            self.counters.remove(&waiting.branch);
        }
        Some(waiting)
    }
}

impl Waiting {
    /// Tells all who wait. False: nobody does.
    fn tell(self, status: BranchStatus) -> bool {
        if self.askers.len() > 1 {
            quorate_core::sometimes!("one_answer_serves_several_askers");
        }
        self.askers.into_iter().fold(false, |told, (_, asker)| asker.send(status).is_ok() || told)
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

impl Place<'_> {
    /// The request did not go out: there is nothing to join.
    pub fn withdraw(self) {
        locked(&self.asked.table).remove(self.counter);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        locked(&self.asked.table).leave(self.counter, self.asker);
    }
}

#[cfg(test)]
#[path = "asked_tests.rs"]
mod tests;
