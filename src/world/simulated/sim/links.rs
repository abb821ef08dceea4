//! Control of links.

use super::{Carried, FaultClass, LinkState, Machine};
use crate::simulated::dice::nanos;
use crate::simulated::with;
use crate::time::Duration;

/// How a link is.
pub fn link(from: Machine, to: Machine) -> LinkState {
    with(|state| state.link(from.0, to.0))
}

/// Changes a link in one direction. That of a machine to itself cannot be changed.
pub fn set_link(from: Machine, to: Machine, link: LinkState) {
    with(|state| state.set_link(from.0, to.0, link));
}

/// Changes something about a link in one direction.
pub fn change_link(from: Machine, to: Machine, change: impl FnOnce(&mut LinkState)) {
    let mut changed = link(from, to);
    change(&mut changed);
    set_link(from, to, changed);
}

/// Nothing passes from one to the other.
pub fn block(from: Machine, to: Machine) {
    change_link(from, to, |link| link.blocked = true);
}

/// It passes again.
pub fn unblock(from: Machine, to: Machine) {
    change_link(from, to, |link| link.blocked = false);
}

/// Nothing passes between the two sides, either way.
pub fn partition(one: &[Machine], other: &[Machine]) {
    partition_one_way(one, other);
    partition_one_way(other, one);
}

/// Nothing passes from these to those.
pub fn partition_one_way(from: &[Machine], to: &[Machine]) {
    for &from in from {
        for &to in to {
            block(from, to);
        }
    }
}

/// Nothing passes to or from this machine.
pub fn isolate(machine: Machine) {
    let others: Vec<Machine> = all().into_iter().filter(|other| *other != machine).collect();
    partition(&[machine], &others);
}

/// No link is blocked any more.
pub fn heal_all() {
    for from in all() {
        for to in all() {
            if link(from, to).blocked {
                unblock(from, to);
            }
        }
    }
}

/// Breaks every connection between the two. Returns how many there were.
pub fn reset_connections(one: Machine, other: Machine) -> usize {
    with(|state| {
        let broken = state.break_connections(one.0, other.0);
        for _ in 0..broken {
            state.count(FaultClass::LinkReset, one.0, u64::from(other.0));
        }
        broken
    })
}

/// Makes one message later: the n-th (from 1) that is given to this link. For artefacts that carry a schedule.
pub fn delay_message(from: Machine, to: Machine, number: u64, by: Duration) {
    with(|state| state.delay_message(from.0, to.0, number, nanos(by)));
}

/// How many messages this link has been given: connects, answers to them, writes, ends.
pub fn messages(from: Machine, to: Machine) -> u64 {
    with(|state| state.messages(from.0, to.0))
}

/// What has arrived so far, if the world keeps it; it is not kept any longer.
pub fn take_messages() -> Vec<Carried> {
    with(|state| state.net.kept.as_mut().map(std::mem::take).unwrap_or_default())
}

fn all() -> Vec<Machine> {
    with(|state| (0..state.machines.len() as u32).map(Machine).collect())
}
