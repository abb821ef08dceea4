//! From the listener: connections come and go, frames come in.
//!
//! Registrations and heartbeats are served at once and in order; every request becomes a task of its own, because its
//! answer may take as long as a raft round or a whole phase two, and nothing in the protocol wants an order. Before that a
//! frame takes room for its requests (`in_hand`), and where there is none the connection is not read any further.

use quorate_world::net::SocketAddr;
use std::sync::Arc;

use quorate_core::model::{TransactionId, limits};
use quorate_core::wire::{Decoded, Head, Message, Registration, RegistrationResult, Version};
use quorate_world::task;
use quorate_world::time::{Duration, Instant, wall_ms};

use super::access::AccessError;
use super::ask::{Ask, Failure, Reply};
use super::channel::{Channel, Identity, Roles};
use super::channels::RESOURCES_OF_CHANNEL_MAX;
use super::context::Coordinator;
use super::events;
use super::in_hand::{self, Held, InHand};
use super::merged::takes_singly;
use super::outbox::Outbox;
use super::reply::{self, Question};
use super::request::{self, Request};

/// A request may overtake the registration by so much (`seata-go`); later the connection is closed, as in Seata.
const REGISTRATION_PATIENCE: Duration = Duration::from_secs(1);
/// Clients give up after 30 s, 15 s and 20 s (protocol, section 5.5).
const TM_PATIENCE: Duration = Duration::from_secs(25);
const RM_PATIENCE: Duration = Duration::from_secs(12);
const BOTH_PATIENCE: Duration = Duration::from_secs(17);

impl Coordinator {
    /// A client has connected; its answers go to `out`. One host is one address, by whichever family it came in.
    pub fn connect(&self, peer: SocketAddr, out: Arc<Outbox>) -> Arc<Channel> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        self.channels.open(|id| Channel::new(id, peer, out))
    }

    /// The connection is gone. Nothing happens to any transaction, unless an operator wants it otherwise.
    pub fn disconnect(self: &Arc<Self>, channel: &Arc<Channel>) {
        channel.out.close();
        self.channels.close(channel);
        quorate_world::tap!(events::Disconnected { node: self.node, channel: channel.id.0 });
        self.asked.lost(channel.id);
        if let Some(after) = self.lost_tm_after {
            task::spawn(self.clone().lost_tm(channel.clone(), after));
        }
    }

    /// A frame has come in. Waits while there is no room for what it asks; the connection is not read meanwhile.
    pub async fn receive(self: &Arc<Self>, channel: &Arc<Channel>, decoded: Decoded) {
        match decoded {
            Decoded::Heartbeat(head) => _ = channel.pong(&head),
            Decoded::Message(head, message) => self.message(channel, head, message).await,
            // The frame is lost, the registration stays (semantics, W31).
            Decoded::Opaque(..) => self.counters.undecodable.one(),
            Decoded::Undecodable(_, error) => {
                self.counters.undecodable.one();
                if channel.is_first_complaint() {
                    tracing::warn!(peer = %channel.peer, %error, "a message could not be decoded and was dropped");
                }
            }
        }
    }

    async fn message(self: &Arc<Self>, channel: &Arc<Channel>, head: Head, message: Message) {
        // Without its map, which no answer repeats.
        let head = head.alike(head.kind, head.request_id);
        match message {
            Message::RegisterTm(registration) => self.register_tm(channel, &head, registration),
            Message::RegisterRm { registration, resource_ids } => {
                self.register_rm(channel, &head, registration, &resource_ids);
            }
            Message::UnregisterRm { resource_ids, .. } => {
                self.channels.unregister(channel, &resources(&resource_ids));
                let result = RegistrationResult::accepted(self.version.clone());
                _ = channel.answer(&head, &Message::UnregisterRmResult(result));
            }
            Message::BranchCommitResult { xid, branch_id, status, .. }
            | Message::BranchRollbackResult { xid, branch_id, status, .. } => match channel.roles() {
                Roles::None => self.counters.rejected.one(),
                Roles::Tm | Roles::Rm | Roles::Both => self.phase_two_answer(head.request_id, &xid, branch_id, status),
            },
            request => {
                let bytes = in_hand::weight_bytes(&request);
                match InHand::take(&channel.room, &self.room, bytes).await {
                    Some(in_hand) => self.request(channel, head, request, in_hand),
                    None => self.too_large(channel, &head, request, bytes),
                }
            }
        }
    }

    fn request(self: &Arc<Self>, channel: &Arc<Channel>, head: Head, request: Message, in_hand: InHand) {
        match request {
            Message::Merged { messages, ids } => self.merged(channel, head, messages, ids, in_hand),
            request => match request::question(&request) {
                Some(question) => self.single(channel, head, question, request, in_hand),
                None => self.counters.rejected.one(),
            },
        }
    }

    /// A frame that needs more than all of its connection's room: each of its requests is refused, in words. Whoever has not
    /// registered yet is hung up on, as for any request that his registration does not follow.
    fn too_large(&self, channel: &Channel, head: &Head, request: Message, bytes: usize) {
        quorate_core::sometimes!("frame_is_heavier_than_its_room");
        let bytes_max = channel.room.bytes_max();
        if channel.is_first_complaint() {
            tracing::warn!(peer = %channel.peer, bytes, bytes_max, "a frame of requests is too large and was refused");
        }
        let Some(identity) = channel.identity() else {
            self.counters.rejected.one();
            return channel.out.close();
        };
        let text = format!("requests of {bytes} bytes in one frame, a connection may have {bytes_max} in hand");
        let refused = |request: &Message| {
            let question = request::question(request)?;
            self.count(question);
            let reply = Failure::new(request::refusal_code(question), text.clone()).into();
            Some(self.answer_with(channel, &identity, question, None, reply))
        };
        match request {
            Message::Merged { messages, ids } => match ids.filter(|_| takes_singly(&identity, &messages)) {
                Some(ids) => {
                    for (answer, id) in messages.iter().map(refused).zip(ids) {
                        _ = answer.map(|answer| channel.answer(&head.alike(head.kind, id), &answer));
                    }
                }
                None => {
                    let answers: Option<Vec<Message>> = messages.iter().map(refused).collect();
                    _ = answers.map(|messages| channel.answer(head, &Message::MergeResult { messages }));
                }
            },
            request => _ = refused(&request).map(|answer| channel.answer(head, &answer)),
        }
    }

    fn register_tm(&self, channel: &Channel, head: &Head, registration: Registration) {
        let admitted = self.identity(channel, &registration).and_then(|identity| {
            self.admit_tm(&registration).map_err(|error| error.to_string())?;
            Ok(identity)
        });
        let result = match admitted {
            Ok(identity) => {
                self.channels.register_manager(channel, &identity.application);
                self.tap_registered(channel, &identity.application);
                channel.register_tm(head, identity);
                RegistrationResult::accepted(self.version.clone())
            }
            Err(why) => self.refuse_registration(channel, head, why),
        };
        _ = channel.answer(head, &Message::RegisterTmResult(result));
    }

    fn register_rm(&self, channel: &Channel, head: &Head, registration: Registration, resource_ids: &str) {
        let result = match self.admit_rm(channel, &registration, resource_ids) {
            Ok((identity, resources)) => {
                let application = identity.application.clone();
                self.tap_registered(channel, &application);
                channel.register_rm(head, identity);
                self.channels.register(channel, &application, &resources);
                RegistrationResult::accepted(self.version.clone())
            }
            Err(why) => self.refuse_registration(channel, head, why),
        };
        _ = channel.answer(head, &Message::RegisterRmResult(result));
    }

    fn tap_registered(&self, channel: &Channel, application: &str) {
        quorate_world::tap!(events::Registered {
            node: self.node,
            channel: channel.id.0,
            application: application.to_owned(),
        });
    }

    /// Version 1 has no field for a reason, so it stands where a client shows the server's version.
    fn refuse_registration(&self, channel: &Channel, head: &Head, why: String) -> RegistrationResult {
        quorate_core::sometimes!("registration_refused");
        if channel.is_first_complaint() {
            tracing::warn!(peer = %channel.peer, why, "a registration was refused");
        }
        let version = if head.version == Version::V2 { self.version.clone() } else { why.clone() };
        RegistrationResult::refused(version, why)
    }

    fn admit_tm(&self, registration: &Registration) -> Result<(), AccessError> {
        if !self.access.is_asked_for() || quorate_world::bug!("any_key_is_let_in") {
            return Ok(());
        }
        self.access.check(registration, wall_ms())
    }

    /// As a TM, or on the word of one.
    fn may_be_rm(
        &self,
        channel: &Channel,
        registration: &Registration,
        identity: &Identity,
    ) -> Result<(), AccessError> {
        match self.admit_tm(registration) {
            Err(AccessError::Missing) if self.channels.has_manager(&identity.application, channel.peer.ip()) => {
                quorate_core::sometimes!("rm_is_let_in_on_the_word_of_its_tm");
                Ok(())
            }
            Err(AccessError::Missing) => Err(AccessError::NoManager),
            checked => checked,
        }
    }

    fn admit_rm(
        &self,
        channel: &Channel,
        registration: &Registration,
        resource_ids: &str,
    ) -> Result<(Identity, Vec<Arc<str>>), String> {
        let identity = self.identity(channel, registration)?;
        self.may_be_rm(channel, registration, &identity).map_err(|error| error.to_string())?;
        let resources = resources(resource_ids);
        if resources.iter().any(|resource| resource.len() > limits::NAME_BYTES_MAX) {
            return Err(format!("a resource id may have at most {} bytes", limits::NAME_BYTES_MAX));
        }
        let admitted = self.channels.admit(channel, &identity.application, &resources);
        admitted.map_err(|error| error.to_string())?;
        Ok((identity, resources))
    }

    fn identity(&self, channel: &Channel, registration: &Registration) -> Result<Identity, String> {
        let Registration { version, application_id, service_group, extra_data } = registration;
        if [version, application_id, service_group].iter().any(|text| text.len() > limits::NAME_BYTES_MAX) {
            return Err(format!("names of a registration may have at most {} bytes", limits::NAME_BYTES_MAX));
        }
        if extra_data.len() > limits::EXTRA_DATA_BYTES_MAX {
            return Err(format!("extra data may have at most {} bytes", limits::EXTRA_DATA_BYTES_MAX));
        }
        Ok(Identity {
            application: application_id.as_str().into(),
            service_group: service_group.as_str().into(),
            client: format!("{application_id}:{}:{}", channel.peer.ip(), channel.peer.port()).into(),
            version: quorate_core::wire::ClientVersion::parse(version),
        })
    }

    pub(super) fn single(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        head: Head,
        question: Question,
        request: Message,
        in_hand: InHand,
    ) {
        let held = Held::new(Some(in_hand), &channel.unanswered);
        let Some(identity) = channel.identity() else {
            let (coordinator, channel) = (self.clone(), channel.clone());
            task::spawn(async move {
                if let Some(answer) = coordinator.serve_request(&channel, question, request, &held).await {
                    channel.answer(&head, &answer);
                }
            });
            return;
        };
        self.count(question);
        match request::read(request, &identity, &self.advertise) {
            Request::Ask(ask) => {
                let (coordinator, channel) = (self.clone(), channel.clone());
                task::spawn(async move {
                    if let Some(answer) = coordinator.serve_asked(&channel, &identity, question, &ask, &held).await {
                        channel.answer(&head, &answer);
                    }
                });
            }
            Request::Settled(reply) => {
                channel.answer(&head, &self.answer_with(channel, &identity, question, None, reply));
            }
            Request::Other => {}
        }
    }

    /// One request, from its message to the message of its answer; nothing: silence is the answer.
    pub(super) async fn serve_request(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        question: Question,
        request: Message,
        held: &Held,
    ) -> Option<Message> {
        let identity = match channel.identity() {
            Some(identity) => identity,
            None => {
                quorate_core::sometimes!("request_overtook_the_registration");
                let identity = channel.await_registration(REGISTRATION_PATIENCE).await;
                if identity.is_none() {
                    self.counters.rejected.one();
                    channel.out.close();
                }
                identity?
            }
        };
        self.count(question);
        match request::read(request, &identity, &self.advertise) {
            Request::Ask(ask) => self.serve_asked(channel, &identity, question, &ask, held).await,
            Request::Settled(reply) => Some(self.answer_with(channel, &identity, question, None, reply)),
            Request::Other => None,
        }
    }

    /// What needs the leader of a group.
    async fn serve_asked(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        identity: &Identity,
        question: Question,
        ask: &Ask,
        held: &Held,
    ) -> Option<Message> {
        let until = Instant::now() + patience(channel.roles());
        // A later answer harms `seata-go` and nobody waits for it (clients/go, note 7).
        let Some(reply) = self.answer(ask, until, held).await.filter(|_| Instant::now() <= until) else {
            quorate_core::sometimes!("request_is_left_unanswered");
            self.counters.unanswered.one();
            return None;
        };
        self.note_begun(channel, ask, &reply);
        Some(self.answer_with(channel, identity, question, ask.transaction(), reply))
    }

    pub(super) fn answer_with(
        &self,
        channel: &Channel,
        identity: &Identity,
        question: Question,
        transaction: Option<TransactionId>,
        reply: Reply,
    ) -> Message {
        if let Reply::Failed(_) = &reply {
            self.counters.refusals.one();
        }
        quorate_world::tap!(events::Answered {
            node: self.node,
            channel: channel.id.0,
            question,
            transaction,
            reply: reply.clone(),
        });
        reply::write(question, reply, &self.advertise, identity.version)
    }

    fn count(&self, question: Question) {
        let counter = match question {
            Question::Begin => &self.counters.begins,
            Question::Commit => &self.counters.commits,
            Question::Rollback => &self.counters.rollbacks,
            Question::Status => &self.counters.status_queries,
            Question::Report => &self.counters.reports,
            Question::Register => &self.counters.branch_registers,
            Question::ReportBranch => &self.counters.branch_reports,
            Question::LockQuery => &self.counters.lock_queries,
        };
        counter.one();
    }
}

fn patience(roles: Roles) -> Duration {
    match roles {
        Roles::None | Roles::Tm => TM_PATIENCE,
        Roles::Rm => RM_PATIENCE,
        Roles::Both => BOTH_PATIENCE,
    }
}

/// The resources of a list; of one that is too long no more than it takes to refuse it.
fn resources(list: &str) -> Vec<Arc<str>> {
    let named = list.split(',').filter(|resource| !resource.is_empty());
    named.take(RESOURCES_OF_CHANNEL_MAX + 1).map(Arc::from).collect()
}
