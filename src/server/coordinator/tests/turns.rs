//! What an RM is asked at a time, and when again.

use quorate_core::console::Wish;
use quorate_core::model::{BranchStatus, BranchType, GlobalStatus, NodeId, Xid};
use quorate_core::txn::command::Operation;
use quorate_world::runtime::run_test;
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, sleep};

use super::super::turns::RESOURCE_MIN;
use super::ONE;
use super::client::{Answer, Client};
use super::cluster::Cluster;
use super::operate::ask;

pub(super) fn committing(tm: &Client, xid: &Xid) -> JoinHandle<GlobalStatus> {
    let (tm, xid) = (tm.clone(), xid.clone());
    task::spawn(async move { tm.commit(&xid).await })
}

/// Two connections of one process, and a branch that it has been at work on for a while when the one breaks on which
/// it was asked. The branch is asked by now, and the connection is gone.
async fn broken(cluster: &mut Cluster) -> (Client, Client, JoinHandle<GlobalStatus>) {
    let tm = cluster.tm(NodeId(1)).await;
    let (first, second) = (cluster.rm(NodeId(1), "pay").await, cluster.rm(NodeId(1), "pay").await);
    let x = tm.begin(60_000).await;
    first.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
    first.will_answer(&[Answer::Hold]);
    let committing = committing(&tm, &x);
    first.await_told(1).await;
    sleep(Duration::from_millis(1_200)).await;
    first.hang_up();
    sleep(Duration::from_millis(600)).await;
    assert_eq!(second.told(), [], "it may still be at work");
    (first, second, committing)
}

#[test]
fn an_rm_at_work_answers_by_another_way() {
    run_test(async {
        let mut cluster = Cluster::founded("another_way", &ONE, 1).await;
        let (first, second, committing) = broken(&mut cluster).await;
        first.reply_over(&second, BranchStatus::PhaseTwo_Committed);
        assert_eq!(committing.await, Ok(GlobalStatus::CommitRetrying));
        cluster.at_rest().await;
        assert_eq!(second.told(), [], "it has answered what it was asked before");
        cluster.end().await;
    });
}

#[test]
fn one_that_has_nothing_to_say_is_asked_again() {
    run_test(async {
        let mut cluster = Cluster::founded("asked_again", &ONE, 1).await;
        let (_, second, committing) = broken(&mut cluster).await;
        second.await_told(1).await;
        assert_eq!(committing.await, Ok(GlobalStatus::CommitRetrying));
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Waiting for a turn is no silence: the transaction is where it was, and asked when there is room.
#[test]
fn a_branch_waits_for_its_turn() {
    run_test(async {
        let mut cluster = Cluster::founded("turns", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay,quick").await);
        rm.will_answer(&[Answer::Hold; RESOURCE_MIN]);
        let mut waiting = Vec::new();
        for _ in 0..RESOURCE_MIN + 2 {
            let x = tm.begin(60_000).await;
            rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
            waiting.push(committing(&tm, &x));
        }
        rm.await_told(RESOURCE_MIN).await;
        // Another resource of the process has turns of its own.
        let x = tm.begin(60_000).await;
        rm.branch(&x, BranchType::TCC, "quick", "", "").await.expect("a branch");
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        assert_eq!(rm.told().len(), RESOURCE_MIN + 1);
        (0..RESOURCE_MIN).for_each(|_| rm.reply(BranchStatus::PhaseTwo_Committed));
        for commit in waiting {
            assert_eq!(commit.await, Ok(GlobalStatus::Committed));
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// What an operator has stopped while it waited for its turn is not asked when that comes.
#[test]
fn who_was_stopped_meanwhile_loses_his_turn() {
    run_test(async {
        let mut cluster = Cluster::founded("turn_lost", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        rm.will_answer(&[Answer::Hold; RESOURCE_MIN]);
        let mut begun = Vec::new();
        for _ in 0..=RESOURCE_MIN {
            let x = tm.begin(60_000).await;
            rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
            begun.push((committing(&tm, &x), x));
            rm.await_told(begun.len().min(RESOURCE_MIN)).await;
        }
        let (waiting, x) = begun.pop().expect("one waits");
        tm.await_status(&x, GlobalStatus::Committing).await;
        let stopped = GlobalStatus::StopCommitOrCommitRetry;
        assert_eq!(ask(&cluster, 1, &x, Wish::Change(Operation::Stop)).await, Ok(stopped));
        (0..RESOURCE_MIN).for_each(|_| rm.reply(BranchStatus::PhaseTwo_Committed));
        for (committing, _) in begun {
            assert_eq!(committing.await, Ok(GlobalStatus::Committed));
        }
        // Its turn has come by now, and it was not asked: its TM hears how it stands.
        assert_eq!(waiting.await, Ok(GlobalStatus::CommitRetrying));
        assert_eq!(rm.told().len(), RESOURCE_MIN);
        let start = Wish::Change(Operation::Start);
        assert_eq!(ask(&cluster, 1, &x, start).await, Ok(GlobalStatus::CommitRetrying));
        tm.await_status(&x, GlobalStatus::Committed).await;
        cluster.at_rest().await;
        cluster.end().await;
    });
}
