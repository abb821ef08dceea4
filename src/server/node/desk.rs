//! Where requests of other nodes arrive: each goes to the part that serves it.
//!
//! The desk opens before its parts are there. A raft message for a group that is about to be opened waits for it, so
//! that the first election of a group does not have to be repeated.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quorate_core::codec;
use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::Command;
use quorate_raft::{RaftRpc, Replicas, ServeError};
use quorate_world::time::{self, Duration};
use quorate_world::watch;

use super::founding::Joining;
use super::message::{CopyAskV1, MetaAnswerV1, MetaAskV1};
use super::seat::Seat;
use super::slots::FREEZE_PATIENCE;
use crate::coordinator::Coordinator;
use crate::peer::{BoxFuture, Handler, Kind};

/// The parts of a node that serve other nodes.
pub struct Desk {
    coordinator: Arc<Coordinator>,
    joining: Joining,
    replicas: OnceLock<Arc<Replicas>>,
    seat: OnceLock<Arc<Seat>>,
    opened: watch::Sender<BTreeSet<GroupId>>,
    patience: Duration,
}

impl Desk {
    /// A desk whose raft side opens later. `patience`: how long a raft message waits for its group to open.
    pub fn new(coordinator: Arc<Coordinator>, joining: Joining, patience: Duration) -> Arc<Desk> {
        Arc::new(Desk {
            coordinator,
            joining,
            replicas: OnceLock::new(),
            seat: OnceLock::new(),
            opened: watch::channel(BTreeSet::new()).0,
            patience,
        })
    }

    /// From now on raft messages are served, for the groups that are open.
    pub fn serve_raft(&self, replicas: Arc<Replicas>) {
        assert!(self.replicas.set(replicas).is_ok(), "raft is served already");
    }

    /// From now on commands for the meta group are served.
    pub fn serve_meta(&self, seat: Arc<Seat>) {
        assert!(self.seat.set(seat).is_ok(), "the meta group is served already");
    }

    /// A group is open.
    pub fn opened(&self, group: GroupId) {
        self.opened.modify(|opened| _ = opened.insert(group));
    }

    /// A group is not here any more.
    pub fn closed(&self, group: GroupId) {
        self.opened.modify(|opened| _ = opened.remove(&group));
    }

    async fn raft(&self, from: NodeId, group: GroupId, rpc: RaftRpc, body: Bytes) -> Result<Bytes, String> {
        // A bundle of heartbeats names a group only because it must; each beat is answered for itself.
        if rpc != RaftRpc::Heartbeat && !self.opened.borrow().contains(&group) {
            let mut opened = self.opened.subscribe();
            // If it does not open in time, the error below says so.
            let _ = time::timeout(self.patience, opened.wait_until(|opened| opened.contains(&group))).await;
        }
        let replicas = self.replicas.get().ok_or("the node is starting")?;
        replicas.serve(from, group, rpc, body).await.map_err(|error: ServeError| error.to_string())
    }

    async fn meta(&self, body: Bytes) -> Result<Bytes, String> {
        let ask = codec::decode_canonical(&body).map_err(|error| error.to_string())?;
        let answer = match ask {
            MetaAskV1::Join(join) => MetaAnswerV1::Joined(self.joining.join(join).await?),
            MetaAskV1::Propose(command) => match self.seat.get() {
                Some(seat) => seat.propose_here(command).await,
                None => MetaAnswerV1::NotLeader(None),
            },
            MetaAskV1::Admit(_) => return Err("a member does not join again".to_owned()),
        };
        codec::encode(&answer).map(Bytes::from).map_err(|error| error.to_string())
    }
}

impl Desk {
    async fn copy(&self, group: GroupId, body: Bytes) -> Result<Bytes, String> {
        let ask: CopyAskV1 = codec::decode_canonical(&body).map_err(|error| error.to_string())?;
        let CopyAskV1 { slot, epoch, chunk } = ask;
        let copy = self.coordinator.slot_copy(group, (slot, epoch), chunk, FREEZE_PATIENCE).await;
        let copy = copy.ok_or("no copy of the slot is here")?;
        codec::encode(&Command::InstallSlot(copy)).map(Bytes::from).map_err(|error| error.to_string())
    }

    async fn stranger(&self, body: Bytes) -> Result<Bytes, String> {
        let ask = codec::decode_canonical(&body).map_err(|error| error.to_string())?;
        let answer = match (ask, self.seat.get()) {
            (MetaAskV1::Admit(asker), Some(seat)) => seat.admit(asker).await,
            (MetaAskV1::Admit(_), None) => MetaAnswerV1::Unknown,
            (MetaAskV1::Join(_) | MetaAskV1::Propose(_), _) => {
                return Err("a node without an id may ask to join, and nothing else".to_owned());
            }
        };
        codec::encode(&answer).map(Bytes::from).map_err(|error| error.to_string())
    }
}

impl Handler for Desk {
    fn handle_stranger(&self, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(self.stranger(body))
    }

    fn handle(&self, from: NodeId, kind: Kind, group: GroupId, body: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            match kind {
                Kind::Coordinator => self.coordinator.serve(from, group, body).await,
                Kind::Meta => self.meta(body).await,
                Kind::SlotCopy => self.copy(group, body).await,
                Kind::RaftAppend => self.raft(from, group, RaftRpc::Append, body).await,
                Kind::RaftHeartbeat => self.raft(from, group, RaftRpc::Heartbeat, body).await,
                Kind::RaftVote => self.raft(from, group, RaftRpc::Vote, body).await,
                Kind::RaftPreVote => self.raft(from, group, RaftRpc::PreVote, body).await,
                Kind::RaftTransfer => self.raft(from, group, RaftRpc::Transfer, body).await,
                Kind::RaftHibernate => self.raft(from, group, RaftRpc::Hibernate, body).await,
                Kind::RaftSnapshot => self.raft(from, group, RaftRpc::Snapshot, body).await,
                // The port answers these itself.
                Kind::Hello | Kind::Ping => Err("not a request".to_owned()),
            }
        })
    }
}
