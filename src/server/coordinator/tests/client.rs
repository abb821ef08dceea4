//! A client's end of a connection: asks and waits for the answer, and as an RM answers phase two and keeps a record.

use quorate_world::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, TransactionId, Xid};
use quorate_core::wire::{Decoded, Decoder, Head, Message, MessageKind, Registration, ResultPart, Version};
use quorate_world::sync::{Notify, oneshot};
use quorate_world::task;
use quorate_world::time::{Duration, timeout};

use super::super::guard::locked;
use super::super::message::Way;
use super::super::{Channel, Coordinator, Outbox};

const PATIENCE: Duration = Duration::from_secs(40);

/// One connection.
#[derive(Clone)]
pub struct Client {
    pub coordinator: Arc<Coordinator>,
    pub channel: Arc<Channel>,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Default)]
struct State {
    last_id: i32,
    waiting: BTreeMap<i32, oneshot::Sender<Message>>,
    /// Phase-two requests, in order of arrival.
    asked: Vec<Told>,
    /// Resource and application data of each.
    brought: Vec<(String, String)>,
    /// What to answer next; afterwards success.
    answers: VecDeque<Answer>,
    held: VecDeque<(Head, Message)>,
    /// Resources whose old undo logs were to be deleted, and how many days were to be kept.
    deletions: Vec<(String, i16)>,
    closed: bool,
}

/// A phase-two request that an RM got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    pub way: Way,
    pub transaction: TransactionId,
    pub branch: BranchId,
}

/// What an RM does with a phase-two request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Status(BranchStatus),
    /// Keeps it until [`Client::reply`].
    Hold,
}

impl Client {
    pub fn connect(coordinator: Arc<Coordinator>, peer: SocketAddr) -> Client {
        let out = coordinator.outbox();
        let channel = coordinator.connect(peer, out.clone());
        let inner = Arc::new(Inner { state: Mutex::default(), asked: Notify::new() });
        let client = Client { coordinator, channel, inner };
        let reader = client.clone();
        task::spawn(async move { reader.read(&out).await });
        client
    }

    async fn read(&self, out: &Outbox) {
        let mut decoder = Decoder::new();
        while let Some(bytes) = out.next().await {
            decoder.push(&bytes);
            while let Some(decoded) = decoder.next_frame().expect("our own frames") {
                match decoded {
                    Decoded::Message(head, message) => self.take(head, message),
                    other => panic!("{other:?}"),
                }
            }
        }
        let mut state = locked(&self.inner.state);
        state.closed = true;
        state.waiting.clear();
    }

    fn take(&self, head: Head, message: Message) {
        let told = match &message {
            Message::BranchCommit { xid, branch_id, resource_id, application_data, .. } => {
                Some((Way::Commit, xid, *branch_id, resource_id, application_data))
            }
            Message::BranchRollback { xid, branch_id, resource_id, application_data, .. } => {
                Some((Way::Rollback, xid, *branch_id, resource_id, application_data))
            }
            Message::UndoLogDelete { resource_id, save_days, .. } => {
                assert_eq!(head.kind, MessageKind::OneWay, "nobody answers it");
                return locked(&self.inner.state).deletions.push((resource_id.clone(), *save_days));
            }
            _ => None,
        };
        let mut state = locked(&self.inner.state);
        let Some((way, xid, branch, resource, data)) = told else {
            // Nobody may wait any more.
            if let Some(waiter) = state.waiting.remove(&head.request_id) {
                _ = waiter.send(message);
            }
            return;
        };
        let transaction = Xid::parse(xid).expect("an xid").transaction;
        state.asked.push(Told { way, transaction, branch });
        state.brought.push((resource.clone(), data.clone()));
        let answer = state.answers.pop_front();
        match answer {
            Some(Answer::Hold) => state.held.push_back((head, message)),
            Some(Answer::Status(status)) => {
                drop(state);
                self.answer(&head, &message, status);
            }
            None => {
                drop(state);
                self.answer(&head, &message, success(way));
            }
        }
        self.inner.asked.notify_waiters();
    }

    fn answer(&self, head: &Head, message: &Message, status: BranchStatus) {
        let result = ResultPart::success();
        let answer = match message.clone() {
            Message::BranchCommit { xid, branch_id, .. } => {
                Message::BranchCommitResult { result, xid, branch_id, status }
            }
            Message::BranchRollback { xid, branch_id, .. } => {
                Message::BranchRollbackResult { result, xid, branch_id, status }
            }
            other => panic!("{other:?}"),
        };
        let (client, head) = (self.clone(), head.answer());
        task::spawn(async move { client.coordinator.receive(&client.channel, Decoded::Message(head, answer)).await });
    }

    /// Answers the phase-two request that was held first.
    pub fn reply(&self, status: BranchStatus) {
        let held = locked(&self.inner.state).held.pop_front();
        let (head, message) = held.expect("a request is held");
        self.answer(&head, &message, status);
    }

    /// As [`Client::reply`], over another connection.
    pub fn reply_over(&self, other: &Client, status: BranchStatus) {
        let held = locked(&self.inner.state).held.pop_front();
        let (head, message) = held.expect("a request is held");
        other.answer(&head, &message, status);
    }

    /// Says the same under a number that no server has asked with; the request is held still.
    pub fn reply_to(&self, request_id: i32, status: BranchStatus) {
        let held = locked(&self.inner.state).held.front().cloned();
        let (head, message) = held.expect("a request is held");
        self.answer(&Head { request_id, ..head }, &message, status);
    }

    /// What to answer to the next phase-two requests.
    pub fn will_answer(&self, answers: &[Answer]) {
        locked(&self.inner.state).answers.extend(answers);
    }

    /// Phase-two requests so far.
    pub fn told(&self) -> Vec<Told> {
        locked(&self.inner.state).asked.clone()
    }

    /// Resources whose old undo logs were to be deleted, and how many days were to be kept.
    pub fn deletions(&self) -> Vec<(String, i16)> {
        locked(&self.inner.state).deletions.clone()
    }

    /// Resource and application data of the phase-two requests so far.
    pub fn brought(&self) -> Vec<(String, String)> {
        locked(&self.inner.state).brought.clone()
    }

    /// Waits until so many phase-two requests have come, and returns all.
    pub async fn await_told(&self, count: usize) -> Vec<Told> {
        let arrived = timeout(PATIENCE, async {
            loop {
                let more = self.inner.asked.notified();
                let told = self.told();
                if told.len() >= count {
                    return told;
                }
                more.await;
            }
        });
        arrived.await.unwrap_or_else(|_| panic!("{count} phase-two requests in time, there are {:?}", self.told()))
    }

    /// The client hangs up.
    pub fn hang_up(&self) {
        self.coordinator.disconnect(&self.channel);
    }

    /// Sends a request; nothing: the connection was closed.
    pub async fn ask(&self, message: Message) -> Option<Message> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = locked(&self.inner.state);
            if state.closed {
                return None;
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, sender);
            id
        };
        let head = Head::new(Version::V1, MessageKind::Request, id);
        self.coordinator.receive(&self.channel, Decoded::Message(head, message)).await;
        timeout(PATIENCE, answer).await.expect("an answer in time").ok()
    }

    async fn must(&self, message: Message) -> Message {
        self.ask(message).await.expect("the connection lives")
    }

    pub async fn register_tm(&self, application: &str) {
        let answer = self.must(Message::RegisterTm(registration(application))).await;
        assert!(matches!(&answer, Message::RegisterTmResult(result) if result.identified), "{answer:?}");
    }

    pub async fn register_rm(&self, application: &str, resources: &str) {
        let (registration, resource_ids) = (registration(application), resources.into());
        let answer = self.must(Message::RegisterRm { registration, resource_ids }).await;
        assert!(matches!(&answer, Message::RegisterRmResult(result) if result.identified), "{answer:?}");
    }

    /// Registers once more, in this serializer: what the server asks from now on is written in it.
    pub async fn speak(&self, serializer: u8, application: &str, resources: &str) {
        let message = Message::RegisterRm { registration: registration(application), resource_ids: resources.into() };
        let head = Head { serializer, ..Head::new(Version::V1, MessageKind::Request, 0) };
        self.coordinator.receive(&self.channel, Decoded::Message(head, message)).await;
    }

    /// Waits until so many phase-two requests have joined one that is open, at its node.
    pub async fn await_joined(&self, count: u64) {
        let joined = timeout(PATIENCE, async {
            while self.coordinator.counts().phase_two_joined < count {
                quorate_world::time::sleep(Duration::from_millis(5)).await;
            }
        });
        joined.await.unwrap_or_else(|_| panic!("{count} requests join in time"));
    }

    /// Phase-two requests that its node has tried to send.
    pub fn tried(&self) -> u64 {
        self.coordinator.counts().phase_two_sent
    }

    pub async fn begin(&self, timeout_ms: i32) -> Xid {
        match self.must(Message::GlobalBegin { timeout_ms, name: "buy".into() }).await {
            Message::GlobalBeginResult { result, xid, .. } if result.is_success() => Xid::parse(&xid).expect("an xid"),
            other => panic!("{other:?}"),
        }
    }

    pub async fn commit(&self, xid: &Xid) -> GlobalStatus {
        match self.must(Message::GlobalCommit { xid: xid.to_string(), extra_data: String::new() }).await {
            Message::GlobalCommitResult { result, status } if result.is_success() => status,
            other => panic!("{other:?}"),
        }
    }

    pub async fn rollback(&self, xid: &Xid) -> GlobalStatus {
        match self.must(Message::GlobalRollback { xid: xid.to_string(), extra_data: String::new() }).await {
            Message::GlobalRollbackResult { result, status } if result.is_success() => status,
            other => panic!("{other:?}"),
        }
    }

    pub async fn status(&self, xid: &Xid) -> GlobalStatus {
        match self.must(Message::GlobalStatus { xid: xid.to_string(), extra_data: String::new() }).await {
            Message::GlobalStatusResult { result, status } if result.is_success() => status,
            other => panic!("{other:?}"),
        }
    }

    /// The report of a Saga engine.
    pub async fn global_report(&self, xid: &Xid, status: GlobalStatus) -> GlobalStatus {
        let report = Message::GlobalReport { xid: xid.to_string(), extra_data: String::new(), status: Some(status) };
        match self.must(report).await {
            Message::GlobalReportResult { result, status } if result.is_success() => status,
            other => panic!("{other:?}"),
        }
    }

    /// Registers a branch.
    pub async fn branch(
        &self,
        xid: &Xid,
        branch_type: BranchType,
        resource: &str,
        lock_keys: &str,
        data: &str,
    ) -> Result<BranchId, ExceptionCode> {
        let register = Message::BranchRegister {
            xid: xid.to_string(),
            branch_type,
            resource_id: resource.into(),
            lock_keys: lock_keys.into(),
            application_data: data.into(),
        };
        match self.must(register).await {
            Message::BranchRegisterResult { result, branch_id } if result.is_success() => Ok(branch_id),
            Message::BranchRegisterResult { result, .. } => Err(result.exception),
            other => panic!("{other:?}"),
        }
    }

    /// Registers an AT branch.
    pub async fn at(&self, xid: &Xid, resource: &str, lock_keys: &str) -> Result<BranchId, ExceptionCode> {
        self.branch(xid, BranchType::AT, resource, lock_keys, "").await
    }

    pub async fn report(&self, xid: &Xid, branch_id: BranchId, status: BranchStatus) -> Result<(), ExceptionCode> {
        let report = Message::BranchReport {
            xid: xid.to_string(),
            branch_id,
            status,
            resource_id: String::new(),
            application_data: String::new(),
            branch_type: BranchType::AT,
        };
        match self.must(report).await {
            Message::BranchReportResult { result } if result.is_success() => Ok(()),
            Message::BranchReportResult { result } => Err(result.exception),
            other => panic!("{other:?}"),
        }
    }

    pub async fn lockable(&self, xid: Option<&Xid>, resource: &str, lock_keys: &str) -> bool {
        let query = Message::LockQuery {
            xid: xid.map(Xid::to_string).unwrap_or_default(),
            branch_type: BranchType::AT,
            resource_id: resource.into(),
            lock_keys: lock_keys.into(),
            application_data: String::new(),
        };
        match self.must(query).await {
            Message::LockQueryResult { result, lockable } if result.is_success() => lockable,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the transaction stands so.
    pub async fn await_status(&self, xid: &Xid, wanted: GlobalStatus) {
        let stands = timeout(PATIENCE, async {
            while self.status(xid).await != wanted {
                // Asked without a pause, the simulated clock would hardly move.
                quorate_world::time::sleep(Duration::from_millis(20)).await;
            }
        });
        stands.await.unwrap_or_else(|_| panic!("{xid} never was {wanted}"));
    }
}

pub fn success(way: Way) -> BranchStatus {
    match way {
        Way::Commit => BranchStatus::PhaseTwo_Committed,
        Way::Rollback => BranchStatus::PhaseTwo_Rollbacked,
    }
}

fn registration(application: &str) -> Registration {
    Registration {
        version: "2.3.0".into(),
        application_id: application.into(),
        service_group: "default_tx_group".into(),
        extra_data: String::new(),
    }
}
