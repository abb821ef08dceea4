//! Slots that move: each word in its place, doubled, late, about another attempt; and arbitrary sequences of them.

use super::super::command::{AddGroupV1, MetaCommand, MetaOutcome, PlaceGroupV1, ReplicaV1};
use super::super::member::GroupKey;
use super::super::meta::tests::{done, founded, refused, repeated, say};
use super::*;
use crate::model::NodeId;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

type Word = fn(AttemptV1) -> MetaCommand;

const INSTALLED: Word = MetaCommand::MigrationInstalled;
const SWITCH: Word = MetaCommand::SwitchSlot;
const DONE: Word = MetaCommand::MigrationDone;
const ABORT: Word = MetaCommand::AbortMigration;
const UNDONE: Word = MetaCommand::MigrationUndone;
const WORDS: [Word; 5] = [INSTALLED, SWITCH, DONE, ABORT, UNDONE];

fn start(after: u64, slots: &[(u16, u32)]) -> MetaCommand {
    let slots = slots.iter().map(|(slot, target)| SlotTargetV1 { slot: Slot(*slot), target: GroupId(*target) });
    MetaCommand::StartMigrations(StartMigrationsV1 { after: Epoch(after), slots: slots.collect() })
}

fn attempt(slot: u16, epoch: u64) -> AttemptV1 {
    AttemptV1 { slot: Slot(slot), epoch: Epoch(epoch) }
}

fn in_phase(phase: Phase) -> MetaRefusal {
    MetaRefusal::Migration(MigrationFault::Phase { slot: Slot(0), epoch: Epoch(2), phase })
}

fn over(epoch: u64) -> MetaRefusal {
    MetaRefusal::Migration(MigrationFault::Over { slot: Slot(0), epoch: Epoch(epoch) })
}

fn outdated(last: u64) -> MetaRefusal {
    MetaRefusal::Migration(MigrationFault::Outdated { last: Epoch(last) })
}

fn owner(meta: &Meta, slot: u16) -> (u32, u64) {
    let route = meta.routing().slot(Slot(slot)).expect("a slot that is there");
    (route.group.0, route.epoch.0)
}

fn phase_of(meta: &Meta, slot: u16) -> Option<Phase> {
    meta.routing().migration(Slot(slot)).map(|migration| migration.phase)
}

/// Slot 0 on its way from group 1 to group 2, with epoch 2, as far as these words lead.
fn moved_by(words: &[Word]) -> Meta {
    let mut meta = founded();
    done(&mut meta, start(1, &[(0, 2)]));
    for word in words {
        done(&mut meta, word(attempt(0, 2)));
    }
    meta
}

#[test]
fn a_slot_moves_in_four_words() {
    let mut meta = founded();
    done(&mut meta, start(1, &[(0, 2), (1, 1)]));
    let (source, target, phase) = (GroupId(1), GroupId(2), Phase::Started);
    let expected = Migration { source, target, epoch: Epoch(2), phase };
    assert_eq!(meta.routing().migration(Slot(0)), Some(&expected));
    assert_eq!(meta.routing().migration(Slot(1)).map(|migration| migration.epoch), Some(Epoch(3)));
    assert_eq!(meta.routing().last_epoch(), Epoch(3));
    done(&mut meta, INSTALLED(attempt(0, 2)));
    assert_eq!(owner(&meta, 0), (1, 1), "until the switch it is the source's");
    done(&mut meta, SWITCH(attempt(0, 2)));
    assert_eq!((owner(&meta, 0), phase_of(&meta, 0)), ((2, 2), Some(Phase::Switched)));
    repeated(&mut meta, INSTALLED(attempt(0, 2)));
    done(&mut meta, DONE(attempt(0, 2)));
    assert_eq!((owner(&meta, 0), phase_of(&meta, 0)), ((2, 2), None));
    assert_eq!(phase_of(&meta, 1), Some(Phase::Started), "each slot by itself");
    // As long as nothing followed, each word about it is answered as before.
    for word in [INSTALLED, SWITCH, DONE] {
        repeated(&mut meta, word(attempt(0, 2)));
    }
    repeated(&mut meta, start(1, &[(0, 2), (1, 1)]));
}

#[test]
fn an_attempt_is_given_up_before_the_switch_only() {
    for words in [&[][..], &[INSTALLED]] {
        let mut meta = moved_by(words);
        done(&mut meta, ABORT(attempt(0, 2)));
        assert_eq!((owner(&meta, 0), phase_of(&meta, 0)), ((1, 1), Some(Phase::Aborting)));
        for word in [INSTALLED, SWITCH, DONE] {
            assert_eq!(refused(&mut meta, word(attempt(0, 2))), in_phase(Phase::Aborting));
        }
        let moving = MigrationFault::Moving { slot: Slot(0), epoch: Epoch(2) };
        assert_eq!(refused(&mut meta, start(2, &[(0, 2)])), MetaRefusal::Migration(moving), "not put back yet");
        done(&mut meta, UNDONE(attempt(0, 2)));
        assert_eq!((owner(&meta, 0), phase_of(&meta, 0)), ((1, 1), None));
        repeated(&mut meta, ABORT(attempt(0, 2)));
        for word in [INSTALLED, SWITCH, DONE] {
            assert_eq!(refused(&mut meta, word(attempt(0, 2))), over(2));
        }
        assert_eq!(refused(&mut meta, start(1, &[(0, 2)])), outdated(2), "a late one starts nothing anew");
        // The next attempt has an epoch of its own.
        done(&mut meta, start(2, &[(0, 2)]));
        repeated(&mut meta, UNDONE(attempt(0, 2)));
        assert_eq!(refused(&mut meta, INSTALLED(attempt(0, 2))), over(2));
        done(&mut meta, INSTALLED(attempt(0, 3)));
        done(&mut meta, SWITCH(attempt(0, 3)));
        assert_eq!(owner(&meta, 0), (2, 3));
    }
    for words in [&[INSTALLED, SWITCH][..], &[INSTALLED, SWITCH, DONE]] {
        let mut meta = moved_by(words);
        for word in [ABORT, UNDONE] {
            assert_eq!(refused(&mut meta, word(attempt(0, 2))), in_phase(Phase::Switched));
        }
    }
}

#[test]
fn no_word_comes_before_its_time() {
    let mut meta = moved_by(&[]);
    for word in [SWITCH, DONE, UNDONE] {
        assert_eq!(refused(&mut meta, word(attempt(0, 2))), in_phase(Phase::Started));
    }
    let mut meta = moved_by(&[INSTALLED]);
    for word in [DONE, UNDONE] {
        assert_eq!(refused(&mut meta, word(attempt(0, 2))), in_phase(Phase::Installed));
    }
}

#[test]
fn a_word_about_no_attempt_changes_nothing() {
    let mut meta = moved_by(&[]);
    for word in WORDS {
        // The founding's epoch is no attempt's, 3 was not given out, 4096 is no slot.
        assert_eq!(refused(&mut meta, word(attempt(0, 1))), over(1));
        assert_eq!(refused(&mut meta, word(attempt(0, 3))), over(3));
        let fault = MigrationFault::Over { slot: Slot(4096), epoch: Epoch(2) };
        assert_eq!(refused(&mut meta, word(attempt(4096, 2))), MetaRefusal::Migration(fault));
        assert_eq!(refused(&mut Meta::new(), word(attempt(0, 1))), MetaRefusal::NotFounded);
    }
    // An attempt of another slot will never have been switched here; of what moved before, nothing is known.
    repeated(&mut meta, UNDONE(attempt(1, 2)));
    let mut meta = moved_by(&[INSTALLED, SWITCH, DONE]);
    done(&mut meta, start(2, &[(0, 1)]));
    done(&mut meta, INSTALLED(attempt(0, 3)));
    done(&mut meta, SWITCH(attempt(0, 3)));
    for word in WORDS {
        assert_eq!(refused(&mut meta, word(attempt(0, 2))), over(2));
    }
    assert_eq!(owner(&meta, 0), (1, 3), "back where it was, with another epoch");
}

#[test]
fn a_list_is_started_whole_or_not_at_all() {
    let mut meta = moved_by(&[]);
    let fault = |fault| MetaRefusal::Migration(fault);
    let moving = fault(MigrationFault::Moving { slot: Slot(0), epoch: Epoch(2) });
    assert_eq!(refused(&mut meta, start(2, &[(2, 2), (0, 2)])), moving);
    let owned = fault(MigrationFault::Owned { slot: Slot(3), group: GroupId(2) });
    assert_eq!(refused(&mut meta, start(2, &[(2, 2), (3, 2)])), owned);
    assert_eq!(refused(&mut meta, start(2, &[(2, 2), (4, 9)])), MetaRefusal::UnknownGroup(GroupId(9)));
    assert_eq!(refused(&mut meta, start(2, &[(2, 0)])), MetaRefusal::UnknownGroup(GroupId::META));
    for wrong in [&[][..], &[(2, 2), (2, 2)], &[(2, 2), (4096, 1)]] {
        assert_eq!(refused(&mut meta, start(2, wrong)), fault(MigrationFault::List));
    }
    for after in [0, 1, 3, u64::MAX] {
        assert_eq!(refused(&mut meta, start(after, &[(2, 2)])), outdated(2), "planned by another picture");
        assert_eq!(refused(&mut meta, start(after, &[(2, 1)])), outdated(2), "the founding was no attempt");
    }
    assert_eq!(refused(&mut Meta::new(), start(0, &[(0, 1)])), MetaRefusal::NotFounded);
    let all: Vec<(u16, u32)> = (1..SLOTS).map(|slot| (slot, 2 - u32::from(slot % 2))).collect();
    done(&mut meta, start(2, &all));
    assert_eq!(meta.routing().migrations().count(), usize::from(SLOTS));
    assert_eq!(meta.routing().last_epoch(), Epoch(u64::from(SLOTS) + 1));
}

#[test]
fn where_the_slots_will_be_is_known_before() {
    let mut meta = moved_by(&[]);
    let heir = |meta: &Meta| meta.routing().heirs()[0];
    assert_eq!(heir(&meta), GroupId(2));
    assert_eq!(meta.routing().migrations_of(GroupId(2)).count(), 1);
    done(&mut meta, ABORT(attempt(0, 2)));
    assert_eq!(heir(&meta), GroupId(1));
    assert!(Meta::new().routing().heirs().is_empty());
}

/// Something that happens; places in lists are taken modulo their length.
#[derive(Clone, Debug)]
enum Turn {
    /// These slots to these groups, whatever there is; if `late`, planned by a picture of before.
    Start {
        slots: Vec<(u16, u32)>,
        late: bool,
    },
    /// A slot to one of the groups that there are.
    Move {
        slot: u16,
        to: usize,
    },
    /// The word that comes next about one of the migrations under way.
    GoOn {
        which: usize,
        abort: bool,
    },
    /// A word about one of the latest attempts that there have been.
    Word {
        word: usize,
        which: usize,
    },
    /// A word about what is no attempt, perhaps.
    Guess {
        word: usize,
        slot: u16,
        epoch: u64,
    },
    Add(u8),
    Remove(u32),
    Wiped {
        group: u32,
        node: u64,
    },
    /// One of the replicas that are left to wipe is wiped.
    Wipe,
    Place {
        group: u32,
    },
    Repeat,
}

fn turns() -> impl Strategy<Value = Turn> {
    let slots = proptest::collection::vec((0u16..5, 1u32..6), 1..4);
    prop_oneof![
        2 => (slots, proptest::bool::weighted(0.2)).prop_map(|(slots, late)| Turn::Start { slots, late }),
        5 => (0u16..5, 0usize..5).prop_map(|(slot, to)| Turn::Move { slot, to }),
        12 => (0usize..5, proptest::bool::weighted(0.15)).prop_map(|(which, abort)| Turn::GoOn { which, abort }),
        6 => (0usize..5, 0usize..40).prop_map(|(word, which)| Turn::Word { word, which }),
        1 => (0usize..5, 0u16..5, 0u64..9).prop_map(|(word, slot, epoch)| Turn::Guess { word, slot, epoch }),
        2 => (0u8..9).prop_map(Turn::Add),
        2 => (0u32..9).prop_map(Turn::Remove),
        1 => (0u32..9, 1u64..4).prop_map(|(group, node)| Turn::Wiped { group, node }),
        3 => Just(Turn::Wipe),
        1 => (0u32..9).prop_map(|group| Turn::Place { group }),
        3 => Just(Turn::Repeat),
    ]
}

/// What is expected of the attempts, kept apart from the state machine.
#[derive(Default)]
struct Ledger {
    given: BTreeMap<Epoch, (Slot, GroupId)>,
    switched: BTreeMap<Epoch, Slot>,
    aborted: BTreeMap<Epoch, Slot>,
    last: Option<MetaCommand>,
}

impl Ledger {
    fn command(&self, meta: &Meta, turn: Turn) -> MetaCommand {
        let three = |group: u32| [1, 2, 3].map(|node| NodeId(1 + (node + u64::from(group)) % 3)).to_vec();
        match turn {
            Turn::Start { slots, late } => start(meta.routing().last_epoch().0 - u64::from(late), &slots),
            Turn::Move { slot, to } => {
                let groups: Vec<u32> = meta.routing().groups().map(|(group, _)| group.0).collect();
                start(meta.routing().last_epoch().0, &[(slot, groups[to % groups.len()])])
            }
            Turn::GoOn { which, abort } => {
                let under_way: Vec<(Slot, &Migration)> = meta.routing().migrations().collect();
                let Some((slot, migration)) = under_way.get(which % under_way.len().max(1)) else {
                    return self.command(meta, Turn::Repeat);
                };
                let word = match (migration.phase, abort) {
                    (Phase::Started | Phase::Installed, true) => ABORT,
                    (Phase::Started, false) => INSTALLED,
                    (Phase::Installed, false) => SWITCH,
                    (Phase::Switched, _) => DONE,
                    (Phase::Aborting, _) => UNDONE,
                };
                word(AttemptV1 { slot: *slot, epoch: migration.epoch })
            }
            Turn::Word { word, which } => {
                let newest = self.given.iter().rev().nth(which % self.given.len().clamp(1, 6));
                let (epoch, slot) = newest.map_or((Epoch(2), Slot(0)), |(epoch, (slot, _))| (*epoch, *slot));
                WORDS[word](AttemptV1 { slot, epoch })
            }
            Turn::Guess { word, slot, epoch } => WORDS[word](attempt(slot, epoch)),
            Turn::Add(key) => MetaCommand::AddGroup(AddGroupV1 {
                key: GroupKey([key; 16]),
                label: String::new(),
                replicas: three(u32::from(key)),
            }),
            Turn::Remove(group) => MetaCommand::RemoveGroup(GroupId(group)),
            Turn::Wiped { group, node } => {
                MetaCommand::ReplicaGone(ReplicaV1 { group: GroupId(group), node: NodeId(node) })
            }
            Turn::Wipe => {
                let going = meta.routing().groups().find(|(_, route)| !route.former.is_empty());
                let left = going.and_then(|(group, route)| Some((group, *route.former.first()?)));
                let (group, node) = left.unwrap_or((GroupId(1), NodeId(1)));
                MetaCommand::ReplicaGone(ReplicaV1 { group, node })
            }
            Turn::Place { group } => {
                MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(group), replicas: three(group) })
            }
            Turn::Repeat => self.last.clone().unwrap_or_else(|| start(1, &[(0, 2)])),
        }
    }

    fn note(&mut self, command: &MetaCommand) {
        match command {
            MetaCommand::StartMigrations(wish) => {
                for (SlotTargetV1 { slot, target }, epoch) in attempts(wish) {
                    assert!(self.given.insert(epoch, (slot, target)).is_none(), "{epoch} was given out before");
                }
            }
            MetaCommand::SwitchSlot(AttemptV1 { slot, epoch }) => _ = self.switched.insert(*epoch, *slot),
            MetaCommand::AbortMigration(AttemptV1 { slot, epoch }) => _ = self.aborted.insert(*epoch, *slot),
            _ => {}
        }
    }

    /// Who should own the first slots: the group of the latest attempt that was switched, or of the founding.
    fn owner(&self, slot: Slot) -> SlotRoute {
        let latest = self.switched.iter().rev().find(|(_, of)| **of == slot).map(|(epoch, _)| *epoch);
        let founding = SlotRoute { group: GroupId(1 + u32::from(slot.0 % 2)), epoch: Epoch::FOUNDING };
        latest.map_or(founding, |epoch| SlotRoute { group: self.given[&epoch].1, epoch })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_switched_attempts_change_the_table(turns in proptest::collection::vec(turns(), 1..120)) {
        let (mut meta, mut ledger) = (founded(), Ledger::default());
        for turn in turns {
            let command = ledger.command(&meta, turn);
            let before = meta.clone();
            let outcome = say(&mut meta, command.clone());
            let changed = meta != before;
            prop_assert!(!changed || !matches!(outcome, MetaOutcome::Refused(_)), "{:?}", command);
            prop_assert_eq!(meta.routing().picture() - before.routing().picture(), u64::from(changed));
            if changed {
                ledger.note(&command);
                // Said again at once, it gets the same answer.
                let now = meta.clone();
                prop_assert_eq!(say(&mut meta, command.clone()), outcome);
                prop_assert_eq!(&meta, &now);
            }
            ledger.last = Some(command);
            let routing = meta.routing();
            for slot in (0..8).map(Slot) {
                prop_assert_eq!(routing.slot(slot), Some(ledger.owner(slot)));
                prop_assert!(routing.epoch_of(slot) >= before.routing().epoch_of(slot));
            }
            prop_assert_eq!(routing.slots.len(), usize::from(SLOTS));
            prop_assert!(ledger.switched.keys().all(|epoch| !ledger.aborted.contains_key(epoch)), "one end each");
            prop_assert!(ledger.given.keys().all(|epoch| *epoch <= routing.last_epoch()));
            let owners = routing.slots.iter().take(8).map(|route| route.group);
            let movers = routing.migrations().flat_map(|(_, migration)| [migration.source, migration.target]);
            for group in owners.chain(movers) {
                prop_assert!(routing.group(group).is_some_and(|route| !route.is_going()), "group {}", group);
            }
        }
        prop_assert_eq!(Meta::load(meta.tables()), Ok(meta.clone()));
    }
}
