//! The transaction state machine beside a model that is as simple as it can be: maps of who holds which row, how each
//! transaction stands, and what a decision must answer. Written from the semantics, not from the code.
//!
//! Here: what runs, decides and ends. `decode` has what the bytes stand for, `rows` branches and row locks, `operate` what
//! operators do, `engine` what the engines of Sagas say.

use std::collections::BTreeMap;

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{BranchId, BranchStatus, Epoch, GlobalStatus, Slot, Term, TransactionId, limits};
use quorate_core::txn::command::{
    BranchV1, DecideV1, FailV1, FoundV1, GiveUpV1, LeadV1, OperateV1, ReportBranchV1, ReportV1, SlotStepV1,
    TransactionV1,
};
use quorate_core::txn::{Batch, Command, Decision, Fate, IdBlock, Outcome, Ownership, Refusal, Stamp, Transactions};

#[path = "decode.rs"]
mod decode;
#[path = "engine.rs"]
mod engine;
#[path = "operate.rs"]
mod operate;
#[path = "rows.rs"]
mod rows;

use operate::{Transaction, failed_as, is_failed};
use rows::{Hold, HoldId};

/// Lock slots of these are founded here.
const RESOURCES: [&str; 3] = ["stock", "bank", "mail"];
/// The lock slot of this one is another group's.
const AWAY: &str = "away";
/// Transactions of another group end in this slot.
const SLOT_AWAY: Slot = Slot(9);
const EPOCH: Epoch = Epoch(1);
const FIRST: u64 = 1_000;
const OPERATIONS_MAX: usize = 600;
/// So few that an entry takes away all tombstones that are due.
const TRANSACTIONS_MAX: usize = 60;

/// `data` is four bytes for each operation.
pub fn operations(data: &[u8]) {
    state_after(data);
}

/// The state that these operations lead to.
pub fn state_after(data: &[u8]) -> Transactions {
    let (mut state, mut model, mut attempt) = (founded(), Model::founded(), EPOCH);
    for operation in data.chunks_exact(4).take(OPERATIONS_MAX) {
        let [kind, a, b, c] = [operation[0], operation[1], operation[2], operation[3]];
        let Some(command) = model.command(kind, a, b, c) else {
            attempt = Epoch(attempt.0 + 1);
            state = restored(state, &model, attempt, a);
            continue;
        };
        let batch = Batch { stamp: Stamp { clock_ms: model.clock_ms, wall_ms: 0 }, commands: vec![command.clone()] };
        let expected = model.run(&command);
        let outcome = state.apply(&batch).pop().expect("one outcome");
        match (&expected, &outcome) {
            (Expected::Begun, Outcome::Begun(transaction)) => model.begun(*transaction, &command),
            (Expected::Outcome(expected), outcome) => assert_eq!(expected, outcome, "{command:?}"),
            (Expected::Conflict(resource), Outcome::Refused(Refusal::Conflict(conflict))) => {
                let holders = model.holders(resource, &conflict.row.key);
                assert!(holders.contains(&conflict.holder), "{command:?} came to {conflict:?}");
            }
            (expected, outcome) => panic!("{command:?} came to {outcome:?} instead of {expected:?}"),
        }
        model.expire();
        model.compare(&state);
    }
    if let Err(what) = state.check_invariants() {
        panic!("{what}");
    }
    state
}

/// The state out of a snapshot, half of the time in the middle of an attempt to move a slot: its copy is taken in by another group,
/// then the attempt is aborted. No transaction may notice.
fn restored(mut state: Transactions, model: &Model, attempt: Epoch, byte: u8) -> Transactions {
    let slots = slots();
    let step = SlotStepV1 { slot: slots[usize::from(byte / 2) % slots.len()], epoch: attempt };
    let apply = |state: &mut Transactions, command| {
        let stamp = Stamp { clock_ms: model.clock_ms, wall_ms: 0 };
        state.apply(&Batch { stamp, commands: vec![command] }).pop().expect("one outcome")
    };
    let is_frozen = byte % 2 == 1;
    if is_frozen {
        apply(&mut state, Command::FreezeSlot(step));
        let found = FoundV1 { slots: Vec::new(), epoch: EPOCH, sequence: FIRST };
        let mut other = Transactions::new();
        apply(&mut other, Command::Found(found));
        let copy = state.slot_copy(step.slot, attempt).expect("frozen");
        let taken = copy.map(|install| apply(&mut other, Command::InstallSlot(install))).last();
        assert_eq!(taken, Some(Outcome::Slot(Ownership::Passive(attempt))));
    }
    let mut state = Transactions::load(state.tables()).expect("its own records");
    if is_frozen {
        apply(&mut state, Command::UnfreezeSlot(step));
    }
    state
}

fn slots() -> Vec<Slot> {
    let mut slots: Vec<Slot> = RESOURCES.map(lock_slot).into_iter().chain((0..4).map(Slot)).collect();
    slots.sort_unstable();
    assert!(![lock_slot(AWAY), SLOT_AWAY].iter().any(|slot| slots.contains(slot)));
    slots
}

fn founded() -> Transactions {
    let found = FoundV1 { slots: slots(), epoch: EPOCH, sequence: FIRST };
    let lead = LeadV1 { tenure: Term(1), block: OPERATIONS_MAX as u32 };
    let mut state = Transactions::new();
    let commands = vec![Command::Found(found), Command::Lead(lead)];
    state.apply(&Batch { stamp: Stamp::default(), commands });
    state
}

#[derive(Debug)]
enum Expected {
    Begun,
    /// About a row of this resource.
    Conflict(String),
    Outcome(Outcome),
}

struct Model {
    clock_ms: u64,
    /// Slots that are owned here.
    slots: Vec<Slot>,
    tenure: Term,
    /// The next id of all.
    counter: u64,
    /// The next branch id that the leader deals.
    next_branch: u64,
    all: Vec<TransactionId>,
    transactions: BTreeMap<TransactionId, Transaction>,
    holds: BTreeMap<HoldId, Hold>,
    /// All commands that were to register a branch.
    registers: Vec<Command>,
}

impl Model {
    fn founded() -> Model {
        Model {
            clock_ms: 0,
            slots: slots(),
            tenure: Term(1),
            counter: FIRST + OPERATIONS_MAX as u64,
            next_branch: FIRST,
            all: Vec::new(),
            transactions: BTreeMap::new(),
            holds: BTreeMap::new(),
            registers: Vec::new(),
        }
    }

    /// What a command must come to, and what it does to the model.
    fn run(&mut self, command: &Command) -> Expected {
        match command {
            Command::Begin(_) | Command::BeginNear(_) => Expected::Begun,
            Command::Lead(lead) => Expected::Outcome(self.lead(lead)),
            Command::RegisterBranch(register) => self.register(register, None),
            Command::RegisterBranchOnce(once) => self.register(&once.register, Some(once.request)),
            Command::AcquireLocks(acquire) => self.acquire(acquire),
            Command::ReleaseLocks(release) => self.release_locks(release),
            Command::Tick => Expected::Outcome(Outcome::Done),
            Command::RemoveBranch(BranchV1 { transaction, .. })
            | Command::ReportBranch(ReportBranchV1 { transaction, .. })
            | Command::Decide(DecideV1 { transaction, .. })
            | Command::Retry(TransactionV1 { transaction })
            | Command::Fail(FailV1 { transaction, .. })
            | Command::End(TransactionV1 { transaction })
            | Command::Forget(TransactionV1 { transaction })
            | Command::Detach(TransactionV1 { transaction })
            | Command::GiveUp(GiveUpV1 { transaction, .. })
            | Command::Report(ReportV1 { transaction, .. })
            | Command::Operate(OperateV1 { transaction, .. })
            | Command::CleanedUp(BranchV1 { transaction, .. }) => {
                let Some(before) = self.transactions.remove(transaction) else {
                    return refused(Refusal::NoSuchTransaction);
                };
                let mut after = before;
                let outcome = self.change(*transaction, &mut after, command);
                self.transactions.insert(*transaction, after);
                Expected::Outcome(outcome.unwrap_or_else(Outcome::Refused))
            }
            other => panic!("{other:?} is not asked"),
        }
    }

    fn begun(&mut self, transaction: TransactionId, command: &Command) {
        let (Command::Begin(begin) | Command::BeginNear(begin)) = command else { panic!("{command:?}") };
        let (begun_ms, due_ms) = (self.clock_ms, self.clock_ms + begin.timeout_ms as u64);
        let begun = Transaction {
            status: GlobalStatus::Begin,
            begun_ms,
            due_ms,
            branches: BTreeMap::new(),
            ended_ms: None,
            is_deleted: false,
            is_named_saga: begin.name.starts_with("$Saga_"),
        };
        assert_eq!(transaction.sequence(), self.counter, "{transaction}");
        assert!(self.slots.contains(&transaction.slot()), "{transaction}");
        self.counter += 1;
        assert!(self.transactions.insert(transaction, begun).is_none(), "{transaction} was minted twice");
        self.all.push(transaction);
    }

    /// From here on only what this leader deals joins.
    fn lead(&mut self, lead: &LeadV1) -> Outcome {
        if lead.tenure < self.tenure {
            return Outcome::Refused(Refusal::OldTenure { tenure: self.tenure });
        }
        let block = IdBlock { first: self.counter, count: lead.block };
        (self.tenure, self.next_branch) = (lead.tenure, block.first);
        self.counter += u64::from(block.count);
        Outcome::Led(block)
    }

    /// A command about one transaction that is known. Of one that has ended only its status is left.
    fn change(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        command: &Command,
    ) -> Result<Outcome, Refusal> {
        use GlobalStatus::*;
        let status = of.status;
        let has_ended = of.ended_ms.is_some();
        let illegal = Err(Refusal::Illegal { status });
        match command {
            Command::RemoveBranch(_) | Command::ReportBranch(_) if has_ended => Err(Refusal::NoSuchTransaction),
            Command::RemoveBranch(remove) => {
                if status != Begin {
                    return Err(Refusal::NotActive { status });
                }
                if let Some(branch) = of.branches.remove(&remove.branch) {
                    self.release_branch(transaction, remove.branch, &branch);
                }
                Ok(Outcome::Done)
            }
            Command::ReportBranch(report) => {
                let branch = of.branches.get_mut(&report.branch).ok_or(Refusal::NoSuchBranch)?;
                if status == Begin || branch.is_step() {
                    branch.status = report.status;
                }
                Ok(Outcome::Done)
            }
            Command::Decide(_) if has_ended || status != Begin => Ok(Outcome::Standing(status)),
            Command::Decide(decide) => self.decide(transaction, of, decide.decision),
            Command::Retry(_) => {
                of.status = match status {
                    Committing | CommitRetrying => CommitRetrying,
                    Rollbacking | RollbackRetrying => RollbackRetrying,
                    AsyncCommitting | TimeoutRollbacking | TimeoutRollbackRetrying => status,
                    _ => return illegal,
                };
                Ok(Outcome::Now(of.status))
            }
            Command::Detach(_) if !has_ended && matches!(status, Committing | AsyncCommitting) => {
                of.status = AsyncCommitting;
                Ok(Outcome::Now(of.status))
            }
            Command::GiveUp(give_up) if !has_ended => self.give_up(of, give_up),
            Command::Report(_) if has_ended => Ok(Outcome::Standing(status)),
            Command::Report(report) => Ok(self.report(transaction, of, report)),
            Command::Fail(fail) if !has_ended => fail_branch(of, fail),
            Command::End(_) if has_ended => Ok(Outcome::Now(status)),
            Command::Operate(_) | Command::CleanedUp(_) if has_ended => Ok(Outcome::Standing(status)),
            Command::Operate(operate) => self.operate(transaction, of, operate.operation),
            Command::CleanedUp(cleaned) => self.cleaned_up(transaction, of, cleaned.branch),
            Command::End(_) if of.is_deleted => match of.branches.values().any(|branch| branch.fate == Fate::CleanUp) {
                true => illegal,
                false => self.end(transaction, of, status),
            },
            Command::End(_) => {
                let done = match status {
                    Committing | CommitRetrying | AsyncCommitting => Committed,
                    Rollbacking | RollbackRetrying => Rollbacked,
                    TimeoutRollbacking | TimeoutRollbackRetrying => TimeoutRollbacked,
                    _ => return illegal,
                };
                let done = if of.is_astray() { failed_as(status) } else { done };
                self.end(transaction, of, done)
            }
            _ => illegal,
        }
    }

    fn decide(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        decision: Decision,
    ) -> Result<Outcome, Refusal> {
        let is_due = self.clock_ms >= of.due_ms;
        of.status = match decision {
            Decision::Rollback => GlobalStatus::Rollbacking,
            Decision::Commit | Decision::TimeoutRollback if is_due => GlobalStatus::TimeoutRollbacking,
            Decision::TimeoutRollback => return Err(Refusal::NotDue { due_ms: of.due_ms }),
            Decision::Commit if of.is_async() => GlobalStatus::AsyncCommitting,
            Decision::Commit => GlobalStatus::Committing,
        };
        if matches!(of.status, GlobalStatus::AsyncCommitting | GlobalStatus::Committing) {
            self.release_all(transaction, of);
        }
        Ok(Outcome::Decided(of.status))
    }

    /// Phase two was tried for long enough. Never of a commit that its TM was told.
    fn give_up(&self, of: &mut Transaction, give_up: &GiveUpV1) -> Result<Outcome, Refusal> {
        use GlobalStatus::*;
        let given_up = match of.status {
            status if is_failed(status) => return Ok(Outcome::Now(status)),
            Committing | CommitRetrying => CommitRetryTimeout,
            Rollbacking | RollbackRetrying | TimeoutRollbacking | TimeoutRollbackRetrying => RollbackRetryTimeout,
            status => return Err(Refusal::Illegal { status }),
        };
        let due_ms = of.begun_ms + give_up.after_ms;
        if self.clock_ms < due_ms {
            return Err(Refusal::NotDue { due_ms });
        }
        of.status = given_up;
        Ok(Outcome::Now(given_up))
    }

    fn end(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        status: GlobalStatus,
    ) -> Result<Outcome, Refusal> {
        of.status = status;
        of.ended_ms = Some(self.clock_ms);
        self.release_all(transaction, of);
        of.branches.clear();
        Ok(Outcome::Now(status))
    }

    fn expire(&mut self) {
        let clock_ms = self.clock_ms;
        let stands = |of: &Transaction| of.ended_ms.is_none_or(|ended| clock_ms - ended < limits::TOMBSTONE_LIFE_MS);
        self.transactions.retain(|_, of| stands(of));
    }

    fn compare(&self, state: &Transactions) {
        for transaction in &self.all {
            let expected = self.transactions.get(transaction).map(|of| of.status);
            assert_eq!(state.standing(*transaction), expected, "{transaction}");
            let open = self.transactions.get(transaction).filter(|of| of.ended_ms.is_none());
            type Orders = Vec<(BranchId, BranchStatus, Fate)>;
            let orders = |of: &Transaction| -> Orders {
                of.branches.iter().map(|(id, branch)| (*id, branch.status, branch.fate)).collect()
            };
            let expected = open.map(|of| (of.is_deleted, orders(of)));
            let seen = state.session(*transaction).map(|session| {
                let branches = session.branches.values();
                let orders: Orders = branches.map(|branch| (branch.branch, branch.status, branch.fate)).collect();
                (session.is_deleted(), orders)
            });
            assert_eq!(seen, expected, "{transaction}");
        }
        self.compare_rows(state);
    }
}

fn fail_branch(of: &mut Transaction, fail: &FailV1) -> Result<Outcome, Refusal> {
    use GlobalStatus::*;
    let (commit, rollback) =
        (BranchStatus::PhaseTwo_CommitFailed_Unretryable, BranchStatus::PhaseTwo_RollbackFailed_Unretryable);
    let (needed, failed) = match of.status {
        Committing | CommitRetrying | AsyncCommitting => (commit, CommitFailed),
        Rollbacking | RollbackRetrying => (rollback, RollbackFailed),
        TimeoutRollbacking | TimeoutRollbackRetrying => (rollback, TimeoutRollbackFailed),
        // What has failed stays, and what an operator has stopped does not fail.
        CommitFailed | CommitRetryTimeout | StopCommitOrCommitRetry => (commit, of.status),
        RollbackFailed | TimeoutRollbackFailed | RollbackRetryTimeout | StopRollbackOrRollbackRetry => {
            (rollback, of.status)
        }
        status => return Err(Refusal::Illegal { status }),
    };
    if fail.status != needed {
        return Err(Refusal::NoFailure { status: fail.status });
    }
    // The steps of a Saga fail as one.
    let is_whole = fail.branch == BranchId::WHOLE && of.has_engine();
    if !is_whole && !of.branches.contains_key(&fail.branch) {
        return Err(Refusal::NoSuchBranch);
    }
    if matches!(failed, StopCommitOrCommitRetry | StopRollbackOrRollbackRetry) {
        return Err(Refusal::Illegal { status: failed });
    }
    if let Some(branch) = of.branches.get_mut(&fail.branch).filter(|_| of.status != failed) {
        branch.status = fail.status;
    }
    of.status = failed;
    Ok(Outcome::Now(failed))
}

fn refused(refusal: Refusal) -> Expected {
    Expected::Outcome(Outcome::Refused(refusal))
}
