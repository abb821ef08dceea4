//! Any commands in any order: oracles A2, A4, A5, B1, B3 and B4 of the simulation within one group, and determinism.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;

use proptest::prelude::*;
use proptest::sample::Index;

use super::moves::{self, Moves, may_move};
use super::wishes::{Move, moves, moves_of_sagas};
use super::*;
use crate::codec;
use crate::model::{BranchStatus, GlobalStatus};
use crate::txn::saga;

/// What the test knows beside the state.
#[derive(Default)]
pub(super) struct Ghost {
    /// All transactions are Sagas, but for a few branches.
    pub(super) of_sagas: bool,
    /// All ever minted.
    pub(super) transactions: Vec<TransactionId>,
    /// Listed now or when its session ended.
    listed: BTreeSet<(TransactionId, BranchId)>,
    decided: BTreeMap<TransactionId, Direction>,
    /// Their engines may have been asked to undo them, whatever their time: that may still act.
    undone: BTreeSet<TransactionId>,
    pub(super) dealt: u64,
}

impl Ghost {
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
            let may_move = before.session(transaction).is_some_and(|session| may_move(session, command, to));
            assert!(from == to || may_move, "A5: {from} became {to} by {command:?}");
            // Of a Saga its engine may say otherwise, and nobody else.
            let is_told = matches!(command, Command::Report(report) if report.transaction == transaction)
                && before.session(transaction).is_some_and(Session::is_saga);
            let is_operated = matches!(command, Command::Operate(operate) if operate.transaction == transaction);
            let is_over = status::done(from) == Some(to) || (is_operated && status::force_deleted(from) == Some(to));
            // With a branch that an operator has deleted against the decision nobody is told that it went as decided.
            let is_deleted = |branch: &crate::txn::Branch| branch.fate.is_settled();
            let was_deleted =
                before.session(transaction).is_some_and(|session| session.branches.values().any(is_deleted));
            let is_astray = was_deleted && status::failed(from) == Some(to);
            let is_heard = is_told && !status::has_session(to);
            assert!(!ended || forgotten || is_heard || is_over || is_astray, "A5: {from} ended as {to}");
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

fn keep_the_invariants(mut ghost: Ghost, moves: &[Move], snapshot_at: usize) -> Result<(), TestCaseError> {
    let mut state = founded();
    let mut log = vec![batch(0, vec![found(), lead(1)])];
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
    log.iter().for_each(|entry| {
        replayed.apply(entry);
    });
    let bytes: Vec<_> = state.tables().collect();
    prop_assert_eq!(&replayed.tables().collect::<Vec<_>>(), &bytes);
    prop_assert_eq!(&restored.expect("taken").tables().collect::<Vec<_>>(), &bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_moves_keep_the_invariants(moves in moves(80), snapshot_at in any::<Index>()) {
        keep_the_invariants(Ghost::default(), &moves, snapshot_at.index(moves.len()))?;
    }

    #[test]
    fn any_moves_of_sagas_keep_the_invariants(moves in moves_of_sagas(80), snapshot_at in any::<Index>()) {
        let ghost = Ghost { of_sagas: true, ..Ghost::default() };
        keep_the_invariants(ghost, &moves, snapshot_at.index(moves.len()))?;
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
    .into_iter()
    .chain(wild_steps(bytes, known.slot()))
    .collect()
}

fn wild_steps(bytes: &[u64], known: Slot) -> Vec<Command> {
    let slot = if bytes[1].is_multiple_of(2) { known } else { Slot(bytes[1] as u16) };
    let step = |of: usize| SlotStepV1 { slot, epoch: Epoch(bytes[of] % 4) };
    let chunk =
        copy::ChunkV1 { clock_ms: bytes[0], counter: bytes[2] >> (bytes[3] % 64), rows: Vec::new(), whole: None };
    let install = |bytes| InstallSlotV1 { slot, epoch: step(4).epoch, chunk: 0, bytes };
    vec![
        Command::FreezeSlot(step(2)),
        Command::DropSlot(step(3)),
        Command::InstallSlot(install(bytes.iter().map(|byte| *byte as u8).collect())),
        Command::InstallSlot(install(codec::encode(&chunk).expect("short"))),
        Command::ActivateSlot(step(4)),
        Command::UnfreezeSlot(step(5)),
        Command::DiscardSlot(step(6)),
    ]
}

/// Runs so many sequences of these moves, and shows each step.
fn walk(
    of_sagas: bool,
    moves: impl Strategy<Value = Vec<Move>>,
    count: u32,
    mut shown: impl FnMut(&Transactions, &Transactions, &Command, &Outcome),
) {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..count {
        let moves = moves.new_tree(&mut runner).expect("no filter").current();
        let (mut state, mut ghost) = (founded(), Ghost { of_sagas, ..Ghost::default() });
        for wish in &moves {
            let command = ghost.command(&state, wish);
            let before = state.clone();
            let outcome = one(&mut state, before.clock_ms() + wish.passes_ms, command.clone());
            ghost.observe(&before, &state, &command, &outcome);
            shown(&before, &state, &command, &outcome);
        }
    }
}

#[test]
fn the_words_of_the_moves_meet_every_turn_of_a_saga() {
    // A test of the test, as the next one: what an engine may make of a status it makes.
    let mut told = Moves::new();
    walk(true, moves_of_sagas(80), 1_000, |before, after, command, _| {
        if let Command::Report(ReportV1 { transaction, .. }) = command {
            told.extend(before.standing(*transaction).zip(after.standing(*transaction)));
        }
    });
    let allowed = moves::allowed(status::saga_may_become);
    let missed: Vec<_> = allowed.difference(&told).collect();
    assert!(missed.is_empty(), "never made: {missed:?}");
}

#[test]
fn the_decisions_of_the_moves_meet_every_status() {
    // A test of the test: the moves above reach each status, so that the properties are not checked in vain.
    let mut seen = BTreeSet::new();
    let mut refusals = BTreeSet::new();
    walk(false, moves(80), 300, |_, after, command, outcome| {
        if let Outcome::Refused(refusal) = outcome {
            let text = format!("{refusal:?}");
            refusals.insert(text.split([' ', '(']).next().unwrap_or_default().to_string());
        }
        seen.extend(moves::transaction_of(command).and_then(|transaction| after.standing(transaction)));
    });
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
