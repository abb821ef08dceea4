//! Slots that come to groups led here, and copies of those that go (lock protocol, section 7). Which steps a migration takes is
//! the node's business (`node::slots`).

use std::sync::Arc;

use quorate_core::cluster::Routing;
use quorate_core::model::{Epoch, GroupId, NodeId, Slot};
use quorate_core::txn::command::InstallSlotV1;
use quorate_world::time::{Duration, timeout};
use quorate_world::watch;

use super::context::Coordinator;

impl Coordinator {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// A chunk of the copy of a slot, out of this node's replica of the group that is to give it away; nothing: it has none, or
    /// the slot is not frozen for this attempt within `patience`.
    pub async fn slot_copy(
        &self,
        group: GroupId,
        (slot, attempt): (Slot, Epoch),
        chunk: u32,
        patience: Duration,
    ) -> Option<InstallSlotV1> {
        let replica = self.led.replica(group)?;
        let cut = async {
            let mut seen = None;
            loop {
                seen = replica.applied_beyond(seen).await;
                let cut =
                    replica.read(|state| state.slot_copy(slot, attempt).ok().map(|mut copy| copy.nth(chunk as usize)));
                match (cut, seen) {
                    (Some(copy), _) => return copy,
                    (None, None) => return None,
                    (None, Some(_)) => {}
                }
            }
        };
        timeout(patience, cut).await.ok().flatten()
    }

    /// A group led here serves slots that it did not serve before: what is unfinished in them needs its drivers, deadlines are
    /// there, and requests have waited for it.
    pub fn slots_came(&self, group: GroupId) {
        if let Some(tenure) = self.led.tenure(group) {
            quorate_core::sometimes!("slot_comes_to_a_leader");
            tenure.came.notify_one();
            tenure.deadlines.notify_one();
        }
        self.changed.notify_waiters();
    }

    /// Requests that wait for a slot look again when it has another owner. As long as the node lives.
    pub(super) async fn follow_owners(self: Arc<Self>, mut routing: watch::Receiver<Routing>) {
        let mut before = routing.borrow_and_update().clone();
        while routing.changed().await.is_ok() {
            let now = routing.borrow_and_update().clone();
            if !now.has_owners_of(&before) {
                self.changed.notify_waiters();
            }
            before = now;
        }
    }
}
