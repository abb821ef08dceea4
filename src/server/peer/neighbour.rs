//! One other node: where it is, what is known of it, when it was heard, and the connections of the pair.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_core::cluster::member::IdentityRefusal;
use quorate_core::cluster::{Addresses, Node, Standing};
use quorate_core::model::NodeId;
use quorate_raft::Sign;
use quorate_world::sync::Notify;
use quorate_world::time::{Duration, Instant};
use quorate_world::watch;

use super::hello::HelloV1;
use super::kind::Class;
use super::link::Link;

/// One other node.
pub struct Peer {
    /// Its id.
    pub node: NodeId,
    /// The connections that this node opens, by class.
    pub links: [Arc<Link>; 3],
    state: Mutex<State>,
    silent: AtomicBool,
    /// Where it is noted that it falls silent, is heard again, or begins another life.
    signs: watch::Sender<BTreeMap<NodeId, Sign>>,
}

struct State {
    /// `host:port` of its peer port; empty once another node has it.
    address: String,
    /// Its newest start, as it or the meta group said.
    known: Option<Node>,
    /// It said so before it belonged to a cluster: it may start over with another disk, there is nothing to lose.
    provisional: bool,
    /// When anything last came from it; at first when this node learnt of it.
    heard: Instant,
    ever_heard: bool,
    /// The connections that it has opened, by class: how to close each.
    inbound: BTreeMap<Class, Arc<Notify>>,
}

/// When a node was last heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contact {
    /// When anything last came from it; None if nothing ever did.
    pub heard: Option<Instant>,
    /// Nothing for two election timeouts (counted from when this node learnt of it, if nothing ever came).
    pub silent: bool,
    /// Whether the connection for requests to it is up.
    pub connected: bool,
}

impl Peer {
    /// A peer of which only the address is known.
    pub fn new(node: NodeId, address: String, signs: watch::Sender<BTreeMap<NodeId, Sign>>) -> Peer {
        let state = State {
            address,
            known: None,
            provisional: true,
            heard: Instant::now(),
            ever_heard: false,
            inbound: BTreeMap::new(),
        };
        Peer {
            node,
            links: Class::ALL.map(|class| Arc::new(Link::new(class))),
            state: Mutex::new(state),
            silent: AtomicBool::new(false),
            signs,
        }
    }

    /// The connection of a class that this node opens.
    pub fn link(&self, class: Class) -> &Arc<Link> {
        &self.links[class.place()]
    }

    /// The same, for somebody who has a question: while other connections of the pair are up, there is no reason to wait
    /// out the pause after a try that failed.
    pub fn wanted_link(&self, class: Class) -> &Arc<Link> {
        let link = self.link(class);
        if !link.is_up() && self.is_near() {
            link.retry_now();
        }
        link
    }

    fn is_near(&self) -> bool {
        !self.state().inbound.is_empty() || self.links.iter().any(|link| link.is_up())
    }

    /// Where it is reached, if anywhere.
    pub fn address(&self) -> Option<String> {
        Some(self.state().address.clone()).filter(|address| !address.is_empty())
    }

    /// Another node is reached where this one was.
    pub fn has_no_address(&self) {
        self.state().address.clear();
    }

    /// Something came from it.
    pub fn heard_now(&self) {
        let mut state = self.state();
        state.heard = Instant::now();
        state.ever_heard = true;
        drop(state);
        if self.silent.swap(false, Ordering::Relaxed) {
            quorate_core::sometimes!("silent_node_is_heard_again");
            tracing::info!(node = %self.node, "the node is heard again");
            self.sign(|sign| sign.silent = false);
        }
    }

    /// How long nothing has come from it, or since it is known here.
    pub fn quiet_for(&self) -> Duration {
        self.state().heard.elapsed()
    }

    /// Whether nothing has come from it for two election timeouts.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Closes everything and answers all that is pending: it has been quiet for too long.
    pub fn fall_silent(&self) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            quorate_core::sometimes!("node_falls_silent");
            tracing::warn!(node = %self.node, quiet_ms = self.quiet_for().as_millis() as u64, "the node is silent");
            self.close_all();
            self.sign(|sign| sign.silent = true);
        }
    }

    fn sign(&self, change: impl FnOnce(&mut Sign)) {
        self.signs.modify(|signs| change(signs.entry(self.node).or_default()));
    }

    /// Ends every connection of the pair; those that this node opens are opened anew.
    pub fn close_all(&self) {
        let inbound = std::mem::take(&mut self.state().inbound);
        inbound.into_values().for_each(|close| close.notify_one());
        self.links.iter().for_each(|link| link.close());
    }

    /// When it was last heard.
    pub fn contact(&self) -> Contact {
        let state = self.state();
        Contact {
            heard: state.ever_heard.then_some(state.heard),
            silent: self.is_silent(),
            connected: self.link(Class::Request).is_up(),
        }
    }

    /// Takes a hello that was judged fit otherwise, if this disk and start may speak for the node. A newer start ends
    /// the connections of the one before.
    pub fn admit(&self, hello: &HelloV1) -> Result<(), IdentityRefusal> {
        let said = Node {
            id: self.node,
            disk: hello.disk,
            epoch: hello.epoch,
            start: hello.start,
            addresses: hello.addresses.clone(),
            silent: false,
            standing: Standing::Serving,
        };
        self.know(said, hello.cluster.is_none())
    }

    /// What the meta group says of it. A process that this node talks to and that may not speak is cut off.
    pub fn learn(&self, recorded: &Node) {
        match self.know(recorded.clone(), false) {
            // This node has heard of a newer start before the meta group.
            Ok(()) | Err(IdentityRefusal::OlderEpoch { .. }) => {}
            Err(IdentityRefusal::OtherDisk { .. } | IdentityRefusal::RunningClone { .. }) => {
                self.state().known = Some(recorded.clone());
                self.close_all();
            }
        }
    }

    fn know(&self, said: Node, provisional: bool) -> Result<(), IdentityRefusal> {
        let mut state = self.state();
        // The same process says more of itself once it is founded; another one ends what the one before had.
        let other_process = state.known.as_ref().is_some_and(|known| known.start != said.start);
        if let Some(known) = state.known.as_ref().filter(|_| !state.provisional) {
            known.admits(said.disk, said.epoch, said.start)?;
        }
        if !said.addresses.peer.is_empty() && !is_unspecified(&said.addresses) {
            state.address = said.addresses.peer.clone();
        }
        state.known = Some(said);
        state.provisional = provisional && state.provisional;
        drop(state);
        if other_process {
            quorate_core::sometimes!("node_is_met_in_another_life");
            self.close_all();
            self.sign(|sign| sign.lives += 1);
        }
        Ok(())
    }

    /// Notes an inbound connection and ends the one of its class before it. The notify ends the new one.
    pub fn accept(&self, class: Class) -> Arc<Notify> {
        let close = Arc::new(Notify::new());
        let before = self.state().inbound.insert(class, close.clone());
        if let Some(before) = before {
            quorate_core::sometimes!("second_connection_of_a_node_replaces_the_first");
            before.notify_one();
        }
        // It is up: no use in waiting out the pause after a refused connection.
        self.links.iter().for_each(|link| link.retry_now());
        close
    }

    /// An inbound connection has ended.
    pub fn leave(&self, class: Class, close: &Arc<Notify>) {
        let mut state = self.state();
        if state.inbound.get(&class).is_some_and(|current| Arc::ptr_eq(current, close)) {
            state.inbound.remove(&class);
        }
    }

    // A panic while it is held ends the process in production.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `0.0.0.0:port` says nothing about where a node is.
fn is_unspecified(addresses: &Addresses) -> bool {
    addresses.peer.starts_with("0.0.0.0:") || addresses.peer.starts_with("[::]:")
}
