//! The client against a node of few words.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use quorate_compressor::{Compressor, encode_frame, open};
use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus};
use quorate_core::wire::{Decoded, Decoder, Message, MessageKind, RegistrationResult, ResultPart, protobuf};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, Ipv4Addr, Listener, Stream};
use quorate_world::sync::mpsc;
use quorate_world::task;
use quorate_world::time::{Duration, timeout};

use crate::rm::{Answer, Branch, RegisterError, Resource, ResourceManager};
use crate::tm::TransactionManager;
use crate::{Application, CallError, Signs, Speech};

pub(crate) const XID: &str = "127.0.0.1:8091:4097";
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Answers registrations; everything else goes through `reply`. Registered connections are asked `first` at once.
async fn serve(
    mut stream: Stream,
    reply: fn(&Message) -> Option<Message>,
    first: Option<Message>,
    heard: mpsc::UnboundedSender<Message>,
) {
    let mut decoder = Decoder::new();
    loop {
        match stream.read_buf(decoder.buffer_mut()).await {
            Ok(bytes) if bytes > 0 => {}
            _ => return,
        }
        while let Ok(Some(frame)) = decoder.next_frame() {
            let Decoded::Message(head, message) = open(frame) else { return };
            let mut out = BytesMut::new();
            let answer = match &message {
                Message::RegisterTm(_) => Some(Message::RegisterTmResult(RegistrationResult::accepted("2.5.0"))),
                Message::RegisterRm { .. } => Some(Message::RegisterRmResult(RegistrationResult::accepted("2.5.0"))),
                other => reply(other),
            };
            if let Some(answer) = answer {
                encode_frame(&head.answer(), &answer, &mut out).expect("answers fit");
            }
            if let (Message::RegisterRm { .. }, Some(first)) = (&message, &first) {
                encode_frame(&head.alike(MessageKind::Request, 0x4000_0001), first, &mut out).expect("it fits");
            }
            let _ = heard.send(message);
            if stream.write_all(&out).await.is_err() {
                return;
            }
        }
    }
}

async fn node(
    reply: fn(&Message) -> Option<Message>,
    first: Option<Message>,
) -> (String, mpsc::UnboundedReceiver<Message>) {
    let listener: Listener = net::listen((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let (sender, heard) = mpsc::unbounded_channel();
    task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn(serve(stream, reply, first.clone(), sender.clone()));
        }
    });
    (address, heard)
}

pub(crate) fn application() -> Application {
    Application::new("shop", "default_tx_group")
}

fn polite(message: &Message) -> Option<Message> {
    Some(match message {
        Message::GlobalBegin { .. } => {
            Message::GlobalBeginResult { result: ResultPart::success(), xid: XID.into(), extra_data: String::new() }
        }
        Message::GlobalCommit { .. } => {
            Message::GlobalCommitResult { result: ResultPart::success(), status: GlobalStatus::Committed }
        }
        Message::BranchRegister { .. } => {
            let result = ResultPart::failed(ExceptionCode::LockKeyConflict, "taken");
            Message::BranchRegisterResult { result, branch_id: BranchId(0) }
        }
        _ => return None,
    })
}

#[test]
fn a_transaction_begins_and_commits() {
    quorate_world::runtime::run_test(async {
        let (address, _heard) = node(polite, None).await;
        let tm = TransactionManager::start(&[address], &application());
        assert_eq!(tm.begin("buy", 60_000).await, Ok(XID.to_string()));
        assert_eq!(tm.commit(XID).await, Some(GlobalStatus::Committed));
    });
}

#[test]
fn every_speech_is_understood() {
    quorate_world::runtime::run_test(async {
        let (address, _heard) = node(polite, None).await;
        for serializer in [Speech::default().serializer, protobuf::SERIALIZER] {
            for compressor in [0].into_iter().chain(Compressor::ALL.map(Compressor::code)) {
                let application = Application { speech: Speech { serializer, compressor }, ..application() };
                let tm = TransactionManager::start(std::slice::from_ref(&address), &application);
                assert_eq!(tm.begin("buy", 60_000).await, Ok(XID.to_string()), "{:?}", application.speech);
                assert_eq!(tm.commit(XID).await, Some(GlobalStatus::Committed), "{:?}", application.speech);
            }
        }
    });
}

#[test]
fn a_refusal_brings_code_and_text() {
    quorate_world::runtime::run_test(async {
        let (address, _heard) = node(polite, None).await;
        let rm = ResourceManager::start(&[address], &application(), BTreeMap::new());
        let refused = rm.register(XID, BranchType::AT, "db", "t:1", "").await;
        assert_eq!(
            refused,
            Err(RegisterError::Refused { code: ExceptionCode::LockKeyConflict, message: "taken".into() })
        );
    });
}

/// A signature has a time stamp: each registration has its own.
#[test]
fn a_tm_signs_each_registration_and_an_rm_none() {
    quorate_world::runtime::run_test(async {
        let (address, mut heard) = node(polite, None).await;
        let count = Arc::new(Mutex::new(0));
        let counted = count.clone();
        let sign = move || {
            let mut count = counted.lock().expect("nobody panics");
            *count += 1;
            format!("timestamp={count}")
        };
        let application = Application { signs: Some(Signs(Arc::new(sign))), ..application() };
        let tm = TransactionManager::start(std::slice::from_ref(&address), &application);
        for expected in ["timestamp=1", "timestamp=2"] {
            let connection = tm.pool().pick(None, SOON).await.expect("it listens");
            let Some(Message::RegisterTm(registration)) = heard.recv().await else { panic!("a TM registers first") };
            assert_eq!(registration.extra_data, expected);
            connection.close();
        }
        drop(tm);
        let rm = ResourceManager::start(&[address], &application, BTreeMap::new());
        rm.pool().pick(None, SOON).await.expect("it listens");
        let unsigned = loop {
            match heard.recv().await {
                Some(Message::RegisterRm { registration, .. }) => break registration.extra_data,
                heard => assert!(heard.is_some(), "the TM may have come once more"),
            }
        };
        assert_eq!(unsigned, "");
    });
}

fn hangs_up_never_answers(_: &Message) -> Option<Message> {
    None
}

#[test]
fn nobody_listening_is_no_answer() {
    quorate_world::runtime::run_test(async {
        let tm = TransactionManager::start(&["127.0.0.1:1".into()], &application());
        let begun = timeout(Duration::from_millis(300), tm.begin("buy", 1)).await;
        assert!(begun.is_err(), "it waits for a connection: {begun:?}");
        let (address, _heard) = node(hangs_up_never_answers, None).await;
        let tm = TransactionManager::start(&[address], &application());
        let connection = tm.pool().pick(None, SOON).await.expect("it listens");
        let request = Message::GlobalBegin { timeout_ms: 1, name: "buy".into() };
        let call = connection.call(&request, Duration::from_millis(100)).await;
        assert_eq!(call, Err(CallError::TimedOut));
        connection.close();
        assert_eq!(connection.call(&request, SOON).await, Err(CallError::NotConnected));
    });
}

struct Noting(Mutex<Vec<Branch>>);

impl Resource for Noting {
    fn commit(&self, branch: Branch) -> Answer {
        self.0.lock().expect("no panic holds it").push(branch);
        Box::pin(async { Some(BranchStatus::PhaseTwo_Committed) })
    }

    fn rollback(&self, _: Branch) -> Answer {
        Box::pin(async { None })
    }
}

#[test]
fn phase_two_reaches_the_resource_and_is_answered() {
    quorate_world::runtime::run_test(async {
        let branch_id = BranchId(8193);
        let ask = Message::BranchCommit {
            xid: XID.into(),
            branch_id,
            branch_type: BranchType::TCC,
            resource_id: "pay".into(),
            application_data: "{}".into(),
        };
        let (address, mut heard) = node(polite, Some(ask)).await;
        let noting = Arc::new(Noting(Mutex::default()));
        let resource: Arc<dyn Resource> = noting.clone();
        let _rm = ResourceManager::start(&[address], &application(), BTreeMap::from([("pay".to_string(), resource)]));
        let answer = timeout(SOON, async {
            loop {
                match heard.recv().await {
                    Some(Message::BranchCommitResult { branch_id, status, .. }) => return Some((branch_id, status)),
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        assert_eq!(answer.await, Ok(Some((branch_id, BranchStatus::PhaseTwo_Committed))));
        assert_eq!(noting.0.lock().expect("no panic holds it").len(), 1);
    });
}
