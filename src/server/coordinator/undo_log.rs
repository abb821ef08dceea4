//! Asks RMs now and then to delete undo logs that nobody needs any more (semantics 4, `UndoLogDelete`).
//!
//! Undo logs go with phase two; what is left are the guard rows of rollbacks that came before their phase one. One RM of
//! each resource is asked, once per cluster: by the first of the nodes that hold a channel for it. Nothing is answered.

use std::sync::Arc;

use quorate_core::model::BranchType;
use quorate_core::phase_two::UndoLogDeletion;
use quorate_core::wire::Message;
use quorate_world::time::{Duration, sleep};

use super::channel::Channel;
use super::context::Coordinator;

/// After a start RMs have so long to come back.
const FIRST: Duration = Duration::from_secs(180);

impl Coordinator {
    /// Runs as long as the node.
    pub(super) async fn delete_undo_logs(self: Arc<Self>) {
        let UndoLogDeletion { period_ms, save_days } = self.undo_logs;
        if period_ms == 0 {
            return;
        }
        let period = Duration::from_millis(period_ms);
        sleep(FIRST.min(period)).await;
        loop {
            let asked = self.ask_to_delete(save_days);
            if asked > 0 {
                tracing::info!(resources = asked, save_days, "resource managers were asked to delete old undo logs");
            }
            if quorate_world::bug!("undo_logs_are_asked_for_once") {
                return;
            }
            sleep(period).await;
        }
    }

    /// How many resources were asked for.
    pub(super) fn ask_to_delete(&self, save_days: i16) -> usize {
        let mut asked = 0;
        for (resource, channels) in self.channels.served_first_by(self.node) {
            let knows = |channel: &&Arc<Channel>| {
                channel.identity().is_some_and(|identity| identity.version.takes_undo_log_deletes())
            };
            let Some(channel) = channels.iter().find(knows) else { continue };
            let resource_id = resource.to_string();
            let message = Message::UndoLogDelete { branch_type: BranchType::AT, resource_id, save_days };
            if channel.tell(self.asked.unused_id(), &message) {
                quorate_core::sometimes!("undo_logs_to_be_deleted");
                asked += 1;
            }
        }
        asked
    }
}
