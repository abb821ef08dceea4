//! The pause after a failed attempt: longer each time, random within bounds, cut short when an RM for the resource
//! appears. Where no RM is there at all, the driver is parked until one comes.

use quorate_world::random;
use quorate_world::select::select2;
use quorate_world::time::{Duration, sleep};

use super::Drive;

/// First pause.
const PAUSE_MIN_MS: u64 = 500;
/// Longest pause.
const PAUSE_MAX_MS: u64 = 30_000;
/// A parked driver looks again after this time, though nothing appeared.
const PARKED: Duration = Duration::from_secs(60);

impl Drive {
    /// Rests before the next attempt. `nobody`: no RM for `resource` was there.
    pub(super) async fn rest(&self, resource: &str, client: &str, any_application: bool, nobody: bool) {
        let channels = &self.coordinator.channels;
        let appearance = channels.appearance(resource);
        let appeared = appearance.notified();
        if !nobody {
            _ = select2(appeared, sleep(backoff(self.attempts))).await;
            return;
        }
        // It may have come between the attempt and now.
        if channels.best(resource, client, any_application).is_none() {
            self.coordinator.counters.phase_two_parked.one();
            _ = select2(appeared, sleep(PARKED)).await;
        }
    }
}

/// Doubles with each failed attempt; up to a quarter more or less, so that what failed together does not return together.
fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(8);
    let middle_ms = (PAUSE_MIN_MS << doublings).min(PAUSE_MAX_MS);
    Duration::from_millis(middle_ms - middle_ms / 4 + random::below(middle_ms / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        for (attempts, middle_ms) in [(0, 500), (1, 500), (2, 1_000), (5, 8_000), (7, 30_000), (u32::MAX, 30_000)] {
            let pause_ms = backoff(attempts).as_millis() as u64;
            assert!((middle_ms * 3 / 4..middle_ms * 5 / 4).contains(&pause_ms), "{attempts}: {pause_ms} ms");
        }
    }
}
