//! TCC: commit inside the request, in order; retries; refusals for good; AT beside TCC.

use quorate_core::model::{BranchStatus, BranchType, ExceptionCode, GlobalStatus, NodeId};
use quorate_core::txn::Command;
use quorate_core::txn::command::{DecideV1, Decision};
use quorate_core::wire::{Message, Registration};
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::super::message::Way;
use super::ONE;
use super::client::{Answer, Client};
use super::cluster::{Cluster, Given, owner};

async fn tcc(rm: &Client, xid: &quorate_core::model::Xid) -> quorate_core::model::BranchId {
    rm.branch(xid, BranchType::TCC, "pay", "t:1", "{\"n\":1}").await.expect("TCC locks nothing")
}

#[test]
fn the_tm_waits_for_all_in_order() {
    run_test(async {
        let mut cluster = Cluster::founded("tcc_order", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay,db-a").await);
        let x = tm.begin(60_000).await;
        let branches = [tcc(&rm, &x).await, tcc(&rm, &x).await, tcc(&rm, &x).await];
        assert!(rm.lockable(None, "pay", "t:1").await);
        rm.will_answer(&[Answer::Hold]);
        let committing = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.commit(&x).await }
        });
        rm.await_told(1).await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(rm.told().len(), 1, "one at a time");
        assert_eq!(tm.status(&x).await, GlobalStatus::Committing);
        assert_eq!(rm.branch(&x, BranchType::TCC, "pay", "", "").await, Err(ExceptionCode::GlobalTransactionNotActive));
        rm.reply(BranchStatus::PhaseTwo_Committed);
        assert_eq!(committing.await, Ok(GlobalStatus::Committed));
        let told: Vec<_> = rm.told().iter().map(|told| told.branch).collect();
        assert_eq!(told, branches, "all of them before the answer");
        assert_eq!(tm.status(&x).await, GlobalStatus::Committed);
        // Rolled back in reverse.
        let y = tm.begin(60_000).await;
        let (first, second) = (tcc(&rm, &y).await, tcc(&rm, &y).await);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::Rollbacked);
        let told: Vec<_> = rm.told()[3..].iter().map(|told| (told.way, told.branch)).collect();
        assert_eq!(told, [(Way::Rollback, second), (Way::Rollback, first)]);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn an_answer_that_comes_late_counts() {
    run_test(async {
        let mut cluster = Cluster::founded("tcc_late", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        let x = tm.begin(60_000).await;
        tcc(&rm, &x).await;
        rm.will_answer(&[Answer::Hold]);
        let committing = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.commit(&x).await }
        });
        // The first request was given up, the second one joined it: the RM has it once, and one answer serves.
        rm.await_joined(1).await;
        rm.reply(BranchStatus::PhaseTwo_Committed);
        assert_eq!(committing.await, Ok(GlobalStatus::CommitRetrying));
        tm.await_status(&x, GlobalStatus::Committed).await;
        assert_eq!(rm.told().len(), 1);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// An answer to nothing that a server has asked ends no branch.
#[test]
fn an_answer_that_nobody_asked_for_counts_for_nothing() {
    run_test(async {
        let mut cluster = Cluster::founded("tcc_unasked", &ONE, 1).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        let x = tm.begin(60_000).await;
        tcc(&rm, &x).await;
        rm.will_answer(&[Answer::Hold]);
        let committing = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.commit(&x).await }
        });
        rm.await_told(1).await;
        rm.reply_to(7, BranchStatus::PhaseTwo_Committed);
        // Served in the order of the connection: what it asks next shows that it was heard.
        assert!(rm.lockable(None, "pay", "t:1").await);
        assert_eq!(rm.coordinator.counts().answers_unknown, 1);
        assert_eq!(tm.status(&x).await, GlobalStatus::Committing);
        rm.reply(BranchStatus::PhaseTwo_Committed);
        assert_eq!(committing.await, Ok(GlobalStatus::Committed));
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn what_fails_is_retried_and_what_is_refused_stays() {
    run_test(async {
        let mut cluster = Cluster::founded("tcc_retry", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        let x = tm.begin(60_000).await;
        tcc(&rm, &x).await;
        tcc(&rm, &x).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable), Answer::Hold]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        rm.await_told(2).await;
        assert_eq!(tm.status(&x).await, GlobalStatus::CommitRetrying);
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        rm.reply(BranchStatus::PhaseTwo_Committed);
        tm.await_status(&x, GlobalStatus::Committed).await;
        assert_eq!(rm.told().len(), 3);
        let y = tm.begin(60_000).await;
        tcc(&rm, &y).await;
        tcc(&rm, &y).await;
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Unretryable)]);
        assert_eq!(tm.commit(&y).await, GlobalStatus::CommitFailed);
        assert_eq!(tm.rollback(&y).await, GlobalStatus::CommitFailed);
        assert_eq!(rm.told().len(), 4, "later branches are not asked");
        cluster.end().await;
    });
}

#[test]
fn at_branches_follow_the_answer() {
    run_test(async {
        let mut cluster = Cluster::founded("at_and_tcc", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay,db-a").await);
        let x = tm.begin(60_000).await;
        let b1 = rm.at(&x, "db-a", "t:1").await.expect("free");
        let b2 = tcc(&rm, &x).await;
        let b3 = rm.at(&x, "db-a", "t:2").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_Committed), Answer::Hold]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        let told: Vec<_> = rm.await_told(2).await.iter().map(|told| told.branch).collect();
        assert_eq!(told, [b2, b1]);
        assert_eq!(tm.status(&x).await, GlobalStatus::AsyncCommitting);
        assert!(rm.lockable(None, "db-a", "t:1,2").await);
        rm.reply(BranchStatus::PhaseTwo_Committed);
        assert_eq!(rm.await_told(3).await[2].branch, b3);
        tm.await_status(&x, GlobalStatus::Committed).await;
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Where an operator wants it, a request that waits for its RM holds up none of those that came in the same frame.
#[test]
fn a_batch_result_waits_for_nobody() {
    run_test(async {
        let given = Given { batch_results: true, ..Given::default() };
        let mut cluster = Cluster::given("batch_results", &ONE, 1, given).await;
        let version = |version: &str| Registration {
            version: version.into(),
            application_id: "shop".into(),
            service_group: "g".into(),
            extra_data: String::new(),
        };
        let tm = cluster.tm_with(NodeId(1), version("1.8.0")).await;
        let rm = cluster.rm(NodeId(1), "pay").await;
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
        rm.will_answer(&[Answer::Hold]);
        let commit = Message::GlobalCommit { xid: x.to_string(), extra_data: String::new() };
        let status = Message::GlobalStatus { xid: y.to_string(), extra_data: String::new() };
        let merged = Message::Merged { messages: vec![commit, status], ids: Some(vec![501, 502]) };
        let Some(Message::BatchResult { messages, ids }) = tm.ask(merged).await else { panic!("no batch") };
        assert!(
            matches!(messages[..], [Message::GlobalStatusResult { status: GlobalStatus::Begin, .. }]),
            "{messages:?}"
        );
        assert_eq!(ids, [502]);
        // The old ones do not know it.
        let old = cluster.tm_with(NodeId(1), version("1.4.2")).await;
        let status = Message::GlobalStatus { xid: y.to_string(), extra_data: String::new() };
        let merged = Message::Merged { messages: vec![status], ids: None };
        assert!(matches!(old.ask(merged).await, Some(Message::MergeResult { .. })));
        rm.await_told(1).await;
        rm.reply(BranchStatus::PhaseTwo_Committed);
        tm.await_status(&x, GlobalStatus::Committed).await;
        cluster.end().await;
    });
}

#[test]
fn merged_requests_and_strangers() {
    run_test(async {
        let mut cluster = Cluster::founded("merged", &ONE, 1).await;
        let tm = cluster.tm(NodeId(1)).await;
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        let status = |xid: String| Message::GlobalStatus { xid, extra_data: String::new() };
        let messages = vec![status(x.to_string()), status("nonsense".into()), status(y.to_string())];
        let answer = tm.ask(Message::Merged { messages, ids: Some(vec![501, 502, 503]) }).await;
        let Some(Message::MergeResult { messages }) = answer else { panic!("{answer:?}") };
        let told: Vec<_> = messages
            .iter()
            .map(|message| match message {
                Message::GlobalStatusResult { status, .. } => *status,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [GlobalStatus::Begin, GlobalStatus::Finished, GlobalStatus::Begin]);
        let empty = tm.ask(Message::GlobalCommit { xid: String::new(), extra_data: String::new() }).await;
        let Some(Message::GlobalCommitResult { result, status }) = empty else { panic!("{empty:?}") };
        assert!(result.message.starts_with("RuntimeException[") && status == GlobalStatus::Finished);
        // A request may overtake the registration for a moment, not for long.
        let early = cluster.connect(NodeId(1));
        let asking = task::spawn({
            let (early, xid) = (early.clone(), x.to_string());
            async move { early.ask(Message::GlobalStatus { xid, extra_data: String::new() }).await }
        });
        early.register_tm("shop").await;
        let answer = asking.await;
        assert!(matches!(answer, Ok(Some(Message::GlobalStatusResult { .. }))), "{answer:?}");
        let stranger = cluster.connect(NodeId(1));
        assert_eq!(stranger.ask(Message::GlobalBegin { timeout_ms: 1, name: String::new() }).await, None);
        cluster.end().await;
    });
}

/// The connection that asked is gone: its answer goes to nobody, however much another one is like it, its application,
/// its host and the ids of its requests.
#[test]
fn an_answer_goes_to_who_asked_or_to_nobody() {
    run_test(async {
        let mut cluster = Cluster::founded("tcc_own_answer", &ONE, 2).await;
        let (first, second) = (cluster.tm(NodeId(1)).await, cluster.tm(NodeId(1)).await);
        let rm = cluster.rm(NodeId(1), "pay").await;
        let (x, y) = (first.begin(60_000).await, second.begin(60_000).await);
        tcc(&rm, &x).await;
        tcc(&rm, &y).await;
        rm.will_answer(&[Answer::Hold, Answer::Hold]);
        let committing = task::spawn({
            let (first, x) = (first.clone(), x.clone());
            async move { first.ask(Message::GlobalCommit { xid: x.to_string(), extra_data: String::new() }).await }
        });
        rm.await_told(1).await;
        let rolling_back = task::spawn({
            let (second, y) = (second.clone(), y.clone());
            async move { second.rollback(&y).await }
        });
        rm.await_told(2).await;
        first.hang_up();
        assert_eq!(committing.await, Ok(None));
        rm.reply(BranchStatus::PhaseTwo_Committed);
        cluster.tm(NodeId(1)).await.await_status(&x, GlobalStatus::Committed).await;
        rm.reply(BranchStatus::PhaseTwo_Rollbacked);
        assert_eq!(rolling_back.await, Ok(GlobalStatus::Rollbacked), "its own answer, and no other before");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Its leader leads on, and has no driver for it: whoever asks again need not wait for the look that comes now and then.
#[test]
fn a_decision_whose_outcome_was_lost_goes_on_when_it_is_asked_for_again() {
    run_test(async {
        let mut cluster = Cluster::founded("outcome_lost", &ONE, 1).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        for decision in [Decision::Commit, Decision::Rollback] {
            let x = tm.begin(60_000).await;
            rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
            let decide = Command::Decide(DecideV1 { transaction: x.transaction, decision });
            let replica = &cluster.running[&NodeId(1)].groups[&owner(x.transaction.slot().0, 1)];
            replica.propose(decide).await.expect("it leads");
            let (_, ended) = match decision {
                Decision::Commit => (tm.commit(&x).await, GlobalStatus::Committed),
                Decision::Rollback | Decision::TimeoutRollback => (tm.rollback(&x).await, GlobalStatus::Rollbacked),
            };
            let carried_out = timeout(Duration::from_secs(3), tm.await_status(&x, ended)).await;
            carried_out.expect("long before the next look");
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}
