//! Failed logins, by address: after a few of them an address waits, so that nobody tries passwords at the speed of the network.
//!
//! An IPv6 host owns a network of 64 bits and counts as that. What is remembered is bounded; where more addresses fail than that,
//! the one whose failures began first is forgotten. Each node counts for itself.

use core::net::{IpAddr, Ipv6Addr};
use quorate_world::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// Failures of one address within [`WINDOW`]; at the next it waits.
pub const FAILURES_MAX: u32 = 10;
/// Counted from the first failure; then everything is forgiven.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;

/// The addresses that have failed of late.
#[derive(Default)]
pub struct Attempts(Mutex<Failed>);

#[derive(Default)]
struct Failed {
    addresses: BTreeMap<IpAddr, (Instant, u32)>,
    /// The same by the time of their first failure.
    order: BTreeSet<(Instant, IpAddr)>,
}

impl Attempts {
    /// How long an address must wait before it is listened to; nothing: not at all.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.forgive(now);
        let (first, failures) = failed.addresses.get(&network(address))?;
        (*failures >= FAILURES_MAX).then(|| (*first + WINDOW).saturating_duration_since(now))
    }

    /// It has failed.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let address = network(address);
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failed.forgive(now);
        if let Some((_, failures)) = failed.addresses.get_mut(&address) {
            *failures = failures.saturating_add(1);
            return;
        }
        if failed.addresses.len() >= ADDRESSES_MAX {
            failed.forget_first();
        }
        failed.addresses.insert(address, (now, 1));
        failed.order.insert((now, address));
    }

    /// It knew the password: what came before is forgiven.
    pub fn succeeded(&self, address: IpAddr) {
        let address = network(address);
        let mut failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, _)) = failed.addresses.remove(&address) {
            failed.order.remove(&(first, address));
        }
    }
}

impl Failed {
    fn forgive(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(first, _)| *first + WINDOW <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, address)) = self.order.pop_first() {
            self.addresses.remove(&address);
        }
    }
}

/// What counts as one host.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_world::runtime::run_test;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_that_fails_waits_and_others_do_not() {
        run_test(async {
            let (attempts, now) = (Attempts::default(), Instant::now());
            let later = |seconds| now + Duration::from_secs(seconds);
            for turn in 0..FAILURES_MAX {
                assert_eq!(attempts.wait(address("10.0.0.1"), now), None, "{turn}");
                attempts.failed(address("::ffff:10.0.0.1"), now);
            }
            assert_eq!(attempts.wait(address("10.0.0.1"), later(20)), Some(Duration::from_secs(40)));
            assert_eq!(attempts.wait(address("10.0.0.2"), later(20)), None);
            assert_eq!(attempts.wait(address("10.0.0.1"), later(60)), None, "its time is over");
            for _ in 0..FAILURES_MAX {
                attempts.failed(address("2001:db8::1"), later(60));
            }
            assert!(attempts.wait(address("2001:db8::2"), later(60)).is_some(), "of the same network");
            assert_eq!(attempts.wait(address("2001:db8:0:1::1"), later(60)), None);
        });
    }

    #[test]
    fn who_knows_the_password_begins_anew() {
        run_test(async {
            let (attempts, now) = (Attempts::default(), Instant::now());
            for _ in 1..FAILURES_MAX {
                attempts.failed(address("10.0.0.1"), now);
            }
            attempts.succeeded(address("10.0.0.1"));
            attempts.failed(address("10.0.0.1"), now);
            assert_eq!(attempts.wait(address("10.0.0.1"), now), None);
        });
    }

    #[test]
    fn only_so_many_are_remembered() {
        run_test(async {
            let (attempts, now) = (Attempts::default(), Instant::now());
            for host in 0..2 * ADDRESSES_MAX as u32 {
                let address = IpAddr::V4(host.into());
                (0..FAILURES_MAX).for_each(|_| attempts.failed(address, now + Duration::from_millis(host.into())));
            }
            let failed = attempts.0.lock().expect("nobody panicked");
            assert_eq!((failed.addresses.len(), failed.order.len()), (ADDRESSES_MAX, ADDRESSES_MAX));
            drop(failed);
            let last = IpAddr::V4((2 * ADDRESSES_MAX as u32 - 1).into());
            assert!(attempts.wait(last, now + Duration::from_secs(9)).is_some());
        });
    }
}
