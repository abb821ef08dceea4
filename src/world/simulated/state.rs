//! All that the simulated world is made of.

use super::clock::Clock;
use super::dice::Dice;
use super::disk::DiskState;
use super::faults::{Counters, FaultClass};
use super::net::Net;
use super::sim::{Ending, Options, Tap};
use super::timers::Timers;
use super::trace::{Digest, Kind, Trace, hash_of};
use crate::net::IpAddr;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

/// Called at each tap.
pub(crate) type Hook = Box<dyn FnMut(Tap<'_>)>;

/// Starts the process of a machine: makes the future that is its `main`.
pub(crate) type Main = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = i32>>> + Send + Sync>;

/// What the thread-local points to.
pub(crate) struct Shared {
    pub state: RefCell<State>,
    pub hook: RefCell<Option<Hook>>,
}

pub(crate) struct State {
    pub seed: u64,
    pub options: Options,
    pub time: madsim::time::TimeHandle,
    pub machines: Vec<MachineState>,
    pub timers: Timers,
    pub net: Net,
    pub counters: Counters,
    /// Woken when the state is given back.
    pub wakes: Vec<Waker>,
    pub tasks_spawned: u64,
    /// Whether the place of the chosen planted bug was reached.
    pub bug_passed: bool,
    /// The chance of each place that may linger.
    pub lingering: BTreeMap<&'static str, Dice>,
    /// Which bounds are narrow, of those that were asked for.
    pub narrow: BTreeMap<&'static str, bool>,
    trace: Trace,
}

/// A machine: an address, a disk, clocks, and at most one process.
pub(crate) struct MachineState {
    pub name: String,
    pub ip: IpAddr,
    pub executor: Option<madsim::task::NodeId>,
    /// What it runs; none for the harness.
    pub main: Option<Main>,
    pub cores: usize,
    pub life: u32,
    pub power: Power,
    pub clock: Clock,
    /// The chance of its processes.
    pub dice: Dice,
    pub disk: DiskState,
    pub next_port: u16,
    /// What its kernel keeps of what arrives over connections that it makes; nothing: it is drawn.
    pub receive_window_bytes: Option<usize>,
    pub stop_requested: bool,
    pub stop_waiters: Vec<Waker>,
    pub end_waiters: Vec<Waker>,
    pub said: Vec<String>,
}

/// The state of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Power {
    /// Its process runs; paused or not.
    Running { paused: bool },
    /// It is on, its process has ended.
    Idle(Ending),
    /// It is off.
    Off,
}

impl State {
    pub fn new(seed: u64, options: Options, time: madsim::time::TimeHandle) -> State {
        let lines = options.trace_path.as_ref().and_then(|path| match std::fs::File::create(path) {
            Ok(file) => Some(Box::new(std::io::BufWriter::new(file)) as Box<dyn std::io::Write>),
            Err(error) => {
                tracing::warn!(%error, path, "no trace file");
                None
            }
        });
        State {
            seed,
            time,
            machines: Vec::new(),
            timers: Timers::default(),
            net: Net::new(seed, options.link, options.keep_messages),
            counters: Counters::new(),
            wakes: Vec::new(),
            tasks_spawned: 0,
            bug_passed: false,
            lingering: BTreeMap::new(),
            narrow: BTreeMap::new(),
            trace: Trace::new(seed, lines),
            options,
        }
    }

    /// Time since the beginning of the world.
    pub fn now_nanos(&self) -> u64 {
        super::dice::nanos(self.time.elapsed())
    }

    pub fn machine(&self, index: u32) -> &MachineState {
        &self.machines[index as usize]
    }

    pub fn machine_mut(&mut self, index: u32) -> &mut MachineState {
        &mut self.machines[index as usize]
    }

    /// Whether this process is still there. Code of a dead one may run on to its next wait, and its destructors after.
    pub fn is_alive(&self, identity: super::Identity) -> bool {
        let machine = self.machine(identity.machine);
        machine.life == identity.life && (identity == super::HARNESS || matches!(machine.power, Power::Running { .. }))
    }

    /// Adds a machine, without a process.
    pub fn add_machine(&mut self, name: &str, ip: IpAddr) -> u32 {
        assert!(self.net.ips.insert(ip, self.machines.len() as u32).is_none(), "two machines with the address {ip}");
        let clashing = self.net.names.insert(name.to_owned(), ip);
        assert!(clashing.is_none(), "two machines with the name {name:?}");
        let clock = self.draw_clock(&mut Dice::new(self.seed, &format!("clock of {name}")));
        self.machines.push(MachineState {
            name: name.to_owned(),
            ip,
            executor: None,
            main: None,
            cores: 1,
            life: 0,
            power: Power::Idle(Ending::Returned),
            clock,
            dice: Dice::new(self.seed, &format!("processes of {name}")),
            disk: DiskState::new(Dice::new(self.seed, &format!("disk of {name}")), self.options.disk),
            next_port: 49_152,
            receive_window_bytes: None,
            stop_requested: false,
            stop_waiters: Vec::new(),
            end_waiters: Vec::new(),
            said: Vec::new(),
        });
        let names: Vec<&str> = self.machines.iter().map(|machine| machine.name.as_str()).collect();
        self.net.chance.add(&names);
        self.machines.len() as u32 - 1
    }

    /// A date between 2026 and 2036, the same for all but for the skew; an uptime of up to a hundred days.
    fn draw_clock(&self, dice: &mut Dice) -> Clock {
        const YEAR_2026_SECONDS: u64 = 1_767_225_600;
        const DAY_SECONDS: u64 = 24 * 3600;
        let date_seconds = YEAR_2026_SECONDS + Dice::new(self.seed, "date").below(3650 * DAY_SECONDS);
        let skew_nanos = dice.below(self.options.wall_skew_ms_max.saturating_mul(1_000_000).saturating_add(1));
        if self.machines.is_empty() {
            // The harness sees the time of the world.
            return Clock::new(0, date_seconds * 1_000_000_000, 0);
        }
        let uptime_nanos = dice.between(3600 * 1_000_000_000, 100 * DAY_SECONDS * 1_000_000_000);
        let ppm_max = i64::from(self.options.clock_ppm_max);
        let ppm = dice.between(0, 2 * u64::from(self.options.clock_ppm_max)) as i64 - ppm_max;
        Clock::new(uptime_nanos, date_seconds * 1_000_000_000 + skew_nanos, ppm)
    }

    pub fn record(&mut self, kind: Kind, a: u64, b: u64, c: u64) {
        let now = self.now_nanos();
        self.trace.record(now, kind, [a, b, c], None);
    }

    pub fn record_text(&mut self, kind: Kind, a: u64, b: u64, text: &str) {
        let now = self.now_nanos();
        self.trace.record(now, kind, [a, b, hash_of(text.as_bytes())], Some(text));
    }

    /// A fault has happened.
    pub fn count(&mut self, class: FaultClass, machine: u32, what: u64) {
        *self.counters.entry(class).or_default() += 1;
        self.record(Kind::Fault, class as u64, u64::from(machine), what);
    }

    pub fn digest(&self) -> Digest {
        self.trace.digest()
    }

    pub fn flush_trace(&mut self) {
        self.trace.flush();
    }
}

/// Adds a waker to those who wait, unless it is there.
pub(crate) fn remember(waiting: &mut Vec<Waker>, waker: &Waker) {
    if !waiting.iter().any(|known| known.will_wake(waker)) {
        waiting.push(waker.clone());
    }
}
