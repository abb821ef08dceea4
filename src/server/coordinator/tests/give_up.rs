//! A rollback that is given up and lets its rows go: first the one, then the other, so that an operator's stop is before both
//! or after both, and whoever leads then does what is left to do.

use quorate_core::model::{BranchStatus, GlobalStatus, NodeId};
use quorate_core::phase_two::Patience;
use quorate_core::txn::Command;
use quorate_core::txn::command::GiveUpV1;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::client::Answer;
use super::cluster::{Cluster, owner};
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
