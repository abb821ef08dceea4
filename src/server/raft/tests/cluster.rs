//! Nodes in one process and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::select_all;
use quorate_core::model::{GroupId, NodeId};
use quorate_storage::{LogState, Storage};
use quorate_world::disk::NodeDisk;
use quorate_world::random;
use quorate_world::time::{Duration, sleep, timeout};
use quorate_world::watch;

use super::disk;
use super::ledger::{Balance, Ledger, Put};
use crate::options::RaftOptions;
use crate::replica::{Leadership, ProposeError, Replica};
use crate::replicas::{OpenError, Replicas};
use crate::transport::{BoxFuture, RaftRpc, Sign, Transport, TransportError};

pub const GROUP: GroupId = GroupId(7);

/// Longer than any election; only a broken group waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Who hears whom, and how slowly.
pub struct Net {
    state: Mutex<NetState>,
    /// As every node knows of all.
    signs: watch::Sender<BTreeMap<NodeId, Sign>>,
}

impl Default for Net {
    fn default() -> Net {
        Net { state: Mutex::default(), signs: watch::channel(BTreeMap::new()).0 }
    }
}

#[derive(Default)]
struct NetState {
    nodes: BTreeMap<NodeId, Arc<Replicas>>,
    /// Requests and answers between these are lost.
    cut: BTreeSet<(NodeId, NodeId)>,
    delay_us_max: u64,
    loss_percent: u64,
    calls: BTreeMap<RaftRpc, u64>,
}

impl Net {
    fn state(&self) -> MutexGuard<'_, NetState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that have arrived.
    pub fn calls(&self, rpc: RaftRpc) -> u64 {
        self.state().calls.get(&rpc).copied().unwrap_or(0)
    }

    pub fn slow_and_lossy(&self, delay_us_max: u64, loss_percent: u64) {
        let mut state = self.state();
        (state.delay_us_max, state.loss_percent) = (delay_us_max, loss_percent);
    }

    /// Nobody hears `node` any more, and it hears nobody.
    pub fn isolate(&self, node: NodeId, others: &[NodeId]) {
        let mut state = self.state();
        for other in others.iter().filter(|other| **other != node) {
            state.cut.insert((node, *other));
            state.cut.insert((*other, node));
        }
    }

    /// All others learn that nothing comes from `node` any more, or that something does.
    pub fn note_silence(&self, node: NodeId, silent: bool) {
        self.signs.modify(|signs| signs.entry(node).or_default().silent = silent);
    }

    /// All others meet `node` in another life.
    pub fn note_life(&self, node: NodeId) {
        self.signs.modify(|signs| signs.entry(node).or_default().lives += 1);
    }

    pub fn heal(&self) {
        self.state().cut.clear();
    }

    /// What happens to one message; none: it is lost.
    fn passage(&self, from: NodeId, to: NodeId) -> Option<Duration> {
        let state = self.state();
        let lost = state.cut.contains(&(from, to)) || random::below(100) < state.loss_percent;
        (!lost).then(|| Duration::from_micros(random::below(state.delay_us_max + 1)))
    }
}

/// One node's way to the others.
struct Way {
    from: NodeId,
    net: Arc<Net>,
}

impl Way {
    async fn carry(
        from: NodeId,
        net: Arc<Net>,
        to: NodeId,
        group: GroupId,
        rpc: RaftRpc,
        body: Bytes,
    ) -> Result<Bytes, TransportError> {
        let there = net.passage(from, to).ok_or(TransportError::TimedOut)?;
        if there > Duration::ZERO {
            sleep(there).await;
        }
        let node = net.state().nodes.get(&to).cloned().ok_or(TransportError::Unreachable)?;
        *net.state().calls.entry(rpc).or_default() += 1;
        let answer = node.serve(from, group, rpc, body).await;
        let back = net.passage(to, from).ok_or(TransportError::TimedOut)?;
        if back > Duration::ZERO {
            sleep(back).await;
        }
        answer.map_err(|error| TransportError::Refused(error.to_string()))
    }
}

impl Transport for Way {
    fn call(
        &self,
        to: NodeId,
        group: GroupId,
        rpc: RaftRpc,
        body: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let carry = Way::carry(self.from, self.net.clone(), to, group, rpc, body);
        Box::pin(async move {
            match timeout(limit, carry).await {
                Ok(Err(TransportError::TimedOut)) => {
                    // Lost: silence until the deadline.
                    sleep(limit).await;
                    Err(TransportError::TimedOut)
                }
                Ok(answer) => answer,
                Err(_) => Err(TransportError::TimedOut),
            }
        })
    }

    fn signs(&self) -> watch::Receiver<BTreeMap<NodeId, Sign>> {
        self.net.signs.subscribe()
    }

    fn quiet_for(&self, node: NodeId) -> Duration {
        let silent = self.net.signs.borrow().get(&node).is_some_and(|sign| sign.silent);
        if silent { Duration::MAX } else { Duration::ZERO }
    }
}

/// A running node of the cluster.
pub struct Running {
    pub replicas: Arc<Replicas>,
    pub replica: Arc<Replica<Ledger>>,
    storage: Storage,
}

/// Some nodes with one group.
pub struct Cluster {
    pub net: Arc<Net>,
    pub options: RaftOptions,
    name: &'static str,
    disks: BTreeMap<NodeId, NodeDisk>,
    pub running: BTreeMap<NodeId, Running>,
}

/// Quick elections, so that tests in real time are quick.
pub fn quick() -> RaftOptions {
    RaftOptions { heartbeat_ms: 40, election_timeout_ms: 160, ..RaftOptions::default() }
}

/// Waits until somebody hears of another leader, or has stopped: then it is no longer among them.
pub async fn any_change(watches: &mut Vec<watch::Receiver<Leadership>>) {
    let changes = watches.iter_mut().map(|watch| Box::pin(watch.changed()));
    let (changed, which, _) = select_all(changes).await;
    if changed == Err(watch::Closed) {
        watches.remove(which);
    }
}

impl Cluster {
    /// Nodes that know of no group yet.
    pub async fn start(name: &'static str, nodes: &[NodeId], options: RaftOptions) -> Cluster {
        // A replica that stops the process says why.
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
        let to_stderr = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr);
        let _ = to_stderr.try_init();
        let mut cluster =
            Cluster { net: Arc::default(), options, name, disks: BTreeMap::new(), running: BTreeMap::new() };
        for node in nodes {
            cluster.run(*node).await;
        }
        cluster
    }

    /// A founded group with a leader.
    pub async fn founded(name: &'static str, nodes: &[NodeId], options: RaftOptions) -> Cluster {
        let cluster = Cluster::start(name, nodes, options).await;
        cluster.replica(nodes[0]).initialize(nodes).await.expect("a fresh group");
        cluster.leader().await;
        cluster
    }

    /// The disk of a node.
    pub fn disk(&self, node: NodeId) -> NodeDisk {
        self.disks[&node].clone()
    }

    /// Opens the group on the disk of a node that does not run, and lets it go again.
    pub async fn open(&self, node: NodeId) -> Result<(), OpenError> {
        let storage = disk::reopened(&self.disks[&node]).await;
        let way = Arc::new(Way { from: node, net: self.net.clone() });
        let replicas = Replicas::start(node, self.options.clone(), storage.clone(), way);
        let opened = replicas.open::<Ledger>(GROUP).await;
        if let Ok(replica) = &opened {
            replicas.close(replica).await;
        }
        storage.close().await;
        opened.map(drop)
    }

    /// Starts a node, on its disk if it had one.
    pub async fn run(&mut self, node: NodeId) {
        let storage = match self.disks.get(&node) {
            Some(disk) => disk::reopened(disk).await,
            None => {
                let disk = disk::scratch(&format!("{}-{node}", self.name)).await;
                self.disks.insert(node, disk.clone());
                disk::founded(&disk, node).await
            }
        };
        let way = Arc::new(Way { from: node, net: self.net.clone() });
        let replicas = Replicas::start(node, self.options.clone(), storage.clone(), way);
        let replica = replicas.open::<Ledger>(GROUP).await.expect("the group opens");
        self.net.state().nodes.insert(node, replicas.clone());
        self.running.insert(node, Running { replicas, replica, storage });
    }

    /// Stops a node; its disk stays.
    pub async fn stop(&mut self, node: NodeId) {
        self.net.state().nodes.remove(&node);
        if let Some(running) = self.running.remove(&node) {
            running.replicas.close(&running.replica).await;
            running.storage.close().await;
        }
    }

    /// Takes the group off a node, and stops the node. What is left of the group.
    pub async fn remove(&mut self, node: NodeId) -> LogState {
        self.net.state().nodes.remove(&node);
        let running = self.running.remove(&node).expect("a running node");
        running.replicas.remove(&running.replica).await;
        let left = running.storage.group(GROUP).state();
        running.storage.close().await;
        left
    }

    /// Stops all nodes: a log that is closed leaves no thread behind.
    pub async fn end(&mut self) {
        for node in self.nodes() {
            self.stop(node).await;
        }
    }

    pub fn replica(&self, node: NodeId) -> Arc<Replica<Ledger>> {
        self.running[&node].replica.clone()
    }

    pub fn storage(&self, node: NodeId) -> Storage {
        self.running[&node].storage.clone()
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.running.keys().copied().collect()
    }

    /// The node that leads and is followed by all that run.
    pub async fn leader(&self) -> NodeId {
        let nodes = self.nodes();
        self.leader_among(&nodes).await
    }

    /// The node that leads `nodes`, one of them, as all of them know.
    pub async fn leader_among(&self, nodes: &[NodeId]) -> NodeId {
        let mut watches: Vec<_> = nodes.iter().map(|node| self.replica(*node).leadership()).collect();
        let agreed = async {
            loop {
                let told: BTreeSet<Leadership> = watches
                    .iter_mut()
                    .map(|watch| Leadership { leading: false, ..*watch.borrow_and_update() })
                    .collect();
                let leader = told.first().and_then(|leadership| leadership.leader);
                if let (1, Some(leader)) = (told.len(), leader.filter(|leader| nodes.contains(leader)))
                    && self.replica(leader).leadership().borrow().leading
                {
                    return leader;
                }
                any_change(&mut watches).await;
            }
        };
        timeout(PATIENCE, agreed).await.expect("a leader in time")
    }

    /// Proposes where the leader is until it is applied. Only for commands that may be applied twice.
    pub async fn put(&self, put: Put) -> Balance {
        loop {
            let leader = self.leader().await;
            match self.replica(leader).propose(put.clone()).await {
                Ok(balance) => return balance,
                Err(ProposeError::NotLeader { .. } | ProposeError::Unknown) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits until a node has applied all that is in the leader's log now.
    pub async fn catch_up(&self, node: NodeId, leader: NodeId) {
        let index = self.replica(leader).health().last_log_index;
        let waited = self.replica(node).raft.wait(Some(PATIENCE)).applied_index_at_least(index, "catching up").await;
        waited.expect("the node catches up");
    }

    /// Every running node ends up with the same state.
    pub async fn converge(&self) -> Ledger {
        let leader = self.leader().await;
        self.catch_up(leader, leader).await;
        let mut states = Vec::new();
        for node in self.nodes() {
            self.catch_up(node, leader).await;
            states.push(self.replica(node).read(Ledger::clone));
        }
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        states.swap_remove(0)
    }
}
