//! Three machines that found a cluster together, for the tests beside it.

use quorate_server::config::Config;
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net;
use quorate_world::sim::{self, Ending, Machine};
use quorate_world::time::{Duration, sleep, timeout};

/// How many.
pub const NODES: u64 = 3;

/// Adds the machines; none is started.
pub fn machines(groups: u32) -> Vec<Machine> {
    (1..=NODES).map(|node| machine(node, groups)).collect()
}

fn config(node: u64, groups: u32) -> Config {
    let peers: Vec<String> = (1..=NODES).map(|node| format!("{node}=10.0.0.{node}:9091")).collect();
    let toml = format!(
        "node_id = {node}\npeers = \"{}\"\nlisten = \"10.0.0.{node}:8091\"\nadmin_listen = \"10.0.0.{node}:7091\"\n\
         peer_listen = \"10.0.0.{node}:9091\"\ndata_dir = \"data\"\ngroups = {groups}\n",
        peers.join(",")
    );
    Config::from_toml(&toml).expect("a legal configuration")
}

fn machine(node: u64, groups: u32) -> Machine {
    let ip = format!("10.0.0.{node}").parse().expect("an address");
    sim::add_machine(&format!("n{node}"), ip, move || async move {
        match quorate_server::run(config(node, groups)).await {
            Ok(()) => 0,
            Err(failure) => {
                sim::note(&failure.to_string());
                failure.code.number()
            }
        }
    })
}

/// The clusters that the machines name when they are ready. Nobody may leave by itself.
pub async fn clusters(machines: &[Machine]) -> Vec<String> {
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

/// Asks all to stop; each must end well.
pub async fn stop(machines: &[Machine]) {
    for machine in machines {
        machine.request_stop();
    }
    for machine in machines {
        assert_eq!(machine.ended().await, Ending::Returned);
    }
}

/// What a node's status page says, as text; empty if it does not answer.
pub async fn status(machine: Machine) -> String {
    let asked = timeout(Duration::from_secs(2), async {
        let mut stream = net::connect((machine.ip(), 7091).into()).await.ok()?;
        let request = b"GET /quorate/v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        stream.flush().await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    });
    asked.await.ok().flatten().unwrap_or_default()
}

/// Looks at a node's status page until it is so.
pub async fn until(machine: Machine, what: &str, is_so: impl Fn(&str) -> bool) {
    let mut seen = String::new();
    for _ in 0..300 {
        seen = status(machine).await;
        if is_so(&seen) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("never: {what}; {seen}");
}
