//! XA: no row locks, commit and rollback inside the request, branches that only read, a database that has not heard of
//! its branch (yet, or any more). And the annotated Saga, which has a compensation and nothing to commit.

use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, NodeId, Xid};
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, Instant, sleep};

use super::super::message::Way;
use super::ONE;
use super::client::{Answer, Client};
use super::cluster::Cluster;

async fn branch(rm: &Client, xid: &Xid, kind: BranchType) -> BranchId {
    rm.branch(xid, kind, "db", "t:1", "").await.expect("locks nothing")
}

fn told(rm: &Client, from: usize) -> Vec<(Way, BranchId)> {
    rm.told()[from..].iter().map(|told| (told.way, told.branch)).collect()
}

#[test]
fn in_order_and_in_reverse_without_row_locks() {
    run_test(async {
        let mut cluster = Cluster::founded("xa_order", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        let (x1, y1, x2, y2) = (
            branch(&rm, &x, BranchType::XA).await,
            branch(&rm, &y, BranchType::XA).await,
            branch(&rm, &x, BranchType::XA).await,
            branch(&rm, &y, BranchType::XA).await,
        );
        assert!(rm.lockable(None, "db", "t:1").await);
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        assert_eq!(told(&rm, 0), [(Way::Commit, x1), (Way::Commit, x2)]);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::Rollbacked);
        assert_eq!(told(&rm, 2), [(Way::Rollback, y2), (Way::Rollback, y1)]);
        let late = rm.branch(&x, BranchType::XA, "db", "", "").await;
        assert_eq!(late, Err(ExceptionCode::GlobalTransactionNotExist));
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Protobuf has no XA: a channel that speaks it cannot be told, and must not be tried without a pause.
#[test]
fn a_channel_that_cannot_be_told_is_tried_with_pauses() {
    run_test(async {
        let mut cluster = Cluster::founded("xa_protobuf", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let x = tm.begin(60_000).await;
        let only = branch(&rm, &x, BranchType::XA).await;
        rm.speak(2, "shop", "db").await;
        let began = Instant::now();
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        while rm.tried() < 3 {
            assert_eq!(tm.status(&x).await, GlobalStatus::CommitRetrying);
            sleep(Duration::from_millis(20)).await;
        }
        // Half a second and a second, each shortened by a half at most.
        assert!(began.elapsed() >= Duration::from_millis(750), "three times in {:?}", began.elapsed());
        rm.speak(1, "shop", "db").await;
        rm.await_told(1).await;
        assert_eq!(told(&rm, 0), [(Way::Commit, only)]);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn what_only_read_and_what_failed_is_told_nothing() {
    run_test(async {
        let mut cluster = Cluster::founded("xa_rdonly", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        for commit in [true, false] {
            let x = tm.begin(60_000).await;
            let read = branch(&rm, &x, BranchType::XA).await;
            let wrote = branch(&rm, &x, BranchType::XA).await;
            let failed = branch(&rm, &x, BranchType::XA).await;
            rm.report(&x, read, BranchStatus::PhaseOne_RDONLY).await.expect("known");
            rm.report(&x, failed, BranchStatus::PhaseOne_Failed).await.expect("known");
            let before = rm.told().len();
            if commit {
                assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
                assert_eq!(told(&rm, before), [(Way::Commit, wrote)]);
            } else {
                assert_eq!(tm.rollback(&x).await, GlobalStatus::Rollbacked);
                assert_eq!(told(&rm, before), [(Way::Rollback, wrote)]);
            }
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn an_unknown_branch_is_asked_again_and_a_refusal_is_final() {
    run_test(async {
        let mut cluster = Cluster::founded("xa_nota", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let x = tm.begin(60_000).await;
        branch(&rm, &x, BranchType::XA).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_XAER_NOTA_Retryable)]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        tm.await_status(&x, GlobalStatus::Committed).await;
        assert_eq!(rm.told().len(), 2);
        let y = tm.begin(60_000).await;
        branch(&rm, &y, BranchType::XA).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_XAER_NOTA_Retryable)]);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::RollbackRetrying);
        tm.await_status(&y, GlobalStatus::Rollbacked).await;
        let z = tm.begin(60_000).await;
        branch(&rm, &z, BranchType::XA).await;
        let refused = branch(&rm, &z, BranchType::XA).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable)]);
        assert_eq!(tm.rollback(&z).await, GlobalStatus::RollbackFailed);
        assert_eq!(told(&rm, 4), [(Way::Rollback, refused)], "the one before it is not asked");
        cluster.end().await;
    });
}

#[test]
fn an_annotated_saga_is_compensated_and_never_confirmed() {
    run_test(async {
        let mut cluster = Cluster::founded("saga_annotation", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let x = tm.begin(60_000).await;
        branch(&rm, &x, BranchType::SAGA_ANNOTATION).await;
        let confirmed = branch(&rm, &x, BranchType::TCC).await;
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        assert_eq!(told(&rm, 0), [(Way::Commit, confirmed)]);
        let y = tm.begin(60_000).await;
        let first = branch(&rm, &y, BranchType::SAGA_ANNOTATION).await;
        let second = branch(&rm, &y, BranchType::SAGA_ANNOTATION).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable)]);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::RollbackRetrying);
        tm.await_status(&y, GlobalStatus::Rollbacked).await;
        assert_eq!(told(&rm, 1), [(Way::Rollback, second), (Way::Rollback, second), (Way::Rollback, first)]);
        cluster.at_rest().await;
        cluster.end().await;
    });
}
