//! Early rollback, for those who ask for it: what a TM's process left open when it went away.
//!
//! A lost TM ends nothing by itself; the time-out of its transactions does. Where an operator wants their row locks back
//! earlier (`tm.lost_rollback_ms`), a connection remembers what was begun over it. When it has closed, and no connection of
//! the same application from the same host is found on any node after that time, what it remembers is rolled back as if
//! the TM had asked for it: a decision that was taken meanwhile stands. In doubt nothing is done: a node that does not
//! answer may hold the process. A Begin that is answered when the connection has closed is remembered then, and followed up by
//! itself. Nothing is remembered beyond this process.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::model::GlobalStatus::{RollbackRetrying, Rollbacked, Rollbacking};
use quorate_core::model::{GroupId, TransactionId};
use quorate_world::net::IpAddr;
use quorate_world::task;
use quorate_world::time::{Duration, Instant, sleep};

use super::ask::{Ask, Reply};
use super::channel::{Channel, Identity};
use super::context::Coordinator;
use super::in_hand::Held;
use super::message::{ProcessV1, Query, Response};
use super::nodes;

/// Open transactions that a connection remembers; of more the oldest are left to their time-out.
const REMEMBERED_MAX: usize = 10_000;
/// For one node to say whether it holds the process.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// For one rollback, longer than an election.
const ROLLBACK_PATIENCE: Duration = Duration::from_secs(25);

/// What was begun over a connection and not ended over it.
#[derive(Default)]
pub struct Begun {
    open: BTreeSet<TransactionId>,
    /// The connection has closed, and what was open then is followed up.
    has_left: bool,
}

impl Begun {
    /// A request was answered. True: too late for those who follow up what was open.
    pub fn note(&mut self, ask: &Ask, reply: &Reply) -> bool {
        match (ask, reply) {
            (_, Reply::Begun(transaction)) => {
                self.open.insert(*transaction);
                if self.open.len() > REMEMBERED_MAX {
                    self.open.pop_first();
                }
            }
            (Ask::Commit(transaction) | Ask::Rollback(transaction), Reply::Standing(_)) => {
                self.open.remove(transaction);
            }
            _ => {}
        }
        self.has_left && !self.open.is_empty()
    }

    /// All that is open, to be followed up.
    fn leave(&mut self) -> BTreeSet<TransactionId> {
        self.has_left = true;
        std::mem::take(&mut self.open)
    }
}

impl Coordinator {
    /// A request was answered over a connection.
    pub(super) fn note_begun(self: &Arc<Self>, channel: &Arc<Channel>, ask: &Ask, reply: &Reply) {
        let Some(after) = self.lost_tm_after else { return };
        if channel.note_begun(|begun| begun.note(ask, reply)) {
            quorate_core::sometimes!("begun_when_its_tm_had_left");
            task::spawn(self.clone().lost_tm(channel.clone(), after));
        }
    }

    /// A connection has closed.
    pub(super) async fn lost_tm(self: Arc<Self>, channel: Arc<Channel>, after: Duration) {
        let begun = channel.note_begun(Begun::leave);
        let (Some(identity), false) = (channel.identity(), begun.is_empty()) else { return };
        sleep(after).await;
        if self.may_live(&identity, channel.peer.ip()).await {
            quorate_core::sometimes!("lost_tm_is_there_again_or_may_be");
            return;
        }
        for transaction in begun {
            let until = Instant::now() + ROLLBACK_PATIENCE;
            let standing = self.answer(&Ask::Rollback(transaction), until, &Held::default()).await;
            if let Some(Reply::Standing(Rollbacking | Rollbacked | RollbackRetrying)) = standing {
                quorate_core::sometimes!("transaction_of_a_lost_tm_rolls_back_early");
                self.counters.lost_tm_rollbacks.one();
                tracing::info!(transaction = transaction.0, client = %identity.client, "its TM is gone: rolled back early");
            }
        }
    }

    /// Whether the process has a connection to any node, or may have one.
    async fn may_live(&self, identity: &Identity, ip: IpAddr) -> bool {
        if quorate_world::bug!("lost_tm_is_not_looked_for") {
            return false;
        }
        if self.channels.has_process(&identity.application, ip) {
            return true;
        }
        let others: Vec<_> =
            self.routing.borrow().nodes().map(|node| node.id).filter(|node| *node != self.node).collect();
        for node in others {
            let query = Query::HasProcess(ProcessV1 { application: identity.application.to_string(), ip });
            match nodes::ask(&*self.nodes, node, GroupId::META, &query, ANSWER_PATIENCE).await {
                Ok(Response::Heard(false)) => {}
                Ok(_) | Err(_) => {
                    quorate_core::sometimes!("node_did_not_deny_that_a_tm_lives");
                    return true;
                }
            }
        }
        false
    }
}
