//! Carries out what `cluster::balance` plans: leaders go home to their preferred nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::cluster::Routing;
use quorate_core::cluster::balance::{Led, moves};
use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::Transactions;
use quorate_raft::{Health, Progress, Replica, Role};
use quorate_world::time::{self, Duration, Instant};
use quorate_world::watch;

use super::groups::Groups;

/// A follower this many entries behind has caught up: the rest comes with the handover.
const BEHIND_MAX: u64 = 256;

/// Hands leaders over, for ever.
pub async fn keep(groups: Arc<Groups>, node: NodeId, routing: watch::Receiver<Routing>, election_timeout: Duration) {
    let mut moved: BTreeMap<GroupId, Instant> = BTreeMap::new();
    loop {
        time::sleep(election_timeout).await;
        let open = groups.open();
        let led: Vec<Led> = open.values().filter_map(|replica| led(replica, &moved, election_timeout)).collect();
        let planned = moves(&routing.borrow(), node, &led);
        for handover in planned {
            if let Some(replica) = open.get(&handover.group) {
                tracing::info!(group = %handover.group, to = %handover.to, "handing the group over to its preferred leader");
                quorate_core::sometimes!("group_is_handed_to_its_preferred_leader");
                moved.insert(handover.group, Instant::now());
                replica.transfer(handover.to).await;
            }
        }
    }
}

fn led(replica: &Replica<Transactions>, moved: &BTreeMap<GroupId, Instant>, election_timeout: Duration) -> Option<Led> {
    let health = replica.health();
    let group = replica.group();
    let moved_ms_ago = moved.get(&group).map(|at| at.elapsed().as_millis() as u64);
    (health.role == Role::Leader).then(|| Led { group, caught_up: caught_up(&health, election_timeout), moved_ms_ago })
}

/// The followers that could take over now.
pub fn caught_up(health: &Health, election_timeout: Duration) -> Vec<NodeId> {
    let followers = health
        .others
        .iter()
        .filter(|(node, progress)| health.members.voters.contains(node) && is_near(health, progress, election_timeout));
    followers.map(|(node, _)| *node).collect()
}

/// Whether a replica is heard, and its log ends where the leader's does, or nearly.
pub fn is_near(health: &Health, progress: &Progress, election_timeout: Duration) -> bool {
    let last = health.last_log_index.unwrap_or(0);
    progress.matched.is_some_and(|matched| matched.index.0 + BEHIND_MAX >= last)
        && progress.silent_for.is_some_and(|silent| silent < election_timeout)
}
