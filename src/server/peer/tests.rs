//! The port as a whole, in the real world and in the simulated one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::cluster::member::IdentityRefusal;
use quorate_core::cluster::{Addresses, ClusterId, DiskId, StartEpoch, StartId};
use quorate_core::model::{GroupId, NodeId};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, Listener};
use quorate_world::runtime::run_test;
use quorate_world::time::{self, Duration};

use super::frame::Decoder;
use super::hello::HELLO_BYTES_MAX;
use super::stranger::STRANGERS_MAX;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const GROUP: GroupId = GroupId(3);

/// Answers with what it was asked; `slow` never, `no` with an error.
struct Echo;

impl Handler for Echo {
    fn handle_stranger(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match body.as_ref() {
                b"no" => Err("not today".to_owned()),
                _ => Ok([b"welcome, ", body.as_ref()].concat().into()),
            }
        })
    }

    fn handle(&self, from: NodeId, kind: Kind, group: GroupId, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            if body == "slow" {
                std::future::pending::<()>().await;
            }
            if body == "no" {
                return Err(format!("no, node {from}"));
            }
            Ok(Bytes::from(format!("{from} {kind:?} {group} {}", body.len())))
        })
    }
}

fn own(node: u64) -> Own {
    Own {
        cluster: Some(ClusterId([7; 16])),
        node: NodeId(node),
        disk: DiskId([node as u8; 16]),
        epoch: StartEpoch(5),
        start: StartId([node as u8; 16]),
        addresses: Addresses::default(),
    }
}

async fn listener() -> (Listener, String) {
    let listener = net::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

fn start(listener: Listener, own: Own, others: &[(u64, &str)]) -> Arc<Peers> {
    let addresses: BTreeMap<NodeId, String> =
        others.iter().map(|(node, address)| (NodeId(*node), (*address).to_owned())).collect();
    let options = PeerOptions { election_timeout: Duration::from_millis(500) };
    let peers = Peers::start(listener, own, &addresses, options);
    peers.serve(Arc::new(Echo));
    peers
}

/// Two nodes that know each other; `change` says how the second differs from what it should be.
async fn pair(change: impl FnOnce(&mut Own)) -> (Arc<Peers>, Arc<Peers>) {
    let (first, first_at) = listener().await;
    let (second, second_at) = listener().await;
    let mut who = own(2);
    change(&mut who);
    (start(first, own(1), &[(2, &second_at)]), start(second, who, &[(1, &first_at)]))
}

async fn ask(peers: &Peers, to: u64, kind: Kind, body: impl Into<Bytes>) -> Result<Bytes, CallError> {
    peers.call(NodeId(to), kind, GROUP, body.into(), LIMIT).await
}

/// Asks until the first connection has been made; the other node may not listen yet.
async fn ask_until_up(peers: &Peers, to: u64) -> Bytes {
    loop {
        match ask(peers, to, Kind::Meta, "hi").await {
            Ok(answer) => return answer,
            Err(error) => {
                assert_eq!(error, CallError::Unreachable);
                time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[test]
fn both_ask_and_both_are_answered() {
    run_test(async {
        let (first, second) = pair(|_| {}).await;
        assert_eq!(ask_until_up(&first, 2).await, "1 Meta 3 2");
        assert_eq!(ask_until_up(&second, 1).await, "2 Meta 3 2");
        for kind in [Kind::RaftAppend, Kind::RaftSnapshot, Kind::Coordinator] {
            let answer = ask(&first, 2, kind, vec![7; 300_000]).await.expect("an answer");
            assert_eq!(answer, format!("1 {kind:?} 3 300000"));
        }
        assert_eq!(ask(&first, 2, Kind::Meta, "no").await, Err(CallError::Refused("no, node 1".into())));
        assert!(first.contacts()[&NodeId(2)].connected);
        assert!(!first.is_silent(NodeId(2)) && first.is_silent(NodeId(9)) && !first.is_silent(NodeId(1)));
    });
}

#[test]
fn many_questions_at_once_each_get_their_answer() {
    run_test(async {
        let (first, _second) = pair(|_| {}).await;
        ask_until_up(&first, 2).await;
        let asked: Vec<_> = (0..1_000)
            .map(|size| first.call(NodeId(2), Kind::Coordinator, GROUP, Bytes::from(vec![1; size]), LIMIT))
            .collect();
        for (size, answer) in asked.into_iter().enumerate() {
            assert_eq!(answer.await.expect("an answer"), format!("1 Coordinator 3 {size}"));
        }
    });
}

#[test]
fn a_deadline_is_kept_by_the_asker() {
    run_test(async {
        let (first, _second) = pair(|_| {}).await;
        ask_until_up(&first, 2).await;
        let limit = Duration::from_millis(30);
        let answer = first.call(NodeId(2), Kind::Meta, GROUP, Bytes::from("slow"), limit).await;
        assert_eq!(answer, Err(CallError::TimedOut));
        assert_eq!(ask_until_up(&first, 2).await, "1 Meta 3 2");
    });
}

#[test]
fn what_hangs_on_a_node_that_stops_is_answered() {
    run_test(async {
        let (first, second) = pair(|_| {}).await;
        ask_until_up(&first, 2).await;
        let hanging = first.call(NodeId(2), Kind::Meta, GROUP, Bytes::from("slow"), Duration::from_secs(600));
        // The second has it once it answers what was asked after.
        ask_until_up(&first, 2).await;
        second.stop();
        assert_eq!(hanging.await, Err(CallError::Broken));
        assert_eq!(ask(&second, 1, Kind::Meta, "hi").await, Err(CallError::Unreachable));
    });
}

#[test]
fn an_unknown_node_is_unreachable_and_a_full_queue_says_so() {
    run_test(async {
        let (first, first_at) = listener().await;
        // Node 2 accepts and never says hello: questions wait for the connection.
        let (mute, mute_at) = listener().await;
        let peers = start(first, own(1), &[(2, &mute_at), (1, &first_at)]);
        assert_eq!(ask(&peers, 9, Kind::Meta, "hi").await, Err(CallError::Unreachable));
        assert_eq!(peers.contacts().keys().collect::<Vec<_>>(), [&NodeId(2)]);
        let (_stream, _) = mute.accept().await.expect("the node dials");
        let large = Bytes::from(vec![0; 6 << 20]);
        let told = |_| peers.cast(NodeId(2), Kind::Coordinator, GROUP, large.clone());
        let outcomes: Vec<_> = (0..3).map(told).collect();
        assert_eq!(outcomes, [Ok(()), Ok(()), Err(CallError::Full)]);
        let too_long = peers.cast(NodeId(2), Kind::RaftAppend, GROUP, Bytes::from(vec![0; (16 << 20) + 1]));
        assert!(matches!(too_long, Err(CallError::Refused(_))));
    });
}

#[test]
fn a_node_that_says_nothing_falls_silent() {
    run_test(async {
        let (first, _) = listener().await;
        let (_mute, mute_at) = listener().await;
        let peers = start(first, own(1), &[(2, &mute_at)]);
        let asked = time::Instant::now();
        let answer = peers.call(NodeId(2), Kind::Meta, GROUP, Bytes::from("hi"), Duration::from_secs(600)).await;
        assert_eq!(answer, Err(CallError::Unreachable));
        assert!(asked.elapsed() < Duration::from_secs(5));
        while !peers.is_silent(NodeId(2)) {
            time::sleep(Duration::from_millis(10)).await;
        }
        let contact = peers.contacts()[&NodeId(2)];
        assert_eq!((contact.heard, contact.silent, contact.connected), (None, true, false));
    });
}

/// What the second node is told by the first.
async fn refusal_of(change: impl FnOnce(&mut Own)) -> HelloRefusal {
    let (_first, second) = pair(change).await;
    let mut refusals = second.refusals();
    let refusals = refusals.wait_until(|refusals| !refusals.is_empty()).await.expect("it is running");
    refusals[&NodeId(1)]
}

#[test]
fn a_foreign_cluster_is_refused() {
    run_test(async {
        let refusal = refusal_of(|own| own.cluster = Some(ClusterId([8; 16]))).await;
        assert_eq!(refusal, HelloRefusal::ForeignCluster(ClusterId([7; 16])));
    });
}

#[test]
fn a_node_that_nobody_knows_is_refused() {
    run_test(async {
        let refusal = refusal_of(|own| own.node = NodeId(3)).await;
        assert_eq!(refusal, HelloRefusal::UnknownNode(NodeId(3)));
    });
}

/// What a second start of node 2 is told when it comes after the first.
async fn refusal_of_restart(change: impl FnOnce(&mut Own)) -> Option<HelloRefusal> {
    let (first, first_at) = listener().await;
    let (second, second_at) = listener().await;
    let first = start(first, own(1), &[(2, &second_at)]);
    let before = start(second, own(2), &[(1, &first_at)]);
    ask_until_up(&before, 1).await;
    before.stop();
    drop(before);
    let (second, _) = listener().await;
    let mut who = own(2);
    change(&mut who);
    let after = start(second, who, &[(1, &first_at)]);
    loop {
        let answer = ask(&after, 1, Kind::Meta, "hi").await;
        let refusal = after.refusals().borrow().get(&NodeId(1)).copied();
        if answer.is_ok() || refusal.is_some() {
            drop(first);
            return refusal;
        }
        time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn another_disk_an_older_start_and_a_clone_are_refused() {
    run_test(async {
        let node = NodeId(2);
        let identity = |refusal| Some(HelloRefusal::Identity(refusal));
        let disk = refusal_of_restart(|own| own.disk = DiskId([99; 16])).await;
        assert_eq!(disk, identity(IdentityRefusal::OtherDisk { node, known: DiskId([2; 16]) }));
        let older = refusal_of_restart(|own| own.epoch = StartEpoch(4)).await;
        assert_eq!(older, identity(IdentityRefusal::OlderEpoch { node, known: StartEpoch(5) }));
        let clone = refusal_of_restart(|own| own.start = StartId([99; 16])).await;
        assert_eq!(clone, identity(IdentityRefusal::RunningClone { node, epoch: StartEpoch(5) }));
        let proper = refusal_of_restart(|own| {
            own.epoch = StartEpoch(6);
            own.start = StartId([99; 16]);
        });
        assert_eq!(proper.await, None);
    });
}

#[test]
fn a_wrong_frame_closes_the_connection_and_is_counted() {
    run_test(async {
        let (first, first_at) = listener().await;
        let peers = start(first, own(1), &[(2, "127.0.0.1:1")]);
        for garbage in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n..........."[..], &[0; 64]] {
            let mut stream = net::connect(first_at.parse().expect("an address")).await.expect("it listens");
            stream.write_all(garbage).await.expect("it reads");
            stream.flush().await.expect("it reads");
            let mut answer = Vec::new();
            // A reset is as good as an end.
            let _ = stream.read_to_end(&mut answer).await;
            assert_eq!(answer, b"");
        }
        assert_eq!(peers.counters().frames_wrong.load(std::sync::atomic::Ordering::Relaxed), 2);
    });
}

#[test]
fn a_node_without_an_id_asks_one_thing() {
    run_test(async {
        let (listener, address) = listener().await;
        let peers = start(listener, own(1), &[]);
        let hello = own(9).hello_of_stranger();
        let (theirs, answer) = ask_as_stranger(&address, &hello, b"nine").await.expect("let in");
        assert_eq!((theirs.node, answer.as_ref()), (Some(NodeId(1)), &b"welcome, nine"[..]));
        let refused = ask_as_stranger(&address, &hello, b"no").await.expect_err("not today");
        assert!(matches!(&refused, AskError::Refused(reason) if reason == "not today"), "{refused}");
        let newer = HelloV1 { format_first: 9, format_last: 9, ..hello.clone() };
        let refused = ask_as_stranger(&address, &newer, b"nine").await.expect_err("another format");
        assert!(matches!(refused, AskError::NotLetIn(HelloRefusal::Format { .. })), "{refused}");
        let long = vec![0; HELLO_BYTES_MAX + 1];
        assert!(matches!(ask_as_stranger(&address, &hello, &long).await, Err(AskError::Unreachable(_))));
        peers.stop();
        assert!(matches!(ask_as_stranger(&address, &hello, b"nine").await, Err(AskError::Unreachable(_))));
    });
}

#[test]
fn nodes_without_an_id_are_answered_a_few_at_a_time() {
    run_test(async {
        let (listener, address) = listener().await;
        let peers = start(listener, own(1), &[]);
        let hello = own(9).hello_of_stranger();
        let mut waiting = Vec::new();
        for _ in 0..STRANGERS_MAX {
            let mut stream = net::connect(address.parse().expect("an address")).await.expect("it listens");
            shake::greet_with(&mut stream, &mut Decoder::new(HELLO_BYTES_MAX), &hello).await.expect("let in");
            waiting.push(stream);
        }
        let refused = ask_as_stranger(&address, &hello, b"nine").await.expect_err("too many");
        assert!(matches!(refused, AskError::NotLetIn(HelloRefusal::TooManyStrangers)), "{refused}");
        // Members come in all the same, here up to the judgement: this one is not known.
        let hello_of_member = own(9).hello(Class::Request);
        let member = ask_as_stranger(&address, &hello_of_member, b"nine").await.expect_err("unknown");
        assert!(matches!(member, AskError::NotLetIn(HelloRefusal::UnknownNode(NodeId(9)))), "{member}");
        waiting.pop();
        let answered = async {
            while ask_as_stranger(&address, &hello, b"nine").await.is_err() {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        time::timeout(LIMIT, answered).await.expect("there is room for one again");
        peers.stop();
    });
}

#[test]
fn an_empty_node_lets_nobody_join_and_a_removed_one_is_told() {
    run_test(async {
        let (empty_port, address) = listener().await;
        let empty = start(empty_port, Own { cluster: None, ..own(1) }, &[]);
        let hello = own(9).hello_of_stranger();
        let refused = ask_as_stranger(&address, &hello, b"nine").await.expect_err("no cluster");
        assert!(matches!(refused, AskError::NotLetIn(HelloRefusal::NoCluster)), "{refused}");
        empty.stop();

        let (one, at_one) = listener().await;
        let (two, at_two) = listener().await;
        let one = start(one, own(1), &[(2, &at_two)]);
        let two = start(two, own(2), &[(1, &at_one)]);
        assert!(one.call(NodeId(2), Kind::Meta, GROUP, Bytes::from_static(b"x"), LIMIT).await.is_ok());
        one.part_from(NodeId(2));
        let gone = one.call(NodeId(2), Kind::Meta, GROUP, Bytes::from_static(b"x"), LIMIT).await;
        assert_eq!(gone, Err(CallError::Unreachable));
        let mut refusals = two.refusals();
        let told = refusals.wait_until(|refusals| refusals.get(&NodeId(1)) == Some(&HelloRefusal::Removed(NodeId(2))));
        assert!(time::timeout(LIMIT, told).await.is_ok(), "the removed one is told");
        one.stop();
        two.stop();
    });
}
