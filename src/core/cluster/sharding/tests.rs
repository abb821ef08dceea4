//! The ring and its neighbours: golden vectors, evenness, and that a new group moves only its own share.

use super::*;
use alloc::string::String;
use core::fmt::Write;
use proptest::prelude::*;

const GOLDEN: &str = include_str!("../../../../tests/golden/ring.txt");

fn groups(count: u32) -> Vec<Weighted> {
    (1..=count).map(|group| Weighted { group: GroupId(group), weight: 1 }).collect()
}

fn assign(groups: &[Weighted]) -> Vec<GroupId> {
    ConsistentHash.assign(groups).expect("a legal list of groups")
}

fn count_of(slots: &[GroupId], group: GroupId) -> usize {
    slots.iter().filter(|owner| **owner == group).count()
}

/// One line: the groups with their weights, how many slots each has, the first 24 owners, and a hash of all owners.
fn line(weights: &[u32]) -> String {
    let groups: Vec<Weighted> =
        (1..).zip(weights).map(|(group, weight)| Weighted { group: GroupId(group), weight: *weight }).collect();
    let slots = assign(&groups);
    let mut line = String::from("weights=");
    for (index, weight) in weights.iter().enumerate() {
        write!(line, "{}{weight}", if index == 0 { "" } else { "," }).expect("text grows");
    }
    line.push_str(" slots=");
    for (index, weighted) in groups.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(line, "{comma}{}", count_of(&slots, weighted.group)).expect("text grows");
    }
    line.push_str(" first=");
    for (index, owner) in slots.iter().take(24).enumerate() {
        write!(line, "{}{owner}", if index == 0 { "" } else { "," }).expect("text grows");
    }
    let bytes: Vec<u8> = slots.iter().flat_map(|owner| owner.0.to_le_bytes()).collect();
    write!(line, " xxh3={:016x}", xxhash_rust::xxh3::xxh3_64(&bytes)).expect("text grows");
    line
}

#[test]
fn the_ring_never_changes() {
    let cases: [&[u32]; 8] =
        [&[1], &[1, 1], &[1, 1, 1], &[1; 8], &[1; 16], &[2, 1, 1], &[1, 16, 3], &[1, 1, 1, 1, 1, 1, 1, 4]];
    let computed: Vec<String> = cases.iter().map(|weights| line(weights)).collect();
    let golden: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    for (index, line) in computed.iter().enumerate() {
        assert_eq!(golden.get(index).copied(), Some(line.as_str()), "line {index} of tests/golden/ring.txt");
    }
    assert_eq!(golden.len(), computed.len());
}

#[test]
fn points_of_the_ring_are_fixed() {
    // xxh3-64 of little-endian (u64, u32), seed 0.
    let mut bytes = [0; 12];
    bytes[0] = 7;
    bytes[8] = 3;
    assert_eq!(ring_point_of_group(GroupId(7), 3), xxhash_rust::xxh3::xxh3_64(&bytes));
    bytes[8..].fill(0xff);
    assert_eq!(ring_point_of_slot(Slot(7)), xxhash_rust::xxh3::xxh3_64(&bytes));
}

#[test]
fn every_group_gets_a_slot_even_when_there_are_very_many() {
    let slots = assign(&groups(1_024));
    for weighted in groups(1_024) {
        assert!(count_of(&slots, weighted.group) > 0, "group {}", weighted.group);
    }
}

#[test]
fn a_slotless_group_takes_the_lowest_slot_of_the_richest() {
    let (a, b, c) = (GroupId(1), GroupId(2), GroupId(3));
    let mut slots = vec![b, a, a, b, b, a];
    feed_the_slotless(&mut slots, &groups(3));
    // Groups 1 and 2 have three each: the lower one gives.
    assert_eq!(slots, [b, c, a, b, b, a]);
    let mut slots = vec![b, a, a, b, b];
    feed_the_slotless(&mut slots, &groups(3));
    assert_eq!(slots, [c, a, a, b, b]);
}

#[test]
fn modulo_deals_in_turn() {
    let slots = Modulo.assign(&groups(3)).expect("three groups");
    assert_eq!(slots[..4], [GroupId(1), GroupId(2), GroupId(3), GroupId(1)]);
}

#[test]
fn a_list_must_make_sense() {
    assert_eq!(ConsistentHash.assign(&[]), Err(ShardingError::NoGroup));
    let twice = [groups(1), groups(1)].concat();
    assert_eq!(Modulo.assign(&twice), Err(ShardingError::Twice(GroupId(1))));
    assert_eq!(ConsistentHash.assign(&groups(4_097)), Err(ShardingError::TooMany));
}

#[test]
fn a_table_must_cover_every_slot_once() {
    let range = |first, last, group| SlotRange { first, last, group: GroupId(group) };
    let assign = |ranges: &[SlotRange]| Explicit { ranges: ranges.to_vec() }.assign(&groups(2));
    let whole = assign(&[range(0, 1023, 1), range(1024, 4095, 2)]).expect("covers all");
    assert_eq!((whole[1023], whole[1024]), (GroupId(1), GroupId(2)));
    assert_eq!(assign(&[range(0, 10, 1), range(12, 4095, 2)]), Err(ShardingError::Uncovered(Slot(11))));
    let overlap = Err(ShardingError::BadRange { first: 10, last: 4095 });
    assert_eq!(assign(&[range(0, 10, 1), range(10, 4095, 2)]), overlap);
    assert_eq!(assign(&[range(0, 4096, 1)]), Err(ShardingError::BadRange { first: 0, last: 4096 }));
    assert_eq!(assign(&[range(9, 8, 1)]), Err(ShardingError::BadRange { first: 9, last: 8 }));
    assert_eq!(assign(&[range(0, u16::MAX, 3)]), Err(ShardingError::UnknownGroup(GroupId(3))));
    assert_eq!(assign(&[range(0, 4095, 1)]), Err(ShardingError::Slotless(GroupId(2))));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_new_group_takes_its_share_and_moves_no_other_slot(count in 1u32..12) {
        let before = assign(&groups(count));
        let after = assign(&groups(count + 1));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        for (was, is) in before.iter().zip(&after) {
            prop_assert!(was == is || *is == GroupId(count + 1));
        }
        let fair = 4096.0 / f64::from(count + 1);
        prop_assert!((moved as f64) < 1.4 * fair && moved as f64 > 0.6 * fair, "{moved} of a fair {fair}");
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(count in 1u32..9, turn in 0usize..9) {
        let straight = groups(count);
        let mut turned = straight.clone();
        turned.rotate_left(turn % straight.len());
        prop_assert_eq!(assign(&straight), assign(&turned));
    }

    #[test]
    fn weight_is_share(weight in 2u32..6) {
        let list = [Weighted { group: GroupId(1), weight: 1 }, Weighted { group: GroupId(2), weight }];
        let slots = assign(&list);
        let ratio = count_of(&slots, GroupId(2)) as f64 / count_of(&slots, GroupId(1)) as f64;
        let wanted = f64::from(weight);
        prop_assert!(ratio > wanted * 0.75 && ratio < wanted * 1.33, "ratio {ratio}, wanted {wanted}");
    }
}
