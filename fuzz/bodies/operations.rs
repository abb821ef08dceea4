//! The transaction state machine beside a model that is as simple as it can be: maps of who holds which row, how each
//! transaction stands, and what a decision must answer. Written from the semantics, not from the code.

use std::collections::{BTreeMap, BTreeSet};

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{
    BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, Slot, Term, TransactionId, limits,
};
use quorate_core::txn::command::{
    BeginV1, BranchV1, DecideV1, FailV1, FoundV1, LeadV1, OperateV1, RegisterBranchV1, ReleaseLocksV1, ReportBranchV1,
    TransactionV1,
};
use quorate_core::txn::{Batch, Command, Decision, Fate, Outcome, Refusal, ReleaseScope, Stamp, Transactions};

#[path = "operate.rs"]
mod operate;

use operate::{Branch, Transaction, failed_as, operation};

const RESOURCES: [&str; 3] = ["stock", "bank", "mail"];
const FENCE: Fence = Fence { epoch: Epoch(1), tenure: Term(1) };
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
    let (mut state, mut model) = (founded(), Model::default());
    for operation in data.chunks_exact(4).take(OPERATIONS_MAX) {
        let [kind, a, b, c] = [operation[0], operation[1], operation[2], operation[3]];
        let Some(command) = model.command(kind % 20, a, b, c) else {
            state = Transactions::load(state.tables()).expect("its own records");
            continue;
        };
        let batch = Batch { stamp: Stamp { clock_ms: model.clock_ms, wall_ms: 0 }, commands: vec![command.clone()] };
        let expected = model.run(&command);
        let outcome = state.apply(&batch).pop().expect("one outcome");
        match (&expected, &outcome) {
            (Expected::Begun, Outcome::Begun(transaction)) => model.begun(*transaction, &command),
            (Expected::Outcome(expected), outcome) => assert_eq!(expected, outcome, "{command:?}"),
            (Expected::Conflict, Outcome::Refused(Refusal::Conflict(conflict))) => {
                let Command::RegisterBranch(register) = &command else { panic!("{command:?}") };
                let row = (lock_slot(&register.resource), register.resource.clone(), conflict.row.key.clone());
                let held = model.rows.get(&row).map(|(holder, _)| *holder);
                assert_eq!(held, Some(conflict.holder), "{command:?}");
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

fn founded() -> Transactions {
    let mut slots: Vec<Slot> = RESOURCES.map(lock_slot).into_iter().chain((0..4).map(Slot)).collect();
    slots.sort_unstable();
    let found = FoundV1 { slots, epoch: FENCE.epoch, sequence: FIRST };
    let lead = LeadV1 { tenure: FENCE.tenure, block: OPERATIONS_MAX as u32 };
    let mut state = Transactions::new();
    let commands = vec![Command::Found(found), Command::Lead(lead)];
    state.apply(&Batch { stamp: Stamp::default(), commands });
    state
}

#[derive(Debug)]
enum Expected {
    Begun,
    Conflict,
    Outcome(Outcome),
}

/// The slot of a resource, the resource, the row.
type Row = (Slot, String, String);

#[derive(Default)]
struct Model {
    clock_ms: u64,
    dealt: u64,
    all: Vec<TransactionId>,
    transactions: BTreeMap<TransactionId, Transaction>,
    rows: BTreeMap<Row, (TransactionId, BTreeSet<BranchId>)>,
}

impl Model {
    /// What these bytes stand for; nothing: the state goes through a snapshot.
    fn command(&mut self, kind: u8, a: u8, b: u8, c: u8) -> Option<Command> {
        let pick = |count: usize, byte: u8| usize::from(byte).checked_rem(count);
        let transaction = pick(self.all.len(), a).map_or(TransactionId(4_096 + 1), |at| self.all[at]);
        let own: Vec<BranchId> =
            self.transactions.get(&transaction).map(|of| of.branches.keys().copied().collect()).unwrap_or_default();
        let branch = pick(own.len(), b).map_or(BranchId(transaction.0), |at| own[at]);
        let resource = RESOURCES[usize::from(b) % RESOURCES.len()];
        Some(match kind {
            0 | 1 if self.all.len() < TRANSACTIONS_MAX => {
                let begin = BeginV1 {
                    address: "10.0.0.1:8091".into(),
                    application: "shop".into(),
                    service_group: "default_tx_group".into(),
                    name: "buy".into(),
                    timeout_ms: [60_000, 1_000, 20, 0][usize::from(a) % 4],
                };
                if kind == 0 { Command::Begin(begin) } else { Command::BeginNear(begin) }
            }
            0..=5 => {
                self.dealt += 1;
                let rows: Vec<String> = (0..8).filter(|bit| c & (1 << bit) != 0).map(|row| row.to_string()).collect();
                let kind = if kind == 5 { BranchType::TCC } else { BranchType::AT };
                Command::RegisterBranch(RegisterBranchV1 {
                    transaction,
                    branch: BranchId::mint(FIRST + self.dealt - 1, transaction.slot()).expect("few are dealt"),
                    fence: FENCE,
                    kind,
                    resource: resource.into(),
                    lock_keys: if rows.is_empty() { String::new() } else { format!("t:{}", rows.join(",")) },
                    application_data: String::new(),
                    client: "shop:10.0.0.2:5000".into(),
                    with_locks: true,
                })
            }
            6 => Command::RemoveBranch(BranchV1 { transaction, branch }),
            7 => Command::ReportBranch(ReportBranchV1 {
                transaction,
                branch,
                status: [BranchStatus::PhaseOne_Done, BranchStatus::PhaseOne_Failed][usize::from(c) % 2],
                application_data: "{}".into(),
            }),
            8 | 9 => {
                let decisions = [Decision::Commit, Decision::Rollback, Decision::TimeoutRollback];
                Command::Decide(DecideV1 { transaction, decision: decisions[usize::from(c) % 3] })
            }
            10 => Command::Retry(TransactionV1 { transaction }),
            11 => Command::End(TransactionV1 { transaction }),
            12 => {
                let status = match c % 2 {
                    0 => BranchStatus::PhaseTwo_CommitFailed_Unretryable,
                    _ => BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
                };
                Command::Fail(FailV1 { transaction, branch, status })
            }
            13 => {
                let scope = if c.is_multiple_of(2) { ReleaseScope::All } else { ReleaseScope::Branches(vec![branch]) };
                Command::ReleaseLocks(ReleaseLocksV1 { transaction, slot: lock_slot(resource), scope })
            }
            14 => {
                self.clock_ms += [1, 30, 2_000, limits::TOMBSTONE_LIFE_MS][usize::from(c) % 4];
                [Command::Tick, Command::Forget(TransactionV1 { transaction })][usize::from(b) % 2].clone()
            }
            16..=18 => Command::Operate(OperateV1 { transaction, operation: operation(c, branch) }),
            19 => Command::CleanedUp(BranchV1 { transaction, branch }),
            _ => return None,
        })
    }

    /// What a command must come to, and what it does to the model.
    fn run(&mut self, command: &Command) -> Expected {
        match command {
            Command::Begin(_) | Command::BeginNear(_) => Expected::Begun,
            Command::RegisterBranch(register) => self.register(register),
            Command::ReleaseLocks(release) => {
                self.release(release.transaction, |(slot, ..), branch| {
                    let is_meant = match &release.scope {
                        ReleaseScope::All => true,
                        ReleaseScope::Branches(branches) => branches.contains(branch),
                    };
                    *slot == release.slot && is_meant
                });
                Expected::Outcome(Outcome::Released)
            }
            Command::Tick => Expected::Outcome(Outcome::Done),
            Command::RemoveBranch(BranchV1 { transaction, .. })
            | Command::ReportBranch(ReportBranchV1 { transaction, .. })
            | Command::Decide(DecideV1 { transaction, .. })
            | Command::Retry(TransactionV1 { transaction })
            | Command::Fail(FailV1 { transaction, .. })
            | Command::End(TransactionV1 { transaction })
            | Command::Forget(TransactionV1 { transaction })
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
        let due_ms = self.clock_ms + begin.timeout_ms as u64;
        let (status, branches) = (GlobalStatus::Begin, BTreeMap::new());
        let begun = Transaction { status, due_ms, branches, ended_ms: None, is_deleted: false };
        assert!(self.transactions.insert(transaction, begun).is_none(), "{transaction} was minted twice");
        self.all.push(transaction);
    }

    /// All rows or none, and only while nothing is decided.
    fn register(&mut self, register: &RegisterBranchV1) -> Expected {
        match self.transactions.get(&register.transaction) {
            Some(of) if of.ended_ms.is_some() => return refused(Refusal::NoSuchTransaction),
            Some(of) if of.status != GlobalStatus::Begin => {
                return refused(Refusal::NotActive { status: of.status });
            }
            Some(_) => {}
            None => return refused(Refusal::NoSuchTransaction),
        }
        let keys = register.lock_keys.strip_prefix("t:").unwrap_or_default();
        let is_at = register.kind == BranchType::AT;
        let rows: Vec<Row> = keys
            .split(',')
            .filter(|key| is_at && !key.is_empty())
            .map(|key| (lock_slot(&register.resource), register.resource.clone(), key.to_owned()))
            .collect();
        let holder = |row: &Row| self.rows.get(row).map(|(holder, _)| *holder);
        if rows.iter().filter_map(holder).any(|holder| holder != register.transaction) {
            return Expected::Conflict;
        }
        let locks_rows = !rows.is_empty();
        for row in rows {
            let held = self.rows.entry(row).or_insert((register.transaction, BTreeSet::new()));
            held.1.insert(register.branch);
        }
        if let Some(of) = self.transactions.get_mut(&register.transaction) {
            let (kind, status) = (register.kind, BranchStatus::Registered);
            of.branches.insert(register.branch, Branch { kind, status, locks_rows, fate: Fate::Kept });
        }
        Expected::Outcome(Outcome::Registered)
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
                if of.branches.remove(&remove.branch).is_some() {
                    self.release(transaction, |_, branch| *branch == remove.branch);
                }
                Ok(Outcome::Done)
            }
            Command::ReportBranch(report) => {
                let branch = of.branches.get_mut(&report.branch).ok_or(Refusal::NoSuchBranch)?;
                if status == Begin {
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
            Command::Fail(fail) if !has_ended => fail_branch(of, fail),
            Command::End(_) | Command::Forget(_) if has_ended => Ok(Outcome::Now(status)),
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
            Command::Forget(_) => match status {
                CommitFailed | RollbackFailed | TimeoutRollbackFailed => self.end(transaction, of, status),
                _ => illegal,
            },
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
        let is_async = of.branches.values().all(|branch| branch.kind == BranchType::AT || branch.has_failed());
        of.status = match decision {
            Decision::Rollback => GlobalStatus::Rollbacking,
            Decision::Commit | Decision::TimeoutRollback if is_due => GlobalStatus::TimeoutRollbacking,
            Decision::TimeoutRollback => return Err(Refusal::NotDue { due_ms: of.due_ms }),
            Decision::Commit if is_async => GlobalStatus::AsyncCommitting,
            Decision::Commit => GlobalStatus::Committing,
        };
        if matches!(of.status, GlobalStatus::AsyncCommitting | GlobalStatus::Committing) {
            self.release(transaction, |_, _| true);
        }
        Ok(Outcome::Decided(of.status))
    }

    fn end(
        &mut self,
        transaction: TransactionId,
        of: &mut Transaction,
        status: GlobalStatus,
    ) -> Result<Outcome, Refusal> {
        of.status = status;
        of.ended_ms = Some(self.clock_ms);
        of.branches.clear();
        self.release(transaction, |_, _| true);
        Ok(Outcome::Now(status))
    }

    fn release(&mut self, transaction: TransactionId, is_meant: impl Fn(&Row, &BranchId) -> bool) {
        self.rows.retain(|row, (holder, branches)| {
            if *holder == transaction {
                branches.retain(|branch| !is_meant(row, branch));
            }
            !branches.is_empty()
        });
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
            let orders = open.map(|of| (of.is_deleted, of.branches.values().map(|branch| branch.fate).collect()));
            let seen = state.session(*transaction).map(|session| {
                (session.is_deleted(), session.branches.values().map(|branch| branch.fate).collect::<Vec<Fate>>())
            });
            assert_eq!(seen, orders, "{transaction}");
        }
        let held: BTreeMap<Row, (TransactionId, BTreeSet<BranchId>)> = state
            .locks()
            .map(|lock| {
                let row = (lock_slot(lock.resource), lock.resource.to_owned(), lock.row.key.clone());
                (row, (lock.transaction, lock.branches.iter().copied().collect()))
            })
            .collect();
        assert_eq!(held, self.rows);
        assert_eq!(state.counts().row_locks, self.rows.len() as u64);
    }
}

fn fail_branch(of: &mut Transaction, fail: &FailV1) -> Result<Outcome, Refusal> {
    use GlobalStatus::*;
    let (needed, failed) = match of.status {
        Committing | CommitRetrying | AsyncCommitting | CommitFailed => {
            (BranchStatus::PhaseTwo_CommitFailed_Unretryable, CommitFailed)
        }
        Rollbacking | RollbackRetrying | RollbackFailed => {
            (BranchStatus::PhaseTwo_RollbackFailed_Unretryable, RollbackFailed)
        }
        TimeoutRollbacking | TimeoutRollbackRetrying | TimeoutRollbackFailed => {
            (BranchStatus::PhaseTwo_RollbackFailed_Unretryable, TimeoutRollbackFailed)
        }
        // What an operator has stopped does not fail.
        StopCommitOrCommitRetry => (BranchStatus::PhaseTwo_CommitFailed_Unretryable, StopCommitOrCommitRetry),
        StopRollbackOrRollbackRetry => (BranchStatus::PhaseTwo_RollbackFailed_Unretryable, StopRollbackOrRollbackRetry),
        status => return Err(Refusal::Illegal { status }),
    };
    if fail.status != needed {
        return Err(Refusal::NoFailure { status: fail.status });
    }
    let branch = of.branches.get_mut(&fail.branch).ok_or(Refusal::NoSuchBranch)?;
    if matches!(failed, StopCommitOrCommitRetry | StopRollbackOrRollbackRetry) {
        return Err(Refusal::Illegal { status: failed });
    }
    if of.status != failed {
        branch.status = fail.status;
    }
    of.status = failed;
    Ok(Outcome::Now(failed))
}

fn refused(refusal: Refusal) -> Expected {
    Expected::Outcome(Outcome::Refused(refusal))
}
