//! A world of one's own on this thread.

use super::enter;
use super::sim::Options;
use super::state::{Shared, State};
use super::timers::Driver;
use crate::net::{IpAddr, Ipv4Addr};
use crate::runtime::RuntimeOptions;
use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

/// Where the harness itself lives.
const HARNESS_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 1));

/// madsim's runtime and the state of our world.
pub(crate) struct World {
    runtime: madsim::runtime::Runtime,
    shared: Rc<Shared>,
}

impl World {
    /// Must be the first thing on a fresh thread for the order of std's hash maps to depend on the seed alone.
    pub fn new(seed: u64, options: Options) -> World {
        let runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
        let time = runtime.block_on(async { madsim::time::TimeHandle::current() });
        let mut state = State::new(seed, options, time);
        state.add_machine("harness", HARNESS_IP);
        World { runtime, shared: Rc::new(Shared { state: RefCell::new(state), hook: RefCell::new(None) }) }
    }

    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    pub fn block_on<F: Future>(&self, main: F) -> F::Output {
        let _entered = enter(self.shared.clone());
        self.runtime.block_on(async {
            let driver = madsim::task::spawn_local(Driver::default());
            let output = main.await;
            driver.abort();
            output
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The state holds wakers of tasks whose executor goes next.
        let _entered = enter(self.shared.clone());
        self.shared.hook.borrow_mut().take();
    }
}

/// A process alone in a calm world.
pub(crate) fn block_on_main<F: Future>(_options: RuntimeOptions, main: F) -> F::Output {
    run_test(main)
}

pub(crate) fn run_test<F: Future>(test: F) -> F::Output {
    World::new(1, Options::default()).block_on(test)
}

pub(crate) fn test_folder() -> String {
    format!("/test/{:016x}", crate::random::u64())
}
