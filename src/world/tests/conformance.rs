//! What both worlds promise. The same tests run on the kernel (loopback, a temporary folder) and in the simulation
//! (`--cfg madsim`): what holds in one and not in the other is a hole in the simulation.

mod conformance_suite {
    pub mod disk;
    pub mod net;
    pub mod task;
    pub mod time;
    pub mod watch;
}
