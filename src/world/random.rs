//! Chance. Not for secrets.
//!
//! In the simulation each machine has a stream of its own, drawn from the seed: what one machine draws does not shift
//! what another gets.

#[cfg(not(madsim))]
use crate::real::random as at_hand;
#[cfg(madsim)]
use crate::simulated::random as at_hand;

/// Any number.
pub fn u64() -> u64 {
    at_hand::u64()
}

/// A number below `bound`, each as likely (to within one in 2^64). `bound` must not be zero.
pub fn below(bound: u64) -> u64 {
    assert!(bound > 0, "nothing is below zero");
    let product = u128::from(u64()) * u128::from(bound);
    (product >> 64) as u64
}

/// Sixteen bytes, enough to never meet again.
pub fn bytes16() -> [u8; 16] {
    ((u128::from(u64()) << 64) | u128::from(u64())).to_be_bytes()
}
