//! Links: one per ordered pair of machines, so that each direction can be slow, blocked or lossy by itself.

use super::{EndId, NetEvent};
use crate::simulated::dice::Latency;
use crate::simulated::faults::FaultClass;
use crate::simulated::state::State;
use crate::simulated::timers::Due;
use crate::time::Duration;

/// How a link is in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// How long a message is under way.
    pub latency: Latency,
    /// Nothing gets through. What was under way still arrives; the rest waits, silently, and is sent again after the heal.
    pub blocked: bool,
    /// How much fits through in a second; without limit if none.
    pub bytes_per_second: Option<u64>,
    /// How many messages in a million are lost, which over TCP means late by a retransmission.
    pub loss_per_million: u32,
    /// How many messages in a million break their connection.
    pub reset_per_million: u32,
    /// How many messages in a million arrive with one bit turned over.
    pub corrupt_per_million: u32,
    /// How many connections in a million with bytes waiting are found broken after a heal.
    pub reset_after_block_per_million: u32,
}

impl LinkState {
    /// A local network without faults: 0.1 ms and a little.
    pub const CALM: LinkState = LinkState {
        latency: Latency::micros(80, 60),
        blocked: false,
        bytes_per_second: None,
        loss_per_million: 0,
        reset_per_million: 0,
        corrupt_per_million: 0,
        reset_after_block_per_million: 200_000,
    };
}

impl Default for LinkState {
    fn default() -> Self {
        LinkState::CALM
    }
}

/// From a machine to itself.
const LOOPBACK: LinkState = LinkState { latency: Latency::micros(10, 10), ..LinkState::CALM };

/// The first retransmission of a lost message, as the kernel's least.
const RETRANSMIT_LEAST: Duration = Duration::from_millis(200);
/// After a long silence a kernel may take very long to try again; longer than this teaches nothing.
const RETRANSMIT_MOST: Duration = Duration::from_secs(5);

impl State {
    pub fn link(&self, from: u32, to: u32) -> LinkState {
        if from == to {
            return LOOPBACK;
        }
        self.net.links.get(&(from, to)).copied().unwrap_or(self.net.usual)
    }

    pub fn set_link(&mut self, from: u32, to: u32, link: LinkState) {
        if from == to {
            return;
        }
        let was_blocked = self.link(from, to).blocked;
        self.net.links.insert((from, to), link);
        let now = self.now_nanos();
        match (was_blocked, link.blocked) {
            (false, true) => {
                self.net.blocked_since.insert((from, to), now);
            }
            (true, false) => {
                let since = self.net.blocked_since.remove(&(from, to)).unwrap_or(now);
                self.heal(from, to, now - since);
            }
            (true, true) | (false, false) => {}
        }
    }

    /// Whether something sent at this time cannot pass now.
    pub(super) fn is_stopped(&self, from: u32, to: u32, sent_nanos: u64) -> bool {
        self.net.blocked_since.get(&(from, to)).is_some_and(|since| *since <= sent_nanos)
    }

    /// How long a message of this size takes, line and all, and counts what happened to it.
    pub(super) fn draw_passage(&mut self, from: u32, to: u32, bytes: usize) -> u64 {
        let link = self.link(from, to);
        let usual = link.latency.least + link.latency.mean_extra * 20;
        let mut nanos = self.net.chance.on(from, to).latency(&link.latency);
        if u128::from(nanos) > usual.as_nanos() {
            self.count(FaultClass::LinkTail, from, u64::from(to));
        }
        if self.net.chance.on(from, to).happens(link.loss_per_million) {
            self.count(FaultClass::LinkLoss, from, u64::from(to));
            let mut again = RETRANSMIT_LEAST;
            nanos += nanos_of(again);
            while self.net.chance.on(from, to).happens(link.loss_per_million) && again < RETRANSMIT_MOST {
                again *= 2;
                nanos += nanos_of(again);
            }
        }
        let number = self.net.messages.entry((from, to)).or_default();
        *number += 1;
        let delay = self.net.delays.get(&(from, to, *number)).copied().unwrap_or(0);
        nanos + delay + self.wait_for_line(from, to, link.bytes_per_second, bytes)
    }

    /// The message of this number (from 1) on this link will be later by so much.
    pub fn delay_message(&mut self, from: u32, to: u32, number: u64, nanos: u64) {
        self.net.delays.insert((from, to, number), nanos);
    }

    pub fn messages(&self, from: u32, to: u32) -> u64 {
        self.net.messages.get(&(from, to)).copied().unwrap_or(0)
    }

    fn wait_for_line(&mut self, from: u32, to: u32, bytes_per_second: Option<u64>, bytes: usize) -> u64 {
        let Some(rate) = bytes_per_second else { return 0 };
        let now = self.now_nanos();
        let busy = self.net.busy_until.entry((from, to)).or_default();
        *busy = (*busy).max(now) + (bytes as u64).saturating_mul(1_000_000_000) / rate.max(1);
        let nanos = *busy - now;
        // Less than this is lost in the latency.
        if nanos >= 1_000_000 {
            self.count(FaultClass::LinkBandwidth, from, u64::from(to));
        }
        nanos
    }

    /// When the kernel tries again after a silence of this length.
    pub(super) fn draw_retransmission(&mut self, from: u32, to: u32, silent_nanos: u64) -> u64 {
        let most = silent_nanos.clamp(nanos_of(RETRANSMIT_LEAST), nanos_of(RETRANSMIT_MOST));
        self.net.chance.on(from, to).between(1_000_000, most)
    }

    /// A link passes again: whatever waits for it goes on, or is found broken.
    fn heal(&mut self, from: u32, to: u32, silent_nanos: u64) {
        let link = self.link(from, to);
        let (mut waiting, mut credited) = (Vec::new(), Vec::new());
        for (&connection, found) in &self.net.connections {
            for side in 0..2 {
                let end = EndId { connection, side };
                if found.machines(end) == (from, to) && found.is_held(end) {
                    waiting.push(end);
                }
                // Acknowledgements travel the other way than the bytes they answer.
                if found.machines(end) == (to, from) {
                    credited.push(end);
                }
            }
        }
        for end in waiting {
            if self.net.chance.on(from, to).happens(link.reset_after_block_per_million) {
                self.count(FaultClass::LinkReset, from, u64::from(to));
                self.break_connection(end.connection);
                continue;
            }
            let at = self.now_nanos() + self.draw_retransmission(from, to, silent_nanos);
            self.schedule_arrival(end, at);
        }
        for end in credited {
            self.give_withheld_credit(end);
        }
    }

    pub(super) fn schedule_arrival(&mut self, from: EndId, at_nanos: u64) {
        let key = self.add_timer(at_nanos, Due::Net(NetEvent::Arrive(from)));
        let old = match self.net.connections.get_mut(&from.connection) {
            Some(found) => found.pipe_mut(from).scheduled.replace(key),
            None => Some(key),
        };
        if let Some(old) = old {
            self.remove_timer(old);
        }
    }
}

fn nanos_of(duration: Duration) -> u64 {
    crate::simulated::dice::nanos(duration)
}
