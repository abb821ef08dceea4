//! What four bytes of the operations target stand for. The kinds below twenty are as old as the first seeds and mean what
//! they meant.

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{BranchId, BranchStatus, BranchType, Fence, GlobalStatus, Slot, Term, TransactionId, limits};
use quorate_core::txn::command::{
    AcquireLocksV1, BeginV1, BranchV1, DecideV1, FailV1, GiveUpV1, LeadV1, OperateV1, RegisterBranchOnceV1,
    RegisterBranchV1, ReleaseLocksV1, ReportBranchV1, ReportV1, TransactionV1,
};
use quorate_core::txn::{Command, Decision, ReleaseScope};

use super::operate::operation;
use super::{AWAY, EPOCH, Model, OPERATIONS_MAX, RESOURCES, SLOT_AWAY, TRANSACTIONS_MAX};

const KINDS: [BranchType; 5] =
    [BranchType::XA, BranchType::SAGA, BranchType::TCC, BranchType::AT, BranchType::SAGA_ANNOTATION];

/// What engines of Sagas say.
const WORDS: [GlobalStatus; 7] = [
    GlobalStatus::Committed,
    GlobalStatus::Rollbacked,
    GlobalStatus::Finished,
    GlobalStatus::CommitRetrying,
    GlobalStatus::RollbackRetrying,
    GlobalStatus::UnKnown,
    GlobalStatus::TimeoutRollbackRetrying,
];

fn pick(count: usize, byte: u8) -> Option<usize> {
    usize::from(byte).checked_rem(count)
}

fn near(byte: u8) -> &'static str {
    RESOURCES[usize::from(byte) % RESOURCES.len()]
}

fn near_or_away(byte: u8) -> &'static str {
    RESOURCES.get(usize::from(byte) % (RESOURCES.len() + 1)).copied().unwrap_or(AWAY)
}

/// A row for each bit.
fn lock_keys(bits: u8) -> String {
    let rows: Vec<String> = (0..8).filter(|bit| bits & (1 << bit) != 0).map(|row| row.to_string()).collect();
    if rows.is_empty() { String::new() } else { format!("t:{}", rows.join(",")) }
}

/// Of another group.
fn foreign(byte: u8) -> TransactionId {
    TransactionId::mint(1 + u64::from(byte % 3), SLOT_AWAY).expect("a small sequence")
}

fn foreign_branch(byte: u8) -> BranchId {
    BranchId::mint(10 + u64::from(byte % 4), SLOT_AWAY).expect("a small sequence")
}

impl Model {
    /// What these bytes stand for; nothing: the state goes through a snapshot.
    pub(super) fn command(&mut self, kind: u8, a: u8, b: u8, c: u8) -> Option<Command> {
        let transaction = pick(self.all.len(), a).map_or(TransactionId(4_096 + 1), |at| self.all[at]);
        let own: Vec<BranchId> =
            self.transactions.get(&transaction).map(|of| of.branches.keys().copied().collect()).unwrap_or_default();
        let branch = pick(own.len(), b).map_or(BranchId(transaction.0), |at| own[at]);
        Some(match kind % 32 {
            0 | 1 if self.all.len() < TRANSACTIONS_MAX => begin(kind.is_multiple_of(2), "buy", a),
            kind @ 0..=5 => {
                let kind = if kind == 5 { BranchType::TCC } else { BranchType::AT };
                let register = self.branch_of(transaction, kind, near(b), &lock_keys(c));
                self.registered(Command::RegisterBranch(register))
            }
            6 => Command::RemoveBranch(BranchV1 { transaction, branch }),
            7 => report_branch(transaction, branch, [BranchStatus::PhaseOne_Done, BranchStatus::PhaseOne_Failed], c),
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
                let has_engine = self.transactions.get(&transaction).is_some_and(|of| of.has_engine());
                let branch = if has_engine && c % 4 < 2 { BranchId::WHOLE } else { branch };
                Command::Fail(FailV1 { transaction, branch, status })
            }
            13 => release(transaction, lock_slot(near(b)), branch, c),
            14 => {
                self.clock_ms += [1, 30, 2_000, limits::TOMBSTONE_LIFE_MS][usize::from(c) % 4];
                [Command::Tick, Command::Forget(TransactionV1 { transaction })][usize::from(b) % 2].clone()
            }
            16..=18 => Command::Operate(OperateV1 { transaction, operation: operation(c, branch) }),
            19 => Command::CleanedUp(BranchV1 { transaction, branch }),
            20..=24 => return self.joining(kind % 32, [a, b, c], transaction),
            25..=27 => self.locking(kind % 32, [a, b, c], transaction, branch),
            28..=31 => self.leading(kind % 32, [b, c], transaction, branch),
            _ => return None,
        })
    }

    /// Sagas, and branches of all kinds, with their rows here or elsewhere, once or again.
    fn joining(&mut self, kind: u8, [a, b, c]: [u8; 3], transaction: TransactionId) -> Option<Command> {
        let command = match kind {
            20 if self.all.len() < TRANSACTIONS_MAX => return Some(begin(b.is_multiple_of(2), "$Saga_buy", a)),
            21 => {
                let kind = KINDS[usize::from(b / 4) % KINDS.len()];
                Command::RegisterBranch(self.branch_of(transaction, kind, near_or_away(b), &lock_keys(c)))
            }
            22 => {
                let kind = [BranchType::TCC, BranchType::XA, BranchType::AT][usize::from(b / 4) % 3];
                let register = self.branch_of(transaction, kind, near_or_away(b), &lock_keys(c / 16));
                Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, request: u64::from(c % 4) })
            }
            // The first half: its rows are another group's, or are asked for later.
            23 => {
                let register = self.branch_of(transaction, BranchType::AT, near_or_away(b), &lock_keys(c));
                Command::RegisterBranch(RegisterBranchV1 { with_locks: false, ..register })
            }
            24 => {
                let mut again = self.registers[pick(self.registers.len(), b)?].clone();
                let (Command::RegisterBranch(register)
                | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. })) = &mut again
                else {
                    panic!("{again:?}")
                };
                register.with_locks ^= c.is_multiple_of(4);
                if c.is_multiple_of(8) {
                    register.lock_keys = lock_keys(c / 8);
                }
                return Some(again);
            }
            _ => return None,
        };
        Some(self.registered(command))
    }

    /// Row locks for branches of any group.
    fn locking(&mut self, kind: u8, [a, b, c]: [u8; 3], transaction: TransactionId, branch: BranchId) -> Command {
        let fence = Fence { epoch: EPOCH, tenure: self.tenure };
        let acquire = |transaction, branch, resource: &str, lock_keys: String| {
            Command::AcquireLocks(AcquireLocksV1 { transaction, branch, fence, resource: resource.into(), lock_keys })
        };
        let listed = self.transactions.get(&transaction).and_then(|of| of.branches.get(&branch));
        match (kind, listed) {
            // The second half, mostly with the rows that the branch is listed with.
            (25, Some(of)) if c % 4 != 0 => {
                let other = lock_keys(c);
                let keys = if c % 8 == 1 { other } else { of.register.lock_keys.clone() };
                acquire(transaction, branch, &of.register.resource, keys)
            }
            // The register of its branch is lost, or late.
            (25, _) => acquire(transaction, self.deal(transaction), near_or_away(b), lock_keys(c)),
            (26, _) => acquire(foreign(a), foreign_branch(b / 4), near_or_away(b), lock_keys(c)),
            _ if a.is_multiple_of(4) => release(transaction, lock_slot(near_or_away(b)), branch, c),
            _ => release(foreign(a / 4), lock_slot(near_or_away(b)), foreign_branch(b / 4), c),
        }
    }

    /// Words of engines and RMs, another leader, and the end of phase two or of patience with it.
    fn leading(&mut self, kind: u8, [b, c]: [u8; 2], transaction: TransactionId, branch: BranchId) -> Command {
        match kind {
            28 if c.is_multiple_of(2) => Command::Detach(TransactionV1 { transaction }),
            28 => {
                let after_ms = [0, 20, 2_000, 60_000][usize::from(c / 2) % 4];
                Command::GiveUp(GiveUpV1 { transaction, after_ms })
            }
            29 => {
                let tenure = Term((self.tenure.0 + [1, 2, 3, 0][usize::from(c) % 4]) - 1);
                Command::Lead(LeadV1 { tenure, block: OPERATIONS_MAX as u32 })
            }
            30 => {
                let words = if b < 192 { WORDS.as_slice() } else { GlobalStatus::ALL };
                let status = words[usize::from(c) % words.len()];
                let standing = self.transactions.get(&transaction).map(|of| of.status);
                let asked = [None, standing, Some(GlobalStatus::Committing)][usize::from(b) % 3];
                Command::Report(ReportV1 { transaction, status, asked })
            }
            _ => {
                let said = [BranchStatus::PhaseOne_RDONLY, BranchStatus::STOP_RETRY];
                let said = if c % 4 < 2 { said } else { [BranchStatus::PhaseOne_PrepareFailed, said[0]] };
                report_branch(transaction, branch, said, c)
            }
        }
    }

    /// A new id of the leader.
    fn deal(&mut self, transaction: TransactionId) -> BranchId {
        self.next_branch += 1;
        BranchId::mint(self.next_branch - 1, transaction.slot()).expect("few are dealt")
    }

    fn branch_of(
        &mut self,
        transaction: TransactionId,
        kind: BranchType,
        resource: &str,
        lock_keys: &str,
    ) -> RegisterBranchV1 {
        RegisterBranchV1 {
            transaction,
            branch: self.deal(transaction),
            fence: Fence { epoch: EPOCH, tenure: self.tenure },
            kind,
            resource: resource.into(),
            lock_keys: lock_keys.into(),
            application_data: String::new(),
            client: "shop:10.0.0.2:5000".into(),
            with_locks: true,
        }
    }

    fn registered(&mut self, command: Command) -> Command {
        self.registers.push(command.clone());
        command
    }
}

fn begin(is_plain: bool, name: &str, byte: u8) -> Command {
    let begin = BeginV1 {
        address: "10.0.0.1:8091".into(),
        application: "shop".into(),
        service_group: "default_tx_group".into(),
        name: name.into(),
        timeout_ms: [60_000, 1_000, 20, 0][usize::from(byte) % 4],
    };
    if is_plain { Command::Begin(begin) } else { Command::BeginNear(begin) }
}

fn report_branch(transaction: TransactionId, branch: BranchId, said: [BranchStatus; 2], byte: u8) -> Command {
    let status = said[usize::from(byte) % 2];
    Command::ReportBranch(ReportBranchV1 { transaction, branch, status, application_data: "{}".into() })
}

fn release(transaction: TransactionId, slot: Slot, branch: BranchId, byte: u8) -> Command {
    let scope = if byte.is_multiple_of(2) { ReleaseScope::All } else { ReleaseScope::Branches(vec![branch]) };
    Command::ReleaseLocks(ReleaseLocksV1 { transaction, slot, scope })
}
