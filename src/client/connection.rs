//! One connection to one node: requests and their answers by id, requests of the server, heartbeats.
//!
//! A request that gets no answer is *unknown*: it may or may not have happened. The connection never repeats anything;
//! that is for whoever knows what may be repeated. Requests that leave together in a merged frame are answered each by
//! itself all the same, in whichever of the three forms the server chooses (protocol, section 5.4).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use quorate_compressor::{encode_frame, open};
use quorate_core::model::limits::FRAME_BYTES_MAX;
use quorate_core::wire::{Decoded, Decoder, EncodeError, Head, Message, MessageKind, Version, encode_heartbeat, seata};
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, ReadHalf, SocketAddr, WriteHalf};
use quorate_world::select::{Either3, select3};
use quorate_world::sync::{Notify, oneshot};
use quorate_world::time::{Duration, Instant, sleep, timeout};
use quorate_world::{task, watch};

/// How long a connect may take: the same as a Java client's.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping leaves this long after the last one.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// A server that says nothing for this long is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that may wait to be written; beyond, calls are refused.
const OUTGOING_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// Why a call has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CallError {
    /// There is no connection, and the request was not sent.
    #[error("not connected")]
    NotConnected,
    /// The connection broke while the answer was awaited: the request may have happened.
    #[error("the connection broke before the answer came")]
    Broken,
    /// The time was up: the request may have happened.
    #[error("no answer in time")]
    TimedOut,
    /// Too much waits to be written; the request was not sent.
    #[error("too much waits to be sent")]
    Full,
    /// The message does not fit a frame; it was not sent.
    #[error("the message cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
}

/// A request, and where its answer goes; none comes if this is dropped.
pub type Asked = (Message, oneshot::Sender<Message>);

/// How bodies are written; the server writes its own alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Speech {
    /// The serializer's number: [`seata::SERIALIZER`] or [`quorate_core::wire::protobuf::SERIALIZER`].
    pub serializer: u8,
    /// The compressor's number, see [`quorate_compressor::Compressor`]; 0 is none.
    pub compressor: u8,
}

impl Default for Speech {
    fn default() -> Speech {
        Speech { serializer: seata::SERIALIZER, compressor: 0 }
    }
}

impl Speech {
    fn head(self, kind: MessageKind, request_id: i32) -> Head {
        let Speech { serializer, compressor } = self;
        Head { serializer, compressor, ..Head::new(Version::V1, kind, request_id) }
    }
}

/// A request of the server.
#[derive(Debug)]
pub struct Inbound {
    /// What is asked.
    pub message: Message,
    head: Head,
    shared: Arc<Shared>,
}

impl Inbound {
    /// Answers it on the connection that it came on, in its own serializer.
    pub fn reply(&self, message: &Message) -> Result<(), CallError> {
        self.shared.state().write(&self.head.answer(), message)?;
        self.shared.outgoing.notify_one();
        Ok(())
    }
}

/// Called for each [`Inbound`], in order, by the reader: must not block.
pub type OnRequest = Arc<dyn Fn(Inbound) + Send + Sync>;

/// A live or dead connection; clones share it. It closes when the last clone goes.
#[derive(Clone, Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    _held: Arc<ClosesOnDrop>,
}

#[derive(Debug)]
struct ClosesOnDrop(Arc<Shared>);

impl Drop for ClosesOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Shared {
    address: SocketAddr,
    speech: Speech,
    state: Mutex<State>,
    outgoing: Notify,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    last_id: i32,
    waiting: BTreeMap<i32, oneshot::Sender<Message>>,
    /// Merged frames, by their ids.
    frames: BTreeMap<i32, Frame>,
    buffer: BytesMut,
    closed: bool,
}

/// A merged frame that was sent.
struct Frame {
    /// Ids of its requests, in their order.
    children: Vec<i32>,
    /// Then nobody waits any more.
    until: Instant,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection to {}", self.address)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails everything that waits; later calls fail at once.
    fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            state.frames.clear();
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
        self.closed.send(true);
        self.outgoing.notify_one();
    }
}

impl Connection {
    /// Connects; nothing is registered yet.
    pub async fn open(address: SocketAddr, speech: Speech, on_request: OnRequest) -> Result<Connection, CallError> {
        let stream = match timeout(CONNECT_TIMEOUT, net::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return Err(CallError::NotConnected),
        };
        let (reader, writer) = stream.split();
        let (closed, _) = watch::channel(false);
        let shared = Arc::new(Shared { address, speech, state: Mutex::default(), outgoing: Notify::new(), closed });
        task::spawn(drive(shared.clone(), reader, writer, on_request));
        Ok(Connection { _held: Arc::new(ClosesOnDrop(shared.clone())), shared })
    }

    /// The node's address.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Whether it broke or was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.state().closed
    }

    /// Returns when it is closed.
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        while !*closed.borrow() {
            if closed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends it. What waits for answers gets [`CallError::Broken`].
    pub fn close(&self) {
        self.shared.close();
    }

    /// Sends a request and waits for its answer.
    pub async fn call(&self, message: &Message, patience: Duration) -> Result<Message, CallError> {
        let (id, answer) = self.send_request(message)?;
        match timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Broken),
            Err(_) => {
                self.shared.state().waiting.remove(&id);
                Err(CallError::TimedOut)
            }
        }
    }

    /// Sends requests in one merged frame; clients before 1.5 write no ids into it. Whoever has no answer after `patience`
    /// must have stopped waiting.
    pub fn send_merged(&self, asked: Vec<Asked>, with_ids: bool, patience: Duration) -> Result<(), CallError> {
        let (messages, waiting): (Vec<Message>, Vec<oneshot::Sender<Message>>) = asked.into_iter().unzip();
        {
            let mut state = self.shared.state();
            state.forget_the_late();
            let children: Vec<i32> = waiting.iter().map(|_| state.next_id()).collect();
            let id = state.next_id();
            let merged = Message::Merged { messages, ids: with_ids.then(|| children.clone()) };
            // As Java does, though it is answered.
            state.write(&self.shared.speech.head(MessageKind::OneWay, id), &merged)?;
            state.waiting.extend(children.iter().copied().zip(waiting));
            state.frames.insert(id, Frame { children, until: Instant::now() + patience });
        }
        self.shared.outgoing.notify_one();
        Ok(())
    }

    fn send_request(&self, message: &Message) -> Result<(i32, oneshot::Receiver<Message>), CallError> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.shared.state();
            let id = state.next_id();
            state.write(&self.shared.speech.head(MessageKind::Request, id), message)?;
            state.waiting.insert(id, sender);
            id
        };
        self.shared.outgoing.notify_one();
        Ok((id, answer))
    }
}

impl State {
    fn next_id(&mut self) -> i32 {
        self.last_id = self.last_id.wrapping_add(1) & i32::MAX;
        self.last_id
    }

    /// Frames whose time is up; the oldest have the lowest ids.
    fn forget_the_late(&mut self) {
        while let Some(oldest) = self.frames.first_entry().filter(|oldest| oldest.get().until <= Instant::now()) {
            for child in oldest.remove().children {
                self.waiting.remove(&child);
            }
        }
    }

    /// Hands out what a frame answers.
    fn answered(&mut self, id: i32, message: Message) {
        let mut hand_out = |id: i32, message: Message| {
            if let Some(waiting) = self.waiting.remove(&id) {
                // Whoever asked may have given up meanwhile.
                let _ = waiting.send(message);
            }
        };
        match message {
            // By position, as Java reads it. Who is left over has no answer.
            Message::MergeResult { messages } => {
                let children = self.frames.remove(&id).map_or(Vec::new(), |frame| frame.children);
                let left_over = children.get(messages.len()..).unwrap_or_default().to_vec();
                children.into_iter().zip(messages).for_each(|(id, message)| hand_out(id, message));
                left_over.iter().for_each(|id| _ = self.waiting.remove(id));
            }
            Message::BatchResult { messages, ids } => {
                ids.into_iter().zip(messages).for_each(|(id, message)| hand_out(id, message));
            }
            single => hand_out(id, single),
        }
    }

    fn write(&mut self, head: &Head, message: &Message) -> Result<(), CallError> {
        if self.closed {
            return Err(CallError::NotConnected);
        }
        if self.buffer.len() > OUTGOING_BYTES_MAX {
            return Err(CallError::Full);
        }
        Ok(encode_frame(head, message, &mut self.buffer)?)
    }
}

/// Reads, writes and pings until either side ends.
async fn drive(shared: Arc<Shared>, reader: ReadHalf, writer: WriteHalf, on_request: OnRequest) {
    match select3(read(&shared, reader, on_request), write(&shared, writer), ping(&shared)).await {
        Either3::First(()) | Either3::Second(()) | Either3::Third(()) => shared.close(),
    }
}

async fn read(shared: &Arc<Shared>, mut reader: ReadHalf, on_request: OnRequest) {
    let mut decoder = Decoder::new();
    loop {
        match timeout(IDLE_TIMEOUT, reader.read_buf(decoder.buffer_mut())).await {
            Ok(Ok(bytes)) if bytes > 0 => {}
            Ok(Ok(_) | Err(_)) | Err(_) => return,
        }
        loop {
            match decoder.next_frame() {
                Ok(Some(decoded)) => receive(shared, open(decoded), &on_request),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "the server sent no frame");
                    return;
                }
            }
        }
    }
}

fn receive(shared: &Arc<Shared>, decoded: Decoded, on_request: &OnRequest) {
    match decoded {
        Decoded::Message(head, message) if is_request(&message) => {
            on_request(Inbound { message, head, shared: shared.clone() });
        }
        Decoded::Message(head, message) => {
            shared.state().answered(head.request_id, message);
        }
        Decoded::Heartbeat(_) => {}
        Decoded::Opaque(head, _) => tracing::warn!(?head, "an answer in a serializer that was not asked for"),
        Decoded::Undecodable(head, error) => tracing::warn!(?head, %error, "an answer that cannot be read"),
    }
}

fn is_request(message: &Message) -> bool {
    matches!(message, Message::BranchCommit { .. } | Message::BranchRollback { .. } | Message::UndoLogDelete { .. })
}

async fn write(shared: &Shared, mut writer: WriteHalf) {
    loop {
        let bytes = {
            let mut state = shared.state();
            if state.closed {
                return;
            }
            state.buffer.split()
        };
        if bytes.is_empty() {
            shared.outgoing.notified().await;
        } else if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

async fn ping(shared: &Shared) {
    loop {
        sleep(PING_INTERVAL).await;
        let mut state = shared.state();
        let id = state.next_id();
        // A ping always fits a frame.
        let _ = encode_heartbeat(&shared.speech.head(MessageKind::Ping, id), &mut state.buffer);
        drop(state);
        shared.outgoing.notify_one();
    }
}
