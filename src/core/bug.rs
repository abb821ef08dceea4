//! Planted bugs of the core: deliberate faults in our own code, to prove that the simulation finds them.
//!
//! `bug!("first_branch_holds")` stands at the place where the code would go wrong. Without the feature `planted_bugs`, which only
//! the simulation asks for, it is the constant `false` and the branch behind it is gone. The other packages have
//! `quorate_world::bug!`, which the core may not name: it knows no world, so the harness tells it what was chosen, once, before
//! the run begins.

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

#[cfg(feature = "planted_bugs")]
pub use chosen::{choose, is_chosen, was_passed};

/// The bug of this process: nothing is compiled in.
#[cfg(not(feature = "planted_bugs"))]
pub const fn choose(_name: Option<&str>) {}

/// Whether its place was reached.
#[cfg(not(feature = "planted_bugs"))]
pub const fn was_passed() -> bool {
    false
}

#[cfg(feature = "planted_bugs")]
mod chosen {
    use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use xxhash_rust::xxh3::xxh3_64;

    /// The hash of its name; 0: none.
    static CHOSEN: AtomicU64 = AtomicU64::new(0);
    static PASSED: AtomicBool = AtomicBool::new(false);

    /// The bug of this process.
    pub fn choose(name: Option<&str>) {
        CHOSEN.store(name.map_or(0, |name| xxh3_64(name.as_bytes())), Ordering::Relaxed);
        PASSED.store(false, Ordering::Relaxed);
    }

    /// What `bug!` asks.
    pub fn is_chosen(name: &str) -> bool {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        if chosen == 0 || chosen != xxh3_64(name.as_bytes()) {
            return false;
        }
        PASSED.store(true, Ordering::Relaxed);
        true
    }

    /// Whether its place was reached.
    pub fn was_passed() -> bool {
        PASSED.load(Ordering::Relaxed)
    }
}
