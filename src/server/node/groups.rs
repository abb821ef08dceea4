//! The data groups of this node: opened as the picture says, founded once, led at their preferred place.
//!
//! A group that has moved away leaves a replica behind; it is wiped after a last question to the meta group, since a picture
//! may be older than what the disk has taken part in.
//!
//! A group is initialised by its first replica, and by any other if it still has no members after the longest election
//! time-out: the same members from several is safe. Its first leader founds it, once, with the slots that it has from the
//! founding of the cluster; the state machine refuses a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use quorate_core::cluster::command::ReplicaV1;
use quorate_core::cluster::{MetaCommand, Routing};
use quorate_core::model::{Epoch, GroupId, NodeId, SLOTS, Slot};
use quorate_core::txn::command::FoundV1;
use quorate_core::txn::{Command, Outcome, Transactions};
use quorate_raft::{OpenError, ProposeError, RaftOptions, Replica, Replicas};
use quorate_world::sync::oneshot;
use quorate_world::time::{self, Duration};
use quorate_world::{task, watch};

use super::attendance::quorum_met;
use super::desk::Desk;
use super::failure::open_failure;
use super::seat::Seat;
use super::slots::Slots;
use crate::coordinator::Coordinator;
use crate::exit::{ExitCode, Failure};
use crate::peer::Peers;

/// Before a founding that was not taken is proposed again.
const PAUSE: Duration = Duration::from_millis(20);

/// The data groups that this node carries.
pub struct Groups {
    node: NodeId,
    replicas: Arc<Replicas>,
    desk: Arc<Desk>,
    coordinator: Arc<Coordinator>,
    peers: Arc<Peers>,
    seat: Arc<Seat>,
    routing: watch::Receiver<Routing>,
    slots: Arc<Slots>,
    options: RaftOptions,
    open: Mutex<BTreeMap<GroupId, Arc<Replica<Transactions>>>>,
}

/// What the groups need of their node.
pub struct GroupsContext {
    /// This node.
    pub node: NodeId,
    /// Opens replicas.
    pub replicas: Arc<Replicas>,
    /// Is told what is open.
    pub desk: Arc<Desk>,
    /// Serves what is led.
    pub coordinator: Arc<Coordinator>,
    /// Whom it reaches.
    pub peers: Arc<Peers>,
    /// Whom to ask before a replica is wiped.
    pub seat: Arc<Seat>,
    /// The picture.
    pub routing: watch::Receiver<Routing>,
    /// Time-outs.
    pub options: RaftOptions,
}

impl Groups {
    /// None is open.
    pub fn new(context: GroupsContext) -> Arc<Groups> {
        let GroupsContext { node, replicas, desk, coordinator, peers, seat, routing, options } = context;
        let slots = Arc::new(Slots {
            seat: seat.clone(),
            peers: peers.clone(),
            coordinator: coordinator.clone(),
            routing: routing.clone(),
        });
        let open = Mutex::default();
        Arc::new(Groups { node, replicas, desk, coordinator, peers, seat, routing, slots, options, open })
    }

    /// The replicas that are open, ascending by group.
    pub fn open(&self) -> BTreeMap<GroupId, Arc<Replica<Transactions>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens what is on the disk and what the picture gives this node, now and whenever it changes. Returns only if a
    /// group cannot be opened.
    pub async fn follow(self: Arc<Self>, on_disk: Vec<GroupId>) -> Failure {
        let mut picture = self.routing.clone();
        let mut known: BTreeSet<GroupId> = BTreeSet::from([GroupId::META]);
        let mut on_disk: BTreeSet<GroupId> = on_disk.into_iter().collect();
        loop {
            let (carried, left) = {
                let routing = picture.borrow_and_update();
                (carried_by(&routing, self.node), left_by(&routing, self.node))
            };
            let wanted = std::mem::take(&mut on_disk).into_iter().chain(carried);
            let new: Vec<GroupId> = wanted.filter(|group| known.insert(*group)).collect();
            if let Err(error) = self.clone().open_all(new).await {
                return open_failure(&error);
            }
            for group in left {
                if self.leave(group).await {
                    known.remove(&group);
                }
            }
            if picture.changed().await.is_err() {
                return Failure::new(ExitCode::Bug, "the meta group has stopped");
            }
        }
    }

    /// Wipes what is left here of a group that has moved away. False if it has not, or has come back.
    async fn leave(&self, group: GroupId) -> bool {
        let replica = ReplicaV1 { group, node: self.node };
        if self.seat.insist(MetaCommand::AskToLeave(replica)).await.is_err() {
            return false;
        }
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&group);
        self.desk.closed(group);
        self.coordinator.detach(group);
        match open {
            _ if quorate_world::bug!("left_replica_is_not_wiped") => {}
            Some(replica) => self.replicas.remove(&replica).await,
            None => self.replicas.wipe(group).await,
        }
        tracing::info!(%group, "the group has moved away from here");
        // Only a group that is no more refuses it.
        let _ = self.seat.insist(MetaCommand::ReplicaGone(replica)).await;
        true
    }

    async fn open_all(self: Arc<Self>, groups: Vec<GroupId>) -> Result<(), OpenError> {
        let opening: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let (opened, result) = oneshot::channel();
                let groups = self.clone();
                task::spawn(async move {
                    // Nobody waits any more only if the node stops.
                    let _ = opened.send(groups.open_one(group).await);
                });
                result
            })
            .collect();
        for result in opening {
            // The task ends with its word, or with the process.
            result.await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    async fn open_one(self: Arc<Self>, group: GroupId) -> Result<(), OpenError> {
        let replica = self.replicas.open::<Transactions>(group).await?;
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(group, replica.clone());
        self.desk.opened(group);
        self.coordinator.attach(group, replica.clone());
        task::spawn(self.clone().give_slots(replica.clone()));
        task::spawn(self.slots.clone().follow(replica.clone()));
        let preferred = self.routing.borrow().preferred_leader(group) == Some(self.node);
        if !replica.is_initialized().await {
            task::spawn(self.initialize(replica, preferred));
        } else if preferred {
            task::spawn(self.stand(replica));
        }
        Ok(())
    }

    /// A restart need not wait for the time-out; where another leader is alive, the others refuse.
    async fn stand(self: Arc<Self>, replica: Arc<Replica<Transactions>>) {
        let voters = self.routing.borrow().replicas(replica.group());
        quorum_met(&self.peers, self.node, &voters, self.options.election_timeout_min()).await;
        if replica.leadership().borrow().leader.is_none() {
            replica.elect().await;
        }
    }

    async fn initialize(self: Arc<Self>, replica: Arc<Replica<Transactions>>, first: bool) {
        if !first {
            time::sleep(self.options.election_timeout_max()).await;
            if replica.is_initialized().await {
                return;
            }
        }
        // Those of the founding: whoever joins a group later is told who votes by its leader.
        let voters =
            self.routing.borrow().group(replica.group()).map(|route| route.replicas.clone()).unwrap_or_default();
        if voters.contains(&self.node)
            && let Err(error) = replica.initialize(&voters).await
        {
            tracing::warn!(group = %replica.group(), %error, "the group could not be initialised here");
        }
    }

    /// Gives the group its first slots whenever this node leads it and it has none.
    async fn give_slots(self: Arc<Self>, replica: Arc<Replica<Transactions>>) {
        let mut leadership = replica.leadership();
        loop {
            let now = leadership.wait_until(|now| now.leading).await;
            if now.is_err() {
                return;
            }
            match self.found(&replica).await {
                Some(Outcome::Done) => {
                    tracing::debug!(group = %replica.group(), "founded");
                    return;
                }
                // It has slots: founded long ago.
                Some(_) => return,
                None => {
                    quorate_core::sometimes!("first_slots_are_proposed_again");
                    time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn found(&self, replica: &Replica<Transactions>) -> Option<Outcome> {
        if replica.read(Transactions::is_founded) {
            return Some(Outcome::Done);
        }
        let founding = {
            let routing = self.routing.borrow();
            routing.group(replica.group())?;
            // A group that was added has none at first: they come to it by migration, and only then.
            let slots = routing.slots_of(replica.group()).filter(|(_, epoch)| *epoch == Epoch::FOUNDING);
            let (mut slots, epoch): (Vec<Slot>, _) = (slots.map(|(slot, _)| slot).collect(), Epoch::FOUNDING);
            if quorate_world::bug!("two_groups_own_a_slot") {
                slots.push(Slot((slots.last()?.0 + 1) % SLOTS));
                slots.sort_unstable();
                slots.dedup();
            }
            FoundV1 { slots, epoch, sequence: routing.first_sequence() }
        };
        match replica.propose(Command::Found(founding)).await {
            Ok(outcome) => Some(outcome),
            Err(ProposeError::Stopped) => Some(Outcome::Done),
            Err(
                ProposeError::NotLeader { .. } | ProposeError::Full | ProposeError::TooLarge | ProposeError::Unknown,
            ) => None,
        }
    }
}

fn carried_by(routing: &Routing, node: NodeId) -> Vec<GroupId> {
    let groups = routing.groups();
    groups.filter(|(_, route)| route.carriers().any(|carrier| carrier == node)).map(|(group, _)| group).collect()
}

fn left_by(routing: &Routing, node: NodeId) -> Vec<GroupId> {
    routing.groups().filter(|(_, route)| route.is_left_by(node)).map(|(group, _)| group).collect()
}
