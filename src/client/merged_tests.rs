//! Merged frames against a node that answers them as it is told to.

use std::collections::BTreeMap;
use std::future::Future;

use crate::Application;
use crate::tests::{SOON, XID, application};
use bytes::BytesMut;
use quorate_compressor::{encode_frame, open};
use quorate_core::model::{BranchType, ExceptionCode};
use quorate_core::wire::{Decoded, Decoder, Message, MessageKind, RegistrationResult, ResultPart};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, Ipv4Addr, Listener, Stream};
use quorate_world::runtime::{RuntimeOptions, block_on_main_with};
use quorate_world::sync::mpsc;
use quorate_world::task;
use quorate_world::time::{Duration, timeout};

use crate::tm::BeginError;
use crate::{CallError, Pool, ResourceManager, TransactionManager};

/// A merged frame that came: its id, its requests, their ids.
type Came = (i32, Vec<Message>, Option<Vec<i32>>);
/// Frames to answer it with.
type Answers = fn(Came) -> Vec<(i32, Message)>;

async fn serve(mut stream: Stream, answers: Answers, heard: mpsc::UnboundedSender<(MessageKind, Came)>) {
    let mut decoder = Decoder::new();
    while stream.read_buf(decoder.buffer_mut()).await.is_ok_and(|bytes| bytes > 0) {
        while let Ok(Some(frame)) = decoder.next_frame() {
            let Decoded::Message(head, message) = open(frame) else { return };
            let frames = match message {
                Message::Merged { messages, ids } => {
                    let came = (head.request_id, messages, ids);
                    let _ = heard.send((head.kind, came.clone()));
                    answers(came)
                }
                Message::RegisterRm { .. } => {
                    vec![(head.request_id, Message::RegisterRmResult(RegistrationResult::accepted("2.5.0")))]
                }
                _ => vec![(head.request_id, Message::RegisterTmResult(RegistrationResult::accepted("2.5.0")))],
            };
            let mut out = BytesMut::new();
            for (id, message) in frames {
                encode_frame(&head.alike(MessageKind::Response, id), &message, &mut out).expect("answers fit");
            }
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
    }
}

async fn node(answers: Answers) -> (String, mpsc::UnboundedReceiver<(MessageKind, Came)>) {
    let listener: Listener = net::listen((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (sender, heard) = mpsc::unbounded_channel();
    task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn(serve(stream, answers, sender.clone()));
        }
    });
    (address, heard)
}

fn merging(version: &str) -> Application {
    Application { version: version.into(), merges: Some(Duration::from_millis(20)), ..application() }
}

/// The answer to a begin names it.
fn answer(request: &Message) -> Message {
    match request {
        Message::GlobalBegin { name, .. } => {
            let xid = format!("xid of {name}");
            Message::GlobalBeginResult { result: ResultPart::success(), xid, extra_data: String::new() }
        }
        other => panic!("{other:?}"),
    }
}

fn together((id, requests, _): Came) -> Vec<(i32, Message)> {
    vec![(id, Message::MergeResult { messages: requests.iter().map(answer).collect() })]
}

fn one_by_one((_, requests, ids): Came) -> Vec<(i32, Message)> {
    ids.expect("with ids").into_iter().zip(requests.iter().map(answer)).rev().collect()
}

fn in_two_batches(came: Came) -> Vec<(i32, Message)> {
    let id = came.0;
    let (ids, messages): (Vec<i32>, Vec<Message>) = one_by_one(came).into_iter().unzip();
    let batch = |part: std::ops::Range<usize>| {
        (id, Message::BatchResult { messages: messages[part.clone()].to_vec(), ids: ids[part].to_vec() })
    };
    vec![batch(0..1), batch(1..ids.len())]
}

/// What a begin was answered, by the name it begins.
type Begun = (String, Result<String, BeginError>);

/// Begins three transactions at once: whether they left in one frame, with ids, and what each was answered, in the order of
/// the frame.
async fn three(version: &str, answers: Answers) -> (bool, Vec<Begun>) {
    let (address, mut heard) = node(answers).await;
    let tm = TransactionManager::start(&[address], &merging(version));
    tm.pool().all_connected(SOON).await.expect("it listens");
    let begins = ["a", "b", "c"].map(|name| {
        let tm = tm.clone();
        (name.to_owned(), task::spawn(async move { tm.begin(name, 60_000).await }))
    });
    let mut begun = BTreeMap::new();
    for (name, begin) in begins {
        begun.insert(name, timeout(SOON, begin).await.expect("in time").expect("no panic"));
    }
    let (kind, (_, requests, ids)) = heard.recv().await.expect("a frame came");
    assert_eq!((kind, requests.len()), (MessageKind::OneWay, 3));
    let in_order = |request| match request {
        Message::GlobalBegin { name, .. } => begun.remove_entry(&name).expect("it asked once"),
        other => panic!("{other:?}"),
    };
    (ids.is_some(), requests.into_iter().map(in_order).collect())
}

fn its_own((name, begun): &Begun) -> bool {
    *begun == Ok(format!("xid of {name}"))
}

/// On the one thread that the requests share with the clock: none of them can miss the frame, however busy the machine is.
fn alone<F: Future>(test: F) -> F::Output {
    block_on_main_with(RuntimeOptions { workers: Some(1) }, test)
}

#[test]
fn each_gets_its_own_answer_in_every_form() {
    alone(async {
        for (version, with_ids, answers) in [
            ("1.4.2", false, together as Answers),
            ("1.5.2", true, together),
            ("1.5.2", true, in_two_batches),
            ("2.3.0", true, one_by_one),
            ("2.3.0", true, in_two_batches),
            ("2.3.0", true, together),
        ] {
            let (had_ids, begun) = three(version, answers).await;
            assert_eq!(had_ids, with_ids, "{version}");
            assert!(begun.iter().all(its_own), "{version}: {begun:?}");
        }
    });
}

#[test]
fn who_is_left_over_has_no_answer() {
    fn too_few((id, requests, _): Came) -> Vec<(i32, Message)> {
        vec![(id, Message::MergeResult { messages: requests.iter().take(1).map(answer).collect() })]
    }
    alone(async {
        let (_, begun) = three("1.5.2", too_few).await;
        assert!(its_own(&begun[0]), "{begun:?}");
        for (name, left_over) in &begun[1..] {
            assert_eq!(*left_over, Err(BeginError::Call(CallError::Broken)), "{name}");
        }
    });
}

#[test]
fn a_frame_without_an_answer_is_unknown_to_all() {
    quorate_world::runtime::run_test(async {
        let (address, _heard) = node(|_| Vec::new()).await;
        let application = merging("2.2.0");
        let pool = Pool::start(&[address], &application, application.register_tm(), std::sync::Arc::new(|_| {}));
        pool.all_connected(SOON).await.expect("it listens");
        let patience = Duration::from_millis(200);
        let asks = ["a", "b"].map(|name| {
            let (pool, request) = (pool.clone(), Message::GlobalBegin { timeout_ms: 1, name: name.into() });
            task::spawn(async move { pool.ask(None, &request, patience).await })
        });
        for ask in asks {
            assert_eq!(ask.await.expect("no panic"), Err(CallError::TimedOut));
        }
    });
}

#[test]
fn a_code_is_read_as_its_version_numbers_it() {
    fn fails_fast((id, _, _): Came) -> Vec<(i32, Message)> {
        // What is 19 to a client of 1.8.
        let result = ResultPart::failed(ExceptionCode::NotRaftLeader, "taken");
        let refused = Message::BranchRegisterResult { result, branch_id: Default::default() };
        vec![(id, Message::MergeResult { messages: vec![refused] })]
    }
    quorate_world::runtime::run_test(async {
        let (address, _heard) = node(fails_fast).await;
        let rm = ResourceManager::start(&[address], &merging("1.8.0"), Default::default());
        let refused = rm.register(XID, BranchType::AT, "db", "t:1", "").await;
        let (code, message) = (ExceptionCode::LockKeyConflictFailFast, "taken".into());
        assert_eq!(refused, Err(crate::rm::RegisterError::Refused { code, message }));
    });
}
