//! The founding as a value: who, which groups where, which slots whose.
//!
//! Pure: it is made from the configuration and what the founders said, and the meta group checks it again when it is
//! applied.

use std::collections::BTreeMap;

use quorate_core::cluster::command::{FoundClusterV1, GroupV1, NodeStartedV1};
use quorate_core::cluster::routing::BIRTH_ZERO_MS;
use quorate_core::cluster::sharding::{ConsistentHash, Modulo, ShardingError, ShardingStrategy, Weighted};
use quorate_core::cluster::{ClusterId, placement};
use quorate_core::model::{GroupId, NodeId};

use crate::config::{Config, Sharding};

/// The first command of a cluster.
pub fn founding(
    config: &Config,
    cluster: ClusterId,
    birth_ms: u64,
    founders: &BTreeMap<NodeId, NodeStartedV1>,
) -> Result<FoundClusterV1, ShardingError> {
    let groups: Vec<GroupId> = (1..=config.groups).map(GroupId).collect();
    let nodes: Vec<NodeId> = founders.keys().copied().collect();
    let named = || groups.iter().copied().zip(&config.groups_at);
    let fixed = named().map(|(group, at)| (group, at.replicas.clone())).collect();
    let labels: BTreeMap<GroupId, &str> = named().map(|(group, at)| (group, at.name.as_str())).collect();
    let placed = placement::place(&nodes, &groups, config.replicas as usize, &fixed);
    Ok(FoundClusterV1 {
        cluster,
        birth_ms: birth_ms.max(BIRTH_ZERO_MS),
        nodes: founders.values().cloned().collect(),
        groups: placed
            .into_iter()
            .map(|(group, replicas)| {
                let label = labels.get(&group).copied().unwrap_or_default().to_owned();
                GroupV1 { group, label, replicas }
            })
            .collect(),
        slots: slots(&config.sharding, &groups)?,
    })
}

fn slots(sharding: &Sharding, groups: &[GroupId]) -> Result<Vec<GroupId>, ShardingError> {
    let weighted: Vec<Weighted> = groups.iter().map(|group| Weighted { group: *group, weight: 1 }).collect();
    match sharding {
        Sharding::ConsistentHash => ConsistentHash.assign(&weighted),
        Sharding::Modulo => Modulo.assign(&weighted),
        Sharding::Explicit(table) => Ok(table.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::cluster::{Addresses, DiskId, Meta, MetaBatch, MetaCommand, MetaOutcome, StartEpoch, StartId};
    use quorate_core::txn::Stamp;

    fn founders(count: u64) -> BTreeMap<NodeId, NodeStartedV1> {
        let founder = |node| NodeStartedV1 {
            node: NodeId(node),
            disk: DiskId([node as u8; 16]),
            epoch: StartEpoch(1),
            start: StartId([node as u8; 16]),
            addresses: Addresses::default(),
        };
        (1..=count).map(|node| (NodeId(node), founder(node))).collect()
    }

    fn planned(toml: &str, count: u64) -> FoundClusterV1 {
        let config = Config::from_toml(toml).expect("a legal configuration");
        founding(&config, ClusterId([1; 16]), 5, &founders(count)).expect("a plan")
    }

    /// What is planned must be what the meta group takes.
    fn accepted(plan: &FoundClusterV1) -> Meta {
        let mut meta = Meta::new();
        let batch = MetaBatch { stamp: Stamp::default(), commands: vec![MetaCommand::FoundCluster(plan.clone())] };
        assert_eq!(meta.apply(&batch), [MetaOutcome::Done { picture: 1 }]);
        meta
    }

    const THREE: &str = "node_id = 1\npeers = \"1=a:9091,2=b:9091,3=c:9091\"\n";

    #[test]
    fn one_node_carries_all_groups() {
        let plan = planned("", 1);
        assert_eq!(plan.groups.len(), 8);
        assert!(plan.groups.iter().all(|group| group.replicas == [NodeId(1)]));
        assert_eq!(plan.birth_ms, BIRTH_ZERO_MS);
        accepted(&plan);
    }

    #[test]
    fn three_nodes_share_the_leaders() {
        let meta = accepted(&planned(THREE, 3));
        let leaders = |node| meta.routing().groups().filter(|(_, route)| route.replicas[0] == NodeId(node)).count();
        assert_eq!([1, 2, 3].map(leaders), [3, 3, 2]);
    }

    #[test]
    fn named_groups_keep_name_and_place() {
        let toml = format!("{THREE}[groups_at]\nwest = \"c:9091,a:9091,b:9091\"\neast = \"b:9091,a:9091,c:9091\"\n");
        let plan = planned(&toml, 3);
        let labels: Vec<&str> = plan.groups.iter().map(|group| group.label.as_str()).collect();
        assert_eq!(labels, ["east", "west"]);
        assert_eq!(plan.groups[1].replicas, [3, 1, 2].map(NodeId));
        accepted(&plan);
    }

    #[test]
    fn the_strategy_of_the_configuration_is_used() {
        let plan = planned("groups = 2\n[sharding]\nstrategy = \"modulo\"\n", 1);
        assert_eq!(plan.slots[..3], [GroupId(1), GroupId(2), GroupId(1)]);
        accepted(&plan);
    }
}
