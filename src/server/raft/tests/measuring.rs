//! What a batched command costs. Figures count in a release build on a quiet machine; what is checked everywhere is that
//! commands share entries and that nothing is lost on the way.

use std::sync::Arc;

use quorate_world::process;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::Instant;

use super::NODES;
use super::cluster::{Cluster, quick};
use super::ledger::{Put, put};
use crate::options::RaftOptions;

#[test]
fn many_callers_in_a_closed_loop() {
    const CALLERS: u64 = 256;
    let each = if cfg!(debug_assertions) { 8 } else { 2_000 };
    run_test(async {
        let options = RaftOptions { heartbeat_ms: 150, election_timeout_ms: 500, ..quick() };
        let mut cluster = Cluster::founded("many_callers_in_a_closed_loop", &NODES, options).await;
        let leader = cluster.replica(cluster.leader().await);
        leader.propose(put(0, 1)).await.expect("applied");
        let entries = leader.health().last_log_index.expect("a log");
        let cpu = process::usage_of(std::process::id()).map(|usage| usage.cpu);
        let began = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let leader = Arc::clone(&leader);
                task::spawn(async move {
                    for _ in 0..each {
                        let command = Put { note: "n".repeat(100), ..put(caller, 1) };
                        leader.propose(command).await.expect("applied");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.expect("runs to its end");
        }
        let seconds = began.elapsed().as_secs_f64();
        let commands = CALLERS * each;
        let entries = leader.health().last_log_index.expect("a log") - entries;
        let cpu_us = match (cpu, process::usage_of(std::process::id()).map(|usage| usage.cpu)) {
            (Ok(before), Ok(after)) => (after - before).as_micros() as f64,
            (Err(_), _) | (_, Err(_)) => 0.0,
        };
        eprintln!(
            "{commands} commands in {entries} entries: {:.0} a second, {:.1} us of CPU each, over three replicas",
            commands as f64 / seconds,
            cpu_us / commands as f64
        );
        assert!(entries * 4 <= commands, "{entries} entries for {commands} commands");
        let state = cluster.converge().await;
        assert_eq!(state.puts, commands + 1);
        cluster.end().await;
    });
}
