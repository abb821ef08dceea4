//! A rollback that is given up and lets its rows go: first the one, then the other, so that an operator's stop is before both
//! or after both, and whoever leads then does what is left to do.

use quorate_core::model::{BranchStatus, GlobalStatus, GroupId, NodeId, Slot, hash};
use quorate_core::phase_two::Patience;
use quorate_core::txn::Command;
use quorate_core::txn::command::GiveUpV1;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::client::Answer;
use super::cluster::{Cluster, Given, owner};
use super::{ONE, THREE};

const PATIENCE: Duration = Duration::from_secs(40);

fn unlocks(rollback_retry_ms: Option<u64>) -> Patience {
    Patience { rollback_retry_ms, unlocks: true, ..Patience::DEFAULT }
}

const FAILS: Answer = Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable);

#[test]
fn rows_are_let_go_by_nobody_who_may_still_be_stopped() {
    run_test(async {
        let mut cluster = Cluster::patient("give_up_order", &ONE, 1, unlocks(Some(700))).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let x = tm.begin(60_000).await;
        rm.at(&x, "db", "t:1").await.expect("free");
        rm.will_answer(&[FAILS; 8]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        let replica = &cluster.running[&NodeId(1)].groups[&owner(x.transaction.slot().0, 1)];
        let looked_at = timeout(PATIENCE, async {
            loop {
                let (status, locks) =
                    replica.read(|state| (state.session(x.transaction).map(|s| s.status), state.counts().row_locks));
                if locks == 0 {
                    return status;
                }
                task::yield_now().await;
            }
        });
        let status = looked_at.await.expect("its rows are let go");
        assert_eq!(status, Some(GlobalStatus::RollbackRetryTimeout));
        cluster.end().await;
    });
}

#[test]
fn a_new_leader_lets_go_what_the_one_before_did_not() {
    run_test(async {
        let mut cluster = Cluster::patient("give_up_leader", &THREE, 3, unlocks(None)).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let x = tm.begin(60_000).await;
        rm.at(&x, "db", "t:1").await.expect("free");
        rm.will_answer(&[FAILS; 64]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        // As of a leader that was lost right after it had given up.
        let group = owner(x.transaction.slot().0, 3);
        let leader = cluster.serving(group).await;
        let give_up = Command::GiveUp(GiveUpV1 { transaction: x.transaction, after_ms: 0 });
        cluster.running[&leader].groups[&group].propose(give_up).await.expect("it leads");
        assert_eq!(tm.status(&x).await, GlobalStatus::RollbackRetryTimeout);
        assert!(!rm.lockable(None, "db", "t:1").await, "nobody knows of it");
        cluster.net.isolate(leader);
        while cluster.serving(group).await == leader {
            sleep(Duration::from_millis(5)).await;
        }
        cluster.net.heal();
        let lets_go = timeout(PATIENCE, async {
            while !rm.lockable(None, "db", "t:1").await {
                sleep(Duration::from_millis(20)).await;
            }
        });
        lets_go.await.expect("its rows are free");
        cluster.end().await;
    });
}

/// The group that a node carries, where each carries one of three.
fn carried_by(cluster: &Cluster, node: NodeId) -> GroupId {
    *cluster.running[&node].groups.keys().next().expect("each carries one")
}

/// A resource whose rows are locked in that group, in no lower slot.
fn resource_at(home: GroupId, least: Slot) -> String {
    let resources = (0..1_000).map(|number| format!("db-{number}"));
    let mut there = resources.filter(|resource| {
        let slot = hash::lock_slot(resource);
        owner(slot.0, 3) == home && slot >= least
    });
    there.next().expect("a resource with that home")
}

/// Rows in two lock homes, one of which is away, of rollbacks that the leader before had given up.
#[test]
fn a_lock_home_that_is_away_holds_up_no_rows_but_its_own() {
    run_test(async {
        let given = Given { patience: unlocks(None), replicas: 1, ..Given::default() };
        let mut cluster = Cluster::given("give_up_homes", &THREE, 3, given).await;
        let (leader, away) = (NodeId(1), NodeId(2));
        let [group, away_group, third] = [leader, away, NodeId(3)].map(|node| carried_by(&cluster, node));
        // The one that is away comes first.
        let dead = resource_at(away_group, Slot(0));
        let alive = resource_at(third, hash::lock_slot(&dead));
        let (tm, rm) = (cluster.tm(leader).await, cluster.rm(leader, &format!("{dead},{alive}")).await);
        let mut begun = Vec::new();
        rm.will_answer(&[FAILS; 1_000]);
        for rows in ["t:1", "t:2"] {
            let x = tm.begin(60_000).await;
            assert_eq!(owner(x.transaction.slot().0, 3), group);
            rm.at(&x, &dead, rows).await.expect("free");
            rm.at(&x, &alive, rows).await.expect("free");
            assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
            begun.push(x);
        }
        let replica = cluster.running[&leader].groups[&group].clone();
        for x in &begun {
            let give_up = Command::GiveUp(GiveUpV1 { transaction: x.transaction, after_ms: 0 });
            replica.propose(give_up).await.expect("it leads");
        }
        cluster.net.isolate(away);
        let coordinator = cluster.running[&leader].coordinator.clone();
        coordinator.detach(group);
        coordinator.attach(group, replica);
        let lets_go = timeout(PATIENCE, async {
            while !rm.lockable(None, &alive, "t:1,2").await {
                sleep(Duration::from_millis(20)).await;
            }
        });
        lets_go.await.expect("what the others have is let go");
        cluster.net.heal();
        let lets_go = timeout(PATIENCE, async {
            while !rm.lockable(None, &dead, "t:1,2").await {
                sleep(Duration::from_millis(20)).await;
            }
        });
        lets_go.await.expect("and the rest when its home is back");
        cluster.end().await;
    });
}

/// Only the leader knows that a branch is undone: it lets the rows go before it says that another one has failed for good,
/// after which nobody would.
#[test]
fn what_was_undone_is_let_go_before_the_rest_has_failed() {
    run_test(async {
        let given = Given { replicas: 1, ..Given::default() };
        let mut cluster = Cluster::given("fail_homes", &THREE, 3, given).await;
        let (leader, away) = (NodeId(1), NodeId(2));
        let [refused, undone] = [leader, away].map(|node| resource_at(carried_by(&cluster, node), Slot(0)));
        let (tm, rm) = (cluster.tm(leader).await, cluster.rm(leader, &format!("{refused},{undone}")).await);
        let x = tm.begin(60_000).await;
        rm.at(&x, &refused, "t:1").await.expect("free");
        rm.at(&x, &undone, "t:1").await.expect("free");
        let refuses = Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable);
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_Rollbacked), refuses]);
        cluster.net.isolate(away);
        let answer = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.rollback(&x).await }
        });
        assert_eq!(rm.await_told(2).await.len(), 2);
        // Longer than a lock home is waited for before anything else goes on.
        let failed = timeout(Duration::from_secs(3), tm.await_status(&x, GlobalStatus::RollbackFailed));
        assert!(failed.await.is_err(), "nobody would let the rows of {undone} go");
        cluster.net.heal();
        assert_eq!(answer.await.expect("no panic"), GlobalStatus::RollbackFailed);
        assert!(rm.lockable(None, &undone, "t:1").await && !rm.lockable(None, &refused, "t:1").await);
        cluster.end().await;
    });
}
