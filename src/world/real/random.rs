//! The thread's generator, seeded by the kernel.

use openraft_rt::AsyncRuntime;
use rand::Rng;

pub(crate) fn u64() -> u64 {
    crate::runtime::OpenraftRuntime::thread_rng().next_u64()
}
