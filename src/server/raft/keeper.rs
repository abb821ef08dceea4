//! Two watchers of a replica, both asleep unless something happens: one follows who leads, one has snapshots made.
//!
//! A leader that no quorum answers stays one for openraft, and everything that waits for it would wait as long. So the watcher
//! of leadership looks at the quorum while this node leads: after two of the longest election time-outs of silence the
//! leadership counts as lost, whoever waits is told so and may look for another, and it begins anew, in the same term, when a
//! quorum is there again and has elected nobody else.
//!
//! openraft stops a group whose storage failed or whose core broke, and would leave the node voting in the others. A
//! replica that stopped by itself is a bug or a broken disk, so the watcher of leadership stops the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use quorate_core::model::{GroupId, NodeId, Term};
use quorate_world::select::{Either2, Either3, select2, select3};
use quorate_world::sync::Semaphore;
use quorate_world::time::{Duration, Instant, sleep};
use quorate_world::{process, tap, watch};

use crate::clock::GroupClock;
use crate::events;
use crate::hibernation::Hibernation;
use crate::replica::Leadership;
use crate::snapshot::Receiving;
use crate::state_machine::Growth;
use crate::types::{Consensus, Raft};

/// The exit code of a replica that stopped by itself.
const EXIT_STOPPED: i32 = 70;

/// How long a build may take before the next group's turn, should openraft have declined to begin it.
const BUILD_MAX: Duration = Duration::from_secs(600);

/// How long a process that ends takes at most to drop its tasks.
const LAST_WORD: Duration = Duration::from_millis(200);

pub(crate) fn leadership_of(node: NodeId, metrics: &RaftServerMetrics<Consensus>) -> Leadership {
    let leader = metrics.current_leader.map(NodeId);
    Leadership {
        term: Term(metrics.vote.leader_id.term),
        leader,
        leading: metrics.state == ServerState::Leader && leader == Some(node),
    }
}

/// Follows who leads a group: starts and stops its clock, and tells those who watch.
pub(crate) struct LeadershipKeeper {
    pub node: NodeId,
    pub group: GroupId,
    pub raft: Raft,
    pub clock: Arc<GroupClock>,
    pub told: watch::Sender<Leadership>,
    pub receiving: Arc<Receiving>,
    /// Somebody stopped the replica on purpose.
    pub stopping: Arc<AtomicBool>,
    /// Nobody answers while the group sleeps.
    pub hibernation: Arc<Hibernation>,
    /// A quorum that was silent for so long has left its leader; looked at twice in that time.
    pub quorum_patience: Duration,
}

impl LeadershipKeeper {
    /// Runs until the replica stops.
    pub async fn run(self) {
        let (mut metrics, mut states) = (self.raft.server_metrics(), self.hibernation.states());
        let mut leads = None;
        loop {
            let now = leadership_of(self.node, &metrics.borrow_watched());
            leads = match (now.leading, leads) {
                (true, Some((term, since))) if term == now.term => Some((term, since)),
                (true, _) => Some((now.term, Instant::now())),
                (false, _) => None,
            };
            let left = leads.is_some_and(|(_, since)| self.is_left_alone(since));
            if self.note(if left { Leadership { leader: None, leading: false, ..now } } else { now }) {
                self.receiving.forget_before(now.term);
            }
            // Seen before the wait: a turn in between ends it.
            let is_awake = states.borrow_and_update().is_awake();
            let look_again = async {
                match leads {
                    Some(_) if is_awake => sleep(self.quorum_patience / 2).await,
                    Some(_) | None => std::future::pending().await,
                }
            };
            if let Either3::First(Err(_)) = select3(metrics.changed(), states.changed(), look_again).await {
                break;
            }
        }
        if !self.stopping.load(Ordering::Acquire) {
            self.stopped_by_itself().await;
        }
        self.note(Leadership::default());
    }

    /// Whether no quorum has answered this leader for too long. It leads since then.
    fn is_left_alone(&self, since: Instant) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let mut voters = metrics.membership_config.membership().voter_ids();
        if voters.all(|voter| voter == self.node.0) {
            return false;
        }
        let Some(awake) = self.hibernation.awake_since() else { return false };
        let since = since.max(awake);
        let heard = metrics.last_quorum_acked.map(|at| openraft::Instant::elapsed(&at.into_inner()));
        let silent_for = heard.map_or(since.elapsed(), |heard| heard.min(since.elapsed()));
        let left = silent_for >= self.quorum_patience;
        if left {
            quorate_core::sometimes!("leader_is_left_by_its_quorum");
        }
        left
    }

    async fn stopped_by_itself(&self) {
        // A process that ends drops its tasks in any order, and this looks like a failure of the first; then this one
        // is dropped here.
        sleep(LAST_WORD).await;
        let running = self.raft.metrics().borrow_watched().running_state.clone();
        if let Err(reason) = running {
            tracing::error!(group = %self.group, %reason, "a replica stopped by itself; the process stops");
            process::exit(EXIT_STOPPED);
        }
    }

    /// Whether anything is new.
    fn note(&self, now: Leadership) -> bool {
        let before = *self.told.borrow();
        if before == now {
            return false;
        }
        let led = before.leading.then_some(before.term);
        let leads = now.leading.then_some(now.term);
        if led != leads {
            if let Some(term) = led {
                quorate_core::sometimes!("leadership_is_lost");
                tap!(events::LeaderLost { node: self.node, group: self.group, term });
                self.clock.stop();
            }
            if let Some(term) = leads {
                tap!(events::LeaderElected { node: self.node, group: self.group, term });
                self.clock.start(term);
            }
        }
        tracing::info!(group = %self.group, term = %now.term, leader = ?now.leader, leading = now.leading, "leadership");
        // After the clock: who hears of it may propose at once.
        self.told.send(now);
        true
    }
}

/// Has a snapshot made when the log has grown, one group of the node at a time.
pub(crate) struct SnapshotKeeper {
    pub group: GroupId,
    pub raft: Raft,
    pub growth: Arc<Growth>,
    pub turn: Arc<Semaphore>,
    pub interval: Option<Duration>,
}

impl SnapshotKeeper {
    /// Runs until it is aborted.
    pub async fn run(self) {
        loop {
            match self.interval {
                Some(interval) => match select2(self.growth.due.notified(), sleep(interval)).await {
                    Either2::First(()) => {}
                    Either2::Second(()) if self.growth.any() => {}
                    Either2::Second(()) => continue,
                },
                None => self.growth.due.notified().await,
            }
            let Ok(_turn) = self.turn.acquire().await else { return };
            if let Err(fatal) = self.raft.trigger().snapshot().await {
                tracing::warn!(group = %self.group, %fatal, "raft has stopped");
                return;
            }
            select2(self.growth.built.notified(), sleep(BUILD_MAX)).await;
        }
    }
}
