//! AT: row locks, asynchronous commit, rollback in reverse, on one node and over three.

use quorate_core::model::{BranchStatus, BranchType, ExceptionCode, GlobalStatus, NodeId, Xid, hash};
use quorate_core::wire::Message;
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep, timeout};

use super::super::message::Way;
use super::super::turns;
use super::client::{Answer, Told};
use super::cluster::{Cluster, Given};
use super::{ONE, THREE};

const DATA_NO_AUTO_COMMIT: &str = r#"{"autoCommit":false}"#;

#[test]
fn an_empty_transaction_ends_with_its_decision() {
    run_test(async {
        let mut cluster = Cluster::founded("empty", &ONE, 2).await;
        let tm = cluster.tm(NodeId(1)).await;
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        assert_ne!(x.transaction.slot().0 % 2, y.transaction.slot().0 % 2, "groups take turns");
        assert_eq!(tm.status(&x).await, GlobalStatus::Begin);
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::Rollbacked);
        // Decided before: the same answers, and none that a contrary question could take for success.
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::Committed);
        assert_eq!(tm.commit(&y).await, GlobalStatus::TimeoutRollbacked);
        assert_eq!(tm.status(&y).await, GlobalStatus::Rollbacked);
        let nobody = quorate_core::model::Xid { address: "h:1".into(), transaction: x.transaction };
        assert_eq!(tm.status(&nobody).await, GlobalStatus::Committed, "only the number routes");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Whoever is refused is told by whom, by the name that everybody knows it by, and since when. Also where the node of the
/// refused one has no replica of the holder's group.
#[test]
fn a_conflict_names_its_holder() {
    run_test(async {
        let apart = Given { replicas: 1, ..Given::default() };
        for (name, nodes, given) in [("names_one", &ONE[..], Given::default()), ("names_three", &THREE, apart)] {
            let mut cluster = Cluster::given(name, nodes, 3, given).await;
            let (first, last) = (nodes[0], nodes[nodes.len() - 1]);
            let (here, there) = (cluster.tm(first).await, cluster.tm(last).await);
            let rm = cluster.rm(first, "db-a").await;
            let group = |xid: &Xid| xid.transaction.slot().0 % 3;
            let x = here.begin(60_000).await;
            let y = loop {
                let y = there.begin(60_000).await;
                if group(&y) != group(&x) {
                    break y;
                }
            };
            rm.at(&x, "db-a", "t:1").await.expect("free");
            for at_least_ms in [0, 1_000] {
                sleep(Duration::from_millis(at_least_ms)).await;
                let register = Message::BranchRegister {
                    xid: y.to_string(),
                    branch_type: BranchType::AT,
                    resource_id: "db-a".to_owned(),
                    lock_keys: "t:1".to_owned(),
                    application_data: String::new(),
                };
                let Some(Message::BranchRegisterResult { result, .. }) = rm.ask(register).await else {
                    panic!("no answer")
                };
                assert_eq!(result.exception, ExceptionCode::LockKeyConflict);
                let told = format!("row t:1 is locked by global transaction {x} for ");
                let held_ms = result.message.split_once(&told).and_then(|(_, rest)| rest.strip_suffix(" ms]"));
                let held_ms: u64 = held_ms.and_then(|ms| ms.parse().ok()).expect(&result.message);
                // Nothing else happens in the group that would move its clock.
                assert!(held_ms >= at_least_ms && held_ms < at_least_ms + 20_000, "{held_ms}");
            }
            cluster.end().await;
        }
    });
}

#[test]
fn a_commit_frees_the_rows_before_it_is_answered() {
    run_test(async {
        let mut cluster = Cluster::founded("commit_frees", &ONE, 3).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a,db-b,db-c").await);
        // Every combination of the transaction's group and the lock home's.
        for _ in 0..3 {
            for resource in ["db-a", "db-b", "db-c"] {
                rm.will_answer(&[Answer::Hold]);
                let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
                let before = rm.told().len();
                let branch = rm.at(&x, resource, "t:1,2").await.expect("free rows");
                assert_eq!(rm.at(&y, resource, "t:2").await, Err(ExceptionCode::LockKeyConflict));
                assert!(rm.lockable(Some(&x), resource, "t:1,2,3").await);
                assert!(!rm.lockable(Some(&y), resource, "t:1").await);
                assert!(!rm.lockable(None, resource, "t:2").await);
                assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
                assert!(rm.lockable(None, resource, "t:1,2").await);
                rm.at(&y, resource, "t:2").await.expect("free again");
                let told = rm.await_told(before + 1).await;
                assert_eq!(told[before..], [Told { way: Way::Commit, transaction: x.transaction, branch }]);
                assert_eq!(tm.status(&x).await, GlobalStatus::AsyncCommitting);
                rm.reply(BranchStatus::PhaseTwo_Committed);
                assert_eq!(tm.rollback(&y).await, GlobalStatus::Rollbacked);
                assert_eq!(rm.told().len(), before + 2, "the refused branch is not asked");
                tm.await_status(&x, GlobalStatus::Committed).await;
            }
        }
        let homes = ["db-a", "db-b", "db-c"].map(|resource| hash::lock_slot(resource).0 % 3);
        assert!(homes.iter().any(|home| *home != homes[0]), "one home only: {homes:?}");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_rollback_goes_backwards_and_frees_row_by_row() {
    run_test(async {
        let mut cluster = Cluster::founded("rollback_backwards", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a,db-b").await);
        let x = tm.begin(60_000).await;
        let b1 = rm.at(&x, "db-a", "t:1").await.expect("free");
        let failed = rm.at(&x, "db-a", "t:2").await.expect("free");
        let b3 = rm.at(&x, "db-b", "t:1").await.expect("free");
        assert_eq!(rm.report(&x, failed, BranchStatus::PhaseOne_Failed).await, Ok(()));
        rm.will_answer(&[
            Answer::Status(BranchStatus::PhaseTwo_Rollbacked),
            Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable),
            Answer::Hold,
        ]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        assert!(rm.lockable(None, "db-b", "t:1").await, "undone");
        assert!(rm.lockable(None, "db-a", "t:2").await, "nothing to undo");
        assert!(!rm.lockable(None, "db-a", "t:1").await);
        let told = rm.await_told(3).await;
        let way = Way::Rollback;
        let to = |branch| Told { way, transaction: x.transaction, branch };
        assert_eq!(told, [to(b3), to(b1), to(b1)]);
        // Whoever meets a row of a transaction that rolls back, with a local transaction open, must not wait.
        let y = tm.begin(60_000).await;
        let refused = rm.branch(&y, BranchType::AT, "db-a", "t:1", DATA_NO_AUTO_COMMIT).await;
        assert_eq!(refused, Err(ExceptionCode::LockKeyConflictFailFast));
        assert_eq!(rm.at(&y, "db-a", "t:1").await, Err(ExceptionCode::LockKeyConflict));
        assert_eq!(rm.at(&x, "db-a", "t:9").await, Err(ExceptionCode::GlobalTransactionNotActive));
        rm.reply(BranchStatus::PhaseTwo_Rollbacked);
        tm.await_status(&x, GlobalStatus::Rollbacked).await;
        assert!(rm.lockable(None, "db-a", "t:1").await);
        assert_eq!(rm.at(&x, "db-a", "t:9").await, Err(ExceptionCode::GlobalTransactionNotExist));
        assert_eq!(rm.report(&x, b1, BranchStatus::PhaseOne_Done).await, Err(ExceptionCode::GlobalTransactionNotExist));
        assert_eq!(tm.commit(&y).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_time_out_rolls_back() {
    run_test(async {
        let mut cluster = Cluster::founded("time_out", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let long = tm.begin(60_000).await;
        let x = tm.begin(300).await;
        let empty = tm.begin(0).await;
        rm.at(&x, "db-a", "t:1").await.expect("free");
        tm.await_status(&empty, GlobalStatus::TimeoutRollbacked).await;
        rm.will_answer(&[Answer::Hold]);
        assert_eq!(rm.await_told(1).await[0].way, Way::Rollback);
        assert_eq!(tm.status(&x).await, GlobalStatus::TimeoutRollbacking);
        assert_eq!(tm.commit(&x).await, GlobalStatus::TimeoutRollbacking);
        rm.reply(BranchStatus::PhaseTwo_Rollbacked);
        tm.await_status(&x, GlobalStatus::TimeoutRollbacked).await;
        assert_eq!(tm.status(&long).await, GlobalStatus::Begin);
        assert_eq!(tm.commit(&long).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_dirty_row_is_for_the_operator() {
    run_test(async {
        let mut cluster = Cluster::founded("dirty", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let x = tm.begin(60_000).await;
        rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.at(&x, "db-a", "t:2").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable)]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackFailed);
        assert_eq!(tm.status(&x).await, GlobalStatus::RollbackFailed);
        assert_eq!(tm.commit(&x).await, GlobalStatus::TimeoutRollbackFailed);
        assert!(!rm.lockable(None, "db-a", "t:1").await && !rm.lockable(None, "db-a", "t:2").await);
        sleep(Duration::from_millis(300)).await;
        assert_eq!(rm.told().len(), 1, "nothing is asked again");
        cluster.end().await;
    });
}

#[test]
fn an_absent_rm_is_met_at_its_return() {
    run_test(async {
        let mut cluster = Cluster::founded("absent", &ONE, 1).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.at(&y, "db-a", "t:2").await.expect("free");
        rm.hang_up();
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::RollbackRetrying);
        assert_eq!(tm.status(&x).await, GlobalStatus::AsyncCommitting);
        let back = cluster.rm(NodeId(1), "db-a").await;
        back.await_told(2).await;
        tm.await_status(&x, GlobalStatus::Committed).await;
        tm.await_status(&y, GlobalStatus::Rollbacked).await;
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_hung_rm_delays_nobody_else() {
    run_test(async {
        let mut cluster = Cluster::founded("hung", &ONE, 1).await;
        let (tm, hung) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let rm = cluster.rm(NodeId(1), "db-b").await;
        hung.will_answer(&[Answer::Hold; turns::RESOURCE_MIN]);
        let mut stuck = Vec::new();
        for row in 0..20 {
            let x = tm.begin(60_000).await;
            hung.at(&x, "db-a", &format!("t:{row}")).await.expect("free");
            assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
            stuck.push(x);
        }
        hung.await_told(turns::RESOURCE_MIN).await;
        let x = tm.begin(60_000).await;
        rm.at(&x, "db-b", "t:1").await.expect("free");
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        let ended = timeout(Duration::from_secs(3), tm.await_status(&x, GlobalStatus::Committed));
        ended.await.expect("long before the hung one times out");
        assert_eq!(hung.told().len(), turns::RESOURCE_MIN, "one that has answered nothing is not asked more");
        (0..turns::RESOURCE_MIN).for_each(|_| hung.reply(BranchStatus::PhaseTwo_Committed));
        cluster.at_rest().await;
        assert_eq!(hung.told().len(), 20);
        cluster.end().await;
    });
}

#[test]
fn any_node_serves_and_reaches_every_rm() {
    run_test(async {
        let mut cluster = Cluster::founded("any_node", &THREE, 3).await;
        let rm = cluster.rm(NodeId(2), "db-a,db-b").await;
        cluster.announced("db-a").await;
        for (begin, commit) in [(1, 2), (2, 3), (3, 1)] {
            let (tm, other) = (cluster.tm(NodeId(begin)).await, cluster.tm(NodeId(commit)).await);
            let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
            rm.at(&x, "db-a", "t:1").await.expect("free");
            rm.at(&y, "db-b", "t:1").await.expect("free");
            assert_eq!(rm.at(&y, "db-a", "t:1").await, Err(ExceptionCode::LockKeyConflict));
            assert_eq!(other.status(&x).await, GlobalStatus::Begin);
            let before = rm.told().len();
            assert_eq!(other.commit(&x).await, GlobalStatus::Committed);
            assert_eq!(tm.rollback(&y).await, GlobalStatus::Rollbacked);
            rm.await_told(before + 2).await;
            other.await_status(&x, GlobalStatus::Committed).await;
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}
