//! Commands become entries, and each caller gets the outcome of its own.

use quorate_world::runtime::run_test;
use quorate_world::task;

use super::NODES;
use super::cluster::{Cluster, quick};
use super::ledger::{Balance, put};
use crate::options::RaftOptions;
use crate::replica::ProposeError;
use crate::{Members, Role};

#[test]
fn a_group_elects_a_leader_and_applies_alike() {
    run_test(async {
        let mut cluster = Cluster::founded("a_group_elects_a_leader_and_applies_alike", &NODES, quick()).await;
        let leader = cluster.replica(cluster.leader().await);
        for amount in 1..=10 {
            let balance = leader.propose(put(1, amount)).await.expect("applied");
            assert_eq!(balance.after - balance.before, amount);
        }
        let state = cluster.converge().await;
        assert_eq!((state.balance(1), state.puts), (55, 10));
        let health = leader.health();
        assert_eq!(health.role, Role::Leader);
        assert_eq!(health.members, Members { voters: NODES.into(), ..Members::default() });
        assert_eq!(health.others.len(), 2);
        assert!(health.quorum_silent_for.is_some());
        cluster.end().await;
    });
}

#[test]
fn callers_at_the_same_time_share_entries() {
    const CALLERS: u64 = 2_000;
    run_test(async {
        let mut cluster = Cluster::founded("callers_at_the_same_time_share_entries", &NODES, quick()).await;
        cluster.net.slow_and_lossy(2_000, 0);
        let leader = cluster.replica(cluster.leader().await);
        let before = leader.health().last_log_index.expect("a leader has a log");
        let pending: Vec<_> = (0..CALLERS).map(|_| leader.submit(put(9, 1)).expect("room")).collect();
        for (caller, balance) in (0..CALLERS).zip(pending) {
            // One queue, one order: the caller that came first was served first.
            assert_eq!(balance.await.expect("applied"), Balance { before: caller, after: caller + 1 });
        }
        let entries = leader.health().last_log_index.expect("a log") - before;
        assert!(entries <= CALLERS / 50, "{entries} entries for {CALLERS} commands");
        let state = cluster.converge().await;
        assert_eq!((state.balance(9), state.puts, state.batches), (CALLERS, CALLERS, entries));
        cluster.end().await;
    });
}

#[test]
fn a_batch_keeps_within_its_bounds() {
    run_test(async {
        let options = RaftOptions { batch_commands_max: 4, batch_bytes_max: 1_000, ..quick() };
        let mut cluster = Cluster::founded("a_batch_keeps_within_its_bounds", &NODES, options).await;
        let leader = cluster.replica(cluster.leader().await);
        let pending: Vec<_> = (0..40).map(|_| leader.submit(put(1, 1)).expect("room")).collect();
        for outcome in pending {
            outcome.await.expect("applied");
        }
        assert!(leader.read(|ledger| ledger.batches) >= 10);
        // 600 bytes twice are more than 1,000: each goes alone. A single one of 5,000 goes too.
        let batches = leader.read(|ledger| ledger.batches);
        let mut large = put(1, 1);
        large.note = "n".repeat(600);
        let mut huge = put(1, 1);
        huge.note = "n".repeat(5_000);
        let pending: Vec<_> = [large.clone(), large, huge].map(|put| leader.submit(put).expect("room")).into();
        for outcome in pending {
            outcome.await.expect("applied");
        }
        assert_eq!(leader.read(|ledger| ledger.batches), batches + 3);
        cluster.end().await;
    });
}

/// The log of these tests has small files, and an entry takes a quarter of one at most.
#[test]
fn what_no_entry_can_hold_is_refused_and_nothing_else() {
    run_test(async {
        let name = "what_no_entry_can_hold_is_refused_and_nothing_else";
        let mut cluster = Cluster::founded(name, &NODES, quick()).await;
        let leader = cluster.replica(cluster.leader().await);
        let mut oversize = put(1, 1);
        oversize.note = "n".repeat(300_000);
        assert_eq!(leader.propose(oversize).await, Err(ProposeError::TooLarge));
        let mut largest = put(1, 1);
        largest.note = "n".repeat(250_000);
        let pending: Vec<_> = (0..20).map(|_| leader.submit(largest.clone()).expect("room")).collect();
        for outcome in pending {
            outcome.await.expect("applied");
        }
        cluster.end().await;
    });
}

#[test]
fn the_queue_has_a_bound() {
    run_test(async {
        let options = RaftOptions { proposals_waiting_max: 8, proposals_waiting_bytes_max: 10_000, ..quick() };
        let mut cluster = Cluster::founded("the_queue_has_a_bound", &NODES[..1], options).await;
        let leader = cluster.replica(NODES[0]);
        // Nothing is taken from the queue before this task waits, at least in one thread of the two.
        let submitted: Vec<_> = (0..2_000).map(|_| leader.submit(put(1, 1))).collect();
        let full = submitted.iter().filter(|submitted| matches!(submitted, Err(ProposeError::Full))).count();
        assert!(full > 0, "a bounded queue refuses");
        let mut applied = 0;
        for pending in submitted.into_iter().flatten() {
            pending.await.expect("what was taken is applied");
            applied += 1;
        }
        assert_eq!(leader.read(|ledger| ledger.puts), applied);
        let mut heavy = put(1, 1);
        heavy.note = "n".repeat(20_000);
        leader.propose(heavy).await.expect("one command always fits into an empty queue");
        cluster.end().await;
    });
}

#[test]
fn only_the_leader_takes_commands() {
    run_test(async {
        let mut cluster = Cluster::founded("only_the_leader_takes_commands", &NODES, quick()).await;
        let leader = cluster.leader().await;
        for node in NODES.into_iter().filter(|node| *node != leader) {
            let refused = cluster.replica(node).propose(put(1, 1)).await;
            assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(leader) }));
        }
        cluster.end().await;
    });
}

#[test]
fn the_group_clock_runs_with_the_leader() {
    run_test(async {
        let mut cluster = Cluster::founded("the_group_clock_runs_with_the_leader", &NODES, quick()).await;
        let first = cluster.leader().await;
        cluster.put(put(1, 1)).await;
        let (term, before) = cluster.replica(first).clock_ms().expect("it leads");
        cluster.stop(first).await;
        cluster.put(put(1, 1)).await;
        let second = cluster.leader().await;
        let (later_term, after) = cluster.replica(second).clock_ms().expect("it leads");
        assert!(later_term > term);
        // It went on from the applied clock, which is at most what the first one had reached when it stopped.
        assert!(after >= cluster.replica(second).read(|ledger| ledger.clock_ms));
        assert!(after < before + 60_000);
        for node in cluster.nodes().into_iter().filter(|node| *node != second) {
            assert_eq!(cluster.replica(node).clock_ms(), None);
        }
        cluster.end().await;
    });
}

#[test]
fn a_stopped_replica_says_so() {
    run_test(async {
        let mut cluster = Cluster::founded("a_stopped_replica_says_so", &NODES[..1], quick()).await;
        let replica = cluster.replica(NODES[0]);
        let asking = task::spawn({
            let replica = replica.clone();
            async move { while replica.propose(put(1, 1)).await.is_ok() {} }
        });
        cluster.stop(NODES[0]).await;
        asking.await.expect("it ends");
        assert!(replica.propose(put(1, 1)).await.is_err());
        assert!(replica.confirm().await.is_err());
        cluster.end().await;
    });
}
