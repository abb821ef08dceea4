//! Stories about the core alone are texts in `tests/scenarios/`; here is what a story cannot show.

mod examples;
mod golden;
mod migration;
mod moves;
mod properties;
mod two_groups;
mod wishes;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::command::*;
use super::*;
use crate::model::hash::lock_slot;
use crate::model::{BranchId, BranchType, Epoch, Fence, Slot, Term, TransactionId};

/// Lock slots of these are founded by [`founded`].
const HERE: [&str; 2] = ["stock", "bank"];
/// The lock slot of this one is not.
const ELSEWHERE: &str = "elsewhere";
const EPOCH: Epoch = Epoch(1);
const FIRST_SEQUENCE: u64 = 1000;

fn slots() -> Vec<Slot> {
    let mut slots: Vec<Slot> = HERE.iter().map(|resource| lock_slot(resource)).collect();
    slots.extend([Slot(0), Slot(77)]);
    slots.sort_unstable();
    slots
}

fn found() -> Command {
    Command::Found(FoundV1 { slots: slots(), epoch: EPOCH, sequence: FIRST_SEQUENCE })
}

fn lead(tenure: u64) -> Command {
    Command::Lead(LeadV1 { tenure: Term(tenure), block: 100 })
}

fn begin(timeout_ms: i32) -> Command {
    Command::Begin(buy(timeout_ms))
}

fn begin_near(timeout_ms: i32) -> Command {
    Command::BeginNear(buy(timeout_ms))
}

fn buy(timeout_ms: i32) -> BeginV1 {
    BeginV1 {
        address: "10.0.0.1:8091".into(),
        application: "shop".into(),
        service_group: "default_tx_group".into(),
        name: "buy".into(),
        timeout_ms,
    }
}

fn register(
    transaction: TransactionId,
    sequence: u64,
    kind: BranchType,
    resource: &str,
    rows: &str,
) -> RegisterBranchV1 {
    RegisterBranchV1 {
        transaction,
        branch: branch(transaction, sequence),
        fence: Fence { epoch: EPOCH, tenure: Term(1) },
        kind,
        resource: resource.into(),
        lock_keys: rows.into(),
        application_data: String::new(),
        client: "shop:10.0.0.2:5000".into(),
        with_locks: HERE.contains(&resource),
    }
}

fn branch(transaction: TransactionId, sequence: u64) -> BranchId {
    BranchId::mint(sequence, transaction.slot()).expect("a small sequence")
}

fn decide(transaction: TransactionId, decision: Decision) -> Command {
    Command::Decide(DecideV1 { transaction, decision })
}

fn operations(branch: BranchId) -> [Operation; 10] {
    [
        Operation::Stop,
        Operation::Start,
        Operation::Reopen,
        Operation::Delete,
        Operation::ForceDelete,
        Operation::StopBranch(branch),
        Operation::StartBranch(branch),
        Operation::CleanUp,
        Operation::CleanUpBranch(branch),
        Operation::DropBranch(branch),
    ]
}

/// A group at `clock_ms` 0 with [`slots`], led by tenure 1, which may deal `FIRST_SEQUENCE..FIRST_SEQUENCE + 100`.
fn founded() -> Transactions {
    let mut state = Transactions::new();
    let outcomes = state.apply(&batch(0, vec![found(), lead(1)]));
    assert_eq!(outcomes, [Outcome::Done, Outcome::Led(IdBlock { first: FIRST_SEQUENCE, count: 100 })]);
    state
}

fn batch(clock_ms: u64, commands: Vec<Command>) -> Batch {
    Batch { stamp: Stamp { clock_ms, wall_ms: clock_ms.saturating_add(1_800_000_000_000) }, commands }
}

fn one(state: &mut Transactions, clock_ms: u64, command: Command) -> Outcome {
    state.apply(&batch(clock_ms, vec![command])).pop().expect("one outcome per command")
}

fn begun(state: &mut Transactions, clock_ms: u64, timeout_ms: i32) -> TransactionId {
    match one(state, clock_ms, begin(timeout_ms)) {
        Outcome::Begun(transaction) => transaction,
        other => panic!("{other:?}"),
    }
}
