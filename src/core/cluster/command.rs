//! What a log entry of the meta group can say, and what comes of it.
//!
//! Persisted: variants are added at the end and structs never change (`codec::persisted`).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::member::{Addresses, ClusterId, DiskId, GroupKey, IdentityRefusal, Standing, StartEpoch, StartId};
use super::migration::Phase;
use crate::model::{Epoch, GroupId, NodeId, SLOTS, Slot, limits};
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
    /// A node with an empty folder wants to join: give it a number.
    AdmitNode(AdmitNodeV1),
    /// What the cluster wants of a node from now on.
    SetStanding(SetStandingV1),
    /// A node that should go carries nothing any more: it is no member, and its disk is never let in again.
    ForgetNode(NodeId),
    /// A group goes to these nodes. Given anew, it replaces the wish before.
    PlaceGroup(PlaceGroupV1),
    /// Whether this wish is still the one to carry out: asked before each step of it. Changes nothing.
    AskToMove(WishV1),
    /// The group's voters are the ones that were wished.
    GroupPlaced(WishV1),
    /// Whether a former replica may be wiped: once a group votes without it. Changes nothing.
    AskToLeave(ReplicaV1),
    /// A former replica has wiped what it had of the group.
    ReplicaGone(ReplicaV1),
    /// There is one more data group, with a number of its own; it owns no slot yet.
    AddGroup(AddGroupV1),
    /// A group that owns no slot and takes part in no migration goes: all its replicas are former ones from now on, and
    /// when the last of them is wiped it is no more.
    RemoveGroup(GroupId),
    /// These slots are to move: each attempt has an epoch of its own from now on. All of them or none.
    StartMigrations(StartMigrationsV1),
    /// The target has a copy of the slot, and serves nothing of it yet.
    MigrationInstalled(AttemptV1),
    /// The target owns the slot from now on; there is no way back.
    SwitchSlot(AttemptV1),
    /// The target serves the slot, and the source has dropped it.
    MigrationDone(AttemptV1),
    /// The attempt is given up, which is possible until the switch.
    AbortMigration(AttemptV1),
    /// The source serves the slot again, and the target has thrown its copy away.
    MigrationUndone(AttemptV1),
    /// The slots are to be spread over the groups like this. Given anew, it replaces the wish before.
    Reshard(ReshardV1),
    /// The wish with this name is fulfilled, or given up: no slot starts to move for it any more.
    EndReshard(u64),
}

/// See [`MetaCommand::Reshard`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReshardV1 {
    /// Who proposes the owners.
    pub strategy: StrategyV1,
    /// Groups that are to keep none, and are then removed; ascending.
    pub leaving: Vec<GroupId>,
}

/// How slots are spread over groups ([`sharding`]).
///
/// [`sharding`]: super::sharding
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum StrategyV1 {
    /// The ring.
    ConsistentHash,
    /// Slot modulo number of groups.
    Modulo,
    /// A table.
    Explicit(Vec<RangeV1>),
}

/// A line of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RangeV1 {
    /// First slot.
    pub first: u16,
    /// Last slot, included.
    pub last: u16,
    /// The owner.
    pub group: GroupId,
}

/// See [`MetaCommand::AddGroup`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddGroupV1 {
    /// Asked twice, the group is the same.
    pub key: GroupKey,
    /// Its name; may be empty. A group that has one stays where it is placed.
    pub label: String,
    /// The preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// See [`MetaCommand::StartMigrations`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StartMigrationsV1 {
    /// The highest epoch of the picture that this was planned by. The first slot gets the epoch after it, the second the one
    /// after that, and so on; if others were given out since, it is refused.
    pub after: Epoch,
    /// At least one, each slot once.
    pub slots: Vec<SlotTargetV1>,
}

/// Where a slot is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SlotTargetV1 {
    /// Which.
    pub slot: Slot,
    /// The group that is to own it.
    pub target: GroupId,
}

/// One attempt to move a slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct AttemptV1 {
    /// Which slot.
    pub slot: Slot,
    /// Which attempt; no other one of any slot has it.
    pub epoch: Epoch,
}

/// See [`MetaCommand::AdmitNode`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdmitNodeV1 {
    /// Its disk: asked twice, the number is the same.
    pub disk: DiskId,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// See [`MetaCommand::SetStanding`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetStandingV1 {
    /// Which.
    pub node: NodeId,
    /// What is wanted of it.
    pub standing: Standing,
}

/// See [`MetaCommand::PlaceGroup`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlaceGroupV1 {
    /// Which.
    pub group: GroupId,
    /// The preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// A wish that a group moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WishV1 {
    /// Which group.
    pub group: GroupId,
    /// The picture number with which it was wished.
    pub since: u64,
}

/// One node's replica of one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplicaV1 {
    /// The group.
    pub group: GroupId,
    /// The node.
    pub node: NodeId,
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
    /// The number of a node that joins.
    Admitted {
        /// Its number.
        node: NodeId,
        /// The picture number after it.
        picture: u64,
    },
    /// The number of a group that was added.
    Added {
        /// Its number.
        group: GroupId,
        /// The picture number after it.
        picture: u64,
    },
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
    /// It was a member once.
    #[error("node {0} was removed from this cluster; an empty data folder joins as a new node")]
    Removed(NodeId),
    /// A node needs addresses of its own.
    #[error(
        "node {0} is reached at one of these addresses already; if its disk is gone, say `quorate ctl node replace {0}` first"
    )]
    AddressTaken(NodeId),
    /// 64 nodes.
    #[error("the cluster has as many nodes as it can have")]
    Full,
    /// The replicas of some group would have no place.
    #[error("{left} nodes would be left for groups with {replicas} replicas; let another node join first")]
    TooFew {
        /// Nodes that would still carry groups.
        left: u32,
        /// What the largest group needs.
        replicas: u32,
    },
    /// Nothing of the kind is asked of this node.
    #[error("node {node} is {standing}: it cannot be made {wanted}")]
    Standing {
        /// Whose.
        node: NodeId,
        /// What is wanted of it.
        standing: Standing,
        /// What was asked.
        wanted: Standing,
    },
    /// A node that should go still carries groups, or should not go.
    #[error("node {0} still belongs to the cluster")]
    StillThere(NodeId),
    /// Never heard of, or the meta group.
    #[error("there is no data group {0}")]
    UnknownGroup(GroupId),
    /// The wish does not fit what is there: nodes that carry nothing now, a former replica, or an outdated wish.
    #[error("group {0} cannot be placed so now")]
    Placement(GroupId),
    /// Another disk was given a number at one of these addresses and has not started yet.
    #[error("node {0} is joining from one of these addresses; unless it starts it is forgotten in some minutes")]
    Joining(NodeId),
    /// A group cannot come or go so.
    #[error(transparent)]
    Group(GroupFault),
    /// A slot cannot move so.
    #[error(transparent)]
    Migration(MigrationFault),
    /// Slots cannot be spread so.
    #[error(transparent)]
    Reshard(ReshardFault),
}

/// Why slots are not spread as somebody wishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum ReshardFault {
    /// All would go.
    #[error("no group would be left to own the slots")]
    NoGroup,
    /// More groups than slots, or a table that does not cover each slot once with groups that stay.
    #[error(
        "the strategy does not fit the groups: a table must give each of the {SLOTS} slots to a group that stays, and each of those some"
    )]
    Strategy,
}

/// Why a group does not come, does not go, or takes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum GroupFault {
    /// As many as there may be, now or in the life of a cluster.
    #[error(
        "there are {} data groups, or {} were numbered ever: no more may be",
        limits::DATA_GROUPS_MAX,
        limits::GROUP_NUMBERS_MAX
    )]
    Full,
    /// Too long.
    #[error("the label of a group may have {} bytes", limits::GROUP_LABEL_BYTES_MAX)]
    Label,
    /// It still has something to do.
    #[error("group {group} owns {slots} slots and takes part in {migrations} migrations; move its slots away first")]
    InUse {
        /// Which.
        group: GroupId,
        /// Slots that it owns.
        slots: u32,
        /// Migrations with it as source or target.
        migrations: u32,
    },
    /// Its replicas are being wiped, or it is no more.
    #[error("group {0} is being removed, or was")]
    Removed(GroupId),
}

/// Why a slot does not move, or an attempt does not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum MigrationFault {
    /// Not planned by the present picture.
    #[error("migrations were started since this was planned: the last one has epoch {last}")]
    Outdated {
        /// The highest epoch now.
        last: Epoch,
    },
    /// No slot, a slot twice, or one beyond the last.
    #[error("a list of migrations must name 1 to {SLOTS} slots, each once, from 0 to {}", SLOTS - 1)]
    List,
    /// One at a time.
    #[error("slot {slot} is moving already, with epoch {epoch}")]
    Moving {
        /// Which.
        slot: Slot,
        /// The attempt under way.
        epoch: Epoch,
    },
    /// There is nothing to move.
    #[error("slot {slot} belongs to group {group} already")]
    Owned {
        /// Which.
        slot: Slot,
        /// Its owner.
        group: GroupId,
    },
    /// The attempt is not where this could follow.
    #[error("the migration of slot {slot} with epoch {epoch} is {phase}")]
    Phase {
        /// Which slot.
        slot: Slot,
        /// Which attempt.
        epoch: Epoch,
        /// How far it is.
        phase: Phase,
    },
    /// An attempt that has come to its end otherwise, or that never was.
    #[error("slot {slot} is not moving with epoch {epoch}")]
    Over {
        /// Which slot.
        slot: Slot,
        /// Which attempt.
        epoch: Epoch,
    },
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

    fn command(command: &MetaCommand) -> Vec<u8> {
        codec::encode(command).expect("small")
    }

    fn outcome(outcome: &MetaOutcome) -> Vec<u8> {
        codec::encode(outcome).expect("small")
    }

    fn lines_of_groups() -> Vec<(&'static str, Vec<u8>)> {
        let group = GroupId(3);
        let replicas = alloc::vec![NodeId(4), NodeId(1)];
        let add = AddGroupV1 { key: GroupKey([6; 16]), label: "east".into(), replicas };
        let fault = |fault| outcome(&MetaOutcome::Refused(MetaRefusal::Group(fault)));
        alloc::vec![
            ("add_group", command(&MetaCommand::AddGroup(add))),
            ("remove_group", command(&MetaCommand::RemoveGroup(group))),
            ("added", outcome(&MetaOutcome::Added { group, picture: 77 })),
            ("refused_group_full", fault(GroupFault::Full)),
            ("refused_group_label", fault(GroupFault::Label)),
            ("refused_group_in_use", fault(GroupFault::InUse { group, slots: 300, migrations: 2 })),
            ("refused_group_removed", fault(GroupFault::Removed(group))),
        ]
    }

    fn lines_of_migrations() -> Vec<(&'static str, Vec<u8>)> {
        let (group, slot, epoch, last) = (GroupId(3), Slot(4095), Epoch(300), Epoch(301));
        let to = |slot, target| SlotTargetV1 { slot: Slot(slot), target: GroupId(target) };
        let start = StartMigrationsV1 { after: epoch, slots: alloc::vec![to(7, 2), to(4095, 3)] };
        let attempt = AttemptV1 { slot, epoch };
        let fault = |fault| outcome(&MetaOutcome::Refused(MetaRefusal::Migration(fault)));
        let phase = |phase| fault(MigrationFault::Phase { slot, epoch, phase });
        alloc::vec![
            ("start_migrations", command(&MetaCommand::StartMigrations(start))),
            ("migration_installed", command(&MetaCommand::MigrationInstalled(attempt))),
            ("switch_slot", command(&MetaCommand::SwitchSlot(attempt))),
            ("migration_done", command(&MetaCommand::MigrationDone(attempt))),
            ("abort_migration", command(&MetaCommand::AbortMigration(attempt))),
            ("migration_undone", command(&MetaCommand::MigrationUndone(attempt))),
            ("refused_migration_outdated", fault(MigrationFault::Outdated { last })),
            ("refused_migration_list", fault(MigrationFault::List)),
            ("refused_migration_moving", fault(MigrationFault::Moving { slot, epoch })),
            ("refused_migration_owned", fault(MigrationFault::Owned { slot, group })),
            ("refused_migration_started", phase(Phase::Started)),
            ("refused_migration_installed", phase(Phase::Installed)),
            ("refused_migration_switched", phase(Phase::Switched)),
            ("refused_migration_aborting", phase(Phase::Aborting)),
            ("refused_migration_over", fault(MigrationFault::Over { slot, epoch })),
        ]
    }

    fn lines_of_resharding() -> Vec<(&'static str, Vec<u8>)> {
        let reshard =
            |strategy| command(&MetaCommand::Reshard(ReshardV1 { strategy, leaving: alloc::vec![GroupId(3)] }));
        let table = alloc::vec![RangeV1 { first: 0, last: 4095, group: GroupId(2) }];
        let fault = |fault| outcome(&MetaOutcome::Refused(MetaRefusal::Reshard(fault)));
        alloc::vec![
            ("reshard_ring", reshard(StrategyV1::ConsistentHash)),
            ("reshard_modulo", reshard(StrategyV1::Modulo)),
            ("reshard_table", reshard(StrategyV1::Explicit(table))),
            ("end_reshard", command(&MetaCommand::EndReshard(300))),
            ("refused_reshard_nobody", fault(ReshardFault::NoGroup)),
            ("refused_reshard_strategy", fault(ReshardFault::Strategy)),
        ]
    }

    #[test]
    fn the_bytes_of_each_variant_never_change() {
        let small = FoundClusterV1 { slots: alloc::vec![GroupId(1), GroupId(2)], ..founding() };
        let which = NodeV1 { node: NodeId(3), epoch: StartEpoch(300) };
        let identity = |refusal| MetaOutcome::Refused(MetaRefusal::Identity(refusal));
        let fault = |fault| MetaOutcome::Refused(MetaRefusal::Founding(fault));
        let (node, known) = (NodeId(2), StartEpoch(5));
        let placed = PlaceGroupV1 { group: GroupId(3), replicas: alloc::vec![NodeId(4), NodeId(1)] };
        let (replica, wish) = (ReplicaV1 { group: GroupId(3), node }, WishV1 { group: GroupId(3), since: 300 });
        let refused = |refusal| codec::encode(&MetaOutcome::Refused(refusal)).expect("small");
        let (standing, wanted) = (Standing::Removing, Standing::Draining);
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
            (
                "admit_node",
                command(MetaCommand::AdmitNode(AdmitNodeV1 {
                    disk: DiskId([4; 16]),
                    addresses: started(2, 5).addresses,
                })),
            ),
            ("set_standing", command(MetaCommand::SetStanding(SetStandingV1 { node, standing: Standing::Lost }))),
            ("forget_node", command(MetaCommand::ForgetNode(node))),
            ("place_group", command(MetaCommand::PlaceGroup(placed))),
            ("ask_to_move", command(MetaCommand::AskToMove(wish))),
            ("group_placed", command(MetaCommand::GroupPlaced(wish))),
            ("ask_to_leave", command(MetaCommand::AskToLeave(replica))),
            ("replica_gone", command(MetaCommand::ReplicaGone(replica))),
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
            ("refused_removed", refused(MetaRefusal::Removed(node))),
            ("refused_address_taken", refused(MetaRefusal::AddressTaken(node))),
            ("refused_full", refused(MetaRefusal::Full)),
            ("refused_too_few", refused(MetaRefusal::TooFew { left: 2, replicas: 3 })),
            ("refused_standing", refused(MetaRefusal::Standing { node, standing, wanted })),
            ("refused_still_there", refused(MetaRefusal::StillThere(node))),
            ("refused_unknown_group", refused(MetaRefusal::UnknownGroup(GroupId(9)))),
            ("refused_placement", refused(MetaRefusal::Placement(GroupId(9)))),
            ("refused_joining", refused(MetaRefusal::Joining(node))),
            ("admitted", outcome(MetaOutcome::Admitted { node, picture: 77 })),
        ];
        let lines =
            lines.into_iter().chain(lines_of_groups()).chain(lines_of_migrations()).chain(lines_of_resharding());
        let lines: String = lines.map(|(name, bytes)| format!("{name} {}\n", hex(&bytes))).collect();
        let golden: String =
            GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| line.to_string() + "\n").collect();
        assert_eq!(golden, lines, "tests/golden/meta.txt against what is written today");
    }
}
