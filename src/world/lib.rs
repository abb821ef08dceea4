//! The world: everything a node cannot decide by itself. Time, chance, network, disk, tasks, and the end of the process.
//!
//! Every other package speaks to the outside through this one, so that the very same files can run in two worlds: the
//! real one (tokio, the kernel) and, built with `--cfg madsim`, a simulated one where a seed decides what happens and
//! when. The two live side by side in `real/` and `simulated/` and offer the same names; one conformance suite
//! (`tests/conformance.rs`) runs against both. Nothing outside this package mentions the cfg, tokio or madsim.
//!
//! Pure parts that need no world are shared: [`watch`], [`select`], the traits of [`disk`], [`time::Instant`].
//!
//! Deliberately not here: anything that knows what a node does. The simulated world knows machines, links and disks,
//! but no groups and no transactions.

pub mod bug;
pub mod disk;
pub mod linger;
pub mod net;
pub mod process;
pub mod random;
pub mod runtime;
pub mod select;
pub mod tap;
pub mod task;
pub mod time;
pub mod watch;

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod simulated;

#[cfg(madsim)]
pub use simulated::sim;

/// The traits of byte streams, and what extends them.
pub mod io {
    pub use std::io::{Error, ErrorKind, Result};
    pub use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
}

/// Channels and locks between tasks. All of them wake in the order of arrival, so they are the same in both worlds.
/// The watch channel is our own, see [`crate::watch`].
pub mod sync {
    pub use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot};
}
