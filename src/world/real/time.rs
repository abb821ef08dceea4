//! The kernel's clocks and tokio's timers.

use crate::time::{Duration, Instant};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub use tokio::time::Sleep;

/// Where instants count from. An hour back, so that `now - duration` of a young process has room.
fn beginning() -> tokio::time::Instant {
    static BEGINNING: OnceLock<tokio::time::Instant> = OnceLock::new();
    *BEGINNING.get_or_init(|| {
        let now = tokio::time::Instant::now();
        now.checked_sub(Duration::from_secs(3600)).unwrap_or(now)
    })
}

pub(crate) fn forward_nanos() -> u64 {
    let since = tokio::time::Instant::now().saturating_duration_since(beginning());
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970 on the machine's wall clock, which may jump.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    // Tokio counts in a narrower range than we do; thirty years are for ever.
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let beginning = beginning();
    let after = Duration::from_nanos(deadline.nanos()).min(FAR);
    tokio::time::sleep_until(beginning + after)
}
