//! Leaders come and go: nothing acknowledged is lost, and a deposed one knows that it cannot answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_core::model::NodeId;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::NODES;
use super::cluster::{Cluster, PATIENCE, any_change, quick};
use super::ledger::{Ledger, put};
use crate::replica::{Leadership, MembersChange, ProposeError, Replica};

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

/// What a client of the load knows.
#[derive(Default)]
pub struct Known {
    pub acknowledged: u64,
    pub unknown: u64,
}

/// Adds to one account, wherever the leader is, until it is told that it is over.
pub async fn client(replicas: BTreeMap<NodeId, Arc<Replica<Ledger>>>, account: u64, over: Arc<AtomicBool>) -> Known {
    let mut watches: Vec<_> = replicas.values().map(|replica| replica.leadership()).collect();
    let mut known = Known::default();
    while !over.load(Ordering::Acquire) && !watches.is_empty() {
        let led = watches.iter_mut().map(|watch| *watch.borrow_and_update()).find(|leadership| leadership.leading);
        let Some(leader) = led.and_then(|leadership| leadership.leader) else {
            any_change(&mut watches).await;
            continue;
        };
        match replicas[&leader].propose(put(account, 1)).await {
            Ok(_) => known.acknowledged += 1,
            Err(ProposeError::Unknown) => known.unknown += 1,
            Err(ProposeError::NotLeader { .. } | ProposeError::Full | ProposeError::Stopped) => task::yield_now().await,
            Err(ProposeError::TooLarge) => unreachable!("a small command"),
        }
    }
    known
}

#[test]
fn acknowledged_commands_survive_changes_of_leader_under_load() {
    run_test(async {
        let name = "acknowledged_commands_survive_changes_of_leader_under_load";
        let mut cluster = Cluster::founded(name, &NODES, quick()).await;
        cluster.net.slow_and_lossy(1_000, 2);
        let mut told = Known::default();
        for round in 0..3 {
            let over = Arc::new(AtomicBool::new(false));
            let replicas: BTreeMap<_, _> =
                cluster.nodes().into_iter().map(|node| (node, cluster.replica(node))).collect();
            let load: Vec<_> =
                (0..3).map(|account| task::spawn(client(replicas.clone(), account, over.clone()))).collect();
            for _ in 0..15 {
                cluster.put(put(99, 1)).await;
            }
            let leader = cluster.leader().await;
            cluster.stop(leader).await;
            for _ in 0..15 {
                cluster.put(put(99, 1)).await;
            }
            over.store(true, Ordering::Release);
            for client in load {
                let known = timeout(PATIENCE, client).await.expect("an answer in time").expect("runs to its end");
                told.acknowledged += known.acknowledged;
                told.unknown += known.unknown;
            }
            cluster.run(leader).await;
            let state = cluster.converge().await;
            let applied: u64 = (0..3).map(|account| state.balance(account)).sum();
            assert!(told.acknowledged <= applied, "round {round}: {} told, {applied} applied", told.acknowledged);
            assert!(applied <= told.acknowledged + told.unknown, "round {round}: {applied} applied, too many");
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
        // Without a quorum it does not write, and takes itself for the leader for a while at most.
        let pending = cluster.replica(old).submit(put(1, 1));
        cluster.net.heal();
        let refused = match pending {
            Ok(pending) => timeout(PATIENCE, pending).await.expect("an answer in time"),
            Err(refused) => Err(refused),
        };
        // On its way to raft when the leadership was lost, its fate is open to who waits; it never gets into the log.
        assert!(matches!(refused, Err(ProposeError::NotLeader { .. } | ProposeError::Unknown)), "{refused:?}");
        assert_eq!(cluster.converge().await.balance(1), 1);
        cluster.end().await;
    });
}

#[test]
fn what_an_isolated_leader_was_given_is_unknown_and_at_most_once() {
    run_test(async {
        let mut cluster =
            Cluster::founded("what_an_isolated_leader_was_given_is_unknown_and_at_most_once", &NODES, quick()).await;
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
fn a_leader_without_a_quorum_for_a_while_keeps_the_order() {
    run_test(async {
        let mut cluster =
            Cluster::founded("a_leader_without_a_quorum_for_a_while_keeps_the_order", &NODES, quick()).await;
        let leader = cluster.leader().await;
        for node in others(leader) {
            cluster.stop(node).await;
        }
        // As long as a lease: what is put from here on is not written at first.
        assert!(cluster.replica(leader).confirm().await.is_err());
        let mut pending = Vec::new();
        for amount in 1..=200 {
            // No longer, once it knows that its quorum has left it.
            let Ok(put) = cluster.replica(leader).submit(put(1, amount)) else { break };
            pending.push(put);
            task::yield_now().await;
        }
        for node in others(leader) {
            cluster.run(node).await;
        }
        let mut sum = 0;
        for (amount, outcome) in (1..=200).zip(pending) {
            match timeout(PATIENCE, outcome).await.expect("an answer in time") {
                Ok(balance) => assert_eq!(balance.before, sum, "before {amount}"),
                // Another one was elected first; then all later ones are refused as well.
                Err(ProposeError::NotLeader { .. } | ProposeError::Unknown) => break,
                Err(error) => panic!("{error}"),
            }
            sum += amount;
        }
        assert!(cluster.converge().await.balance(1) >= sum);
        cluster.end().await;
    });
}

/// Nobody waits longer for a leader without a quorum than for none; and it goes on when the others hear it again.
#[test]
fn a_leader_that_its_quorum_has_left_leads_no_longer_until_it_is_back() {
    run_test(async {
        let name = "a_leader_that_its_quorum_has_left_leads_no_longer_until_it_is_back";
        let mut cluster = Cluster::founded(name, &NODES, quick()).await;
        let old = cluster.leader().await;
        let mut leadership = cluster.replica(old).leadership();
        let term = leadership.borrow_and_update().term;
        // Everybody is alone, so that nobody is elected.
        for node in NODES {
            cluster.net.isolate(node, &NODES);
        }
        let pending = cluster.replica(old).submit(put(1, 1)).expect("it takes itself for the leader");
        timeout(PATIENCE, leadership.wait_until(|now| !now.leading)).await.expect("it notices").expect("it runs");
        assert_eq!(*leadership.borrow(), Leadership { term, leader: None, leading: false });
        let outcome = timeout(PATIENCE, pending).await.expect("an answer in time");
        assert!(matches!(outcome, Err(ProposeError::Unknown | ProposeError::NotLeader { .. })), "{outcome:?}");
        assert!(matches!(cluster.replica(old).submit(put(1, 1)), Err(ProposeError::NotLeader { leader: None })));
        cluster.net.heal();
        let new = cluster.leader().await;
        cluster.replica(new).propose(put(2, 1)).await.expect("a quorum is there");
        assert_eq!(cluster.converge().await.balance(2), 1);
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

async fn change(cluster: &Cluster, leader: NodeId, change: MembersChange) {
    let replica = cluster.replica(leader);
    let now = replica.members_now().expect("it leads");
    replica.change_members(&now, change).await.expect("nothing has changed in between");
}

/// As `change`, where the leader may be a new one.
async fn change_in_time(cluster: &Cluster, among: &[NodeId], change: MembersChange) {
    let done = async {
        loop {
            let replica = cluster.replica(cluster.leader_among(among).await);
            let Some(now) = replica.members_now() else { continue };
            if replica.change_members(&now, change.clone()).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, done).await.expect("in time");
}

#[test]
fn members_come_and_go() {
    const FOURTH: NodeId = NodeId(4);
    run_test(async {
        let mut cluster = Cluster::founded("members_come_and_go", &NODES, quick()).await;
        let leader = cluster.leader().await;
        cluster.put(put(1, 5)).await;
        cluster.run(FOURTH).await;
        change(&cluster, leader, MembersChange::Learn([FOURTH].into())).await;
        cluster.catch_up(FOURTH, leader).await;
        assert_eq!(cluster.replica(FOURTH).read(|ledger| ledger.balance(1)), 5);
        let leaves = others(leader)[0];
        assert_eq!(cluster.replica(leaves).members_now(), None, "it does not lead");
        let before = cluster.replica(leader).members_now().expect("it leads");
        let refused = cluster.replica(leaves).change_members(&before, MembersChange::Forget([FOURTH].into())).await;
        assert!(refused.is_err(), "{refused:?}");
        let voters: BTreeSet<NodeId> = NODES.into_iter().filter(|node| *node != leaves).chain([FOURTH]).collect();
        change(&cluster, leader, MembersChange::Vote(voters.clone())).await;
        // What was seen before is no longer so.
        let late = cluster.replica(leader).change_members(&before, MembersChange::Forget([FOURTH].into())).await;
        assert!(late.is_err(), "{late:?}");
        let members = cluster.replica(leader).health().members;
        assert_eq!((members.voters, members.joint), (voters, false));
        // It goes, and comes back as if it had never been there; but it knows for whom it voted.
        let left = cluster.remove(leaves).await;
        assert!(left.vote.is_some() && left.last.is_none());
        cluster.put(put(1, 1)).await;
        assert_eq!(cluster.converge().await.balance(1), 6);
        cluster.run(leaves).await;
        let leading = cluster.leader_among(&[leader, FOURTH]).await;
        change(&cluster, leading, MembersChange::Learn([leaves].into())).await;
        cluster.catch_up(leaves, leader).await;
        assert_eq!(cluster.replica(leaves).read(|ledger| ledger.balance(1)), 6);
        cluster.end().await;
    });
}

/// What `sleeper` still counts among the voters was wiped, and is made again: the two of them are no quorum.
#[test]
fn a_replica_that_was_wiped_does_not_vote_for_one_that_slept_through_it() {
    const FOURTH: NodeId = NodeId(4);
    run_test(async {
        let mut cluster = Cluster::founded("a_replica_that_was_wiped", &NODES, quick()).await;
        let leader = cluster.leader().await;
        let [sleeper, leaves] = others(leader)[..] else { panic!("three nodes") };
        cluster.put(put(1, 5)).await;
        cluster.converge().await;
        cluster.stop(sleeper).await;
        cluster.run(FOURTH).await;
        change(&cluster, leader, MembersChange::Learn([FOURTH].into())).await;
        cluster.catch_up(FOURTH, leader).await;
        change(&cluster, leader, MembersChange::Vote([leader, sleeper, FOURTH].into())).await;
        cluster.put(put(1, 1)).await;
        let left = cluster.remove(leaves).await;
        assert!(left.had.is_some() && left.last.is_none(), "{left:?}");
        cluster.stop(leader).await;
        cluster.stop(FOURTH).await;

        cluster.run(sleeper).await;
        cluster.run(leaves).await;
        for _ in 0..5 {
            cluster.replica(sleeper).elect().await;
            sleep(quick().election_timeout_max()).await;
            assert!(!cluster.replica(sleeper).leadership().borrow().leading, "it leads without what was committed");
        }
        // Only who has all of it leads; then the others have all of it too, and may be elected like any other.
        cluster.run(leader).await;
        let both = [leader, sleeper];
        change_in_time(&cluster, &both, MembersChange::Learn([leaves].into())).await;
        let leading = cluster.leader_among(&both).await;
        cluster.catch_up(leaves, leading).await;
        assert_eq!(cluster.replica(leaves).read(|ledger| ledger.balance(1)), 6);
        change_in_time(&cluster, &both, MembersChange::Vote([leader, sleeper, leaves].into())).await;
        cluster.stop(leader).await;
        cluster.leader_among(&[sleeper, leaves]).await;
        cluster.end().await;
    });
}
