//! How much an RM is asked at a time in phase two: turns, of its resource, of its channel, and of the node.
//!
//! A process works through what it is sent in the order in which that came, with as many threads as it has. Sent
//! everything at once, one whose resource is slow makes the branches of its quick resources wait behind the slow ones,
//! and after a failure it has the same work twice in its queue. So each resource of a channel begins with few turns, has
//! one more with each quick answer or with several slow ones, and one less with each silence: a quick one has as many as it can use after
//! a few answers, a slow one is not asked much more than it works on, a silent one is soon asked little.
//!
//! What goes through another node has turns at that node (`relays`) before those of its channel there.
//!
//! Whoever waits has asked nobody: that is no silence of the RM. The order of waiting is the order of coming.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_world::linger::narrow;
use quorate_world::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use quorate_world::time::{Duration, Instant};

use super::channels::{Process, RESOURCES_OF_CHANNEL_MAX};
use super::guard::locked;

/// Of a resource on one channel, at first and at least: a Java RM has two threads for each core.
pub const RESOURCE_MIN: usize = 4;
/// Of a resource on one channel, at most.
pub const RESOURCE_MAX: usize = 64;
/// Of one channel: a process that comes back is not flooded, whatever it serves.
pub const CHANNEL_MAX: usize = 128;
/// Of a node, over all its channels.
pub const NODE_MAX: usize = 16_384;

/// An answer that took longer says that the RM may have enough to do; so many of them make one turn.
const QUICK: Duration = Duration::from_secs(5);
const SLOW_PER_TURN: usize = 4;

/// One that has answered nothing for so long has nothing to say, though others were before us and not it was asked.
const QUIET: Duration = Duration::from_secs(15);

/// What nobody does.
const OPEN: &str = "turns are never closed";

/// How many turns there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Of a resource, at first and at least.
    pub resource_min: usize,
    /// Of a resource, at most.
    pub resource_max: usize,
    /// Of a process, where those of several are taken.
    pub process: usize,
    /// Over all resources.
    pub all: usize,
}

/// Those of a channel.
const CHANNEL: Bounds =
    Bounds { resource_min: RESOURCE_MIN, resource_max: RESOURCE_MAX, process: CHANNEL_MAX, all: CHANNEL_MAX };

/// Those of a channel in runs of the simulation whose turns are few.
const CHANNEL_NARROW: Bounds = Bounds { resource_min: 1, resource_max: 2, process: 3, all: 3 };
/// The same of a node.
const NODE_NARROW: usize = 8;

/// Turns of a node, over all of its channels.
pub fn of_node() -> Semaphore {
    Semaphore::new(narrow("turns_of_a_node", NODE_MAX, NODE_NARROW))
}

/// Whose turns a question takes.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    /// The resource.
    pub resource: &'a str,
    /// The process that has it; nothing: all turns are of one.
    pub process: Option<&'a Process>,
}

impl<'a> From<&'a str> for Whose<'a> {
    fn from(resource: &'a str) -> Whose<'a> {
        Whose { resource, process: None }
    }
}

/// All turns of one channel, or of the way to one node.
pub struct Turns {
    bounds: Bounds,
    all: Semaphore,
    windows: Mutex<BTreeMap<Arc<str>, Arc<Window>>>,
    /// What each process may take: one that hangs leaves the rest to the others, however many resources it has.
    shares: Mutex<BTreeMap<Process, Arc<Semaphore>>>,
}

/// The turns of a resource.
struct Window {
    bounds: Bounds,
    turns: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Clone, Copy)]
struct Size {
    /// How many there are, taken or not.
    turns: usize,
    /// Answers that were not quick, since the last turn they made.
    slow: usize,
    /// The last answer, or the begin.
    answered: Instant,
}

/// One question may be out: of one turn, or of several if it is long. Given back when dropped.
pub struct Turn<'a> {
    window: Arc<Window>,
    of_resource: OwnedSemaphorePermit,
    _of_process: Option<OwnedSemaphorePermit>,
    _of_channel: SemaphorePermit<'a>,
    _of_node: SemaphorePermit<'a>,
}

impl Turns {
    /// Of a fresh channel.
    pub fn new() -> Turns {
        Turns::within(narrow("turns_of_a_channel", CHANNEL, CHANNEL_NARROW))
    }

    /// So many.
    pub fn within(bounds: Bounds) -> Turns {
        Turns { bounds, all: Semaphore::new(bounds.all), windows: Mutex::default(), shares: Mutex::default() }
    }

    /// Waits for as many turns at a resource as a question takes, at most what a resource has at least; `node` has those of
    /// the node.
    pub async fn take<'a, 'w>(&'a self, whose: impl Into<Whose<'w>>, turns: usize, node: &'a Semaphore) -> Turn<'a> {
        let Whose { resource, process } = whose.into();
        let (window, turns) = (self.window(resource), self.at_most(turns));
        let of_resource = window.turns.clone().acquire_many_owned(turns).await.expect(OPEN);
        let _of_process = match process.map(|process| self.share(process)) {
            Some(share) => Some(share.acquire_many_owned(turns).await.expect(OPEN)),
            None => None,
        };
        let _of_channel = self.all.acquire_many(turns).await.expect(OPEN);
        let _of_node = node.acquire_many(turns).await.expect(OPEN);
        Turn { window, of_resource, _of_process, _of_channel, _of_node }
    }

    /// Those turns, if nobody waits for one.
    pub fn try_take<'a, 'w>(
        &'a self,
        whose: impl Into<Whose<'w>>,
        turns: usize,
        node: &'a Semaphore,
    ) -> Option<Turn<'a>> {
        let Whose { resource, process } = whose.into();
        let (window, turns) = (self.window(resource), self.at_most(turns));
        let of_resource = window.turns.clone().try_acquire_many_owned(turns).ok()?;
        let _of_process = match process.map(|process| self.share(process)) {
            Some(share) => Some(share.try_acquire_many_owned(turns).ok()?),
            None => None,
        };
        let _of_channel = self.all.try_acquire_many(turns).ok()?;
        let _of_node = node.try_acquire_many(turns).ok()?;
        Some(Turn { window, of_resource, _of_process, _of_channel, _of_node })
    }

    fn at_most(&self, turns: usize) -> u32 {
        turns.min(self.bounds.resource_min) as u32
    }

    /// How many turns a resource has.
    #[cfg(test)]
    pub fn of(&self, resource: &str) -> usize {
        locked(&self.window(resource).size).turns
    }

    /// There are not many more than a channel may have resources at a time: whoever names others all the time starts anew.
    fn window(&self, resource: &str) -> Arc<Window> {
        let mut windows = locked(&self.windows);
        if let Some(window) = windows.get(resource) {
            return window.clone();
        }
        if windows.len() >= RESOURCES_OF_CHANNEL_MAX {
            windows.retain(|_, window| Arc::strong_count(window) > 1);
        }
        let bounds = self.bounds;
        let turns = Arc::new(Semaphore::new(bounds.resource_min));
        let size = Mutex::new(Size { turns: bounds.resource_min, slow: 0, answered: Instant::now() });
        let window = Arc::new(Window { bounds, turns, size });
        windows.insert(resource.into(), window.clone());
        window
    }

    /// Kept as windows are: one that nobody uses is whole, and may be made anew.
    fn share(&self, process: &Process) -> Arc<Semaphore> {
        let mut shares = locked(&self.shares);
        if let Some(share) = shares.get(process) {
            return share.clone();
        }
        if shares.len() >= RESOURCES_OF_CHANNEL_MAX {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = Arc::new(Semaphore::new(self.bounds.process));
        shares.insert(process.clone(), share.clone());
        share
    }
}

impl Turn<'_> {
    /// The RM has answered after so long. Quick enough, it may be asked as much more.
    pub fn answered(self, after: Duration) {
        let Window { bounds, turns, size } = &*self.window;
        let mut size = locked(size);
        size.answered = Instant::now();
        size.slow = if after < QUICK { SLOW_PER_TURN } else { size.slow + 1 };
        if size.slow >= SLOW_PER_TURN {
            size.slow = 0;
            let more = self.of_resource.num_permits().min(bounds.resource_max - size.turns);
            size.turns += more;
            turns.add_permits(more);
        }
    }

    /// It has not: it is asked less.
    pub fn silent(self) {
        let Turn { window, mut of_resource, .. } = self;
        let mut size = locked(&window.size);
        let fewer = of_resource.num_permits().min(size.turns - window.bounds.resource_min);
        if let Some(fewer) = of_resource.split(fewer).filter(|fewer| fewer.num_permits() > 0) {
            quorate_core::sometimes!("silent_rm_is_asked_less_at_a_time");
            size.turns -= fewer.num_permits();
            fewer.forget();
        }
    }

    /// It was not asked, for others were before this question. It may have much to do and answers them, or it hangs.
    pub fn busy(self) {
        self.busy_at(Instant::now());
    }

    fn busy_at(self, now: Instant) {
        let answered = locked(&self.window.size).answered;
        if now - answered >= QUIET {
            self.silent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_world::runtime::run_test;
    use quorate_world::time::timeout;

    const NOW: Duration = Duration::from_millis(20);

    #[test]
    fn a_resource_has_as_many_turns_as_it_can_use() {
        run_test(async {
            let (turns, node) = (Turns::new(), Semaphore::new(NODE_MAX));
            let mut out = Vec::new();
            for _ in 0..RESOURCE_MIN {
                out.push(turns.take("a", 1, &node).await);
            }
            assert!(timeout(NOW, turns.take("a", 1, &node)).await.is_err(), "few at first");
            assert!(turns.try_take("a", 1, &node).is_none());
            assert!(timeout(NOW, turns.take("b", 1, &node)).await.is_ok(), "another resource has its own");
            for _ in 1..SLOW_PER_TURN {
                out.pop().expect("one is out").answered(QUICK);
                out.push(turns.try_take("a", 1, &node).expect("its own again"));
                assert!(turns.try_take("a", 1, &node).is_none(), "a slow one has enough to do");
            }
            out.pop().expect("one is out").answered(QUICK);
            assert_eq!(turns.of("a"), RESOURCE_MIN + 1, "but who knows");
            out.extend((0..2).map_while(|_| turns.try_take("a", 1, &node)));
            out.pop().expect("one is out").answered(NOW);
            for _ in 0..2 {
                out.push(timeout(NOW, turns.take("a", 1, &node)).await.expect("its own again, and one more"));
            }
            assert!(turns.try_take("a", 1, &node).is_none());
            for _ in 0..1_000 {
                out.pop().expect("one is out").answered(NOW);
                out.push(turns.take("a", 1, &node).await);
            }
            assert_eq!(turns.of("a"), RESOURCE_MAX);
        });
    }

    #[test]
    fn a_silent_resource_keeps_the_least() {
        run_test(async {
            let (turns, node) = (Turns::new(), Semaphore::new(NODE_MAX));
            for _ in 0..3 {
                turns.take("a", 1, &node).await.answered(NOW);
            }
            assert_eq!(turns.of("a"), RESOURCE_MIN + 3);
            for _ in 0..10 {
                timeout(NOW, turns.take("a", 1, &node)).await.expect("one at least is free").silent();
            }
            assert_eq!(turns.of("a"), RESOURCE_MIN);
            let _out: Vec<_> = (0..RESOURCE_MIN).map_while(|_| turns.try_take("a", 1, &node)).collect();
            assert!(turns.try_take("a", 1, &node).is_none());
        });
    }

    const WAY: Bounds = Bounds { resource_min: 4, resource_max: 7, process: 6, all: 10 };

    #[test]
    fn a_long_question_takes_several_turns() {
        run_test(async {
            let (turns, node) = (Turns::within(WAY), Semaphore::new(NODE_MAX));
            let long = turns.try_take("a", 100, &node).expect("as many as there are at least");
            assert!(turns.try_take("a", 1, &node).is_none());
            let other = turns.try_take("b", 4, &node).expect("another resource has its own");
            assert!(turns.try_take("c", 3, &node).is_none(), "the way has two left");
            assert_eq!(node.available_permits(), NODE_MAX - 8, "and gives back what did not do");
            other.answered(NOW);
            long.answered(NOW);
            assert_eq!((turns.of("a"), turns.of("b")), (WAY.resource_max, WAY.resource_max));
            turns.try_take("a", 2, &node).expect("free").silent();
            assert_eq!(turns.of("a"), WAY.resource_max - 2);
            turns.try_take("a", 4, &node).expect("free").silent();
            assert_eq!(turns.of("a"), WAY.resource_min);
            let _all = turns.try_take("a", 4, &node).expect("free");
            assert!(turns.try_take("a", 1, &node).is_none());
        });
    }

    #[test]
    fn a_process_takes_its_share_and_no_more() {
        run_test(async {
            let (turns, node) = (Turns::within(WAY), Semaphore::new(NODE_MAX));
            let process = |ip| -> Process { ("shop".into(), quorate_world::net::IpAddr::from([10, 0, 0, ip])) };
            let (hung, sound) = (process(1), process(2));
            let all: Vec<Process> = (0..=u8::MAX).map(process).collect();
            let take = |resource, process| turns.try_take(Whose { resource, process: Some(process) }, 2, &node);
            let out: Vec<_> = ["a", "b", "c"].iter().filter_map(|resource| take(resource, &hung)).collect();
            assert_eq!(out.len(), 3);
            assert!(take("d", &hung).is_none(), "of whichever resource");
            let waiting = turns.take(Whose { resource: "d", process: Some(&hung) }, 1, &node);
            assert!(timeout(NOW, waiting).await.is_err());
            let other = take("a of another", &sound).expect("there is room for others");
            drop((out, other));
            assert!(take("d", &hung).is_some());
            assert!(all.iter().all(|process| take("a", process).is_some()));
            assert_eq!(node.available_permits(), NODE_MAX);
        });
    }

    /// Of a resource that hangs most questions are never asked.
    #[test]
    fn one_that_answers_others_keeps_its_turns() {
        run_test(async {
            let (turns, node) = (Turns::within(WAY), Semaphore::new(NODE_MAX));
            turns.take("a", 3, &node).await.answered(NOW);
            turns.take("a", 1, &node).await.busy();
            assert_eq!(turns.of("a"), WAY.resource_max);
            turns.take("a", 1, &node).await.busy_at(Instant::now() + QUIET);
            assert_eq!(turns.of("a"), WAY.resource_max - 1);
        });
    }

    #[test]
    fn windows_that_nobody_uses_go_when_there_are_many() {
        run_test(async {
            let (turns, node) = (Turns::new(), Semaphore::new(NODE_MAX));
            turns.take("used", 1, &node).await.answered(NOW);
            let _out = turns.take("used", 1, &node).await;
            for resource in 0..2 * RESOURCES_OF_CHANNEL_MAX {
                drop(turns.take(resource.to_string().as_str(), 1, &node).await);
                assert!(locked(&turns.windows).len() <= RESOURCES_OF_CHANNEL_MAX);
            }
            assert_eq!(turns.of("used"), RESOURCE_MIN + 1);
        });
    }

    #[test]
    fn a_channel_and_a_node_have_their_bounds() {
        run_test(async {
            let (turns, node) = (Turns::new(), Semaphore::new(CHANNEL_MAX + 1));
            let mut out = Vec::new();
            for resource in 0..CHANNEL_MAX / RESOURCE_MIN {
                for _ in 0..RESOURCE_MIN {
                    out.push(turns.take(resource.to_string().as_str(), 1, &node).await);
                }
            }
            assert!(timeout(NOW, turns.take("one more", 1, &node)).await.is_err(), "the channel has no more");
            let other = Turns::new();
            let _last = timeout(NOW, other.take("a", 1, &node)).await.expect("the node has one left");
            assert!(timeout(NOW, other.take("a", 1, &node)).await.is_err(), "the node has no more");
            out.clear();
            assert!(timeout(NOW, other.take("a", 1, &node)).await.is_ok());
        });
    }
}
