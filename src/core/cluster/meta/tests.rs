//! The meta state machine: founding, starts, silence, refusals, and that replay gives equal bytes.

use super::super::command::{
    AddGroupV1, AdmitNodeV1, AttemptV1, PlaceGroupV1, RangeV1, ReplicaV1, ReshardV1, SetStandingV1, SlotTargetV1,
    StartMigrationsV1, StrategyV1, VgroupNameV1, WishV1,
};
use super::super::member::{Addresses, ClusterId, DiskId, GroupKey, IdentityRefusal, StartEpoch, StartId};
use super::super::routing::BIRTH_ZERO_MS;
use super::*;
use crate::model::Slot;
use crate::txn::Stamp;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

/// Says one word to the meta group.
pub(in super::super) fn say(meta: &mut Meta, command: MetaCommand) -> MetaOutcome {
    meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![command] }).remove(0)
}

/// Says a word that has to change something, and says it again: the same answer, and nothing changes.
pub(in super::super) fn done(meta: &mut Meta, command: MetaCommand) {
    let picture = meta.routing().picture() + 1;
    assert_eq!(say(meta, command.clone()), MetaOutcome::Done { picture }, "{command:?}");
    repeated(meta, command);
}

/// Says again what has been said: nothing changes.
pub(in super::super) fn repeated(meta: &mut Meta, command: MetaCommand) {
    let before = meta.clone();
    let picture = before.routing().picture();
    assert_eq!(say(meta, command.clone()), MetaOutcome::Done { picture }, "{command:?} again");
    assert_eq!(*meta, before, "{command:?} again");
}

/// Says what must not be taken: nothing changes.
pub(in super::super) fn refused(meta: &mut Meta, command: MetaCommand) -> MetaRefusal {
    let before = meta.clone();
    let outcome = say(meta, command.clone());
    assert_eq!(*meta, before, "{command:?} was refused");
    match outcome {
        MetaOutcome::Refused(refusal) => refusal,
        MetaOutcome::Done { .. } | MetaOutcome::Admitted { .. } | MetaOutcome::Added { .. } => {
            panic!("{command:?}: {outcome:?}")
        }
    }
}

pub(in super::super) fn started(node: u64, epoch: u64) -> NodeStartedV1 {
    NodeStartedV1 {
        node: NodeId(node),
        disk: DiskId([node as u8; 16]),
        epoch: StartEpoch(epoch),
        start: StartId([epoch as u8; 16]),
        addresses: Addresses { advertised: alloc::format!("10.0.0.{node}:8091"), ..Addresses::default() },
    }
}

pub(in super::super) fn founding() -> FoundClusterV1 {
    let group = |group, replicas: [u64; 3]| GroupV1 {
        group: GroupId(group),
        label: String::new(),
        replicas: replicas.map(NodeId).to_vec(),
    };
    FoundClusterV1 {
        cluster: ClusterId([7; 16]),
        birth_ms: BIRTH_ZERO_MS + 5,
        nodes: vec![started(1, 1), started(2, 1), started(3, 1)],
        groups: vec![group(1, [1, 2, 3]), group(2, [2, 3, 1])],
        slots: (0..SLOTS).map(|slot| GroupId(1 + u32::from(slot % 2))).collect(),
    }
}

fn apply(meta: &mut Meta, command: MetaCommand) -> MetaOutcome {
    let batch = MetaBatch { stamp: Stamp { clock_ms: 10, wall_ms: 0 }, commands: vec![command] };
    meta.apply(&batch).remove(0)
}

pub(in super::super) fn founded() -> Meta {
    let mut meta = Meta::new();
    assert_eq!(apply(&mut meta, MetaCommand::FoundCluster(founding())), MetaOutcome::Done { picture: 1 });
    meta
}

#[test]
fn a_founding_is_the_first_picture() {
    let meta = founded();
    let routing = meta.routing();
    assert_eq!(routing.cluster(), Some(ClusterId([7; 16])));
    assert_eq!(routing.group_of(Slot(4095)), Some(GroupId(2)));
    assert_eq!(routing.epoch_of(Slot(0)), Some(Epoch(1)));
    assert_eq!(routing.group_of(Slot(4096)), None);
    assert_eq!(routing.preferred_leader(GroupId(2)), Some(NodeId(2)));
    assert_eq!(routing.replicas(GroupId::META), [1, 2, 3].map(NodeId));
    assert_eq!(routing.slots_of(GroupId(1)).count(), 2048);
    assert_eq!(routing.first_sequence(), 5 << 8);
    assert_eq!(meta.clock_ms(), 10);
}

#[test]
fn a_cluster_is_founded_once() {
    let mut meta = founded();
    let before = meta.clone();
    let again = apply(&mut meta, MetaCommand::FoundCluster(founding()));
    assert_eq!(again, MetaOutcome::Refused(MetaRefusal::Founded(ClusterId([7; 16]))));
    assert_eq!(meta, before);
}

#[test]
fn a_wrong_founding_is_refused_with_its_reason() {
    let refused = |change: fn(&mut FoundClusterV1)| {
        let mut wrong = founding();
        change(&mut wrong);
        let mut meta = Meta::new();
        let outcome = apply(&mut meta, MetaCommand::FoundCluster(wrong));
        assert!(meta.routing().cluster().is_none());
        match outcome {
            MetaOutcome::Refused(MetaRefusal::Founding(fault)) => fault,
            MetaOutcome::Refused(_)
            | MetaOutcome::Done { .. }
            | MetaOutcome::Admitted { .. }
            | MetaOutcome::Added { .. } => panic!("{outcome:?}"),
        }
    };
    assert_eq!(refused(|wrong| wrong.nodes.clear()), FoundingFault::Nodes);
    assert_eq!(refused(|wrong| wrong.nodes[1] = started(65, 1)), FoundingFault::Nodes);
    assert_eq!(refused(|wrong| wrong.nodes[1] = started(1, 1)), FoundingFault::Nodes);
    assert_eq!(refused(|wrong| wrong.nodes[1] = started(1 << 32, 1)), FoundingFault::Nodes);
    assert_eq!(refused(|wrong| wrong.groups.clear()), FoundingFault::Groups);
    assert_eq!(refused(|wrong| wrong.groups[0].group = GroupId::META), FoundingFault::Groups);
    assert_eq!(refused(|wrong| wrong.groups[0].replicas.clear()), FoundingFault::Replicas(GroupId(1)));
    assert_eq!(refused(|wrong| wrong.groups[1].replicas[0] = NodeId(3)), FoundingFault::Replicas(GroupId(2)));
    assert_eq!(refused(|wrong| wrong.groups[1].replicas[0] = NodeId(9)), FoundingFault::Replicas(GroupId(2)));
    assert_eq!(refused(|wrong| wrong.slots.truncate(4095)), FoundingFault::Slots);
    assert_eq!(refused(|wrong| wrong.slots[9] = GroupId(3)), FoundingFault::Slots);
}

#[test]
fn nothing_comes_before_the_founding() {
    let mut meta = Meta::new();
    let outcome = apply(&mut meta, MetaCommand::NodeStarted(started(1, 1)));
    assert_eq!(outcome, MetaOutcome::Refused(MetaRefusal::NotFounded));
}

#[test]
fn a_start_is_a_change_and_its_repetition_none() {
    let mut meta = founded();
    assert_eq!(apply(&mut meta, MetaCommand::NodeStarted(started(2, 2))), MetaOutcome::Done { picture: 2 });
    assert_eq!(apply(&mut meta, MetaCommand::NodeStarted(started(2, 2))), MetaOutcome::Done { picture: 2 });
    assert_eq!(meta.routing().node(NodeId(2)).map(|node| node.epoch), Some(StartEpoch(2)));
}

#[test]
fn wiped_disks_old_copies_clones_and_strangers_are_refused() {
    let mut meta = founded();
    apply(&mut meta, MetaCommand::NodeStarted(started(2, 5)));
    let mut refusal = |change: fn(&mut NodeStartedV1)| {
        let mut word = started(2, 5);
        change(&mut word);
        let before = meta.clone();
        let outcome = apply(&mut meta, MetaCommand::NodeStarted(word));
        assert_eq!(meta, before);
        outcome
    };
    let identity = |refusal| MetaOutcome::Refused(MetaRefusal::Identity(refusal));
    let node = NodeId(2);
    let known = DiskId([2; 16]);
    assert_eq!(refusal(|word| word.disk = DiskId([0; 16])), identity(IdentityRefusal::OtherDisk { node, known }));
    let known = StartEpoch(5);
    assert_eq!(refusal(|word| word.epoch = StartEpoch(4)), identity(IdentityRefusal::OlderEpoch { node, known }));
    let clone = identity(IdentityRefusal::RunningClone { node, epoch: known });
    assert_eq!(refusal(|word| word.start = StartId([99; 16])), clone);
    assert_eq!(refusal(|word| word.node = NodeId(4)), MetaOutcome::Refused(MetaRefusal::UnknownNode(NodeId(4))));
}

#[test]
fn silence_is_of_one_start() {
    let mut meta = founded();
    let of = |epoch| NodeV1 { node: NodeId(3), epoch: StartEpoch(epoch) };
    assert_eq!(apply(&mut meta, MetaCommand::NodeSilent(of(1))), MetaOutcome::Done { picture: 2 });
    assert_eq!(apply(&mut meta, MetaCommand::NodeSilent(of(1))), MetaOutcome::Done { picture: 2 });
    assert!(meta.routing().node(NodeId(3)).is_some_and(|node| node.silent));
    assert_eq!(apply(&mut meta, MetaCommand::NodeStarted(started(3, 2))), MetaOutcome::Done { picture: 3 });
    // A late word about the start before.
    assert_eq!(apply(&mut meta, MetaCommand::NodeSilent(of(1))), MetaOutcome::Done { picture: 3 });
    assert!(meta.routing().node(NodeId(3)).is_some_and(|node| !node.silent));
    apply(&mut meta, MetaCommand::NodeSilent(of(2)));
    assert_eq!(apply(&mut meta, MetaCommand::NodeReturned(of(2))), MetaOutcome::Done { picture: 5 });
}

#[test]
fn service_groups_are_mapped_within_bounds() {
    let map = |vgroup: &str, unit: &str| {
        MetaCommand::MapVgroup(VgroupV1 { vgroup: vgroup.into(), cluster: "default".into(), unit: unit.into() })
    };
    let unmap = |vgroup: &str| MetaCommand::UnmapVgroup(VgroupNameV1 { vgroup: vgroup.into() });
    let refused = |fault| MetaOutcome::Refused(MetaRefusal::Vgroup(fault));
    let mut meta = Meta::new();
    for command in [map("shop", "u1"), unmap("shop")] {
        assert_eq!(apply(&mut meta, command), MetaOutcome::Refused(MetaRefusal::NotFounded));
    }
    let mut meta = founded();
    assert_eq!(apply(&mut meta, map("shop", "u1")), MetaOutcome::Done { picture: 2 });
    assert_eq!(apply(&mut meta, map("shop", "u1")), MetaOutcome::Done { picture: 2 }, "again, nothing");
    assert_eq!(apply(&mut meta, map("shop", "u2")), MetaOutcome::Done { picture: 3 }, "it moves");
    assert_eq!(apply(&mut meta, unmap("pay")), MetaOutcome::Done { picture: 3 }, "it is not there");
    let mapped: Vec<(&str, &str)> = meta.routing().vgroups().map(|(name, route)| (name, route.unit.as_str())).collect();
    assert_eq!(mapped, [("shop", "u2")]);
    let long = |bytes| "x".repeat(bytes);
    for (name, unit) in [("", "u"), ("a", ""), (&*long(256), "u"), ("a", &*long(256))] {
        assert_eq!(apply(&mut meta, map(name, unit)), refused(VgroupFault::Name));
    }
    for number in 2..=VGROUPS_MAX {
        apply(&mut meta, map(&alloc::format!("{number}-{}", long(240)), &long(255)));
    }
    assert_eq!(meta.routing().vgroups().count(), VGROUPS_MAX);
    assert_eq!(apply(&mut meta, map("one more", "u")), refused(VgroupFault::TooMany));
    let full = meta.routing().picture();
    assert_eq!(apply(&mut meta, map("shop", "u3")), MetaOutcome::Done { picture: full + 1 }, "it is there");
    assert_eq!(apply(&mut meta, unmap("shop")), MetaOutcome::Done { picture: full + 2 });
    assert_eq!(apply(&mut meta, map("one more", "u")), MetaOutcome::Done { picture: full + 3 });
}

/// Groups that come and go, and slots that move between them.
fn resharding() -> impl Strategy<Value = MetaCommand> {
    let attempt = || (0u16..4, 0u64..8).prop_map(|(slot, epoch)| AttemptV1 { slot: Slot(slot), epoch: Epoch(epoch) });
    let slots = proptest::collection::vec((0u16..4, 1u32..5), 0..3);
    prop_oneof![
        (0u8..3, proptest::collection::vec(1u64..5, 0..4)).prop_map(|(key, replicas)| {
            let replicas = replicas.into_iter().map(NodeId).collect();
            MetaCommand::AddGroup(AddGroupV1 { key: GroupKey([key; 16]), label: String::new(), replicas })
        }),
        (0u32..6).prop_map(|group| MetaCommand::RemoveGroup(GroupId(group))),
        (0u64..5, slots).prop_map(|(after, slots)| {
            let to = |(slot, target)| SlotTargetV1 { slot: Slot(slot), target: GroupId(target) };
            let slots = slots.into_iter().map(to).collect();
            MetaCommand::StartMigrations(StartMigrationsV1 { after: Epoch(after), slots })
        }),
        attempt().prop_map(MetaCommand::MigrationInstalled),
        attempt().prop_map(MetaCommand::SwitchSlot),
        attempt().prop_map(MetaCommand::MigrationDone),
        attempt().prop_map(MetaCommand::AbortMigration),
        attempt().prop_map(MetaCommand::MigrationUndone),
        (0u8..3, proptest::collection::vec(1u32..5, 0..3)).prop_map(|(strategy, leaving)| {
            let halves = |first, last, group| RangeV1 { first, last, group: GroupId(group) };
            let table = alloc::vec![halves(0, 99, 1), halves(100, 4095, 2)];
            let strategy = match strategy {
                0 => StrategyV1::ConsistentHash,
                1 => StrategyV1::Modulo,
                _ => StrategyV1::Explicit(table),
            };
            MetaCommand::Reshard(ReshardV1 { strategy, leaving: leaving.into_iter().map(GroupId).collect() })
        }),
        (0u64..40).prop_map(MetaCommand::EndReshard),
    ]
}

pub(in super::super) fn commands() -> impl Strategy<Value = MetaCommand> {
    let which = (0u64..5, 0u64..5);
    let replica =
        || (1u32..4, 0u64..7).prop_map(|(group, node)| ReplicaV1 { group: GroupId(group), node: NodeId(node) });
    let wish = || (1u32..4, 0u64..40).prop_map(|(group, since)| WishV1 { group: GroupId(group), since });
    let standing = prop_oneof![
        Just(Standing::Serving),
        Just(Standing::Admitted),
        Just(Standing::Draining),
        Just(Standing::Removing),
        Just(Standing::Lost)
    ];
    let changes = prop_oneof![
        (1u64..8).prop_map(|number| {
            let NodeStartedV1 { disk, addresses, .. } = started(number, 1);
            MetaCommand::AdmitNode(AdmitNodeV1 { disk, addresses })
        }),
        (0u64..7, standing)
            .prop_map(|(node, standing)| { MetaCommand::SetStanding(SetStandingV1 { node: NodeId(node), standing }) }),
        (0u64..7).prop_map(|node| MetaCommand::ForgetNode(NodeId(node))),
        (1u32..4, proptest::collection::vec(1u64..7, 0..4)).prop_map(|(group, replicas)| {
            let replicas = replicas.into_iter().map(NodeId).collect();
            MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(group), replicas })
        }),
        wish().prop_map(MetaCommand::AskToMove),
        wish().prop_map(MetaCommand::GroupPlaced),
        replica().prop_map(MetaCommand::AskToLeave),
        replica().prop_map(MetaCommand::ReplicaGone),
    ];
    prop_oneof![
        changes,
        resharding(),
        Just(MetaCommand::FoundCluster(founding())),
        (which.clone(), 0u8..2).prop_map(|((node, epoch), start)| {
            let mut word = started(node, epoch);
            word.start.0[0] ^= start;
            MetaCommand::NodeStarted(word)
        }),
        which.clone().prop_map(|(node, epoch)| {
            MetaCommand::NodeSilent(NodeV1 { node: NodeId(node), epoch: StartEpoch(epoch) })
        }),
        (0u8..4, 0u8..3).prop_map(|(name, unit)| {
            let (vgroup, unit) = (alloc::format!("g{name}"), alloc::format!("u{unit}"));
            MetaCommand::MapVgroup(VgroupV1 { vgroup, cluster: "default".into(), unit })
        }),
        (0u8..4).prop_map(|name| { MetaCommand::UnmapVgroup(VgroupNameV1 { vgroup: alloc::format!("g{name}") }) }),
        which.prop_map(|(node, epoch)| {
            MetaCommand::NodeReturned(NodeV1 { node: NodeId(node), epoch: StartEpoch(epoch) })
        }),
    ]
}

proptest! {
    #[test]
    fn the_picture_rises_with_every_change_and_with_nothing_else(
        commands in proptest::collection::vec(commands(), 0..40),
    ) {
        let mut meta = Meta::new();
        for command in commands {
            let before = meta.clone();
            let epochs = |meta: &Meta| {
                let all = meta.routing().nodes().map(|node| (node.id, node.disk, node.epoch)).collect::<Vec<_>>();
                all.into_iter().filter(|(_, _, epoch)| epoch.0 > 0).collect::<Vec<_>>()
            };
            let outcome = apply(&mut meta, command);
            let mut same_picture = meta.routing().clone();
            same_picture.picture = before.routing().picture;
            let rise = meta.routing().picture - before.routing().picture;
            prop_assert_eq!(rise, u64::from(same_picture != *before.routing()));
            let refused = matches!(outcome, MetaOutcome::Refused(_));
            prop_assert!(rise == 0 || !refused);
            // No node ever goes back to an earlier start.
            let is_later = |(node, disk, epoch): &(NodeId, DiskId, StartEpoch)| {
                meta.routing().node(*node).is_none_or(|now| now.disk == *disk && now.epoch >= *epoch)
            };
            prop_assert!(epochs(&before).iter().all(is_later));
            // What a group leaves behind is never what it rests on or goes to, and a node that is gone is nowhere.
            for (_, route) in meta.routing().groups() {
                prop_assert!(!route.carriers().any(|node| route.former.contains(&node)));
                prop_assert!(!route.carriers().any(|node| meta.routing().was_removed(node)));
            }
        }
    }

    #[test]
    fn a_batch_is_its_commands_one_by_one(commands in proptest::collection::vec(commands(), 1..20)) {
        let stamp = Stamp { clock_ms: 10, wall_ms: 0 };
        let mut whole = Meta::new();
        let outcomes = whole.apply(&MetaBatch { stamp, commands: commands.clone() });
        let mut single = Meta::new();
        let one_by_one: Vec<MetaOutcome> = commands.into_iter().map(|command| apply(&mut single, command)).collect();
        prop_assert_eq!(outcomes, one_by_one);
        prop_assert_eq!(whole, single);
    }
}
