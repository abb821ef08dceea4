//! The clocks of one machine: a forward clock with a rate and an offset of its own, and a wall clock on top of it.
//!
//! Whole numbers only, so that the result does not depend on how the compiler rounds.

/// The lowest and highest rate error, in millionths: at the lowest the clock still moves.
pub(crate) const PPM_MIN: i64 = -900_000;
pub(crate) const PPM_MAX: i64 = 9_000_000;

#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// The last point at which the rate changed, in the world's time and in the machine's.
    world_nanos: u64,
    local_nanos: u64,
    ppm: i64,
    /// Wall clock minus forward clock.
    wall_minus_local_nanos: i128,
}

impl Clock {
    pub fn new(local_nanos: u64, wall_nanos: u64, ppm: i64) -> Clock {
        let wall_minus_local_nanos = i128::from(wall_nanos) - i128::from(local_nanos);
        Clock { world_nanos: 0, local_nanos, ppm: ppm.clamp(PPM_MIN, PPM_MAX), wall_minus_local_nanos }
    }

    /// The forward clock at this moment of the world.
    pub fn local_at(&self, world_nanos: u64) -> u64 {
        let passed = i128::from(world_nanos.saturating_sub(self.world_nanos));
        let passed_here = passed + passed * i128::from(self.ppm) / 1_000_000;
        self.local_nanos.saturating_add(u64::try_from(passed_here).unwrap_or(u64::MAX))
    }

    /// The first moment of the world at which the forward clock shows at least this, if the rate stays.
    pub fn world_at(&self, local_nanos: u64) -> u64 {
        let to_pass = i128::from(local_nanos.saturating_sub(self.local_nanos));
        let rate = 1_000_000 + i128::from(self.ppm);
        let passed = (to_pass * 1_000_000 + rate - 1) / rate;
        // One more, because local_at rounds down.
        self.world_nanos.saturating_add(u64::try_from(passed + 1).unwrap_or(u64::MAX))
    }

    pub fn wall_ms_at(&self, world_nanos: u64) -> u64 {
        let wall = i128::from(self.local_at(world_nanos)) + self.wall_minus_local_nanos;
        u64::try_from(wall / 1_000_000).unwrap_or(0)
    }

    pub fn set_ppm(&mut self, world_nanos: u64, ppm: i64) {
        self.local_nanos = self.local_at(world_nanos);
        self.world_nanos = world_nanos;
        self.ppm = ppm.clamp(PPM_MIN, PPM_MAX);
    }

    pub fn ppm(&self) -> i64 {
        self.ppm
    }

    pub fn move_wall(&mut self, by_nanos: i128) {
        self.wall_minus_local_nanos += by_nanos;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_deadline_is_reached_when_it_says_and_not_before(
            ppm in PPM_MIN..PPM_MAX,
            changed_at in 0u64..1_000_000_000_000,
            ahead in 0u64..1_000_000_000_000,
        ) {
            let mut clock = Clock::new(77_000, 1_800_000_000_000_000_000, 0);
            clock.set_ppm(changed_at, ppm);
            let deadline = clock.local_at(changed_at) + ahead;
            let at = clock.world_at(deadline);
            prop_assert!(clock.local_at(at) >= deadline);
            let early = at.saturating_sub(3 + 10 * 3).max(changed_at);
            prop_assert!(ahead == 0 || early == changed_at || clock.local_at(early) < deadline + 400);
        }

        #[test]
        fn the_forward_clock_never_goes_back(steps in prop::collection::vec((0u64..1_000_000_000, PPM_MIN..PPM_MAX), 1..20)) {
            let (mut clock, mut world, mut last) = (Clock::new(5, 5, 0), 0, 0);
            for (step, ppm) in steps {
                world += step;
                prop_assert!(clock.local_at(world) >= last);
                last = clock.local_at(world);
                clock.set_ppm(world, ppm);
                prop_assert!(clock.local_at(world) >= last);
            }
        }
    }
}
