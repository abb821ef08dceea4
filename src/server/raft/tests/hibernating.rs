//! Idle groups sleep, and wake for whatever a group is there for.

use futures_util::future::select_all;
use quorate_core::model::NodeId;
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep, timeout};

use super::NODES;
use super::cluster::{Cluster, PATIENCE, quick};
use super::ledger::put;
use crate::options::RaftOptions;
use crate::transport::RaftRpc;

const IDLE: Duration = Duration::from_millis(300);

fn sleepy() -> RaftOptions {
    RaftOptions { hibernate_after: Some(IDLE), ..quick() }
}

/// Waits until these nodes' replicas sleep, all of them or none.
async fn all_are(cluster: &Cluster, nodes: &[NodeId], asleep: bool) {
    let states = nodes.iter().map(|node| cluster.replica(*node).hibernation.states());
    let mut states: Vec<_> = states.collect();
    let look = async {
        while states.iter_mut().any(|state| state.borrow_and_update().is_awake() == asleep) {
            select_all(states.iter_mut().map(|state| Box::pin(state.changed()))).await.0.expect("it runs");
        }
    };
    let what = if asleep { "all sleep" } else { "all are awake" };
    timeout(PATIENCE, look).await.expect(what);
}

async fn asleep(name: &'static str) -> (Cluster, NodeId) {
    let cluster = Cluster::founded(name, &NODES, sleepy()).await;
    cluster.put(put(1, 1)).await;
    all_are(&cluster, &NODES, true).await;
    let leader = cluster.leader().await;
    (cluster, leader)
}

#[test]
fn nothing_is_said_while_a_group_sleeps_and_a_command_wakes_it() {
    run_test(async {
        let (mut cluster, leader) = asleep("nothing_is_said").await;
        let said = |cluster: &Cluster| {
            let all = [RaftRpc::Append, RaftRpc::Heartbeat, RaftRpc::Vote, RaftRpc::PreVote, RaftRpc::Hibernate];
            all.map(|rpc| cluster.net.calls(rpc))
        };
        let before = said(&cluster);
        sleep(8 * quick().election_timeout_max()).await;
        assert_eq!(said(&cluster), before);
        assert_eq!(cluster.leader().await, leader);
        let balance = cluster.replica(leader).propose(put(1, 1)).await.expect("the leader still leads");
        assert_eq!(balance.before, 1);
        assert_eq!(cluster.converge().await.balance(1), 2);
        all_are(&cluster, &NODES, true).await;
        cluster.end().await;
    });
}

#[test]
fn a_read_at_a_sleeping_leader_is_confirmed() {
    run_test(async {
        let (mut cluster, leader) = asleep("a_read_at_a_sleeping_leader").await;
        let term = cluster.replica(leader).health().term;
        cluster.replica(leader).confirm().await.expect("it leads");
        // The others heard of it, and nobody became impatient.
        all_are(&cluster, &NODES, true).await;
        assert_eq!(cluster.replica(leader).health().term, term);
        cluster.end().await;
    });
}

#[test]
fn a_leader_that_dies_while_its_group_sleeps_is_followed() {
    run_test(async {
        let (mut cluster, leader) = asleep("a_leader_that_dies").await;
        cluster.stop(leader).await;
        cluster.net.note_silence(leader, true);
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        assert_eq!(cluster.replica(next).propose(put(1, 1)).await.expect("leads").before, 1);
        cluster.end().await;
    });
}

#[test]
fn a_leader_in_another_life_leads_no_more_of_its_own_accord() {
    run_test(async {
        let (mut cluster, leader) = asleep("a_leader_in_another_life").await;
        let term = cluster.replica(leader).health().term;
        cluster.stop(leader).await;
        cluster.run(leader).await;
        cluster.net.note_life(leader);
        let next = cluster.leader().await;
        assert!(cluster.replica(next).health().term > term);
        cluster.put(put(1, 1)).await;
        assert_eq!(cluster.converge().await.balance(1), 2);
        cluster.end().await;
    });
}

#[test]
fn a_follower_in_another_life_takes_the_group_from_nobody() {
    run_test(async {
        let (mut cluster, leader) = asleep("a_follower_in_another_life").await;
        let term = cluster.replica(leader).health().term;
        let follower = NODES.into_iter().find(|node| *node != leader).expect("one of three");
        cluster.stop(follower).await;
        cluster.run(follower).await;
        assert_eq!(cluster.leader().await, leader);
        assert_eq!(cluster.replica(leader).health().term, term);
        // All three are there: the group sleeps again.
        all_are(&cluster, &NODES, true).await;
        cluster.end().await;
    });
}

#[test]
fn a_group_does_not_sleep_without_one_of_its_members() {
    run_test(async {
        let (mut cluster, leader) = asleep("a_group_does_not_sleep").await;
        let (gone, there): (Vec<NodeId>, Vec<NodeId>) =
            NODES.into_iter().filter(|node| *node != leader).partition(|node| node.0 % 2 == 0);
        let gone = gone.first().copied().unwrap_or(there[0]);
        cluster.stop(gone).await;
        cluster.net.note_silence(gone, true);
        all_are(&cluster, &[leader], false).await;
        sleep(8 * IDLE).await;
        assert!(!cluster.replica(leader).health().asleep);
        assert_eq!(cluster.leader().await, leader);
        cluster.end().await;
    });
}

#[test]
fn a_sleeping_group_is_handed_over() {
    run_test(async {
        let (mut cluster, leader) = asleep("a_sleeping_group_is_handed_over").await;
        let next = NODES.into_iter().find(|node| *node != leader).expect("one of three");
        cluster.replica(leader).transfer(next).await;
        let mut leadership = cluster.replica(next).leadership();
        let led = leadership.wait_until(|leadership| leadership.leading);
        timeout(PATIENCE, led).await.expect("in time").expect("it runs");
        cluster.end().await;
    });
}

#[test]
fn a_group_of_one_sleeps_and_wakes() {
    run_test(async {
        let mut cluster = Cluster::founded("a_group_of_one_sleeps", &NODES[..1], sleepy()).await;
        cluster.put(put(1, 1)).await;
        all_are(&cluster, &NODES[..1], true).await;
        assert_eq!(cluster.replica(NODES[0]).propose(put(1, 1)).await.expect("leads").before, 1);
        cluster.end().await;
    });
}
