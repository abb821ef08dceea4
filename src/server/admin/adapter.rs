//! A stream of the world as hyper wants it, and the end of those that fall asleep, whose request never gets to its end, or
//! that do not read their answer to its end.

use bytes::{Buf, Bytes};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use quorate_world::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use quorate_world::net::Stream;
use quorate_world::time::{Duration, Instant, Sleep, sleep_until};
use std::sync::{Arc, Mutex, PoisonError};

/// A connection on which nothing moves for so long is closed. Longer than any watch.
pub const IDLE: Duration = Duration::from_secs(120);
/// The head of a request is whole within this: of the first since the connection came, of another since its first byte.
pub const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// An answer that the network does not take at once has left within this. Meanwhile it is memory, and a connection of few.
pub const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

const READ_BYTES: usize = 8 << 10;

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the head of a request, see [`HEAD_PATIENCE`].
    pub head: Duration,
    /// For reading an answer, see [`ANSWER_PATIENCE`].
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { head: HEAD_PATIENCE, answer: ANSWER_PATIENCE }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A request is on its way, and its head must be whole by then.
    Head(Instant),
    /// A request has come and is being answered.
    Answering,
    /// The next request may begin.
    Between,
}

/// How far a connection is with its requests. Whoever answers them says so.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Mutex<Phase>>);

/// A request that is being answered, for as long as this lives.
pub struct Answering(Turn);

impl Turn {
    /// A request's head is whole.
    pub fn answering(&self) -> Answering {
        self.set(Phase::Answering);
        Answering(self.clone())
    }

    fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn get(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set(Phase::Between);
    }
}

/// The connection.
pub struct Adapter {
    stream: Stream,
    /// What was read before it was known that this is HTTP.
    before: Bytes,
    moved: Instant,
    turn: Turn,
    /// When what is being written must have left; set once it has to wait.
    written_by: Option<Instant>,
    patience: Patience,
    alarm: Pin<Box<Sleep>>,
}

impl Adapter {
    /// A connection from which `before` has been read already, and on which a request must have begun and ended its head
    /// in time.
    pub fn new(stream: Stream, before: Bytes, patience: Patience) -> Adapter {
        let moved = Instant::now();
        let head_by = moved + patience.head;
        let turn = Turn(Arc::new(Mutex::new(Phase::Head(head_by))));
        let alarm = Box::pin(sleep_until(head_by));
        Adapter { stream, before, moved, turn, written_by: None, patience, alarm }
    }

    /// To be told when a request is being answered.
    pub fn turn(&self) -> Turn {
        self.turn.clone()
    }

    fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// Bytes have come. What is left in a body that nobody read counts as the next head: it is not to take long either.
    fn has_read(&mut self) {
        self.moved();
        if self.turn.get() == Phase::Between {
            let head_by = self.moved + self.patience.head;
            self.turn.set(Phase::Head(head_by));
            self.alarm = Box::pin(sleep_until(head_by));
        }
    }

    /// The network takes no more for now. The next answer has time of its own, but not what hurries after this one.
    fn must_wait(&mut self) {
        if self.written_by.is_none() {
            let written_by = Instant::now() + self.patience.answer;
            self.written_by = Some(written_by);
            self.alarm = Box::pin(sleep_until(written_by));
        }
    }

    /// When this connection is given up, as things stand.
    fn deadline(&self) -> Instant {
        let idle_at = self.moved + IDLE;
        let written_by = self.written_by.unwrap_or(idle_at).min(idle_at);
        match self.turn.get() {
            Phase::Head(head_by) => head_by.min(written_by),
            Phase::Answering | Phase::Between => written_by,
        }
    }

    /// Pending, unless it took too long. The alarm is set anew only when it rings, not at every byte.
    fn idle<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let deadline = self.deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm = Box::pin(sleep_until(deadline));
        }
        Poll::Pending
    }
}

impl hyper::rt::Read for Adapter {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.before.is_empty() {
            let bytes = this.before.len().min(into.remaining());
            into.put_slice(&this.before[..bytes]);
            this.before.advance(bytes);
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; READ_BYTES];
        let bytes = READ_BYTES.min(into.remaining());
        let mut read = ReadBuf::new(&mut space[..bytes]);
        match Pin::new(&mut this.stream).poll_read(context, &mut read) {
            Poll::Ready(Ok(())) => {
                into.put_slice(read.filled());
                this.has_read();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.idle(context),
        }
    }
}

impl hyper::rt::Write for Adapter {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, from) {
            Poll::Ready(written) => {
                self.moved();
                Poll::Ready(written)
            }
            Poll::Pending => {
                self.must_wait();
                self.idle(context)
            }
        }
    }

    /// Asked for when all that was to be written has been taken.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.written_by = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
