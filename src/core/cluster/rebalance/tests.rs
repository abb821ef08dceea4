//! The planner over random clusters: it comes to an end, and every wish on the way is possible and small.

use super::super::command::{AdmitNodeV1, FoundClusterV1, GroupV1, NodeStartedV1, SetStandingV1, WishV1};
use super::super::member::{Addresses, ClusterId, DiskId, Standing, StartEpoch, StartId};
use super::super::meta::tests::say;
use super::super::placement::place;
use super::super::{Meta, MetaCommand, MetaOutcome};
use super::*;
use crate::model::SLOTS;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn word(number: u64) -> NodeStartedV1 {
    let at = |port: u64| alloc::format!("n{number}:{port}");
    NodeStartedV1 {
        node: NodeId(number),
        disk: DiskId([number as u8; 16]),
        epoch: StartEpoch(1),
        start: StartId([number as u8; 16]),
        addresses: Addresses { advertised: at(1), peer: at(2), admin: at(3) },
    }
}

fn founded(nodes: u64, groups: u32, replicas: usize) -> Meta {
    let ids: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
    let groups: Vec<GroupId> = (1..=groups).map(GroupId).collect();
    let placed = place(&ids, &groups, replicas, &BTreeMap::new());
    let founding = FoundClusterV1 {
        cluster: ClusterId([1; 16]),
        birth_ms: 0,
        nodes: (1..=nodes).map(word).collect(),
        groups: placed.into_iter().map(|(group, replicas)| GroupV1 { group, label: String::new(), replicas }).collect(),
        slots: vec![GroupId(1); usize::from(SLOTS)],
    };
    let mut meta = Meta::new();
    assert!(matches!(say(&mut meta, MetaCommand::FoundCluster(founding)), MetaOutcome::Done { .. }));
    meta
}

fn join(meta: &mut Meta, number: u64) {
    let NodeStartedV1 { disk, addresses, .. } = word(number);
    say(meta, MetaCommand::AdmitNode(AdmitNodeV1 { disk, addresses }));
    say(meta, MetaCommand::NodeStarted(word(number)));
}

/// Carries out wishes until there are none: how many there were.
fn settle(meta: &mut Meta) -> usize {
    for count in 0..1_000 {
        let Some(wish) = next(meta.routing(), &BTreeSet::new()) else { return count };
        let before = meta.routing().group(wish.group).map(|route| route.replicas.clone()).unwrap_or_default();
        let distinct: BTreeSet<NodeId> = wish.replicas.iter().copied().collect();
        assert_eq!(distinct.len(), wish.replicas.len(), "a node once");
        assert!(wish.replicas.len() >= before.len(), "never fewer");
        let group = wish.group;
        assert!(matches!(say(meta, MetaCommand::PlaceGroup(wish)), MetaOutcome::Done { .. }));
        assert_eq!(next(meta.routing(), &BTreeSet::new()), None, "one at a time");
        let since = meta.routing().picture();
        assert!(matches!(say(meta, MetaCommand::GroupPlaced(WishV1 { group, since })), MetaOutcome::Done { .. }));
        let former = meta.routing().group(group).map(|route| route.former.clone()).unwrap_or_default();
        for node in former {
            say(meta, MetaCommand::ReplicaGone(super::super::command::ReplicaV1 { group, node }));
        }
    }
    panic!("no end");
}

fn counts(meta: &Meta, count: impl Fn(&GroupRoute, NodeId) -> bool) -> Vec<usize> {
    let routing = meta.routing();
    let serving = routing.nodes().filter(|node| node.standing.carries());
    serving.map(|node| routing.groups().filter(|(_, route)| count(route, node.id)).count()).collect()
}

fn spread(counts: &[usize]) -> usize {
    counts.iter().max().copied().unwrap_or(0) - counts.iter().min().copied().unwrap_or(0)
}

fn is_even(meta: &Meta) -> bool {
    let carries = counts(meta, |route, node| route.replicas.contains(&node));
    spread(&carries) <= 1
}

#[test]
fn a_fourth_node_takes_its_share_and_no_more_moves() {
    let mut meta = founded(3, 8, 3);
    assert_eq!(next(meta.routing(), &BTreeSet::new()), None, "a fresh cluster is even");
    join(&mut meta, 4);
    let moves = settle(&mut meta);
    assert!(is_even(&meta));
    assert_eq!(counts(&meta, |route, node| route.replicas.contains(&node)), [6, 6, 6, 6]);
    assert!(moves <= 8, "{moves}: six replicas, and two leaders at most");
    assert!(spread(&counts(&meta, |route, node| route.replicas.first() == Some(&node))) <= 1);
}

#[test]
fn what_was_chosen_at_the_founding_stays() {
    let mut meta = founded(3, 4, 1);
    join(&mut meta, 4);
    settle(&mut meta);
    assert!(meta.routing().groups().all(|(_, route)| route.replicas.len() == 1), "one replica was asked for");
    let chosen =
        |group| GroupV1 { group: GroupId(group), label: "west".into(), replicas: [3, 1, 2].map(NodeId).to_vec() };
    let founding = FoundClusterV1 {
        cluster: ClusterId([1; 16]),
        birth_ms: 0,
        nodes: (1..=3).map(word).collect(),
        groups: (1..=4).map(chosen).collect(),
        slots: vec![GroupId(1); usize::from(SLOTS)],
    };
    let mut meta = Meta::new();
    say(&mut meta, MetaCommand::FoundCluster(founding));
    join(&mut meta, 4);
    assert_eq!(next(meta.routing(), &BTreeSet::new()), None, "its place was chosen");
    say(&mut meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(1), standing: Standing::Draining }));
    settle(&mut meta);
    assert!(meta.routing().groups().all(|(_, route)| route.replicas == [3, 2, 4].map(NodeId)), "{:?}", meta.routing());
}

#[test]
fn one_node_becomes_three_with_three_replicas() {
    let mut meta = founded(1, 4, 1);
    join(&mut meta, 2);
    settle(&mut meta);
    assert!(meta.routing().groups().all(|(_, route)| route.replicas.len() == 1), "two do not bear a failure");
    join(&mut meta, 3);
    settle(&mut meta);
    assert!(meta.routing().groups().all(|(_, route)| route.replicas.len() == 3));
}

#[test]
fn a_lost_node_waits_for_another_one() {
    let mut meta = founded(3, 2, 3);
    say(&mut meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(2), standing: Standing::Lost }));
    assert_eq!(settle(&mut meta), 0);
    join(&mut meta, 4);
    settle(&mut meta);
    assert!(!meta.routing().carries(NodeId(2)) && meta.routing().carries(NodeId(4)));
    assert!(matches!(say(&mut meta, MetaCommand::ForgetNode(NodeId(2))), MetaOutcome::Done { .. }));
}

#[test]
fn a_move_to_a_node_that_fell_silent_is_planned_anew() {
    let mut meta = founded(3, 8, 3);
    join(&mut meta, 4);
    join(&mut meta, 5);
    let wish = next(meta.routing(), &BTreeSet::new()).expect("two new nodes");
    let group = wish.group;
    say(&mut meta, MetaCommand::PlaceGroup(wish));
    let of_before = meta.routing().group(group).map(|route| route.replicas.clone()).expect("it is there");
    let silent = of_before.iter().copied().take(1).collect();
    assert_eq!(next(meta.routing(), &silent), None, "one that has the group already may come back");
    let silent = BTreeSet::from([NodeId(4)]);
    let again = next(meta.routing(), &silent).expect("elsewhere");
    assert_eq!(again.group, group);
    assert!(!again.replicas.contains(&NodeId(4)));
}

#[test]
fn the_meta_group_has_one_three_or_five_voters_and_keeps_those_it_has() {
    let mut meta = founded(1, 1, 1);
    let voters = |meta: &Meta, now: &[u64]| {
        let now = now.iter().copied().map(NodeId).collect();
        meta_voters(meta.routing(), &now).into_iter().map(|node| node.0).collect::<Vec<_>>()
    };
    assert_eq!(voters(&meta, &[1]), [1]);
    join(&mut meta, 2);
    join(&mut meta, 3);
    assert_eq!(voters(&meta, &[1]), [1, 2, 3]);
    join(&mut meta, 4);
    assert_eq!(voters(&meta, &[1, 2, 3]), [1, 2, 3]);
    join(&mut meta, 5);
    join(&mut meta, 6);
    assert_eq!(voters(&meta, &[2, 3, 6]), [1, 2, 3, 4, 6]);
    say(&mut meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(1), standing: Standing::Draining }));
    assert_eq!(voters(&meta, &[1, 2, 3, 4, 6]), [2, 3, 4, 5, 6]);
}

proptest! {
    #[test]
    fn it_comes_to_an_even_end(
        (founders, replicas) in prop_oneof![Just((1u64, 1usize)), Just((3, 3)), Just((5, 3)), Just((5, 5))],
        groups in 1u32..24,
        joins in 0u64..4,
        leaves in proptest::collection::vec((1u64..9, 0u8..3), 0..4),
    ) {
        let mut meta = founded(founders, groups, replicas);
        for number in founders + 1..=founders + joins {
            join(&mut meta, number);
            settle(&mut meta);
            prop_assert!(is_even(&meta), "{:?}", meta.routing());
        }
        for (node, standing) in leaves {
            let standing = [Standing::Draining, Standing::Removing, Standing::Lost][usize::from(standing)];
            let wished = say(&mut meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(node), standing }));
            settle(&mut meta);
            let serving = meta.routing().nodes().filter(|node| node.standing.carries()).count();
            let largest = meta.routing().groups().map(|(_, route)| route.replicas.len()).max().unwrap_or(0);
            if matches!(wished, MetaOutcome::Done { .. }) && serving >= largest {
                prop_assert!(!meta.routing().carries(NodeId(node)));
                prop_assert!(is_even(&meta));
                prop_assert!(spread(&counts(&meta, |route, node| route.replicas.first() == Some(&node))) <= 2);
            }
        }
    }
}
