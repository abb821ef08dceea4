//! The simulated world: madsim's executor and clock, and our own network, disk, clocks and processes on top of it.
//!
//! One [`state::State`] per run holds everything. It is found through a thread-local, because a simulation is one
//! thread; what user code holds (streams, files, timers) are small numbers into it, so that code running in the `Drop`
//! of a process long dead finds nothing to break. [`with`] lends the state out; wakers collected meanwhile are woken
//! after it is given back, since waking may run code that asks for the state again.
//!
//! Who runs is known from [`Identity`]: the machine and which life of its process. Every task is wrapped in
//! [`task::Scoped`], which sets it while the task is polled or dropped.
//!
//! Chance comes from [`dice::Dice`] streams split off the seed, one for the network, one per machine and so on: a draw
//! in one place does not shift the others. Only the order of tasks is madsim's.

pub(crate) mod clock;
pub(crate) mod dice;
pub(crate) mod disk;
pub(crate) mod faults;
pub(crate) mod life;
pub(crate) mod linger;
pub(crate) mod net;
pub(crate) mod openraft;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod runtime;
pub mod sim;
pub(crate) mod state;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod timers;
pub(crate) mod trace;

use crate::tap::Event;
use state::{Shared, State};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Whose code is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Index of the machine; 0 is the harness itself.
    pub machine: u32,
    /// Which process of this machine, counted from 1; 0 for the harness.
    pub life: u32,
}

pub(crate) const HARNESS: Identity = Identity { machine: 0, life: 0 };

thread_local! {
    static CURRENT: RefCell<Option<Rc<Shared>>> = const { RefCell::new(None) };
    static IDENTITY: Cell<Identity> = const { Cell::new(HARNESS) };
}

pub(crate) fn identity() -> Identity {
    IDENTITY.get()
}

/// Acts as somebody until dropped.
pub(crate) struct ActingAs(Identity);

pub(crate) fn act_as(identity: Identity) -> ActingAs {
    ActingAs(IDENTITY.replace(identity))
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        IDENTITY.set(self.0);
    }
}

/// Makes a world the current one of this thread until dropped.
pub(crate) struct Entered(Option<Rc<Shared>>);

pub(crate) fn enter(shared: Rc<Shared>) -> Entered {
    Entered(CURRENT.with(|current| current.borrow_mut().replace(shared)))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| std::mem::replace(&mut *current.borrow_mut(), self.0.take()));
        // Outside the borrow: the state holds wakers, and dropping them may run code of tasks.
        drop(left);
    }
}

/// Lends the state of the current world.
pub(crate) fn with<T>(use_it: impl FnOnce(&mut State) -> T) -> T {
    match try_with(use_it) {
        Some(value) => value,
        None => panic!("outside the simulation: run this inside `sim::run` or `runtime::run_test`"),
    }
}

/// Lends the state, if there is a world: for `Drop` code, which may run when the world is gone.
pub(crate) fn try_with<T>(use_it: impl FnOnce(&mut State) -> T) -> Option<T> {
    let lend = |current: &RefCell<Option<Rc<Shared>>>| {
        let current = current.borrow();
        let shared = current.as_ref()?;
        let (value, wakes) = {
            let mut state = shared.state.borrow_mut();
            let value = use_it(&mut state);
            (value, std::mem::take(&mut state.wakes))
        };
        for waker in wakes {
            waker.wake();
        }
        Some(value)
    };
    CURRENT.try_with(lend).ok().flatten()
}

/// A tap was passed: into the trace, then to the hook, which may look at the world.
pub fn emit(event: &dyn Event) {
    let identity = identity();
    let found = try_with(|state| {
        if !state.is_alive(identity) {
            return None;
        }
        let text = format!("{event:?}");
        state.record_text(trace::Kind::Tap, u64::from(identity.machine), 0, &text);
        Some(state.now_nanos())
    });
    let Some(Some(at_nanos)) = found else { return };
    let shared = CURRENT.with(|current| current.borrow().clone());
    let Some(shared) = shared else { return };
    // Taken out while it runs: a hook that passes a tap itself is not called again.
    let hook = shared.hook.borrow_mut().take();
    if let Some(mut hook) = hook {
        hook(sim::Tap { machine: sim::Machine(identity.machine), at_nanos, event });
        shared.hook.borrow_mut().get_or_insert(hook);
    }
}

pub(crate) fn set_hook(hook: state::Hook) {
    CURRENT.with(|current| {
        if let Some(shared) = current.borrow().as_ref() {
            *shared.hook.borrow_mut() = Some(hook);
        }
    });
}

#[cfg(feature = "planted_bugs")]
pub(crate) fn chosen_bug_is(name: &'static str) -> bool {
    try_with(|state| {
        let chosen = state.options.bug.as_deref() == Some(name);
        state.bug_passed |= chosen;
        chosen
    })
    .unwrap_or(false)
}
