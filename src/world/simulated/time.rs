//! Clocks and sleep of the machine whose code is running.

use super::timers::Waiting;
use super::{identity, trace::Kind, try_with, with};
use crate::time::Instant;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

pub(crate) fn forward_nanos() -> u64 {
    with(|state| {
        let now = state.now_nanos();
        state.machine(identity().machine).clock.local_at(now)
    })
}

/// Milliseconds since 1970 on the machine's wall clock, which may jump.
pub fn wall_ms() -> u64 {
    with(|state| {
        let now = state.now_nanos();
        state.machine(identity().machine).clock.wall_ms_at(now)
    })
}

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, waiting: Waiting::default(), slept: false }
}

/// Waits for a moment on the machine's forward clock.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    waiting: Waiting,
    slept: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let machine = identity().machine;
        self.waiting.clock = Some(machine);
        // Asked anew at each poll: the rate of the clock may have changed.
        let at_nanos = with(|state| {
            let (now, clock) = (state.now_nanos(), &state.machine(machine).clock);
            if clock.local_at(now) >= self.deadline.nanos() {
                now
            } else {
                clock.world_at(self.deadline.nanos()).max(now + 1)
            }
        });
        if self.waiting.poll_until(at_nanos, context.waker()).is_pending() {
            self.slept = true;
            return Poll::Pending;
        }
        if self.slept {
            try_with(|state| state.record(Kind::Timer, u64::from(machine), 0, 0));
        }
        Poll::Ready(())
    }
}
