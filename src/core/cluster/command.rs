//! What a log entry of the meta group can say, and what comes of it.
//!
//! Persisted: variants are added at the end and structs never change (`codec::persisted`).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::member::{Addresses, ClusterId, DiskId, IdentityRefusal, StartEpoch, StartId};
use crate::model::{GroupId, NodeId, limits};
use crate::txn::Stamp;

/// One log entry of group 0: commands applied in order, each with an outcome of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MetaBatch {
    /// When its leader proposed it. The meta group decides nothing by time.
    pub stamp: Stamp,
    /// At least one.
    pub commands: Vec<MetaCommand>,
}

/// One change of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MetaCommand {
    /// The first command of a cluster. Refused if there is one already.
    FoundCluster(FoundClusterV1),
    /// A node has started; its own first word.
    NodeStarted(NodeStartedV1),
    /// Nothing has been heard of this start of a node for two election timeouts.
    NodeSilent(NodeV1),
    /// This start of a node is heard again.
    NodeReturned(NodeV1),
    /// A transaction service group is served by this unit of this cluster from now on.
    MapVgroup(VgroupV1),
    /// A transaction service group is mapped no longer.
    UnmapVgroup(VgroupNameV1),
}

/// See [`MetaCommand::FoundCluster`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FoundClusterV1 {
    /// Drawn by the founder.
    pub cluster: ClusterId,
    /// Wall time of the founder, ms since 1970; the id counters start from it.
    pub birth_ms: u64,
    /// All founders, ascending by id.
    pub nodes: Vec<NodeStartedV1>,
    /// All data groups, ascending by id.
    pub groups: Vec<GroupV1>,
    /// The owner of each slot, by slot number; 4096 of them.
    pub slots: Vec<GroupId>,
}

/// A data group at founding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupV1 {
    /// Its id, from 1.
    pub group: GroupId,
    /// Its name in the configuration; may be empty.
    pub label: String,
    /// The preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// See [`MetaCommand::NodeStarted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeStartedV1 {
    /// Which.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// The number of this start.
    pub epoch: StartEpoch,
    /// The random id of this start.
    pub start: StartId,
    /// Where it is reached from now on.
    pub addresses: Addresses,
}

/// One start of a node. A word about an earlier start changes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeV1 {
    /// Which.
    pub node: NodeId,
    /// Which start of it.
    pub epoch: StartEpoch,
}

/// Where the transactions of a transaction service group are served: what Seata's naming server is told of a node. Nothing
/// here routes by it, for every node serves every group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VgroupV1 {
    /// The transaction service group.
    pub vgroup: String,
    /// Name of the cluster, as discovery shows it.
    pub cluster: String,
    /// Name of the unit.
    pub unit: String,
}

/// Names a transaction service group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VgroupNameV1 {
    /// The transaction service group.
    pub vgroup: String,
}

/// The outcome of one command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MetaOutcome {
    /// It holds now, or held before.
    Done {
        /// The picture number after it.
        picture: u64,
    },
    /// Nothing changed.
    Refused(MetaRefusal),
}

/// Why a command changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum MetaRefusal {
    /// A cluster is founded once.
    #[error("the cluster {0} was founded before")]
    Founded(ClusterId),
    /// Nothing before the founding.
    #[error("there is no cluster yet")]
    NotFounded,
    /// Never heard of, or removed.
    #[error("node {0} is no member of this cluster")]
    UnknownNode(NodeId),
    /// A stranger under a known id.
    #[error(transparent)]
    Identity(IdentityRefusal),
    /// A founding that would not work.
    #[error("the founding is wrong: {0}")]
    Founding(FoundingFault),
    /// A mapping beyond a bound.
    #[error(transparent)]
    Vgroup(VgroupFault),
}

/// What is wrong with the mapping of a transaction service group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum VgroupFault {
    /// Empty, or too long.
    #[error("vGroup, cluster and unit must have 1 to {} bytes each", limits::VGROUP_NAME_BYTES_MAX)]
    Name,
    /// There are as many as there may be.
    #[error("{} transaction service groups are mapped, and no more may be; remove one first", limits::VGROUPS_MAX)]
    TooMany,
}

/// What is wrong with a founding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum FoundingFault {
    /// No node, more than 64, id 0 or beyond 2^32-1, an id twice, or two that are equal modulo 64.
    #[error("node ids must be 1 to 4294967295, at most 64 of them, no two equal modulo 64")]
    Nodes,
    /// No group, more than 1,024, group 0, or an id twice.
    #[error("groups must count from 1 to at most 1024")]
    Groups,
    /// A group without replicas, or on a node that is not there or there twice.
    #[error("the replicas of group {0} are not distinct founders")]
    Replicas(GroupId),
    /// Not 4096 slots, or one of an unknown group.
    #[error("every one of the 4096 slots must belong to a group")]
    Slots,
}

#[cfg(test)]
mod tests {
    use super::super::meta::tests::{founding, started};
    use super::*;
    use crate::codec;
    use alloc::format;
    use std::string::ToString;

    const GOLDEN: &str = include_str!("../../../tests/golden/meta.txt");

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_each_variant_never_change() {
        let small = FoundClusterV1 { slots: alloc::vec![GroupId(1), GroupId(2)], ..founding() };
        let which = NodeV1 { node: NodeId(3), epoch: StartEpoch(300) };
        let identity = |refusal| MetaOutcome::Refused(MetaRefusal::Identity(refusal));
        let fault = |fault| MetaOutcome::Refused(MetaRefusal::Founding(fault));
        let (node, known) = (NodeId(2), StartEpoch(5));
        let command = |command: MetaCommand| codec::encode(&command).expect("small");
        let outcome = |outcome: MetaOutcome| codec::encode(&outcome).expect("small");
        let vgroup = VgroupV1 { vgroup: "shop".into(), cluster: "default".into(), unit: "u1".into() };
        let lines = [
            ("found_cluster", command(MetaCommand::FoundCluster(small))),
            ("node_started", command(MetaCommand::NodeStarted(started(2, 5)))),
            ("node_silent", command(MetaCommand::NodeSilent(which))),
            ("node_returned", command(MetaCommand::NodeReturned(which))),
            ("map_vgroup", command(MetaCommand::MapVgroup(vgroup))),
            ("unmap_vgroup", command(MetaCommand::UnmapVgroup(VgroupNameV1 { vgroup: "shop".into() }))),
            ("done", outcome(MetaOutcome::Done { picture: 77 })),
            ("refused_founded", outcome(MetaOutcome::Refused(MetaRefusal::Founded(ClusterId([7; 16]))))),
            ("refused_not_founded", outcome(MetaOutcome::Refused(MetaRefusal::NotFounded))),
            ("refused_unknown_node", outcome(MetaOutcome::Refused(MetaRefusal::UnknownNode(node)))),
            ("refused_other_disk", outcome(identity(IdentityRefusal::OtherDisk { node, known: DiskId([1; 16]) }))),
            ("refused_older_epoch", outcome(identity(IdentityRefusal::OlderEpoch { node, known }))),
            ("refused_running_clone", outcome(identity(IdentityRefusal::RunningClone { node, epoch: known }))),
            ("refused_founding_nodes", outcome(fault(FoundingFault::Nodes))),
            ("refused_founding_groups", outcome(fault(FoundingFault::Groups))),
            ("refused_founding_replicas", outcome(fault(FoundingFault::Replicas(GroupId(4))))),
            ("refused_founding_slots", outcome(fault(FoundingFault::Slots))),
            ("refused_vgroup_name", outcome(MetaOutcome::Refused(MetaRefusal::Vgroup(VgroupFault::Name)))),
            ("refused_vgroup_many", outcome(MetaOutcome::Refused(MetaRefusal::Vgroup(VgroupFault::TooMany)))),
        ];
        let lines: String = lines.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
        let golden: String =
            GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| line.to_string() + "\n").collect();
        assert_eq!(golden, lines, "tests/golden/meta.txt against what is written today");
    }
}
