//! A connection that this node opens: it asks, the answers come back on it.
//!
//! One task per link connects, says hello, writes what waits and reads the answers; when the connection breaks,
//! everything pending is answered with [`CallError::Unreachable`] and the task tries again after a growing pause with
//! jitter. While a connection is being made, questions wait for it; during the pause they fail at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::model::GroupId;
use quorate_world::io::AsyncReadExt;
use quorate_world::net::{self, ReadHalf, Stream};
use quorate_world::random;
use quorate_world::select::{Either2, Either3, select2, select3};
use quorate_world::sync::Notify;
use quorate_world::time::{self, Duration};

use super::CallError;
use super::frame::{BODY_BYTES_MAX, Decoder, Frame, Head, Role};
use super::hello::{HELLO_BYTES_MAX, HelloV1};
use super::kind::{Class, Kind};
use super::neighbour::Peer;
use super::outgoing::{NotTaken, Outgoing};
use super::peers::Shared;
use super::pending::{Pending, Wait};
use super::refused::ErrorV1;
use super::shake::{self, ShakeError};

const PAUSE_FIRST_MS: u64 = 10;
const PAUSE_LONGEST_MS: u64 = 1_000;

/// One connection that this node opens, over its many lives.
pub struct Link {
    class: Class,
    phase: Mutex<Phase>,
    outgoing: Outgoing,
    pending: Arc<Pending>,
    next_request: AtomicU64,
    /// Somebody wants it, or the pause is over early.
    wanted: Notify,
}

enum Phase {
    /// Nobody has asked yet.
    Idle,
    /// Questions wait for it.
    Connecting,
    /// Questions go out. The notify ends this one connection.
    Up(Arc<Notify>),
    /// It broke or was not to be had: questions fail until the next try.
    Pausing,
    /// The node is about to stop.
    Stopped,
}

impl Link {
    /// A link that is not yet wanted.
    pub fn new(class: Class) -> Link {
        Link {
            class,
            phase: Mutex::new(Phase::Idle),
            outgoing: Outgoing::new(class.queue_bytes_max()),
            pending: Arc::new(Pending::default()),
            next_request: AtomicU64::new(1),
            wanted: Notify::new(),
        }
    }

    /// Sends a question and returns the wait for its answer.
    pub fn ask(&self, kind: Kind, group: GroupId, body: &[u8]) -> Result<Wait, CallError> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        // Under the phase: a connection that breaks meanwhile fails this question too.
        let phase = self.want()?;
        let wait = self.pending.ask(request);
        self.push(kind, group, request, body)?;
        drop(phase);
        Ok(wait)
    }

    /// Sends something that wants no answer.
    pub fn tell(&self, kind: Kind, group: GroupId, body: &[u8]) -> Result<(), CallError> {
        let phase = self.want()?;
        self.push(kind, group, 0, body)?;
        drop(phase);
        Ok(())
    }

    /// Asks for a sign of life, if the connection is up; any answer is one.
    pub fn ping(&self) {
        if self.is_up() {
            let request = self.next_request.fetch_add(1, Ordering::Relaxed);
            // A full queue is a sign of its own, and the silence that follows is what counts.
            let _ = self.push(Kind::Ping, GroupId::META, request, &[]);
        }
    }

    /// Whether questions go out at once.
    pub fn is_up(&self) -> bool {
        matches!(*self.phase(), Phase::Up(_))
    }

    /// Bytes that wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.outgoing.bytes()
    }

    /// Ends the connection, if there is one; the task opens another.
    pub fn close(&self) {
        if let Phase::Up(close) = self.fail() {
            close.notify_one();
        }
    }

    /// Ends the pause between two tries: questions wait for the next one.
    pub fn retry_now(&self) {
        if self.move_on(|phase| matches!(phase, Phase::Pausing), Phase::Connecting) {
            quorate_core::sometimes!("pause_of_a_link_is_cut_short");
            self.wanted.notify_one();
        }
    }

    /// Takes no more questions, for good.
    pub fn stop(&self) {
        self.close();
        *self.phase() = Phase::Stopped;
        self.wanted.notify_one();
    }

    /// The life of the link.
    pub(super) async fn run(self: Arc<Self>, peer: Arc<Peer>, shared: Arc<Shared>) {
        // The connection for requests is also the sign of life; a snapshot's may never be needed.
        if self.class != Class::Bulk {
            self.move_on(|phase| matches!(phase, Phase::Idle), Phase::Connecting);
        }
        let mut pause_ms = PAUSE_FIRST_MS;
        loop {
            while matches!(*self.phase(), Phase::Idle) {
                self.wanted.notified().await;
            }
            if matches!(*self.phase(), Phase::Stopped) {
                return;
            }
            let opened = time::timeout(shared.options.connect_limit(), self.open(&peer, &shared)).await;
            match opened {
                Ok(Ok((stream, decoder, hello))) => {
                    pause_ms = PAUSE_FIRST_MS;
                    self.live(stream, decoder, &hello, &peer, &shared).await;
                }
                Ok(Err(error)) => self.not_opened(&peer, &shared, error),
                Err(_) => {
                    quorate_core::sometimes!("connection_to_a_node_took_too_long");
                    tracing::debug!(node = %peer.node, class = ?self.class, "no connection in time");
                }
            }
            let _ = self.fail();
            self.pause(&mut pause_ms).await;
        }
    }

    async fn open(&self, peer: &Peer, shared: &Shared) -> Result<(Stream, Decoder, HelloV1), ShakeError> {
        let address = peer.address().ok_or(std::io::ErrorKind::AddrNotAvailable).map_err(std::io::Error::from)?;
        let address = net::resolve(&address).await?;
        let mut stream = net::connect(address).await?;
        let mut decoder = Decoder::new(HELLO_BYTES_MAX);
        let own = shared.own();
        let hello = match shake::greet(&mut stream, &mut decoder, &own, self.class).await {
            // What was refused is no longer what this node says: it was founded meanwhile.
            Err(ShakeError::RefusedUs(_)) if own != shared.own() => return Err(ShakeError::Outdated),
            answered => answered?,
        };
        shared.admit_answer(peer, self.class, &hello)?;
        decoder.body_bytes_max = BODY_BYTES_MAX;
        Ok((stream, decoder, hello))
    }

    fn not_opened(&self, peer: &Peer, shared: &Shared, error: ShakeError) {
        match error {
            ShakeError::Io(error) => {
                tracing::debug!(node = %peer.node, class = ?self.class, %error, "no connection");
            }
            ShakeError::Outdated => quorate_core::sometimes!("node_was_founded_while_it_said_hello"),
            ShakeError::RefusedUs(refusal) => shared.was_refused(peer.node, refusal),
            ShakeError::NotWelcome(refusal) => {
                tracing::warn!(node = %peer.node, %refusal, "what answers at the node's address is not welcome");
                shared.counters.hellos_refused.fetch_add(1, Ordering::Relaxed);
            }
            ShakeError::Frame(_) | ShakeError::Codec(_) | ShakeError::NoHello => {
                tracing::warn!(node = %peer.node, class = ?self.class, %error, "connection closed: no proper hello");
                shared.counters.frames_wrong.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn live(&self, stream: Stream, decoder: Decoder, hello: &HelloV1, peer: &Peer, shared: &Shared) {
        let close = Arc::new(Notify::new());
        if !self.move_on(|phase| matches!(phase, Phase::Connecting), Phase::Up(close.clone())) {
            return;
        }
        shared.keep_hello(peer.node, hello);
        tracing::debug!(node = %peer.node, class = ?self.class, "connected");
        let (mut read, mut write) = stream.split();
        let ended = {
            let reading = self.read_answers(&mut read, decoder, peer, shared);
            let writing = self.outgoing.write_to(&mut write);
            match select3(reading, writing, close.notified()).await {
                Either3::First(reason) => reason,
                Either3::Second(_) => "writing failed",
                Either3::Third(()) => "closed here",
            }
        };
        tracing::debug!(node = %peer.node, class = ?self.class, ended, "connection ended");
    }

    async fn read_answers(
        &self,
        read: &mut ReadHalf,
        mut decoder: Decoder,
        peer: &Peer,
        shared: &Shared,
    ) -> &'static str {
        loop {
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => self.take(frame),
                    Ok(None) => break,
                    Err(error) => {
                        shared.counters.frames_wrong.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(node = %peer.node, class = ?self.class, %error, "wrong frame, connection closed");
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
        match frame.head.role {
            Role::Answer => self.pending.answer(frame.head.request, Ok(frame.body)),
            Role::Error => self.pending.answer(frame.head.request, Err(ErrorV1::read(&frame.body))),
            // Requests come on the connection that the other side opens; one here has no meaning.
            Role::Request => {}
        }
    }

    async fn pause(&self, pause_ms: &mut u64) {
        // Lazy again: the next question opens it.
        let pausing = |phase: &Phase| matches!(phase, Phase::Pausing);
        if self.class == Class::Bulk && self.move_on(pausing, Phase::Idle) {
            return;
        }
        if !matches!(*self.phase(), Phase::Pausing) {
            return;
        }
        let jittered_ms = *pause_ms / 2 + random::below(*pause_ms);
        *pause_ms = (*pause_ms * 2).min(PAUSE_LONGEST_MS);
        let over = time::sleep(Duration::from_millis(jittered_ms));
        if let Either2::First(()) = select2(self.wanted.notified(), over).await {
            *pause_ms = PAUSE_FIRST_MS;
        }
        self.move_on(pausing, Phase::Connecting);
    }

    /// Fails what waits: there is no connection. Returns the phase that it ends.
    fn fail(&self) -> Phase {
        let mut phase = self.phase();
        let before = match *phase {
            Phase::Stopped => Phase::Stopped,
            Phase::Idle => Phase::Idle,
            Phase::Connecting | Phase::Up(_) | Phase::Pausing => std::mem::replace(&mut *phase, Phase::Pausing),
        };
        self.outgoing.clear();
        let error = match &before {
            Phase::Up(_) | Phase::Stopped => CallError::Broken,
            Phase::Idle | Phase::Connecting | Phase::Pausing => CallError::Unreachable,
        };
        self.pending.fail_all(&error);
        before
    }

    /// Holds the phase still, if a question may be sent in it.
    fn want(&self) -> Result<MutexGuard<'_, Phase>, CallError> {
        let mut phase = self.phase();
        match *phase {
            Phase::Connecting | Phase::Up(_) => {}
            Phase::Idle => {
                *phase = Phase::Connecting;
                self.wanted.notify_one();
            }
            Phase::Pausing | Phase::Stopped => {
                quorate_core::sometimes!("question_met_a_broken_link");
                return Err(CallError::Unreachable);
            }
        }
        Ok(phase)
    }

    fn push(&self, kind: Kind, group: GroupId, request: u64, body: &[u8]) -> Result<(), CallError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(CallError::Refused(format!("{} bytes are more than fit into a frame", body.len())));
        }
        let head = Head { kind: kind.number(), role: Role::Request, group, request };
        self.outgoing.push(head, body).map_err(|not_taken| match not_taken {
            NotTaken::Full => {
                quorate_core::sometimes!("queue_to_a_node_is_full");
                CallError::Full
            }
            NotTaken::Closed => CallError::Unreachable,
        })
    }

    /// Goes over to a phase from one that fits; says whether it did.
    fn move_on(&self, fits: impl Fn(&Phase) -> bool, to: Phase) -> bool {
        let mut phase = self.phase();
        let there = fits(&phase);
        if there {
            *phase = to;
        }
        there
    }

    // A panic while it is held ends the process in production.
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
