//! Chance that a seed decides: splitmix64, one stream per purpose.

use crate::time::Duration;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The stream of this purpose in this run.
    pub fn new(seed: u64, purpose: &str) -> Dice {
        Dice { state: mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) ^ xxhash_rust::xxh3::xxh3_64(purpose.as_bytes()) }
    }

    /// Any number.
    #[allow(clippy::should_implement_trait, reason = "a stream that never ends is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Both ends included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high.max(low) - low).saturating_add(1))
    }

    /// True so many times in a million.
    pub fn happens(&mut self, per_million: u32) -> bool {
        // No draw when it cannot happen: switching a fault off leaves the rest of the stream as it was.
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// In nanoseconds: exponential with this mean, at most twenty times it.
    pub fn exponential(&mut self, mean_nanos: u64) -> u64 {
        if mean_nanos == 0 {
            return 0;
        }
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        let drawn = -uniform.ln() * mean_nanos as f64;
        (drawn as u64).min(mean_nanos.saturating_mul(20))
    }

    pub(crate) fn latency(&mut self, latency: &Latency) -> u64 {
        let mut nanos = nanos(latency.least) + self.exponential(nanos(latency.mean_extra));
        if self.happens(latency.tail_per_million) {
            nanos += self.below(self::nanos(latency.tail).saturating_add(1));
        }
        nanos
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How long something takes: never below `least`, on average `mean_extra` more (exponential), and in a few cases up to
/// `tail` more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The shortest.
    pub least: Duration,
    /// Mean of what comes on top.
    pub mean_extra: Duration,
    /// How many in a million are slow.
    pub tail_per_million: u32,
    /// A slow one takes up to this much more.
    pub tail: Duration,
}

impl Latency {
    /// Without a tail.
    pub const fn new(least: Duration, mean_extra: Duration) -> Latency {
        Latency { least, mean_extra, tail_per_million: 0, tail: Duration::ZERO }
    }

    /// In microseconds.
    pub const fn micros(least: u64, mean_extra: u64) -> Latency {
        Latency::new(Duration::from_micros(least), Duration::from_micros(mean_extra))
    }
}
