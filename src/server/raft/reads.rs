//! Confirming leadership for reads: one round to a quorum answers everybody who waited for it.
//!
//! A read index must be taken after the read was asked for, so those who come while a round is on its way wait for the next.
//! Nothing happens while nobody asks.

use std::sync::Arc;

use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use quorate_core::model::{GroupId, NodeId};
use quorate_world::sync::{mpsc, oneshot};
use quorate_world::{bug, tap};

use crate::events;
use crate::hibernation::Hibernation;
use crate::replica::NotLeader;
use crate::types::Raft;

/// Reads that may wait for a round; beyond, the asker waits for room.
const READS_WAITING_MAX: usize = 65_536;

type Asker = oneshot::Sender<Result<(), NotLeader>>;

/// The askers' end.
pub(crate) struct Confirmations {
    queue: mpsc::Sender<Asker>,
}

impl Confirmations {
    /// Waits for the next round's answer.
    pub async fn confirm(&self) -> Result<(), NotLeader> {
        let (asker, answer) = oneshot::channel();
        self.queue.send(asker).await.map_err(|_| NotLeader { leader: None })?;
        answer.await.unwrap_or(Err(NotLeader { leader: None }))
    }
}

/// The other end: the task that makes rounds.
pub(crate) struct Confirmer {
    node: NodeId,
    group: GroupId,
    raft: Raft,
    hibernation: Arc<Hibernation>,
    queue: mpsc::Receiver<Asker>,
}

/// Makes a group's queue of reads: the askers' end and the task.
pub(crate) fn queue(
    node: NodeId,
    group: GroupId,
    raft: Raft,
    hibernation: Arc<Hibernation>,
) -> (Confirmations, Confirmer) {
    let (sender, queue) = mpsc::channel(READS_WAITING_MAX);
    (Confirmations { queue: sender }, Confirmer { node, group, raft, hibernation, queue })
}

impl Confirmer {
    /// Runs until the askers' end is gone.
    pub async fn run(mut self) {
        let mut askers = Vec::new();
        while self.queue.recv_many(&mut askers, READS_WAITING_MAX).await > 0 {
            let answer = self.round(askers.len()).await;
            for asker in askers.drain(..) {
                // An asker that waits no longer is not a fault.
                let _ = asker.send(answer);
            }
        }
    }

    /// Ends: openraft gives up a round after its lease.
    async fn round(&self, reads: usize) -> Result<(), NotLeader> {
        if bug!("read_without_quorum") {
            return Ok(());
        }
        self.hibernation.stir();
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => {
                if reads > 1 {
                    quorate_core::sometimes!("reads_share_a_round");
                }
                tap!(events::Confirmed { node: self.node, group: self.group, reads });
                Ok(())
            }
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                quorate_core::sometimes!("read_at_one_that_no_longer_leads");
                Err(NotLeader { leader: forward.leader_id.map(NodeId).filter(|leader| *leader != self.node) })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) | RaftError::Fatal(_)) => {
                quorate_core::sometimes!("read_found_no_quorum");
                Err(NotLeader { leader: None })
            }
        }
    }
}
