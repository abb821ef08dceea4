//! A rough ride: nodes stop, come back, are cut off and asked to lead, in an order drawn by chance, with small snapshots
//! and a load that never rests. What was acknowledged stays, nothing is applied twice, and all replicas end up alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_core::model::NodeId;
use quorate_world::runtime::run_test;
use quorate_world::time::timeout;
use quorate_world::{random, task};

use super::NODES;
use super::cluster::{Cluster, PATIENCE, quick};
use super::leading::{Known, client};
use super::ledger::put;
use crate::options::RaftOptions;

/// One thing that happens to the cluster.
#[derive(Clone, Copy, Debug)]
enum Blow {
    StopAndRun(NodeId),
    StopAllAndRun,
    Isolate(NodeId),
    Transfer(NodeId),
    Snapshot(NodeId),
    Slower,
}

fn any_blow() -> Blow {
    let node = NODES[random::below(3) as usize];
    match random::below(8) {
        0 | 1 => Blow::StopAndRun(node),
        2 => Blow::StopAllAndRun,
        3 | 4 => Blow::Isolate(node),
        5 => Blow::Transfer(node),
        6 => Blow::Snapshot(node),
        _ => Blow::Slower,
    }
}

/// Some commands that are applied for sure.
async fn work(cluster: &Cluster, nodes: &[NodeId]) {
    for _ in 0..6 {
        let leader = cluster.leader_among(nodes).await;
        // Whether this one is applied is told by the account's balance at the end.
        let _ = timeout(PATIENCE, cluster.replica(leader).propose(put(99, 1))).await.expect("an answer in time");
    }
}

async fn strike(cluster: &mut Cluster, blow: Blow) {
    match blow {
        Blow::StopAndRun(node) => {
            cluster.stop(node).await;
            work(cluster, &cluster.nodes()).await;
            cluster.run(node).await;
        }
        Blow::StopAllAndRun => {
            for node in NODES {
                cluster.stop(node).await;
            }
            for node in NODES {
                cluster.run(node).await;
            }
        }
        Blow::Isolate(node) => {
            cluster.net.isolate(node, &NODES);
            let others: Vec<_> = NODES.into_iter().filter(|other| *other != node).collect();
            work(cluster, &others).await;
            cluster.net.heal();
        }
        Blow::Transfer(node) => {
            let leader = cluster.leader().await;
            cluster.replica(leader).transfer(node).await;
        }
        Blow::Snapshot(node) => cluster.replica(node).snapshot().await,
        Blow::Slower => cluster.net.slow_and_lossy(random::below(4_000), random::below(4)),
    }
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost() {
    run_test(async {
        let options = RaftOptions { snapshot_entries: 60, snapshot_log_entries_kept: 5, ..quick() };
        let mut cluster = Cluster::founded("whatever_happens_nothing_acknowledged_is_lost", &NODES, options).await;
        cluster.net.slow_and_lossy(1_000, 1);
        let mut told = Known::default();
        let mut blows = Vec::new();
        for _ in 0..8 {
            let over = Arc::new(AtomicBool::new(false));
            let replicas: BTreeMap<_, _> =
                cluster.nodes().into_iter().map(|node| (node, cluster.replica(node))).collect();
            let load: Vec<_> =
                (0..3).map(|account| task::spawn(client(replicas.clone(), account, over.clone()))).collect();
            work(&cluster, &NODES).await;
            blows.push(any_blow());
            strike(&mut cluster, blows[blows.len() - 1]).await;
            work(&cluster, &NODES).await;
            over.store(true, Ordering::Release);
            for client in load {
                let known = timeout(PATIENCE, client).await.expect("an answer in time").expect("runs to its end");
                told.acknowledged += known.acknowledged;
                told.unknown += known.unknown;
            }
            let state = cluster.converge().await;
            let applied: u64 = (0..3).map(|account| state.balance(account)).sum();
            assert!(told.acknowledged <= applied, "{} told, {applied} applied after {blows:?}", told.acknowledged);
            assert!(applied <= told.acknowledged + told.unknown, "{applied} applied, too many after {blows:?}");
        }
        cluster.end().await;
    });
}
