//! The machine's own stream of chance.

use super::{identity, with};

pub(crate) fn u64() -> u64 {
    with(|state| state.machine_mut(identity().machine).dice.next())
}
