//! Log lines that a flood of equal events must not multiply.

use std::sync::Mutex;

use quorate_world::time::{Duration, Instant};

use super::guard::locked;

/// One line in this time.
const APART: Duration = Duration::from_secs(1);

/// Says when a line may be written again.
#[derive(Default)]
pub struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether one may be written now; then not for a while.
    pub fn may(&self) -> bool {
        let (now, mut last) = (Instant::now(), locked(&self.0));
        let may = last.is_none_or(|last| now - last >= APART);
        if may {
            *last = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_world::runtime::run_test;

    #[test]
    fn the_second_of_two_is_not_said() {
        run_test(async {
            let seldom = Seldom::default();
            assert!(seldom.may());
            assert!(!seldom.may());
        });
    }
}
