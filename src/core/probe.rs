//! Probes: places where the code says that something happened which does not happen always. The simulation asks afterwards which
//! of them were passed, for what it never brings about it does not test.
//!
//! `sometimes!("row_held_through_two_branches")` counts. Each name stands at one place, and in `sim/probes.txt`. Without the
//! feature `probes`, which only the simulation asks for, the macro is empty and none of this exists. What is counted is read by
//! the harness alone, after the run: no decision of a node can hang on it.

/// What is left of a probe where none are counted.
#[cfg(not(feature = "probes"))]
#[inline(always)]
pub const fn nothing() {}

#[cfg(feature = "probes")]
pub use counting::{count, number_of, passed};

/// Says that this place was reached.
#[cfg(feature = "probes")]
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {{
        const NUMBER: u64 = $crate::probe::number_of($name);
        $crate::probe::passed(NUMBER)
    }};
}

/// Says that this place was reached; nothing at all without the feature `probes`.
#[cfg(not(feature = "probes"))]
#[macro_export]
macro_rules! sometimes {
    ($name:literal) => {
        $crate::probe::nothing()
    };
}

#[cfg(feature = "probes")]
mod counting {
    use core::sync::atomic::{AtomicU64, Ordering};

    /// Places in the table; a tidy test sees to it that there are far fewer names.
    const PLACES: usize = 1024;

    struct Place {
        number: AtomicU64,
        count: AtomicU64,
    }

    static TABLE: [Place; PLACES] = [const { Place { number: AtomicU64::new(0), count: AtomicU64::new(0) } }; PLACES];

    /// What a name is counted under: FNV-1a, never 0.
    pub const fn number_of(name: &str) -> u64 {
        let bytes = name.as_bytes();
        let (mut number, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
        while at < bytes.len() {
            number = (number ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        if number == 0 { 1 } else { number }
    }

    /// What `sometimes!` does.
    pub fn passed(number: u64) {
        if let Some(place) = find(number, true) {
            place.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a place was reached in this process.
    pub fn count(name: &str) -> u64 {
        find(number_of(name), false).map_or(0, |place| place.count.load(Ordering::Relaxed))
    }

    /// The place of a number; a free one is taken for it if asked.
    fn find(number: u64, take: bool) -> Option<&'static Place> {
        let first = number as usize % PLACES;
        for step in 0..PLACES {
            let place = &TABLE[(first + step) % PLACES];
            let there = match place.number.load(Ordering::Relaxed) {
                0 if take => place.number.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed).err(),
                there => Some(there),
            };
            match there {
                None => return Some(place),
                Some(there) if there == number => return Some(place),
                Some(0) => return None,
                Some(_) => {}
            }
        }
        None
    }
}

#[cfg(all(test, feature = "probes"))]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_counted_by_its_name() {
        assert_eq!(count("of_a_test_one"), 0);
        for _ in 0..3 {
            passed(number_of("of_a_test_one"));
        }
        passed(number_of("of_a_test_two"));
        assert_eq!((count("of_a_test_one"), count("of_a_test_two"), count("of_a_test_none")), (3, 1, 0));
    }
}
