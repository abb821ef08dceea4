//! A leader goes away: parked requests are served by the next one, and what was decided goes on.

use quorate_core::model::{BranchStatus, BranchType, ExceptionCode, GlobalStatus, GroupId, NodeId};
use quorate_core::wire::Message;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep};

use super::THREE;
use super::client::Answer;
use super::cluster::{Cluster, Given};

/// What the leader before has asked for counts for the next one: an RM that is slow is not asked in vain, nor twice.
#[test]
fn the_next_leader_hears_what_the_last_one_asked() {
    run_test(async {
        let mut cluster = Cluster::founded("hears", &THREE, 1).await;
        let first = cluster.serving(GroupId(1)).await;
        let others: Vec<NodeId> = THREE.into_iter().filter(|node| *node != first).collect();
        let (tm, rm) = (cluster.tm(others[0]).await, cluster.rm(others[1], "pay").await);
        cluster.announced("pay").await;
        let x = tm.begin(60_000).await;
        rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
        rm.will_answer(&[Answer::Hold]);
        let committing = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.commit(&x).await }
        });
        rm.await_told(1).await;
        cluster.net.isolate(first);
        rm.await_joined(1).await;
        rm.reply(BranchStatus::PhaseTwo_Committed); // to what the first one asked, and the second one waits for
        // The next leader is asked as soon as it is known, and answers a commit that was decided with how it stands.
        let answer = committing.await.expect("it ends");
        assert!([GlobalStatus::Committing, GlobalStatus::Committed].contains(&answer), "{answer}");
        tm.await_status(&x, GlobalStatus::Committed).await;
        assert_eq!(rm.told().len(), 1);
        cluster.net.heal();
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn the_next_leader_goes_on() {
    run_test(async {
        let mut cluster = Cluster::founded("next_leader", &THREE, 1).await;
        let group = GroupId(1);
        let first = cluster.serving(group).await;
        let others: Vec<NodeId> = THREE.into_iter().filter(|node| *node != first).collect();
        let (tm, rm) = (cluster.tm(others[0]).await, cluster.rm(others[1], "db-a").await);
        cluster.announced("db-a").await;
        let (open, rolling, committed) = (tm.begin(60_000).await, tm.begin(60_000).await, tm.begin(60_000).await);
        rm.at(&open, "db-a", "t:1").await.expect("free");
        rm.at(&rolling, "db-a", "t:2").await.expect("free");
        rm.at(&committed, "db-a", "t:3").await.expect("free");
        rm.will_answer(&[Answer::Hold, Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable)]);
        assert_eq!(tm.commit(&committed).await, GlobalStatus::Committed);
        rm.await_told(1).await;
        assert_eq!(tm.rollback(&rolling).await, GlobalStatus::RollbackRetrying);
        cluster.net.isolate(first);
        // Asked while nobody leads: parked, then answered by the next leader. The transaction is not rolled back.
        let asking = task::spawn({
            let (tm, open) = (tm.clone(), open.clone());
            async move { tm.status(&open).await }
        });
        let second = cluster.serving(group).await;
        assert_ne!(first, second);
        assert_eq!(asking.await, Ok(GlobalStatus::Begin));
        // The new leader asks again, at once, but for what is being answered.
        rm.await_told(3).await;
        rm.reply(BranchStatus::PhaseTwo_Committed);
        tm.await_status(&committed, GlobalStatus::Committed).await;
        tm.await_status(&rolling, GlobalStatus::Rollbacked).await;
        assert_eq!(tm.commit(&open).await, GlobalStatus::Committed);
        cluster.net.heal();
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// A group without a leader fails its own part of a frame, and takes no other answer with it.
#[test]
fn a_frame_is_answered_though_one_of_its_groups_has_no_leader() {
    run_test(async {
        let mut cluster = Cluster::founded("frame_without", &THREE, 1).await;
        let node = cluster.serving(GroupId(1)).await;
        let (tm, rm) = (cluster.tm(node).await, cluster.rm(node, "db-a").await);
        let x = tm.begin(60_000).await;
        cluster.net.isolate(node);
        let register = |xid: String| Message::BranchRegister {
            xid,
            branch_type: BranchType::AT,
            resource_id: "db-a".to_owned(),
            lock_keys: "t:1".to_owned(),
            application_data: String::new(),
        };
        let messages = vec![register("nonsense".to_owned()), register(x.to_string())];
        let answer = rm.ask(Message::Merged { messages, ids: None }).await;
        let Some(Message::MergeResult { messages }) = answer else { panic!("{answer:?}") };
        let codes = messages.iter().map(|message| match message {
            Message::BranchRegisterResult { result, .. } => result.exception,
            other => panic!("{other:?}"),
        });
        let (none, late) = (ExceptionCode::GlobalTransactionNotExist, ExceptionCode::FailedToAddBranch);
        assert_eq!(codes.collect::<Vec<_>>(), [none, late]);
        cluster.net.heal();
        cluster.end().await;
    });
}

/// A node that carries none of the groups knows their leaders from others: when the one that should lead is gone, it asks
/// those that will know, for requests of clients and for what groups ask one another.
#[test]
fn a_node_without_a_replica_finds_the_next_leader() {
    run_test(async {
        let four = [NodeId(1), NodeId(2), NodeId(3), NodeId(4)];
        let given = Given { carriers: 3, ..Given::default() };
        let mut cluster = Cluster::given("without_a_replica", &four, 2, given).await;
        let (there, tm) = (cluster.tm(NodeId(2)).await, cluster.tm(NodeId(4)).await);
        let rm = cluster.rm(NodeId(4), "db-a").await;
        cluster.announced("db-a").await;
        let begun = [there.begin(60_000).await, there.begin(60_000).await];
        // The first carrier is where a node without a replica looks first.
        cluster.net.isolate(NodeId(1));
        for group in [GroupId(1), GroupId(2)] {
            assert_ne!(cluster.serving(group).await, NodeId(1));
        }
        for (x, row) in begun.iter().zip(["t:1", "t:2"]) {
            rm.at(x, "db-a", row).await.expect("free");
            assert_eq!(tm.commit(x).await, GlobalStatus::Committed);
        }
        cluster.net.heal();
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_deposed_leader_answers_nothing_of_its_own() {
    run_test(async {
        let mut cluster = Cluster::founded("deposed", &THREE, 1).await;
        let group = GroupId(1);
        let first = cluster.serving(group).await;
        let other = THREE.into_iter().find(|node| *node != first).expect("three nodes");
        let (old, new) = (cluster.tm(first).await, cluster.tm(other).await);
        let x = new.begin(60_000).await;
        cluster.net.isolate(first);
        // Asked at the old leader while it is cut off: it must not answer Begin once the others have committed.
        let asking = task::spawn({
            let (old, x) = (old.clone(), x.clone());
            async move { old.status(&x).await }
        });
        cluster.serving(group).await;
        assert_eq!(new.commit(&x).await, GlobalStatus::Committed);
        let late = task::spawn({
            let (old, x) = (old.clone(), x.clone());
            async move { old.status(&x).await }
        });
        cluster.net.heal();
        assert_eq!(late.await, Ok(GlobalStatus::Committed));
        // The first question was asked before the commit: both answers are true.
        let first_answer = asking.await.expect("answered");
        assert!([GlobalStatus::Begin, GlobalStatus::Committed].contains(&first_answer));
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Because of a holder that rolls back nobody tries again: a deposed leader must not say so of one that is long done.
#[test]
fn a_deposed_leader_ends_nobodys_transaction() {
    run_test(async {
        // It takes this long for a leader to notice that nobody hears it, and less until there is another.
        let given = Given { heartbeat_ms: 200, ..Given::default() };
        let mut cluster = Cluster::given("deposed_lock_home", &THREE, 1, given).await;
        let group = GroupId(1);
        let first = cluster.serving(group).await;
        let other = THREE.into_iter().find(|node| *node != first).expect("three nodes");
        let (old, new, rm) = (cluster.tm(first).await, cluster.tm(other).await, cluster.rm(other, "db-a").await);
        let (x, y) = (new.begin(60_000).await, old.begin(60_000).await);
        rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable)]);
        assert_eq!(new.rollback(&x).await, GlobalStatus::RollbackRetrying);
        cluster.net.isolate(first);
        assert_ne!(cluster.serving(group).await, first);
        new.await_status(&x, GlobalStatus::Rollbacked).await;
        let asking = task::spawn({
            let (old, y) = (old.clone(), y.clone());
            async move { old.branch(&y, BranchType::AT, "db-a", "t:1", r#"{"autoCommit":false}"#).await }
        });
        sleep(Duration::from_millis(300)).await;
        cluster.net.heal();
        asking.await.expect("it ends").expect("the row is free");
        assert_eq!(new.commit(&y).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Whatever was decided is answered alike by every node, however often leaders have changed since.
#[test]
fn answers_outlive_leaders() {
    run_test(async {
        let mut cluster = Cluster::founded("answers_outlive", &THREE, 1).await;
        let mut tms = Vec::new();
        for node in THREE {
            tms.push(cluster.tm(node).await);
        }
        let rm = cluster.rm(NodeId(1), "db-a").await;
        cluster.announced("db-a").await;
        let (committed, rolled_back) = (tms[0].begin(60_000).await, tms[0].begin(60_000).await);
        let branch = rm.at(&committed, "db-a", "t:1").await.expect("free");
        rm.at(&rolled_back, "db-a", "t:2").await.expect("free");
        assert_eq!(tms[1].commit(&committed).await, GlobalStatus::Committed);
        assert_eq!(tms[2].rollback(&rolled_back).await, GlobalStatus::Rollbacked);
        cluster.at_rest().await;
        for _ in 0..2 {
            let leader = cluster.serving(GroupId(1)).await;
            cluster.net.isolate(leader);
            assert_ne!(cluster.serving(GroupId(1)).await, leader);
            cluster.net.heal();
            for tm in &tms {
                assert_eq!(tm.commit(&committed).await, GlobalStatus::Committed);
                assert_eq!(tm.rollback(&committed).await, GlobalStatus::Committed);
                assert_eq!(tm.status(&committed).await, GlobalStatus::Committed);
                // A Java TM fails on this one alone, and it must fail.
                assert_eq!(tm.commit(&rolled_back).await, GlobalStatus::TimeoutRollbacked);
                assert_eq!(tm.rollback(&rolled_back).await, GlobalStatus::Rollbacked);
                assert_eq!(tm.status(&rolled_back).await, GlobalStatus::Rollbacked);
            }
            let gone = ExceptionCode::GlobalTransactionNotExist;
            assert_eq!(rm.at(&committed, "db-a", "t:3").await, Err(gone));
            assert_eq!(rm.report(&committed, branch, BranchStatus::PhaseOne_Done).await, Err(gone));
            assert!(rm.lockable(None, "db-a", "t:1,2,3").await);
        }
        cluster.end().await;
    });
}

/// A rollback that failed for good waits for an operator, with its row, under every leader.
#[test]
fn what_failed_for_good_outlives_its_leader() {
    run_test(async {
        let mut cluster = Cluster::founded("failed_outlives", &THREE, 1).await;
        let leader = cluster.serving(GroupId(1)).await;
        let other = THREE.into_iter().find(|node| *node != leader).expect("three nodes");
        let (tm, rm) = (cluster.tm(other).await, cluster.rm(other, "db-a").await);
        cluster.announced("db-a").await;
        let x = tm.begin(60_000).await;
        rm.at(&x, "db-a", "t:1").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable)]);
        assert_eq!(tm.rollback(&x).await, GlobalStatus::RollbackFailed);
        cluster.net.isolate(leader);
        assert_ne!(cluster.serving(GroupId(1)).await, leader);
        assert_eq!(tm.status(&x).await, GlobalStatus::RollbackFailed);
        assert!(!rm.lockable(None, "db-a", "t:1").await, "somebody may have to look at that row first");
        assert_eq!(rm.told().len(), 1, "nobody asks again");
        cluster.net.heal();
        cluster.end().await;
    });
}

/// An RM whose connection broke in phase one reports over the next one, at another node, and phase two goes to whichever process
/// of the resource is there.
#[test]
fn a_branch_outlives_the_connection_that_registered_it() {
    run_test(async {
        let mut cluster = Cluster::founded("branch_outlives", &THREE, 1).await;
        let (tm, first) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay").await);
        cluster.announced("pay").await;
        let x = tm.begin(60_000).await;
        let branch = first.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
        first.hang_up();
        let committing = task::spawn({
            let (tm, x) = (tm.clone(), x.clone());
            async move { tm.commit(&x).await }
        });
        // Nobody is there; the transaction waits for somebody.
        assert_eq!(committing.await, Ok(GlobalStatus::CommitRetrying));
        let second = cluster.connect_from(NodeId(3), "10.2.0.9");
        second.register_rm("shop", "pay").await;
        let told = second.await_told(1).await;
        assert_eq!(told[0].branch, branch);
        tm.await_status(&x, GlobalStatus::Committed).await;
        let y = tm.begin(60_000).await;
        let open = second.branch(&y, BranchType::TCC, "pay", "", "").await.expect("a branch");
        second.hang_up();
        let third = cluster.rm(NodeId(2), "pay").await;
        assert_eq!(third.report(&y, open, BranchStatus::PhaseOne_Done).await, Ok(()));
        cluster.announced("pay").await;
        assert_eq!(tm.commit(&y).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Branches that may not join twice are registered while their leader is lost: each RM gets an answer, nobody is told that it
/// failed, and what stands in the list is what was answered, no branch more.
#[test]
fn every_register_is_answered_once_across_a_change_of_leaders() {
    run_test(async {
        let mut cluster = Cluster::founded("registers_once", &THREE, 1).await;
        let mut clients = Vec::new();
        for node in THREE {
            clients.push((node, cluster.tm(node).await, cluster.rm(node, "pay").await));
        }
        cluster.announced("pay").await;
        let x = clients[0].1.begin(60_000).await;
        let mut answered = Vec::new();
        for round in 0..4 {
            let leader = cluster.serving(GroupId(1)).await;
            let (_, _, rm) = clients.iter().find(|(node, ..)| *node != leader).expect("three nodes");
            let registering: Vec<_> = (0..20)
                .map(|_| {
                    let (rm, x) = (rm.clone(), x.clone());
                    task::spawn(async move { rm.branch(&x, BranchType::TCC, "pay", "", "").await })
                })
                .collect();
            // Some are through by then, of some the answer is on its way, some have not left.
            sleep(Duration::from_micros(700 * round)).await;
            cluster.net.isolate(leader);
            for one in registering {
                answered.push(one.await.expect("it ends").expect("no register fails because a leader is lost"));
            }
            cluster.net.heal();
        }
        let (_, tm, _) = &clients[0];
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        let mut told: Vec<_> = clients.iter().flat_map(|(_, _, rm)| rm.told()).map(|told| told.branch).collect();
        told.sort_unstable();
        answered.sort_unstable();
        assert_eq!(told, answered, "each once");
        cluster.at_rest().await;
        cluster.end().await;
    });
}
