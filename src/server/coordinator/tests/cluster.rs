//! Nodes with replicas and a coordinator each, and the network between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_core::cluster::command::{FoundClusterV1, GroupV1, NodeStartedV1};
use quorate_core::cluster::{Addresses, ClusterId, DiskId, Meta, MetaBatch, MetaCommand, Routing, StartEpoch, StartId};
use quorate_core::model::{Epoch, GroupId, NodeId, SLOTS, Slot};
use quorate_core::phase_two::{Patience, UndoLogDeletion};
use quorate_core::txn::command::FoundV1;
use quorate_core::txn::{Command, Stamp, Transactions};
use quorate_core::wire::{Message, Registration};
use quorate_raft::{BoxFuture, RaftOptions, RaftRpc, Replica, Replicas, Sign, Transport, TransportError};
use quorate_storage::{Identity, Storage, StorageOptions};
use quorate_world::disk::{Disk, NodeDisk};
use quorate_world::time::{Duration, sleep, timeout};
use quorate_world::watch;

use super::super::guard::locked;
use super::super::relays;
use super::super::turns::Bounds;
use super::super::{Access, Coordinator, CoordinatorContext, Nodes};
use super::client::Client;
use crate::peer::CallError;

const PATIENCE: Duration = Duration::from_secs(30);

type Member = (Arc<Replicas>, Arc<Coordinator>);

/// The network: raft and coordinators, cut at will.
#[derive(Default)]
pub struct Net {
    nodes: Mutex<BTreeMap<NodeId, Member>>,
    cut: Mutex<BTreeSet<NodeId>>,
    messages: AtomicU64,
    /// Requests that one node serves for another at a time, at most.
    served_max: Mutex<Option<usize>>,
    served: Mutex<BTreeMap<(NodeId, NodeId), usize>>,
}

/// A request that is being served. Over when dropped.
struct Served<'a>(&'a Net, (NodeId, NodeId));

impl Net {
    /// Nobody hears this node any more, and it hears nobody.
    pub fn isolate(&self, node: NodeId) {
        locked(&self.cut).insert(node);
    }

    pub fn heal(&self) {
        locked(&self.cut).clear();
    }

    /// Messages between nodes so far, questions and answers.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// A node serves so many requests of another one at a time, and answers more as a node does that has too much to do.
    pub fn bound(&self, served_max: Option<usize>) {
        *locked(&self.served_max) = served_max;
    }

    fn serve(&self, from: NodeId, to: NodeId) -> Option<Served<'_>> {
        let served_max = locked(&self.served_max).unwrap_or(usize::MAX);
        let mut served = locked(&self.served);
        let count = served.entry((from, to)).or_default();
        (*count < served_max).then(|| {
            *count += 1;
            Served(self, (from, to))
        })
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Option<(Arc<Replicas>, Arc<Coordinator>)> {
        self.messages.fetch_add(1, Ordering::Relaxed);
        let cut = locked(&self.cut);
        if from != to && (cut.contains(&from) || cut.contains(&to)) {
            return None;
        }
        locked(&self.nodes).get(&to).cloned()
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let Served(net, way) = self;
        locked(&net.served).entry(*way).and_modify(|count| *count -= 1);
    }
}

/// One node's way to the others.
struct Way {
    from: NodeId,
    net: Arc<Net>,
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
        let (from, net) = (self.from, self.net.clone());
        Box::pin(async move {
            let Some((node, _)) = net.reach(from, to) else {
                sleep(limit).await;
                return Err(TransportError::TimedOut);
            };
            let served = timeout(limit, node.serve(from, group, rpc, body)).await;
            let answer = served.map_err(|_| TransportError::TimedOut)?;
            match net.reach(to, from) {
                Some(_) => answer.map_err(|error| TransportError::Refused(error.to_string())),
                None => Err(TransportError::TimedOut),
            }
        })
    }

    fn signs(&self) -> watch::Receiver<BTreeMap<NodeId, Sign>> {
        watch::channel(BTreeMap::new()).1
    }

    fn quiet_for(&self, _node: NodeId) -> Duration {
        Duration::ZERO
    }
}

impl Nodes for Way {
    fn call(
        &self,
        to: NodeId,
        group: GroupId,
        body: Bytes,
        limit: Duration,
    ) -> crate::peer::BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let (_, node) = self.net.reach(self.from, to).ok_or(CallError::Unreachable)?;
            let _served = self.net.serve(self.from, to).ok_or(CallError::Full)?;
            let served = timeout(limit, node.serve(self.from, group, body)).await;
            let answer = served.map_err(|_| CallError::TimedOut)?;
            self.net.reach(to, self.from).ok_or(CallError::Broken)?;
            answer.map_err(CallError::Refused)
        })
    }

    fn cast(&self, to: NodeId, group: GroupId, body: Bytes) {
        if let Some((_, node)) = self.net.reach(self.from, to) {
            let from = self.from;
            quorate_world::task::spawn(async move { _ = node.serve(from, group, body).await });
        }
    }
}

/// A running node.
pub struct Running {
    pub coordinator: Arc<Coordinator>,
    pub groups: BTreeMap<GroupId, Arc<Replica<Transactions>>>,
    replicas: Arc<Replicas>,
    storage: Storage,
}

impl Running {
    /// Entries of a group that this node has applied.
    pub fn applied(&self, group: GroupId) -> u64 {
        self.groups[&group].health().applied.map_or(0, |applied| applied.index.0)
    }

    /// Batches that its disk has written and synced.
    pub fn synced_batches(&self) -> u64 {
        self.storage.figures().batches
    }
}

/// A founded cluster: slot s belongs to group 1 + s mod the number of groups, and each group is on every node.
pub struct Cluster {
    pub net: Arc<Net>,
    pub running: BTreeMap<NodeId, Running>,
    routing: watch::Sender<Routing>,
    given: Given,
    next_port: u16,
}

/// How the nodes are configured.
#[derive(Clone)]
pub struct Given {
    pub patience: Patience,
    pub memory_budget_bytes: u64,
    pub access: Access,
    pub heartbeat_ms: u64,
    pub batch_results: bool,
    pub lost_tm_after: Option<Duration>,
    pub seata_meters: bool,
    /// Nodes that carry groups, the first ones; the others only serve clients.
    pub carriers: usize,
    /// Carriers of each group, one after the other from one that differs from group to group.
    pub replicas: usize,
    /// What another node is asked at a time to ask its RMs.
    pub relays: Bounds,
}

impl Default for Given {
    fn default() -> Given {
        Given {
            patience: Patience::DEFAULT,
            memory_budget_bytes: 1 << 30,
            access: Access::default(),
            heartbeat_ms: 40,
            batch_results: false,
            lost_tm_after: None,
            seata_meters: false,
            carriers: usize::MAX,
            replicas: usize::MAX,
            relays: relays::BOUNDS,
        }
    }
}

impl Cluster {
    pub async fn founded(name: &str, nodes: &[NodeId], groups: u32) -> Cluster {
        Cluster::given(name, nodes, groups, Given::default()).await
    }

    pub async fn patient(name: &str, nodes: &[NodeId], groups: u32, patience: Patience) -> Cluster {
        Cluster::given(name, nodes, groups, Given { patience, ..Given::default() }).await
    }

    pub async fn given(name: &str, nodes: &[NodeId], groups: u32, given: Given) -> Cluster {
        let to_stderr = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_writer(std::io::stderr);
        let _ = to_stderr.try_init();
        let carriers = &nodes[..given.carriers.min(nodes.len())];
        let carried: BTreeMap<GroupId, Vec<NodeId>> =
            (1..=groups).map(|group| (GroupId(group), carriers_of(group, carriers, given.replicas))).collect();
        let routing = watch::channel(routing(nodes, &carried)).0;
        let mut cluster = Cluster { net: Arc::default(), running: BTreeMap::new(), routing, given, next_port: 1 };
        for node in nodes {
            let carries = carried.iter().filter(|(_, carriers)| carriers.contains(node)).map(|(group, _)| *group);
            let running = cluster.run(name, *node, carries).await;
            cluster.running.insert(*node, running);
        }
        for (group, carriers) in carried {
            cluster.running[&carriers[0]].groups[&group].initialize(&carriers).await.expect("a fresh group");
            cluster.found(group, groups).await;
        }
        for running in cluster.running.values() {
            running.coordinator.start();
            for (group, replica) in &running.groups {
                running.coordinator.attach(*group, replica.clone());
            }
        }
        for group in (1..=groups).map(GroupId) {
            cluster.serving(group).await;
        }
        cluster
    }

    async fn run(&self, name: &str, node: NodeId, groups: impl Iterator<Item = GroupId>) -> Running {
        let disk = scratch(&format!("{name}-{node}")).await;
        let options = StorageOptions { segment_bytes: 1 << 20, ..StorageOptions::default() };
        let (storage, _) = Storage::open(disk, options).await.expect("an empty folder");
        let identity = Identity { cluster: [7; 16], node, disk: [node.0 as u8; 16] };
        storage.found(identity).await.expect("founded");
        let way = || Arc::new(Way { from: node, net: self.net.clone() });
        let heartbeat_ms = self.given.heartbeat_ms;
        let raft = RaftOptions { heartbeat_ms, election_timeout_ms: 4 * heartbeat_ms, ..RaftOptions::default() };
        let replicas = Replicas::start(node, raft, storage.clone(), way());
        let context = CoordinatorContext {
            node,
            advertise: format!("10.0.0.{node}:8091"),
            version: "2.5.0".into(),
            routing: self.routing.subscribe(),
            nodes: way(),
            memory_budget_bytes: self.given.memory_budget_bytes,
            requests_bytes_max: 256 << 20,
            access: self.given.access.clone(),
            patience: self.given.patience,
            undo_logs: UndoLogDeletion::DEFAULT,
            batch_results: self.given.batch_results,
            lost_tm_after: self.given.lost_tm_after,
            seata_meters: self.given.seata_meters,
        };
        let coordinator = Coordinator::relaying(context, self.given.relays);
        locked(&self.net.nodes).insert(node, (replicas.clone(), coordinator.clone()));
        let mut opened = BTreeMap::new();
        for group in groups {
            opened.insert(group, replicas.open::<Transactions>(group).await.expect("the group opens"));
        }
        Running { coordinator, groups: opened, replicas, storage }
    }

    async fn found(&self, group: GroupId, groups: u32) {
        let slots = (0..SLOTS).filter(|slot| owner(*slot, groups) == group).map(Slot).collect();
        let found = Command::Found(FoundV1 { slots, epoch: Epoch(1), sequence: 1 << 20 });
        loop {
            for replica in self.running.values().filter_map(|running| running.groups.get(&group)) {
                if replica.propose(found.clone()).await.is_ok() {
                    return;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// The node that serves a group.
    pub async fn serving(&self, group: GroupId) -> NodeId {
        let found = timeout(PATIENCE, async {
            loop {
                let leads = |running: &Running| running.coordinator.leads().iter().any(|(led, _)| *led == group);
                let cut = locked(&self.net.cut).clone();
                let heard = self.running.iter().filter(|(node, _)| !cut.contains(node));
                if let Some((node, _)) = heard.into_iter().find(|(_, running)| leads(running)) {
                    return *node;
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        found.await.expect("a leader in time")
    }

    /// A client's connection to a node, not registered yet.
    pub fn connect(&mut self, node: NodeId) -> Client {
        let peer = format!("10.1.0.1:{}", self.port()).parse().expect("an address");
        Client::connect(self.running[&node].coordinator.clone(), peer)
    }

    /// As [`Cluster::connect`], from another host.
    pub fn connect_from(&mut self, node: NodeId, ip: &str) -> Client {
        let peer = format!("{ip}:{}", self.port()).parse().expect("an address");
        Client::connect(self.running[&node].coordinator.clone(), peer)
    }

    fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    /// A TM of application `shop`.
    pub async fn tm(&mut self, node: NodeId) -> Client {
        let client = self.connect(node);
        client.register_tm("shop").await;
        client
    }

    /// A TM that registers so.
    pub async fn tm_with(&mut self, node: NodeId, registration: Registration) -> Client {
        let client = self.connect(node);
        let answer = client.ask(Message::RegisterTm(registration)).await;
        assert!(matches!(&answer, Some(Message::RegisterTmResult(result)) if result.identified), "{answer:?}");
        client
    }

    /// An RM of application `shop`.
    pub async fn rm(&mut self, node: NodeId, resources: &str) -> Client {
        let client = self.connect(node);
        client.register_rm("shop", resources).await;
        client
    }

    /// Waits until every node has heard of an RM for this resource.
    pub async fn announced(&self, resource: &str) {
        for running in self.running.values() {
            while running.coordinator.channels().best(resource, "shop:10.1.0.1:1", true).is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Nothing is locked, nothing unfinished, and every state keeps its invariants.
    pub async fn at_rest(&self) {
        let rest = timeout(PATIENCE, async {
            loop {
                let busy =
                    self.running.values().flat_map(|running| running.groups.values()).any(|replica| {
                        replica.read(|state| state.counts().row_locks > 0 || state.counts().sessions > 0)
                    });
                if !busy {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        let rested = rest.await;
        let mut left = Vec::new();
        for (node, running) in &self.running {
            for (group, replica) in &running.groups {
                replica.read(|state| {
                    state.check_invariants().expect("invariants");
                    left.extend(state.sessions().map(|session| format!("{node} {group}: {session:?}")));
                    left.extend(
                        state.locks().map(|lock| format!("{node} {group}: {} of {}", lock.row, lock.transaction)),
                    );
                });
            }
        }
        assert!(rested.is_ok(), "left: {left:#?}");
    }

    /// Stops all nodes: a log that is closed leaves no thread behind.
    pub async fn end(self) {
        for (_, running) in self.running {
            for (group, replica) in &running.groups {
                running.coordinator.detach(*group);
                running.replicas.close(replica).await;
            }
            running.storage.close().await;
        }
    }
}

pub fn owner(slot: u16, groups: u32) -> GroupId {
    GroupId(1 + u32::from(slot) % groups)
}

fn carriers_of(group: u32, carriers: &[NodeId], replicas: usize) -> Vec<NodeId> {
    let in_turn = carriers.iter().cycle().skip(group as usize % carriers.len());
    in_turn.take(replicas.min(carriers.len())).copied().collect()
}

fn routing(nodes: &[NodeId], carried: &BTreeMap<GroupId, Vec<NodeId>>) -> Routing {
    let started = |node: &NodeId| NodeStartedV1 {
        node: *node,
        disk: DiskId([node.0 as u8; 16]),
        epoch: StartEpoch(1),
        start: StartId([node.0 as u8; 16]),
        addresses: Addresses {
            advertised: format!("10.0.0.{node}:8091"),
            peer: format!("10.0.0.{node}:9091"),
            admin: format!("10.0.0.{node}:7091"),
        },
    };
    let found = MetaCommand::FoundCluster(FoundClusterV1 {
        cluster: ClusterId([7; 16]),
        birth_ms: 1_800_000_000_000,
        nodes: nodes.iter().map(started).collect(),
        groups: carried
            .iter()
            .map(|(group, carriers)| GroupV1 { group: *group, label: String::new(), replicas: carriers.clone() })
            .collect(),
        slots: (0..SLOTS).map(|slot| owner(slot, carried.len() as u32)).collect(),
    });
    let mut meta = Meta::new();
    meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![found] });
    assert!(meta.routing().picture() > 0, "founded");
    meta.routing().clone()
}

async fn scratch(name: &str) -> NodeDisk {
    // Beside the test's own binary: two checkouts may be tested at a time.
    let binary = std::env::current_exe().expect("a test runs");
    let path = format!("{}-data/{name}", binary.display());
    let disk = NodeDisk::open_root(&path).expect("a folder");
    for folder in ["wal", "snap"] {
        disk.make_folder(folder).await.expect("made");
        for name in disk.list(folder).await.expect("listed") {
            disk.remove(&format!("{folder}/{name}")).await.expect("removed");
        }
    }
    for name in ["LOCK", "IDENTITY", "IDENTITY.tmp"] {
        // Most of them are not there.
        let _ = disk.remove(name).await;
    }
    disk
}
