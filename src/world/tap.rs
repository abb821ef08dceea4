//! Taps: places where the code tells the simulation what it just did, for models that run beside it.
//!
//! `tap!(Applied { group, index })` hands a reference to the hook of the simulation and puts the event, as its `Debug`
//! text, into the hashed trace: the text must not contain addresses or anything else that no seed decides.
//! Without the simulation the event is checked by the compiler and never built.

/// Tells the simulation's hook about an event (`Any + Debug`).
#[cfg(madsim)]
#[macro_export]
macro_rules! tap {
    ($event:expr) => {
        $crate::tap::emit(&$event)
    };
}

/// Tells the simulation's hook about an event (`Any + Debug`); nothing at all outside the simulation.
#[cfg(not(madsim))]
#[macro_export]
macro_rules! tap {
    ($event:expr) => {
        if false {
            $crate::tap::check(&$event);
        }
    };
}

/// What can be told.
pub trait Event: std::any::Any + std::fmt::Debug {}

impl<T: std::any::Any + std::fmt::Debug> Event for T {}

#[doc(hidden)]
#[cfg(not(madsim))]
pub fn check(_: &dyn Event) {}

#[doc(hidden)]
#[cfg(madsim)]
pub use crate::simulated::emit;
