//! Places where the code may take its time: what a busy machine does to any task at any await, made frequent.
//!
//! `linger!("acquired_is_heard_late")` stands between two steps of a protocol that others may step in between. In most runs of
//! the simulation, and everywhere else, it is nothing. In some runs it waits in a few of its passes, up to eight seconds, by a
//! stream of chance of its own: a place that is added shifts no other. `linger!("apply_lags", 100)` waits a hundred times less
//! often: for places that are passed all the time.
//!
//! [`tight`] is the same for bounds: in the runs that linger a bound is so small that it is met. [`narrow`] has runs of its own,
//! and in each of them a half of the bounds, by their names.

/// Waits here, in some passes of some runs of the simulation.
#[cfg(madsim)]
#[macro_export]
macro_rules! linger {
    ($name:literal) => {
        $crate::sim::linger($name, 1).await
    };
    ($name:literal, $rarer:literal) => {
        $crate::sim::linger($name, $rarer).await
    };
}

/// Waits here, in some passes of some runs of the simulation; nothing at all outside of it.
#[cfg(not(madsim))]
#[macro_export]
macro_rules! linger {
    ($name:literal) => {};
    ($name:literal, $rarer:literal) => {};
}

/// `usual`, and in runs of the simulation that linger `tight`.
#[cfg(madsim)]
pub fn tight<T>(usual: T, tight: T) -> T {
    if crate::simulated::sim::lingers() { tight } else { usual }
}

/// `usual`, and in runs of the simulation that linger `tight`.
#[cfg(not(madsim))]
pub fn tight<T>(usual: T, _tight: T) -> T {
    usual
}

/// `usual`, and in some runs of the simulation `narrow`.
#[cfg(madsim)]
pub fn narrow<T>(name: &'static str, usual: T, narrow: T) -> T {
    if crate::simulated::sim::is_narrow(name) { narrow } else { usual }
}

/// `usual`, and in some runs of the simulation `narrow`.
#[cfg(not(madsim))]
pub fn narrow<T>(_name: &'static str, usual: T, _narrow: T) -> T {
    usual
}
