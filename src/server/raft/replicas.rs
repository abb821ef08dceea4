//! All replicas of a node: opening them, and giving each what other nodes send to it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::VoteRequest;
use quorate_core::codec::{self, CodecError, Persisted};
use quorate_core::model::{GroupId, NodeId};
use quorate_world::sync::Semaphore;
use quorate_world::{tap, task, watch};

use crate::clock::GroupClock;
use crate::events;
use crate::hibernation::Hibernation;
use crate::keeper::{self, LeadershipKeeper, SnapshotKeeper};
use crate::life::{self, Hold, Life};
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::message::{
    AppendAnswerV1, AppendV1, AskVoteV1, HeartbeatAnswersV1, HeartbeatV1, HeartbeatsV1, HibernateV1, SnapshotChunkV1,
    TransferAnswerV1, TransferV1, VoteAnswerV1,
};
use crate::network::Network;
use crate::options::RaftOptions;
use crate::past::Past;
use crate::proposer::{self, ProposerContext};
use crate::reads;
use crate::replica::Replica;
use crate::snapshot::Receiving;
use crate::state_machine::{AnyMachine, Growth, Held, StateMachine};
use crate::transport::{RaftRpc, Sign, Transport};
use crate::types::{self, Consensus, Raft};
use quorate_storage::Storage;

/// Why a group could not be opened.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenError {
    /// It is open.
    #[error("group {0} is open already")]
    Open(GroupId),
    /// What is stored of it cannot be read back: the device, or damage.
    #[error("group {group} cannot be recovered: {reason}")]
    Unreadable {
        /// Which.
        group: GroupId,
        /// As the process should end.
        exit_code: i32,
        /// Why.
        reason: String,
    },
    /// What is stored of it makes no sense.
    #[error("group {group} cannot be recovered: {reason}")]
    Broken {
        /// Which.
        group: GroupId,
        /// Why.
        reason: String,
    },
}

/// Why a request of another node has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServeError {
    /// Not here, or not open yet.
    #[error("group {0} is not open here")]
    NoSuchGroup(GroupId),
    /// The body is not what its kind says.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
    /// No vote for one that lacks what this replica had when its group was taken off this node.
    #[error("what was here before the group came back is not here yet")]
    Behind,
    /// No pre-vote while the group sleeps and its leader is heard.
    #[error("the group sleeps, and its leader's node is heard")]
    Asleep,
    /// A chunk of a snapshot could not be stored; the sender begins anew.
    #[error("snapshot: {0}")]
    Snapshot(String),
}

impl From<CodecError> for ServeError {
    fn from(error: CodecError) -> Self {
        ServeError::Malformed(error.to_string())
    }
}

/// The replicas of this node.
pub struct Replicas {
    node: NodeId,
    options: RaftOptions,
    storage: Storage,
    transport: Arc<dyn Transport>,
    serving: RwLock<BTreeMap<GroupId, Arc<Serving>>>,
    /// Loading and replaying, some groups at a time.
    opening: Semaphore,
    /// Building a snapshot, one group at a time.
    building: Arc<Semaphore>,
}

/// What other nodes reach of a replica.
struct Serving {
    raft: Raft,
    past: Past,
    receiving: Arc<Receiving>,
    hibernation: Arc<Hibernation>,
}

impl Replicas {
    /// None is open yet.
    pub fn start(node: NodeId, options: RaftOptions, storage: Storage, transport: Arc<dyn Transport>) -> Arc<Replicas> {
        let opening = Semaphore::new(options.groups_opening_max);
        let building = Arc::new(Semaphore::new(1));
        let hibernate = options.hibernate_after.is_some();
        let signs = transport.signs();
        let serving = RwLock::default();
        let replicas = Arc::new(Replicas { node, options, storage, transport, serving, opening, building });
        if hibernate {
            task::spawn(heed(Arc::downgrade(&replicas), signs));
        }
        replicas
    }

    /// Loads a group's state, replays its log, and takes part in it from now on. A new group does nothing until it is
    /// initialised, here or elsewhere.
    pub async fn open<M: Machine>(&self, group: GroupId) -> Result<Arc<Replica<M>>, OpenError> {
        let broken = |reason: String| OpenError::Broken { group, reason };
        let _turn = self.opening.acquire().await.map_err(|_| broken("the node stops".into()))?;
        if self.serving(group).is_some() {
            return Err(OpenError::Open(group));
        }
        // Here, where a damaged snapshot can be told from a bug; openraft asks for the same file again.
        if let Err(error) = self.storage.snapshots(group).current().await {
            let (exit_code, reason) = (error.exit_code(), error.to_string());
            return Err(OpenError::Unreadable { group, exit_code, reason });
        }
        let held = Arc::new(Held::<M>::new(self.node, group));
        let clock = Arc::new(GroupClock::default());
        let growth = Arc::new(Growth::new(&self.options));
        let past = Past::of(&self.storage.group(group).state());
        let (life, hold) = life::begin();
        let raft = self.raft((group, past), held.clone(), (&clock, &growth), hold).await.map_err(broken)?;
        let receiving = Arc::new(Receiving::new(raft.clone(), self.storage.snapshots(group)));
        let (transport, options) = (self.transport.clone(), self.options.clone());
        let hibernation = Arc::new(Hibernation::new((self.node, group), (raft.clone(), past), transport, options));
        let serving =
            Serving { raft: raft.clone(), past, receiving: receiving.clone(), hibernation: hibernation.clone() };
        self.serving.write().unwrap_or_else(PoisonError::into_inner).insert(group, Arc::new(serving));
        Ok(Arc::new(self.replica((group, past), raft, held, (clock, hibernation), (growth, receiving, life))))
    }

    async fn raft(
        &self,
        (group, past): (GroupId, Past),
        machine: Arc<dyn AnyMachine>,
        (clock, growth): (&Arc<GroupClock>, &Arc<Growth>),
        hold: Hold,
    ) -> Result<Raft, String> {
        let network =
            Network { node: self.node, group, transport: self.transport.clone(), options: self.options.clone() };
        let log = LogStore::new(self.node, self.storage.group(group), hold.clone());
        let snapshots = self.storage.snapshots(group);
        let state = StateMachine::new((self.node, group), machine, clock.clone(), growth.clone(), (snapshots, hold));
        let config = openraft::Config { enable_elect: past.is_over(), ..(*self.options.openraft(group)).clone() };
        let config = config.validate().map_err(|error| error.to_string())?;
        Raft::new(self.node.0, Arc::new(config), network, log, state).await.map_err(|fatal| fatal.to_string())
    }

    fn replica<M: Machine>(
        &self,
        (group, past): (GroupId, Past),
        raft: Raft,
        held: Arc<Held<M>>,
        (clock, hibernation): (Arc<GroupClock>, Arc<Hibernation>),
        (growth, receiving, life): (Arc<Growth>, Arc<Receiving>, Life),
    ) -> Replica<M> {
        let node = self.node;
        let stopping = Arc::new(AtomicBool::new(false));
        let now = keeper::leadership_of(node, &raft.server_metrics().borrow_watched());
        // The keeper says it again if this node leads already: it has to start the clock first.
        let (told, leadership) = watch::channel(crate::Leadership { leading: false, ..now });
        let context = ProposerContext {
            node,
            group,
            raft: raft.clone(),
            clock: clock.clone(),
            leadership: leadership.clone(),
            hibernation: hibernation.clone(),
            options: self.options.clone(),
            entry_bytes_max: self.storage.payload_bytes_max(),
        };
        let (proposals, proposer) = proposer::queue(context);
        let (confirmations, confirmer) = reads::queue(node, group, raft.clone(), hibernation.clone());
        let leaders = LeadershipKeeper {
            node,
            group,
            raft: raft.clone(),
            clock: clock.clone(),
            told,
            receiving,
            stopping: stopping.clone(),
            hibernation: hibernation.clone(),
            quorum_patience: self.options.quorum_patience(),
        };
        let snapshots = SnapshotKeeper {
            group,
            raft: raft.clone(),
            growth,
            turn: self.building.clone(),
            interval: self.options.snapshot_interval,
        };
        let tasks = vec![
            task::spawn(past.wait(raft.clone())),
            task::spawn(hibernation.clone().run(leadership.clone())),
            task::spawn(leaders.run()),
            task::spawn(snapshots.run()),
            task::spawn(proposer.run()),
            task::spawn(confirmer.run()),
        ];
        Replica {
            node,
            group,
            raft,
            past,
            held,
            clock,
            hibernation,
            proposals,
            confirmations,
            leadership,
            stopping,
            life,
            tasks,
        }
    }

    /// Stops serving a group and stops its replica.
    pub async fn close<M: Machine>(&self, replica: &Replica<M>) {
        self.serving.write().unwrap_or_else(PoisonError::into_inner).remove(&replica.group());
        replica.shutdown().await;
    }

    /// Takes a group off this node: stops its replica and forgets its log and snapshot, but not its vote, nor where its log
    /// ended, so that a replica of the group that is made here again cannot vote twice in a term, or for one that lacks what
    /// was acknowledged here (`past`). The group must do without this node already. Waits for what the replica has in hand, a
    /// snapshot that it installs for instance (`life`).
    pub async fn remove<M: Machine>(&self, replica: &Replica<M>) {
        self.close(replica).await;
        replica.life.let_go().await;
        self.wipe(replica.group()).await;
    }

    /// Forgets log and snapshot of a group that is not open here, if there are any. Nobody has them in hand any more.
    pub async fn wipe(&self, group: GroupId) {
        tap!(events::Wiping { node: self.node, group });
        self.storage.group(group).remove().await;
        self.storage.snapshots(group).remove().await;
    }

    /// Answers a request of another node. `group` is the one named beside the body.
    pub async fn serve(&self, from: NodeId, group: GroupId, rpc: RaftRpc, body: Bytes) -> Result<Bytes, ServeError> {
        tracing::trace!(%from, %group, ?rpc, bytes = body.len(), "raft request");
        if rpc == RaftRpc::Heartbeat {
            return self.heartbeats(codec::decode(&body)?).await;
        }
        let Some(serving) = self.serving(group) else {
            quorate_core::sometimes!("raft_request_for_a_group_that_is_not_open");
            return Err(ServeError::NoSuchGroup(group));
        };
        serving.serve(from, rpc, &body).await
    }

    async fn heartbeats(&self, beats: HeartbeatsV1) -> Result<Bytes, ServeError> {
        let mut answers = Vec::with_capacity(beats.beats.len());
        for beat in beats.beats {
            answers.push(self.heartbeat(beat).await);
        }
        encoded(&HeartbeatAnswersV1 { answers })
    }

    async fn heartbeat(&self, beat: HeartbeatV1) -> Option<AppendAnswerV1> {
        let serving = self.serving(beat.group)?;
        serving.hibernation.hear();
        let answer = serving.raft.append_entries(beat.theirs()).await.ok()?;
        Some(AppendAnswerV1::of(answer))
    }

    fn serving(&self, group: GroupId) -> Option<Arc<Serving>> {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).get(&group).cloned()
    }
}

impl Serving {
    async fn serve(&self, from: NodeId, rpc: RaftRpc, body: &[u8]) -> Result<Bytes, ServeError> {
        if !matches!(rpc, RaftRpc::PreVote | RaftRpc::Hibernate) {
            self.hibernation.hear();
        }
        match rpc {
            RaftRpc::Append | RaftRpc::Heartbeat => {
                let request = codec::decode::<AppendV1>(body)?.theirs();
                let request = request.map_err(|error| ServeError::Malformed(error.to_string()))?;
                let answer = self.raft.append_entries(request).await.map_err(|_| ServeError::Stopped)?;
                encoded(&AppendAnswerV1::of(answer))
            }
            RaftRpc::Vote => {
                let request = self.asked(body)?;
                let answer = self.raft.vote(request).await.map_err(|_| ServeError::Stopped)?;
                encoded(&VoteAnswerV1::of(answer))
            }
            RaftRpc::PreVote if !self.hibernation.hears_candidate(from) => Err(ServeError::Asleep),
            RaftRpc::PreVote => {
                let request = self.asked(body)?;
                let answer = self.raft.pre_vote(request).await.map_err(|_| ServeError::Stopped)?;
                encoded(&VoteAnswerV1::of(answer))
            }
            RaftRpc::Transfer => {
                let request = codec::decode::<TransferV1>(body)?.theirs();
                quorate_core::sometimes!("node_is_told_of_a_handover");
                if !self.past.is_reached(&self.raft) {
                    return Err(ServeError::Behind);
                }
                let answer = self.raft.handle_transfer_leader(request).await.map_err(|_| ServeError::Stopped)?;
                encoded(&TransferAnswerV1::of(answer))
            }
            RaftRpc::Hibernate => {
                let asked = codec::decode::<HibernateV1>(body)?;
                encoded(&self.hibernation.asked_to_sleep(&asked))
            }
            RaftRpc::Snapshot => {
                let chunk = codec::decode::<SnapshotChunkV1>(body)?;
                let answer = self.receiving.take(chunk).await;
                encoded(&answer.map_err(|error| ServeError::Snapshot(error.to_string()))?)
            }
        }
    }

    /// A request for this replica's vote, if it may be given at all.
    fn asked(&self, body: &[u8]) -> Result<VoteRequest<Consensus>, ServeError> {
        let request = codec::decode::<AskVoteV1>(body)?.theirs();
        if self.past.allows(request.last_log_id.as_ref().map(types::our_log_id), &self.raft) {
            return Ok(request);
        }
        quorate_core::sometimes!("no_vote_for_one_that_lacks_what_was_here_once");
        Err(ServeError::Behind)
    }
}

/// Tells sleeping replicas of nodes that fall silent or begin another life. Until the node stops.
async fn heed(replicas: Weak<Replicas>, mut signs: watch::Receiver<BTreeMap<NodeId, Sign>>) {
    let mut seen = signs.borrow_and_update().clone();
    while signs.changed().await.is_ok() {
        let now = signs.borrow_and_update().clone();
        let Some(replicas) = replicas.upgrade() else { return };
        let doubted = now.iter().filter(|(node, sign)| {
            let before = seen.get(node).copied().unwrap_or_default();
            sign.lives != before.lives || (sign.silent && !before.silent)
        });
        for (node, _) in doubted {
            let serving = replicas.serving.read().unwrap_or_else(PoisonError::into_inner);
            serving.values().for_each(|serving| serving.hibernation.doubt(*node));
        }
        seen = now;
    }
}

fn encoded<A: Persisted>(answer: &A) -> Result<Bytes, ServeError> {
    Ok(Bytes::from(codec::encode(answer)?))
}
