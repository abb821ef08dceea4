//! Code that takes its time: see [`crate::linger`].

use super::dice::Dice;
use super::{emit, try_with, with};
use crate::time::{Duration, sleep};

/// The longest wait. Each halving of it is as likely as the next.
const LONGEST_MS: u64 = 8_192;
const HALVINGS: u64 = 12;

/// Somebody waits where the code may take its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lingered {
    /// The place.
    pub name: &'static str,
    /// For so long.
    pub lasts: Duration,
}

/// Whether this run lingers at all.
pub fn lingers() -> bool {
    try_with(|state| state.options.linger_per_million > 0).unwrap_or(false)
}

/// Whether the bound of this name is narrow in this run: in a run that has narrow bounds, every other one.
pub fn is_narrow(name: &'static str) -> bool {
    let is_narrow = try_with(|state| {
        let (has_any, seed) = (state.options.narrow, state.seed);
        let draw = || Dice::new(seed, &format!("narrow {name}")).below(2) == 0;
        has_any && *state.narrow.entry(name).or_insert_with(draw)
    });
    is_narrow.unwrap_or(false)
}

/// From now on so many in a million passes do.
pub fn set_linger(per_million: u32) {
    with(|state| state.options.linger_per_million = per_million);
}

/// What `linger!` does.
pub async fn linger(name: &'static str, rarer: u32) {
    let drawn = with(|state| {
        let per_million = state.options.linger_per_million / rarer;
        if per_million == 0 {
            return None;
        }
        let seed = state.seed;
        let dice = state.lingering.entry(name).or_insert_with(|| Dice::new(seed, &format!("linger {name}")));
        if !dice.happens(per_million) {
            return None;
        }
        let top_ms = LONGEST_MS >> dice.between(0, HALVINGS);
        Some(Duration::from_millis(dice.between(top_ms / 2, top_ms)))
    });
    if let Some(lasts) = drawn {
        emit(&Lingered { name, lasts });
        sleep(lasts).await;
    }
}
