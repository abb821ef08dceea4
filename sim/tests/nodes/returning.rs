//! A cluster that was stopped or lost its power is one again within an election time-out: nobody waits for a silence
//! that is known to be one.
//!
//! Source: design, section 10.4 ("a restarted node that was preferred leader may call `elect` at once").

use crate::three::{clusters, machines, stop, until};
use quorate_world::sim::{self, Machine, Options};
use quorate_world::time::{Duration, sleep};

/// The `in_ms` of the newest ready line.
async fn ready_in_ms(machine: Machine) -> u64 {
    for _ in 0..600 {
        if let Some(line) = machine.take_said().iter().rev().find(|line| line.starts_with("ready ")) {
            let field = line.split(' ').find_map(|field| field.strip_prefix("in_ms="));
            return field.and_then(|text| text.parse().ok()).expect("the ready line says how long it took");
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{} is not ready", machine.name());
}

async fn return_of(machines: &[Machine]) -> Vec<u64> {
    machines.iter().for_each(|machine| machine.start());
    let mut took_ms = Vec::new();
    for machine in machines {
        took_ms.push(ready_in_ms(*machine).await);
    }
    let spread = "the leaders are where they should be";
    until(machines[0], spread, |page| (1..=3).all(|node| page.matches(&format!("\"leader\":{node},")).count() >= 2))
        .await;
    took_ms
}

#[test]
fn a_cluster_comes_back_at_once() {
    sim::run(3, Options::default(), || async {
        let machines = machines(6);
        machines.iter().for_each(|machine| machine.start());
        clusters(&machines).await;
        stop(&machines).await;
        let after_stop = return_of(&machines).await;
        assert!(after_stop.iter().all(|took_ms| *took_ms < 500), "after a stop: {after_stop:?}");

        machines.iter().for_each(|machine| _ = machine.power_fail());
        // Until the leases of before would have run out on a clock that went on.
        sleep(Duration::from_secs(2)).await;
        let after_failure = return_of(&machines).await;
        assert!(after_failure.iter().all(|took_ms| *took_ms < 500), "after a power failure: {after_failure:?}");
        stop(&machines).await;
    });
}
