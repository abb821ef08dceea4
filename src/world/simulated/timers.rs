//! What is due when: one ordered queue for sleeping tasks, messages under way and disk calls, and one task that runs it.
//!
//! madsim's own timers cannot be taken back, and each poll of a sleep adds another; under load they are most of the
//! cost. So it gets one timer only: that of our earliest entry.

use super::net::NetEvent;
use super::state::State;
use super::with;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Nothing is due so late: if nothing else is, the world has come to a halt and should say so.
const NEVER_NANOS: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;

/// Names an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    pub at_nanos: u64,
    number: u64,
}

/// What happens at that time.
pub(crate) enum Due {
    /// A task goes on. If it waits for a machine's clock, that machine.
    Wake(Waker, Option<u32>),
    /// The network moves.
    Net(NetEvent),
}

#[derive(Default)]
pub(crate) struct Timers {
    queue: BTreeMap<TimerKey, Due>,
    numbers: u64,
    driver: Option<Waker>,
    /// When the driver will look again.
    armed_nanos: Option<u64>,
}

impl State {
    pub fn add_timer(&mut self, at_nanos: u64, due: Due) -> TimerKey {
        let timers = &mut self.timers;
        timers.numbers += 1;
        let key = TimerKey { at_nanos, number: timers.numbers };
        timers.queue.insert(key, due);
        if timers.armed_nanos.is_none_or(|armed| at_nanos < armed) {
            timers.armed_nanos = Some(at_nanos);
            self.wakes.extend(timers.driver.take());
        }
        key
    }

    pub fn remove_timer(&mut self, key: TimerKey) -> Option<Due> {
        self.timers.queue.remove(&key)
    }

    /// Puts another waker behind an entry that is still waiting. Returns what must be dropped, or `Err` if it has fired.
    fn rewake(&mut self, key: TimerKey, waker: &Waker) -> Result<Option<Waker>, ()> {
        match self.timers.queue.get_mut(&key) {
            Some(Due::Wake(old, _)) if old.will_wake(waker) => Ok(None),
            Some(Due::Wake(old, _)) => Ok(Some(std::mem::replace(old, waker.clone()))),
            Some(Due::Net(_)) | None => Err(()),
        }
    }

    /// The clock of this machine goes another way: whoever waits for it must look again.
    pub fn wake_sleepers(&mut self, machine: u32) {
        for due in self.timers.queue.values() {
            match due {
                Due::Wake(waker, clock) if *clock == Some(machine) => self.wakes.push(waker.clone()),
                Due::Wake(..) | Due::Net(_) => {}
            }
        }
    }

    /// Does what is due, and says when the next is.
    fn run_due(&mut self, driver: &Waker) -> Option<u64> {
        let now = self.now_nanos();
        while let Some(entry) = self.timers.queue.first_entry() {
            if entry.key().at_nanos > now {
                break;
            }
            match entry.remove() {
                Due::Wake(waker, _) => self.wakes.push(waker),
                Due::Net(event) => self.net_event(event),
            }
        }
        self.timers.armed_nanos = self.timers.queue.first_key_value().map(|(key, _)| key.at_nanos);
        self.timers.driver = Some(driver.clone());
        self.timers.armed_nanos
    }
}

/// The task that runs the queue.
#[derive(Default)]
pub(crate) struct Driver {
    alarm: Option<(u64, Pin<Box<madsim::time::Sleep>>)>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let next = with(|state| state.run_due(context.waker()));
        let Some(next) = next else {
            self.alarm = None;
            return Poll::Pending;
        };
        // An alarm that is set for this moment already rings only if it has not rung: it is in the future.
        if self.alarm.as_ref().is_some_and(|(at, _)| *at == next) {
            return Poll::Pending;
        }
        let time = madsim::time::TimeHandle::current();
        let ahead = Duration::from_nanos(next).saturating_sub(time.elapsed());
        let deadline = time.now_instant() + ahead;
        // `sleep` waits for at least a millisecond; resetting it does not.
        let mut alarm = Box::pin(time.sleep(ahead));
        alarm.as_mut().reset(deadline);
        if alarm.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
        self.alarm = Some((next, alarm));
        Poll::Pending
    }
}

/// Waits until a moment of the world's time.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    key: Option<TimerKey>,
    /// Whose clock it is about; none for the world's.
    pub clock: Option<u32>,
}

impl Waiting {
    /// Ready once the world's time is there. May be asked again with another moment.
    pub fn poll_until(&mut self, at_nanos: u64, waker: &Waker) -> Poll<()> {
        let (ready, dropped) = with(|state| {
            if state.now_nanos() >= at_nanos {
                return (true, self.key.take().and_then(|key| state.remove_timer(key)));
            }
            if at_nanos >= NEVER_NANOS {
                return (false, self.key.take().and_then(|key| state.remove_timer(key)));
            }
            if let Some(key) = self.key {
                if key.at_nanos == at_nanos
                    && let Ok(old) = state.rewake(key, waker)
                {
                    return (false, old.map(|old| Due::Wake(old, None)));
                }
                let old = state.remove_timer(key);
                self.key = Some(state.add_timer(at_nanos, Due::Wake(waker.clone(), self.clock)));
                return (false, old);
            }
            self.key = Some(state.add_timer(at_nanos, Due::Wake(waker.clone(), self.clock)));
            (false, None)
        });
        drop(dropped);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let dropped = super::try_with(|state| state.remove_timer(key));
            drop(dropped);
        }
    }
}

/// Waits until a moment of the world's time, whatever the machine's clocks say.
pub(crate) async fn wait_until_world(at_nanos: u64) {
    let mut waiting = Waiting::default();
    std::future::poll_fn(|context| waiting.poll_until(at_nanos, context.waker())).await;
}
