//! Short looks at shared memory.
//!
//! Every lock of the coordinator is held for a few instructions and never across an await. A panic ends the process
//! before anybody could meet a poisoned lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The guarded value.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
