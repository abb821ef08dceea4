//! Clocks of machines.

use crate::{idle_machine, ip};
use quorate_world::sim::{self, Options};
use quorate_world::time::{Duration, Instant, sleep, wall_ms};
use std::sync::{Arc, Mutex};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_date_is_drawn_from_the_seed() {
    const YEAR_2026_MS: u64 = 1_767_225_600_000;
    const YEAR_2036_MS: u64 = 2_082_758_400_000;
    let dates: std::collections::BTreeSet<u64> =
        (0..20).map(|seed| sim::run(seed, Options::default(), || async { wall_ms() }).output).collect();
    assert_eq!(dates.len(), 20);
    assert!(dates.iter().all(|date| (YEAR_2026_MS..YEAR_2036_MS).contains(date)), "{dates:?}");
}

#[test]
fn a_fast_clock_wakes_its_machine_early() {
    sim::run(1, Options::default(), || async {
        let slept = Arc::new(Mutex::new(Vec::new()));
        let report = slept.clone();
        let machine = sim::add_machine("n1", ip(1), move || {
            let report = report.clone();
            async move {
                let begun = Instant::now();
                sleep(10 * SECOND).await;
                report.lock().expect("no panic").push((begun.elapsed(), sim::now()));
                0
            }
        });
        machine.start();
        machine.set_clock_ppm(1_000_000);
        machine.ended().await;
        let (local, world) = slept.lock().expect("no panic")[0];
        assert!(local >= 10 * SECOND && local < 10 * SECOND + SECOND / 100, "{local:?}");
        assert!(world >= 5 * SECOND && world < 5 * SECOND + SECOND / 100, "{world:?}");
    });
}

#[test]
fn a_clock_that_slows_down_under_a_sleeper_makes_it_sleep_longer() {
    sim::run(1, Options::default(), || async {
        let machine = sim::add_machine("n1", ip(1), || async {
            sleep(10 * SECOND).await;
            0
        });
        machine.start();
        sleep(5 * SECOND).await;
        machine.set_clock_ppm(-500_000);
        machine.ended().await;
        let ended = sim::now();
        assert!(ended >= 15 * SECOND && ended < 15 * SECOND + SECOND / 100, "{ended:?}");
    });
}

#[test]
fn a_clock_that_speeds_up_under_a_sleeper_wakes_it_earlier() {
    sim::run(1, Options::default(), || async {
        let machine = sim::add_machine("n1", ip(1), || async {
            sleep(10 * SECOND).await;
            0
        });
        machine.start();
        sleep(5 * SECOND).await;
        machine.set_clock_ppm(4_000_000);
        machine.ended().await;
        let ended = sim::now();
        assert!(ended >= 6 * SECOND && ended < 6 * SECOND + SECOND / 100, "{ended:?}");
    });
}

#[test]
fn clocks_disagree_as_much_as_allowed() {
    sim::run(5, Options { clock_ppm_max: 10_000, wall_skew_ms_max: 5000, ..Options::default() }, || async {
        let machines: Vec<_> = (1..=8).map(idle_machine).collect();
        let here = wall_ms();
        assert!(machines.iter().all(|machine| machine.wall_ms() >= here && machine.wall_ms() <= here + 5000));
        assert!(machines.iter().any(|machine| machine.wall_ms() > here + 500));
        assert!(machines.iter().all(|machine| machine.clock_ppm().abs() <= 10_000));
        assert!(machines.iter().any(|machine| machine.clock_ppm() != 0));
        let before = machines[0].wall_ms();
        machines[0].move_wall_clock_ms(-3_600_000);
        assert_eq!(machines[0].wall_ms(), before - 3_600_000);
    });
}
