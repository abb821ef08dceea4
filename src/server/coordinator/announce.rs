//! Tells the other nodes which RMs are connected here, so that the leader of any group finds them.
//!
//! One task per neighbour: the whole list whenever it has changed, and every two seconds only its version, so that a node
//! that was restarted or cut off asks for the list again. Changes that come while a list is on its way travel together
//! in the next one.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::model::{GroupId, NodeId};
use quorate_world::select::select2;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::context::Coordinator;
use super::message::{Announcement, Query, Response};
use super::nodes;

/// The version is told this often.
const INTERVAL: Duration = Duration::from_secs(2);
/// Pause after a node could not be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// For one announcement to be heard.
const PATIENCE: Duration = Duration::from_secs(5);

impl Coordinator {
    /// Starts what runs as long as the node: announcements, the watch over the memory budget, the deletion of
    /// undo logs.
    pub fn start(self: &Arc<Self>) {
        task::spawn(self.clone().announce());
        task::spawn(self.clone().watch_budget());
        task::spawn(self.clone().delete_undo_logs());
    }

    async fn announce(self: Arc<Self>) {
        let mut routing = self.routing.clone();
        let mut told: BTreeSet<NodeId> = BTreeSet::new();
        loop {
            let nodes: BTreeSet<NodeId> = routing.borrow_and_update().nodes().map(|node| node.id).collect();
            for gone in told.difference(&nodes) {
                self.channels.forget(*gone);
            }
            for new in nodes.difference(&told).filter(|node| **node != self.node) {
                task::spawn(self.clone().announce_to(*new));
            }
            told = nodes;
            self.changed.notify_waiters();
            if routing.changed().await.is_err() {
                return;
            }
        }
    }

    async fn announce_to(self: Arc<Self>, node: NodeId) {
        let mut changes = self.channels.changes();
        let mut heard = None;
        while self.routing.borrow().node(node).is_some() {
            let version = *changes.borrow_and_update();
            let announcement = match heard == Some(version) {
                true => Announcement { start: self.start, version, channels: None },
                false => self.channels.announcement(self.start),
            };
            let version = announcement.version;
            let query = Query::Announce(announcement);
            heard = match nodes::ask(&*self.nodes, node, GroupId::META, &query, PATIENCE).await {
                Ok(Response::Heard(true)) => Some(version),
                Ok(Response::Heard(false)) => {
                    heard = None;
                    continue;
                }
                Ok(_) | Err(_) => {
                    _ = select2(sleep(PAUSE), changes.changed()).await;
                    None
                }
            };
            if heard.is_some() {
                _ = timeout(INTERVAL, changes.changed()).await;
            }
        }
    }

    /// Begins are refused while the groups here hold more than the budget.
    async fn watch_budget(self: Arc<Self>) {
        loop {
            let bytes: u64 = self.led.replicas().iter().map(|replica| replica.read(|state| state.counts().bytes)).sum();
            self.over_budget.store(bytes > self.memory_budget_bytes, std::sync::atomic::Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
        }
    }
}
