//! A founding is safe to cut short anywhere: three machines lose their processes or their power while they found, and
//! end up in one cluster.
//!
//! Source: design, section 10.4.

use crate::three::{NODES, clusters, machines, stop};
use quorate_world::sim::{self, Dice, Machine, Options};
use quorate_world::time::{Duration, sleep};

const SEEDS: u64 = 12;

/// Fells machines while they found; each is started again a little later.
async fn disturb(machines: &[Machine], dice: &mut Dice) {
    for _ in 0..dice.between(1, 6) {
        sleep(Duration::from_millis(dice.between(1, 60))).await;
        let victim = machines[dice.below(NODES) as usize];
        if dice.happens(500_000) {
            victim.kill();
        } else {
            victim.power_fail();
        }
        sleep(Duration::from_millis(dice.between(1, 30))).await;
        victim.start();
    }
}

#[test]
fn a_founding_that_is_cut_short_is_taken_up() {
    for seed in 1..=SEEDS {
        sim::run(seed, Options::default(), move || async move {
            let machines: Vec<Machine> = machines(2);
            let mut dice = Dice::new(seed, "founding");
            machines.iter().for_each(|machine| machine.start());
            disturb(&machines, &mut dice).await;
            let clusters = clusters(&machines).await;
            assert!(clusters.iter().all(|cluster| *cluster == clusters[0]), "seed {seed}: {clusters:?}");
            stop(&machines).await;
        });
    }
}
