//! Plans: all of it and nothing twice, small, and at an end after all moves.

use super::super::command::{AddGroupV1, AttemptV1, MetaBatch, MetaCommand, MetaOutcome, MetaRefusal};
use super::super::member::GroupKey;
use super::super::meta::tests::{founded, founding};
use super::super::sharding::{ConsistentHash, Explicit, Modulo, SlotRange};
use super::super::{Meta, Phase};
use super::*;
use crate::model::NodeId;
use crate::txn::Stamp;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn weighted(weights: &[(u32, u32)]) -> Vec<Weighted> {
    weights.iter().map(|(group, weight)| Weighted { group: GroupId(*group), weight: *weight }).collect()
}

fn even(groups: impl IntoIterator<Item = u32>) -> Vec<Weighted> {
    groups.into_iter().map(|group| Weighted { group: GroupId(group), weight: 1 }).collect()
}

fn on_ring(groups: &[Weighted]) -> Vec<GroupId> {
    ConsistentHash.assign(groups).expect("a legal list")
}

fn planned(owners: &[GroupId], groups: &[Weighted]) -> SlotPlan {
    plan(owners, groups, &ConsistentHash).expect("a legal list")
}

fn moved(owners: &[GroupId], plan: &SlotPlan) -> Vec<GroupId> {
    let mut owners = owners.to_vec();
    for wanted in &plan.moves {
        let owner = &mut owners[usize::from(wanted.slot.0)];
        assert_eq!(*owner, wanted.from, "from whoever has it");
        *owner = wanted.to;
    }
    owners
}

fn count_of(owners: &[GroupId], group: GroupId) -> usize {
    owners.iter().filter(|owner| **owner == group).count()
}

fn say(meta: &mut Meta, command: MetaCommand) {
    let outcome = meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![command] }).remove(0);
    assert!(!matches!(outcome, MetaOutcome::Refused(_)), "{outcome:?}");
}

#[test]
fn a_plan_tells_how_much_goes_from_whom_to_whom() {
    let owners = on_ring(&even(1..=2));
    let plan = planned(&owners, &even(1..=3));
    let shares = plan.shares();
    let pairs: Vec<(u32, u32)> = shares.iter().map(|share| (share.from.0, share.to.0)).collect();
    assert_eq!(pairs, [(1, 3), (2, 3)]);
    assert_eq!(shares.iter().map(|share| share.slots).sum::<usize>(), plan.moves.len());
    assert!(planned(&owners, &even(1..=2)).is_empty());
    assert!(planned(&[], &even(1..=2)).is_empty(), "no cluster, no moves");
    assert_eq!(super::plan(&owners, &[], &ConsistentHash), Err(ShardingError::NoGroup));
}

#[test]
fn every_strategy_can_be_planned_for() {
    let owners = founding().slots;
    let modulo = plan(&owners, &even(1..=2), &Modulo).expect("two groups");
    assert!(modulo.is_empty(), "that is how they were dealt");
    let range = |first, last, group| SlotRange { first, last, group: GroupId(group) };
    let explicit = Explicit { ranges: vec![range(0, 9, 2), range(10, 4095, 1)] };
    let to_ranges = plan(&owners, &even(1..=2), &explicit).expect("two groups");
    let two = |slot| SlotMove { slot: Slot(slot), from: GroupId(1), to: GroupId(2) };
    assert_eq!(to_ranges.moves[..5], [0, 2, 4, 6, 8].map(two));
    assert_eq!(to_ranges.shares()[0].slots, 5);
    assert!(plan(&moved(&owners, &to_ranges), &even(1..=2), &explicit).expect("two groups").is_empty());
}

#[test]
fn groups_that_go_take_nothing() {
    let mut meta = founded();
    let replicas = vec![NodeId(1)];
    let wish = AddGroupV1 { key: GroupKey([1; 16]), label: String::new(), replicas };
    say(&mut meta, MetaCommand::AddGroup(wish.clone()));
    say(&mut meta, MetaCommand::AddGroup(AddGroupV1 { key: GroupKey([2; 16]), ..wish }));
    say(&mut meta, MetaCommand::RemoveGroup(GroupId(4)));
    assert_eq!(lasting(meta.routing(), &BTreeSet::new()), even(1..=3));
    assert_eq!(lasting(meta.routing(), &BTreeSet::from([GroupId(2)])), even([1, 3]));
}

/// A whole rebalance through the state machine, a third group come: in rounds, some attempts given up on the way.
#[test]
fn rounds_come_to_an_end_and_ask_for_nothing_twice() {
    let mut meta = founded();
    let wish = AddGroupV1 { key: GroupKey([1; 16]), label: String::new(), replicas: vec![NodeId(1)] };
    say(&mut meta, MetaCommand::AddGroup(wish));
    for round in 0..200 {
        let groups = lasting(meta.routing(), &BTreeSet::new());
        let wanted = planned(&meta.routing().heirs(), &groups);
        let Some(start) = wanted.due(meta.routing(), 100) else {
            assert!(wanted.is_empty());
            break;
        };
        assert!(start.slots.len() <= 100);
        say(&mut meta, MetaCommand::StartMigrations(start));
        let rest = planned(&meta.routing().heirs(), &groups);
        assert_eq!(rest.moves.len(), wanted.moves.len() - meta.routing().migrations().count(), "they count as through");
        let under_way: Vec<AttemptV1> =
            meta.routing().migrations().map(|(slot, migration)| AttemptV1 { slot, epoch: migration.epoch }).collect();
        for attempt in under_way {
            if round < 3 && attempt.epoch.0 % 5 == 0 {
                say(&mut meta, MetaCommand::AbortMigration(attempt));
                say(&mut meta, MetaCommand::MigrationUndone(attempt));
                continue;
            }
            say(&mut meta, MetaCommand::MigrationInstalled(attempt));
            say(&mut meta, MetaCommand::SwitchSlot(attempt));
            say(&mut meta, MetaCommand::MigrationDone(attempt));
        }
    }
    assert_eq!(meta.routing().migrations().count(), 0);
    assert_eq!(meta.routing().heirs(), on_ring(&even(1..=3)));
}

#[test]
fn a_slot_on_its_way_to_elsewhere_waits() {
    let mut meta = founded();
    let start = |meta: &Meta, target| StartMigrationsV1 {
        after: meta.routing().last_epoch(),
        slots: vec![SlotTargetV1 { slot: Slot(0), target: GroupId(target) }],
    };
    let first = start(&meta, 2);
    say(&mut meta, MetaCommand::StartMigrations(first));
    // All should be as it was founded, so slot 0 should come back; not before it has arrived.
    let back = plan(&meta.routing().heirs(), &even(1..=2), &Modulo).expect("two groups");
    assert_eq!(back.moves, [SlotMove { slot: Slot(0), from: GroupId(2), to: GroupId(1) }]);
    assert_eq!(back.due(meta.routing(), 10), None);
    let attempt = AttemptV1 { slot: Slot(0), epoch: meta.routing().last_epoch() };
    say(&mut meta, MetaCommand::MigrationInstalled(attempt));
    say(&mut meta, MetaCommand::SwitchSlot(attempt));
    assert_eq!(meta.routing().migration(Slot(0)).map(|migration| migration.phase), Some(Phase::Switched));
    assert_eq!(back.due(meta.routing(), 10), None, "the source may still have it");
    say(&mut meta, MetaCommand::MigrationDone(attempt));
    assert_eq!(back.due(meta.routing(), 10), Some(start(&meta, 1)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_plan_is_total_disjoint_and_comes_to_its_end(
        owners in proptest::collection::vec(1u32..9, 4096),
        weights in proptest::collection::btree_map(1u32..12, 1u32..5, 1..8),
    ) {
        let owners: Vec<GroupId> = owners.into_iter().map(GroupId).collect();
        let groups: Vec<Weighted> = weighted(&weights.into_iter().collect::<Vec<_>>());
        let plan = planned(&owners, &groups);
        prop_assert!(plan.moves.windows(2).all(|pair| pair[0].slot < pair[1].slot), "each slot once");
        prop_assert!(plan.moves.iter().all(|wanted| wanted.from != wanted.to));
        let after = moved(&owners, &plan);
        prop_assert!(after.iter().all(|owner| groups.iter().any(|known| known.group == *owner)));
        prop_assert!(planned(&after, &groups).is_empty());
        let shares = plan.shares();
        prop_assert_eq!(shares.iter().map(|share| share.slots).sum::<usize>(), plan.moves.len());
        for share in shares {
            let of = |wanted: &&SlotMove| (wanted.from, wanted.to) == (share.from, share.to);
            prop_assert_eq!(plan.moves.iter().filter(of).count(), share.slots);
        }
    }

    #[test]
    fn slots_are_spread_by_weight(weights in proptest::collection::vec(1u32..5, 2..9)) {
        let groups: Vec<Weighted> = weighted(&(1..).zip(weights.iter().copied()).collect::<Vec<_>>());
        let after = moved(&founding().slots, &planned(&founding().slots, &groups));
        let total: u32 = weights.iter().sum();
        for Weighted { group, weight } in groups {
            let fair = 4096.0 * f64::from(weight) / f64::from(total);
            let has = count_of(&after, group) as f64;
            prop_assert!(has > 0.5 * fair && has < 1.5 * fair, "group {group} has {has} of a fair {fair}");
        }
    }

    #[test]
    fn the_nth_group_takes_its_share_and_nothing_else_moves(count in 1u32..16) {
        let owners = on_ring(&even(1..=count));
        let plan = planned(&owners, &even(1..=count + 1));
        prop_assert!(plan.moves.iter().all(|wanted| wanted.to == GroupId(count + 1)));
        let fair = 4096.0 / f64::from(count + 1);
        let moves = plan.moves.len() as f64;
        prop_assert!(moves > 0.6 * fair && moves < 1.4 * fair, "{moves} of a fair {fair}");
    }

    #[test]
    fn of_a_group_that_goes_its_own_slots_move_and_nothing_else(count in 2u32..16, which in 0u32..16) {
        let goes = GroupId(1 + which % count);
        let owners = on_ring(&even(1..=count));
        let plan = planned(&owners, &even((1..=count).filter(|group| *group != goes.0)));
        prop_assert!(plan.moves.iter().all(|wanted| wanted.from == goes));
        prop_assert_eq!(plan.moves.len(), count_of(&owners, goes));
    }

    #[test]
    fn more_weight_only_takes_and_less_only_gives(count in 2u32..8, which in 0u32..8, weight in 2u32..5) {
        let changed = 1 + which % count;
        let heavier: Vec<(u32, u32)> =
            (1..=count).map(|group| (group, if group == changed { weight } else { 1 })).collect();
        let (light, heavy) = (even(1..=count), weighted(&heavier));
        let takes = planned(&on_ring(&light), &heavy);
        prop_assert!(takes.moves.iter().all(|wanted| wanted.to == GroupId(changed)));
        let gives = planned(&on_ring(&heavy), &light);
        prop_assert!(gives.moves.iter().all(|wanted| wanted.from == GroupId(changed)));
        prop_assert_eq!(takes.moves.len(), gives.moves.len());
    }
}

fn answer(meta: &mut Meta, command: MetaCommand) -> MetaOutcome {
    meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![command] }).remove(0)
}

fn wish(strategy: StrategyV1, leaving: &[u32]) -> MetaCommand {
    MetaCommand::Reshard(ReshardV1 { strategy, leaving: leaving.iter().copied().map(GroupId).collect() })
}

fn carry_out(meta: &mut Meta) {
    while let Some(due) =
        meta.routing().reshard().and_then(|wish| wish.plan(meta.routing()).ok()?.due(meta.routing(), 500))
    {
        let first = due.after.0 + 1;
        let attempts: Vec<AttemptV1> = due
            .slots
            .iter()
            .zip(first..)
            .map(|(wanted, epoch)| AttemptV1 { slot: wanted.slot, epoch: crate::model::Epoch(epoch) })
            .collect();
        say(meta, MetaCommand::StartMigrations(due));
        for attempt in attempts {
            say(meta, MetaCommand::MigrationInstalled(attempt));
            say(meta, MetaCommand::SwitchSlot(attempt));
            say(meta, MetaCommand::MigrationDone(attempt));
        }
    }
}

#[test]
fn a_wish_stands_until_it_is_fulfilled() {
    let mut meta = founded();
    say(&mut meta, wish(StrategyV1::Modulo, &[2]));
    let since = meta.routing().reshard().expect("it was wished").since;
    assert_eq!(since, meta.routing().picture());
    say(&mut meta, wish(StrategyV1::Modulo, &[2]));
    assert_eq!(meta.routing().picture(), since, "the same again changes nothing");
    assert_eq!(meta.routing().reshard().map(|wish| wish.emptied(meta.routing()).count()), Some(0));
    carry_out(&mut meta);
    let wish = meta.routing().reshard().expect("it stands");
    assert_eq!(wish.emptied(meta.routing()).collect::<Vec<_>>(), [GroupId(2)]);
    assert_eq!(meta.routing().slots_of(GroupId(1)).count(), usize::from(SLOTS));
    assert_eq!(Meta::load(meta.tables()).as_ref(), Ok(&meta));
    say(&mut meta, MetaCommand::RemoveGroup(GroupId(2)));
    assert_eq!(meta.routing().reshard().map(|wish| wish.emptied(meta.routing()).count()), Some(0));
    say(&mut meta, MetaCommand::EndReshard(since + 1));
    assert!(meta.routing().reshard().is_some(), "that was another one");
    say(&mut meta, MetaCommand::EndReshard(since));
    assert!(meta.routing().reshard().is_none());
}

#[test]
fn a_wish_that_cannot_be_fulfilled_is_refused() {
    let mut meta = founded();
    let refused = |refusal| MetaOutcome::Refused(refusal);
    let fault = |fault| refused(MetaRefusal::Reshard(fault));
    assert_eq!(answer(&mut meta, wish(StrategyV1::ConsistentHash, &[1, 2])), fault(ReshardFault::NoGroup));
    assert_eq!(
        answer(&mut meta, wish(StrategyV1::ConsistentHash, &[77])),
        refused(MetaRefusal::UnknownGroup(GroupId(77)))
    );
    let table = |last| vec![RangeV1 { first: 0, last, group: GroupId(1) }];
    for (strategy, leaving) in [(StrategyV1::Explicit(table(4000)), &[2][..]), (StrategyV1::Explicit(table(4095)), &[])]
    {
        assert_eq!(answer(&mut meta, wish(strategy, leaving)), fault(ReshardFault::Strategy));
    }
    say(&mut meta, wish(StrategyV1::Explicit(table(4095)), &[2]));
    assert_eq!(answer(&mut Meta::new(), wish(StrategyV1::Modulo, &[])), refused(MetaRefusal::NotFounded));
}
