//! The doors of a node: the Seata port, where HTTP is answered too, and the admin port.
//!
//! A new connection shows by its first bytes what it speaks (`detect`); anything but Seata and HTTP is closed at once.
//! Seata connections go on in `connection`, HTTP in [`Admin`]. `traffic` counts.
//!
//! Not here: what a frame means. Every frame goes to the coordinator in the order of the connection, and answers come
//! back through the connection's outbox in whatever order they are ready.

mod connection;
mod detect;
mod foreign;
#[cfg(test)]
mod tests;
mod traffic;

pub use traffic::{Bounds, Traffic};

use crate::admin::{Admin, NoSuchPage};
use crate::coordinator::Coordinator;
use crate::coordinator::channel::{Channel, ChannelId, Roles};
use bytes::{Bytes, BytesMut};
use connection::{Connection, Ended, READ_IDLE, Unfinished, WRITE_PATIENCE};
use core::net::SocketAddr;
use detect::{Protocol, detect};
use quorate_world::io::AsyncReadExt;
use quorate_world::net::{self, Stream};
use quorate_world::select::{Either2, select2};
use quorate_world::task::{JoinHandle, spawn};
use quorate_world::time::{Duration, Instant, sleep, timeout, timeout_at};
use quorate_world::watch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use traffic::Open;

/// After a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What was asked before a stop may take so long to be answered.
const ANSWERS_MAX: Duration = Duration::from_secs(3);

/// Who serves the connections of both ports.
pub struct Listener {
    coordinator: Arc<Coordinator>,
    admin: Arc<Admin>,
    traffic: Arc<Traffic>,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
    unfinished: Unfinished,
    /// All Seata connections, so that a stop reaches them without being asked for at every frame.
    open: Mutex<BTreeMap<ChannelId, Arc<Channel>>>,
}

impl Listener {
    /// Hands frames to `coordinator` and requests to `admin`, until `stop` becomes true.
    pub fn new(
        coordinator: Arc<Coordinator>,
        admin: Arc<Admin>,
        traffic: Arc<Traffic>,
        bounds: Bounds,
        stop: watch::Receiver<bool>,
    ) -> Arc<Listener> {
        let (unfinished, open) = (Unfinished::default(), Mutex::default());
        Arc::new(Listener { coordinator, admin, traffic, bounds, stop, unfinished, open })
    }

    /// The Seata port, until the node stops. Then no connection is read any further, and each ends when what was asked over
    /// it is answered and written, or takes too long. Returns when none is waited for any more.
    pub async fn serve_seata(self: Arc<Self>, door: net::Listener) {
        let admit = |listener: &Listener| listener.traffic.unknown(listener.bounds);
        let greet =
            |listener: Arc<Listener>, stream, peer, open| async move { listener.greet(stream, peer, open).await };
        self.clone().accept(door, admit, greet).await;
        let until = Instant::now() + ANSWERS_MAX;
        let open: Vec<Arc<Channel>> = self.open().values().cloned().collect();
        let ending: Vec<JoinHandle<()>> = open.into_iter().map(|channel| spawn(answered(channel, until))).collect();
        for ended in ending {
            // It panics for nobody.
            let _ = ended.await;
        }
    }

    /// The admin port. Returns when the node stops.
    pub async fn serve_http(self: Arc<Self>, door: net::Listener) {
        let admit = |listener: &Listener| listener.traffic.http(listener.bounds);
        self.accept(door, admit, |listener, stream, peer, open| async move {
            let _open = open;
            listener.http(stream, peer, Bytes::new(), NoSuchPage::Told).await
        })
        .await;
    }

    async fn accept<F>(
        self: Arc<Self>,
        door: net::Listener,
        admit: fn(&Listener) -> Option<Open>,
        serve: fn(Arc<Listener>, Stream, SocketAddr, Open) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stop = self.stop.clone();
        loop {
            match select2(stop.wait_until(|stop| *stop), door.accept()).await {
                Either2::First(_) => return,
                Either2::Second(Ok((stream, peer))) => {
                    // Without room it is closed here.
                    if let Some(open) = admit(&self) {
                        spawn(serve(self.clone(), stream, peer, open));
                    }
                }
                Either2::Second(Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits for the first bytes and sends the connection where it belongs.
    async fn greet(self: Arc<Self>, mut stream: Stream, peer: SocketAddr, unknown: Open) {
        let mut first = BytesMut::with_capacity(detect::BYTES_MAX);
        match timeout(READ_IDLE, greeting(&mut stream, &mut first)).await {
            Ok(Protocol::Seata) => {
                let _open = self.traffic.seata();
                drop(unknown);
                self.seata(stream, peer, first.freeze()).await;
            }
            Ok(Protocol::Http) => {
                let Some(_open) = self.traffic.http(self.bounds) else { return };
                drop(unknown);
                self.http(stream, peer, first.freeze(), NoSuchPage::HungUpOn).await;
            }
            Ok(Protocol::Stranger) => {
                self.traffic.stranger();
                tracing::info!(%peer, "a connection speaks neither Seata's protocol nor HTTP/1 and was closed");
            }
            Ok(Protocol::Undecided) | Err(_) => {}
        }
    }

    async fn seata(self: Arc<Self>, stream: Stream, peer: SocketAddr, before: Bytes) {
        let out = self.coordinator.outbox();
        let channel = self.coordinator.connect(peer, out.clone());
        self.remember(&channel);
        let connection = Connection {
            peer,
            before,
            out: &out,
            traffic: &self.traffic,
            unfinished: &self.unfinished,
            is_stranger: &|| channel.roles() == Roles::None,
            idle: READ_IDLE,
            patience: WRITE_PATIENCE,
        };
        let (coordinator, to) = (&self.coordinator, &channel);
        let ended = connection.run(stream, |decoded| coordinator.receive(to, decoded)).await;
        self.open().remove(&channel.id);
        self.coordinator.disconnect(&channel);
        self.traffic.ended(&ended);
        match &ended {
            Ended::ByClient => quorate_core::sometimes!("client_hung_up"),
            Ended::Idle => quorate_core::sometimes!("client_said_nothing_for_too_long"),
            Ended::Slow | Ended::CrowdedOut => quorate_core::sometimes!("client_did_not_read"),
            Ended::Broken(_) => quorate_core::sometimes!("connection_of_a_client_broke"),
            Ended::ByUs | Ended::Unfinished | Ended::Unregistered(_) | Ended::Crowded | Ended::Framing(_) => {}
        }
        tell(peer, &ended);
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<ChannelId, Arc<Channel>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, channel: &Arc<Channel>) {
        let mut open = self.open();
        open.insert(channel.id, channel.clone());
        // Who comes in while the doors are being closed finds no one to close it later.
        if *self.stop.borrow() {
            channel.out.close();
        }
    }

    async fn http(self: Arc<Self>, stream: Stream, peer: SocketAddr, before: Bytes, no_such_page: NoSuchPage) {
        let mut stop = self.stop.clone();
        select2(self.admin.serve(stream, peer, before, no_such_page), stop.wait_until(|stop| *stop)).await;
    }
}

/// Closes a connection when nothing is owed to it, or there is no more time.
async fn answered(channel: Arc<Channel>, until: Instant) {
    if timeout_at(until, channel.unanswered.none()).await.is_err() {
        quorate_core::sometimes!("a_stop_leaves_requests_unanswered");
    }
    channel.out.close();
}

/// Reads until it is clear who speaks.
async fn greeting(stream: &mut Stream, first: &mut BytesMut) -> Protocol {
    loop {
        match stream.read_buf(first).await {
            Ok(0) | Err(_) => return Protocol::Undecided,
            Ok(_) => {}
        }
        match detect(first) {
            Protocol::Undecided => {}
            decided @ (Protocol::Seata | Protocol::Http | Protocol::Stranger) => return decided,
        }
    }
}

fn tell(peer: SocketAddr, ended: &Ended) {
    match ended {
        Ended::Framing(error) => {
            tracing::warn!(%peer, %error, "the connection was closed: its frames cannot be told apart")
        }
        Ended::Slow => tracing::warn!(%peer, "the connection was closed: the client does not read its answers"),
        Ended::Unfinished => tracing::warn!(%peer, "the connection was closed: a long frame did not end within 30 s"),
        Ended::Unregistered(bytes) => {
            tracing::warn!(%peer, bytes, "the connection was closed: a long frame came before any registration");
        }
        Ended::Crowded => {
            tracing::warn!(%peer, "the connection was closed: there was no room for a long frame in 30 s")
        }
        // Said once for all of them, where it was decided.
        Ended::CrowdedOut => tracing::debug!(%peer, "the connection was closed: the node had no room for its answers"),
        Ended::Idle => tracing::info!(%peer, "the connection was closed: the client was silent for 15 s"),
        Ended::Broken(error) => tracing::debug!(%peer, %error, "the connection broke"),
        Ended::ByClient | Ended::ByUs => {
            tracing::debug!(%peer, how = ended.name(), "the connection ended")
        }
    }
}
