//! What an operator does, through any node: it happens once, at the leader, and is refused in words.

use quorate_core::console::{LockFilter, Page, Unfulfilled, Wish};
use quorate_core::model::{BranchStatus, BranchType, ExceptionCode, GlobalStatus, NodeId, Xid};
use quorate_core::txn::command::Operation;
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep, timeout};

use super::client::Answer;
use super::cluster::Cluster;
use super::{ONE, THREE};

const STOP: Wish = Wish::Change(Operation::Stop);
const START: Wish = Wish::Change(Operation::Start);
const REOPEN: Wish = Wish::Change(Operation::Reopen);
/// As nodes of before ask for it.
const DELETE: Wish = Wish::Change(Operation::Delete);
const FORCE: Wish = Wish::Change(Operation::ForceDelete);

pub(super) async fn ask(cluster: &Cluster, node: u64, xid: &Xid, wish: Wish) -> Result<GlobalStatus, String> {
    let coordinator = &cluster.running[&NodeId(node)].coordinator;
    match coordinator.operate(xid.transaction, wish, "a test".to_owned()).await {
        Ok(status) => Ok(status),
        Err(Unfulfilled::Refused(reason) | Unfulfilled::Underway(reason)) => Err(reason),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn phase_two_stands_still_and_goes_on_from_any_node() {
    run_test(async {
        let mut cluster = Cluster::founded("operate_stop", &THREE, 3).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(2), "pay").await);
        cluster.announced("pay").await;
        for (stops, starts) in [(1, 2), (2, 3), (3, 1)] {
            let x = tm.begin(60_000).await;
            rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("no locks");
            let undecided = ask(&cluster, stops, &x, STOP).await.expect_err("nothing to stop");
            assert!(undecided.starts_with("the transaction is Begin: it is not decided"), "{undecided}");
            rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable)]);
            assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
            assert_eq!(ask(&cluster, stops, &x, STOP).await, Ok(GlobalStatus::StopCommitOrCommitRetry));
            let told = rm.told().len();
            // Longer than the first pause of phase two would be.
            sleep(Duration::from_millis(700)).await;
            assert_eq!(rm.told().len(), told, "it stands still");
            assert_eq!(tm.status(&x).await, GlobalStatus::CommitRetrying, "old clients know no other word");
            assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
            let stopped = ask(&cluster, starts, &x, Wish::RetryNow).await.expect_err("it is stopped");
            assert!(stopped.contains("start it first"), "{stopped}");
            assert_eq!(ask(&cluster, starts, &x, START).await, Ok(GlobalStatus::CommitRetrying));
            tm.await_status(&x, GlobalStatus::Committed).await;
            let ended = ask(&cluster, starts, &x, START).await.expect_err("it has ended");
            assert_eq!(ended, "the transaction has ended as Committed");
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_single_branch_stands_still_and_goes_on() {
    run_test(async {
        let mut cluster = Cluster::founded("operate_branch", &THREE, 3).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(2), "pay").await);
        cluster.announced("pay").await;
        let x = tm.begin(60_000).await;
        let branch = rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("no locks");
        let stop = Wish::Change(Operation::StopBranch(branch));
        let start = Wish::Change(Operation::StartBranch(branch));
        let undecided = ask(&cluster, 1, &x, stop).await.expect_err("nothing to stop");
        assert!(undecided.starts_with("the transaction is Begin: it is not decided"), "{undecided}");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable)]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        let started = ask(&cluster, 2, &x, start).await.expect_err("it is not stopped");
        assert_eq!(started, "the branch is Registered, which does not allow it");
        assert_eq!(ask(&cluster, 2, &x, stop).await, Ok(GlobalStatus::CommitRetrying));
        let told = rm.told().len();
        // Longer than the first pause of phase two would be.
        sleep(Duration::from_millis(700)).await;
        assert_eq!(rm.told().len(), told, "it stands still");
        let other = Wish::Change(Operation::StopBranch(quorate_core::model::BranchId(branch.0 + 4096)));
        let unknown = ask(&cluster, 3, &x, other).await.expect_err("no branch");
        assert!(unknown.starts_with("the transaction has no such branch"), "{unknown}");
        assert_eq!(ask(&cluster, 3, &x, start).await, Ok(GlobalStatus::CommitRetrying));
        tm.await_status(&x, GlobalStatus::Committed).await;
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_retry_wakes_what_rests() {
    run_test(async {
        let mut cluster = Cluster::founded("operate_retry", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        let x = tm.begin(60_000).await;
        rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("no locks");
        let fails = Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable);
        rm.will_answer(&[fails; 12]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        let woken = timeout(Duration::from_secs(60), async {
            for attempt in 2..=12 {
                assert_eq!(ask(&cluster, 1, &x, Wish::RetryNow).await, Ok(GlobalStatus::CommitRetrying));
                // The driver may not have heard of the answer yet, and wants to rest when it does.
                rm.await_told(attempt).await;
            }
            ask(&cluster, 1, &x, Wish::RetryNow).await.expect("it runs");
            tm.await_status(&x, GlobalStatus::Committed).await;
        });
        // By itself it would rest for half of 0.5, 1, 2, 4, 8, 16, 30, .. seconds at least, 90 in all.
        woken.await.expect("somebody wakes it");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn what_failed_is_tried_again_and_keeps_its_locks_until_then() {
    run_test(async {
        let mut cluster = Cluster::founded("operate_reopen", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let x = tm.begin(60_000).await;
        rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable)]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackFailed);
        let refused = ask(&cluster, 1, &x, DELETE).await.expect_err("its rows are locked");
        assert_eq!(refused, "its row locks stay until it is undone; a force-delete lets them go");
        for (wish, words) in [(STOP, "reopen it"), (Wish::RetryNow, "reopen it"), (START, "it is not stopped")] {
            let refused = ask(&cluster, 1, &x, wish).await.expect_err("it has failed");
            assert!(refused.contains(words), "{refused}");
        }
        assert!(!rm.lockable(None, "db-a", "t:1").await);
        assert_eq!(ask(&cluster, 1, &x, REOPEN).await, Ok(GlobalStatus::RollbackRetrying));
        tm.await_status(&x, GlobalStatus::Rollbacked).await;
        assert!(rm.lockable(None, "db-a", "t:1").await);
        let never = Xid { address: "a:1".into(), transaction: quorate_core::model::TransactionId(4097) };
        let unknown = ask(&cluster, 1, &never, FORCE).await.expect_err("it never was");
        assert!(unknown.starts_with("no such transaction"), "{unknown}");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_force_delete_frees_the_rows_wherever_they_are_kept() {
    run_test(async {
        let mut cluster = Cluster::founded("operate_force", &THREE, 3).await;
        let rm = cluster.rm(NodeId(1), "db-a,db-b,db-c").await;
        let tm = cluster.tm(NodeId(2)).await;
        // Undecided, and on its way: no RM is told of either.
        let x = tm.begin(60_000).await;
        let y = tm.begin(60_000).await;
        for resource in ["db-a", "db-b", "db-c"] {
            rm.at(&x, resource, "t:1").await.expect("free");
            rm.at(&y, resource, "t:2").await.expect("free");
        }
        rm.will_answer(&[Answer::Hold]);
        let rolling = quorate_world::task::spawn({
            let (tm, y) = (tm.clone(), y.clone());
            async move { tm.rollback(&y).await }
        });
        rm.await_told(1).await;
        assert_eq!(ask(&cluster, 3, &x, FORCE).await, Ok(GlobalStatus::RollbackFailed));
        assert_eq!(ask(&cluster, 3, &y, FORCE).await, Ok(GlobalStatus::RollbackFailed));
        assert_eq!(rolling.await, Ok(GlobalStatus::RollbackFailed), "whoever waits is answered");
        cluster.at_rest().await;
        assert_eq!(rm.told().len(), 1);
        assert_eq!(tm.commit(&x).await, GlobalStatus::TimeoutRollbackFailed, "no TM takes it for committed");
        assert_eq!(rm.at(&x, "db-a", "t:3").await, Err(ExceptionCode::GlobalTransactionNotExist));
        let locks =
            cluster.running[&NodeId(1)].coordinator.list_locks(LockFilter::default(), Page::new(1, 9).expect("one"));
        assert_eq!(locks.await.total, 0);
        cluster.end().await;
    });
}
