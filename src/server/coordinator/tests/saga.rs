//! Sagas: one unit for phase two, reports, turns, late steps; and the end of patience.

use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, NodeId, Xid};
use quorate_core::phase_two::Patience;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::super::message::Way;
use super::client::{Answer, Client};
use super::cluster::Cluster;
use super::{ONE, THREE};

const ENGINE: &str = "shop#default_tx_group";

async fn step(rm: &Client, xid: &Xid) -> BranchId {
    rm.branch(xid, BranchType::SAGA, "machine#step", "", "").await.expect("steps may join")
}

fn told(rm: &Client, from: usize) -> Vec<(Way, String)> {
    let brought = rm.brought();
    rm.told()
        .iter()
        .zip(brought)
        .skip(from)
        .map(|(told, (resource, data))| {
            assert_eq!((told.branch, resource.as_str()), (BranchId::WHOLE, ENGINE));
            (told.way, data)
        })
        .collect()
}

fn asked(way: Way, data: GlobalStatus) -> (Way, String) {
    (way, data.name().to_owned())
}

#[test]
fn a_report_ends_it_and_says_so_for_ever() {
    run_test(async {
        let mut cluster = Cluster::founded("saga_report", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), ENGINE).await);
        for (word, ends) in [
            (GlobalStatus::Committed, GlobalStatus::Committed),
            (GlobalStatus::Rollbacked, GlobalStatus::Rollbacked),
            (GlobalStatus::Finished, GlobalStatus::Rollbacked),
        ] {
            let x = tm.begin(60_000).await;
            step(&rm, &x).await;
            assert_eq!(tm.global_report(&x, word).await, ends);
            assert_eq!(tm.global_report(&x, GlobalStatus::CommitRetrying).await, ends);
            assert_eq!(tm.status(&x).await, ends);
            let late = rm.branch(&x, BranchType::SAGA, "machine#step", "", "").await;
            assert_eq!(late, Err(ExceptionCode::GlobalTransactionNotExist));
        }
        assert_eq!(rm.told(), []);
        let x = tm.begin(60_000).await;
        assert_eq!(tm.global_report(&x, GlobalStatus::Committed).await, GlobalStatus::Begin, "no Saga");
        assert_eq!(tm.rollback(&x).await, GlobalStatus::Rollbacked);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_saga_goes_on_or_back_as_its_engine_says() {
    run_test(async {
        let mut cluster = Cluster::founded("saga_turns", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), ENGINE).await);
        let x = tm.begin(60_000).await;
        step(&rm, &x).await;
        // Forward; it cannot go on, is undone, which fails once, and then is done (W16).
        rm.will_answer(&[
            Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable),
            Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable),
            Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable),
        ]);
        assert_eq!(tm.global_report(&x, GlobalStatus::CommitRetrying).await, GlobalStatus::CommitRetrying);
        tm.await_status(&x, GlobalStatus::Rollbacked).await;
        let expected = [
            asked(Way::Commit, GlobalStatus::CommitRetrying),
            asked(Way::Commit, GlobalStatus::CommitRetrying),
            asked(Way::Rollback, GlobalStatus::RollbackRetrying),
            asked(Way::Rollback, GlobalStatus::RollbackRetrying),
        ];
        assert_eq!(told(&rm, 0), expected);
        assert_eq!(tm.commit(&x).await, GlobalStatus::TimeoutRollbacked, "no success for its TM");
        // Its time is up, and its engine goes on all the same.
        let y = tm.begin(100).await;
        step(&rm, &y).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable)]);
        tm.await_status(&y, GlobalStatus::Committed).await;
        let expected =
            [asked(Way::Rollback, GlobalStatus::TimeoutRollbacking), asked(Way::Commit, GlobalStatus::CommitRetrying)];
        assert_eq!(told(&rm, 4), expected);
        // A TM that waits for the commit of a Saga that was undone is not told success.
        let z = tm.begin(60_000).await;
        step(&rm, &z).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_Rollbacked)]);
        assert_eq!(tm.commit(&z).await, GlobalStatus::TimeoutRollbacked);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_report_turns_what_is_on_its_way() {
    run_test(async {
        let mut cluster = Cluster::founded("saga_crossing", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), ENGINE).await);
        let x = tm.begin(60_000).await;
        step(&rm, &x).await;
        rm.will_answer(&[Answer::Hold]);
        let committing = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.commit(&x).await }
        });
        rm.await_told(1).await;
        step(&rm, &x).await; // an engine that goes on takes new steps
        assert_eq!(tm.global_report(&x, GlobalStatus::RollbackRetrying).await, GlobalStatus::RollbackRetrying);
        // What is answered to the commit now says nothing about the rollback, though it looks as if.
        rm.reply(BranchStatus::PhaseTwo_CommitFailed_Retryable);
        tm.await_status(&x, GlobalStatus::Rollbacked).await;
        assert_eq!(committing.await, Ok(GlobalStatus::TimeoutRollbacked));
        let expected =
            [asked(Way::Commit, GlobalStatus::Committing), asked(Way::Rollback, GlobalStatus::RollbackRetrying)];
        assert_eq!(told(&rm, 0), expected);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn beside_other_branches_the_engine_decides_once() {
    run_test(async {
        let mut cluster = Cluster::founded("saga_mixed", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), &format!("db,pay,{ENGINE}")).await);
        let x = tm.begin(60_000).await;
        step(&rm, &x).await;
        let row = rm.at(&x, "db", "t:1").await.expect("free");
        let pay = rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("TCC locks nothing");
        assert_eq!(tm.global_report(&x, GlobalStatus::Committed).await, GlobalStatus::Committing);
        tm.await_status(&x, GlobalStatus::Committed).await;
        assert!(rm.lockable(None, "db", "t:1").await);
        let branches = || rm.told().iter().map(|told| (told.way, told.branch)).collect::<Vec<_>>();
        assert_eq!(branches(), [(Way::Commit, pay), (Way::Commit, row)], "the engine's part was over");
        // Decided by the TM: the engine's part is done like any other branch.
        let y = tm.begin(60_000).await;
        let before = rm.branch(&y, BranchType::TCC, "pay", "", "").await.expect("TCC locks nothing");
        step(&rm, &y).await;
        step(&rm, &y).await;
        assert_eq!(tm.rollback(&y).await, GlobalStatus::Rollbacked);
        assert_eq!(branches()[2..], [(Way::Rollback, BranchId::WHOLE), (Way::Rollback, before)]);
        assert_eq!(rm.brought()[2], (ENGINE.to_owned(), "Rollbacking".to_owned()));
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn any_engine_of_the_application_will_do_and_a_new_leader_goes_on() {
    run_test(async {
        let mut cluster = Cluster::founded("saga_leader", &THREE, 1).await;
        let tm = cluster.tm(NodeId(2)).await;
        let rm = cluster.rm(NodeId(3), "other").await;
        let x = tm.begin(60_000).await;
        step(&rm, &x).await;
        assert_eq!(tm.global_report(&x, GlobalStatus::RollbackRetrying).await, GlobalStatus::RollbackRetrying);
        let engine = cluster.connect(NodeId(1));
        engine.register_rm("shop", ENGINE).await;
        engine.await_told(1).await;
        tm.await_status(&x, GlobalStatus::Rollbacked).await;
        assert_eq!(told(&engine, 0), [asked(Way::Rollback, GlobalStatus::RollbackRetrying)]);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn patience_ends_and_locks_go_if_wanted() {
    run_test(async {
        let patience =
            Patience { xaer_nota_ms: 0, commit_retry_ms: Some(700), rollback_retry_ms: Some(700), unlocks: true };
        let mut cluster = Cluster::patient("patience", &ONE, 2, patience).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db").await);
        let x = tm.begin(60_000).await;
        rm.at(&x, "db", "t:1").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable); 8]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackRetrying);
        tm.await_status(&x, GlobalStatus::RollbackRetryTimeout).await;
        let lets_go = timeout(Duration::from_secs(30), async {
            while !rm.lockable(None, "db", "t:1").await {
                sleep(Duration::from_millis(5)).await;
            }
        });
        lets_go.await.expect("its rows are free");
        let y = tm.begin(60_000).await;
        rm.branch(&y, BranchType::TCC, "nowhere", "", "").await.expect("TCC locks nothing");
        assert_eq!(tm.commit(&y).await, GlobalStatus::CommitRetrying);
        tm.await_status(&y, GlobalStatus::CommitRetryTimeout).await;
        // A database that has never heard of its branch is believed when its time is over: twice the time-out here.
        let (z, rm) = (tm.begin(100).await, cluster.rm(NodeId(1), "xa").await);
        rm.branch(&z, BranchType::XA, "xa", "", "").await.expect("XA locks nothing");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_XAER_NOTA_Retryable); 8]);
        tm.await_status(&z, GlobalStatus::TimeoutRollbacked).await;
        cluster.end().await;
    });
}
