//! Any commands in any order: oracles A2, A4, A5, B1, B3 and B4 of the simulation within one group, and determinism.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::model::{BranchStatus, GlobalStatus};
use crate::txn::saga;

/// A command whose ids are picked from the state it meets, so that most of them hit something.
#[derive(Clone, Debug)]
struct Move {
    kind: u8,
    transaction: Index,
    branch: Index,
    resource: Index,
    rows: u8,
    number: u8,
    passes_ms: u64,
    stale: bool,
}

fn moves(count_max: usize) -> impl Strategy<Value = Vec<Move>> {
    let passes_ms = prop_oneof![30 => 0u64..3, 6 => 0u64..2_000, 1 => Just(180_000u64)];
    let one = (0u8..49, any::<Index>(), any::<Index>(), any::<Index>(), 0u8..16, any::<u8>(), passes_ms, any::<u8>());
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

/// What the test knows beside the state.
#[derive(Default)]
struct Ghost {
    /// All ever minted.
    transactions: Vec<TransactionId>,
    /// Listed now or when its session ended.
    listed: BTreeSet<(TransactionId, BranchId)>,
    decided: BTreeMap<TransactionId, Direction>,
    /// Their engines may have been asked to undo them, whatever their time: that may still act.
    undone: BTreeSet<TransactionId>,
    dealt: u64,
}

impl Ghost {
    fn pick(&self, index: &Index) -> TransactionId {
        match self.transactions.len() {
            0 => TransactionId(4096 + 77),
            count => self.transactions[index.index(count)],
        }
    }

    fn command(&mut self, state: &Transactions, wish: &Move) -> Command {
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
                if wish.number.is_multiple_of(5) {
                    begin.name = "$Saga_buy".into();
                }
                if wish.kind == 0 { Command::Begin(begin) } else { Command::BeginNear(begin) }
            }
            3..15 => {
                self.dealt += 1;
                let others = [BranchType::TCC, BranchType::AT, BranchType::AT, BranchType::XA];
                // A quarter of the transactions are Sagas, most of them of nothing else.
                let kind = match transaction.sequence().is_multiple_of(4) && wish.rows != 0 {
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
                let status = GlobalStatus::ALL[usize::from(wish.number) % GlobalStatus::ALL.len()];
                let asked = state.standing(transaction).filter(|_| wish.rows.is_multiple_of(2));
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

    /// Looks at one command and what it came to.
    fn observe(&mut self, before: &Transactions, after: &Transactions, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (_, Outcome::Begun(transaction)) => self.transactions.push(*transaction),
            (Command::RegisterBranchOnce(once), Outcome::RegisteredBefore(branch)) => {
                let transaction = once.register.transaction;
                let listed =
                    &after.session(transaction).and_then(|session| session.branches.get(branch)).expect("listed");
                assert_eq!(listed.request, Some(once.request), "the branch of this request and of no other");
                assert_ne!(*branch, once.register.branch);
            }
            (
                Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }),
                Outcome::Registered,
            ) => {
                let requests = after.session(register.transaction).into_iter().flat_map(|s| s.branches.values());
                let requests: Vec<u64> = requests.filter_map(|branch| branch.request).collect();
                let distinct: BTreeSet<u64> = requests.iter().copied().collect();
                assert_eq!(distinct.len(), requests.len(), "a request has one branch");
                self.listed.insert((register.transaction, register.branch));
                let rows = crate::model::lock_key::parse(&register.lock_keys).expect("short");
                if register.with_locks && register.kind == BranchType::AT {
                    let held = after.holds_of(lock_slot(&register.resource), register.transaction);
                    let held: u64 = held.filter(|hold| hold.branch == register.branch).map(|hold| hold.rows).sum();
                    assert_eq!(held, rows.len() as u64, "B4: all rows or none");
                }
            }
            (Command::RemoveBranch(remove), Outcome::Done) => {
                self.listed.remove(&(remove.transaction, remove.branch));
            }
            _ => {}
        }
        for &transaction in &self.transactions {
            let (Some(from), Some(to)) = (before.standing(transaction), after.standing(transaction)) else { continue };
            let ended = before.session(transaction).is_some() && after.session(transaction).is_none();
            let forgotten = ended && from == to && status::is_failed(from);
            // Of a Saga its engine may say otherwise, and nobody else.
            let is_told = matches!(command, Command::Report(report) if report.transaction == transaction)
                && before.session(transaction).is_some_and(Session::is_saga);
            let is_operated = matches!(command, Command::Operate(operate) if operate.transaction == transaction);
            let may_become = match (is_told, is_operated) {
                (true, _) => status::saga_may_become(from, to),
                (false, true) => status::operator_may_become(from, to),
                (false, false) => status::may_become(from, to),
            };
            assert!(from == to || may_become, "A5: {from} became {to}");
            let is_over = status::done(from) == Some(to) || (is_operated && status::force_deleted(from) == Some(to));
            // With a branch that an operator has deleted against the decision nobody is told that it went as decided.
            let is_deleted = |branch: &crate::txn::Branch| branch.fate.is_settled();
            let was_deleted =
                before.session(transaction).is_some_and(|session| session.branches.values().any(is_deleted));
            let is_astray = was_deleted && status::failed(from) == Some(to);
            assert!(!ended || forgotten || is_told || is_over || is_astray, "A5: {from} ended as {to}");
            if let Some(direction) = status::direction(to) {
                let decided = self.decided.entry(transaction).or_insert(direction);
                let may_turn = is_told && before.session(transaction).is_some_and(Session::is_pure_saga);
                assert!(*decided == direction || may_turn, "A2: {decided:?} turned to {direction:?}");
                *decided = direction;
            }
            let others = |state: &Transactions| -> Option<BTreeSet<BranchId>> {
                let branches = state.session(transaction)?.branches.values();
                Some(branches.filter(|b| b.kind != BranchType::SAGA).map(|b| b.branch).collect())
            };
            let is_fixed = from == GlobalStatus::Begin || others(after).is_none() || others(before) == others(after);
            assert!(is_fixed, "A4: a branch of a decided transaction has come or gone");
        }
        self.no_commit_of_what_is_undone(after);
    }

    /// A7: the question may reach an engine at any time after.
    fn no_commit_of_what_is_undone(&mut self, state: &Transactions) {
        let is_asked = |session: &&Session| {
            let is_undone = session.direction() == Some(Direction::Rollback) && status::is_running(session.status);
            session.has_engine() && is_undone && !saga::may_go_on(session.status_for_engine())
        };
        self.undone.extend(state.sessions().filter(is_asked).map(|session| session.transaction));
        for standing in self.undone.iter().filter_map(|transaction| state.standing(*transaction)) {
            let commits = status::direction(standing) == Some(Direction::Commit);
            assert!(!commits, "A7: {standing}, though it may be undone yet");
        }
    }

    /// B3 within the group: an ended or committing transaction has no row through a branch that was listed.
    fn no_lock_without_a_live_owner(&self, state: &Transactions) {
        for lock in state.locks() {
            let session = state.session(lock.transaction);
            let is_owed = session.is_none_or(|session| session.direction() == Some(Direction::Commit));
            let listed = lock.branches.iter().any(|branch| self.listed.contains(&(lock.transaction, *branch)));
            // One that was not listed is an orphan: the audit has to be able to free it.
            assert!(!(is_owed && listed), "B3: {lock:?}");
            for hold in state.holds_of(lock_slot(lock.resource), lock.transaction).filter(|_| is_owed) {
                assert_eq!(state.is_gone(hold.transaction, hold.branch, hold.fence, false), Ok(true), "{hold:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_moves_keep_the_invariants(moves in moves(80), snapshot_at in any::<Index>()) {
        let mut state = founded();
        let mut log = vec![batch(0, vec![found(), lead(1)])];
        let mut ghost = Ghost::default();
        let snapshot_at = snapshot_at.index(moves.len());
        let mut restored = None;
        for (position, wish) in moves.iter().enumerate() {
            if position == snapshot_at {
                restored = Some(Transactions::load(state.tables()).expect("its own records"));
            }
            let command = ghost.command(&state, wish);
            let clock_ms = state.clock_ms() + wish.passes_ms;
            let entry = batch(clock_ms, vec![command.clone()]);
            let before = state.clone();
            let outcome = state.apply(&entry).pop().expect("one outcome");
            if matches!(outcome, Outcome::Refused(_)) {
                let mut untouched = before.clone();
                untouched.apply(&batch(clock_ms, vec![Command::Tick]));
                prop_assert_eq!(&state, &untouched, "refused {:?}, yet changed", command);
            }
            state.check_invariants().map_err(|what| TestCaseError::fail(format!("{what} after {command:?}")))?;
            ghost.observe(&before, &state, &command, &outcome);
            ghost.no_lock_without_a_live_owner(&state);
            if let Some(restored) = &mut restored {
                restored.apply(&entry);
            }
            log.push(entry);
        }
        // The same entries from nothing, and from a snapshot in between, give the same bytes.
        let mut replayed = Transactions::new();
        log.iter().for_each(|entry| { replayed.apply(entry); });
        let bytes: Vec<_> = state.tables().collect();
        prop_assert_eq!(&replayed.tables().collect::<Vec<_>>(), &bytes);
        prop_assert_eq!(&restored.expect("taken").tables().collect::<Vec<_>>(), &bytes);
    }

    #[test]
    fn apply_is_total(bytes in proptest::collection::vec(any::<u64>(), 8), texts in proptest::collection::vec(".{0,12}", 4)) {
        let mut state = founded();
        let transaction = begun(&mut state, 0, 1_000);
        for command in wild(&bytes, &texts, transaction) {
            let stamp = Stamp { clock_ms: bytes[7], wall_ms: bytes[6] };
            let outcomes = state.apply(&Batch { stamp, commands: vec![command.clone(), command] });
            prop_assert_eq!(outcomes.len(), 2);
            state.check_invariants().map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn equal_rows_in_another_order_are_equal_states(rows in proptest::collection::btree_set(0u8..40, 1..12)) {
        // Two transactions without a row in common, whichever registers first.
        let (even, odd): (Vec<u8>, Vec<u8>) = rows.iter().partition(|row| *row % 2 == 0);
        let mut bytes = Vec::new();
        for flip in [false, true] {
            let mut state = founded();
            let pair = [begun(&mut state, 0, 1_000), begun(&mut state, 0, 1_000)];
            for turn in 0..2usize {
                let who = turn ^ usize::from(flip);
                let keys = [&even, &odd][who].iter().map(|row| format!("{row},")).collect::<String>();
                let command = register(pair[who], FIRST_SEQUENCE + who as u64, BranchType::AT, "stock", &format!("t:{keys}"));
                prop_assert_eq!(one(&mut state, 0, Command::RegisterBranch(command)), Outcome::Registered);
            }
            bytes.push(state.tables().collect::<Vec<_>>());
        }
        prop_assert_eq!(&bytes[0], &bytes[1]);
    }
}

/// One of each command, with ids, fences and texts from nowhere.
fn wild(bytes: &[u64], texts: &[String], known: TransactionId) -> Vec<Command> {
    let transaction = if bytes[0].is_multiple_of(2) { known } else { TransactionId(bytes[0] as i64) };
    let branch = BranchId(bytes[1] as i64);
    let fence = Fence { epoch: Epoch(bytes[2] % 3), tenure: Term(bytes[3] % 3) };
    let name = TransactionV1 { transaction };
    let text = |n: usize| texts[n % texts.len()].clone();
    let mut register =
        register(transaction, FIRST_SEQUENCE, BranchType::ALL[bytes[4] as usize % 5], &text(0), &text(1));
    register.branch = if bytes[5].is_multiple_of(2) { branch } else { register.branch };
    register.fence = fence;
    register.with_locks = bytes[6].is_multiple_of(2);
    let found = FoundV1 {
        slots: vec![Slot(bytes[0] as u16), Slot(bytes[1] as u16)],
        epoch: Epoch(bytes[2]),
        sequence: bytes[3],
    };
    vec![
        Command::Found(found),
        Command::Lead(LeadV1 { tenure: Term(bytes[4]), block: bytes[5] as u32 }),
        begin(bytes[6] as i32),
        Command::RegisterBranch(register),
        Command::RemoveBranch(BranchV1 { transaction, branch }),
        Command::ReportBranch(ReportBranchV1 {
            transaction,
            branch,
            status: BranchStatus::STOP_RETRY,
            application_data: text(2),
        }),
        decide(transaction, [Decision::Commit, Decision::Rollback, Decision::TimeoutRollback][bytes[7] as usize % 3]),
        Command::Retry(name),
        Command::Fail(FailV1 { transaction, branch, status: BranchStatus::ALL[bytes[1] as usize % 16] }),
        Command::Detach(name),
        Command::End(name),
        Command::AcquireLocks(AcquireLocksV1 { transaction, branch, fence, resource: text(3), lock_keys: text(1) }),
        Command::ReleaseLocks(ReleaseLocksV1 {
            transaction,
            slot: Slot(bytes[2] as u16),
            scope: ReleaseScope::Branches(vec![branch, branch]),
        }),
        Command::Forget(name),
        Command::Report(ReportV1 { transaction, status: GlobalStatus::ALL[bytes[4] as usize % 21], asked: None }),
        Command::GiveUp(GiveUpV1 { transaction, after_ms: bytes[5] }),
        Command::Operate(OperateV1 { transaction, operation: operations(branch)[bytes[3] as usize % 10] }),
        Command::CleanedUp(BranchV1 { transaction, branch }),
        Command::Tick,
    ]
}

#[test]
fn the_decisions_of_the_moves_meet_every_status() {
    // A test of the test: the moves above reach each status, so that the properties are not checked in vain.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    let mut refusals = BTreeSet::new();
    for _ in 0..300 {
        let moves = moves(80).new_tree(&mut runner).expect("no filter").current();
        let (mut state, mut ghost) = (founded(), Ghost::default());
        for wish in &moves {
            let command = ghost.command(&state, wish);
            let before = state.clone();
            let outcome = one(&mut state, before.clock_ms() + wish.passes_ms, command.clone());
            ghost.observe(&before, &state, &command, &outcome);
            if let Outcome::Refused(refusal) = outcome {
                let text = format!("{refusal:?}");
                refusals.insert(text.split([' ', '(']).next().unwrap_or_default().to_string());
            }
            seen.extend(ghost.transactions.iter().filter_map(|transaction| state.standing(*transaction)));
        }
    }
    use GlobalStatus::*;
    let all = [
        Begin,
        Committing,
        CommitRetrying,
        Rollbacking,
        RollbackRetrying,
        TimeoutRollbacking,
        AsyncCommitting,
        Committed,
        CommitFailed,
        Rollbacked,
        RollbackFailed,
        TimeoutRollbacked,
        TimeoutRollbackFailed,
        TimeoutRollbackRetrying,
        CommitRetryTimeout,
        RollbackRetryTimeout,
        StopCommitOrCommitRetry,
        StopRollbackOrRollbackRetry,
    ];
    for status in all {
        assert!(seen.contains(&status), "{status} was never reached");
    }
    for refusal in [
        "Conflict",
        "NotOwner",
        "OldTenure",
        "NotActive",
        "NoSuchTransaction",
        "NoSuchBranch",
        "NotDue",
        "Illegal",
        "NoFailure",
        "Founded",
        "BadBranchId",
    ] {
        assert!(refusals.contains(refusal), "{refusal} was never the answer, only {refusals:?}");
    }
}
