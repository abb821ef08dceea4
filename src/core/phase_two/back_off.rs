//! When a branch that failed is asked again.

/// After the first failure at most.
pub const FIRST_MS: u64 = 500;
/// At most, however often it has failed: an RM that is back is also met by its registration.
pub const LONGEST_MS: u64 = 30_000;

/// How long to wait after the `attempts`-th failure: exponential, and between half of it and all, so that branches that
/// failed together do not come back together. `random` is any number.
pub fn back_off_ms(attempts: u32, random: u64) -> u64 {
    let doublings = attempts.saturating_sub(1).min(16);
    let longest_ms = (FIRST_MS << doublings).min(LONGEST_MS);
    longest_ms - random % (longest_ms / 2 + 1)
}
