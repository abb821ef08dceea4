//! One Seata connection: frames in, frames out, until one of the two ends.
//!
//! One task does both, reading first. It writes once for all that gathered in the outbox since the last write, or frame
//! by frame where the outbox keeps frames apart for a client that reads one per read. Nobody waits for a slow client:
//! what it does not read fills its outbox, and at the bound the connection ends.

use super::foreign;
use super::traffic::Traffic;
use crate::coordinator::Outbox;
use bytes::Bytes;
use core::net::SocketAddr;
use core::pin::pin;
use quorate_core::wire::{Decoded, Decoder, FrameError, MessageError, encode_frame};
use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{ReadHalf, Stream, WriteHalf};
use quorate_world::select::{Either2, select2};
use quorate_world::task::yield_now;
use quorate_world::time::{Duration, Instant, sleep_until};

/// A client that says nothing for so long is gone; the slowest pings every 10 s (protocol, section 5.5).
pub const READ_IDLE: Duration = Duration::from_secs(15);
/// Room made for one read.
const READ_BYTES: usize = 16 << 10;

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The client closed it.
    ByClient,
    /// The coordinator closed it, or the node stops; what was queued has left.
    ByUs,
    /// Nothing came for too long.
    Idle,
    /// Nobody knows where the next frame begins.
    Framing(FrameError),
    /// The client does not read.
    Slow,
    /// The network says so.
    Broken(io::Error),
}

impl Ended {
    /// All names, for counting.
    pub const NAMES: [&'static str; 6] = ["client", "server", "idle", "framing", "slow", "broken"];

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Ended::ByClient => "client",
            Ended::ByUs => "server",
            Ended::Idle => "idle",
            Ended::Framing(_) => "framing",
            Ended::Slow => "slow",
            Ended::Broken(_) => "broken",
        }
    }
}

/// What a connection works with.
pub struct Connection<'a> {
    /// The other end.
    pub peer: SocketAddr,
    /// Read from it already.
    pub before: Bytes,
    /// The way out.
    pub out: &'a Outbox,
    /// Where it is counted.
    pub traffic: &'a Traffic,
    /// See [`READ_IDLE`].
    pub idle: Duration,
}

impl Connection<'_> {
    /// Gives every frame to `take`, in order, and writes what the outbox holds.
    pub async fn run(mut self, stream: Stream, take: impl FnMut(Decoded)) -> Ended {
        let (mut read, mut write) = stream.split();
        let out = self.out;
        let ended = select2(self.read_frames(&mut read, take), write_frames(&mut write, out)).await;
        out.close();
        match ended {
            Either2::First(ended) | Either2::Second(ended) => ended,
        }
    }

    async fn read_frames(&mut self, read: &mut ReadHalf, mut take: impl FnMut(Decoded)) -> Ended {
        let mut decoder = Decoder::new();
        decoder.push(&self.before);
        let mut read_at = Instant::now();
        let mut alarm = pin!(sleep_until(read_at + self.idle));
        let mut advised = false;
        loop {
            loop {
                match decoder.next_frame() {
                    Ok(Some(shut @ Decoded::Opaque(..))) => {
                        take(self.open(shut, &mut advised));
                        // A few bytes may have become 8 MiB: it is somebody else's turn.
                        yield_now().await;
                    }
                    Ok(Some(decoded)) => take(decoded),
                    Ok(None) => break,
                    Err(error) => return Ended::Framing(error),
                }
            }
            let buffer = decoder.buffer_mut();
            buffer.reserve(READ_BYTES);
            match select2(read.read_buf(buffer), alarm.as_mut()).await {
                Either2::First(Ok(0)) => return Ended::ByClient,
                Either2::First(Ok(_)) => read_at = Instant::now(),
                Either2::First(Err(error)) => return Ended::Broken(error),
                // The alarm is set anew when it rings, not at every read.
                Either2::Second(()) if read_at + self.idle <= Instant::now() => return Ended::Idle,
                Either2::Second(()) => alarm.set(sleep_until(read_at + self.idle)),
            }
        }
    }

    /// Unpacks a body. One that we cannot read is the client's configuration: said once per connection, counted always.
    fn open(&self, shut: Decoded, advised: &mut bool) -> Decoded {
        let opened = quorate_compressor::open(shut);
        match &opened {
            Decoded::Opaque(head, body) => {
                self.traffic.foreign_frame();
                let advice = foreign::advice(head);
                if let Some((head, refusal)) = foreign::refusal(head, body, &advice) {
                    self.out.put(|out| encode_frame(&head, &refusal, out));
                }
                if !std::mem::replace(advised, true) {
                    tracing::error!(peer = %self.peer, "{advice}");
                }
            }
            Decoded::Undecodable(head, error @ MessageError::Packed(_)) if !std::mem::replace(advised, true) => {
                let compressor = foreign::compressor(head.compressor);
                tracing::error!(peer = %self.peer, compressor, %error, "a frame was dropped");
            }
            Decoded::Heartbeat(_) | Decoded::Message(..) | Decoded::Undecodable(..) => {}
        }
        opened
    }
}

/// Ends when the outbox is closed and empty, or the network or the client gives out.
async fn write_frames(write: &mut WriteHalf, out: &Outbox) -> Ended {
    while let Some(frames) = out.next().await {
        match select2(write.write_all(&frames), out.overrun()).await {
            Either2::First(Ok(())) => {}
            Either2::First(Err(error)) => return Ended::Broken(error),
            Either2::Second(()) => return Ended::Slow,
        }
    }
    if out.is_overrun() {
        return Ended::Slow;
    }
    match write.shutdown().await {
        Ok(()) => Ended::ByUs,
        Err(error) => Ended::Broken(error),
    }
}
