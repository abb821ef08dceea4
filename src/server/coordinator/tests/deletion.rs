//! What an operator has deleted goes by its RMs, in order, and under the next leader too; or by force. No lock stays; and a
//! single lock goes only if nobody has a right to it.

use quorate_core::console::{LockName, Page, SessionFilter, Stuck, Unfulfilled, Wish};
use quorate_core::model::{
    BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, GroupId, NodeId, RowKey, Term, Xid, hash,
};
use quorate_core::phase_two::Patience;
use quorate_core::txn::command::{AcquireLocksV1, Operation};
use quorate_core::txn::{Command, Outcome};
use quorate_world::runtime::run_test;

use super::super::message::Way;
use super::client::Answer;
use super::cluster::Cluster;
use super::operate::ask;
use super::{ONE, THREE};

const DELETE: Wish = Wish::Change(Operation::CleanUp);
const REFUSED: Answer = Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable);
const NOT_YET: Answer = Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable);

async fn shown(cluster: &Cluster, xid: &Xid) -> (GlobalStatus, usize, Option<&'static str>) {
    let filter = SessionFilter { xid: Some(xid.to_string()), ..SessionFilter::default() };
    let page = Page::new(1, 9).expect("one");
    let rows = cluster.running[&NodeId(1)].coordinator.list_sessions(filter, page).await.rows;
    let row = rows.first().expect("it is there");
    (row.status, row.branches.len(), row.stuck().as_ref().map(Stuck::reason))
}

#[test]
fn rms_clean_up_in_reverse_order_and_a_refusal_holds_up_the_rest() {
    run_test(async {
        let mut cluster = Cluster::founded("deletion_order", &THREE, 3).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(2), "db-a,db-b,db-c,pay").await);
        cluster.announced("pay").await;
        let x = tm.begin(60_000).await;
        let mut branches = Vec::new();
        for resource in ["db-a", "db-b", "db-c"] {
            branches.push(rm.at(&x, resource, "t:1").await.expect("free"));
        }
        branches.push(rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("no locks"));
        let undecided = ask(&cluster, 3, &x, DELETE).await.expect_err("its TM may commit it");
        assert!(undecided.starts_with("the transaction is Begin: it is not decided"), "{undecided}");
        rm.will_answer(&[NOT_YET, REFUSED]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        let refused = ask(&cluster, 3, &x, DELETE).await.expect_err("its RM refuses");
        let expected =
            format!("the transaction is Deleting: branch {}: PhaseTwo_RollbackFailed_Unretryable; it is", branches[3]);
        assert!(refused.starts_with(&expected), "{refused}");
        assert_eq!(shown(&cluster, &x).await, (GlobalStatus::Deleting, 4, Some("RETRYING")));
        assert_eq!(tm.status(&x).await, GlobalStatus::RollbackFailed, "no TM takes it for anything else");
        assert!(!rm.lockable(None, "db-b", "t:1").await, "those before it have to wait");
        let again = ask(&cluster, 1, &x, Wish::Change(Operation::Start)).await.expect_err("too late");
        assert!(again.contains("being deleted"), "{again}");
        assert_eq!(ask(&cluster, 2, &x, DELETE).await, Ok(GlobalStatus::RollbackFailed), "asked again, it is done");
        let told: Vec<(Way, usize)> = rm
            .told()
            .iter()
            .map(|told| (told.way, branches.iter().position(|branch| *branch == told.branch).expect("known")))
            .collect();
        let (back, on) = (Way::Rollback, Way::Commit);
        assert_eq!(told, [(back, 3), (back, 3), (back, 3), (on, 2), (on, 1), (on, 0)]);
        cluster.at_rest().await;
        for resource in ["db-a", "db-b", "db-c"] {
            assert!(rm.lockable(None, resource, "t:1").await, "{resource}");
        }
        let ended = ask(&cluster, 2, &x, DELETE).await.expect_err("it is over");
        assert_eq!(ended, "the transaction has ended as RollbackFailed");
        cluster.end().await;
    });
}

#[test]
fn the_next_leader_goes_on_with_a_deletion() {
    run_test(async {
        let mut cluster = Cluster::founded("deletion_failover", &THREE, 1).await;
        let first = cluster.serving(GroupId(1)).await;
        let others: Vec<NodeId> = THREE.into_iter().filter(|node| *node != first).collect();
        let (tm, rm) = (cluster.tm(others[0]).await, cluster.rm(others[1], "db-a,pay").await);
        cluster.announced("pay").await;
        let x = tm.begin(60_000).await;
        rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("no locks");
        rm.will_answer(&[NOT_YET, Answer::Hold]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        let underway = ask(&cluster, first.0, &x, DELETE).await.expect_err("its RM is silent");
        assert!(underway.contains("is being asked"), "{underway}");
        cluster.net.isolate(first);
        tm.await_status(&x, GlobalStatus::RollbackFailed).await;
        let ways: Vec<Way> = rm.await_told(4).await.iter().map(|told| told.way).collect();
        assert_eq!(ways, [Way::Rollback, Way::Rollback, Way::Rollback, Way::Commit]);
        cluster.net.heal();
        cluster.at_rest().await;
        assert!(rm.lockable(None, "db-a", "t:1").await);
        cluster.end().await;
    });
}

#[test]
fn a_branch_goes_by_its_rm_or_by_force_and_takes_its_rows_along() {
    run_test(async {
        let patience = Patience { rollback_retry_ms: None, ..Patience::DEFAULT };
        let mut cluster = Cluster::patient("deletion_branch", &THREE, 3, patience).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(2), "db-a,db-b,db-c,pay").await);
        cluster.announced("pay").await;
        let x = tm.begin(60_000).await;
        let mut branches = Vec::new();
        for resource in ["db-a", "db-b", "db-c"] {
            branches.push(rm.at(&x, resource, "t:1").await.expect("free"));
        }
        let delete = |at: usize| Wish::Change(Operation::CleanUpBranch(branches[at]));
        let drop = |at: usize| Wish::Change(Operation::DropBranch(branches[at]));
        let undecided = ask(&cluster, 1, &x, drop(2)).await.expect_err("its TM may commit it");
        assert!(undecided.starts_with("the transaction is Begin: it is not decided"), "{undecided}");
        rm.will_answer(&[NOT_YET]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        // The last one is in the way of the others.
        assert_eq!(
            ask(&cluster, 2, &x, Wish::Change(Operation::Stop)).await,
            Ok(GlobalStatus::StopRollbackOrRollbackRetry)
        );
        let stopped = Ok(GlobalStatus::StopRollbackOrRollbackRetry);
        assert_eq!(ask(&cluster, 3, &x, drop(2)).await, stopped);
        assert_eq!(ask(&cluster, 1, &x, drop(2)).await, stopped, "again, nothing");
        assert_eq!(ask(&cluster, 1, &x, delete(1)).await, stopped);
        assert_eq!(rm.await_told(2).await[1].way, Way::Commit);
        // It has been asked; its answer is still to go into the log.
        while shown(&cluster, &x).await.1 > 1 {
            quorate_world::time::sleep(quorate_world::time::Duration::from_millis(5)).await;
        }
        assert_eq!(shown(&cluster, &x).await, (GlobalStatus::StopRollbackOrRollbackRetry, 1, Some("STOPPED")));
        // Both homes are elsewhere for two of the three nodes; a release may still be on its way.
        while !rm.lockable(None, "db-b", "t:1").await || !rm.lockable(None, "db-c", "t:1").await {
            quorate_world::time::sleep(quorate_world::time::Duration::from_millis(20)).await;
        }
        assert!(!rm.lockable(None, "db-a", "t:1").await, "that one stays");
        let stop = Wish::Change(Operation::StopBranch(branches[1]));
        assert!(ask(&cluster, 1, &x, stop).await.expect_err("it is gone").contains("being deleted"));
        assert_eq!(ask(&cluster, 1, &x, Wish::Change(Operation::Start)).await, Ok(GlobalStatus::RollbackRetrying));
        // Nobody is told that all of it was rolled back.
        tm.await_status(&x, GlobalStatus::RollbackFailed).await;
        assert_eq!(rm.told().len(), 3);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_dropped_branch_of_an_at_commit_ends_it_as_it_was_told() {
    run_test(async {
        let mut cluster = Cluster::founded("deletion_async", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let x = tm.begin(60_000).await;
        let branch = rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable)]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        rm.await_told(1).await;
        let refused = ask(&cluster, 1, &x, DELETE).await.expect_err("its TM was told Committed");
        assert!(refused.contains("what is left of it is asked until it is done"), "{refused}");
        ask(&cluster, 1, &x, Wish::Change(Operation::DropBranch(branch))).await.expect("its garbage is the operator's");
        tm.await_status(&x, GlobalStatus::Committed).await;
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_lock_goes_if_nobody_has_a_right_to_it() {
    run_test(async {
        let mut cluster = Cluster::founded("deletion_lock", &THREE, 3).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(2), "db-a").await);
        let slot = hash::lock_slot("db-a");
        let home = GroupId(1 + u32::from(slot.0) % 3);
        // Of two groups: the lock home has to ask.
        let away = async || loop {
            let x = tm.begin(60_000).await;
            if GroupId(1 + u32::from(x.transaction.slot().0) % 3) != home {
                break x;
            }
        };
        let (x, ended) = (away().await, away().await);
        let branch = rm.at(&x, "db-a", "t:1").await.expect("free");
        assert_eq!(tm.commit(&ended).await, GlobalStatus::Committed);
        let orphan = BranchId::mint(1 << 30, ended.transaction.slot()).expect("small");
        let late = Command::AcquireLocks(AcquireLocksV1 {
            transaction: ended.transaction,
            branch: orphan,
            fence: Fence { epoch: Epoch(1), tenure: Term(1) },
            resource: "db-a".into(),
            lock_keys: "t:2".into(),
        });
        let leader = cluster.serving(home).await;
        assert_eq!(cluster.running[&leader].groups[&home].propose(late).await, Ok(Outcome::Acquired));
        let delete = async |node: u64, transaction, branch, key: &str| {
            let row = RowKey { table: "t".into(), key: key.into() };
            let lock = LockName { transaction, branch, resource: "db-a".into(), row };
            match cluster.running[&NodeId(node)].coordinator.delete_lock(lock, "a test".to_owned()).await {
                Ok(()) => Ok(()),
                Err(Unfulfilled::Refused(reason)) => Err(reason),
                Err(other) => panic!("{other}"),
            }
        };
        let has = async |transaction, branch| {
            cluster.running[&NodeId(3)].coordinator.has_branch(transaction, branch).await.expect("it is led")
        };
        assert_eq!((has(x.transaction, branch).await, has(ended.transaction, orphan).await), (true, false));
        for node in [1, 2, 3] {
            let owed = delete(node, x.transaction, Some(branch), "1").await.expect_err("it is rightful");
            assert!(owed.starts_with(&format!("transaction {} holds it rightfully", x.transaction)), "{owed}");
        }
        let other = delete(1, x.transaction, None, "2").await.expect_err("another's");
        assert!(other.contains(&format!("is held by transaction {}", ended.transaction)), "{other}");
        let other = delete(1, ended.transaction, Some(branch), "2").await.expect_err("another branch");
        assert!(other.contains("is held through branch"), "{other}");
        assert!(!rm.lockable(None, "db-a", "t:2").await);
        assert_eq!(delete(2, ended.transaction, Some(orphan), "2").await, Ok(()));
        assert!(rm.lockable(None, "db-a", "t:2").await);
        assert_eq!(delete(2, ended.transaction, None, "2").await, Err("nobody holds row t:2 of db-a".to_owned()));
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}
