//! A founding is safe to cut short anywhere: three machines lose their processes or their power while they found, and
//! end up in one cluster.
//!
//! Source: design, section 10.4.

use quorate_server::config::Config;
use quorate_world::sim::{self, Dice, Ending, Machine, Options};
use quorate_world::time::{Duration, sleep};

const NODES: u64 = 3;
const SEEDS: u64 = 12;

fn config(node: u64) -> Config {
    let peers: Vec<String> = (1..=NODES).map(|node| format!("{node}=10.0.0.{node}:9091")).collect();
    let toml = format!(
        "node_id = {node}\npeers = \"{}\"\nlisten = \"10.0.0.{node}:8091\"\nadmin_listen = \"10.0.0.{node}:7091\"\n\
         peer_listen = \"10.0.0.{node}:9091\"\ndata_dir = \"data\"\ngroups = 2\n",
        peers.join(",")
    );
    Config::from_toml(&toml).expect("a legal configuration")
}

fn machine(node: u64) -> Machine {
    let ip = format!("10.0.0.{node}").parse().expect("an address");
    sim::add_machine(&format!("n{node}"), ip, move || async move {
        match quorate_server::run(config(node)).await {
            Ok(()) => 0,
            Err(failure) => {
                sim::note(&failure.to_string());
                failure.code.number()
            }
        }
    })
}

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

/// The clusters that the machines name when they are ready. Nobody may leave by itself.
async fn clusters(machines: &[Machine]) -> Vec<String> {
    let mut named = vec![None; machines.len()];
    for _ in 0..600 {
        for (machine, named) in machines.iter().zip(&mut named) {
            assert_eq!(machine.ending(), None, "{} has left", machine.name());
            let said = machine.take_said();
            let ready = said.iter().rev().find(|line| line.starts_with("ready "));
            let cluster = ready.and_then(|line| line.split(' ').find(|field| field.starts_with("cluster=")));
            *named = cluster.map(str::to_owned).or(named.take());
        }
        if named.iter().all(Option::is_some) {
            return named.into_iter().flatten().collect();
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("not ready after a minute: {named:?}");
}

#[test]
fn a_founding_that_is_cut_short_is_taken_up() {
    for seed in 1..=SEEDS {
        sim::run(seed, Options::default(), move || async move {
            let machines: Vec<Machine> = (1..=NODES).map(machine).collect();
            let mut dice = Dice::new(seed, "founding");
            machines.iter().for_each(|machine| machine.start());
            disturb(&machines, &mut dice).await;
            let clusters = clusters(&machines).await;
            assert!(clusters.iter().all(|cluster| *cluster == clusters[0]), "seed {seed}: {clusters:?}");
            stop(&machines).await;
        });
    }
}

async fn stop(machines: &[Machine]) {
    for machine in machines {
        machine.request_stop();
    }
    for machine in machines {
        assert_eq!(machine.ended().await, Ending::Returned);
    }
}
