//! What a random sequence asks for: commands whose ids are picked from the state they meet, so that most of them hit
//! something.

use alloc::format;

use proptest::prelude::*;
use proptest::sample::Index;

use super::properties::Ghost;
use super::*;
use crate::model::{BranchStatus, GlobalStatus};

/// What the engines of Sagas say, most of the time.
const WORDS: [GlobalStatus; 7] = [
    GlobalStatus::Committed,
    GlobalStatus::Rollbacked,
    GlobalStatus::Finished,
    GlobalStatus::CommitRetrying,
    GlobalStatus::RollbackRetrying,
    GlobalStatus::UnKnown,
    GlobalStatus::TimeoutRollbackRetrying,
];
/// Few begins, many words of engines, and what leads to the statuses that those find.
const OF_SAGAS: [u8; 30] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 25, 27, 27, 28, 30, 40, 40, 40, 41, 41, 41, 42, 42, 43, 44, 45, 46];

/// See the page.
#[derive(Clone, Debug)]
pub(super) struct Move {
    kind: u8,
    transaction: Index,
    branch: Index,
    resource: Index,
    rows: u8,
    number: u8,
    pub(super) passes_ms: u64,
    stale: bool,
}

/// Any commands.
pub(super) fn moves(count_max: usize) -> impl Strategy<Value = Vec<Move>> {
    moves_of(0u8..49, count_max)
}

/// Of few transactions that are open side by side, most of them Sagas; for [`Ghost::of_sagas`].
pub(super) fn moves_of_sagas(count_max: usize) -> impl Strategy<Value = Vec<Move>> {
    moves_of(proptest::sample::select(&OF_SAGAS), count_max)
}

fn moves_of(kind: impl Strategy<Value = u8>, count_max: usize) -> impl Strategy<Value = Vec<Move>> {
    let passes_ms = prop_oneof![30 => 0u64..3, 6 => 0u64..2_000, 1 => Just(180_000u64)];
    let one = (kind, any::<Index>(), any::<Index>(), any::<Index>(), 0u8..16, any::<u8>(), passes_ms, any::<u8>());
    let one = one.prop_map(|(kind, transaction, branch, resource, rows, number, passes_ms, stale)| Move {
        kind,
        transaction,
        branch,
        resource,
        rows,
        number,
        passes_ms,
        stale: stale < 16,
    });
    proptest::collection::vec(one, 1..count_max)
}

impl Ghost {
    fn pick(&self, index: &Index) -> TransactionId {
        match self.transactions.len() {
            0 => TransactionId(4096 + 77),
            count if self.of_sagas => self.transactions[count - 1 - index.index(count.min(2))],
            count => self.transactions[index.index(count)],
        }
    }

    pub(super) fn command(&mut self, state: &Transactions, wish: &Move) -> Command {
        let transaction = self.pick(&wish.transaction);
        let own: Vec<BranchId> =
            state.session(transaction).map(|s| s.branches.keys().copied().collect()).unwrap_or_default();
        let known = if own.is_empty() { branch(transaction, 5) } else { own[wish.branch.index(own.len())] };
        let resource = ["stock", "bank", ELSEWHERE][wish.resource.index(3)];
        let rows: String = (0..4).filter(|bit| wish.rows & (1 << bit) != 0).map(|bit| format!("{bit},")).collect();
        let rows = format!("t:{rows}");
        let tenure = Term(state.tenure().0.saturating_sub(u64::from(wish.stale)));
        let fence = Fence { epoch: EPOCH, tenure };
        let name = TransactionV1 { transaction };
        match wish.kind {
            0..3 => {
                let mut begin = buy(i32::from(wish.number) * 40 - 200);
                if self.of_sagas || wish.number.is_multiple_of(5) {
                    begin.name = "$Saga_buy".into();
                }
                if wish.kind == 0 { Command::Begin(begin) } else { Command::BeginNear(begin) }
            }
            3..15 => {
                self.dealt += 1;
                let others = [BranchType::TCC, BranchType::AT, BranchType::AT, BranchType::XA];
                // A quarter of the transactions are Sagas, or all of them, most of nothing else.
                let is_step = match self.of_sagas {
                    true => !wish.rows.is_multiple_of(8),
                    false => transaction.sequence().is_multiple_of(4) && wish.rows != 0,
                };
                let kind = match is_step {
                    true => BranchType::SAGA,
                    false => others[usize::from(wish.number % 4)],
                };
                let mut command = register(transaction, FIRST_SEQUENCE + self.dealt, kind, resource, &rows);
                command.fence = fence;
                command.with_locks &= !wish.number.is_multiple_of(4);
                if wish.stale && wish.number.is_multiple_of(2) {
                    command.branch = known; // a doubled proposal, or an id used twice
                }
                match kind {
                    BranchType::TCC | BranchType::XA if wish.rows != 0 => {
                        let request = u64::from(wish.number % 5);
                        Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: command, request })
                    }
                    _ => Command::RegisterBranch(command),
                }
            }
            15..18 => Command::RemoveBranch(BranchV1 { transaction, branch: known }),
            18..20 => Command::ReportBranch(ReportBranchV1 {
                transaction,
                branch: known,
                status: BranchStatus::ALL[usize::from(wish.number) % 16],
                application_data: format!("{}", wish.number),
            }),
            20..25 => {
                let decisions = [Decision::Commit, Decision::Rollback, Decision::TimeoutRollback];
                decide(transaction, decisions[usize::from(wish.number) % 3])
            }
            25..27 => Command::Retry(name),
            27 => {
                let direction = state.session(transaction).and_then(Session::direction);
                let status = match direction {
                    _ if wish.stale => BranchStatus::PhaseTwo_CommitFailed_Retryable,
                    Some(Direction::Commit) => BranchStatus::PhaseTwo_CommitFailed_Unretryable,
                    Some(Direction::Rollback) | None => BranchStatus::PhaseTwo_RollbackFailed_Unretryable,
                };
                Command::Fail(FailV1 { transaction, branch: known, status })
            }
            28..30 => Command::End(name),
            30 => Command::Detach(name),
            31 => Command::Forget(name),
            32..35 => self.acquire(state, transaction, known, wish.stale, (fence, resource, rows)),
            35..37 => Command::ReleaseLocks(ReleaseLocksV1 {
                transaction,
                slot: lock_slot(resource),
                scope: if wish.stale { ReleaseScope::All } else { ReleaseScope::Branches(vec![known]) },
            }),
            37 => lead(state.tenure().0 + u64::from(wish.number % 2) - u64::from(wish.stale)),
            38 => found(),
            40..43 => {
                let number = usize::from(wish.number / 4);
                let status = match wish.number % 4 {
                    0 => GlobalStatus::ALL[number % GlobalStatus::ALL.len()],
                    _ => WORDS[number % WORDS.len()],
                };
                // By itself, as an answer, or as one to a question from before.
                let asked = match wish.rows % 4 {
                    0 | 2 => state.standing(transaction),
                    1 => Some(GlobalStatus::Committing),
                    _ => None,
                };
                Command::Report(ReportV1 { transaction, status, asked })
            }
            44..47 => {
                let has_failed = state.standing(transaction).is_some_and(status::is_failed);
                // Most of what fails is looked after; force is rare.
                let picks = if has_failed {
                    [2, 3, 3, 3, 2, 7, 7, 3, 4, 5, 6, 7, 8, 9]
                } else {
                    [0, 1, 2, 3, 4, 0, 1, 0, 1, 5, 6, 7, 8, 9]
                };
                let operation = operations(known)[picks[usize::from(wish.number) % 14]];
                Command::Operate(OperateV1 { transaction, operation })
            }
            47 | 48 => Command::CleanedUp(BranchV1 { transaction, branch: known }),
            43 => Command::GiveUp(GiveUpV1 { transaction, after_ms: u64::from(wish.number) * 20 }),
            _ => Command::Tick,
        }
    }

    /// The second half of a listed branch, or one whose register is late or lost.
    fn acquire(
        &mut self,
        state: &Transactions,
        transaction: TransactionId,
        known: BranchId,
        is_lost: bool,
        (fence, resource, rows): (Fence, &str, String),
    ) -> Command {
        let listed = state.session(transaction).and_then(|session| session.branches.get(&known));
        let listed = listed.filter(|_| !is_lost);
        self.dealt += u64::from(listed.is_none());
        Command::AcquireLocks(AcquireLocksV1 {
            transaction,
            branch: listed.map_or(branch(transaction, FIRST_SEQUENCE + self.dealt), |listed| listed.branch),
            fence,
            resource: listed.map_or(resource.into(), |listed| (*listed.resource).into()),
            lock_keys: listed.map_or(rows, |listed| (*listed.lock_keys).into()),
        })
    }
}
