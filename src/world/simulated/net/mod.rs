//! The simulated network: in-memory byte streams over links that delay, stop, lose and reset.
//!
//! - `link`: the state of a link, one per ordered pair of machines, and what drawing from it gives;
//! - `connection`: two pipes and two ends; what happens when bytes are written, arrive, are read, and at every kind of end;
//! - `connect`: making connections: who listens, who tries, who is refused and who hangs;
//! - `stream`: what user code holds.
//!
//! The kernel of each machine is part of the model: it buffers, acknowledges and, when a process dies, closes. So a
//! dead process gives its peers an end or a reset; a machine without power, or behind a blocked link, gives silence.

mod connect;
mod connection;
mod link;
mod stream;

pub use link::LinkState;
pub use stream::{Listener, ReadHalf, Stream, WriteHalf, connect, listen, local_ip, resolve};

use super::dice::Dice;
use super::state::State;
use crate::net::IpAddr;
use connect::{Attempt, Listening};
use connection::Connection;
use std::collections::BTreeMap;

/// A direction of a connection, named by the side that writes; also an end, named by its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndId {
    pub connection: u64,
    /// 0 is who connected, 1 is who listened.
    pub side: usize,
}

impl EndId {
    fn other(self) -> EndId {
        EndId { connection: self.connection, side: 1 - self.side }
    }

    fn number(self) -> u64 {
        self.connection * 2 + self.side as u64
    }
}

/// What the network does at some time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NetEvent {
    /// The first segments of this direction arrive.
    Arrive(EndId),
    /// The first packet of an attempt to connect arrives.
    Knock(u64),
    /// The answer to an attempt arrives.
    Answer(u64),
}

/// Everything there is between machines.
pub(crate) struct Net {
    pub names: BTreeMap<String, IpAddr>,
    pub ips: BTreeMap<IpAddr, u32>,
    /// How links are that nobody has changed.
    usual: LinkState,
    links: BTreeMap<(u32, u32), LinkState>,
    /// Since when each blocked link is blocked.
    blocked_since: BTreeMap<(u32, u32), u64>,
    /// When the line of a link is free again, for those with a limited bandwidth.
    busy_until: BTreeMap<(u32, u32), u64>,
    /// How many messages each link has been given.
    messages: BTreeMap<(u32, u32), u64>,
    /// Messages that are to be late, by link and number.
    delays: BTreeMap<(u32, u32, u64), u64>,
    listening: BTreeMap<(u32, u16), Listening>,
    connections: BTreeMap<u64, Connection>,
    attempts: BTreeMap<u64, Attempt>,
    numbers: u64,
    pub chance: Chance,
    /// All that arrives, if somebody wants to look at it.
    pub kept: Option<Vec<Carried>>,
}

/// A stream of chance for each ordered pair of machines, named after them: what passes one link does not shift what
/// happens on another.
pub(crate) struct Chance {
    seed: u64,
    streams: BTreeMap<(u32, u32), Dice>,
}

impl Chance {
    /// A machine is added to those before it.
    pub fn add(&mut self, names: &[&str]) {
        let Some((new, newest)) = names.iter().zip(0..).last() else { return };
        for (old, name) in (0..).zip(names) {
            let seed = self.seed;
            self.streams.insert((newest, old), Dice::new(seed, &format!("link {new}>{name}")));
            self.streams.insert((old, newest), Dice::new(seed, &format!("link {name}>{new}")));
        }
    }

    fn on(&mut self, from: u32, to: u32) -> &mut Dice {
        let seed = self.seed;
        self.streams.entry((from, to)).or_insert_with(|| Dice::new(seed, "links to nowhere"))
    }
}

/// Bytes that have reached a process, together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Connection and direction.
    pub way: u64,
    /// From which machine,
    pub from: u32,
    /// to which.
    pub to: u32,
    /// When they left,
    pub sent_nanos: u64,
    /// and when they came.
    pub arrived_nanos: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Net {
    pub fn new(seed: u64, usual: LinkState, keeps: bool) -> Net {
        Net {
            names: BTreeMap::new(),
            ips: BTreeMap::new(),
            usual,
            links: BTreeMap::new(),
            blocked_since: BTreeMap::new(),
            busy_until: BTreeMap::new(),
            messages: BTreeMap::new(),
            delays: BTreeMap::new(),
            listening: BTreeMap::new(),
            connections: BTreeMap::new(),
            attempts: BTreeMap::new(),
            numbers: 0,
            chance: Chance { seed, streams: BTreeMap::new() },
            kept: keeps.then(Vec::new),
        }
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl State {
    pub fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Arrive(from) => self.arrive(from),
            NetEvent::Knock(attempt) => self.knock(attempt),
            NetEvent::Answer(attempt) => self.answer(attempt),
        }
    }
}
