//! A stream of the world as hyper wants it, and the end of those that fall asleep.

use bytes::{Buf, Bytes};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use quorate_world::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use quorate_world::net::Stream;
use quorate_world::time::{Duration, Instant, Sleep, sleep_until};

/// A connection on which nothing moves for so long is closed. Longer than any watch.
pub const IDLE: Duration = Duration::from_secs(120);

const READ_BYTES: usize = 8 << 10;

/// The connection.
pub struct Adapter {
    stream: Stream,
    /// What was read before it was known that this is HTTP.
    before: Bytes,
    moved: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl Adapter {
    /// A connection from which `before` has been read already.
    pub fn new(stream: Stream, before: Bytes) -> Adapter {
        let moved = Instant::now();
        Adapter { stream, before, moved, alarm: Box::pin(sleep_until(moved + IDLE)) }
    }

    fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// Pending, unless nothing has moved for too long. The alarm is set anew only when it rings, not at every byte.
    fn idle<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let deadline = self.moved + IDLE;
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
                this.moved();
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
            Poll::Pending => self.idle(context),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
