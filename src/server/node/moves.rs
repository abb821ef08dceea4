//! Carries out that nodes come and go and groups move: what is wished is decided in `core::cluster`, by which steps too.
//!
//! The leader of the meta group wishes ([`plan`]), the leader of each group moves it ([`carry_out`]). Before each step the
//! meta group is asked whether the wish still stands: a leader's picture may be old, and a node that the wish no longer
//! names may be wiping its replica by then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::cluster::command::WishV1;
use quorate_core::cluster::routing::Target;
use quorate_core::cluster::transition::{Present, Step, step};
use quorate_core::cluster::{MetaCommand, Routing, Standing, rebalance};
use quorate_core::model::NodeId;
use quorate_core::txn::Transactions;
use quorate_raft::{Health, Machine, MembersChange, MembersNow, Replica};
use quorate_world::time::{self, Duration, Instant};
use quorate_world::watch;

use super::balance::is_near;
use super::groups::Groups;
use super::seat::Seat;
use crate::peer::Peers;

/// A node that has a number and does not start under it for so long is forgotten.
const FIRST_START_MAX: Duration = Duration::from_secs(300);

/// While this node leads the meta group: wishes for moves, forgets nodes that have gone, and keeps the meta group's own
/// members. For ever.
pub async fn plan(seat: Arc<Seat>, peers: Arc<Peers>, election_timeout: Duration) {
    // Who has a number and has not started under it, and since when this leader knows.
    let mut expected: BTreeMap<NodeId, Instant> = BTreeMap::new();
    // What was looked at last, if there was nothing to wish for: it stays so until that changes.
    let mut idle = None;
    loop {
        time::sleep(election_timeout / 4).await;
        let Some(now) = seat.replica().members_now() else {
            expected.clear();
            continue;
        };
        let routing = seat.routing();
        if routing.cluster().is_none() {
            continue;
        }
        let silent = |node: NodeId| peers.is_silent(node) || routing.node(node).is_some_and(|node| node.silent);
        let refuses: BTreeSet<NodeId> = routing.nodes().map(|node| node.id).filter(|node| silent(*node)).collect();
        let overdue = overdue(&routing, &mut expected).map(MetaCommand::ForgetNode);
        let looked = (routing.picture(), refuses, now.health.members.voters.clone());
        let mut wished = Vec::new();
        if idle.as_ref() != Some(&looked) {
            wished = wishes(&routing, &looked.1, &now);
            idle = wished.is_empty().then_some(looked);
        }
        for command in overdue.chain(wished) {
            tracing::info!(?command, "wishing");
            // Lost on the way, it is wished again in the next round.
            let _ = seat.replica().propose(command).await;
        }
        keep_members(&seat, &routing, &now, election_timeout).await;
    }
}

fn overdue(routing: &Routing, expected: &mut BTreeMap<NodeId, Instant>) -> impl Iterator<Item = NodeId> {
    let admitted = |node: &NodeId| routing.node(*node).is_some_and(|node| node.standing == Standing::Admitted);
    expected.retain(|node, _| admitted(node));
    for node in routing.nodes().map(|node| node.id).filter(admitted) {
        expected.entry(node).or_insert_with(Instant::now);
    }
    let late = expected.iter().filter(|(_, since)| since.elapsed() > FIRST_START_MAX).map(|(node, _)| *node);
    late.collect::<Vec<_>>().into_iter()
}

fn wishes(routing: &Routing, refuses: &BTreeSet<NodeId>, meta: &MembersNow) -> Vec<MetaCommand> {
    let votes = |node: NodeId| meta.health.members.voters.contains(&node);
    let gone =
        routing.nodes().filter(|node| node.standing.goes() && routing.may_be_forgotten(node.id) && !votes(node.id));
    let is_draining = routing.nodes().any(|node| node.standing == Standing::Draining);
    if is_draining && quorate_world::bug!("drained_node_keeps_its_groups") {
        return Vec::new();
    }
    let gone = gone.map(|node| MetaCommand::ForgetNode(node.id));
    gone.chain(rebalance::next(routing, refuses).map(MetaCommand::PlaceGroup)).collect()
}

/// All nodes follow the meta group, some of them vote.
async fn keep_members(seat: &Seat, routing: &Routing, now: &MembersNow, election_timeout: Duration) {
    let voters = rebalance::meta_voters(routing, &now.health.members.voters);
    let target: Vec<NodeId> = voters.into_iter().collect();
    let nodes: BTreeSet<NodeId> = routing.nodes().map(|node| node.id).collect();
    let present = present(seat.replica().node(), &now.health, election_timeout);
    let unheard: BTreeSet<NodeId> = nodes
        .iter()
        .copied()
        .filter(|node| !present.voters.contains(node) && !present.learners.contains(node))
        .collect();
    if !unheard.is_empty() {
        return take(seat.replica(), now, Step::Learn(unheard), election_timeout).await;
    }
    match step(&present, &target, &nodes) {
        Step::Await(_) | Step::Done => {}
        due => take(seat.replica(), now, due, election_timeout).await,
    }
}

/// Moves the groups that this node leads to where they are wished. For ever.
pub async fn carry_out(
    groups: Arc<Groups>,
    seat: Arc<Seat>,
    mut routing: watch::Receiver<Routing>,
    election_timeout: Duration,
) {
    loop {
        let picture = routing.borrow_and_update().clone();
        // It may have to wait here too: for a replica that is being opened, or for this node to lead.
        let moving = picture.groups().any(|(_, route)| route.target.is_some());
        for (group, replica) in groups.open() {
            let Some(target) = picture.group(group).and_then(|route| route.target.as_ref()) else { continue };
            if let Some(now) = replica.members_now() {
                move_on(&seat, &replica, &now, target, election_timeout).await;
            }
        }
        let changed = if moving {
            time::timeout(election_timeout / 10, routing.changed()).await.unwrap_or(Ok(()))
        } else {
            routing.changed().await
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn move_on(
    seat: &Seat,
    replica: &Replica<Transactions>,
    now: &MembersNow,
    target: &Target,
    election_timeout: Duration,
) {
    let group = replica.group();
    let wish = WishV1 { group, since: target.since };
    match step(&present(replica.node(), &now.health, election_timeout), &target.replicas, &BTreeSet::new()) {
        Step::Await(_) => {}
        Step::Done => {
            // Refused, the wish is another one by now.
            if seat.insist(MetaCommand::GroupPlaced(wish)).await.is_ok() {
                tracing::info!(%group, replicas = ?target.replicas, "the group has moved");
            }
        }
        due => {
            if seat.insist(MetaCommand::AskToMove(wish)).await.is_ok() {
                take(replica, now, due, election_timeout).await;
            }
        }
    }
}

async fn take<M: Machine>(replica: &Replica<M>, now: &MembersNow, step: Step, election_timeout: Duration) {
    let group = replica.group();
    tracing::debug!(%group, ?step, "changing the members");
    let change = match step {
        Step::Learn(nodes) => MembersChange::Learn(nodes),
        Step::Vote(nodes) => MembersChange::Vote(nodes),
        Step::Forget(nodes) => MembersChange::Forget(nodes),
        Step::HandOver(to) => return replica.transfer(to).await,
        Step::Await(_) | Step::Done => return,
    };
    // A change that waits for a quorum goes on without us, and the next look finds how far it has come.
    if let Ok(Err(error)) = time::timeout(election_timeout * 2, replica.change_members(now, change)).await {
        tracing::debug!(%group, %error, "the members have not changed");
    }
}

fn present(me: NodeId, health: &Health, election_timeout: Duration) -> Present {
    let others = health.others.iter().filter(|(_, progress)| is_near(health, progress, election_timeout));
    Present {
        me,
        voters: health.members.voters.clone(),
        learners: health.members.learners.clone(),
        joint: health.members.joint,
        caught_up: others.map(|(node, _)| *node).chain([me]).collect(),
    }
}
