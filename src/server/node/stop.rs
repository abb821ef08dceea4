//! The way out: leaders away, channels closed, replicas and log stopped. Everything has a bound, and a node that is cut off
//! half way loses nothing: a stop and a crash take the same path at the next start.

use std::sync::{Arc, PoisonError};

use quorate_core::model::NodeId;
use quorate_core::txn::Transactions;
use quorate_raft::{Replica, Role};
use quorate_world::task::JoinHandle;
use quorate_world::time::{self, Duration, Instant};

use super::balance::caught_up;
use super::{Node, Parts};

/// For all leaders to be away: a handover takes a few milliseconds, or it has failed.
const HANDOVER_MAX: Duration = Duration::from_secs(1);
/// For the rest; with the handover and the last answers (3 s) below the 10 s that are promised.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Leaves the cluster in good order, as far as there is time.
pub async fn leave(node: &Node) {
    tracing::info!("stopping");
    let began = Instant::now();
    node.ready.send(false);
    let tasks = std::mem::take(&mut *node.tasks.lock().unwrap_or_else(PoisonError::into_inner));
    tasks.iter().for_each(JoinHandle::abort);
    if let Some(parts) = node.parts.get() {
        hand_over(parts, Duration::from_millis(node.config.raft.election_timeout_ms)).await;
    }
    if quorate_world::bug!("stop_waits_for_all_connections") {
        std::future::pending::<()>().await;
    }
    node.doors.close().await;
    if time::timeout(CLOSING_MAX, close(node)).await.is_err() {
        tracing::warn!("not everything has stopped in time");
    }
    tracing::info!(in_ms = began.elapsed().as_millis() as u64, "stopped");
}

async fn hand_over(parts: &Parts, election_timeout: Duration) {
    let deadline = Instant::now() + HANDOVER_MAX;
    let replicas: Vec<Arc<Replica<Transactions>>> = parts.groups.open().into_values().collect();
    for replica in &replicas {
        let health = replica.health();
        if let Some(to) = heir(&health, election_timeout) {
            replica.transfer(to).await;
        }
    }
    let meta = parts.seat.replica();
    if let Some(to) = heir(&meta.health(), election_timeout) {
        meta.transfer(to).await;
    }
    for replica in replicas {
        let alone = replica.health().others.is_empty();
        let mut leadership = replica.leadership();
        if !alone {
            // What is not away in time, the others elect.
            if time::timeout_at(deadline, leadership.wait_until(|now| !now.leading)).await.is_err() {
                quorate_core::sometimes!("leader_stops_that_nobody_has_followed");
            }
        }
    }
}

fn heir(health: &quorate_raft::Health, election_timeout: Duration) -> Option<NodeId> {
    let leads = health.role == Role::Leader;
    caught_up(health, election_timeout).into_iter().next().filter(|_| leads)
}

async fn close(node: &Node) {
    if let Some(parts) = node.parts.get() {
        for (group, replica) in parts.groups.open() {
            node.coordinator.detach(group);
            parts.replicas.close(&replica).await;
        }
        parts.replicas.close(parts.seat.replica()).await;
    }
    node.peers.stop();
    node.storage.close().await;
}
