//! How a cluster begins, once (design, section 10.4).
//!
//! A node without peers founds at once. With peers the founder of the lowest id founds, when all founders have said hello
//! with empty folders. It writes its own identity first, so that a founding that a crash cut short is taken up by the same
//! node; then it asks each of the others to join, and when all have, the founding is the first command of the meta group.
//! An empty node never founds beside a cluster: a lost disk does not make a second one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_core::cluster::command::NodeStartedV1;
use quorate_core::cluster::{ClusterId, DiskId, MetaCommand, MetaRefusal, StartEpoch};
use quorate_core::codec;
use quorate_core::model::{GroupId, NodeId};
use quorate_raft::MembershipError;
use quorate_storage::{Identity, Storage};
use quorate_world::select::{Either2, select2};
use quorate_world::sync::{mpsc, oneshot};
use quorate_world::task;
use quorate_world::time::{self, Duration};
use quorate_world::{random, watch};

use super::failure::storage_failure;
use super::message::{JoinV1, MetaAnswerV1, MetaAskV1};
use super::plan;
use super::seat::Seat;
use crate::config::Config;
use crate::exit::{ExitCode, Failure};
use crate::peer::{HelloV1, Kind, Own, Peers};

/// Before a founder that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// An empty founder that meets a cluster may be in the middle of its founding; for this many election timeouts.
const STRANGER_ELECTIONS: u32 = 20;

/// A founder's wish that this node joins, and the way to answer.
type Wish = (ClusterId, oneshot::Sender<Result<(), String>>);

/// The side that is asked to join.
#[derive(Clone)]
pub struct Joining {
    own: watch::Receiver<Own>,
    wishes: mpsc::Sender<Wish>,
}

/// The wishes of founders, for a node whose folder is empty.
pub struct Wishes(mpsc::Receiver<Wish>);

/// The two ends of the wish to join.
pub fn joining(own: watch::Receiver<Own>) -> (Joining, Wishes) {
    let (wishes, wished) = mpsc::channel(1);
    (Joining { own, wishes }, Wishes(wished))
}

impl Joining {
    /// Joins, if the folder is empty and it is the one that is meant; says who this node is when that is durable.
    pub async fn join(&self, join: JoinV1) -> Result<NodeStartedV1, String> {
        let own = self.own.borrow().clone();
        if own.disk != join.disk {
            quorate_core::sometimes!("founder_started_over_with_another_disk");
            return Err(format!("another disk is meant: {} is not {}", join.disk, own.disk));
        }
        match own.cluster {
            Some(cluster) if cluster == join.cluster => {
                quorate_core::sometimes!("founder_had_joined_before");
                return Ok(word_of(&own));
            }
            Some(cluster) => return Err(format!("the node belongs to cluster {cluster}")),
            None => {}
        }
        let (answer, answered) = oneshot::channel();
        self.wishes.send((join.cluster, answer)).await.map_err(|_| "the node is not to be founded".to_owned())?;
        answered.await.map_err(|_| "the node stops".to_owned())??;
        let now = self.own.borrow().clone();
        Ok(word_of(&now))
    }
}

/// What the meta group is to know of a node.
pub fn word_of(own: &Own) -> NodeStartedV1 {
    let Own { node, disk, epoch, start, addresses, .. } = own.clone();
    NodeStartedV1 { node, disk, epoch, start, addresses }
}

/// A node whose folder is empty.
pub struct Empty<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The empty folder.
    pub storage: &'a Storage,
    /// The other founders.
    pub peers: &'a Arc<Peers>,
    /// Who this node says it is; changed when it is founded.
    pub own: &'a watch::Sender<Own>,
}

impl Empty<'_> {
    /// Waits until the node belongs to a cluster: its own founding, or another's.
    pub async fn become_member(&self, wishes: Wishes) -> Result<(), Failure> {
        let own = self.own.borrow().clone();
        if self.config.peers.keys().next().is_some_and(|lowest| *lowest != own.node) {
            return self.await_founder(wishes).await;
        }
        if !self.config.peers.is_empty() {
            tracing::info!(founders = self.config.peers.len(), "waiting for all founders");
            self.all_empty(&own).await?;
        }
        self.take_identity(ClusterId(random::bytes16())).await
    }

    async fn all_empty(&self, own: &Own) -> Result<(), Failure> {
        let others: Vec<NodeId> = self.config.peers.keys().copied().filter(|node| *node != own.node).collect();
        let mut hellos = self.peers.hellos();
        let met = |hellos: &BTreeMap<NodeId, HelloV1>| {
            member_among(hellos).is_some() || others.iter().all(|node| hellos.contains_key(node))
        };
        match hellos.wait_until(met).await {
            Ok(hellos) => member_among(&hellos).map_or(Ok(()), |(node, cluster)| Err(lost(own.node, node, cluster))),
            Err(_) => Err(Failure::new(ExitCode::Bug, "the peer port has stopped")),
        }
    }

    async fn await_founder(&self, Wishes(mut wished): Wishes) -> Result<(), Failure> {
        tracing::info!("waiting for the founder");
        match select2(wished.recv(), self.stranded()).await {
            Either2::First(Some((cluster, answer))) => {
                self.take_identity(cluster).await?;
                // The founder may have given up waiting; it asks again.
                let _ = answer.send(Ok(()));
                Ok(())
            }
            Either2::First(None) => Err(Failure::new(ExitCode::Bug, "the desk has closed")),
            Either2::Second(failure) => Err(failure),
        }
    }

    /// Ends when a peer has belonged to a cluster for so long that this node cannot be in its founding.
    async fn stranded(&self) -> Failure {
        let mut hellos = self.peers.hellos();
        let own = self.own.borrow().node;
        // The peer port lives as long as this waits.
        let _ = hellos.wait_until(|hellos| member_among(hellos).is_some()).await;
        time::sleep(Duration::from_millis(self.config.raft.election_timeout_ms) * STRANGER_ELECTIONS).await;
        let met = member_among(&hellos.borrow());
        match met {
            Some((node, cluster)) => lost(own, node, cluster),
            None => std::future::pending().await,
        }
    }

    async fn take_identity(&self, cluster: ClusterId) -> Result<(), Failure> {
        let Own { node, disk, .. } = self.own.borrow().clone();
        let identity = Identity { cluster: cluster.0, node, disk: disk.0 };
        self.storage.found(identity).await.map_err(storage_failure)?;
        let epoch = StartEpoch(self.storage.epoch());
        self.own.modify(|own| (own.cluster, own.epoch) = (Some(cluster), epoch));
        self.peers.set_cluster(cluster, epoch);
        tracing::info!(%cluster, "the data folder belongs to the cluster");
        Ok(())
    }
}

fn member_among(hellos: &BTreeMap<NodeId, HelloV1>) -> Option<(NodeId, ClusterId)> {
    hellos.iter().find_map(|(node, hello)| hello.cluster.map(|cluster| (*node, cluster)))
}

fn lost(own: NodeId, met: NodeId, cluster: ClusterId) -> Failure {
    let text = format!(
        "the data folder is empty, but node {met} already belongs to cluster {cluster}. A lost disk never founds a \
         second cluster: run `quorate ctl node replace {own}`, then start this machine with `--join HOST:PEER_PORT` of a \
         member, in place of --node-id and --peers; it joins as a new node"
    );
    Failure::new(ExitCode::Identity, text)
}

/// The founder's part after its own identity is written; also taken up after a crash in between. Ends when the founding
/// is applied, by whomever.
pub struct Founder {
    /// The configuration.
    pub config: Arc<Config>,
    /// This node.
    pub own: Own,
    /// The seat in the meta group, open.
    pub seat: Arc<Seat>,
    /// The others.
    pub peers: Arc<Peers>,
}

impl Founder {
    /// Gathers the founders, initialises the meta group and proposes the founding.
    pub async fn found(&self) -> Result<(), Failure> {
        let cluster = self.own.cluster.expect("a founder has written its identity");
        // Once the meta group has members, a founder with an empty folder has lost its disk and may not join again.
        let recruiting = !self.seat.replica().is_initialized().await;
        if !recruiting {
            quorate_core::sometimes!("founding_is_taken_up_again");
        }
        let founders = self.gather(cluster, recruiting).await;
        let voters =
            quorate_core::cluster::placement::meta_replicas(&founders.keys().copied().collect::<Vec<_>>()).voters;
        match self.seat.replica().initialize(&voters).await {
            Ok(()) | Err(MembershipError::Stopped) => {}
            Err(error) => return Err(Failure::new(ExitCode::Bug, format!("the meta group: {error}"))),
        }
        let founding = plan::founding(&self.config, cluster, time::wall_ms(), &founders)
            .map_err(|error| Failure::new(ExitCode::Usage, format!("sharding: {error}")))?;
        match self.seat.insist(MetaCommand::FoundCluster(founding)).await {
            Ok(_) | Err(MetaRefusal::Founded(_)) => Ok(()),
            Err(refusal) => Err(Failure::new(ExitCode::Usage, refusal.to_string())),
        }
    }

    /// Asks every other founder to join, until all have.
    async fn gather(&self, cluster: ClusterId, recruiting: bool) -> BTreeMap<NodeId, NodeStartedV1> {
        let gathered = Arc::new(Mutex::new(BTreeMap::from([(self.own.node, word_of(&self.own))])));
        let others = self.config.peers.keys().copied().filter(|node| *node != self.own.node);
        let asked: Vec<_> = others
            .map(|node| {
                let (peers, gathered) = (self.peers.clone(), gathered.clone());
                task::spawn(async move {
                    let word = join(&peers, node, cluster, recruiting).await;
                    gathered.lock().unwrap_or_else(PoisonError::into_inner).insert(node, word);
                })
            })
            .collect();
        for asked in asked {
            // Aborted only with the whole process.
            let _ = asked.await;
        }
        let gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.clone()
    }
}

async fn join(peers: &Peers, node: NodeId, cluster: ClusterId, recruiting: bool) -> NodeStartedV1 {
    let mut hellos = peers.hellos();
    loop {
        let asked = |hello: &&HelloV1| recruiting || hello.cluster == Some(cluster);
        let disk: Option<DiskId> = hellos.borrow_and_update().get(&node).filter(asked).map(|hello| hello.disk);
        if let Some(disk) = disk {
            match ask_to_join(peers, node, JoinV1 { cluster, disk }).await {
                Ok(word) => return word,
                Err(reason) => {
                    quorate_core::sometimes!("founder_has_to_be_asked_again");
                    tracing::debug!(%node, reason, "the founder has not joined yet");
                }
            }
        }
        // A restarted founder says hello with another disk.
        let _ = time::timeout(PAUSE, hellos.changed()).await;
    }
}

async fn ask_to_join(peers: &Peers, node: NodeId, join: JoinV1) -> Result<NodeStartedV1, String> {
    let body = codec::encode(&MetaAskV1::Join(join)).map_err(|error| error.to_string())?;
    let answer = peers.call(node, Kind::Meta, GroupId::META, Bytes::from(body), PATIENCE).await;
    let answer = answer.map_err(|error| error.to_string())?;
    match codec::decode_canonical(&answer).map_err(|error| error.to_string())? {
        MetaAnswerV1::Joined(word) if word.node == node => Ok(word),
        MetaAnswerV1::Joined(_)
        | MetaAnswerV1::Outcome(_)
        | MetaAnswerV1::NotLeader(_)
        | MetaAnswerV1::Unknown
        | MetaAnswerV1::Admitted(_) => Err("an answer that makes no sense".to_owned()),
    }
}
