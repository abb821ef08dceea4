//! One Seata connection: frames in, frames out, until one of the two ends.
//!
//! One task does both, reading first. It writes once for all that gathered in the outbox since the last write, or frame
//! by frame where the outbox keeps frames apart for a client that reads one per read. Nobody waits for a slow client:
//! what it does not read fills its outbox. First it is not read any more either; when it takes nothing for long, its
//! outbox reaches the bound, or those of all clients reach theirs, the connection ends.
//!
//! A frame whose end has not come is memory that its client got for nothing. Long ones share a room (`Unfinished`), and each
//! must be whole within half a minute. Who has not registered yet may announce a registration, and has a room apart, so that
//! strangers keep no client waiting; and no client waits for room longer than for the frame. A packed body that becomes long
//! is unpacked when one of a few places for such is free, and keeps it until it is taken.

use super::foreign::{self, Refusal};
use super::traffic::Traffic;
use crate::coordinator::Outbox;
use crate::coordinator::channels::RESOURCES_OF_CHANNEL_MAX;
use crate::coordinator::outbox::Overrun;
use bytes::Bytes;
use core::net::SocketAddr;
use core::pin::pin;
use quorate_compressor::Shut;
use quorate_core::model::limits::{self, FRAME_BYTES_MAX, UNPACKED_BODY_BYTES_MAX};
use quorate_core::wire::{Decoded, Decoder, FrameError, MessageError};
use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{ReadHalf, Stream, WriteHalf};
use quorate_world::select::{Either2, Either3, select2, select3};
use quorate_world::sync::{Semaphore, SemaphorePermit};
use quorate_world::task::yield_now;
use quorate_world::time::{Duration, Instant, sleep_until, timeout};

/// A client that says nothing for so long is gone; the slowest pings every 10 s (protocol, section 5.5).
pub const READ_IDLE: Duration = Duration::from_secs(15);
/// Room made for one read.
const READ_BYTES: usize = 16 << 10;
/// A client that takes nothing of its answers for so long is let go.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(30);
/// Given to the network at a time; so much must leave within the patience.
const WRITE_BYTES: usize = 64 << 10;
/// From here on a frame waits for room before the rest of it is read, and a packed body before all of it is unpacked.
const LONG_FRAME_BYTES: usize = 64 << 10;
/// The same of who has not registered.
const STRANGER_LONG_FRAME_BYTES: usize = READ_BYTES;
/// A long frame is whole within this, or its connection ends.
const FRAME_PATIENCE: Duration = Duration::from_secs(30);
/// Room for all long frames whose end has not come, of clients that have registered.
pub const UNFINISHED_BYTES_MAX: usize = 112 << 20;
/// The same of those that have not.
pub const STRANGERS_BYTES_MAX: usize = 16 << 20;
/// One frame of those: the longest registration, with as many resources as a connection may have, and its other texts.
/// Whatever else is so long is heavier than a stranger's requests may be, and is refused in words.
pub const STRANGER_FRAME_BYTES_MAX: usize =
    RESOURCES_OF_CHANNEL_MAX * (limits::NAME_BYTES_MAX + 1) + limits::EXTRA_DATA_BYTES_MAX + (64 << 10);

const _: () = assert!(FRAME_BYTES_MAX <= UNFINISHED_BYTES_MAX);
const _: () =
    assert!(STRANGER_FRAME_BYTES_MAX <= FRAME_BYTES_MAX && STRANGER_FRAME_BYTES_MAX <= STRANGERS_BYTES_MAX / 3);

/// Long bodies that are unpacked and not yet taken, at a time.
pub const UNPACKED_MAX: usize = 8;
/// The same of those that have not registered.
pub const UNPACKED_OF_STRANGERS_MAX: usize = 2;

/// Room for long frames whose end has not come, of all connections of a node, and for what long packed ones become.
pub struct Unfinished {
    clients: Semaphore,
    strangers: Semaphore,
    unpacked: Semaphore,
    unpacked_of_strangers: Semaphore,
    patience: Duration,
}

impl Default for Unfinished {
    fn default() -> Unfinished {
        Unfinished::new(FRAME_PATIENCE)
    }
}

/// A long frame that has room, how much, and until when.
pub struct Long<'a> {
    bytes: usize,
    until: Instant,
    _room: SemaphorePermit<'a>,
}

impl Unfinished {
    /// Where a frame must have found room and be whole within so long each.
    pub fn new(patience: Duration) -> Unfinished {
        let semaphore = |bytes: usize| Semaphore::new(bytes >> 10);
        Unfinished {
            clients: semaphore(UNFINISHED_BYTES_MAX),
            strangers: semaphore(STRANGERS_BYTES_MAX),
            unpacked: Semaphore::new(UNPACKED_MAX),
            unpacked_of_strangers: Semaphore::new(UNPACKED_OF_STRANGERS_MAX),
            patience,
        }
    }

    /// Room for a frame that announces so much; waits for it.
    pub async fn take(&self, bytes: usize, is_stranger: bool) -> Result<Long<'_>, Ended> {
        if is_stranger && bytes > STRANGER_FRAME_BYTES_MAX {
            return Err(Ended::Unregistered(bytes));
        }
        let units = bytes.min(FRAME_BYTES_MAX).div_ceil(1 << 10) as u32;
        let room = if is_stranger { &self.strangers } else { &self.clients };
        match timeout(self.patience, room.acquire_many(units)).await {
            Ok(Ok(room)) => Ok(Long { bytes, until: Instant::now() + self.patience, _room: room }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Ended::Crowded),
        }
    }

    /// Room for a long body when it is unpacked; waits for it, twice as long as for a frame: who has it may wait for room for
    /// his requests, and those before them for a leader. He waits for nobody who waits here.
    pub async fn unpack(&self, is_stranger: bool) -> Result<SemaphorePermit<'_>, Ended> {
        let room = if is_stranger { &self.unpacked_of_strangers } else { &self.unpacked };
        timeout(self.patience * 2, room.acquire()).await.ok().and_then(Result::ok).ok_or(Ended::Crowded)
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The client closed it.
    ByClient,
    /// The coordinator closed it, or the node stops; what was queued has left.
    ByUs,
    /// Nothing came for too long.
    Idle,
    /// A long frame did not end in time.
    Unfinished,
    /// A frame of so many bytes was announced before anybody registered.
    Unregistered(usize),
    /// There was no room for a long frame in time.
    Crowded,
    /// Nobody knows where the next frame begins.
    Framing(FrameError),
    /// The client does not read.
    Slow,
    /// The clients together let too much gather, and this one much of it.
    CrowdedOut,
    /// The network says so.
    Broken(io::Error),
}

impl Ended {
    /// All names, for counting.
    pub const NAMES: [&'static str; 10] = [
        "client",
        "server",
        "idle",
        "unfinished",
        "unregistered",
        "crowded",
        "framing",
        "slow",
        "crowded_out",
        "broken",
    ];

    const fn of(overrun: Overrun) -> Ended {
        match overrun {
            Overrun::Own => Ended::Slow,
            Overrun::Node => Ended::CrowdedOut,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Ended::ByClient => "client",
            Ended::ByUs => "server",
            Ended::Idle => "idle",
            Ended::Unfinished => "unfinished",
            Ended::Unregistered(_) => "unregistered",
            Ended::Crowded => "crowded",
            Ended::Framing(_) => "framing",
            Ended::Slow => "slow",
            Ended::CrowdedOut => "crowded_out",
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
    /// Shared by all connections.
    pub unfinished: &'a Unfinished,
    /// Whether nobody has registered on it yet.
    pub is_stranger: &'a (dyn Fn() -> bool + Sync),
    /// See [`READ_IDLE`].
    pub idle: Duration,
    /// See [`WRITE_PATIENCE`].
    pub patience: Duration,
}

impl Connection<'_> {
    /// Gives every frame to `take`, in order, each when it is done with the one before, and writes what the outbox holds.
    pub async fn run<T: Future<Output = ()>>(mut self, stream: Stream, take: impl FnMut(Decoded) -> T) -> Ended {
        let (mut read, mut write) = stream.split();
        let (out, patience) = (self.out, self.patience);
        let ended = select2(self.read_frames(&mut read, take), write_frames(&mut write, out, patience)).await;
        out.close();
        match ended {
            Either2::First(ended) | Either2::Second(ended) => ended,
        }
    }

    async fn read_frames<T: Future<Output = ()>>(
        &mut self,
        read: &mut ReadHalf,
        mut take: impl FnMut(Decoded) -> T,
    ) -> Ended {
        let mut decoder = Decoder::new();
        decoder.push(&self.before);
        let mut alarm = pin!(sleep_until(Instant::now() + self.idle));
        let (mut advised, mut long) = (false, None);
        loop {
            loop {
                let (decoded, _unpacked) = match decoder.next_frame() {
                    Ok(Some(shut @ Decoded::Opaque(..))) => {
                        let (opened, room) = match self.open(shut).await {
                            Ok(opened) => opened,
                            Err(ended) => return ended,
                        };
                        self.complain(&opened, &mut advised);
                        (opened, room)
                    }
                    Ok(Some(decoded)) => (decoded, None),
                    Ok(None) => break,
                    Err(error) => return Ended::Framing(error),
                };
                take(decoded).await;
                long = None;
            }
            self.out.drained().await;
            let needed = decoder.needed_bytes();
            let long_from = if (self.is_stranger)() { STRANGER_LONG_FRAME_BYTES } else { LONG_FRAME_BYTES };
            if needed > long_from && long.as_ref().is_none_or(|long: &Long<'_>| long.bytes < needed) {
                // Given back first: nobody waits for room and has some.
                drop(long.take());
                match self.unfinished.take(needed, (self.is_stranger)()).await {
                    Ok(room) => long = Some(room),
                    Err(ended) => return ended,
                }
            }
            let idle_at = Instant::now() + self.idle;
            let buffer = decoder.buffer_mut();
            buffer.reserve(READ_BYTES);
            let mut reading = pin!(read.read_buf(buffer));
            loop {
                match select2(reading.as_mut(), alarm.as_mut()).await {
                    Either2::First(Ok(0)) => return Ended::ByClient,
                    Either2::First(Ok(_)) => break,
                    Either2::First(Err(error)) => return Ended::Broken(error),
                    // The alarm is set anew when it rings, not at every read.
                    Either2::Second(()) => {}
                }
                let now = Instant::now();
                match &long {
                    _ if idle_at <= now => return Ended::Idle,
                    Some(long) if long.until <= now => return Ended::Unfinished,
                    Some(long) => alarm.set(sleep_until(idle_at.min(long.until))),
                    None => alarm.set(sleep_until(idle_at)),
                }
            }
        }
    }

    /// Unpacks a body: a long one, which a few bytes may have become, when there is room for it.
    async fn open(&self, shut: Decoded) -> Result<(Decoded, Option<SemaphorePermit<'_>>), Ended> {
        let is_stranger = (self.is_stranger)();
        let opened = quorate_compressor::open_within(shut, LONG_FRAME_BYTES);
        // It took its time, and may take more: it is somebody else's turn.
        yield_now().await;
        let Shut { head, body, .. } = match opened {
            Ok(opened) => return Ok((opened, None)),
            Err(shut) => shut,
        };
        let room = self.unfinished.unpack(is_stranger).await?;
        let bytes_max = if is_stranger { STRANGER_FRAME_BYTES_MAX } else { UNPACKED_BODY_BYTES_MAX };
        let opened = quorate_compressor::open_within(Decoded::Opaque(head, body), bytes_max);
        yield_now().await;
        Ok((opened.unwrap_or_else(|Shut { head, error, .. }| Decoded::Undecodable(head, error)), Some(room)))
    }

    /// A body that we cannot read is the client's configuration: said once per connection, counted always.
    fn complain(&self, opened: &Decoded, advised: &mut bool) {
        match opened {
            Decoded::Opaque(head, body) => {
                self.traffic.foreign_frame();
                let advice = foreign::advice(head);
                if let Some(refusal) = Refusal::to(head, body, (self.is_stranger)(), &advice) {
                    self.out.put(|out| refusal.encode(out));
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
    }
}

/// Ends when the outbox is closed and empty, or the network or the client gives out.
async fn write_frames(write: &mut WriteHalf, out: &Outbox, patience: Duration) -> Ended {
    let patience = if quorate_world::bug!("slow_reader_is_kept") { patience * 1_000 } else { patience };
    while let Some(frames) = out.next().await {
        for part in frames.chunks(WRITE_BYTES) {
            let patience = sleep_until(Instant::now() + patience);
            match select3(write.write_all(part), out.overrun(), patience).await {
                Either3::First(Ok(())) => {}
                Either3::First(Err(error)) => return Ended::Broken(error),
                Either3::Second(overrun) => return Ended::of(overrun),
                Either3::Third(()) => return Ended::Slow,
            }
            if frames.len() > WRITE_BYTES {
                out.moves();
            }
        }
    }
    if let Some(overrun) = out.is_overrun() {
        return Ended::of(overrun);
    }
    match write.shutdown().await {
        Ok(()) => Ended::ByUs,
        Err(error) => Ended::Broken(error),
    }
}
