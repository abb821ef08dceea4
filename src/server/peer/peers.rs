//! The book of peers and what can be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use quorate_core::cluster::{ClusterId, Routing, Standing, StartEpoch};
use quorate_core::model::{GroupId, NodeId};
use quorate_raft::Sign;
use quorate_world::net::Listener;
use quorate_world::sync::Semaphore;
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{self, Duration, Instant};
use quorate_world::watch;

use super::hello::{HelloRefusal, HelloV1, Own};
use super::kind::{Class, Kind};
use super::neighbour::{Contact, Peer};
use super::serve;
use super::shake::ShakeError;
use super::stranger::STRANGERS_MAX;
use super::{BoxFuture, CallError, Handler};

/// The settings of the peer port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerOptions {
    /// A node that has sent nothing for two of these is silent.
    pub election_timeout: Duration,
}

impl PeerOptions {
    /// How long a node may be quiet before everything pending on it is answered.
    pub fn silence(&self) -> Duration {
        self.election_timeout * 2
    }

    pub(super) fn connect_limit(&self) -> Duration {
        self.election_timeout * 2
    }
}

/// What is counted, for metrics.
#[derive(Default, Debug)]
pub struct Counters {
    /// Connections closed for a wrong magic, checksum, length or format.
    pub frames_wrong: AtomicU64,
    /// Hellos that were refused here.
    pub hellos_refused: AtomicU64,
    /// Calls answered with [`CallError::Full`].
    pub calls_full: AtomicU64,
    /// Calls answered with [`CallError::TimedOut`].
    pub calls_timed_out: AtomicU64,
}

/// All other nodes, as one can talk to them.
pub struct Peers {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

pub(super) struct Shared {
    node: NodeId,
    own: RwLock<Own>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    removed: RwLock<BTreeSet<NodeId>>,
    handler: RwLock<Option<Arc<dyn Handler>>>,
    hellos: watch::Sender<BTreeMap<NodeId, HelloV1>>,
    refusals: watch::Sender<BTreeMap<NodeId, HelloRefusal>>,
    signs: watch::Sender<BTreeMap<NodeId, Sign>>,
    pub(super) counters: Counters,
    /// A seat for each node without an id that is answered at a time.
    pub(super) strangers: Arc<Semaphore>,
    pub(super) options: PeerOptions,
}

impl Peers {
    /// Serves the listener and connects to the nodes at these addresses (`host:port` of their peer ports); this node's
    /// own entry is passed over. Requests are answered from [`Peers::serve`] on.
    pub fn start(
        listener: Listener,
        own: Own,
        addresses: &BTreeMap<NodeId, String>,
        options: PeerOptions,
    ) -> Arc<Peers> {
        let shared = Arc::new(Shared {
            node: own.node,
            own: RwLock::new(own),
            peers: RwLock::default(),
            removed: RwLock::default(),
            handler: RwLock::default(),
            hellos: watch::channel(BTreeMap::new()).0,
            refusals: watch::channel(BTreeMap::new()).0,
            signs: watch::channel(BTreeMap::new()).0,
            counters: Counters::default(),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            options,
        });
        let accepting = task::spawn(serve::accept_all(listener, shared.clone()));
        let watching = task::spawn(watch_contacts(shared.clone()));
        let peers = Arc::new(Peers { shared, tasks: Mutex::new(vec![accepting, watching]) });
        for (node, address) in addresses {
            peers.meet(*node, address);
        }
        peers
    }

    /// From now on requests go to this handler. Once.
    pub fn serve(&self, handler: Arc<dyn Handler>) {
        let before = self.shared.handler.write().unwrap_or_else(PoisonError::into_inner).replace(handler);
        assert!(before.is_none(), "the peer port has a handler already");
    }

    /// The disk belongs to a cluster now, and starts are counted: hellos say so from now on.
    pub fn set_cluster(&self, cluster: ClusterId, epoch: StartEpoch) {
        let mut own = self.shared.own.write().unwrap_or_else(PoisonError::into_inner);
        own.cluster = Some(cluster);
        own.epoch = epoch;
    }

    /// Who this node says it is.
    pub fn own(&self) -> Own {
        self.shared.own()
    }

    /// Nodes that this one has heard of otherwise, and where their peer ports are.
    pub fn introduce<'a>(&self, others: impl IntoIterator<Item = (NodeId, &'a str)>) {
        others.into_iter().for_each(|(node, address)| self.meet(node, address));
    }

    /// Takes over what the meta group knows: further nodes, new addresses, which disks and starts may speak.
    pub fn learn(&self, routing: &Routing) {
        for node in routing.nodes() {
            self.meet(node.id, &node.addresses.peer);
            if node.standing == Standing::Lost && node.addresses.peer.is_empty() {
                self.shared.peer(node.id).iter().for_each(|peer| peer.has_no_address());
            }
            // A node that has a number and has not started under it may lose its folder, and come with another disk.
            let has_started = node.standing != Standing::Admitted;
            if let Some(peer) = self.shared.peer(node.id).filter(|_| has_started) {
                peer.learn(node);
            }
        }
        routing.removed().for_each(|node| self.part_from(node));
    }

    /// A node that is no member any more: its connections end, and no more are made or taken.
    pub(super) fn part_from(&self, node: NodeId) {
        self.shared.removed.write().unwrap_or_else(PoisonError::into_inner).insert(node);
        let gone = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&node);
        if let Some(peer) = gone {
            peer.links.iter().for_each(|link| link.stop());
            peer.close_all();
            self.shared.hellos.modify_if(|hellos| hellos.remove(&node).is_some());
            self.shared.let_in(node);
        }
    }

    /// Asks a node. The question is on its way when this returns; the future brings the answer, or an error at the
    /// latest when the time is up. Questions are served in no order.
    pub fn call(
        &self,
        to: NodeId,
        kind: Kind,
        group: GroupId,
        body: Bytes,
        limit: Duration,
    ) -> impl Future<Output = Result<Bytes, CallError>> + Send + 'static + use<> {
        let asked = self.shared.reachable(to).and_then(|peer| peer.wanted_link(kind.class()).ask(kind, group, &body));
        let shared = self.shared.clone();
        async move {
            let answer = match asked {
                Ok(wait) => wait.within(limit).await,
                Err(error) => Err(error),
            };
            match &answer {
                Err(CallError::Full) => shared.counters.calls_full.fetch_add(1, Ordering::Relaxed),
                Err(CallError::TimedOut) => shared.counters.calls_timed_out.fetch_add(1, Ordering::Relaxed),
                Ok(_) | Err(CallError::Unreachable | CallError::Broken | CallError::Refused(_)) => 0,
            };
            answer
        }
    }

    /// Tells a node something that needs no answer. It may be lost.
    pub fn cast(&self, to: NodeId, kind: Kind, group: GroupId, body: Bytes) -> Result<(), CallError> {
        self.shared.reachable(to)?.wanted_link(kind.class()).tell(kind, group, &body)
    }

    /// Every other node that is known here, and when it was last heard.
    pub fn contacts(&self) -> BTreeMap<NodeId, Contact> {
        self.shared.peers().iter().map(|peer| (peer.node, peer.contact())).collect()
    }

    /// Whether nothing has come from a node for two election timeouts. An unknown one is silent, this node never.
    pub fn is_silent(&self, node: NodeId) -> bool {
        node != self.shared.node && self.shared.peer(node).is_none_or(|peer| peer.is_silent())
    }

    /// The newest hello of each node.
    pub fn hellos(&self) -> watch::Receiver<BTreeMap<NodeId, HelloV1>> {
        self.shared.hellos.subscribe()
    }

    /// Who does not let this node in, and why.
    pub fn refusals(&self) -> watch::Receiver<BTreeMap<NodeId, HelloRefusal>> {
        self.shared.refusals.subscribe()
    }

    /// Bytes that wait to be written to a node, by class; for metrics.
    pub fn waiting_bytes(&self, node: NodeId) -> BTreeMap<Class, usize> {
        let peer = self.shared.peer(node);
        let of = |class: Class| peer.as_ref().map_or(0, |peer| peer.link(class).waiting_bytes());
        Class::ALL.into_iter().map(|class| (class, of(class))).collect()
    }

    /// What is counted.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Closes every connection and takes no more. What is pending is answered.
    pub fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for peer in self.shared.peers() {
            peer.links.iter().for_each(|link| link.stop());
            peer.close_all();
        }
        tasks.iter().for_each(JoinHandle::abort);
        // The parts of a node know the port too: let go of them, or nothing of it would ever be dropped.
        let handler = self.shared.handler.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(handler);
    }

    /// Makes a node known, if it is not yet.
    fn meet(&self, node: NodeId, address: &str) {
        let removed = self.shared.removed.read().unwrap_or_else(PoisonError::into_inner).contains(&node);
        if node == self.shared.node || removed {
            return;
        }
        let peer = {
            let mut peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
            if peers.contains_key(&node) {
                return;
            }
            let peer = Arc::new(Peer::new(node, address.to_owned(), self.shared.signs.clone()));
            peers.insert(node, peer.clone());
            peer
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        for link in &peer.links {
            tasks.push(task::spawn(link.clone().run(peer.clone(), self.shared.clone())));
        }
    }
}

impl Shared {
    pub(super) fn own(&self) -> Own {
        self.own.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn handler(&self) -> Option<Arc<dyn Handler>> {
        self.handler.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// A node that is not silent. A silent one is dialled in the background, and nobody waits for that.
    fn reachable(&self, node: NodeId) -> Result<Arc<Peer>, CallError> {
        self.peer(node).filter(|peer| !peer.is_silent()).ok_or(CallError::Unreachable)
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Judges who asks to be let in.
    pub(super) fn admit_asker(&self, hello: &HelloV1) -> Result<(Arc<Peer>, Class), HelloRefusal> {
        let (node, class) = self.own().judge(hello)?;
        if self.removed.read().unwrap_or_else(PoisonError::into_inner).contains(&node) {
            return Err(HelloRefusal::Removed(node));
        }
        let peer = self.peer(node).ok_or(HelloRefusal::UnknownNode(node))?;
        peer.admit(hello).map_err(HelloRefusal::Identity)?;
        Ok((peer, class))
    }

    /// Judges who answers at a node's address.
    pub(super) fn admit_answer(&self, peer: &Peer, class: Class, hello: &HelloV1) -> Result<(), ShakeError> {
        let (node, answered) = self.own().judge(hello).map_err(ShakeError::NotWelcome)?;
        if node != peer.node || answered != class {
            return Err(ShakeError::NotWelcome(HelloRefusal::UnknownNode(node)));
        }
        peer.admit(hello).map_err(|refusal| ShakeError::NotWelcome(HelloRefusal::Identity(refusal)))?;
        peer.heard_now();
        self.let_in(node);
        Ok(())
    }

    /// This node is not let in by another.
    pub(super) fn was_refused(&self, by: NodeId, refusal: HelloRefusal) {
        let news = self.refusals.modify_if(|refusals| refusals.insert(by, refusal) != Some(refusal));
        if news {
            tracing::warn!(node = %by, %refusal, "refused by another node");
        }
    }

    fn let_in(&self, by: NodeId) {
        self.refusals.modify_if(|refusals| refusals.remove(&by).is_some());
    }

    /// A connection with a node has come up, either way.
    pub(super) fn keep_hello(&self, node: NodeId, hello: &HelloV1) {
        self.hellos.modify_if(|hellos| {
            // The three connections differ in nothing but their class.
            let same = hellos.get(&node).is_some_and(|kept| HelloV1 { class: hello.class, ..kept.clone() } == *hello);
            if !same {
                hellos.insert(node, hello.clone());
            }
            !same
        });
    }
}

/// Asks quiet nodes for a sign of life and cuts off those that give none.
async fn watch_contacts(shared: Arc<Shared>) {
    let options = shared.options;
    let every = options.election_timeout / 4;
    loop {
        let began = Instant::now();
        time::sleep(every).await;
        // If it was this node that stood still, what the others said in the meantime has not been read yet.
        let stood_still = began.elapsed() > options.election_timeout;
        if stood_still {
            quorate_core::sometimes!("node_itself_stood_still");
        }
        for peer in shared.peers() {
            let quiet = peer.quiet_for();
            if quiet > options.silence() && !stood_still {
                peer.fall_silent();
            } else if quiet > options.election_timeout / 2 {
                peer.link(Class::Request).ping();
            }
        }
    }
}

impl quorate_raft::Transport for Peers {
    fn call(
        &self,
        to: NodeId,
        group: GroupId,
        rpc: quorate_raft::RaftRpc,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, quorate_raft::TransportError>> {
        use quorate_raft::TransportError;
        let answer = Peers::call(self, to, Kind::of_raft(rpc), group, body, timeout);
        Box::pin(async move {
            answer.await.map_err(|error| match error {
                CallError::Unreachable | CallError::Broken => TransportError::Unreachable,
                CallError::TimedOut => TransportError::TimedOut,
                CallError::Full => TransportError::Full,
                CallError::Refused(reason) => TransportError::Refused(reason),
            })
        })
    }

    fn signs(&self) -> watch::Receiver<BTreeMap<NodeId, Sign>> {
        self.shared.signs.subscribe()
    }

    fn quiet_for(&self, node: NodeId) -> Duration {
        self.shared.peer(node).map_or(Duration::MAX, |peer| peer.quiet_for())
    }
}
