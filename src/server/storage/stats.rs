//! Figures of the log, for metrics and for whoever asks whether the disk is slow.

use core::sync::atomic::{AtomicU64, Ordering};
use quorate_world::time::Duration;

/// Buckets of sync times: below 2^n microseconds, the last one without a bound (from 8.4 s on).
pub const SYNC_BUCKETS: usize = 24;

/// What the log has done since the start.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Batches written.
    pub batches: u64,
    /// Bytes written for them.
    pub written_bytes: u64,
    /// Time spent in syncs.
    pub sync_total_us: u64,
    /// Syncs that took less than 2^n microseconds and no less than 2^(n-1).
    pub syncs_below_us: [u64; SYNC_BUCKETS],
    /// Bytes that wait for the disk.
    pub queued_bytes: usize,
    /// Entries in memory.
    pub cached_bytes: usize,
    /// Spare segments.
    pub spares: usize,
    /// Appends wait for space or for a file descriptor.
    pub is_waiting: bool,
}

#[derive(Default)]
pub(crate) struct Stats {
    batches: AtomicU64,
    written_bytes: AtomicU64,
    sync_total_us: AtomicU64,
    syncs: [AtomicU64; SYNC_BUCKETS],
}

impl Stats {
    pub fn count(&self, bytes: u64, sync: Duration) {
        let us = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.sync_total_us.fetch_add(us, Ordering::Relaxed);
        self.syncs[bucket.min(SYNC_BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            batches: read(&self.batches),
            written_bytes: read(&self.written_bytes),
            sync_total_us: read(&self.sync_total_us),
            syncs_below_us: core::array::from_fn(|bucket| read(&self.syncs[bucket])),
            ..Figures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_falls_into_its_bucket() {
        let stats = Stats::default();
        for us in [0, 1, 3, 4, u64::MAX / 1000] {
            stats.count(10, Duration::from_micros(us));
        }
        let figures = stats.read();
        assert_eq!((figures.batches, figures.written_bytes), (5, 50));
        assert_eq!(figures.syncs_below_us[..4], [1, 1, 1, 1]);
        assert_eq!(figures.syncs_below_us[SYNC_BUCKETS - 1], 1);
    }
}
