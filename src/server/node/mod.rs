//! The life of a node: from an empty or a known data folder to a served Begin, and to an orderly end.
//!
//! A start goes one way: open the disk, bind the ports, speak to the others; belong to a cluster (`founding`, whose value is
//! `plan`, or `admission`); take the seat in the meta group (`seat`) and follow its picture; open the data groups that it gives this node
//! (`groups`). From then on tasks keep things as they should be: `attendance` (who is there), `balance` (who leads), `moves`
//! (who carries what),
//! `readiness` (would a Begin be served), `alarm` (who is unwell), `space` (is there room on the disk). `desk` is where other nodes' requests arrive, `message` what they say about the
//! cluster, `stop` the way out.
//!
//! Not here: what is decided. Placement, balance, health and who may speak are decided in `core::cluster`.

mod admission;
mod alarm;
mod attendance;
mod balance;
mod descriptors;
mod desk;
mod disk;
mod doors;
pub mod events;
mod failure;
mod founding;
mod groups;
mod message;
mod moves;
mod plan;
mod ports;
mod readiness;
mod seat;
mod shown;
mod slots;
mod space;
mod stop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use quorate_core::cluster::{Meta, Routing, StartEpoch, StartId};
use quorate_core::model::{GroupId, NodeId};
use quorate_raft::{RaftOptions, Replicas};
use quorate_storage::Storage;
use quorate_world::linger::narrow;
use quorate_world::select::{Either2, Either3, select2, select3};
use quorate_world::task::JoinHandle;
use quorate_world::time::{Duration, Instant};
use quorate_world::{process, random, task, watch};

use crate::config::Config;
use crate::coordinator::{Access, Coordinator, CoordinatorContext};
use crate::exit::{ExitCode, Failure};
use crate::peer::{Own, PeerOptions, Peers};
use desk::Desk;
use disk::Disk;
use doors::Doors;
use failure::{open_failure, refused_for_good};
use founding::{Empty, Founder, Wishes, joining};
use groups::{Groups, GroupsContext};
use ports::Ports;
use readiness::Readiness;
use seat::Seat;
use shown::Shown;
use space::SpaceWatch;

/// What registrations are told as the server's version: later ones promise more than this server does.
const SEATA_VERSION: &str = "2.5.0";

/// Runs a node until it is asked to stop, or cannot go on.
pub async fn run(config: Config) -> Result<(), Failure> {
    let began = Instant::now();
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let mut stop = pin!(process::stop_requested());
    // Nothing is promised yet, and a node that asks to join may ask for long.
    let (node, wishes) = match select2(stop.as_mut(), pin!(Node::start(Arc::new(config)))).await {
        Either2::First(()) => return Ok(()),
        Either2::Second(started) => started?,
    };
    // A stop in the middle of a start is as good as any other.
    let ended = select2(stop, node.live(wishes, began)).await;
    stop::leave(&node).await;
    match ended {
        Either2::First(()) => Ok(()),
        Either2::Second(failure) => Err(failure),
    }
}

/// A node that speaks to others. Its groups come later, in [`Parts`].
struct Node {
    config: Arc<Config>,
    storage: Storage,
    own: watch::Sender<Own>,
    peers: Arc<Peers>,
    coordinator: Arc<Coordinator>,
    desk: Arc<Desk>,
    picture: watch::Sender<Routing>,
    ready: watch::Sender<bool>,
    doors: Doors,
    parts: Arc<OnceLock<Parts>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a node has once it belongs to a cluster.
struct Parts {
    replicas: Arc<Replicas>,
    seat: Arc<Seat>,
    groups: Arc<Groups>,
    shown: Shown,
}

impl Node {
    /// Opens the disk, binds the ports, and speaks to the others.
    async fn start(config: Arc<Config>) -> Result<(Node, Wishes), Failure> {
        let bounds = descriptors::divide(&config)?;
        let Disk { storage, node, disk, cluster } = Disk::open(&config).await?;
        let ports = Ports::bind(&config).await?;
        let unnumbered = Own {
            cluster,
            node: node.unwrap_or(NodeId(0)),
            disk,
            epoch: StartEpoch(storage.epoch()),
            start: StartId(random::bytes16()),
            addresses: ports.addresses.clone(),
        };
        let (who, known) = numbered(&config, &storage, unnumbered, node).await?;
        let node = who.node;
        let options = PeerOptions { election_timeout: Duration::from_millis(config.raft.election_timeout_ms) };
        let peers = Peers::start(ports.peer, who.clone(), &known, options);
        let (own, own_seen) = watch::channel(who.clone());
        let (picture, routing) = watch::channel(Routing::empty());
        let (ready, is_ready) = watch::channel(false);
        let coordinator = Coordinator::new(CoordinatorContext {
            node,
            advertise: who.addresses.advertised.clone(),
            version: SEATA_VERSION.to_owned(),
            routing: routing.clone(),
            nodes: peers.clone(),
            memory_budget_bytes: config.memory_budget_bytes,
            requests_bytes_max: config.requests_bytes_max,
            access: Access { secrets: config.access_keys.clone(), window_ms: config.access_window_s * 1_000 },
            patience: config.patience,
            undo_logs: config.undo_logs,
            batch_results: config.batch_results,
            lost_tm_after: config.lost_tm_rollback_ms.map(Duration::from_millis),
            seata_meters: config.seata_meters,
        });
        let (joining, wishes) = joining(own_seen);
        let desk = Desk::new(coordinator.clone(), joining, options.election_timeout);
        peers.serve(desk.clone());
        let parts: Arc<OnceLock<Parts>> = Arc::default();
        let shows = doors::Shows { config: &config, own: &who, routing, is_ready, parts: parts.clone(), bounds };
        let doors = Doors::open(shows, coordinator.clone(), storage.clone(), ports.seata, ports.admin);
        let tasks = Mutex::default();
        if let Some(at) = config.join.clone().filter(|_| known.is_empty()) {
            task::spawn(admission::meet_again(at, who.clone(), peers.clone()));
        }
        let node = Node { config, storage, own, peers, coordinator, desk, picture, ready, doors, parts, tasks };
        Ok((node, wishes))
    }

    /// Ends only when the node cannot go on.
    async fn live(&self, wishes: Wishes, began: Instant) -> Failure {
        let removed = attendance::removed(self.own.borrow().node, self.picture.subscribe());
        match select3(self.turned_away(), removed, self.work(wishes, began)).await {
            Either3::First(failure) | Either3::Second(failure) => failure,
            Either3::Third(Err(failure)) => failure,
        }
    }

    /// Ends when others refuse this node for good.
    async fn turned_away(&self) -> Failure {
        let mut refusals = self.peers.refusals();
        loop {
            let nodes = self.config.peers.len().max(self.picture.borrow().nodes().count());
            let cluster = self.own.borrow().cluster;
            let verdict = refused_for_good(&refusals.borrow_and_update(), cluster, nodes);
            if let Some(failure) = verdict {
                return failure;
            }
            if refusals.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn work(&self, wishes: Wishes, began: Instant) -> Result<Infallible, Failure> {
        if self.own.borrow().cluster.is_none() {
            let empty = Empty { config: &self.config, storage: &self.storage, peers: &self.peers, own: &self.own };
            empty.become_member(wishes).await?;
        }
        let on_disk = self.storage.groups();
        let parts = self.open_parts().await?;
        let (seat, groups) = (parts.seat.clone(), parts.groups.clone());
        self.keep_tasks(parts);
        let own = self.own.borrow().clone();
        let founding = self.found_if_due(&seat);
        let announcing = attendance::announce(seat.clone(), own, self.picture.subscribe());
        let serving = select2(groups.follow(on_disk), self.say_ready(began));
        match select3(founding, announcing, serving).await {
            Either3::First(Err(failure)) | Either3::Second(failure) => Err(failure),
            Either3::Third(Either2::First(failure)) => Err(failure),
        }
    }

    async fn open_parts(&self) -> Result<&Parts, Failure> {
        let node = self.own.borrow().node;
        let options = raft_options(&self.config);
        options.check().map_err(|reason| Failure::new(ExitCode::Usage, reason))?;
        let replicas = Replicas::start(node, options.clone(), self.storage.clone(), self.peers.clone());
        self.desk.serve_raft(replicas.clone());
        let meta = replicas.open::<Meta>(GroupId::META).await;
        let meta = meta.map_err(|error| open_failure(&error))?;
        let seat = Seat::new(meta, self.peers.clone(), Duration::from_millis(self.config.raft.election_timeout_ms));
        self.desk.serve_meta(seat.clone());
        self.desk.opened(GroupId::META);
        let groups = Groups::new(GroupsContext {
            node,
            replicas: replicas.clone(),
            desk: self.desk.clone(),
            coordinator: self.coordinator.clone(),
            peers: self.peers.clone(),
            seat: seat.clone(),
            routing: self.picture.subscribe(),
            options,
        });
        let shown = Shown {
            node,
            seat: seat.clone(),
            groups: groups.clone(),
            peers: self.peers.clone(),
            election_timeout_ms: self.config.raft.election_timeout_ms,
        };
        Ok(self.parts.get_or_init(|| Parts { replicas, seat, groups, shown }))
    }

    /// Starts what keeps things as they should be.
    fn keep_tasks(&self, parts: &Parts) {
        let election_timeout = Duration::from_millis(self.config.raft.election_timeout_ms);
        let node = self.own.borrow().node;
        let (seat, groups) = (&parts.seat, &parts.groups);
        let readiness = Readiness {
            node,
            groups: groups.clone(),
            coordinator: self.coordinator.clone(),
            peers: self.peers.clone(),
            routing: self.picture.subscribe(),
            storage: self.storage.clone(),
        };
        let space =
            SpaceWatch { storage: self.storage.clone(), groups: groups.clone(), coordinator: self.coordinator.clone() };
        let tasks = [
            task::spawn(seat.clone().follow(self.picture.clone())),
            task::spawn(learn(self.peers.clone(), self.picture.subscribe(), self.config.groups)),
            task::spawn(attendance::record(seat.clone(), self.peers.clone(), election_timeout)),
            task::spawn(balance::keep(groups.clone(), node, self.picture.subscribe(), election_timeout)),
            task::spawn(moves::plan(seat.clone(), self.peers.clone(), election_timeout)),
            task::spawn(moves::carry_out(groups.clone(), seat.clone(), self.picture.subscribe(), election_timeout)),
            task::spawn(slots::plan(seat.clone(), self.picture.subscribe(), election_timeout)),
            task::spawn(readiness.watch(self.ready.clone())),
            task::spawn(space.run()),
            task::spawn(alarm::watch(self.parts.clone(), election_timeout)),
        ];
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        self.coordinator.start();
    }

    /// The founder goes on until the founding is applied; everybody else waits for it.
    async fn found_if_due(&self, seat: &Arc<Seat>) -> Result<Infallible, Failure> {
        let own = self.own.borrow().clone();
        // A joined node has its number from the cluster, not from its configuration: it never founds.
        let is_founder = self.config.founds_as() == Some(own.node)
            && self.config.peers.keys().next().is_none_or(|lowest| *lowest == own.node);
        if seat.replica().is_initialized().await {
            self.elect_meta(seat).await;
        }
        // Only in the founding, or after a crash in its middle: else the state on the disk says of which cluster it is.
        if is_founder && seat.routing().cluster().is_none() {
            let founder = Founder { config: self.config.clone(), own, seat: seat.clone(), peers: self.peers.clone() };
            let mut routing = self.picture.subscribe();
            let founded = routing.wait_until(|routing| routing.cluster().is_some());
            match select2(founded, founder.found()).await {
                Either2::First(_) | Either2::Second(Ok(())) => {}
                Either2::Second(Err(failure)) => return Err(failure),
            }
        }
        std::future::pending().await
    }

    /// A restarted node of the lowest id stands for election at once; where another leader is alive, the others refuse.
    async fn elect_meta(&self, seat: &Seat) {
        let own = self.own.borrow().node;
        let voters: Vec<NodeId> = seat.replica().health().members.voters.into_iter().collect();
        if voters.first() == Some(&own) {
            let limit = Duration::from_millis(self.config.raft.election_timeout_ms);
            attendance::quorum_met(&self.peers, own, &voters, limit).await;
            if seat.replica().leadership().borrow().leader.is_none() {
                seat.replica().elect().await;
            }
        }
    }

    async fn say_ready(&self, began: Instant) -> Infallible {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as the node.
        let _ = ready.wait_until(|ready| *ready).await;
        let own = self.own.borrow().clone();
        let cluster = own.cluster.unwrap_or_default();
        let groups = self.picture.borrow().groups().count();
        process::say(&format!(
            "ready node={} cluster={cluster} seata={} peer={} admin={} groups={groups} in_ms={}",
            own.node,
            own.addresses.advertised,
            own.addresses.peer,
            own.addresses.admin,
            began.elapsed().as_millis()
        ));
        std::future::pending().await
    }
}

/// Who this node is and whom it knows at first: from its folder and its configuration, or from the cluster that it joins.
async fn numbered(
    config: &Config,
    storage: &Storage,
    own: Own,
    node: Option<NodeId>,
) -> Result<(Own, BTreeMap<NodeId, String>), Failure> {
    if node.is_some() {
        return Ok((own, config.peers.clone()));
    }
    let Some(at) = &config.join else {
        return Err(Failure::new(ExitCode::Usage, "which node is this? Give --node-id with --peers, or --join"));
    };
    let admitted = admission::join(at, &own, storage).await?;
    let epoch = StartEpoch(storage.epoch());
    let own = Own { cluster: Some(admitted.cluster), node: admitted.node, epoch, ..own };
    Ok((own, admitted.peers.into_iter().collect()))
}

/// Tells the peer port of every new picture: addresses, and which disks and starts may speak. For ever.
async fn learn(peers: Arc<Peers>, mut picture: watch::Receiver<Routing>, groups_configured: u32) {
    let mut warned = false;
    loop {
        let routing = picture.borrow_and_update().clone();
        peers.learn(&routing);
        let groups = routing.groups().count();
        if !warned && routing.cluster().is_some() && groups != groups_configured as usize {
            warned = true;
            tracing::warn!(
                groups,
                groups_configured,
                "`groups` is read at the founding only; the cluster has its own number"
            );
        }
        if picture.changed().await.is_err() {
            return;
        }
    }
}

fn raft_options(config: &Config) -> RaftOptions {
    let (raft, usual) = (&config.raft, RaftOptions::default());
    RaftOptions {
        heartbeat_ms: raft.heartbeat_ms,
        election_timeout_ms: raft.election_timeout_ms,
        batch_commands_max: raft.batch_commands_max as usize,
        batch_bytes_max: raft.batch_bytes_max as usize,
        batches_in_flight_max: raft.batches_in_flight_max as usize,
        snapshot_log_entries_kept: raft.log_entries_kept,
        hibernate_after: (raft.hibernate_after_ms > 0).then(|| Duration::from_millis(raft.hibernate_after_ms)),
        snapshot_interval: (raft.snapshot_interval_s > 0).then(|| Duration::from_secs(raft.snapshot_interval_s)),
        // Beyond what anybody may set: for runs of the simulation.
        proposals_waiting_max: narrow("proposals", usual.proposals_waiting_max, 4),
        proposals_waiting_bytes_max: narrow("proposals_by_bytes", usual.proposals_waiting_bytes_max, 4 << 10),
        snapshot_entries: narrow("snapshot_entries", usual.snapshot_entries, 20),
        snapshot_log_bytes: narrow("snapshot_log_bytes", usual.snapshot_log_bytes, 8 << 10),
        groups_opening_max: narrow("groups_opening", usual.groups_opening_max, 1),
    }
}
