//! The real world: tokio and the kernel.

pub(crate) mod disk;
pub(crate) mod net;
pub(crate) mod pooled;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod runtime;
pub(crate) mod task;
pub(crate) mod time;
