//! Says in the log when the health of a group changes: the alert that needs no setup.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use quorate_core::cluster::health::Health;
use quorate_core::model::GroupId;
use quorate_world::time::{self, Duration};

use super::Parts;

/// Watches the groups of this node, for ever. A group is unknown until it is first seen.
pub async fn watch(parts: Arc<OnceLock<Parts>>, every: Duration) {
    let mut before: BTreeMap<GroupId, Health> = BTreeMap::new();
    loop {
        time::sleep(every).await;
        let Some(parts) = parts.get() else { continue };
        for seen in parts.shown.groups() {
            let was = before.insert(seen.group, seen.health).unwrap_or(Health::Unknown);
            tell(seen.group, was, seen.health);
        }
    }
}

fn tell(group: GroupId, was: Health, health: Health) {
    if was != health && was != Health::Unknown {
        match health {
            Health::Healthy => quorate_core::sometimes!("group_is_healthy_again"),
            Health::FollowerDown => quorate_core::sometimes!("group_misses_a_follower"),
            Health::Unknown => quorate_core::sometimes!("group_becomes_unknown"),
            Health::LeaderDown => quorate_core::sometimes!("group_has_no_leader"),
            Health::NetworkPartition => quorate_core::sometimes!("group_is_partitioned"),
            Health::QuorumLost => quorate_core::sometimes!("group_has_lost_its_quorum"),
        }
    }
    match (was, health) {
        (was, health) if was == health => {}
        (Health::Unknown, Health::Healthy) => tracing::debug!(%group, "the group is HEALTHY"),
        (was, Health::Healthy) => tracing::info!(%group, %was, "the group is HEALTHY again"),
        (was, health) => tracing::warn!(%group, %was, %health, "the health of the group has changed"),
    }
}
