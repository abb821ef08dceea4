//! A replica: this node's member of one group, and all that can be asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, InitializeError, RaftError};
use openraft::impls::EmptyNode;
use openraft::metrics::RaftMetrics;
use openraft::{ChangeMembers, Instant, Precondition, ServerState};
use quorate_core::model::{GroupId, LogId, NodeId, Term};
use quorate_world::task::JoinHandle;
use quorate_world::time::{self, Duration};
use quorate_world::{tap, watch};

use crate::clock::GroupClock;
use crate::events;
use crate::hibernation::Hibernation;
use crate::life::Life;
use crate::machine::Machine;
use crate::past::Past;
use crate::proposer::{Pending, Proposals};
use crate::reads::Confirmations;
use crate::state_machine::Held;
use crate::types::{self, Consensus, Raft};

/// Who leads a group, as far as this node knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Leadership {
    /// The highest term seen.
    pub term: Term,
    /// Its leader, once known.
    pub leader: Option<NodeId>,
    /// This node is it. Another may have taken over unseen: see [`Replica::confirm`].
    pub leading: bool,
}

/// Why a command has no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not applied, and it will not be. The leader, if known, is another node.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Whom to ask; none if nobody is known to lead.
        leader: Option<NodeId>,
    },
    /// Not applied: too much is waiting.
    #[error("too many commands are waiting")]
    Full,
    /// Not applied: it does not fit into an entry.
    #[error("the command is too large")]
    TooLarge,
    /// Not applied: the replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
    /// Leadership was lost on the way: applied, or not, or later.
    #[error("unknown whether the command is applied")]
    Unknown,
}

/// Leadership could not be confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this node does not lead the group, or a quorum does not answer")]
pub struct NotLeader {
    /// The leader, if known; never this node.
    pub leader: Option<NodeId>,
}

/// Why the members did not change.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// Ask there.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Whom to ask.
        leader: Option<NodeId>,
    },
    /// Another change is on its way, or this one makes no sense.
    #[error("refused: {0}")]
    Refused(String),
    /// Leadership was lost on the way.
    #[error("unknown whether the members changed")]
    Unknown,
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

/// What a replica is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Leads.
    Leader,
    /// Votes and follows.
    Follower,
    /// Wants to lead.
    Candidate,
    /// Follows without a vote, or belongs to no group yet.
    Learner,
    /// Has stopped.
    Stopped,
}

/// Who belongs to a group.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Members {
    /// Those who vote.
    pub voters: BTreeSet<NodeId>,
    /// Those who only follow.
    pub learners: BTreeSet<NodeId>,
    /// The voters change right now, from one set to another.
    pub joint: bool,
}

/// Who belongs to a group at one moment of a leader's term: what a change of members is made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembersNow {
    /// The term of the leader that sees them.
    pub term: Term,
    /// The entry that made them members.
    log_id: Option<LogId>,
    /// How the group is.
    pub health: Health,
}

/// A change of members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembersChange {
    /// These follow from now on, without a vote.
    Learn(BTreeSet<NodeId>),
    /// Exactly these vote, by joint consensus.
    Vote(BTreeSet<NodeId>),
    /// These, who do not vote, follow no more.
    Forget(BTreeSet<NodeId>),
}

/// How far another replica has come, as its leader sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The last entry it is known to have.
    pub matched: Option<LogId>,
    /// Time since it last answered; none if it never did in this term.
    pub silent_for: Option<Duration>,
}

/// The state of a replica, for health, metrics and operators.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// What it does.
    pub role: Role,
    /// The highest term seen.
    pub term: Term,
    /// Its leader, once known.
    pub leader: Option<NodeId>,
    /// The last entry in the log, if any.
    pub last_log_index: Option<u64>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last entry applied. The distance to `committed` is part of health.
    pub applied: Option<LogId>,
    /// The last entry in the newest snapshot.
    pub snapshot: Option<LogId>,
    /// The last entry no longer in the log.
    pub purged: Option<LogId>,
    /// Of a leader: time since a quorum last answered.
    pub quorum_silent_for: Option<Duration>,
    /// Who belongs to the group.
    pub members: Members,
    /// Of a leader: the other replicas.
    pub others: BTreeMap<NodeId, Progress>,
    /// Commands that wait to be proposed.
    pub proposals_waiting: usize,
    /// It was idle, and looks at the clock no more until somebody wants something of it.
    pub asleep: bool,
}

/// This node's member of one group.
pub struct Replica<M: Machine> {
    pub(crate) node: NodeId,
    pub(crate) group: GroupId,
    pub(crate) raft: Raft,
    pub(crate) past: Past,
    pub(crate) held: Arc<Held<M>>,
    pub(crate) clock: Arc<GroupClock>,
    pub(crate) hibernation: Arc<Hibernation>,
    pub(crate) proposals: Proposals<M>,
    pub(crate) confirmations: Confirmations,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) life: Life,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

impl<M: Machine> Replica<M> {
    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Founds the group: these nodes vote from now on. Several of them may do it, with the same voters. Does nothing if
    /// the group has members already. Others are let in by the leader, see [`Replica::change_members`].
    pub async fn initialize(&self, voters: &[NodeId]) -> Result<(), MembershipError> {
        let voters: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        match self.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                quorate_core::sometimes!("group_had_its_members_already");
                Ok(())
            }
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => {
                Err(MembershipError::Refused(error.to_string()))
            }
            Err(RaftError::Fatal(_)) => Err(MembershipError::Stopped),
        }
    }

    /// Whether the group was ever founded, as this replica knows.
    pub async fn is_initialized(&self) -> bool {
        self.raft.is_initialized().await.unwrap_or(false)
    }

    /// Who leads, and every change of it. The receiver has seen the present value.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Changes the state: the command's own outcome once it is applied.
    pub async fn propose(&self, command: M::Command) -> Result<M::Outcome, ProposeError> {
        self.submit(command)?.await
    }

    /// Puts a command into the queue now; its outcome comes later. Commands are applied in the order in which they were put
    /// here, but for those that are refused. Dropping the outcome does not take the command back.
    pub fn submit(&self, command: M::Command) -> Result<Pending<M::Outcome>, ProposeError> {
        let leadership = *self.leadership.borrow();
        if !leadership.leading {
            return Err(ProposeError::NotLeader { leader: leadership.leader.filter(|leader| *leader != self.node) });
        }
        self.proposals.submit(command)
    }

    /// Confirms that this node leads, and that all that was answered before now is applied here. One round to a quorum
    /// serves everybody who waits. Answers within an election timeout or two.
    pub async fn confirm(&self) -> Result<(), NotLeader> {
        let leadership = *self.leadership.borrow();
        if !leadership.leading {
            return Err(NotLeader { leader: leadership.leader.filter(|leader| *leader != self.node) });
        }
        self.confirmations.confirm().await
    }

    /// Looks at the applied state, which may be old: see [`Replica::confirm`]. Apply waits meanwhile.
    pub fn read<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        self.held.read(look)
    }

    /// Waits until something else than `seen` is the last entry applied here, and says which; none once the replica has
    /// stopped. For whoever follows the state without proposing.
    pub async fn applied_beyond(&self, seen: Option<LogId>) -> Option<LogId> {
        let mut metrics = self.raft.data_metrics();
        loop {
            let applied = metrics.borrow_watched().last_applied.as_ref().map(types::our_log_id);
            if applied.is_some() && applied != seen {
                return applied;
            }
            if metrics.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The group clock and the term it runs in; none while this node does not lead.
    pub fn clock_ms(&self) -> Option<(Term, u64)> {
        self.clock.now_ms()
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.health_of(&self.raft.metrics().borrow_watched())
    }

    fn health_of(&self, metrics: &RaftMetrics<Consensus>) -> Health {
        health(metrics, self.proposals.waiting(), self.hibernation.awake_since())
    }

    /// Asks another voter to take over. It may fail silently: watch the leadership.
    pub async fn transfer(&self, to: NodeId) {
        self.hibernation.rouse().await;
        self.trigger(self.raft.trigger().transfer_leader(to.0).await);
    }

    /// Stands for election now, unless others still hear a leader, or this replica has forgotten what it acknowledged once.
    pub async fn elect(&self) {
        if !self.past.is_reached(&self.raft) {
            return;
        }
        quorate_core::sometimes!("node_stands_for_election_at_once");
        self.hibernation.stir();
        self.trigger(self.raft.trigger().elect(true).await);
    }

    /// Makes a snapshot now.
    pub async fn snapshot(&self) {
        self.trigger(self.raft.trigger().snapshot().await);
    }

    fn trigger<E: std::fmt::Display>(&self, asked: Result<(), E>) {
        if let Err(fatal) = asked {
            tracing::warn!(group = %self.group, %fatal, "raft has stopped");
        }
    }

    /// Who belongs to the group as of now, to change it from there; none unless this node leads.
    pub fn members_now(&self) -> Option<MembersNow> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id);
        leads.then(|| MembersNow {
            term: Term(metrics.current_term),
            log_id: metrics.membership_config.log_id().as_ref().map(types::our_log_id),
            health: self.health_of(&metrics),
        })
    }

    /// Changes the members, if they are what they were and this node still leads in that term: no other leader can have
    /// changed them, or acted on what they were, in between. New voters must follow already; those who no longer vote
    /// leave the group. A change that was cut off is finished by asking again.
    pub async fn change_members(&self, from: &MembersNow, change: MembersChange) -> Result<(), MembershipError> {
        self.hibernation.rouse().await;
        let ids = |nodes: BTreeSet<NodeId>| nodes.into_iter().map(|node| node.0);
        let change = match change {
            MembersChange::Learn(nodes) => {
                ChangeMembers::AddNodes(ids(nodes).map(|node| (node, EmptyNode {})).collect())
            }
            MembersChange::Vote(nodes) => ChangeMembers::ReplaceAllVoters(ids(nodes).collect()),
            MembersChange::Forget(nodes) => ChangeMembers::RemoveNodes(ids(nodes).collect()),
        };
        let unchanged = [
            Precondition::CommittedLeaderId { committed_leader_id: types::leader_of(from.term) },
            Precondition::LastMembershipLogId { last_membership_log_id: from.log_id.map(types::log_id) },
        ];
        let changed = self.raft.change_membership_if(change, false, unchanged).await;
        changed.map(drop).map_err(membership_error)
    }

    /// Stops. What waits or is on its way is answered [`ProposeError::Unknown`].
    pub async fn shutdown(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.group, %error, "raft did not stop cleanly");
        }
        self.life.end();
        tap!(events::Stopped { node: self.node, group: self.group, state_hash: self.held.read(events::state_hash) });
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl<M: Machine> Drop for Replica<M> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn membership_error(error: RaftError<Consensus, ClientWriteError<Consensus>>) -> MembershipError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            MembershipError::NotLeader { leader: forward.leader_id.map(NodeId) }
        }
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => MembershipError::Unknown,
        RaftError::APIError(
            error @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)),
        ) => MembershipError::Refused(error.to_string()),
        RaftError::Fatal(_) => MembershipError::Stopped,
    }
}

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    }
}

fn since(moment: impl Instant) -> Duration {
    moment.elapsed()
}

/// Who is awake counts silence from when it woke: before, nothing was said on purpose, and a node that is not there any more would
/// have woken the group.
fn health(metrics: &RaftMetrics<Consensus>, proposals_waiting: usize, awake_since: Option<time::Instant>) -> Health {
    let awake_for = awake_since.map_or(Duration::ZERO, |since| since.elapsed());
    let ours = |log_id: &Option<types::LogId>| log_id.as_ref().map(types::our_log_id);
    let membership = metrics.membership_config.membership();
    let matched = metrics.replication.clone().unwrap_or_default();
    let heard = metrics.heartbeat.clone().unwrap_or_default();
    let others = matched.iter().filter(|(node, _)| **node != metrics.id).map(|(node, matched)| {
        let silent_for = heard.get(node).copied().flatten().map(|at| since(at.into_inner()).min(awake_for));
        (NodeId(*node), Progress { matched: ours(matched), silent_for })
    });
    Health {
        role: role(metrics.state),
        term: Term(metrics.current_term),
        leader: metrics.current_leader.map(NodeId),
        last_log_index: metrics.last_log_index,
        committed: ours(&metrics.local_committed),
        applied: ours(&metrics.last_applied),
        snapshot: ours(&metrics.snapshot),
        purged: ours(&metrics.purged),
        quorum_silent_for: metrics.last_quorum_acked.map(|at| since(at.into_inner()).min(awake_for)),
        members: Members {
            voters: membership.voter_ids().map(NodeId).collect(),
            learners: membership.learner_ids().map(NodeId).collect(),
            joint: membership.get_joint_config().len() > 1,
        },
        others: others.collect(),
        proposals_waiting,
        asleep: awake_since.is_none(),
    }
}
