//! Groups that come and go.

use super::super::command::{
    AttemptV1, MetaCommand, PlaceGroupV1, ReplicaV1, SetStandingV1, SlotTargetV1, StartMigrationsV1, WishV1,
};
use super::super::member::{GroupKey, Standing};
use super::super::meta::tests::{done, founded, refused, repeated, say};
use super::super::rebalance;
use super::*;
use crate::model::Slot;
use alloc::string::String;
use alloc::vec;

fn wish(key: u8, replicas: &[u64]) -> AddGroupV1 {
    let replicas = replicas.iter().copied().map(NodeId).collect();
    AddGroupV1 { key: GroupKey([key; 16]), label: String::new(), replicas }
}

fn add(meta: &mut Meta, wish: &AddGroupV1) -> Result<u32, MetaRefusal> {
    match say(meta, MetaCommand::AddGroup(wish.clone())) {
        MetaOutcome::Added { group, picture } if picture == meta.routing().picture() => Ok(group.0),
        MetaOutcome::Refused(refusal) => Err(refusal),
        outcome @ (MetaOutcome::Done { .. } | MetaOutcome::Admitted { .. } | MetaOutcome::Added { .. }) => {
            panic!("{outcome:?}")
        }
    }
}

fn gone(group: u32, node: u64) -> MetaCommand {
    MetaCommand::ReplicaGone(ReplicaV1 { group: GroupId(group), node: NodeId(node) })
}

fn fault(fault: GroupFault) -> MetaRefusal {
    MetaRefusal::Group(fault)
}

const REMOVE: MetaCommand = MetaCommand::RemoveGroup(GroupId(3));
const REMOVED: GroupFault = GroupFault::Removed(GroupId(3));

/// Groups 1 and 2 of the founding, and 3 that came.
fn three() -> Meta {
    let mut meta = founded();
    assert_eq!(add(&mut meta, &wish(1, &[2, 3, 1])), Ok(3));
    meta
}

#[test]
fn a_group_comes_with_a_number_of_its_own_and_without_slots() {
    let mut meta = three();
    let picture = meta.routing().picture();
    assert_eq!(picture, founded().routing().picture() + 1);
    assert_eq!(add(&mut meta, &wish(1, &[2, 3, 1])), Ok(3), "asked twice");
    assert_eq!(meta.routing().picture(), picture);
    assert_eq!(meta.routing().preferred_leader(GroupId(3)), Some(NodeId(2)));
    assert!(meta.routing().is_idle(GroupId(3)) && !meta.routing().is_idle(GroupId(1)));
    assert_eq!(add(&mut meta, &wish(2, &[2, 3, 1])), Ok(4), "another question, another group");
    // It moves like any other, and whoever asked still has it.
    let replicas = [1, 2, 3].map(NodeId).to_vec();
    done(&mut meta, MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(3), replicas }));
    assert_eq!(add(&mut meta, &wish(1, &[2, 3, 1])), Ok(3));
}

#[test]
fn a_group_that_would_not_work_does_not_come() {
    let mut meta = founded();
    for replicas in [&[][..], &[1, 1], &[1, 9]] {
        assert_eq!(add(&mut meta, &wish(1, replicas)), Err(MetaRefusal::Placement(GroupId(3))));
    }
    let long = "x".repeat(GROUP_LABEL_BYTES_MAX + 1);
    let labelled = AddGroupV1 { label: long, ..wish(1, &[1, 2, 3]) };
    assert_eq!(add(&mut meta, &labelled), Err(fault(GroupFault::Label)));
    say(&mut meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(3), standing: Standing::Lost }));
    assert_eq!(add(&mut meta, &wish(1, &[1, 2, 3])), Err(MetaRefusal::Placement(GroupId(3))));
    assert_eq!(add(&mut Meta::new(), &wish(1, &[1])), Err(MetaRefusal::NotFounded));
    meta.routing.last_group = GroupId(GROUP_NUMBERS_MAX);
    assert_eq!(add(&mut meta, &wish(1, &[1, 2])), Err(fault(GroupFault::Full)));
}

#[test]
fn there_are_so_many_groups_and_no_more() {
    let mut meta = founded();
    let key = |number: u32| {
        let mut wish = wish(0, &[1]);
        wish.key.0[..4].copy_from_slice(&number.to_le_bytes());
        wish
    };
    for number in 3..=DATA_GROUPS_MAX {
        assert_eq!(add(&mut meta, &key(number)), Ok(number));
    }
    assert_eq!(add(&mut meta, &key(9_999)), Err(fault(GroupFault::Full)));
    assert_eq!(add(&mut meta, &key(3)), Ok(3), "it is there");
    done(&mut meta, MetaCommand::RemoveGroup(GroupId(7)));
    assert_eq!(add(&mut meta, &key(9_999)), Err(fault(GroupFault::Full)), "it is not gone yet");
    done(&mut meta, gone(7, 1));
    assert_eq!(add(&mut meta, &key(9_999)), Ok(DATA_GROUPS_MAX + 1));
}

#[test]
fn a_group_goes_when_its_replicas_are_wiped() {
    let mut meta = three();
    // It is just on its way to node 1 alone: wherever it has something, that is wiped.
    let replicas = vec![NodeId(1)];
    done(&mut meta, MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(3), replicas: replicas.clone() }));
    done(&mut meta, REMOVE);
    let left = |meta: &Meta, node| meta.routing().group(GroupId(3)).is_some_and(|route| route.is_left_by(NodeId(node)));
    assert!((1..=3).all(|node| left(&meta, node)));
    assert!(meta.routing().replicas(GroupId(3)).is_empty());
    let ask = |node| MetaCommand::AskToLeave(ReplicaV1 { group: GroupId(3), node: NodeId(node) });
    repeated(&mut meta, ask(2));
    // Nothing goes to it, and nothing is planned for it.
    let place = MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(3), replicas });
    assert_eq!(refused(&mut meta, place.clone()), fault(REMOVED));
    assert_eq!(rebalance::next(meta.routing(), &BTreeSet::new()), None);
    let slots = vec![SlotTargetV1 { slot: Slot(0), target: GroupId(3) }];
    let start = MetaCommand::StartMigrations(StartMigrationsV1 { after: meta.routing().last_epoch(), slots });
    assert_eq!(refused(&mut meta, start), fault(REMOVED));
    assert_eq!(add(&mut meta, &wish(1, &[2, 3, 1])), Err(fault(REMOVED)), "a question that comes late");
    done(&mut meta, gone(3, 1));
    done(&mut meta, gone(3, 3));
    assert!(meta.routing().group(GroupId(3)).is_some());
    done(&mut meta, gone(3, 2));
    assert!(meta.routing().group(GroupId(3)).is_none() && meta.routing().was_group(GroupId(3)));
    repeated(&mut meta, REMOVE);
    assert_eq!(refused(&mut meta, ask(2)), MetaRefusal::UnknownGroup(GroupId(3)));
    assert_eq!(refused(&mut meta, place), MetaRefusal::UnknownGroup(GroupId(3)));
    // Its number is not used again.
    assert_eq!(add(&mut meta, &wish(1, &[2, 3, 1])), Err(fault(REMOVED)));
    assert_eq!(add(&mut meta, &wish(2, &[2, 3, 1])), Ok(4));
}

#[test]
fn what_a_lost_node_has_of_a_group_that_goes_is_not_waited_for() {
    let mut meta = founded();
    assert_eq!(add(&mut meta, &wish(1, &[3])), Ok(3));
    done(&mut meta, REMOVE);
    done(&mut meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(3), standing: Standing::Lost }));
    assert!(meta.routing().group(GroupId(3)).is_some());
    // The groups of the founding go to others first.
    for group in [1, 2] {
        let replicas = [1, 2].map(NodeId).to_vec();
        say(&mut meta, MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(group), replicas }));
        let since = meta.routing().picture();
        say(&mut meta, MetaCommand::GroupPlaced(WishV1 { group: GroupId(group), since }));
    }
    done(&mut meta, MetaCommand::ForgetNode(NodeId(3)));
    assert!(meta.routing().was_group(GroupId(3)));
}

#[test]
fn a_group_that_has_something_to_do_stays() {
    let mut meta = three();
    let in_use = |group, slots, migrations| fault(GroupFault::InUse { group: GroupId(group), slots, migrations });
    assert_eq!(refused(&mut meta, MetaCommand::RemoveGroup(GroupId(1))), in_use(1, 2048, 0));
    let to_three = StartMigrationsV1 {
        after: meta.routing().last_epoch(),
        slots: vec![SlotTargetV1 { slot: Slot(0), target: GroupId(3) }],
    };
    done(&mut meta, MetaCommand::StartMigrations(to_three));
    let attempt = AttemptV1 { slot: Slot(0), epoch: meta.routing().last_epoch() };
    assert_eq!(refused(&mut meta, REMOVE), in_use(3, 0, 1));
    done(&mut meta, MetaCommand::AbortMigration(attempt));
    assert_eq!(refused(&mut meta, REMOVE), in_use(3, 0, 1), "it may still have a copy");
    done(&mut meta, MetaCommand::MigrationUndone(attempt));
    done(&mut meta, REMOVE);
    assert_eq!(refused(&mut meta, MetaCommand::RemoveGroup(GroupId(9))), MetaRefusal::UnknownGroup(GroupId(9)));
    let meta_group = MetaCommand::RemoveGroup(GroupId::META);
    assert_eq!(refused(&mut meta, meta_group), MetaRefusal::UnknownGroup(GroupId::META));
    assert_eq!(refused(&mut Meta::new(), REMOVE), MetaRefusal::NotFounded);
}
