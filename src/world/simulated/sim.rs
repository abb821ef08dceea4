//! Control of the simulated world, for the harness and for tests.
//!
//! [`run`] makes a world from a seed and runs a `main` in it, which is outside of all machines: it adds machines, starts
//! and ends their processes, breaks links and disks, listens to taps. Same seed, same options, same code: same run,
//! bit for bit. One run per process is the rule for the harness; several after one another are fine for tests.
//!
//! Everything the world does by chance it draws from the seed. What the harness does by chance it draws from a
//! [`Dice`] of its own, named after its purpose.

use super::life;
use super::runtime::World;
use super::state::{Main, Power};
use super::trace::Kind;
use super::with;
use crate::net::IpAddr;
use crate::tap::Event;
use crate::time::Duration;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

pub use super::dice::{Dice, Latency};
pub use super::disk::{DiskFaults, DiskImage, DiskSpeed, Moment};
pub use super::faults::{Counters, FaultClass};
pub use super::linger::{Lingered, is_narrow, linger, lingers, set_linger};
pub use super::net::{Carried, LinkState};
pub use super::trace::{Digest, Kind as TraceKind};

mod disks;
mod links;

pub use disks::MachineDisk;
pub use links::{
    block, change_link, delay_message, heal_all, isolate, link, messages, partition, partition_one_way,
    reset_connections, set_link, take_messages, unblock,
};

/// What a world is made of.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How links are unless changed.
    pub link: LinkState,
    /// How disks are unless changed.
    pub disk: DiskSpeed,
    /// Each machine's clock runs wrong by up to this, either way.
    pub clock_ppm_max: u32,
    /// Each machine's wall clock is ahead by up to this.
    pub wall_skew_ms_max: u64,
    /// Where the lines of the trace go.
    pub trace_path: Option<String>,
    /// Every message that arrives is kept for [`take_messages`].
    pub keep_messages: bool,
    /// So many in a million passes of places that may linger do ([`crate::linger`]).
    pub linger_per_million: u32,
    /// Some bounds are so narrow that they are met ([`crate::linger::narrow`]).
    pub narrow: bool,
    /// The planted bug of this run.
    pub bug: Option<String>,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Run<T> {
    /// What `main` returned.
    pub output: T,
    /// The hash of all that happened.
    pub digest: Digest,
    /// How often each class of fault happened.
    pub counters: Counters,
    /// How much time passed in the world.
    pub simulated: Duration,
    /// Whether the place of the chosen planted bug was reached.
    pub bug_passed: bool,
}

/// Runs `main` in a new world, on a thread of its own. A panic in `main` goes on here.
pub fn run<F>(seed: u64, options: Options, main: impl FnOnce() -> F + Send + 'static) -> Run<F::Output>
where
    F: Future,
    F::Output: Send + 'static,
{
    let Run { output, digest, counters, simulated, bug_passed } = try_run(seed, options, main);
    match output {
        Ok(output) => Run { output, digest, counters, simulated, bug_passed },
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Like [`run`], but a panic in `main` (and the world coming to a halt, which is one) is a result.
pub fn try_run<F>(
    seed: u64,
    options: Options,
    main: impl FnOnce() -> F + Send + 'static,
) -> Run<std::thread::Result<F::Output>>
where
    F: Future,
    F::Output: Send + 'static,
{
    // Deep futures in a build without optimisation need room.
    const STACK_BYTES: usize = 64 << 20;
    let in_world = move || {
        let world = World::new(seed, options);
        let output = catch_unwind(AssertUnwindSafe(|| world.block_on(async { main().await })));
        let mut state = world.shared().state.borrow_mut();
        state.flush_trace();
        Run {
            output,
            digest: state.digest(),
            counters: state.counters.clone(),
            simulated: Duration::from_nanos(state.now_nanos()),
            bug_passed: state.bug_passed,
        }
    };
    let thread =
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(in_world).expect("the kernel gives a thread");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A machine of this world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine(pub(crate) u32);

/// The machine on which the harness itself runs. It cannot be killed.
pub const HARNESS: Machine = Machine(0);

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its main returned 0.
    Returned,
    /// It left with this code.
    Exited(i32),
    /// A task of it panicked.
    Panicked(String),
    /// It was killed.
    Killed,
    /// Its machine lost power.
    PowerFailed,
}

impl Ending {
    /// As the operating system would tell it; none if the machine went with it.
    pub fn code(&self) -> Option<i32> {
        match self {
            Ending::Returned => Some(0),
            Ending::Exited(code) => Some(*code),
            Ending::Panicked(_) => Some(crate::process::EXIT_PANIC),
            Ending::Killed => Some(128 + 9),
            Ending::PowerFailed => None,
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.code().map_or(u64::MAX, |code| code as u64)
    }
}

/// Adds a machine without starting it. `main` is what its process runs; its output is the exit code.
pub fn add_machine<F>(name: &str, ip: IpAddr, main: impl Fn() -> F + Send + Sync + 'static) -> Machine
where
    F: Future<Output = i32> + 'static,
{
    let main: Main = Arc::new(move || Box::pin(main()));
    Machine(with(|state| {
        let index = state.add_machine(name, ip);
        state.machine_mut(index).main = Some(main);
        index
    }))
}

/// The machine of that name.
pub fn machine(name: &str) -> Option<Machine> {
    with(|state| state.machines.iter().position(|machine| machine.name == name)).map(|index| Machine(index as u32))
}

/// Time since the beginning of the world.
pub fn now() -> Duration {
    Duration::from_nanos(with(|state| state.now_nanos()))
}

/// Whose code is running, by the name of its machine, and when; nothing outside of a world. For log lines.
pub fn here() -> Option<(String, Duration)> {
    let machine = super::identity().machine;
    super::try_with(|state| (state.machine(machine).name.clone(), Duration::from_nanos(state.now_nanos())))
}

/// The seed of this world.
pub fn seed() -> u64 {
    with(|state| state.seed)
}

/// The hash of all that has happened so far.
pub fn digest() -> Digest {
    with(|state| state.digest())
}

/// How often each class of fault has happened so far.
pub fn counters() -> Counters {
    with(|state| state.counters.clone())
}

/// Puts something of the harness into the trace: an answer that a client saw, the beginning of a phase.
pub fn note(text: &str) {
    with(|state| state.record_text(Kind::Note, 0, 0, text));
}

/// What the code told at a tap.
#[derive(Debug, Clone, Copy)]
pub struct Tap<'a> {
    /// Whose code.
    pub machine: Machine,
    /// When, since the beginning of the world.
    pub at_nanos: u64,
    /// What.
    pub event: &'a dyn Event,
}

impl<'a> Tap<'a> {
    /// The event, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&'a T> {
        (self.event as &dyn Any).downcast_ref()
    }
}

/// Calls `hook` at each tap, instead of the one before. The world may be looked at and changed from it, but it must
/// not wait.
pub fn set_tap_hook(hook: impl FnMut(Tap<'_>) + 'static) {
    super::set_hook(Box::new(hook));
}

impl Machine {
    /// Its name.
    pub fn name(self) -> String {
        with(|state| state.machine(self.0).name.clone())
    }

    /// Its address.
    pub fn ip(self) -> IpAddr {
        with(|state| state.machine(self.0).ip)
    }

    /// Its number, from 1; 0 is the harness.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Turns on the power if it is off, and starts the process. There must be none.
    pub fn start(self) {
        life::start_process(self.0);
    }

    /// Kills the process, as SIGKILL does. False if there is none.
    pub fn kill(self) -> bool {
        life::kill(self.0)
    }

    /// Cuts the power: peers hear nothing, and the disk keeps a part of what was not synced. False if it is off.
    pub fn power_fail(self) -> bool {
        life::power_fail(self.0)
    }

    /// Kills the process if there is one, and starts it again.
    pub fn restart(self) {
        self.kill();
        self.start();
    }

    /// Stops the process in its tracks; timers, messages and the disk go on. False if there is none to stop.
    pub fn pause(self) -> bool {
        life::pause(self.0, true)
    }

    /// Lets a paused process go on. False if there is none.
    pub fn resume(self) -> bool {
        life::pause(self.0, false)
    }

    /// Asks the process to stop, as SIGTERM does, if it listens.
    pub fn request_stop(self) {
        with(|state| {
            let machine = state.machine_mut(self.0);
            machine.stop_requested = true;
            let waiters = std::mem::take(&mut machine.stop_waiters);
            state.wakes.extend(waiters);
        });
    }

    /// Whether a process is there, paused or not.
    pub fn is_running(self) -> bool {
        with(|state| matches!(state.machine(self.0).power, Power::Running { .. }))
    }

    /// Whether the process is paused.
    pub fn is_paused(self) -> bool {
        with(|state| state.machine(self.0).power == Power::Running { paused: true })
    }

    /// How the last process ended; none while one runs, and [`Ending::Returned`] before the first.
    pub fn ending(self) -> Option<Ending> {
        with(|state| match &state.machine(self.0).power {
            Power::Running { .. } => None,
            Power::Idle(ending) => Some(ending.clone()),
            Power::Off => Some(Ending::PowerFailed),
        })
    }

    /// Waits for the end of the process.
    pub async fn ended(self) -> Ending {
        poll_fn(|context| {
            if let Some(ending) = self.ending() {
                return Poll::Ready(ending);
            }
            with(|state| super::state::remember(&mut state.machine_mut(self.0).end_waiters, context.waker()));
            Poll::Pending
        })
        .await
    }

    /// How many processes it has had.
    pub fn lives(self) -> u32 {
        with(|state| state.machine(self.0).life)
    }

    /// What its processes have written to standard output since this was last asked.
    pub fn take_said(self) -> Vec<String> {
        with(|state| std::mem::take(&mut state.machine_mut(self.0).said))
    }

    /// Over connections that it makes from now on, so much arrives that nobody reads, and no more.
    pub fn set_receive_window(self, bytes: usize) {
        with(|state| state.machine_mut(self.0).receive_window_bytes = Some(bytes));
    }

    /// Makes its forward clock, and the wall clock with it, run wrong by so many millionths (-900,000 to 9,000,000).
    pub fn set_clock_ppm(self, ppm: i64) {
        with(|state| {
            let now = state.now_nanos();
            state.machine_mut(self.0).clock.set_ppm(now, ppm);
            state.wake_sleepers(self.0);
            state.count(FaultClass::ClockRate, self.0, ppm as u64);
        });
    }

    /// How wrong its clock runs.
    pub fn clock_ppm(self) -> i64 {
        with(|state| state.machine(self.0).clock.ppm())
    }

    /// Moves its wall clock.
    pub fn move_wall_clock_ms(self, by_ms: i64) {
        with(|state| {
            state.machine_mut(self.0).clock.move_wall(i128::from(by_ms) * 1_000_000);
            state.count(FaultClass::ClockJump, self.0, by_ms as u64);
        });
    }

    /// What its wall clock shows.
    pub fn wall_ms(self) -> u64 {
        with(|state| {
            let now = state.now_nanos();
            state.machine(self.0).clock.wall_ms_at(now)
        })
    }

    /// Its disk.
    pub fn disk(self) -> MachineDisk {
        MachineDisk(self)
    }
}
