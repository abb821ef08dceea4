//! The bytes of every variant that is stored, frozen in `tests/golden/codec.txt`. A line that changes or goes means that
//! logs and snapshots of before can no longer be read: add a variant instead.

use alloc::format;
use core::fmt::Debug;

use super::copy::{ChunkV1, RowV1, WholeV1};
use super::tables::{
    AgeV1, BranchRecordV1, BranchRecordV2, FateV1, HeadV1, HoldV1, RequestV1, SessionV1, SlotV1, TombstoneV1,
};
use super::*;
use crate::codec::{self, Persisted};
use crate::model::{BranchStatus, GlobalStatus, RowKey};

const GOLDEN: &str = include_str!("../../../../tests/golden/codec.txt");

const TRANSACTION: TransactionId = TransactionId((1000 << 12) | 77);
const BRANCH: BranchId = BranchId((1001 << 12) | 77);
const STEP: SlotStepV1 = SlotStepV1 { slot: Slot(77), epoch: Epoch(300) };
const FENCE: Fence = Fence { epoch: Epoch(1), tenure: Term(300) };

/// One of the variant that follows, so that a new variant does not compile without a line here.
fn after(command: &Command) -> Option<Command> {
    let name = TransactionV1 { transaction: TRANSACTION };
    Some(match command {
        Command::Found(_) => Command::Lead(LeadV1 { tenure: Term(300), block: 65_536 }),
        Command::Lead(_) => begin(60_000),
        Command::Begin(_) => Command::RegisterBranch(RegisterBranchV1 {
            transaction: TRANSACTION,
            branch: BRANCH,
            fence: FENCE,
            kind: BranchType::TCC,
            resource: "jdbc:a".into(),
            lock_keys: "t:1,2".into(),
            application_data: "{}".into(),
            client: "shop:10.0.0.2:5000".into(),
            with_locks: true,
        }),
        Command::RegisterBranch(_) => Command::RemoveBranch(BranchV1 { transaction: TRANSACTION, branch: BRANCH }),
        Command::RemoveBranch(_) => Command::ReportBranch(ReportBranchV1 {
            transaction: TRANSACTION,
            branch: BRANCH,
            status: BranchStatus::PhaseOne_Failed,
            application_data: "{}".into(),
        }),
        Command::ReportBranch(_) => decide(TRANSACTION, Decision::TimeoutRollback),
        Command::Decide(_) => Command::Retry(name),
        Command::Retry(_) => Command::Fail(FailV1 {
            transaction: TRANSACTION,
            branch: BRANCH,
            status: BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
        }),
        Command::Fail(_) => Command::End(name),
        Command::End(_) => Command::AcquireLocks(AcquireLocksV1 {
            transaction: TRANSACTION,
            branch: BRANCH,
            fence: FENCE,
            resource: "jdbc:a".into(),
            lock_keys: "t:1,2".into(),
        }),
        Command::AcquireLocks(_) => Command::ReleaseLocks(ReleaseLocksV1 {
            transaction: TRANSACTION,
            slot: Slot(4095),
            scope: ReleaseScope::Branches(vec![BRANCH]),
        }),
        Command::ReleaseLocks(_) => Command::Tick,
        Command::Tick => Command::Detach(name),
        Command::Detach(_) => Command::Forget(name),
        Command::Forget(_) => Command::Report(ReportV1 {
            transaction: TRANSACTION,
            status: GlobalStatus::RollbackRetrying,
            asked: Some(GlobalStatus::Committing),
        }),
        Command::Report(_) => Command::GiveUp(GiveUpV1 { transaction: TRANSACTION, after_ms: 86_400_000 }),
        Command::GiveUp(_) => operate(Operation::Stop),
        Command::Operate(OperateV1 { operation, .. }) => operate(match operation {
            Operation::Stop => Operation::Start,
            Operation::Start => Operation::Reopen,
            Operation::Reopen => Operation::Delete,
            Operation::Delete => Operation::ForceDelete,
            Operation::ForceDelete => Operation::StopBranch(BRANCH),
            Operation::StopBranch(branch) => Operation::StartBranch(*branch),
            Operation::StartBranch(_) => return Some(begin_near(60_000)),
            Operation::CleanUp => Operation::CleanUpBranch(BRANCH),
            Operation::CleanUpBranch(branch) => Operation::DropBranch(*branch),
            Operation::DropBranch(branch) => {
                return Some(Command::CleanedUp(BranchV1 { transaction: TRANSACTION, branch: *branch }));
            }
        }),
        Command::BeginNear(_) => operate(Operation::CleanUp),
        Command::CleanedUp(_) => once(),
        Command::RegisterBranchOnce(_) => Command::FreezeSlot(STEP),
        Command::FreezeSlot(step) => {
            let bytes = codec::encode(&chunk()).expect("short");
            Command::InstallSlot(InstallSlotV1 { slot: step.slot, epoch: step.epoch, chunk: 3, bytes })
        }
        Command::InstallSlot(_) => Command::ActivateSlot(STEP),
        Command::ActivateSlot(step) => Command::DropSlot(*step),
        Command::DropSlot(step) => Command::UnfreezeSlot(*step),
        Command::UnfreezeSlot(step) => Command::DiscardSlot(*step),
        Command::DiscardSlot(_) => return None,
    })
}

fn chunk() -> ChunkV1 {
    let row = RowV1 { table: tables::TOMBSTONE, bytes: vec![1, 2, 3] };
    let whole = WholeV1 { sessions: 1, branches: 2, tombstones: 3, holds: 4, row_locks: 5 };
    ChunkV1 { clock_ms: 60_000, counter: 1_000, rows: vec![row], whole: Some(whole) }
}

fn once() -> Command {
    let register = RegisterBranchV1 {
        transaction: TRANSACTION,
        branch: BRANCH,
        fence: FENCE,
        kind: BranchType::TCC,
        resource: "pay".into(),
        lock_keys: String::new(),
        application_data: "{}".into(),
        client: "shop:10.0.0.2:5000".into(),
        with_locks: false,
    };
    Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, request: 1 << 40 })
}

fn operate(operation: Operation) -> Command {
    Command::Operate(OperateV1 { transaction: TRANSACTION, operation })
}

/// As [`after`], for outcomes.
fn next(outcome: &Outcome) -> Option<Outcome> {
    Some(match outcome {
        Outcome::Done => Outcome::Led(IdBlock { first: 1000, count: 65_536 }),
        Outcome::Led(_) => Outcome::Begun(TRANSACTION),
        Outcome::Begun(_) => Outcome::Registered,
        Outcome::Registered => Outcome::Decided(GlobalStatus::AsyncCommitting),
        Outcome::Decided(_) => Outcome::Standing(GlobalStatus::Rollbacked),
        Outcome::Standing(_) => Outcome::Now(GlobalStatus::CommitRetrying),
        Outcome::Now(_) => Outcome::Acquired,
        Outcome::Acquired => Outcome::Released,
        Outcome::Released => Outcome::Refused(Refusal::NotOwner { epoch: Epoch(1) }),
        Outcome::Refused(refusal) => worse(refusal).map_or(Outcome::RegisteredBefore(BRANCH), Outcome::Refused),
        Outcome::RegisteredBefore(_) => Outcome::Slot(Ownership::Passive(Epoch(2))),
        Outcome::Slot(_) => return None,
    })
}

/// As [`after`], for refusals.
fn worse(refusal: &Refusal) -> Option<Refusal> {
    let row = RowKey { table: "t".into(), key: "1".into() };
    Some(match refusal {
        Refusal::NotOwner { .. } => Refusal::OldTenure { tenure: Term(300) },
        Refusal::OldTenure { .. } => Refusal::NotActive { status: GlobalStatus::Committing },
        Refusal::NotActive { .. } => Refusal::NoSuchTransaction,
        Refusal::NoSuchTransaction => Refusal::NoSuchBranch,
        Refusal::NoSuchBranch => Refusal::Conflict(Conflict { row, holder: TRANSACTION, held_ms: 250 }),
        Refusal::Conflict(_) => Refusal::Limit { limit: "too long".into() },
        Refusal::Limit { .. } => Refusal::NotDue { due_ms: 60_000 },
        Refusal::NotDue { .. } => Refusal::Illegal { status: GlobalStatus::Begin },
        Refusal::Illegal { .. } => Refusal::NoFailure { status: BranchStatus::Registered },
        Refusal::NoFailure { .. } => Refusal::Founded,
        Refusal::Founded => Refusal::BadBranchId,
        Refusal::BadBranchId => Refusal::Unsupported { kind: BranchType::XA },
        Refusal::Unsupported { .. } => Refusal::BadFounding,
        Refusal::BadFounding => Refusal::Exhausted,
        Refusal::Exhausted => Refusal::HoldsLocks,
        Refusal::HoldsLocks => Refusal::BranchStands { status: BranchStatus::PhaseOne_RDONLY },
        Refusal::BranchStands { .. } => Refusal::BeingDeleted,
        Refusal::BeingDeleted => Refusal::NotFounded,
        Refusal::NotFounded => Refusal::NoSuchSlot,
        Refusal::NoSuchSlot => Refusal::AttemptOver { seen: Epoch(2) },
        Refusal::AttemptOver { .. } => Refusal::SlotStands { ownership: Ownership::Active(Epoch(2)) },
        Refusal::SlotStands { .. } => Refusal::ChunkExpected { chunk: 2 },
        Refusal::ChunkExpected { .. } => Refusal::BadCopy { what: "malformed".into() },
        Refusal::BadCopy { .. } => return None,
    })
}

fn line<T: Persisted + Debug + PartialEq>(value: &T) -> String {
    let bytes = codec::encode(value).expect("short");
    assert_eq!(codec::decode_canonical::<T>(&bytes).as_ref(), Ok(value));
    let text = format!("{value:?}");
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let type_name = core::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    // `Command.Begin`, `Refused.NotOwner`; a record has no variants.
    let name = match (type_name, words.as_slice()) {
        (_, ["Refused", refusal, ..]) => format!("Refused.{refusal}"),
        (record, _) if record.ends_with("V1") || record.ends_with("V2") => record.into(),
        (name, [variant, ..]) => format!("{name}.{variant}"),
        (name, []) => name.into(),
    };
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex}\n")
}

fn records() -> String {
    let head = HeadV1 { clock_ms: 5, tenure: Term(300), counter: 1000, last_slot: Slot(77) };
    let slot = |ownership| SlotV1 { slot: Slot(77), ownership, seen: Epoch(2), ids_from: 1000 };
    let session = SessionV1 {
        transaction: TRANSACTION,
        address: "10.0.0.1:8091".into(),
        application: "shop".into(),
        service_group: "default_tx_group".into(),
        name: "buy".into(),
        timeout_ms: -1,
        begun_clock_ms: 5,
        begun_wall_ms: 1_800_000_000_000,
        status: GlobalStatus::Rollbacking,
    };
    let branch = BranchRecordV1 {
        transaction: TRANSACTION,
        branch: BRANCH,
        kind: BranchType::AT,
        resource: "jdbc:a".into(),
        lock_keys: "t:1,2".into(),
        application_data: "{}".into(),
        client: "shop:10.0.0.2:5000".into(),
        fence: FENCE,
        status: BranchStatus::PhaseOne_Done,
    };
    let newer = BranchRecordV2 { branch: branch.clone(), registered_clock_ms: Some(6) };
    let tombstone = TombstoneV1 { transaction: TRANSACTION, status: GlobalStatus::Committed, ended_clock_ms: 9 };
    let hold = HoldV1 {
        transaction: TRANSACTION,
        branch: BRANCH,
        fence: FENCE,
        resource: "jdbc:a".into(),
        lock_keys: "t:1,2".into(),
        since_ms: 7,
    };
    let fate = |fate| FateV1 { transaction: TRANSACTION, branch: BRANCH, fate };
    let fates = [Fate::Kept, Fate::CleanUp, Fate::CleanedUp, Fate::Dropped];
    let fates: String = fates.into_iter().map(|of| line(&fate(of))).collect();
    let request = RequestV1 { transaction: TRANSACTION, branch: BRANCH, request: 1 << 40 };
    let ownerships = [
        Ownership::None,
        Ownership::Passive(Epoch(1)),
        Ownership::Active(Epoch(1)),
        Ownership::Frozen { epoch: Epoch(1), attempt: Epoch(2) },
    ];
    let installing = slot(Ownership::Installing { attempt: Epoch(2), chunks: 3 });
    let age = AgeV1 { transaction: TRANSACTION, before_ms: 500 };
    let slots: String = ownerships.into_iter().map(|ownership| line(&slot(ownership))).collect();
    [
        line(&head),
        slots,
        line(&session),
        line(&branch),
        line(&tombstone),
        line(&hold),
        line(&newer),
        fates,
        line(&request),
        line(&installing),
        line(&age),
        line(&chunk()),
    ]
    .concat()
}

#[test]
fn bytes_of_every_variant() {
    let mut lines = String::new();
    let mut command = Some(found());
    while let Some(given) = command {
        lines += &line(&given);
        command = after(&given);
    }
    lines += &line(&batch(60_000, vec![Command::Tick, decide(TRANSACTION, Decision::Commit)]));
    let mut outcome = Some(Outcome::Done);
    while let Some(given) = outcome {
        lines += &line(&given);
        outcome = next(&given);
    }
    lines += &records();
    let golden: String = GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert!(lines == golden, "tests/golden/codec.txt no longer holds; the bytes are now\n{lines}");
}
