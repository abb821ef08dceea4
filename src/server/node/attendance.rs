//! Who is there: each start is told to the meta group, and its leader records who falls silent and who returns.

use std::sync::Arc;

use quorate_core::cluster::command::NodeV1;
use quorate_core::cluster::{MetaCommand, MetaRefusal, Node, Routing};
use quorate_core::model::NodeId;
use quorate_world::time::{self, Duration};
use quorate_world::watch;

use super::founding::word_of;
use super::seat::Seat;
use crate::exit::{ExitCode, Failure};
use crate::peer::{Own, Peers};

/// Waits until a majority of the voters has said hello, or for `limit`: an election before that would only be lost.
pub async fn quorum_met(peers: &Peers, own: NodeId, voters: &[NodeId], limit: Duration) {
    let mut hellos = peers.hellos();
    let met = hellos.wait_until(|hellos| {
        let there = voters.iter().filter(|voter| **voter == own || hellos.contains_key(voter));
        there.count() * 2 > voters.len()
    });
    // In vain is no fault: raft has its own time-out.
    let _ = time::timeout(limit, met).await;
}

/// Tells the meta group of this start. Returns only if the meta group refuses it.
pub async fn announce(seat: Arc<Seat>, own: Own, mut routing: watch::Receiver<Routing>) -> Failure {
    // Before the founding there is nobody to tell, and the founding tells it.
    let founded = routing.wait_until(|routing| routing.cluster().is_some()).await;
    let recorded = founded.ok().and_then(|routing| routing.node(own.node).cloned());
    if recorded.is_none_or(|recorded| !says(&recorded, &own))
        && let Err(refusal) = seat.insist(MetaCommand::NodeStarted(word_of(&own))).await
    {
        return refused(refusal);
    }
    std::future::pending().await
}

/// Ends when the picture says that this node is a member no more.
pub async fn removed(node: NodeId, mut routing: watch::Receiver<Routing>) -> Failure {
    match routing.wait_until(|routing| routing.was_removed(node)).await {
        Ok(_) => Failure::new(ExitCode::Identity, MetaRefusal::Removed(node).to_string()),
        Err(_) => std::future::pending().await,
    }
}

fn says(recorded: &Node, own: &Own) -> bool {
    (recorded.epoch, recorded.start, &recorded.addresses) == (own.epoch, own.start, &own.addresses)
}

fn refused(refusal: MetaRefusal) -> Failure {
    match refusal {
        MetaRefusal::Identity(_) | MetaRefusal::UnknownNode(_) | MetaRefusal::Removed(_) => {
            Failure::new(ExitCode::Identity, format!("the cluster refuses this node: {refusal}"))
        }
        MetaRefusal::Founded(_)
        | MetaRefusal::NotFounded
        | MetaRefusal::Founding(_)
        | MetaRefusal::AddressTaken(_)
        | MetaRefusal::Full
        | MetaRefusal::TooFew { .. }
        | MetaRefusal::Standing { .. }
        | MetaRefusal::StillThere(_)
        | MetaRefusal::UnknownGroup(_)
        | MetaRefusal::Placement(_)
        | MetaRefusal::Joining(_)
        | MetaRefusal::Vgroup(_)
        | MetaRefusal::Group(_)
        | MetaRefusal::Migration(_)
        | MetaRefusal::Reshard(_) => {
            Failure::new(ExitCode::Bug, format!("the cluster refuses the start of this node: {refusal}"))
        }
    }
}

/// While this node leads the meta group: records who is silent and who is back. For ever.
pub async fn record(seat: Arc<Seat>, peers: Arc<Peers>, election_timeout: Duration) {
    loop {
        time::sleep(election_timeout / 2).await;
        if !seat.replica().leadership().borrow().leading {
            continue;
        }
        let routing = seat.routing();
        for command in changes(&routing, |node| peers.is_silent(node)) {
            tracing::info!(?command, "recording");
            // Lost on the way, it is seen again in the next round.
            let _ = seat.replica().propose(command).await;
        }
    }
}

/// What differs between who is recorded as silent and who is.
fn changes(routing: &Routing, is_silent: impl Fn(NodeId) -> bool) -> Vec<MetaCommand> {
    let differing = routing.nodes().filter(|node| node.silent != is_silent(node.id));
    differing
        .map(|node| {
            let which = NodeV1 { node: node.id, epoch: node.epoch };
            if node.silent { MetaCommand::NodeReturned(which) } else { MetaCommand::NodeSilent(which) }
        })
        .collect()
}
