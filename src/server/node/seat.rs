//! This node's seat in the meta group: its replica, the picture it gives, and how a word gets to the leader.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::cluster::command::AdmitNodeV1;
use quorate_core::cluster::{Meta, MetaCommand, MetaOutcome, MetaRefusal, Routing};
use quorate_core::codec;
use quorate_core::model::{GroupId, LogId};
use quorate_raft::{ProposeError, Replica};
use quorate_world::time::{self, Duration};
use quorate_world::watch;

use super::events;
use super::message::{AdmittedV1, MetaAnswerV1, MetaAskV1};
use crate::peer::{Kind, Peers};

/// Before a word that found no leader is said again.
const PAUSE: Duration = Duration::from_millis(20);

/// This node's seat.
pub struct Seat {
    replica: Arc<Replica<Meta>>,
    peers: Arc<Peers>,
    /// How long one try may take.
    patience: Duration,
}

impl Seat {
    /// Takes the seat.
    pub fn new(replica: Arc<Replica<Meta>>, peers: Arc<Peers>, patience: Duration) -> Arc<Seat> {
        Arc::new(Seat { replica, peers, patience })
    }

    /// The replica.
    pub fn replica(&self) -> &Arc<Replica<Meta>> {
        &self.replica
    }

    /// The applied picture.
    pub fn routing(&self) -> Routing {
        self.replica.read(|meta| meta.routing().clone())
    }

    /// Keeps `picture` at what is applied here, for ever.
    pub async fn follow(self: Arc<Self>, picture: watch::Sender<Routing>) {
        let mut seen: Option<LogId> = None;
        loop {
            let applied = self.replica.applied_beyond(seen).await;
            let routing = self.routing();
            picture.modify_if(|current| {
                let changed = current.picture() != routing.picture();
                if changed {
                    quorate_world::tap!(events::Pictured { node: self.replica.node(), routing: routing.clone() });
                    *current = routing;
                }
                changed
            });
            match applied {
                Some(applied) => seen = Some(applied),
                None => return,
            }
        }
    }

    /// Proposes on behalf of another node.
    pub async fn propose_here(&self, command: MetaCommand) -> MetaAnswerV1 {
        match self.replica.propose(command).await {
            Ok(outcome) => MetaAnswerV1::Outcome(outcome),
            Err(ProposeError::NotLeader { leader }) => MetaAnswerV1::NotLeader(leader),
            Err(ProposeError::Full | ProposeError::Unknown) => MetaAnswerV1::Unknown,
            Err(ProposeError::TooLarge | ProposeError::Stopped) => MetaAnswerV1::NotLeader(None),
        }
    }

    /// Says a word until the meta group has taken or refused it. Every command may be said twice: the second time it
    /// changes nothing.
    pub async fn insist(&self, command: MetaCommand) -> Result<u64, MetaRefusal> {
        match self.ask(&command).await {
            MetaOutcome::Done { picture }
            | MetaOutcome::Admitted { picture, .. }
            | MetaOutcome::Added { picture, .. } => Ok(picture),
            MetaOutcome::Refused(refusal) => Err(refusal),
        }
    }

    /// The same, for the outcome itself.
    pub async fn ask(&self, command: &MetaCommand) -> MetaOutcome {
        loop {
            match self.try_once(command).await {
                Some(outcome) => return outcome,
                None => {
                    quorate_core::sometimes!("word_to_the_meta_group_is_said_again");
                    self.await_leader().await;
                }
            }
        }
    }

    /// Lets a node join: its number, and whom it has to know.
    pub async fn admit(&self, asker: AdmitNodeV1) -> MetaAnswerV1 {
        let at = asker.addresses.peer.clone();
        let outcome = self.ask(&MetaCommand::AdmitNode(asker)).await;
        let routing = self.routing();
        match (outcome, routing.cluster()) {
            (MetaOutcome::Admitted { node, .. }, Some(cluster)) => {
                // Here a lost node may still be where the new one is.
                let is_met = |peer: &str| !peer.is_empty() && peer != at;
                let others = routing.nodes().filter(|other| other.id != node && is_met(&other.addresses.peer));
                let peers = others.map(|other| (other.id, other.addresses.peer.clone())).collect();
                MetaAnswerV1::Admitted(AdmittedV1 { node, cluster, peers })
            }
            (MetaOutcome::Admitted { .. }, None) => MetaAnswerV1::Unknown,
            (outcome @ (MetaOutcome::Done { .. } | MetaOutcome::Added { .. } | MetaOutcome::Refused(_)), _) => {
                MetaAnswerV1::Outcome(outcome)
            }
        }
    }

    async fn try_once(&self, command: &MetaCommand) -> Option<MetaOutcome> {
        let leadership = *self.replica.leadership().borrow();
        let answer = if leadership.leading {
            self.propose_here(command.clone()).await
        } else {
            let leader = leadership.leader.filter(|leader| *leader != self.replica.node())?;
            let body = codec::encode(&MetaAskV1::Propose(command.clone())).ok()?;
            let asked = self.peers.call(leader, Kind::Meta, GroupId::META, Bytes::from(body), self.patience).await;
            codec::decode_canonical(&asked.ok()?).ok()?
        };
        match answer {
            MetaAnswerV1::Outcome(outcome) => Some(outcome),
            MetaAnswerV1::Joined(_)
            | MetaAnswerV1::NotLeader(_)
            | MetaAnswerV1::Unknown
            | MetaAnswerV1::Admitted(_) => None,
        }
    }

    /// Until the leadership changes, or for a while: the leader known here may be the wrong one.
    async fn await_leader(&self) {
        let mut leadership = self.replica.leadership();
        let known = *leadership.borrow();
        if known.leader.is_none() {
            let _ = time::timeout(self.patience, leadership.wait_until(|now| now.leader.is_some())).await;
        } else {
            time::sleep(PAUSE).await;
        }
    }
}
