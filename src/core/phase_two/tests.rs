//! Phase two as small stories and as properties over arbitrary answers.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use proptest::prelude::*;

use super::back_off::{FIRST_MS, LONGEST_MS, back_off_ms};
use super::channel::{Client, Preference, best};
use super::*;
use crate::model::{BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, SLOTS, Slot, Term, TransactionId};
use crate::txn::command::{BeginV1, DecideV1, FoundV1, LeadV1, OperateV1, Operation, RegisterBranchV1};
use crate::txn::{Batch, Branch, Command, Decision, Direction, Outcome, Session, Stamp, Transactions};
use BranchStatus::*;
use BranchType::{AT, TCC, XA};
use GlobalStatus::*;

pub(super) fn session(status: GlobalStatus, branches: &[(BranchType, &str)]) -> Session {
    let branches = branches.iter().zip(1..).map(|((kind, resource), id)| Branch {
        branch: BranchId(id),
        kind: *kind,
        resource: (*resource).into(),
        lock_keys: "".into(),
        rows: 0,
        application_data: "".into(),
        client: "shop:10.0.0.2:5000".into(),
        fence: Fence::default(),
        status: Registered,
        registered_clock_ms: None,
        request: None,
        fate: Default::default(),
    });
    Session::for_tests(TransactionId(4096), status, branches)
}

fn ids(ids: &[i64]) -> Vec<BranchId> {
    ids.iter().map(|id| BranchId(*id)).collect()
}

/// Asks what the plan says and answers each with `reply`.
fn round(session: &Session, run: &mut Run, reply: BranchStatus) -> Vec<BranchId> {
    let Step::Ask(asked) = plan(session, run, 0) else { return Vec::new() };
    for branch in &asked {
        run.asked(*branch);
        run.answered(session, *branch, Reply::Status(reply), 0);
    }
    asked
}

#[test]
fn rollback_goes_backwards_one_at_a_time() {
    let session = session(Rollbacking, &[(AT, "a"), (TCC, "b"), (AT, "a")]);
    let mut run = Run::default();
    assert_eq!(plan(&session, &run, 0), Step::Ask(ids(&[3])));
    run.asked(BranchId(3));
    assert_eq!(plan(&session, &run, 0), Step::Wait);
    for expected in [3, 2, 1] {
        run.answered(&session, BranchId(expected), Reply::Status(PhaseTwo_Rollbacked), 0);
        let next = if expected > 1 { Step::Ask(ids(&[expected - 1])) } else { Step::Done };
        assert_eq!(plan(&session, &run, 0), next);
        run.asked(BranchId(expected - 1));
    }
}

#[test]
fn a_branch_that_fails_holds_up_a_rollback() {
    let mut session = session(Rollbacking, &[(AT, "a"), (AT, "b")]);
    let mut run = Run::default();
    assert_eq!(round(&session, &mut run, PhaseTwo_RollbackFailed_Retryable), ids(&[2]));
    assert_eq!(plan(&session, &run, 0), Step::RetryLater);
    session.status = RollbackRetrying;
    assert_eq!(plan(&session, &run, 0), Step::Wait);
    assert_eq!(run.waiting().collect::<Vec<_>>(), ids(&[2]));
    run.wake(BranchId(2));
    assert_eq!((plan(&session, &run, 0), run.attempts(BranchId(2))), (Step::Ask(ids(&[2])), 1));
}

#[test]
fn a_timeout_shows_no_retry() {
    let session = session(TimeoutRollbacking, &[(AT, "a")]);
    let mut run = Run::default();
    round(&session, &mut run, PhaseTwo_RollbackFailed_Retryable);
    assert_eq!(plan(&session, &run, 0), Step::Wait);
}

#[test]
fn a_commit_asks_those_a_tm_waits_for_first_and_then_detaches() {
    let mut session = session(Committing, &[(AT, "a"), (TCC, "pay"), (AT, "a"), (AT, "b"), (TCC, "pay")]);
    let mut run = Run::default();
    assert_eq!(round(&session, &mut run, PhaseTwo_Committed), ids(&[2]));
    assert_eq!(round(&session, &mut run, PhaseTwo_Committed), ids(&[5]));
    assert_eq!(plan(&session, &run, 0), Step::Detach);
    session.status = AsyncCommitting;
    // Resources beside each other, one branch of each at a time.
    assert_eq!(plan(&session, &run, 0), Step::Ask(ids(&[1, 4])));
    run.asked(BranchId(1));
    run.asked(BranchId(4));
    assert_eq!(plan(&session, &run, 0), Step::Wait);
    run.answered(&session, BranchId(1), Reply::Nothing, 0);
    assert_eq!(plan(&session, &run, 0), Step::Ask(ids(&[3])), "one that failed lets the next go ahead");
    // A new leader knows that the TCC branches are done.
    assert_eq!(plan(&session, &Run::default(), 0), Step::Ask(ids(&[1, 4])));
}

#[test]
fn while_retrying_a_commit_an_absent_rm_holds_up_nobody() {
    let mut session = session(Committing, &[(TCC, "a"), (TCC, "b"), (AT, "c")]);
    let mut run = Run::default();
    run.asked(BranchId(1));
    run.answered(&session, BranchId(1), Reply::Nothing, 0);
    assert_eq!(plan(&session, &run, 0), Step::RetryLater);
    session.status = CommitRetrying;
    assert_eq!(plan(&session, &run, 0), Step::Ask(ids(&[2])));
    run.asked(BranchId(2));
    run.answered(&session, BranchId(2), Reply::Status(PhaseTwo_Committed), 0);
    assert_eq!(round(&session, &mut run, PhaseTwo_Committed), ids(&[3]), "its undo log goes meanwhile");
    assert_eq!(plan(&session, &run, 0), Step::Wait);
    run.wake(BranchId(1));
    assert_eq!(round(&session, &mut run, PhaseTwo_CommitFailed_Retryable), ids(&[1]));
    assert_eq!((plan(&session, &run, 0), run.attempts(BranchId(1))), (Step::Wait, 2));
}

#[test]
fn a_final_failure_ends_it() {
    for (status, refusal) in
        [(Committing, PhaseTwo_CommitFailed_Unretryable), (Rollbacking, PhaseTwo_RollbackFailed_Unretryable)]
    {
        let mut session = session(status, &[(TCC, "a"), (TCC, "a"), (TCC, "a")]);
        let mut run = Run::default();
        let asked = round(&session, &mut run, refusal);
        let step = plan(&session, &run, 0);
        assert_eq!(step, Step::FailForGood { branch: asked[0], status: refusal });
        assert!(matches!(step.command(&session), Some(Command::Fail(fail)) if fail.branch == asked[0]));
        session.status = CommitFailed;
        assert_eq!(plan(&session, &run, 0), Step::Nothing);
    }
}

#[test]
fn nobody_is_told_of_a_branch_that_came_to_nothing() {
    for (status, direction) in [(AsyncCommitting, Direction::Commit), (TimeoutRollbacking, Direction::Rollback)] {
        let mut session = session(status, &[(AT, "a"), (AT, "b"), (TCC, "c")]);
        for (id, failed) in [(1, PhaseOne_Failed), (3, PhaseOne_PrepareFailed)] {
            session.branches.get_mut(&BranchId(id)).expect("listed").status = failed;
        }
        assert_eq!(plan(&session, &Run::default(), 0), Step::Ask(ids(&[2])), "{direction:?}");
    }
    for status in [Committing, Rollbacking] {
        let mut session = session(status, &[(BranchType::XA, "a")]);
        session.branches.get_mut(&BranchId(1)).expect("listed").status = PhaseOne_RDONLY;
        assert_eq!(plan(&session, &Run::default(), 0), Step::Done);
    }
    assert_eq!(plan(&session(Committing, &[(BranchType::SAGA_ANNOTATION, "a")]), &Run::default(), 0), Step::Done);
}

#[test]
fn an_empty_transaction_is_done_at_once_and_an_open_one_has_no_phase_two() {
    for status in [AsyncCommitting, Rollbacking, TimeoutRollbacking] {
        assert_eq!(plan(&session(status, &[]), &Run::default(), 0), Step::Done);
    }
    for status in [Begin, CommitFailed, RollbackFailed, TimeoutRollbackFailed] {
        assert_eq!(plan(&session(status, &[(AT, "a")]), &Run::default(), 0), Step::Nothing);
    }
}

#[test]
fn a_saga_that_turned_is_not_done() {
    let mut session = session(CommitRetrying, &[(BranchType::SAGA, "a"), (BranchType::SAGA, "b")]);
    let mut run = Run::default();
    let whole = Vec::from([BranchId::WHOLE]);
    assert_eq!(plan(&session, &run, 0), Step::Ask(whole.clone()));
    run.asked(BranchId::WHOLE);
    let done = Reply::Status(PhaseTwo_Committed);
    assert_eq!(run.answered(&session, BranchId::WHOLE, done, 0), Verdict::Done);
    assert_eq!(plan(&session, &run, 0), Step::Report { word: Committed, asked: CommitRetrying });
    session.status = RollbackRetrying; // another engine said so first
    assert_eq!(plan(&session, &run, 0), Step::Ask(whole));
    run.asked(BranchId::WHOLE);
    assert_eq!(run.answered(&session, BranchId::WHOLE, Reply::Status(PhaseTwo_Rollbacked), 0), Verdict::Done);
    assert_eq!(plan(&session, &run, 0), Step::Report { word: Rollbacked, asked: RollbackRetrying });
}

#[test]
fn a_refusal_is_of_its_direction() {
    let mut session = session(CommitRetrying, &[(BranchType::SAGA, "a")]);
    let (mut run, whole) = (Run::default(), BranchId::WHOLE);
    let never = Reply::Status(PhaseTwo_CommitFailed_Unretryable);
    let fails = Step::FailForGood { branch: whole, status: PhaseTwo_CommitFailed_Unretryable };
    run.asked(whole);
    assert_eq!(run.answered(&session, whole, never, 0), Verdict::FailForGood(PhaseTwo_CommitFailed_Unretryable));
    assert_eq!(plan(&session, &run, 0), fails);
    session.status = RollbackRetrying; // another engine turned it before that was in the log
    assert_eq!(plan(&session, &run, 0), Step::Ask(Vec::from([whole])));
    run.asked(whole);
    run.answered(&session, whole, Reply::Status(PhaseTwo_RollbackFailed_Retryable), 0);
    assert_eq!(plan(&session, &run, 0), Step::Wait, "its back-off runs");
    session.status = CommitRetrying; // and turned it again
    run.wake(whole);
    assert_eq!(plan(&session, &run, 0), Step::Ask(Vec::from([whole])), "what it said before is old");
}

#[test]
fn an_engine_goes_on_only_where_its_time_is_up() {
    let goes_on = Reply::Status(PhaseTwo_CommitFailed_Retryable);
    for (status, expected) in [
        (TimeoutRollbacking, Verdict::Reported(CommitRetrying)),
        (TimeoutRollbackRetrying, Verdict::Reported(CommitRetrying)),
        (Rollbacking, Verdict::RetryLater),
        (RollbackRetrying, Verdict::RetryLater),
    ] {
        let session = session(status, &[(BranchType::SAGA, "a")]);
        assert_eq!(judge_engine(&session, Direction::Rollback, goes_on), expected, "{status}");
    }
    let mixed = session(TimeoutRollbacking, &[(BranchType::SAGA, "a"), (AT, "b")]);
    assert_eq!(judge_engine(&mixed, Direction::Rollback, goes_on), Verdict::RetryLater);
}

#[test]
fn what_a_branch_answers() {
    let session = session(Committing, &[(TCC, "a")]); // begun at 0, time-out 60 s
    let commit = |status, clock_ms| judge(&session, Direction::Commit, Reply::Status(status), clock_ms, 60_000);
    let rollback = |status, clock_ms| judge(&session, Direction::Rollback, Reply::Status(status), clock_ms, 60_000);
    for &status in BranchStatus::ALL {
        let expected = match status {
            PhaseTwo_Committed => Verdict::Done,
            PhaseTwo_CommitFailed_Unretryable => Verdict::FailForGood(status),
            _ => Verdict::RetryLater,
        };
        assert_eq!(commit(status, 0), expected, "{status}");
        let expected = match status {
            PhaseTwo_Rollbacked => Verdict::Done,
            PhaseTwo_RollbackFailed_Unretryable => Verdict::FailForGood(status),
            _ => Verdict::RetryLater,
        };
        assert_eq!(rollback(status, 0), expected, "{status}");
    }
    for (clock_ms, expected) in [(120_000, Verdict::RetryLater), (120_001, Verdict::Done)] {
        assert_eq!(commit(PhaseTwo_CommitFailed_XAER_NOTA_Retryable, clock_ms), expected);
        assert_eq!(rollback(PhaseTwo_RollbackFailed_XAER_NOTA_Retryable, clock_ms), expected);
        assert_eq!(rollback(PhaseTwo_CommitFailed_XAER_NOTA_Retryable, clock_ms), Verdict::RetryLater);
    }
    assert_eq!(judge(&session, Direction::Commit, Reply::Nothing, 999_999, 60_000), Verdict::RetryLater);
}

#[test]
fn channels_in_the_order_of_seata() {
    let channels = ["bank:10.0.0.9:1", "shop:10.0.0.3:5", "shop:10.0.0.2:7", "shop:10.0.0.2:5"];
    let pick = |kind, client, count: usize| {
        let parsed = channels[..count].iter().map(|text| (Client::parse(text).expect("valid"), *text));
        best(kind, client, parsed)
    };
    let client = "shop:10.0.0.2:5";
    assert_eq!(pick(TCC, client, 4), Some((Preference::SameClient, channels[3])));
    assert_eq!(pick(TCC, client, 3), Some((Preference::SameHost, channels[2])));
    assert_eq!(pick(TCC, client, 2), Some((Preference::SameApplication, channels[1])));
    assert_eq!(pick(TCC, client, 1), None);
    assert_eq!(pick(AT, client, 1), Some((Preference::OtherApplication, channels[0])));
    assert_eq!(pick(AT, "no client id", 4), Some((Preference::OtherApplication, channels[0])));
    assert_eq!(pick(AT, client, 0), None);
    let ipv6 = Client { application: "shop", ip: "fe80::1", port: 80 };
    assert_eq!(Client::parse("shop:fe80::1:80"), Some(ipv6));
    assert_eq!(Client::parse("shop:10.0.0.2:port"), None);
}

#[test]
fn back_off_grows_to_its_bound_and_never_vanishes() {
    for attempts in 0..40 {
        let (shortest, longest) = (back_off_ms(attempts, LONGEST_MS / 2), back_off_ms(attempts, 0));
        assert!((FIRST_MS..=LONGEST_MS).contains(&longest), "{attempts}");
        assert!(back_off_ms(attempts, u64::MAX) >= longest / 2 && shortest <= longest);
        assert!(back_off_ms(attempts + 1, 0) >= longest);
    }
    assert_eq!((back_off_ms(1, 0), back_off_ms(2, 0), back_off_ms(u32::MAX, 0)), (500, 1_000, 30_000));
}

/// A leader before has done the last branch (or the first one, of a commit), and its database knows it no more.
#[test]
fn what_its_database_does_not_know_holds_up_nobody() {
    for (status, kinds) in [(Committing, [(XA, "a"), (XA, "b")]), (Rollbacking, [(AT, "a"), (XA, "b")])] {
        let mut session = session(status, &kinds);
        let direction = session.direction().expect("decided");
        let (gone, other) = match direction {
            Direction::Commit => (BranchId(1), BranchId(2)),
            Direction::Rollback => (BranchId(2), BranchId(1)),
        };
        let (unknown, done) = match direction {
            Direction::Commit => (PhaseTwo_CommitFailed_XAER_NOTA_Retryable, PhaseTwo_Committed),
            Direction::Rollback => (PhaseTwo_RollbackFailed_XAER_NOTA_Retryable, PhaseTwo_Rollbacked),
        };
        let mut run = Run::new(Patience::DEFAULT);
        assert_eq!(plan(&session, &run, 0), Step::Ask(alloc::vec![gone]));
        run.asked(gone);
        assert_eq!(run.answered(&session, gone, Reply::Status(unknown), 0), Verdict::RetryLater);
        assert_eq!(plan(&session, &run, 0), Step::RetryLater);
        session.status = crate::txn::status::retrying(status).expect("running");
        assert_eq!(plan(&session, &run, 0), Step::Ask(alloc::vec![other]));
        run.asked(other);
        run.answered(&session, other, Reply::Status(done), 0);
        // It may still be in its phase one: until the window is over it is asked again.
        assert_eq!(plan(&session, &run, 0), Step::Wait);
        run.wake(gone);
        assert_eq!(plan(&session, &run, 0), Step::Ask(alloc::vec![gone]));
        run.asked(gone);
        assert_eq!(run.answered(&session, gone, Reply::Status(unknown), 120_001), Verdict::Done);
        assert_eq!(plan(&session, &run, 0), Step::Done);
    }
}

/// One that an operator has stopped must not keep the driver from asking again.
#[test]
fn beside_a_stopped_branch_the_unknown_one_is_asked_again() {
    let session = session(RollbackRetrying, &[(AT, "a"), (XA, "b")]);
    let with_status = |branch: &Branch| match branch.kind {
        AT => Branch { status: STOP_RETRY, ..branch.clone() },
        _ => branch.clone(),
    };
    let branches: Vec<Branch> = session.branches.values().map(with_status).collect();
    let session = Session::for_tests(session.transaction, session.status, branches.into_iter());
    let mut run = Run::new(Patience::DEFAULT);
    run.asked(BranchId(2));
    run.answered(&session, BranchId(2), Reply::Status(PhaseTwo_RollbackFailed_XAER_NOTA_Retryable), 0);
    assert_eq!(plan(&session, &run, 0), Step::Wait);
    run.wake(BranchId(2));
    assert_eq!(plan(&session, &run, 0), Step::Ask(alloc::vec![BranchId(2)]));
    run.asked(BranchId(2));
    run.answered(&session, BranchId(2), Reply::Status(PhaseTwo_Rollbacked), 0);
    assert_eq!(plan(&session, &run, 0), Step::Stopped);
}

/// One branch and what it answers in turn; after that what was decided.
fn scripts() -> impl Strategy<Value = Vec<(bool, u8, Vec<u8>)>> {
    proptest::collection::vec((any::<bool>(), 0u8..3, proptest::collection::vec(0u8..4, 0..4)), 0..7)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever RMs answer, phase two ends: each branch done once, in order, or failed for good with none asked after.
    #[test]
    fn it_always_ends(scripts in scripts(), is_commit: bool, crash_at in 0usize..20) {
        let kinds: Vec<(BranchType, &str)> = scripts
            .iter()
            .map(|(is_at, resource, _)| (if *is_at { AT } else { TCC }, ["a", "b", "c"][usize::from(*resource)]))
            .collect();
        let decided = match is_commit {
            true if kinds.iter().all(|(kind, _)| *kind == AT) => AsyncCommitting,
            true => Committing,
            false => Rollbacking,
        };
        let mut session = session(decided, &kinds);
        let direction = session.direction().expect("decided");
        let (done, retry) = match direction {
            Direction::Commit => (PhaseTwo_Committed, PhaseTwo_CommitFailed_Retryable),
            Direction::Rollback => (PhaseTwo_Rollbacked, PhaseTwo_RollbackFailed_Retryable),
        };
        let mut asked_times: BTreeMap<BranchId, usize> = BTreeMap::new();
        let mut committed = BTreeSet::new();
        let mut run = Run::default();
        for turn in 0..200 {
            if turn == crash_at {
                run = Run::default(); // a new leader
            }
            let step = plan(&session, &run, 0);
            match step {
                Step::Ask(branches) => {
                    prop_assert!(direction == Direction::Commit || branches.len() == 1);
                    for branch in branches {
                        let turn = asked_times.entry(branch).or_default();
                        let script = &scripts[branch.0 as usize - 1].2;
                        let reply = match script.get(*turn) {
                            Some(0) => Reply::Nothing,
                            Some(1) => Reply::Status(retry),
                            Some(_) | None => Reply::Status(done),
                        };
                        *turn += 1;
                        run.asked(branch);
                        if run.answered(&session, branch, reply, 0) == Verdict::Done {
                            if direction == Direction::Rollback {
                                let later = session.branches.keys().filter(|other| **other > branch);
                                prop_assert!(later.clone().all(|other| committed.contains(other)), "out of order");
                            }
                            committed.insert(branch);
                        }
                    }
                }
                Step::Wait => {
                    let waiting: Vec<_> = run.waiting().collect();
                    prop_assert!(!waiting.is_empty(), "waits for nothing");
                    waiting.into_iter().for_each(|branch| run.wake(branch));
                }
                Step::RetryLater => session.status = crate::txn::status::retrying(session.status).expect("running"),
                Step::Detach => session.status = AsyncCommitting,
                Step::FailForGood { .. }
                | Step::Nothing
                | Step::Report { .. }
                | Step::GiveUp { .. }
                | Step::CleanedUp { .. }
                | Step::Stopped => prop_assert!(false, "nobody refused"),
                Step::Done => {
                    prop_assert_eq!(committed, session.branches.keys().copied().collect::<BTreeSet<_>>());
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "no end");
    }

    /// Also when an operator deletes branches, or the whole, at any moment, leaders change and RMs refuse: it comes to its
    /// end or to rest, never waits for nothing, and says that it went as decided only if it did.
    #[test]
    fn it_ends_whatever_an_operator_deletes(
        scripts in scripts(),
        is_commit: bool,
        orders in proptest::collection::vec((0usize..12, 0u8..3, 0usize..8), 1..4),
        crash_at in 0usize..20,
    ) {
        let (mut state, transaction) = decided(&scripts, is_commit);
        let decided = state.session(transaction).and_then(Session::direction).expect("decided");
        let mut effects: BTreeMap<BranchId, (BranchType, Option<Direction>)> = BTreeMap::new();
        for branch in state.session(transaction).expect("there").branches.values() {
            effects.insert(branch.branch, (branch.kind, None));
        }
        let (mut run, mut asked_times) = (Run::default(), BTreeMap::<BranchId, usize>::new());
        for turn in 0..200 {
            if turn == crash_at {
                run = Run::default();
            }
            for (_, what, which) in orders.iter().filter(|(at, ..)| *at == turn) {
                let branch = effects.keys().nth(*which).copied().unwrap_or(BranchId(1));
                let operations =
                    [Operation::CleanUp, Operation::CleanUpBranch(branch), Operation::DropBranch(branch)];
                let operation = operations[usize::from(*what)];
                run_command(&mut state, Command::Operate(OperateV1 { transaction, operation }));
            }
            let Some(session) = state.session(transaction) else {
                let status = state.tombstone(transaction).expect("it has ended");
                let went = effects.values().all(|(kind, way)| *way == Some(decided) || (*kind == AT && is_commit));
                let is_failed = crate::txn::status::is_failed(status);
                prop_assert!(is_failed || went, "{status}: {effects:?}");
                return Ok(());
            };
            match plan(session, &run, 0) {
                Step::Ask(branches) => for branch in branches {
                    let of = session.branches.get(&branch).expect("one of them");
                    let way = direction_of(session, of).expect("decided");
                    let turn = asked_times.entry(branch).or_default();
                    let script = &scripts[effects.keys().position(|id| *id == branch).expect("listed")].2;
                    let reply = match (script.get(*turn), way) {
                        (Some(0), _) => Reply::Nothing,
                        (Some(1), Direction::Commit) => Reply::Status(PhaseTwo_CommitFailed_Unretryable),
                        (Some(1), Direction::Rollback) => Reply::Status(PhaseTwo_RollbackFailed_Unretryable),
                        (_, Direction::Commit) => Reply::Status(PhaseTwo_Committed),
                        (_, Direction::Rollback) => Reply::Status(PhaseTwo_Rollbacked),
                    };
                    *turn += 1;
                    run.asked(branch);
                    if run.answered(session, branch, reply, 0) == Verdict::Done {
                        effects.insert(branch, (of.kind, Some(way)));
                    }
                },
                Step::Wait => {
                    let waiting: Vec<_> = run.waiting().collect();
                    prop_assert!(!waiting.is_empty(), "waits for nothing");
                    waiting.into_iter().for_each(|branch| run.wake(branch));
                }
                // It has failed for good, and its driver ends: there must be nothing left to delete.
                Step::Nothing => prop_assert!(!session.is_unfinished()),
                step => {
                    let command = step.command(session).expect("a step that proposes");
                    run_command(&mut state, command);
                }
            }
        }
        let session = state.session(transaction).expect("it has not ended");
        prop_assert!(crate::txn::status::is_failed(session.status) && !session.is_unfinished(), "no end");
    }
}

fn run_command(state: &mut Transactions, command: Command) -> Outcome {
    let outcome = state.apply(&Batch { stamp: Stamp::default(), commands: alloc::vec![command] }).pop();
    state.check_invariants().expect("whole");
    outcome.expect("one outcome")
}

/// A state with one decided transaction of such branches.
fn decided(scripts: &[(bool, u8, Vec<u8>)], is_commit: bool) -> (Transactions, TransactionId) {
    let mut state = Transactions::new();
    let slots: Vec<Slot> = (0..SLOTS).map(Slot).collect();
    run_command(&mut state, Command::Found(FoundV1 { slots, epoch: Epoch(1), sequence: 1_000 }));
    run_command(&mut state, Command::Lead(LeadV1 { tenure: Term(1), block: 100 }));
    let text = |text: &str| alloc::string::String::from(text);
    let begin = BeginV1 {
        address: text("10.0.0.1:8091"),
        application: text("shop"),
        service_group: text("g"),
        name: text("buy"),
        timeout_ms: 60_000,
    };
    let Outcome::Begun(transaction) = run_command(&mut state, Command::Begin(begin)) else { panic!("no begin") };
    for ((is_at, resource, _), sequence) in scripts.iter().zip(1_000..) {
        let register = RegisterBranchV1 {
            transaction,
            branch: BranchId::mint(sequence, transaction.slot()).expect("small"),
            fence: Fence { epoch: Epoch(1), tenure: Term(1) },
            kind: if *is_at { AT } else { TCC },
            resource: text(["a", "b", "c"][usize::from(*resource)]),
            lock_keys: text("t:1"),
            application_data: text(""),
            client: text("shop:10.0.0.2:5000"),
            with_locks: true,
        };
        assert_eq!(run_command(&mut state, Command::RegisterBranch(register)), Outcome::Registered);
    }
    let decision = if is_commit { Decision::Commit } else { Decision::Rollback };
    run_command(&mut state, Command::Decide(DecideV1 { transaction, decision }));
    (state, transaction)
}
