//! How a simulated process is asked to stop, how it ends, what it says.

use super::faults::FaultClass;
use super::sim::Ending;
use super::state::remember;
use super::{Identity, identity, life, trace, try_with, with};
use crate::process::EXIT_PANIC;
use std::any::Any;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::task::Poll;

/// What is thrown through the stack of a process that called `exit`.
pub(crate) struct ExitMarker;

pub(crate) async fn stop_requested() {
    let identity = identity();
    poll_fn(|context| {
        with(|state| {
            let machine = state.machine_mut(identity.machine);
            if machine.stop_requested {
                return Poll::Ready(());
            }
            remember(&mut machine.stop_waiters, context.waker());
            Poll::Pending
        })
    })
    .await;
}

pub(crate) fn exit(code: i32) -> ! {
    let identity = identity();
    assert!(identity.machine != 0, "exit({code}) outside a simulated process");
    life::end_process(identity, Ending::Exited(code));
    resume_unwind(Box::new(ExitMarker))
}

/// A task of this process panicked: the process ends as it would in life.
pub(crate) fn panicked(identity: Identity, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned());
    // The dead may panic as they like, and at the end of the world nobody is left to care.
    let alive = try_with(|state| {
        let alive = state.is_alive(identity);
        if alive {
            state.count(FaultClass::ProcessPanic, identity.machine, 0);
        }
        alive
    });
    if alive != Some(true) {
        return;
    }
    life::end_process(identity, Ending::Panicked(text));
}

/// Nothing to install: [`super::task::Scoped`] ends the process.
pub(crate) fn install_panic_hook() {
    const { assert!(EXIT_PANIC != 0) };
}

pub(crate) fn say(line: &str) {
    let machine = identity().machine;
    with(|state| {
        state.record_text(trace::Kind::Said, u64::from(machine), 0, line);
        state.machine_mut(machine).said.push(line.to_owned());
    });
}

/// More than anybody opens here.
pub(crate) fn raise_open_files() -> u64 {
    1 << 20
}

/// Simulated processes use nothing that could be measured.
pub(crate) fn usage_of(_pid: u32) -> std::io::Result<crate::process::Usage> {
    Err(std::io::ErrorKind::Unsupported.into())
}
