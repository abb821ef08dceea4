//! The state machine by examples: one story per rule.

use alloc::format;
use alloc::string::ToString;

use super::*;
use crate::model::{GlobalStatus, limits};
use GlobalStatus::*;

#[test]
fn begins_go_round_the_slots_and_ids_count_on() {
    let mut state = founded();
    let owned = slots();
    for n in 0..2 * owned.len() {
        let transaction = begun(&mut state, 1, 60_000);
        assert_eq!(transaction.slot(), owned[n % owned.len()]);
        assert_eq!(transaction.sequence(), FIRST_SEQUENCE + 100 + n as u64);
        let xid = state.session(transaction).expect("begun").xid().to_string();
        assert_eq!(xid, format!("10.0.0.1:8091:{transaction}"));
    }
}

#[test]
fn near_begins_go_round_in_runs() {
    let mut state = founded();
    let owned = slots();
    let mut begun = |count: u64| -> Vec<Slot> {
        let outcomes = (0..count).map(|_| one(&mut state, 1, begin_near(60_000)));
        outcomes
            .map(|outcome| match outcome {
                Outcome::Begun(transaction) => transaction.slot(),
                outcome => panic!("{outcome:?}"),
            })
            .collect()
    };
    // The last Begin went to nowhere; the first run ends where its ids pass a multiple of its length.
    let first = BEGINS_IN_A_SLOT - (FIRST_SEQUENCE + 100) % BEGINS_IN_A_SLOT;
    assert_eq!(begun(first), vec![owned[0]; first as usize]);
    for slot in owned[1..].iter().chain(&owned) {
        assert_eq!(begun(BEGINS_IN_A_SLOT), vec![*slot; BEGINS_IN_A_SLOT as usize]);
    }
}

#[test]
fn before_founding_a_leader_gets_an_empty_block_and_nothing_begins() {
    let mut state = Transactions::new();
    assert_eq!(one(&mut state, 0, lead(3)), Outcome::Led(IdBlock { first: 0, count: 0 }));
    assert_eq!(one(&mut state, 0, begin(1)), Outcome::Refused(Refusal::NotOwner { epoch: Epoch(0) }));
    assert_eq!(one(&mut state, 0, found()), Outcome::Done);
    assert_eq!(one(&mut state, 0, found()), Outcome::Refused(Refusal::Founded));
    assert_eq!(one(&mut state, 0, lead(2)), Outcome::Refused(Refusal::OldTenure { tenure: Term(3) }));
    assert_eq!(one(&mut state, 0, lead(3)), Outcome::Led(IdBlock { first: FIRST_SEQUENCE, count: 100 }));
}

#[test]
fn founding_refuses_slots_that_are_none() {
    let found = |slots: &[u16], sequence| {
        let slots = slots.iter().map(|slot| Slot(*slot)).collect();
        Command::Found(FoundV1 { slots, epoch: EPOCH, sequence })
    };
    for bad in [found(&[2, 1], 1), found(&[1, 1], 1), found(&[4096], 1), found(&[1], 0), found(&[1], 1 << 51)] {
        let mut state = Transactions::new();
        assert_eq!(one(&mut state, 0, bad), Outcome::Refused(Refusal::BadFounding));
        assert_eq!(state, Transactions::new());
    }
}

#[test]
fn the_clock_never_goes_back_and_a_deadline_follows_it() {
    let mut state = founded();
    let transaction = begun(&mut state, 5_000, 1_000);
    assert_eq!(state.next_due(), Some((6_000, transaction)));
    let refused = Outcome::Refused(Refusal::NotDue { due_ms: 6_000 });
    assert_eq!(one(&mut state, 5_999, decide(transaction, Decision::TimeoutRollback)), refused);
    assert_eq!(one(&mut state, 10, decide(transaction, Decision::TimeoutRollback)), refused);
    assert_eq!(state.clock_ms(), 5_999);
    let decided = Outcome::Decided(TimeoutRollbacking);
    assert_eq!(one(&mut state, 6_000, decide(transaction, Decision::Commit)), decided);
    assert_eq!(state.next_due(), None);
    assert_eq!(state.unfinished(None).collect::<Vec<_>>(), [transaction]);
}

/// Of several slots, and of one that has more than a piece takes.
#[test]
fn what_is_unfinished_is_found_in_pieces() {
    let mut state = founded();
    let begun: Vec<TransactionId> = (0..200).map(|_| begun(&mut state, 0, 60_000)).collect();
    for transaction in begun.iter().filter(|transaction| transaction.0 % 3 != 0) {
        assert_eq!(one(&mut state, 0, decide(*transaction, Decision::Rollback)), Outcome::Decided(Rollbacking));
    }
    let all: Vec<TransactionId> = state.unfinished(None).collect();
    assert!(all.len() > 100 && all.first().map(|first| first.slot()) < all.last().map(|last| last.slot()));
    let (mut gathered, mut behind) = (Vec::new(), None);
    loop {
        gathered.extend(state.unfinished(behind).take(7));
        if gathered.last().copied() == behind {
            break;
        }
        behind = gathered.last().copied();
    }
    assert_eq!(gathered, all);
}

#[test]
fn a_rollback_asked_for_after_the_deadline_is_a_rollback() {
    let mut state = founded();
    for timeout_ms in [0, -5, 10] {
        let transaction = begun(&mut state, 100, timeout_ms);
        assert_eq!(one(&mut state, 200, decide(transaction, Decision::Rollback)), Outcome::Decided(Rollbacking));
    }
    let endless = begun(&mut state, u64::MAX, i32::MAX);
    assert_eq!(state.session(endless).expect("begun").due_ms(), u64::MAX);
}

#[test]
fn bounds_of_a_transaction_are_refused() {
    let mut state = founded();
    let transaction = begun(&mut state, 0, 60_000);
    let mut long = register(transaction, FIRST_SEQUENCE, BranchType::TCC, "pay", "");
    long.application_data = "x".repeat(limits::APPLICATION_DATA_BYTES_MAX + 1);
    let long_name = register(transaction, FIRST_SEQUENCE, BranchType::TCC, &"r".repeat(1025), "");
    let long_row = register(transaction, FIRST_SEQUENCE, BranchType::AT, "stock", &format!("t:{}", "k".repeat(1024)));
    for bad in [long, long_name, long_row] {
        let before = state.clone();
        let outcome = one(&mut state, 0, Command::RegisterBranch(bad));
        assert!(matches!(outcome, Outcome::Refused(Refusal::Limit { .. })), "{outcome:?}");
        assert_eq!(state, before);
    }
    let begin = Command::Begin(BeginV1 {
        address: "a".repeat(45),
        application: String::new(),
        service_group: String::new(),
        name: String::new(),
        timeout_ms: 1,
    });
    assert!(matches!(one(&mut state, 0, begin), Outcome::Refused(Refusal::Limit { .. })));
}

#[test]
fn the_last_branch_and_the_last_row_that_fit() {
    let mut state = founded();
    let transaction = begun(&mut state, 0, 60_000);
    one(&mut state, 0, Command::Lead(LeadV1 { tenure: Term(1), block: 20_000 }));
    let first = FIRST_SEQUENCE + 101;
    let rows = |n: usize| (0..n).map(|row| format!("{row},")).collect::<String>();
    let many = format!("t:{}", rows(limits::ROWS_OF_BRANCH_MAX));
    let branches_max = limits::BRANCHES_OF_TRANSACTION_MAX as u64;
    for n in 0..branches_max {
        // Ten branches with 100,000 rows each, then branches without rows.
        let lock_keys = if n < 10 { many.as_str() } else { "" };
        let command = register(transaction, first + n, BranchType::AT, ELSEWHERE, lock_keys);
        assert_eq!(one(&mut state, 0, Command::RegisterBranch(command)), Outcome::Registered);
        if n == 9 {
            let one_more = register(transaction, first + branches_max, BranchType::AT, ELSEWHERE, "t:1");
            let outcome = one(&mut state, 0, Command::RegisterBranch(one_more));
            assert!(matches!(outcome, Outcome::Refused(Refusal::Limit { .. })), "{outcome:?}");
        }
    }
    let one_more = register(transaction, first + branches_max, BranchType::TCC, "pay", "");
    let outcome = one(&mut state, 0, Command::RegisterBranch(one_more));
    assert!(matches!(outcome, Outcome::Refused(Refusal::Limit { .. })), "{outcome:?}");
    assert_eq!(state.counts().branches, branches_max);
}

#[test]
fn a_clone_stays_as_it_was() {
    let mut state = founded();
    let transaction = begun(&mut state, 0, 60_000);
    let command = register(transaction, FIRST_SEQUENCE, BranchType::AT, "stock", "t:1,2,3");
    assert_eq!(one(&mut state, 0, Command::RegisterBranch(command)), Outcome::Registered);
    let snapshot = state.clone();
    let bytes: Vec<_> = snapshot.tables().collect();
    one(&mut state, 1, decide(transaction, Decision::Commit));
    one(&mut state, 1, Command::End(TransactionV1 { transaction }));
    assert_eq!(snapshot.tables().collect::<Vec<_>>(), bytes);
    assert_eq!(Transactions::load(bytes).as_ref(), Ok(&snapshot));
    assert_eq!((snapshot.counts().row_locks, state.counts().row_locks), (3, 0));
}

#[test]
fn tombstones_go_after_their_time_and_few_at_once() {
    let mut state = founded();
    let all: Vec<_> = (0..200).map(|_| begun(&mut state, 1_000, 60_000)).collect();
    for &transaction in &all {
        one(&mut state, 1_000, decide(transaction, Decision::Commit));
        one(&mut state, 1_000, Command::End(TransactionV1 { transaction }));
    }
    one(&mut state, 1_000 + limits::TOMBSTONE_LIFE_MS - 1, Command::Tick);
    assert_eq!((state.counts().tombstones, state.tombstone(all[0])), (200, Some(Committed)));
    let mut left = Vec::new();
    for _ in 0..4 {
        one(&mut state, 1_000 + limits::TOMBSTONE_LIFE_MS, Command::Tick);
        left.push(state.counts().tombstones);
    }
    assert_eq!(left, [134, 68, 2, 0]);
    assert_eq!(state.standing(all[0]), None);
    assert_eq!(state.counts(), Counts::default());
    assert!(!state.awaits_clock());
}

/// The patience of phase two is by the group clock: a quiet leader keeps it going, so that the next one does not begin anew.
#[test]
fn the_clock_goes_on_while_phase_two_is_retried() {
    let mut state = founded();
    let x = begun(&mut state, 0, 60_000);
    one(&mut state, 0, Command::RegisterBranch(register(x, FIRST_SEQUENCE, BranchType::TCC, "pay", "")));
    assert_eq!(one(&mut state, 1, decide(x, Decision::Commit)), Outcome::Decided(Committing));
    assert!(state.awaits_clock() && state.next_due().is_none());
    one(&mut state, 1, Command::Retry(TransactionV1 { transaction: x }));
    assert!(state.awaits_clock());
}

/// Whoever does not know whether a register came through tries again under the same name, also at the next leader.
#[test]
fn a_request_registers_once() {
    let mut state = founded();
    let transaction = begun(&mut state, 0, 60_000);
    let once = |sequence: u64, tenure: u64, request| {
        let mut register = register(transaction, FIRST_SEQUENCE + sequence, BranchType::TCC, "pay", "");
        register.fence.tenure = Term(tenure);
        Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, request })
    };
    let first = branch(transaction, FIRST_SEQUENCE);
    assert_eq!(one(&mut state, 0, once(0, 1, 7)), Outcome::Registered);
    assert_eq!(one(&mut state, 0, once(0, 1, 7)), Outcome::Registered, "a doubled proposal");
    assert_eq!(one(&mut state, 0, once(1, 1, 7)), Outcome::RegisteredBefore(first));
    assert_eq!(one(&mut state, 0, once(1, 1, 8)), Outcome::Registered, "another request");
    // The next leader has the list from a snapshot.
    let mut state = Transactions::load(state.tables()).expect("its own records");
    one(&mut state, 0, Command::Lead(LeadV1 { tenure: Term(2), block: 100 }));
    let before = state.clone();
    assert_eq!(one(&mut state, 0, once(2, 2, 7)), Outcome::RegisteredBefore(first));
    assert_eq!(state, before);
    // What was given up makes room.
    one(&mut state, 0, Command::RemoveBranch(BranchV1 { transaction, branch: first }));
    assert_eq!(one(&mut state, 0, once(2, 2, 7)), Outcome::Registered);
    one(&mut state, 0, decide(transaction, Decision::Commit));
    let refusal = Refusal::NotActive { status: GlobalStatus::Committing };
    assert_eq!(one(&mut state, 0, once(3, 2, 7)), Outcome::Refused(refusal), "decided");
    assert_eq!(state.check_invariants(), Ok(()));
}

#[test]
fn damaged_records_are_no_state() {
    let mut state = founded();
    let transaction = begun(&mut state, 0, 60_000);
    let command = register(transaction, FIRST_SEQUENCE, BranchType::AT, "stock", "t:1");
    one(&mut state, 0, Command::RegisterBranch(command));
    let records: Vec<_> = state.tables().collect();
    assert!(Transactions::load(Vec::new()).is_err());
    for cut in 0..records.len() {
        // Every record is needed by one after it, but for slots nobody uses and the last of their kind.
        let mut fewer = records.clone();
        let (table, _) = fewer.remove(cut);
        let fits = table == tables::HOLD || table == tables::BRANCH || table == tables::SLOT;
        assert!(fits || Transactions::load(fewer).is_err(), "{table}");
        let mut twice = records.clone();
        twice.insert(cut, records[cut].clone());
        assert!(Transactions::load(twice).is_err(), "table {table}");
    }
    let mut reversed = records;
    reversed.reverse();
    assert!(Transactions::load(reversed).is_err());
    assert_eq!(Transactions::load([(99, Vec::new())]), Err(LoadError::UnknownTable(99)));
}
