//! Which step is due: in every phase, on both sides, and for what is left of attempts that are over.

use super::*;
use quorate_core::cluster::command::{FoundClusterV1, GroupV1, NodeStartedV1, SlotTargetV1, StartMigrationsV1};
use quorate_core::cluster::{Addresses, ClusterId, DiskId, Meta, MetaBatch, MetaOutcome, StartEpoch, StartId};
use quorate_core::model::{NodeId, SLOTS};
use quorate_core::txn::Stamp;

const SLOT: Slot = Slot(0);
const SOURCE: GroupId = GroupId(1);
const TARGET: GroupId = GroupId(2);

fn attempt(epoch: u64) -> AttemptV1 {
    AttemptV1 { slot: SLOT, epoch: Epoch(epoch) }
}

fn said(meta: &mut Meta, commands: Vec<MetaCommand>) {
    for outcome in meta.apply(&MetaBatch { stamp: Stamp::default(), commands }) {
        assert!(!matches!(outcome, MetaOutcome::Refused(_)), "{outcome:?}");
    }
}

/// Two groups; slot 0 is the first one's, and is to move to the second.
fn started() -> Meta {
    let mut meta = Meta::new();
    let node = NodeStartedV1 {
        node: NodeId(1),
        disk: DiskId([1; 16]),
        epoch: StartEpoch(1),
        start: StartId([1; 16]),
        addresses: Addresses::default(),
    };
    let group = |group| GroupV1 { group, label: String::new(), replicas: vec![NodeId(1)] };
    let founding = FoundClusterV1 {
        cluster: ClusterId([7; 16]),
        birth_ms: 0,
        nodes: vec![node],
        groups: vec![group(SOURCE), group(TARGET)],
        slots: (0..SLOTS).map(|slot| if slot % 2 == 0 { SOURCE } else { TARGET }).collect(),
    };
    said(&mut meta, vec![MetaCommand::FoundCluster(founding)]);
    let slots = vec![SlotTargetV1 { slot: SLOT, target: TARGET }];
    said(&mut meta, vec![MetaCommand::StartMigrations(StartMigrationsV1 { after: Epoch::FOUNDING, slots })]);
    meta
}

fn steps(meta: &Meta, source: Ownership, target: Ownership) -> (Option<Step>, Option<Step>) {
    let due = |group, stands| due(meta.routing(), group, SLOT, stands).map(|(step, _)| step);
    (due(SOURCE, source), due(TARGET, target))
}

const ACTIVE: Ownership = Ownership::Active(Epoch(1));
const FROZEN: Ownership = Ownership::Frozen { epoch: Epoch(1), attempt: Epoch(2) };
const PASSIVE: Ownership = Ownership::Passive(Epoch(2));
const HALF: Ownership = Ownership::Installing { attempt: Epoch(2), chunks: 3 };

#[test]
fn a_slot_moves_step_by_step() {
    let mut meta = started();
    let install = Some(Step::Install { source: SOURCE });
    assert_eq!(steps(&meta, ACTIVE, Ownership::None), (Some(Step::Freeze), install));
    assert_eq!(steps(&meta, FROZEN, HALF), (None, install));
    assert_eq!(steps(&meta, FROZEN, PASSIVE), (None, Some(Step::Switch)));
    said(&mut meta, vec![MetaCommand::MigrationInstalled(attempt(2))]);
    assert_eq!(steps(&meta, FROZEN, PASSIVE), (None, Some(Step::Switch)));
    said(&mut meta, vec![MetaCommand::SwitchSlot(attempt(2))]);
    assert_eq!(steps(&meta, FROZEN, PASSIVE), (Some(Step::Drop), Some(Step::Activate)));
    assert_eq!(steps(&meta, Ownership::None, Ownership::Active(Epoch(2))), (Some(Step::Drop), None));
    said(&mut meta, vec![MetaCommand::MigrationDone(attempt(2))]);
    assert_eq!(steps(&meta, Ownership::None, Ownership::Active(Epoch(2))), (None, None));
}

#[test]
fn an_attempt_that_is_given_up_is_taken_back() {
    let mut meta = started();
    said(&mut meta, vec![MetaCommand::AbortMigration(attempt(2))]);
    for source in [ACTIVE, FROZEN] {
        assert_eq!(steps(&meta, source, HALF), (Some(Step::Unfreeze), Some(Step::Discard)));
    }
    assert_eq!(steps(&meta, FROZEN, Ownership::None), (Some(Step::Unfreeze), None));
}

#[test]
fn what_is_left_of_attempts_is_tidied_up() {
    let mut undone = started();
    said(&mut undone, vec![MetaCommand::AbortMigration(attempt(2)), MetaCommand::MigrationUndone(attempt(2))]);
    assert_eq!(steps(&undone, FROZEN, PASSIVE), (Some(Step::Unfreeze), Some(Step::Discard)));
    assert_eq!(steps(&undone, ACTIVE, HALF), (None, Some(Step::Discard)));
    let mut done = started();
    let through = [MetaCommand::MigrationInstalled, MetaCommand::SwitchSlot, MetaCommand::MigrationDone];
    said(&mut done, through.map(|word| word(attempt(2))).to_vec());
    assert_eq!(steps(&done, FROZEN, PASSIVE), (Some(Step::Drop), Some(Step::Activate)));
}

#[test]
fn of_an_attempt_that_the_picture_does_not_know_yet_nothing_is_said() {
    let meta = started();
    let newer = Epoch(9);
    let frozen = Ownership::Frozen { epoch: Epoch(1), attempt: newer };
    assert_eq!(steps(&meta, frozen, Ownership::Passive(newer)), (None, None));
}

#[test]
fn what_comes_no_further_is_given_up_and_its_groups_are_left_alone() {
    quorate_world::runtime::run_test(async {
        let mut meta = started();
        said(&mut meta, vec![MetaCommand::MigrationInstalled(attempt(2))]);
        let (mut attempts, began) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.wishes(meta.routing(), began), []);
        assert_eq!(attempts.wishes(meta.routing(), began + ATTEMPT_MAX), []);
        let late = began + ATTEMPT_MAX + PAUSE;
        assert_eq!(attempts.wishes(meta.routing(), late), [MetaCommand::AbortMigration(attempt(2))]);
        assert_eq!(attempts.shunned.keys().copied().collect::<Vec<_>>(), [SOURCE, TARGET]);
        said(&mut meta, vec![MetaCommand::AbortMigration(attempt(2))]);
        assert_eq!(attempts.wishes(meta.routing(), late + ATTEMPT_MAX + PAUSE), [], "once");
    });
}
