//! Hibernation: a group that has nothing to do costs nothing (design, section 5, rule 6).
//!
//! A leader whose group was idle for a while asks all other members to sleep. Each agrees only if it has applied all that the
//! leader has, and hears the leader's node. When all have agreed, no replica of the group looks at the clock any more: there are
//! no heartbeats and no elections. What heartbeats said of the leader, the signs of life of its node say from now on
//! ([`Transport::signs`], [`Transport::quiet_for`]):
//!
//! - A node that falls silent or begins another life is doubted. Those who sleep under it wake, one after the other, and stand
//!   for election. A leader that sleeps wakes when one of its members is doubted, and beats until all sleep again.
//! - Whatever raft says to a sleeping replica wakes it, but for a pre-vote while the leader's node is heard: one that does not
//!   hear the leader, or was started again, must not take the group from a leader that the others hear. The leader itself
//!   wakes from a pre-vote, and its heartbeat answers it.
//! - Whoever wants something of a group wakes it first ([`Hibernation::rouse`]).
//!
//! Nothing here decides who leads or what is committed. A replica that sleeps too long is late, and no more than that.

use std::sync::Arc;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::{ReadPolicy, ServerState};
use quorate_core::codec;
use quorate_core::model::{GroupId, LogId, NodeId, Term};
use quorate_world::select::{Either2, Either3, select2, select3};
use quorate_world::time::{Duration, Instant, sleep};
use quorate_world::{random, watch};

use crate::message::{HibernateAnswerV1, HibernateV1, VoteV1};
use crate::options::RaftOptions;
use crate::past::Past;
use crate::replica::Leadership;
use crate::transport::{RaftRpc, Transport};
use crate::types::{self, Consensus, Raft};

/// Whether a replica sleeps, and all that may change it.
pub(crate) struct Hibernation {
    node: NodeId,
    group: GroupId,
    raft: Raft,
    past: Past,
    transport: Arc<dyn Transport>,
    options: RaftOptions,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy)]
pub(crate) struct State {
    phase: Phase,
    /// How often somebody wanted something of the group here.
    stirred: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Awake {
        since: Instant,
    },
    Asleep {
        leader: NodeId,
    },
    /// Asleep still: others may come first.
    Doubting {
        leader: NodeId,
    },
}

/// An idle group at one moment, as its leader knows it.
#[derive(PartialEq, Eq)]
struct Idle {
    stirred: u64,
    leads: VoteV1,
    last: LogId,
    others: Vec<NodeId>,
}

impl State {
    pub fn is_awake(&self) -> bool {
        matches!(self.phase, Phase::Awake { .. })
    }
}

impl Hibernation {
    pub fn new(
        (node, group): (NodeId, GroupId),
        (raft, past): (Raft, Past),
        transport: Arc<dyn Transport>,
        options: RaftOptions,
    ) -> Hibernation {
        let awake = State { phase: Phase::Awake { since: Instant::now() }, stirred: 0 };
        let (state, _) = watch::channel(awake);
        Hibernation { node, group, raft, past, transport, options, state }
    }

    /// Since when this replica is awake; none while it sleeps.
    pub fn awake_since(&self) -> Option<Instant> {
        match self.state.borrow().phase {
            Phase::Awake { since } => Some(since),
            Phase::Asleep { .. } | Phase::Doubting { .. } => None,
        }
    }

    /// Changes when this replica wakes or falls asleep.
    pub fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Somebody wants something of the group: it does not sleep when this returns, and not for a while.
    pub fn stir(&self) {
        self.wake(|state| {
            state.stirred += 1;
            true
        });
    }

    /// The same at a leader that is about to write: the others wake as well, and a quorum has answered it anew. In vain is no
    /// fault: the write finds that out for itself.
    pub async fn rouse(&self) {
        let woken = self.wake(|state| {
            state.stirred += 1;
            true
        });
        if woken {
            let _ = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        }
    }

    /// Another node says something to this replica that is no reason to go on sleeping.
    pub fn hear(&self) {
        if !self.state.borrow().is_awake() {
            self.wake(|_| true);
        }
    }

    /// Whether a pre-vote may be answered.
    pub fn hears_candidate(&self, candidate: NodeId) -> bool {
        let phase = self.state.borrow().phase;
        match phase {
            Phase::Awake { .. } | Phase::Doubting { .. } => true,
            Phase::Asleep { leader } if leader == self.node => {
                quorate_core::sometimes!("sleeping_leader_hears_a_candidate");
                self.wake(|_| true);
                false
            }
            Phase::Asleep { leader } => {
                let heard = self.transport.quiet_for(leader) < self.options.election_timeout_min();
                if leader != candidate && heard {
                    quorate_core::sometimes!("sleeping_follower_stays_with_its_leader");
                    return false;
                }
                true
            }
        }
    }

    /// A node fell silent, or began another life.
    pub fn doubt(&self, node: NodeId) {
        let leader = match self.state.borrow().phase {
            Phase::Awake { .. } | Phase::Doubting { .. } => return,
            Phase::Asleep { leader } => leader,
        };
        if leader == node {
            self.state.modify_if(|state| {
                let sleeps = state.phase == Phase::Asleep { leader };
                if sleeps {
                    state.phase = Phase::Doubting { leader };
                }
                sleeps
            });
        } else if leader == self.node && self.is_member(node) {
            quorate_core::sometimes!("sleeping_leader_misses_a_member");
            self.wake(|_| true);
        }
    }

    fn is_member(&self, node: NodeId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&node.0).is_some()
    }

    /// Wakes the replica if `really`, and says whether it slept. Under the lock: nobody may fall asleep in between.
    fn wake(&self, really: impl FnOnce(&mut State) -> bool) -> bool {
        let woken = self.state.modify_if(|state| {
            let wakes = really(state) && !state.is_awake();
            if wakes {
                state.phase = Phase::Awake { since: Instant::now() };
                self.raft.runtime_config().tick(true);
            }
            wakes
        });
        if woken {
            quorate_core::sometimes!("sleeping_replica_wakes");
            tracing::debug!(group = %self.group, "the group is awake");
        }
        woken
    }

    /// Falls asleep under a leader if nothing speaks against it, and says whether this replica sleeps. Under the lock.
    fn fall_asleep(&self, leader: NodeId, nothing_against: impl FnOnce(&State) -> bool) -> bool {
        let mut sleeps = false;
        self.state.modify_if(|state| {
            sleeps = nothing_against(state);
            let news = sleeps && state.phase != Phase::Asleep { leader };
            if news {
                state.phase = Phase::Asleep { leader };
                self.raft.runtime_config().tick(false);
            }
            news
        });
        sleeps
    }

    /// Answers a leader that would like this replica to sleep.
    pub fn asked_to_sleep(&self, asked: &HibernateV1) -> HibernateAnswerV1 {
        let leader = asked.vote.node;
        let agreed = self.options.hibernate_after.is_some()
            && self.transport.quiet_for(leader) < self.options.election_timeout_min()
            && self.fall_asleep(leader, |_| {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                let follows = matches!(metrics.state, ServerState::Follower | ServerState::Learner);
                follows
                    && VoteV1::of(&metrics.vote) == asked.vote
                    && has_applied_all(&metrics) == Some(asked.last)
                    && self.past.is_reached(&self.raft)
            });
        if agreed { HibernateAnswerV1::Asleep } else { HibernateAnswerV1::Awake }
    }

    /// Runs until the replica stops.
    pub async fn run(self: Arc<Self>, mut leadership: watch::Receiver<Leadership>) {
        let Some(after) = self.options.hibernate_after else { return };
        let mut state = self.state.subscribe();
        loop {
            let State { phase, stirred } = *state.borrow_and_update();
            let leads = leadership.borrow_and_update().leading;
            match phase {
                Phase::Awake { .. } if leads => {
                    let before = self.idle(stirred);
                    match select3(leadership.changed(), state.changed(), sleep(after)).await {
                        Either3::First(Ok(())) | Either3::Second(_) => {}
                        Either3::First(Err(watch::Closed)) => return,
                        Either3::Third(()) => self.put_to_sleep(before).await,
                    }
                }
                Phase::Awake { .. } | Phase::Asleep { .. } => {
                    if let Either2::First(Err(watch::Closed)) = select2(leadership.changed(), state.changed()).await {
                        return;
                    }
                }
                Phase::Doubting { leader } => {
                    if let Either2::Second(()) = select2(state.changed(), sleep(self.turn(leader))).await {
                        quorate_core::sometimes!("sleeping_follower_loses_its_leader");
                        self.wake(|state| state.phase == Phase::Doubting { leader });
                    }
                }
            }
        }
    }

    /// How long this replica leaves it to others to follow a leader in doubt: another one comes first in each group, and those of
    /// many groups do not come at once.
    fn turn(&self, leader: NodeId) -> Duration {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let voters = metrics.membership_config.membership().voter_ids().filter(|voter| *voter != leader.0);
        let voters: Vec<u64> = voters.collect();
        let place = voters.iter().position(|voter| *voter == self.node.0).unwrap_or(voters.len());
        let first = self.group.0 as usize % voters.len().max(1);
        let rank = (place + voters.len() - first) % voters.len().max(1);
        Duration::from_millis(2 * self.options.heartbeat_ms * rank as u64 + random::below(self.options.heartbeat_ms))
    }

    /// What would sleep now, if this node leads and all members have all there is.
    fn idle(&self, stirred: u64) -> Option<Idle> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(self.node.0);
        let stable = metrics.membership_config.membership().get_joint_config().len() == 1;
        let last = has_applied_all(&metrics).filter(|_| leads && stable)?;
        let others = metrics.replication.iter().flatten().filter(|(other, _)| **other != self.node.0);
        let mut there = Vec::new();
        for (other, matched) in others {
            if matched.as_ref().map(types::our_log_id) != Some(last) {
                return None;
            }
            there.push(NodeId(*other));
        }
        let leads = VoteV1 { term: Term(metrics.current_term), node: self.node, committed: true };
        Some(Idle { stirred, leads, last, others: there })
    }

    /// Asks the others to sleep, if the group was idle and still is, and sleeps if all do. Those who do in vain are woken by
    /// the next heartbeat.
    async fn put_to_sleep(&self, before: Option<Idle>) {
        let stirred = self.state.borrow().stirred;
        let Some(idle) = self.idle(stirred).filter(|idle| before.as_ref() == Some(idle)) else { return };
        let Ok(body) = codec::encode(&HibernateV1 { vote: idle.leads, last: idle.last }) else { return };
        let body = bytes::Bytes::from(body);
        let limit = self.options.election_timeout_min();
        let asked = idle.others.iter().map(|other| {
            let answer = self.transport.call(*other, self.group, RaftRpc::Hibernate, body.clone(), limit);
            async move { codec::decode::<HibernateAnswerV1>(&answer.await.ok()?).ok() }
        });
        let answers = join_all(asked).await;
        if answers.iter().any(|answer| *answer != Some(HibernateAnswerV1::Asleep)) {
            quorate_core::sometimes!("member_does_not_want_to_sleep");
            return;
        }
        let asleep = self.fall_asleep(self.node, |state| self.idle(state.stirred).as_ref() == Some(&idle));
        if asleep {
            quorate_core::sometimes!("group_sleeps");
            tracing::debug!(group = %self.group, "the group sleeps");
        }
    }
}

/// The last entry, if all that this replica has is applied.
fn has_applied_all(metrics: &RaftMetrics<Consensus>) -> Option<LogId> {
    let applied = metrics.last_applied.as_ref().map(types::our_log_id)?;
    (metrics.last_log_index == Some(applied.index.0)).then_some(applied)
}
