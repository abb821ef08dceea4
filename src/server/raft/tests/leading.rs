//! Leaders come and go: nothing acknowledged is lost, and a deposed one knows that it cannot answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_core::model::NodeId;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::timeout;

use super::NODES;
use super::cluster::{Cluster, PATIENCE, quick};
use super::ledger::put;
use crate::replica::{MembershipError, ProposeError};

fn others(node: NodeId) -> Vec<NodeId> {
    NODES.into_iter().filter(|other| *other != node).collect()
}

#[test]
fn a_new_leader_goes_on() {
    run_test(async {
        let mut cluster = Cluster::founded("a_new_leader_goes_on", &NODES, quick()).await;
        let first = cluster.leader().await;
        for _ in 0..20 {
            cluster.replica(first).propose(put(1, 1)).await.expect("applied");
        }
        cluster.stop(first).await;
        let second = cluster.leader().await;
        assert_ne!(first, second);
        assert_eq!(cluster.replica(second).propose(put(1, 1)).await.expect("applied").before, 20);
        cluster.run(first).await;
        assert_eq!(cluster.converge().await.balance(1), 21);
        cluster.end().await;
    });
}

#[test]
fn acknowledged_commands_survive_changes_of_leader_under_load() {
    run_test(async {
        let mut cluster = Cluster::founded("acknowledged_commands_survive_changes_of_leader_under_load", &NODES, quick()).await;
        cluster.net.slow_and_lossy(1_000, 2);
        let acknowledged: Arc<[AtomicU64; 3]> = Arc::default();
        let unknown = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        for round in 0..3 {
            let mut load = Vec::new();
            over.store(false, Ordering::Release);
            for account in 0..3_u64 {
                let replicas: Vec<_> = cluster.nodes().into_iter().map(|node| cluster.replica(node)).collect();
                let (acknowledged, unknown, over) = (acknowledged.clone(), unknown.clone(), over.clone());
                load.push(task::spawn(async move {
                    while !over.load(Ordering::Acquire) {
                        let mut moved = false;
                        for replica in &replicas {
                            match replica.propose(put(account, 1)).await {
                                Ok(_) => {
                                    acknowledged[account as usize].fetch_add(1, Ordering::AcqRel);
                                    moved = true;
                                }
                                Err(ProposeError::Unknown) => {
                                    unknown.fetch_add(1, Ordering::AcqRel);
                                }
                                Err(ProposeError::NotLeader { .. } | ProposeError::Full | ProposeError::Stopped) => {}
                                Err(ProposeError::TooLarge) => unreachable!("a small command"),
                            }
                        }
                        if !moved {
                            task::yield_now().await;
                        }
                    }
                }));
            }
            let leader = cluster.leader().await;
            for _ in 0..50 {
                cluster.put(put(99, 1)).await;
            }
            cluster.stop(leader).await;
            for _ in 0..50 {
                cluster.put(put(99, 1)).await;
            }
            over.store(true, Ordering::Release);
            for task in load {
                timeout(PATIENCE, task).await.expect("an answer in time").expect("runs to its end");
            }
            cluster.run(leader).await;
            let state = cluster.converge().await;
            let applied: u64 = (0..3).map(|account| state.balance(account)).sum();
            let known: u64 = acknowledged.iter().map(|count| count.load(Ordering::Acquire)).sum();
            let unknown = unknown.load(Ordering::Acquire);
            assert!(known <= applied && applied <= known + unknown, "round {round}: {known} {applied} {unknown}");
        }
        cluster.end().await;
    });
}

#[test]
fn a_deposed_leader_confirms_nothing() {
    run_test(async {
        let mut cluster = Cluster::founded("a_deposed_leader_confirms_nothing", &NODES, quick()).await;
        let old = cluster.leader().await;
        cluster.replica(old).confirm().await.expect("it leads");
        cluster.net.isolate(old, &NODES);
        let new = cluster.leader_among(&others(old)).await;
        cluster.replica(new).propose(put(1, 1)).await.expect("a quorum is there");
        cluster.replica(new).confirm().await.expect("it leads");
        assert!(cluster.replica(old).confirm().await.is_err());
        // Its state is old, and so is what it would have answered.
        assert_eq!(cluster.replica(old).read(|ledger| ledger.balance(1)), 0);
        let refused = timeout(PATIENCE, cluster.replica(old).propose(put(1, 1))).await.expect("an answer in time");
        assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
        cluster.net.heal();
        assert_eq!(cluster.converge().await.balance(1), 1);
        cluster.end().await;
    });
}

#[test]
fn what_an_isolated_leader_was_given_is_unknown_and_at_most_once() {
    run_test(async {
        let mut cluster = Cluster::founded("what_an_isolated_leader_was_given_is_unknown_and_at_most_once", &NODES, quick()).await;
        let old = cluster.leader().await;
        cluster.net.isolate(old, &NODES);
        // Its lease still runs, so it writes this into its log.
        let pending = cluster.replica(old).submit(put(1, 1)).expect("it takes itself for the leader");
        let new = cluster.leader_among(&others(old)).await;
        cluster.replica(new).propose(put(2, 1)).await.expect("a quorum is there");
        cluster.net.heal();
        let outcome = timeout(PATIENCE, pending).await.expect("an answer in time");
        let state = cluster.converge().await;
        match outcome {
            Ok(_) => assert_eq!(state.balance(1), 1),
            Err(ProposeError::Unknown) => assert!(state.balance(1) <= 1),
            Err(ProposeError::NotLeader { .. }) => assert_eq!(state.balance(1), 0),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(state.balance(2), 1);
        cluster.end().await;
    });
}

#[test]
fn reads_share_a_round() {
    run_test(async {
        let mut cluster = Cluster::founded("reads_share_a_round", &NODES, quick()).await;
        cluster.net.slow_and_lossy(500, 0);
        let leader = cluster.replica(cluster.leader().await);
        let reads: Vec<_> = (0..500)
            .map(|_| {
                let leader = leader.clone();
                task::spawn(async move { leader.confirm().await })
            })
            .collect();
        for read in reads {
            read.await.expect("runs").expect("it leads");
        }
        let beats = cluster.net.calls(crate::RaftRpc::Heartbeat);
        assert!(beats < 200, "{beats} heartbeats for 500 reads");
        cluster.end().await;
    });
}

#[test]
fn leadership_moves_where_it_is_asked_to() {
    run_test(async {
        let mut cluster = Cluster::founded("leadership_moves_where_it_is_asked_to", &NODES, quick()).await;
        let from = cluster.leader().await;
        let to = others(from)[0];
        cluster.put(put(1, 1)).await;
        cluster.catch_up(to, from).await;
        cluster.replica(from).transfer(to).await;
        let mut watch = cluster.replica(to).leadership();
        timeout(PATIENCE, watch.wait_until(|leadership| leadership.leading)).await.expect("in time").expect("runs");
        assert_eq!(cluster.put(put(1, 1)).await.before, 1);
        cluster.end().await;
    });
}

#[test]
fn members_come_and_go() {
    const FOURTH: NodeId = NodeId(4);
    run_test(async {
        let mut cluster = Cluster::founded("members_come_and_go", &NODES, quick()).await;
        let leader = cluster.leader().await;
        cluster.put(put(1, 5)).await;
        cluster.run(FOURTH).await;
        cluster.replica(leader).add_learner(FOURTH).await.expect("a learner");
        cluster.catch_up(FOURTH, leader).await;
        assert_eq!(cluster.replica(FOURTH).read(|ledger| ledger.balance(1)), 5);
        let leaves = others(leader)[0];
        let refused = cluster.replica(leaves).add_learner(FOURTH).await;
        assert!(matches!(refused, Err(MembershipError::NotLeader { .. })), "{refused:?}");
        let voters = NODES.into_iter().filter(|node| *node != leaves).chain([FOURTH]).collect();
        cluster.replica(leader).change_voters(&voters).await.expect("a new set of voters");
        let members = cluster.replica(leader).health().members;
        assert_eq!((members.voters, members.joint), (voters, false));
        cluster.stop(leaves).await;
        cluster.put(put(1, 1)).await;
        assert_eq!(cluster.converge().await.balance(1), 6);
        cluster.end().await;
    });
}
