//! Whether a Begin would be served: some group has a leader that serves, and this node can reach it, and its own log does not
//! wait for space or a file descriptor.

use std::sync::Arc;

use quorate_core::cluster::Routing;
use quorate_core::model::NodeId;
use quorate_core::txn::Transactions;
use quorate_raft::Replica;
use quorate_storage::Storage;
use quorate_world::time::{self, Duration, Instant};
use quorate_world::watch;

use super::groups::Groups;
use crate::coordinator::Coordinator;
use crate::peer::Peers;

/// Before the first time it is looked at this often: a start is to be seen at once.
const FIRST_LOOKS: Duration = Duration::from_millis(2);
/// By a node that is not ready after all that a start takes: others are away.
const SLOW_LOOKS: Duration = Duration::from_millis(20);
/// What a start takes, amply.
const START: Duration = Duration::from_secs(2);
/// Afterwards.
const LATER_LOOKS: Duration = Duration::from_millis(250);

/// What readiness is judged by.
pub struct Readiness {
    /// This node.
    pub node: NodeId,
    /// Its groups.
    pub groups: Arc<Groups>,
    /// What it leads.
    pub coordinator: Arc<Coordinator>,
    /// Whom it reaches.
    pub peers: Arc<Peers>,
    /// The picture.
    pub routing: watch::Receiver<Routing>,
    /// Its log.
    pub storage: Storage,
}

impl Readiness {
    /// Keeps `ready` true while a Begin would be served. For ever.
    pub async fn watch(self, ready: watch::Sender<bool>) {
        let (mut looks, began) = (FIRST_LOOKS, Instant::now());
        loop {
            let now = self.is_ready();
            ready.modify_if(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            if !now && looks == LATER_LOOKS {
                quorate_core::sometimes!("node_that_was_ready_is_not");
            }
            if now {
                looks = LATER_LOOKS;
            } else if began.elapsed() > START {
                looks = looks.max(SLOW_LOOKS);
            }
            time::sleep(looks).await;
        }
    }

    fn is_ready(&self) -> bool {
        if self.storage.is_waiting() {
            return false;
        }
        let leads = self.coordinator.leads();
        let open = self.groups.open();
        if open.is_empty() {
            return self.carries_none_and_reaches_others();
        }
        open.values().any(|replica| {
            let serves = |replica: &Replica<Transactions>| {
                let led_here = leads.iter().any(|(group, _)| *group == replica.group());
                led_here || self.is_led_elsewhere(replica)
            };
            replica.read(|transactions| transactions.slots().next().is_some()) && serves(replica)
        })
    }

    /// A leader elsewhere serves when its first entry of the term is applied here.
    fn is_led_elsewhere(&self, replica: &Replica<Transactions>) -> bool {
        let now = *replica.leadership().borrow();
        now.leader.is_some_and(|leader| leader != self.node && self.reaches(leader))
            && replica.read(|transactions| transactions.tenure() == now.term)
    }

    fn reaches(&self, node: NodeId) -> bool {
        self.peers.contacts().get(&node).is_some_and(|contact| contact.connected)
    }

    fn carries_none_and_reaches_others(&self) -> bool {
        let routing = self.routing.borrow();
        let mut groups = routing.groups();
        groups
            .any(|(_, route)| !route.replicas.contains(&self.node) && route.replicas.iter().any(|on| self.reaches(*on)))
    }
}
