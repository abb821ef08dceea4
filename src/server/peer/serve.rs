//! Connections that other nodes open: they ask, this node answers on the same connection.
//!
//! Each request is served by a task of its own, so a slow one holds nobody up; answers therefore leave in the order
//! in which they are ready, and requests that must be in order wait for each other's answers at the asker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_core::model::NodeId;
use quorate_world::io::AsyncReadExt;
use quorate_world::net::{Listener, ReadHalf, Stream};
use quorate_world::select::{Either3, select3};
use quorate_world::sync::OwnedSemaphorePermit;
use quorate_world::task;
use quorate_world::time::{self, Duration};

use super::frame::{BODY_BYTES_MAX, Decoder, Frame, Head, Role};
use super::hello::{HELLO_BYTES_MAX, HelloRefusal, HelloV1};
use super::kind::{Class, Kind};
use super::neighbour::Peer;
use super::outgoing::Outgoing;
use super::peers::Shared;
use super::refused::ErrorV1;
use super::shake::{self, ShakeError};
use super::stranger;

/// Requests of one connection that are served at a time; beyond, they are answered as busy. Parked requests count.
const SERVED_MAX: usize = 65_536;
/// After a failed accept (no file descriptor left, say) others get the chance to close something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Takes connections for ever.
pub(super) async fn accept_all(listener: Listener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                task::spawn(async move { serve(stream, shared).await });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection on the peer port failed");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(mut stream: Stream, shared: Arc<Shared>) {
    let mut decoder = Decoder::new(HELLO_BYTES_MAX);
    let met = time::timeout(shared.options.connect_limit(), meet(&mut stream, &mut decoder, &shared)).await;
    match met {
        Ok(Ok(Met::Stranger(_seat))) => stranger::serve(stream, decoder, &shared).await,
        Ok(Ok(Met::Node(peer, class, hello))) => {
            decoder.body_bytes_max = BODY_BYTES_MAX;
            converse(stream, decoder, (&peer, class, &hello), shared).await;
        }
        Ok(Err(ShakeError::Io(error))) => tracing::debug!(%error, "a connection ended before its hello"),
        Ok(Err(ShakeError::NotWelcome(refusal))) => {
            shared.counters.hellos_refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%refusal, "a node was refused");
        }
        Ok(Err(error)) => {
            shared.counters.frames_wrong.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, "connection closed: no proper hello");
        }
        Err(_) => tracing::debug!("a connection without a hello was closed"),
    }
}

/// Who has said hello.
enum Met {
    Node(Arc<Peer>, Class, HelloV1),
    /// A node that wants to join and has no id yet, in one of the few seats for such.
    Stranger(OwnedSemaphorePermit),
}

async fn meet(stream: &mut Stream, decoder: &mut Decoder, shared: &Shared) -> Result<Met, ShakeError> {
    let hello = shake::await_hello(stream, decoder).await?;
    let own = shared.own();
    let judged = match own.is_stranger(&hello) {
        Ok(true) => match shared.strangers.clone().try_acquire_owned() {
            Ok(seat) => Ok((Met::Stranger(seat), Class::Request)),
            Err(_) => Err(HelloRefusal::TooManyStrangers),
        },
        Ok(false) => shared.admit_asker(&hello).map(|(peer, class)| (Met::Node(peer, class, hello.clone()), class)),
        Err(refusal) => Err(refusal),
    };
    match judged {
        Ok((met, class)) => {
            shake::welcome(stream, &own, class).await?;
            Ok(met)
        }
        Err(refusal) => {
            quorate_core::sometimes!("hello_is_refused");
            tracing::debug!(node = ?hello.node, "refusing a hello");
            shake::refuse(stream, &refusal).await?;
            Err(ShakeError::NotWelcome(refusal))
        }
    }
}

async fn converse(stream: Stream, decoder: Decoder, who: (&Peer, Class, &HelloV1), shared: Arc<Shared>) {
    let (peer, class, hello) = who;
    let closing = peer.accept(class);
    peer.heard_now();
    shared.keep_hello(peer.node, hello);
    let answers = Arc::new(Outgoing::new(class.queue_bytes_max()));
    let (mut read, mut write) = stream.split();
    let conversation = Conversation { from: peer.node, answers: answers.clone(), served: Arc::default(), shared };
    let reading = conversation.read_requests(&mut read, decoder, peer);
    let ended = match select3(reading, answers.write_to(&mut write), closing.notified()).await {
        Either3::First(reason) => reason,
        Either3::Second(_) => "writing failed",
        Either3::Third(()) => "closed here",
    };
    peer.leave(class, &closing);
    answers.close();
    answers.clear();
    tracing::debug!(node = %peer.node, ?class, ended, "inbound connection ended");
}

struct Conversation {
    from: NodeId,
    answers: Arc<Outgoing>,
    served: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

impl Conversation {
    async fn read_requests(&self, read: &mut ReadHalf, mut decoder: Decoder, peer: &Peer) -> &'static str {
        loop {
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => self.take(frame),
                    Ok(None) => break,
                    Err(error) => {
                        self.shared.counters.frames_wrong.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(node = %self.from, %error, "wrong frame, connection closed");
                        return "a wrong frame";
                    }
                }
            }
            decoder.make_room();
            match read.read_buf(&mut decoder.buffer).await {
                Ok(0) => return "closed by the other side",
                Ok(_) => peer.heard_now(),
                Err(_) => return "reading failed",
            }
        }
    }

    fn take(&self, frame: Frame) {
        let head = frame.head;
        match head.role {
            Role::Request => {}
            // Answers come on the connection that this node opens; one here has no meaning.
            Role::Answer | Role::Error => return,
        }
        match Kind::of_number(head.kind) {
            Some(Kind::Ping) => answer(&self.answers, head, Role::Answer, &[]),
            Some(Kind::Hello) => {}
            Some(kind) => self.serve(kind, frame),
            None => answer(&self.answers, head, Role::Error, &ErrorV1::UnknownKind(head.kind).bytes()),
        }
    }

    fn serve(&self, kind: Kind, frame: Frame) {
        let Frame { head, body } = frame;
        let Some(handler) = self.shared.handler() else {
            quorate_core::sometimes!("node_is_asked_before_it_serves");
            return answer(&self.answers, head, Role::Error, &ErrorV1::NotServing.bytes());
        };
        if self.served.fetch_add(1, Ordering::Relaxed) >= SERVED_MAX {
            self.served.fetch_sub(1, Ordering::Relaxed);
            return answer(&self.answers, head, Role::Error, &ErrorV1::Busy.bytes());
        }
        let (from, answers, served) = (self.from, self.answers.clone(), self.served.clone());
        task::spawn(async move {
            match handler.handle(from, kind, head.group, body).await {
                Ok(body) if body.len() <= BODY_BYTES_MAX => answer(&answers, head, Role::Answer, &body),
                Ok(_) => {
                    answer(&answers, head, Role::Error, &ErrorV1::Refused("the answer is too long".into()).bytes())
                }
                Err(reason) => answer(&answers, head, Role::Error, &ErrorV1::Refused(reason).bytes()),
            }
            served.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Sends an answer, if one is wanted. If it cannot be queued, the asker's deadline tells it.
fn answer(answers: &Outgoing, to: Head, role: Role, body: &[u8]) {
    if to.request != 0 {
        let head = Head { role, ..to };
        if answers.push(head, body).is_err() {
            quorate_core::sometimes!("answer_to_a_node_was_dropped");
            tracing::debug!(kind = to.kind, "an answer was dropped: its connection is gone or full");
        }
    }
}
