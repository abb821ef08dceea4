//! More than a client may ask for at a time: it is slowed down, and only a frame that could never be taken is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::model::{BranchStatus, BranchType, ExceptionCode, GlobalStatus, limits};
use quorate_core::wire::Message;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, timeout};

use super::super::in_hand::{CONNECTION_BYTES_MAX, Held, InHand, REQUEST_BYTES, STRANGER_BYTES_MAX, weight_bytes};
use super::super::outbox::Outbox;
use super::super::reply::Question;
use super::client::Answer;
use super::cluster::{Cluster, Given, owner};
use super::{ONE, THREE};

const PATIENCE: Duration = Duration::from_secs(40);

fn begins(count: usize) -> Message {
    let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "buy".into() };
    Message::Merged { messages: vec![begin; count], ids: None }
}

#[test]
fn a_full_connection_is_not_read_and_loses_nothing() {
    run_test(async {
        let mut cluster = Cluster::founded("flood", &ONE, 1).await;
        let tm = cluster.tm(ONE[0]).await;
        let merged = CONNECTION_BYTES_MAX / REQUEST_BYTES / 4;
        let mut asked = Vec::new();
        for _ in 0..12 {
            let tm = tm.clone();
            asked.push(task::spawn(async move { tm.ask(begins(merged)).await }));
        }
        for answer in asked {
            match answer.await.expect("not aborted") {
                Some(Message::MergeResult { messages }) => {
                    assert_eq!(messages.len(), merged);
                    for message in messages {
                        assert!(matches!(message, Message::GlobalBeginResult { result, .. } if result.is_success()));
                    }
                }
                other => panic!("{other:?}"),
            }
            assert!(tm.channel.room.bytes_taken() <= CONNECTION_BYTES_MAX);
        }
        assert_eq!(tm.channel.room.bytes_taken(), 0);
        cluster.end().await;
    });
}

#[test]
fn without_room_a_connection_waits_and_others_do_not() {
    run_test(async {
        let mut cluster = Cluster::founded("room", &ONE, 1).await;
        let (full, other) = (cluster.tm(ONE[0]).await, cluster.tm(ONE[0]).await);
        let all = full.channel.room.bytes_max();
        let held = InHand::take(&full.channel.room, &full.coordinator.room, all).await.expect("nobody has any");
        let asked = task::spawn({
            let full = full.clone();
            async move { full.begin(60_000).await }
        });
        other.begin(60_000).await;
        assert!(!asked.is_finished(), "it is read though there is no room");
        drop(held);
        timeout(PATIENCE, asked).await.expect("there is room").expect("not aborted");
        cluster.end().await;
    });
}

#[test]
fn a_frame_above_all_room_is_refused_in_words() {
    run_test(async {
        let mut cluster = Cluster::founded("too-large", &ONE, 1).await;
        let tm = cluster.tm(ONE[0]).await;
        let register = Message::BranchRegister {
            xid: "h:1:7".into(),
            branch_type: quorate_core::model::BranchType::AT,
            resource_id: "db".into(),
            // As bytes that are no UTF-8 become.
            lock_keys: "\u{fffd}".repeat(2 * limits::FRAME_BYTES_MAX),
            application_data: String::new(),
        };
        match tm.ask(register.clone()).await {
            Some(Message::BranchRegisterResult { result, .. }) => {
                assert_eq!(result.exception, ExceptionCode::FailedToAddBranch);
                assert!(result.message.contains("a connection may have"), "{}", result.message);
            }
            other => panic!("{other:?}"),
        }
        let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "buy".into() };
        match tm.ask(Message::Merged { messages: vec![begin, register], ids: None }).await {
            Some(Message::MergeResult { messages }) => assert!(matches!(
                &messages[..],
                [Message::GlobalBeginResult { result: begun, .. }, Message::BranchRegisterResult { .. }]
                    if begun.exception == ExceptionCode::BeginFailed
            )),
            other => panic!("{other:?}"),
        }
        tm.begin(60_000).await;
        cluster.end().await;
    });
}

#[test]
fn a_stranger_may_ask_for_little() {
    run_test(async {
        let mut cluster = Cluster::founded("stranger", &ONE, 1).await;
        let stranger = cluster.connect(ONE[0]);
        let fits = STRANGER_BYTES_MAX / (REQUEST_BYTES + 3);
        assert_eq!(timeout(PATIENCE, stranger.ask(begins(fits + 1))).await.expect("hung up on"), None);
        // One that registers in time gets its answer.
        let hasty = cluster.connect(ONE[0]);
        let asked = task::spawn({
            let hasty = hasty.clone();
            async move { hasty.ask(begins(fits / 2)).await }
        });
        task::yield_now().await;
        hasty.register_tm("shop").await;
        assert!(matches!(asked.await, Ok(Some(Message::MergeResult { .. }))));
        assert_eq!(hasty.channel.room.bytes_max(), CONNECTION_BYTES_MAX >> 10 << 10);
        cluster.end().await;
    });
}

#[test]
fn a_request_weighs_what_its_task_does() {
    run_test(async {
        let mut cluster = Cluster::founded("weight", &ONE, 1).await;
        let tm = cluster.tm(ONE[0]).await;
        let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "buy".into() };
        let held = Held::default();
        let served = tm.coordinator.serve_request(&tm.channel, Question::Begin, begin, &held);
        let bytes = size_of_val(&served) + size_of::<Message>();
        assert!((REQUEST_BYTES / 3..=REQUEST_BYTES).contains(&bytes), "{bytes}");
        drop(served);
        cluster.end().await;
    });
}

#[test]
fn what_is_answered_gives_its_room_back() {
    run_test(async {
        let mut cluster = Cluster::founded("given-back", &ONE, 1).await;
        let tm = cluster.tm(ONE[0]).await;
        let xid = tm.begin(60_000).await;
        tm.commit(&xid).await;
        let coordinator: Arc<_> = tm.coordinator.clone();
        // The answer leaves before its task ends.
        let given_back = timeout(PATIENCE, async {
            while coordinator.requests_bytes() > 0 {
                task::yield_now().await;
            }
        });
        given_back.await.expect("all of it");
        cluster.end().await;
    });
}

/// What no client has taken yet is counted, over all connections.
#[test]
fn what_waits_for_clients_is_shown() {
    run_test(async {
        let mut cluster = Cluster::founded("answers", &ONE, 1).await;
        let tm = cluster.tm(ONE[0]).await;
        let coordinator: Arc<_> = tm.coordinator.clone();
        let (one, other) = (coordinator.outbox(), coordinator.outbox());
        let before = coordinator.answers_bytes();
        let put = |out: &Outbox, bytes: usize| {
            out.put(|out| {
                out.resize(out.len() + bytes, 7);
                Ok::<(), ()>(())
            })
        };
        assert!(put(&one, 3_000) && put(&other, 4_000));
        assert_eq!(coordinator.answers_bytes() - before, 7_000);
        drop(one);
        assert_eq!(coordinator.answers_bytes() - before, 4_000);
        cluster.end().await;
    });
}

/// A client that is TM and RM on one connection: what its RM says must not wait for the room that its commits hold.
#[test]
fn a_decision_that_waits_for_its_rms_holds_no_room() {
    run_test(async {
        let mut cluster = Cluster::founded("room-decided", &THREE, 3).await;
        let client = cluster.tm(ONE[0]).await;
        client.register_rm("shop", "pay").await;
        cluster.announced("pay").await;
        let mut led = BTreeSet::new();
        // Transactions of all groups: this node leads some of them at most.
        for turn in 0..12 {
            let begins = cluster.tm(THREE[turn % 3]).await;
            let xid = begins.begin(60_000).await;
            led.insert(cluster.serving(owner(xid.transaction.slot().0, 3)).await);
            client.branch(&xid, BranchType::TCC, "pay", "", "").await.expect("no locks");
            let commits = Message::GlobalCommit { xid: xid.to_string(), extra_data: String::new() };
            let request = match turn / 3 {
                0 => commits,
                1 => Message::GlobalRollback { xid: xid.to_string(), extra_data: String::new() },
                // Answered together, because somebody asks for a status.
                2 => {
                    let status = Message::GlobalStatus { xid: xid.to_string(), extra_data: String::new() };
                    Message::Merged { messages: vec![commits, status], ids: None }
                }
                _ => Message::Merged { messages: vec![commits], ids: Some(vec![1_000]) },
            };
            let room = &client.channel.room;
            // Enough for this frame, and for none beside it.
            let others = room.bytes_max() - weight_bytes(&request).next_multiple_of(1 << 10);
            let held = InHand::take(room, &client.coordinator.room, others).await.expect("nobody has any");
            client.will_answer(&[Answer::Hold]);
            let asked = task::spawn({
                let client = client.clone();
                async move { client.ask(request).await }
            });
            client.await_told(turn + 1).await;
            let status = timeout(Duration::from_secs(8), client.status(&xid)).await;
            let status = status.unwrap_or_else(|_| panic!("turn {turn}: the connection is not read"));
            assert!(matches!(status, GlobalStatus::Committing | GlobalStatus::Rollbacking), "{status}");
            client.reply(match status {
                GlobalStatus::Rollbacking => BranchStatus::PhaseTwo_Rollbacked,
                _ => BranchStatus::PhaseTwo_Committed,
            });
            if turn < 9 {
                assert!(timeout(PATIENCE, asked).await.expect("in time").expect("not aborted").is_some());
            } else {
                client.await_status(&xid, GlobalStatus::Committed).await;
                asked.abort();
            }
            drop(held);
        }
        assert!(led.len() > 1 || !led.contains(&ONE[0]), "no decision was taken by another node");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// At the budget begins are refused; what has begun goes to its end, and makes room.
#[test]
fn a_full_node_ends_what_it_has() {
    run_test(async {
        let budget = 64 << 10;
        let given = Given { memory_budget_bytes: budget, ..Given::default() };
        let mut cluster = Cluster::given("full", &ONE, 1, given).await;
        let (tm, rm) = (cluster.tm(ONE[0]).await, cluster.rm(ONE[0], "db").await);
        let xid = tm.begin(60_000).await;
        rm.at(&xid, "db", "t:1").await.expect("a branch");
        let mut refused = None;
        for _ in 0..100_000 {
            let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "x".repeat(1_000) };
            match tm.ask(begin).await {
                Some(Message::GlobalBeginResult { result, .. }) if result.is_success() => {}
                Some(Message::GlobalBeginResult { result, .. }) => {
                    refused = Some(result);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        let refused = refused.expect("there is a budget");
        assert_eq!(refused.exception, ExceptionCode::BeginFailed);
        assert!(refused.message.contains("memory.budget_bytes is 65536"), "{}", refused.message);
        assert!(tm.coordinator.state_bytes() > budget);
        tm.commit(&xid).await;
        tm.await_status(&xid, GlobalStatus::Committed).await;
        cluster.end().await;
    });
}
