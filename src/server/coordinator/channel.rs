//! One connection of a client: who registered on it, as what, and the way back.
//!
//! A channel has no part in any transaction's state: when it closes, nothing happens but that phase two looks for
//! another one. Answers go to the channel that asked and to no other (semantics, W17).

use quorate_world::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use quorate_compressor::encode_packed_body;
use quorate_core::wire::{
    ClientVersion, Head, Message, MessageKind, Version, encode_frame, encode_heartbeat, encode_opaque,
};
use quorate_world::sync::Notify;
use quorate_world::time::{Duration, timeout};

use super::guard::locked;
use super::in_hand::{Room, Unanswered, connection_bytes_max, stranger_bytes_max};
use super::lost_tm::Begun;
use super::outbox::Outbox;
use super::turns::Turns;

/// Names a channel within this process, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ChannelId(pub u64);

/// What the registration says of the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Application id.
    pub application: Arc<str>,
    /// Transaction service group.
    pub service_group: Arc<str>,
    /// `application:ip:port`, kept with each branch.
    pub client: Arc<str>,
    /// As declared.
    pub version: ClientVersion,
}

/// What a channel is registered as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roles {
    /// Not registered yet.
    None,
    /// Begins and ends transactions.
    Tm,
    /// Owns resources.
    Rm,
    /// `seata-go` uses one connection for both.
    Both,
}

const TM: u8 = 1;
const RM: u8 = 2;

/// One connection.
pub struct Channel {
    /// Its name here.
    pub id: ChannelId,
    /// The client's end.
    pub peer: SocketAddr,
    /// The way back.
    pub out: Arc<Outbox>,
    /// For phase-two requests.
    pub turns: Turns,
    /// For its requests until they are answered.
    pub room: Room,
    /// How many of them there are.
    pub unanswered: Arc<Unanswered>,
    roles: AtomicU8,
    complained: AtomicBool,
    /// Of the last registration; requests of ours are written as it was.
    spoken: Mutex<Head>,
    identity: Mutex<Option<Arc<Identity>>>,
    registered: Notify,
    begun: Mutex<Begun>,
}

impl Channel {
    /// A fresh connection that nobody has registered on.
    pub fn new(id: ChannelId, peer: SocketAddr, out: Arc<Outbox>) -> Channel {
        Channel {
            id,
            peer,
            out,
            turns: Turns::new(),
            room: Room::new(stranger_bytes_max()),
            unanswered: Arc::default(),
            roles: AtomicU8::new(0),
            complained: AtomicBool::new(false),
            spoken: Mutex::new(Head::new(Version::V1, MessageKind::Request, 0)),
            identity: Mutex::new(None),
            registered: Notify::new(),
            begun: Mutex::default(),
        }
    }

    /// Who is on the other end, once registered.
    pub fn identity(&self) -> Option<Arc<Identity>> {
        locked(&self.identity).clone()
    }

    /// What it is registered as.
    pub fn roles(&self) -> Roles {
        match self.roles.load(Ordering::Acquire) & (TM | RM) {
            0 => Roles::None,
            TM => Roles::Tm,
            RM => Roles::Rm,
            _both => Roles::Both,
        }
    }

    /// Notes a registration as TM; the last one counts.
    pub fn register_tm(&self, head: &Head, identity: Identity) {
        *locked(&self.identity) = Some(Arc::new(identity));
        self.note(head, TM);
    }

    /// Notes a registration as RM; an identity that is there stays (protocol, section 5.1).
    pub fn register_rm(&self, head: &Head, identity: Identity) {
        locked(&self.identity).get_or_insert_with(|| Arc::new(identity));
        self.note(head, RM);
    }

    fn note(&self, head: &Head, role: u8) {
        *locked(&self.spoken) = head.alike(MessageKind::Request, 0);
        self.roles.fetch_or(role, Ordering::AcqRel);
        if let Some(identity) = self.identity() {
            self.out.keep_apart(is_no_java_client(&identity, self.roles()));
        }
        self.room.grow(connection_bytes_max());
        self.registered.notify_waiters();
    }

    /// Whether the client says nothing at all when a callback fails (clients/go, note 9): it has to be asked again soon.
    pub fn may_keep_silent(&self) -> bool {
        self.identity().is_none_or(|identity| is_no_java_client(&identity, self.roles()))
    }

    /// Whether nothing was said about this connection in the log yet: one line for each is enough.
    pub fn is_first_complaint(&self) -> bool {
        !self.complained.swap(true, Ordering::Relaxed)
    }

    /// Waits until somebody registered, at most `patience`: a request of `seata-go` may overtake the registration.
    pub async fn await_registration(&self, patience: Duration) -> Option<Arc<Identity>> {
        let registered = self.registered.notified();
        if let Some(identity) = self.identity() {
            return Some(identity);
        }
        let _ = timeout(patience, registered).await;
        self.identity()
    }

    /// What was begun over it and is open, as far as it is remembered.
    pub fn note_begun<R>(&self, note: impl FnOnce(&mut Begun) -> R) -> R {
        note(&mut locked(&self.begun))
    }

    /// Sends the answer to the frame with this head. False: the connection is gone, or the answer has no bytes.
    pub fn answer(&self, head: &Head, message: &Message) -> bool {
        self.send(&head.answer(), message)
    }

    /// Answers a heartbeat.
    pub fn pong(&self, head: &Head) -> bool {
        self.out.put(|out| encode_heartbeat(&head.answer(), out))
    }

    /// Sends a request of ours, with the serializer and compressor of the registration: a client reads no others.
    pub fn request(&self, id: i32, message: &Message) -> bool {
        let head = locked(&self.spoken).alike(MessageKind::Request, id);
        self.send(&head, message)
    }

    /// As [`Channel::request`], for what nobody answers.
    pub fn tell(&self, id: i32, message: &Message) -> bool {
        let head = locked(&self.spoken).alike(MessageKind::OneWay, id);
        self.send(&head, message)
    }

    /// Packing takes its time and is done outside of the outbox, whose lock others wait for.
    fn send(&self, head: &Head, message: &Message) -> bool {
        if head.compressor == 0 {
            return self.out.put(|out| encode_frame(head, message, out));
        }
        let Ok(body) = encode_packed_body(head, message) else { return false };
        self.out.put(|out| encode_opaque(head, &body, out))
    }
}

/// The Python client handles one frame per read, `seata-go` breaks when a read ends within a frame's first 7 bytes. The
/// former declares a version of two parts, the latter registers both roles, with 1.1.0 as TM.
fn is_no_java_client(identity: &Identity, roles: Roles) -> bool {
    roles == Roles::Both || identity.version < ClientVersion::of(1, 5, 0)
}
