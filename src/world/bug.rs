//! Planted bugs: deliberate faults in our own code, to prove that the simulation finds them.
//!
//! `bug!("lock_kept_at_end")` stands at the place where the code would go wrong. Without the feature `planted_bugs` it
//! is the constant `false` and the branch behind it is gone. With it, it is true in the one run that chose this name.

/// True if the feature `planted_bugs` is on and this run chose `name`.
#[cfg(feature = "planted_bugs")]
#[macro_export]
macro_rules! bug {
    ($name:literal) => {
        $crate::bug::is_chosen($name)
    };
}

/// True if the feature `planted_bugs` is on and this run chose `name`.
#[cfg(not(feature = "planted_bugs"))]
#[macro_export]
macro_rules! bug {
    ($name:literal) => {
        false
    };
}

/// Whether planted bugs are compiled in.
pub const PLANTED: bool = cfg!(feature = "planted_bugs");

/// What `bug!` asks.
#[cfg(all(feature = "planted_bugs", madsim))]
pub fn is_chosen(name: &'static str) -> bool {
    crate::simulated::chosen_bug_is(name)
}

/// What `bug!` asks: outside the simulation, the name in the environment variable `QUORATE_BUG`.
#[cfg(all(feature = "planted_bugs", not(madsim)))]
pub fn is_chosen(name: &'static str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("QUORATE_BUG").ok()).as_deref() == Some(name)
}
