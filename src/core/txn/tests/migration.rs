//! How a slot moves, by examples: each rule of section 7 of the lock protocol, and each message that comes late or twice.

use alloc::format;
use alloc::string::ToString;

use super::copy::{ChunkV1, RowV1};
use super::*;
use crate::codec;
use crate::model::{BranchStatus, GlobalStatus, RowKey, limits};

const ATTEMPT: Epoch = Epoch(5);
/// So short that hardly two records go into a chunk.
const CHUNK_BYTES: usize = 80;

fn step(slot: Slot, epoch: u64) -> SlotStepV1 {
    SlotStepV1 { slot, epoch: Epoch(epoch) }
}

/// The lock slot of "stock", which is home of transactions too.
fn moving() -> Slot {
    lock_slot("stock")
}

/// A group without slots, led by tenure 1, with its clock at `clock_ms`.
pub(super) fn newcomer(clock_ms: u64) -> Transactions {
    let mut state = Transactions::new();
    let found = Command::Found(FoundV1 { slots: Vec::new(), epoch: EPOCH, sequence: FIRST_SEQUENCE });
    state.apply(&batch(clock_ms, vec![found, lead(1)]));
    state
}

fn begun_in(state: &mut Transactions, clock_ms: u64, slot: Slot, timeout_ms: i32) -> TransactionId {
    loop {
        let transaction = begun(state, clock_ms, timeout_ms);
        if transaction.slot() == slot {
            return transaction;
        }
    }
}

fn registered(state: &mut Transactions, clock_ms: u64, sequence: u64, transaction: TransactionId, rows: &str) {
    let command = register(transaction, FIRST_SEQUENCE + sequence, BranchType::AT, "stock", rows);
    assert_eq!(one(state, clock_ms, Command::RegisterBranch(command)), Outcome::Registered);
}

/// What is found in the moving slot.
struct Known {
    open: TransactionId,
    decided: TransactionId,
    deleted: TransactionId,
    ended: TransactionId,
}

/// A bit of everything in the moving slot: at 1,000 ms all begins, then it goes on to 31,000.
fn filled() -> (Transactions, Known) {
    let mut state = founded();
    let [open, decided, deleted, ended] =
        [60_000, 90_000, 60_000, 60_000].map(|timeout_ms| begun_in(&mut state, 1_000, moving(), timeout_ms));
    registered(&mut state, 2_000, 0, open, "t:1,2");
    registered(&mut state, 2_500, 1, open, "t:2,3");
    let request = register(open, FIRST_SEQUENCE + 2, BranchType::TCC, "pay", "");
    one(&mut state, 3_000, Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: request, request: 7 }));
    registered(&mut state, 3_000, 3, decided, "t:7");
    let pay = register(decided, FIRST_SEQUENCE + 4, BranchType::TCC, "pay", "");
    one(&mut state, 3_000, Command::RegisterBranch(pay));
    let decide = |state: &mut Transactions, transaction, decision| {
        assert!(matches!(one(state, 4_000, super::decide(transaction, decision)), Outcome::Decided(_)));
    };
    decide(&mut state, decided, Decision::Rollback);
    let pay = register(deleted, FIRST_SEQUENCE + 5, BranchType::TCC, "pay", "");
    one(&mut state, 4_000, Command::RegisterBranch(pay));
    decide(&mut state, deleted, Decision::Rollback);
    let failed = FailV1 {
        transaction: deleted,
        branch: branch(deleted, FIRST_SEQUENCE + 5),
        status: BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
    };
    one(&mut state, 4_000, Command::Fail(failed));
    one(&mut state, 4_000, Command::Operate(OperateV1 { transaction: deleted, operation: Operation::CleanUp }));
    decide(&mut state, ended, Decision::Commit);
    one(&mut state, 5_000, Command::End(TransactionV1 { transaction: ended }));
    let foreign = TransactionId::mint(FIRST_SEQUENCE, Slot(9)).expect("a small sequence");
    let acquire = AcquireLocksV1 {
        transaction: foreign,
        branch: branch(foreign, FIRST_SEQUENCE + 1),
        fence: Fence { epoch: Epoch(3), tenure: Term(8) },
        resource: "stock".into(),
        lock_keys: "u:1".into(),
    };
    assert_eq!(one(&mut state, 6_000, Command::AcquireLocks(acquire)), Outcome::Acquired);
    one(&mut state, 31_000, Command::Tick);
    assert!(state.session(deleted).is_some_and(Session::is_cleaning));
    (state, Known { open, decided, deleted, ended })
}

pub(super) fn chunks(source: &Transactions, slot: Slot, attempt: Epoch, bytes_max: usize) -> Vec<Command> {
    let chunks = source.slot_copy_in(slot, attempt, bytes_max).expect("frozen");
    chunks.map(Command::InstallSlot).collect()
}

fn apply_all(state: &mut Transactions, commands: &[Command]) -> Vec<Outcome> {
    let clock_ms = state.clock_ms();
    commands.iter().map(|command| one(state, clock_ms, command.clone())).collect()
}

/// From one to the other, with nothing lost on the way.
fn moved(source: &mut Transactions, target: &mut Transactions, slot: Slot, attempt: u64) {
    apply_all(source, &[Command::FreezeSlot(step(slot, attempt))]);
    let copy = chunks(source, slot, Epoch(attempt), CHUNK_BYTES);
    let last = apply_all(target, &copy).pop();
    assert_eq!(last, Some(Outcome::Slot(Ownership::Passive(Epoch(attempt)))));
    apply_all(target, &[Command::ActivateSlot(step(slot, attempt))]);
    apply_all(source, &[Command::DropSlot(step(slot, attempt))]);
    for state in [source, target] {
        state.check_invariants().expect("whole");
    }
}

#[test]
fn a_slot_moves_with_all_it_holds() {
    let (mut source, known) = filled();
    let mut target = newcomer(1_000_000);
    let before = source.clone();
    let left_alone = source.counts().sessions - source.sessions_in(moving()).count() as u64;
    moved(&mut source, &mut target, moving(), 5);
    assert_eq!(source.ownership(moving()), Ownership::None);
    assert_eq!(source.counts().sessions, left_alone);
    assert_eq!(target.owns(moving()), Some(ATTEMPT));
    assert_eq!(target.counts().sessions, before.sessions_in(moving()).count() as u64);
    for transaction in [known.open, known.decided, known.deleted, known.ended] {
        assert_eq!(source.standing(transaction), None);
        assert_eq!(target.standing(transaction), before.standing(transaction), "{transaction}");
    }
    let branches = |state: &Transactions| -> Vec<_> {
        let session = state.session(known.open).expect("moved");
        let told =
            |branch: &Branch| (branch.branch, branch.kind, branch.lock_keys.clone(), branch.fence, branch.request);
        session.branches.values().map(told).collect()
    };
    assert_eq!(branches(&target), branches(&before));
    assert!(target.session(known.deleted).is_some_and(|session| session.is_deleted() && session.is_cleaning()));
    let row = |key: &str| RowKey { table: "t".into(), key: key.into() };
    for key in ["1", "2", "3", "7"] {
        assert_eq!(target.holder("stock", &row(key)), before.holder("stock", &row(key)), "{key}");
        assert_eq!(source.holder("stock", &row(key)), None);
    }
    assert_eq!(target.unfinished(None).collect::<Vec<_>>(), [known.decided, known.deleted]);
    assert_eq!(target.unreported(), 3);
    // What is told to the new owner goes on there.
    let now = target.clock_ms();
    assert_eq!(one(&mut target, now, decide(known.open, Decision::Commit)), Outcome::Decided(GlobalStatus::Committing));
    assert_eq!(target.counts().row_locks, 2, "the commit let go what it held");
}

#[test]
fn a_copy_of_a_copy_is_the_same_up_to_times() {
    let (mut source, _) = filled();
    let mut target = newcomer(5_000_000);
    apply_all(&mut source, &[Command::FreezeSlot(step(moving(), 5))]);
    let aged = |copy: &[Command]| -> Vec<(u16, String)> {
        let chunks = copy.iter().map(|command| match command {
            Command::InstallSlot(install) => codec::decode::<ChunkV1>(&install.bytes).expect("its own"),
            other => panic!("{other:?}"),
        });
        let rows = chunks.flat_map(|chunk| {
            chunk.rows.into_iter().map(move |row| (row.table, aged(row.table, &row.bytes, chunk.clock_ms)))
        });
        rows.collect()
    };
    let first = chunks(&source, moving(), ATTEMPT, CHUNK_BYTES);
    apply_all(&mut target, &first);
    apply_all(&mut target, &[Command::ActivateSlot(step(moving(), 5)), Command::FreezeSlot(step(moving(), 6))]);
    let second = chunks(&target, moving(), Epoch(6), CHUNK_BYTES);
    assert_eq!(aged(&second), aged(&first));
    // The same with other chunks.
    let second = chunks(&target, moving(), Epoch(6), 1 << 20);
    assert_eq!((aged(&second), second.len()), (aged(&first), 1));
}

/// A record with ages for times.
fn aged(table: u16, bytes: &[u8], clock_ms: u64) -> String {
    use super::tables::*;
    let age = |then_ms: u64| clock_ms - then_ms;
    match table {
        SESSION => {
            let row: SessionV1 = codec::decode(bytes).expect("a session");
            format!("{:?}", SessionV1 { begun_clock_ms: age(row.begun_clock_ms), ..row })
        }
        BRANCH => {
            let row: BranchRecordV2 = codec::decode(bytes).expect("a branch");
            format!("{:?} {:?}", row.branch, row.registered_clock_ms.map(age))
        }
        TOMBSTONE => {
            let row: TombstoneV1 = codec::decode(bytes).expect("a tombstone");
            format!("{:?}", TombstoneV1 { ended_clock_ms: age(row.ended_clock_ms), ..row })
        }
        HOLD => {
            let row: HoldV1 = codec::decode(bytes).expect("a hold");
            format!("{:?}", HoldV1 { since_ms: age(row.since_ms), ..row })
        }
        _ => format!("{bytes:?}"),
    }
}

/// How a group may stand to the moving slot, with what has brought it there.
fn stands() -> Vec<(&'static str, Transactions)> {
    let (source, _) = filled();
    let mut frozen = source.clone();
    apply_all(&mut frozen, &[Command::FreezeSlot(step(moving(), 5))]);
    let copy = chunks(&frozen, moving(), ATTEMPT, CHUNK_BYTES);
    let after = |state: &Transactions, commands: &[Command]| {
        let mut state = state.clone();
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
        assert!(!apply_all(&mut state, commands).iter().any(refused));
        state
    };
    let stranger = newcomer(0);
    let passive = after(&stranger, &copy);
    vec![
        ("stranger", stranger.clone()),
        ("owner", source.clone()),
        ("frozen", frozen.clone()),
        ("unfrozen", after(&frozen, &[Command::UnfreezeSlot(step(moving(), 5))])),
        ("dropped", after(&frozen, &[Command::DropSlot(step(moving(), 5))])),
        ("half", after(&stranger, &copy[..3])),
        ("passive", passive.clone()),
        ("discarded", after(&passive, &[Command::DiscardSlot(step(moving(), 5))])),
        ("taker", after(&passive, &[Command::ActivateSlot(step(moving(), 5))])),
    ]
}

/// The table of section 7: how each group answers a step of the attempt before, of the attempt, and of the one after.
const TABLE: &str = "
stranger  freeze     stands | stands | stands
stranger  install    new | new | new
stranger  activate   stands | stands | stands
stranger  drop       stands | stands | stands
stranger  unfreeze   none | none | none
stranger  discard    none | none | none
owner     freeze     frozen | frozen | frozen
owner     install    stands | stands | stands
owner     activate   stands | stands | stands
owner     drop       stands | stands | stands
owner     unfreeze   active | active | active
owner     discard    stands | stands | stands
frozen    freeze     stands | frozen | stands
frozen    install    stands | stands | stands
frozen    activate   stands | stands | stands
frozen    drop       stands | none | stands
frozen    unfreeze   frozen | active | frozen
frozen    discard    stands | stands | stands
unfrozen  freeze     over | over | frozen
unfrozen  install    stands | stands | stands
unfrozen  activate   stands | stands | stands
unfrozen  drop       stands | stands | stands
unfrozen  unfreeze   active | active | active
unfrozen  discard    stands | stands | stands
dropped   freeze     stands | stands | stands
dropped   install    over | over | new
dropped   activate   stands | stands | stands
dropped   drop       none | none | stands
dropped   unfreeze   none | none | none
dropped   discard    none | none | none
half      freeze     stands | stands | stands
half      install    stands | half | new
half      activate   stands | stands | stands
half      drop       stands | stands | stands
half      unfreeze   half | half | half
half      discard    half | none | half
passive   freeze     stands | stands | stands
passive   install    stands | passive | new
passive   activate   stands | active | stands
passive   drop       stands | stands | stands
passive   unfreeze   passive | passive | passive
passive   discard    passive | none | passive
discarded freeze     stands | stands | stands
discarded install    over | over | new
discarded activate   stands | stands | stands
discarded drop       none | none | stands
discarded unfreeze   none | none | none
discarded discard    none | none | none
taker     freeze     over | over | frozen
taker     install    stands | stands | stands
taker     activate   stands | active | stands
taker     drop       stands | stands | stands
taker     unfreeze   active | active | active
taker     discard    stands | stands | stands
";

fn word(outcome: &Outcome, attempt: u64) -> &'static str {
    match outcome {
        Outcome::Slot(Ownership::None) => "none",
        Outcome::Slot(Ownership::Passive(_)) => "passive",
        Outcome::Slot(Ownership::Active(_)) => "active",
        Outcome::Slot(Ownership::Frozen { .. }) => "frozen",
        Outcome::Slot(Ownership::Installing { attempt: of, chunks: 1 }) if of.0 == attempt => "new",
        Outcome::Slot(Ownership::Installing { .. }) => "half",
        Outcome::Refused(Refusal::SlotStands { .. }) => "stands",
        Outcome::Refused(Refusal::AttemptOver { .. }) => "over",
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_step_in_every_stand_as_the_table_says() {
    let mut frozen = filled().0;
    apply_all(&mut frozen, &[Command::FreezeSlot(step(moving(), 5))]);
    let first = frozen.slot_copy_in(moving(), ATTEMPT, CHUNK_BYTES).expect("frozen").next().expect("a chunk");
    let mut told = String::from("\n");
    for (name, state) in stands() {
        for kind in ["freeze", "install", "activate", "drop", "unfreeze", "discard"] {
            let answers = [4, 5, 6].map(|attempt| {
                let step = step(moving(), attempt);
                let command = match kind {
                    "freeze" => Command::FreezeSlot(step),
                    "install" => Command::InstallSlot(InstallSlotV1 { epoch: Epoch(attempt), ..first.clone() }),
                    "activate" => Command::ActivateSlot(step),
                    "drop" => Command::DropSlot(step),
                    "unfreeze" => Command::UnfreezeSlot(step),
                    _ => Command::DiscardSlot(step),
                };
                answered(&state, &command, attempt)
            });
            told += &format!("{name:9} {kind:10} {}\n", answers.join(" | "));
        }
    }
    assert_eq!(told, TABLE);
}

/// What a command comes to. Refused it changes nothing, and once more it comes to the same.
fn answered(state: &Transactions, command: &Command, attempt: u64) -> &'static str {
    let mut after = state.clone();
    let outcome = one(&mut after, 0, command.clone());
    after.check_invariants().expect("whole");
    match outcome {
        Outcome::Refused(_) => assert_eq!(&after, state, "{command:?}"),
        _ => {
            let once = after.clone();
            assert_eq!(one(&mut after, 0, command.clone()), outcome, "{command:?} once more");
            assert_eq!(after, once, "{command:?} once more");
        }
    }
    word(&outcome, attempt)
}

#[test]
fn steps_of_what_is_no_slot_and_of_a_group_not_founded_are_refused() {
    let all = |slot: Slot| {
        let step = step(slot, 5);
        let install = InstallSlotV1 { slot, epoch: ATTEMPT, chunk: 0, bytes: Vec::new() };
        [
            Command::FreezeSlot(step),
            Command::InstallSlot(install),
            Command::ActivateSlot(step),
            Command::DropSlot(step),
            Command::UnfreezeSlot(step),
            Command::DiscardSlot(step),
        ]
    };
    for command in all(Slot(4_096)) {
        assert_eq!(one(&mut founded(), 0, command), Outcome::Refused(Refusal::NoSuchSlot));
    }
    for command in all(moving()) {
        assert_eq!(one(&mut Transactions::new(), 0, command), Outcome::Refused(Refusal::NotFounded));
    }
}

/// All that may be asked of a group about a transaction or its rows.
fn requests(of: TransactionId) -> Vec<Command> {
    let first = branch(of, FIRST_SEQUENCE);
    let (name, known) = (TransactionV1 { transaction: of }, BranchV1 { transaction: of, branch: first });
    let new = register(of, FIRST_SEQUENCE + 50, BranchType::AT, "stock", "t:9");
    let fence = new.fence;
    let mut all = vec![
        Command::RegisterBranch(RegisterBranchV1 { with_locks: false, ..new.clone() }),
        Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: new, request: 9 }),
        Command::RemoveBranch(known),
        Command::CleanedUp(known),
        Command::ReportBranch(ReportBranchV1 {
            transaction: of,
            branch: first,
            status: BranchStatus::PhaseOne_Done,
            application_data: String::new(),
        }),
        decide(of, Decision::Commit),
        decide(of, Decision::Rollback),
        decide(of, Decision::TimeoutRollback),
        Command::Retry(name),
        Command::Detach(name),
        Command::End(name),
        Command::Forget(name),
        Command::Fail(FailV1 {
            transaction: of,
            branch: first,
            status: BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
        }),
        Command::Report(ReportV1 { transaction: of, status: GlobalStatus::Committed, asked: None }),
        Command::GiveUp(GiveUpV1 { transaction: of, after_ms: 0 }),
        Command::AcquireLocks(AcquireLocksV1 {
            transaction: of,
            branch: first,
            fence,
            resource: "stock".into(),
            lock_keys: "t:1,2".into(),
        }),
        Command::ReleaseLocks(ReleaseLocksV1 { transaction: of, slot: moving(), scope: ReleaseScope::All }),
    ];
    all.extend(operations(first).map(|operation| Command::Operate(OperateV1 { transaction: of, operation })));
    all
}

#[test]
fn only_an_active_slot_is_changed_driven_or_spoken_for() {
    let (_, known) = filled();
    for (name, mut state) in stands().into_iter().filter(|(_, state)| state.owns(moving()).is_none()) {
        let before = state.clone();
        let now = state.clock_ms();
        for transaction in [known.open, known.decided, known.deleted, known.ended] {
            for command in requests(transaction) {
                let outcome = one(&mut state, now, command.clone());
                assert!(
                    matches!(outcome, Outcome::Refused(Refusal::NotOwner { .. })),
                    "{name}: {command:?} {outcome:?}"
                );
            }
            assert_eq!((state.session(transaction), state.standing(transaction)), (None, None));
            assert!(
                state
                    .is_gone(transaction, branch(transaction, 1), Fence { epoch: EPOCH, tenure: Term(1) }, false)
                    .is_err()
            );
            assert_eq!(state.holds_of(moving(), transaction).count(), 0);
        }
        assert_eq!(state, before, "{name}");
        let is_moving = |transaction: &TransactionId| transaction.slot() == moving();
        assert!(!state.due_until(u64::MAX).any(|transaction| is_moving(&transaction)), "{name}");
        assert!(!state.unfinished(None).any(|transaction| is_moving(&transaction)), "{name}");
        assert_eq!(state.holds_older_than(0, u64::MAX).count() + state.rows_in(moving()).count(), 0);
        assert_eq!(state.locks().count() + state.sessions_in(moving()).count(), 0);
        assert_eq!(state.sessions().filter(|session| is_moving(&session.transaction)).count(), 0);
        let row = RowKey { table: "t".into(), key: "1".into() };
        assert_eq!(state.holder("stock", &row), None);
        assert_eq!(state.conflict(TransactionId(1), "stock", &core::iter::once(row).collect(), u64::MAX), None);
        let counts = state.counts();
        assert_eq!((counts.row_locks, counts.holds, counts.tombstones, state.unreported()), (0, 0, 0, 0), "{name}");
        // Begins go to other slots, or nowhere.
        let begun = one(&mut state, now, begin(1));
        assert!(!matches!(begun, Outcome::Begun(transaction) if is_moving(&transaction)), "{name}: {begun:?}");
    }
}

#[test]
fn what_is_unfrozen_comes_back_to_all_orders() {
    let (before, known) = filled();
    let mut state = before.clone();
    apply_all(&mut state, &[Command::FreezeSlot(step(moving(), 5))]);
    assert_eq!(state.counts().bytes, before.counts().bytes, "it takes up its memory all the same");
    let mut state = Transactions::load(state.tables()).expect("its own records");
    apply_all(&mut state, &[Command::UnfreezeSlot(step(moving(), 5))]);
    // As one that was never frozen, and has seen the attempt.
    let mut expected = before;
    apply_all(&mut expected, &[Command::UnfreezeSlot(step(moving(), 5))]);
    assert_eq!(state, expected);
    assert!(state.next_due().is_some() && state.awaits_clock());
    assert!(state.unfinished(None).any(|transaction| transaction == known.decided));
}

#[test]
fn tombstones_stand_while_their_slot_does_not_serve() {
    let (mut state, known) = filled();
    apply_all(&mut state, &[Command::FreezeSlot(step(moving(), 5))]);
    let before = chunks(&state, moving(), ATTEMPT, CHUNK_BYTES);
    let later_ms = 31_000 + 2 * limits::TOMBSTONE_LIFE_MS;
    one(&mut state, later_ms, Command::Tick);
    let rows = |copy: &[Command]| -> Vec<Vec<RowV1>> {
        let chunks = copy.iter().map(|command| match command {
            Command::InstallSlot(install) => codec::decode::<ChunkV1>(&install.bytes).expect("its own").rows,
            other => panic!("{other:?}"),
        });
        chunks.collect()
    };
    assert_eq!(rows(&chunks(&state, moving(), ATTEMPT, CHUNK_BYTES)), rows(&before), "the same chunks at any time");
    // Half of the copy from before, half from now: their ages differ, their records do not.
    let mut target = newcomer(0);
    let now = chunks(&state, moving(), ATTEMPT, CHUNK_BYTES);
    apply_all(&mut target, &before[..4]);
    apply_all(&mut target, &now[4..]);
    apply_all(&mut target, &[Command::ActivateSlot(step(moving(), 5))]);
    assert_eq!(target.tombstone(known.ended), Some(GlobalStatus::Committed));
    apply_all(&mut state, &[Command::UnfreezeSlot(step(moving(), 5))]);
    assert_eq!(state.tombstone(known.ended), None, "its time was over, and the next entry has seen to that");
}

#[test]
fn times_travel_as_what_is_left_of_them() {
    let (source, known) = filled();
    let left_ms = source.session(known.open).expect("open").due_ms() - source.clock_ms();
    assert_eq!((left_ms, source.clock_ms()), (30_000, 31_000));
    for clock_ms in [0, 7, 10_000, 31_000, 1 << 40] {
        let (mut source, mut target) = (source.clone(), newcomer(clock_ms));
        moved(&mut source, &mut target, moving(), 5);
        let session = target.session(known.open).expect("moved");
        assert_eq!(session.due_ms(), clock_ms + left_ms, "at {clock_ms}");
        assert_eq!((session.age_ms(clock_ms), session.age_ms(clock_ms + 5)), (30_000, 30_005), "at {clock_ms}");
        assert_eq!(session.begun_wall_ms, source_wall_ms(), "at {clock_ms}");
        let due_ms = clock_ms + left_ms;
        let early = one(&mut target, due_ms - 1, decide(known.open, Decision::TimeoutRollback));
        assert_eq!(early, Outcome::Refused(Refusal::NotDue { due_ms }));
        let patient = Command::GiveUp(GiveUpV1 { transaction: known.decided, after_ms: 60_000 });
        assert_eq!(one(&mut target, due_ms - 1, patient.clone()), Outcome::Refused(Refusal::NotDue { due_ms }));
        assert_eq!(one(&mut target, due_ms, patient), Outcome::Now(GlobalStatus::RollbackRetryTimeout));
        let timed_out = one(&mut target, due_ms, decide(known.open, Decision::TimeoutRollback));
        assert_eq!(timed_out, Outcome::Decided(GlobalStatus::TimeoutRollbacking));
        // A tombstone stands as long as it must, and by a young clock longer.
        let life_ms = limits::TOMBSTONE_LIFE_MS - 26_000_u64.min(clock_ms);
        one(&mut target, (clock_ms + life_ms).max(due_ms) - 1, Command::Tick);
        assert_eq!(target.tombstone(known.ended), Some(GlobalStatus::Committed), "at {clock_ms}");
        one(&mut target, clock_ms + life_ms, Command::Tick);
        assert_eq!(target.tombstone(known.ended), None, "at {clock_ms}");
    }
}

fn source_wall_ms() -> u64 {
    batch(1_000, Vec::new()).stamp.wall_ms
}

#[test]
fn a_session_keeps_its_age_through_a_young_group() {
    let (mut source, known) = filled();
    let (mut young, mut old) = (newcomer(100), newcomer(1_000_000));
    moved(&mut source, &mut young, moving(), 5);
    // Through a snapshot, and on, and back to the first.
    let mut young = Transactions::load(young.tables()).expect("its own records");
    one(&mut young, 5_100, Command::Tick);
    moved(&mut young, &mut old, moving(), 6);
    moved(&mut old, &mut source, moving(), 7);
    let session = source.session(known.open).expect("back");
    assert_eq!(session.age_ms(source.clock_ms()), 35_000);
    assert_eq!(session.due_ms(), source.clock_ms() + 25_000);
}

#[test]
fn an_overdue_session_is_due_at_once() {
    let mut source = founded();
    let open = begun_in(&mut source, 10, moving(), 50);
    one(&mut source, 100_000, Command::Tick);
    let mut target = newcomer(3);
    moved(&mut source, &mut target, moving(), 5);
    assert_eq!(target.due_until(3).collect::<Vec<_>>(), [open]);
    let decided = Outcome::Decided(GlobalStatus::TimeoutRollbacking);
    assert_eq!(one(&mut target, 3, decide(open, Decision::TimeoutRollback)), decided);
}

#[test]
fn ids_are_dealt_once_in_both_groups() {
    let (mut source, known) = filled();
    // The target has the same ids to deal: all counters start alike.
    let mut target = newcomer(0);
    one(&mut source, 31_000, lead(1));
    let giver = source.counter;
    moved(&mut source, &mut target, moving(), 5);
    assert_eq!((target.counter, target.ids_from(moving())), (giver, giver));
    let fence = target.fence(moving()).expect("owned");
    assert_eq!(fence, Fence { epoch: ATTEMPT, tenure: Term(1) });
    let from = |sequence, fence| {
        let register = register(known.open, sequence, BranchType::TCC, "pay", "");
        Command::RegisterBranch(RegisterBranchV1 { fence, ..register })
    };
    let old_block = one(&mut target, 0, from(FIRST_SEQUENCE + 99, fence));
    assert_eq!(old_block, Outcome::Refused(Refusal::BadBranchId), "from a block of before");
    let Outcome::Led(block) = one(&mut target, 0, lead(1)) else { panic!("leads") };
    assert!(block.first >= giver);
    let old_fence = Fence { epoch: EPOCH, tenure: Term(1) };
    let refused = Outcome::Refused(Refusal::NotOwner { epoch: ATTEMPT });
    assert_eq!(one(&mut target, 0, from(block.first, old_fence)), refused);
    assert_eq!(one(&mut target, 0, from(block.first, fence)), Outcome::Registered);
    let next = begun(&mut target, 0, 1);
    assert_eq!((next.slot(), next.sequence()), (moving(), block.first + u64::from(block.count)));
}

#[test]
fn chunks_come_in_order_and_a_repeat_changes_nothing() {
    let (mut source, _) = filled();
    apply_all(&mut source, &[Command::FreezeSlot(step(moving(), 5))]);
    let copy = chunks(&source, moving(), ATTEMPT, CHUNK_BYTES);
    assert!(copy.len() > 8, "{}", copy.len());
    let mut target = newcomer(0);
    let mut bytes = 0;
    for (number, chunk) in copy.iter().enumerate() {
        let before = target.clone();
        for gap in copy.iter().skip(number + 1) {
            let expected = Refusal::ChunkExpected { chunk: number as u32 };
            assert_eq!(one(&mut target, 0, gap.clone()), Outcome::Refused(expected));
        }
        for again in &copy[..number] {
            let installing = Ownership::Installing { attempt: ATTEMPT, chunks: number as u32 };
            assert_eq!(one(&mut target, 0, again.clone()), Outcome::Slot(installing));
        }
        assert_eq!(target, before);
        one(&mut target, 0, chunk.clone());
        target.check_invariants().expect("whole");
        // Half of a copy survives a snapshot, and its memory is counted.
        target = Transactions::load(target.tables()).expect("its own records");
        assert!(target.counts().bytes >= bytes);
        bytes = target.counts().bytes;
    }
    assert_eq!(target.ownership(moving()), Ownership::Passive(ATTEMPT));
    assert!(bytes > 0 && target.counts() == Counts { bytes, ..Counts::default() });
}

#[test]
fn what_is_left_of_a_copy_goes_with_its_attempt() {
    let (mut source, known) = filled();
    apply_all(&mut source, &[Command::FreezeSlot(step(moving(), 5))]);
    let aborted = chunks(&source, moving(), ATTEMPT, CHUNK_BYTES);
    for count in [1, 5, aborted.len()] {
        let mut target = newcomer(0);
        apply_all(&mut target, &aborted[..count]);
        // Not by the end of another attempt.
        let bytes = target.counts().bytes;
        apply_all(&mut target, &[Command::DiscardSlot(step(moving(), 4))]);
        assert_eq!(target.counts().bytes, bytes);
        let mut discarded = target.clone();
        apply_all(&mut discarded, &[Command::DiscardSlot(step(moving(), 5))]);
        assert_eq!((discarded.counts(), discarded.ownership(moving())), (Counts::default(), Ownership::None));
        // The next attempt does not wait for that.
        let mut source = source.clone();
        apply_all(&mut source, &[Command::UnfreezeSlot(step(moving(), 5)), decide(known.open, Decision::Rollback)]);
        moved(&mut source, &mut target, moving(), 6);
        assert_eq!(target.standing(known.open), Some(GlobalStatus::Rollbacking));
        let late = apply_all(&mut target, &aborted);
        assert!(late.iter().all(|outcome| matches!(outcome, Outcome::Refused(_))), "{late:?}");
    }
}

#[test]
fn a_chunk_that_does_not_fit_changes_nothing() {
    let (mut source, _) = filled();
    let other = slots().into_iter().find(|slot| *slot != moving()).expect("several");
    begun_in(&mut source, 31_000, other, 60_000);
    apply_all(&mut source, &[Command::FreezeSlot(step(moving(), 5)), Command::FreezeSlot(step(other, 5))]);
    let copy = source.slot_copy_in(moving(), ATTEMPT, 1 << 20).expect("frozen").next().expect("one chunk");
    let strange = source.slot_copy_in(other, ATTEMPT, 1 << 20).expect("frozen").next().expect("one chunk");
    let chunk: ChunkV1 = codec::decode(&copy.bytes).expect("its own");
    let with = |change: &dyn Fn(&mut ChunkV1)| {
        let mut changed = chunk.clone();
        change(&mut changed);
        codec::encode(&changed).expect("short")
    };
    let head = source.tables().next().expect("a head");
    let mut bad = vec![
        Vec::new(),
        vec![9; 40],
        strange.bytes.clone(),
        with(&|chunk| chunk.counter = 0),
        with(&|chunk| chunk.counter = FIRST_SEQUENCE),
        with(&|chunk| chunk.counter = u64::MAX),
        with(&|chunk| chunk.rows.reverse()),
        with(&|chunk| _ = chunk.rows.remove(0)),
        with(&|chunk| chunk.rows.retain(|row| row.table != tables::TOMBSTONE)),
        with(&|chunk| chunk.whole = chunk.whole.map(|whole| copy::WholeV1 { holds: whole.holds + 1, ..whole })),
        with(&|chunk| chunk.rows.insert(0, RowV1 { table: head.0, bytes: head.1.clone() })),
        with(&|chunk| chunk.rows.push(RowV1 { table: 99, bytes: Vec::new() })),
        with(&|chunk| chunk.rows[0].bytes.push(0)),
    ];
    bad.extend((0..copy.bytes.len()).step_by(17).map(|cut| copy.bytes[..cut].to_vec()));
    bad.extend((0..chunk.rows.len()).map(|row| with(&|chunk| chunk.rows.insert(row, chunk.rows[row].clone()))));
    for bytes in bad {
        let mut target = newcomer(0);
        let before = target.clone();
        let outcome = one(&mut target, 0, Command::InstallSlot(InstallSlotV1 { bytes, ..copy.clone() }));
        assert!(matches!(outcome, Outcome::Refused(Refusal::BadCopy { .. })), "{outcome:?}");
        assert_eq!(target, before);
    }
    // A chunk of other bounds in the middle: what is here already comes again.
    let short = chunks(&source, moving(), ATTEMPT, CHUNK_BYTES);
    let mut target = newcomer(0);
    apply_all(&mut target, &short[..2]);
    let outcome = one(&mut target, 0, Command::InstallSlot(InstallSlotV1 { chunk: 2, ..copy }));
    assert!(outcome_text(&outcome).starts_with("the copy is bad: table 3"), "{outcome:?}");
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Refused(refusal) => refusal.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_copy_is_given_only_to_the_attempt_it_is_frozen_for() {
    let (mut source, _) = filled();
    let refused = |state: &Transactions, attempt| state.slot_copy(moving(), Epoch(attempt)).err();
    let active = Refusal::SlotStands { ownership: Ownership::Active(EPOCH) };
    assert_eq!(refused(&source, 5), Some(active));
    apply_all(&mut source, &[Command::FreezeSlot(step(moving(), 5))]);
    let ownership = Ownership::Frozen { epoch: EPOCH, attempt: ATTEMPT };
    assert_eq!((refused(&source, 5), refused(&source, 4)), (None, Some(Refusal::SlotStands { ownership })));
}

#[test]
fn an_empty_slot_is_one_chunk_and_a_long_record_a_chunk_alone() {
    let mut source = founded();
    let empty = slots()[0];
    apply_all(&mut source, &[Command::FreezeSlot(step(empty, 5))]);
    let copy = chunks(&source, empty, ATTEMPT, CHUNK_BYTES);
    assert_eq!(copy.len(), 1);
    assert_eq!(apply_all(&mut newcomer(0), &copy), [Outcome::Slot(Ownership::Passive(ATTEMPT))]);
    // Two long branches of one session among many short ones.
    let open = begun_in(&mut source, 0, moving(), 60_000);
    one(&mut source, 0, Command::Lead(LeadV1 { tenure: Term(1), block: 10_000 }));
    for number in 0..4_000 {
        let mut command = register(open, FIRST_SEQUENCE + number, BranchType::TCC, "pay", "");
        let is_long = number == 1_000 || number == 1_001;
        command.application_data = "x".repeat(if is_long { limits::APPLICATION_DATA_BYTES_MAX } else { 200 });
        command.branch = branch(open, source.counter - 10_000 + number);
        assert_eq!(one(&mut source, 0, Command::RegisterBranch(command)), Outcome::Registered);
    }
    apply_all(&mut source, &[Command::FreezeSlot(step(moving(), 5))]);
    let copy: Vec<InstallSlotV1> = source.slot_copy(moving(), ATTEMPT).expect("frozen").collect();
    let mut long = 0;
    for install in &copy {
        let chunk: ChunkV1 = codec::decode(&install.bytes).expect("its own");
        let bytes: usize = chunk.rows.iter().map(|row| row.bytes.len()).sum();
        assert!(bytes <= limits::COPY_CHUNK_BYTES_MAX || chunk.rows.len() == 1, "{bytes}");
        long += usize::from(bytes > limits::COPY_CHUNK_BYTES_MAX);
    }
    assert!(long == 2 && copy.len() > 5, "{long} of {}", copy.len());
    let mut target = newcomer(0);
    let installs: Vec<Command> = copy.into_iter().map(Command::InstallSlot).collect();
    assert_eq!(apply_all(&mut target, &installs).pop(), Some(Outcome::Slot(Ownership::Passive(ATTEMPT))));
    target.check_invariants().expect("whole");
    apply_all(&mut target, &[Command::ActivateSlot(step(moving(), 5))]);
    assert_eq!(target.counts().branches, 4_000);
}

#[test]
fn releases_that_met_a_frozen_lock_slot_are_owed() {
    let mut state = founded();
    let home = slots().into_iter().find(|slot| *slot != moving()).expect("several");
    let open = begun_in(&mut state, 0, home, 60_000);
    registered(&mut state, 0, 0, open, "t:1");
    apply_all(&mut state, &[Command::FreezeSlot(step(moving(), 5))]);
    assert_eq!(one(&mut state, 1, decide(open, Decision::Commit)), Outcome::Decided(GlobalStatus::AsyncCommitting));
    apply_all(&mut state, &[Command::UnfreezeSlot(step(moving(), 5))]);
    assert_eq!(state.holds_of(moving(), open).count(), 1, "the leader sends it until it is acknowledged");
    assert_eq!(state.check_invariants(), Ok(()));
    let release = ReleaseLocksV1 { transaction: open, slot: moving(), scope: ReleaseScope::All };
    assert_eq!(one(&mut state, 1, Command::ReleaseLocks(release)), Outcome::Released);
    assert_eq!(state.counts().row_locks, 0);
}
