//! Life and death of processes, and of the machines under them.
//!
//! A *process* ends by itself (returns, exits, panics) or is killed; the kernel of its machine lives on, closes its
//! connections and keeps what was written. A *machine* that loses power takes all that with it, silently.
//!
//! The executor must never be asked while the state is lent out: starting a process runs code, and so does ending one.

use super::faults::FaultClass;
use super::sim::Ending;
use super::state::{Main, Power, State};
use super::task::Scoped;
use super::trace::Kind;
use super::{Identity, with};
use madsim::runtime::Handle;

/// Starts a process on a machine that has none.
pub(crate) fn start_process(machine: u32) {
    let (executor, main) = with(|state| {
        let found = state.machine_mut(machine);
        assert!(!matches!(found.power, Power::Running { .. }), "{} runs already", found.name);
        let was_off = found.power == Power::Off;
        found.life += 1;
        found.power = Power::Running { paused: false };
        found.stop_requested = false;
        let life = found.life;
        found.disk.next_life(life);
        state.record(Kind::Started, u64::from(machine), u64::from(life), 0);
        if was_off {
            state.power_is_back(machine);
        }
        let found = state.machine(machine);
        (found.executor, found.main.clone())
    });
    match (executor, main) {
        (Some(executor), _) => Handle::current().restart(executor),
        (None, Some(main)) => {
            let executor = first_start(machine, main);
            with(|state| state.machine_mut(machine).executor = Some(executor));
        }
        (None, None) => panic!("the harness is not a machine to start"),
    }
}

/// The executor makes a node and runs it in one step.
fn first_start(machine: u32, main: Main) -> madsim::task::NodeId {
    let (name, cores) = with(|state| (state.machine(machine).name.clone(), state.machine(machine).cores));
    let handle = Handle::current();
    handle.create_node().name(name).cores(cores.max(1)).init(move || run_main(machine, main.clone())).build().id()
}

/// What the executor runs on each start: the machine's main, as the process it is now.
async fn run_main(machine: u32, main: Main) {
    let identity = with(|state| Identity { machine, life: state.machine(machine).life });
    let code = Scoped::new(identity, async move { main().await }).await;
    end_process(identity, if code == 0 { Ending::Returned } else { Ending::Exited(code) });
}

/// The process of this identity is over; nothing happens if it was already.
pub(crate) fn end_process(identity: Identity, ending: Ending) {
    let Identity { machine, life } = identity;
    let executor = with(|state| {
        let found = state.machine(machine);
        let running = matches!(found.power, Power::Running { .. });
        if found.life != life || !running {
            return None;
        }
        if let Ending::Exited(code) = ending
            && code != 0
        {
            state.count(FaultClass::ProcessExit, machine, code as u64);
        }
        state.close_process(machine, ending);
        state.machine(machine).executor
    });
    if let Some(executor) = executor {
        kill_tasks(executor);
    }
}

/// Kills the process as SIGKILL does. False if there is none.
pub(crate) fn kill(machine: u32) -> bool {
    let Some(life) = running_life(machine) else { return false };
    with(|state| state.count(FaultClass::ProcessKill, machine, 0));
    end_process(Identity { machine, life }, Ending::Killed);
    true
}

/// Cuts the power. False if it is off already.
pub(crate) fn power_fail(machine: u32) -> bool {
    let executor = with(|state| {
        let found = state.machine_mut(machine);
        if found.power == Power::Off {
            return None;
        }
        let ran = matches!(found.power, Power::Running { .. });
        let life = found.life;
        found.power = Power::Off;
        state.record(Kind::Ended, u64::from(machine), u64::from(life), Ending::PowerFailed.number());
        state.count(FaultClass::PowerFailure, machine, 0);
        state.vanish(machine);
        let losses = state.machine_mut(machine).disk.power_fail();
        for class in losses {
            state.count(class, machine, 0);
        }
        let waiters = std::mem::take(&mut state.machine_mut(machine).end_waiters);
        state.wakes.extend(waiters);
        let found = state.machine(machine);
        Some(found.executor.filter(|_| ran))
    });
    let Some(executor) = executor else { return false };
    if let Some(executor) = executor {
        kill_tasks(executor);
    }
    true
}

/// Stops or resumes the process without its noticing. False if there is none, or nothing changes.
pub(crate) fn pause(machine: u32, pause: bool) -> bool {
    let executor = with(|state| {
        let found = state.machine_mut(machine);
        match &mut found.power {
            Power::Running { paused } if *paused != pause => *paused = pause,
            Power::Running { .. } | Power::Idle(_) | Power::Off => return None,
        }
        let executor = found.executor;
        if pause {
            state.count(FaultClass::Pause, machine, 0);
        }
        executor
    });
    let Some(executor) = executor else { return false };
    let handle = Handle::current();
    if pause {
        handle.pause(executor)
    } else {
        handle.resume(executor)
    }
    true
}

fn running_life(machine: u32) -> Option<u32> {
    with(|state| {
        let found = state.machine(machine);
        matches!(found.power, Power::Running { .. }).then_some(found.life)
    })
}

fn kill_tasks(executor: madsim::task::NodeId) {
    let handle = Handle::current();
    // Killing drops what waits in the pause list while the executor is locked; resumed, it is dropped in the open.
    handle.resume(executor);
    handle.kill(executor);
}

impl State {
    /// The kernel's part when a process ends.
    fn close_process(&mut self, machine: u32, ending: Ending) {
        let life = self.machine(machine).life;
        self.record(Kind::Ended, u64::from(machine), u64::from(life), ending.number());
        self.close_all(machine);
        let found = self.machine_mut(machine);
        found.disk.process_ended();
        found.power = Power::Idle(ending);
        let mut waiters = std::mem::take(&mut found.end_waiters);
        waiters.append(&mut found.stop_waiters);
        self.wakes.extend(waiters);
    }
}
