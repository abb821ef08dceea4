//! Pages, filters and what is shown, over a small state.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::codec;
use crate::model::hash::lock_slot;
use crate::model::{BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, Slot, Term, TransactionId};
use crate::txn::command::{BeginV1, DecideV1, FoundV1, LeadV1, RegisterBranchV1, ReportBranchV1};
use crate::txn::{Batch, Command, Decision, Outcome, Stamp, Transactions, tables};

const GROUP: GroupId = GroupId(3);

fn apply(state: &mut Transactions, clock_ms: u64, command: Command) -> Outcome {
    let stamp = Stamp { clock_ms, wall_ms: 1_000_000 + clock_ms };
    state.apply(&Batch { stamp, commands: vec![command] }).pop().expect("one outcome")
}

fn founded() -> Transactions {
    let mut state = Transactions::new();
    let slots = vec![lock_slot("stock")];
    apply(&mut state, 0, Command::Found(FoundV1 { slots, epoch: Epoch(1), sequence: 1_000 }));
    apply(&mut state, 0, Command::Lead(LeadV1 { tenure: Term(1), block: 1_000 }));
    state
}

fn begin(state: &mut Transactions, clock_ms: u64, name: &str) -> TransactionId {
    let begin = BeginV1 {
        address: "10.0.0.1:8091".into(),
        application: "shop".into(),
        service_group: "default_tx_group".into(),
        name: name.into(),
        timeout_ms: 60_000,
    };
    match apply(state, clock_ms, Command::Begin(begin)) {
        Outcome::Begun(transaction) => transaction,
        other => panic!("{other:?}"),
    }
}

fn register(
    state: &mut Transactions,
    clock_ms: u64,
    transaction: TransactionId,
    sequence: u64,
    rows: &str,
) -> BranchId {
    let branch = BranchId::mint(sequence, transaction.slot()).expect("small");
    let register = RegisterBranchV1 {
        transaction,
        branch,
        fence: Fence { epoch: Epoch(1), tenure: Term(1) },
        kind: BranchType::AT,
        resource: "stock".into(),
        lock_keys: rows.into(),
        application_data: "{}".into(),
        client: "shop:10.0.0.2:5000".into(),
        with_locks: true,
    };
    assert_eq!(apply(state, clock_ms, Command::RegisterBranch(register)), Outcome::Registered);
    branch
}

#[test]
fn pages() {
    assert_eq!(Page::new(0, 10), Err(PageError::NumberZero));
    assert_eq!(Page::new(1, 0), Err(PageError::Size));
    assert_eq!(Page::new(1, 1_001), Err(PageError::Size));
    assert_eq!(Page::new(11, 1_000), Err(PageError::TooDeep));
    assert_eq!(Page::new(u64::MAX, 2), Err(PageError::TooDeep));
    let page = Page::new(2, 3).expect("small");
    assert_eq!((page.number(), page.size(), page.reach(), page.pages(7), page.pages(6)), (2, 3, 6, 3, 2));
    assert_eq!(page.of(&[1, 2, 3, 4, 5]), [4, 5]);
    assert!(page.of(&[1, 2, 3]).is_empty() && page.of::<u8>(&[]).is_empty());
}

#[test]
fn a_listing_keeps_the_first_in_order_and_counts_all() {
    let listing = |keys: &[u32]| {
        let mut listing = Listing::new(3);
        keys.iter().for_each(|key| listing.take(*key));
        listing
    };
    let (mut one, other) = (listing(&[9, 1, 7, 5]), listing(&[2, 8]));
    assert_eq!((one.total(), one.clone().into_keys()), (4, vec![1, 5, 7]));
    one.merge(other);
    assert_eq!((one.total(), one.into_keys()), (6, vec![1, 2, 5]));
    assert!(Listing::<u32>::new(0).into_keys().is_empty());
}

#[test]
fn filters_of_transactions() {
    let mut state = founded();
    let (old, new) = (begin(&mut state, 10, "buy"), begin(&mut state, 20, "sell"));
    let fitting = |filter: SessionFilter| -> Vec<TransactionId> {
        let slot = lock_slot("stock");
        state.sessions_in(slot).filter(|session| filter.fits(session, 50)).map(|session| session.transaction).collect()
    };
    let all = SessionFilter::default;
    assert_eq!(fitting(all()), [old, new]);
    // Start keeps what is later, end what is earlier (semantics, W26).
    assert_eq!(fitting(SessionFilter { begun_from_ms: Some(1_000_011), ..all() }), [new]);
    assert_eq!(fitting(SessionFilter { begun_until_ms: Some(1_000_019), ..all() }), [old]);
    assert_eq!(
        fitting(SessionFilter { begun_from_ms: Some(1_000_010), begun_until_ms: Some(1_000_020), ..all() }).len(),
        2
    );
    assert_eq!(fitting(SessionFilter { name: Some("el".into()), ..all() }), [new]);
    assert!(fitting(SessionFilter { application: Some("shops".into()), ..all() }).is_empty());
    assert_eq!(fitting(SessionFilter { xid: Some(alloc::format!("8091:{old}")), ..all() }), [old]);
    assert_eq!(fitting(SessionFilter { status: Some(GlobalStatus::Begin), ..all() }).len(), 2);
    assert!(fitting(SessionFilter { status: Some(GlobalStatus::Committing), ..all() }).is_empty());
}

#[test]
fn branches_of_which_nobody_has_said_anything() {
    let mut state = founded();
    let (old, new) = (begin(&mut state, 0, "buy"), begin(&mut state, 0, "buy"));
    let branch = register(&mut state, 100, old, 1_010, "t:1");
    register(&mut state, 70_000, new, 1_011, "t:2");
    let fitting = |state: &Transactions, for_ms: u64| -> Vec<TransactionId> {
        let filter = SessionFilter { unreported_for_ms: Some(for_ms), ..SessionFilter::default() };
        let sessions = state.sessions_in(lock_slot("stock"));
        sessions.filter(|session| filter.fits(session, 75_000)).map(|session| session.transaction).collect()
    };
    assert_eq!(fitting(&state, 0), [old, new]);
    assert_eq!(fitting(&state, 5_001), [old]);
    assert!(fitting(&state, 74_901).is_empty(), "a branch is as old as its registration, not as its transaction");
    apply(&mut state, 75_000, Command::Tick);
    assert_eq!(unreported(&state), [2, 1, 1, 0]);
    let age_ms = |state: &Transactions| {
        let session = state.session(old).expect("it is there");
        SessionRow::of(session, GROUP, 75_000, &mut 10_000).branches[0].age_ms
    };
    assert_eq!(age_ms(&state), Some(74_900));
    // A snapshot keeps the age; one of before this version did not have it.
    let restored = Transactions::load(state.tables()).expect("its own records");
    assert!(restored == state);
    assert_eq!(age_ms(&restored), Some(74_900));
    let report =
        ReportBranchV1 { transaction: old, branch, status: BranchStatus::PhaseOne_Done, application_data: "".into() };
    apply(&mut state, 75_000, Command::ReportBranch(report));
    apply(&mut state, 75_000, Command::Decide(DecideV1 { transaction: new, decision: Decision::Rollback }));
    assert_eq!((fitting(&state, 0), unreported(&state)), (vec![], [0; 4]));
}

#[test]
fn branches_of_an_older_snapshot_have_the_age_of_their_transaction() {
    let mut state = founded();
    let transaction = begin(&mut state, 0, "buy");
    register(&mut state, 9_000, transaction, 1_010, "t:1");
    let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
    for (table, bytes) in state.tables() {
        if table == tables::BRANCH {
            let newer: tables::BranchRecordV2 = codec::decode_canonical(&bytes).expect("its own record");
            records.push((tables::BRANCH_V1, codec::encode(&newer.branch).expect("short")));
        } else {
            records.push((table, bytes));
        }
    }
    records.sort_by_key(|(table, _)| *table);
    let restored = Transactions::load(records).expect("records of before");
    let session = restored.session(transaction).expect("it is there");
    assert_eq!(SessionRow::of(session, GROUP, 10_000, &mut 10_000).branches[0].age_ms, None);
    let filter = SessionFilter { unreported_for_ms: Some(10_000), ..SessionFilter::default() };
    assert!(filter.fits(session, 10_000));
}

#[test]
fn branches_are_shown_as_far_as_there_is_room() {
    let mut state = founded();
    let transaction = begin(&mut state, 10, "buy");
    (0..3).for_each(|n| _ = register(&mut state, 20, transaction, 1_010 + n, &alloc::format!("t:{n}")));
    let session = state.session(transaction).expect("it is there");
    let mut room = 1_000_000;
    let row = SessionRow::of(session, GROUP, 50, &mut room);
    assert_eq!((row.branches.len(), row.branches_left_out, row.age_ms), (3, 0, 40));
    let mut room = (1_000_000 - room) * 2 / 3;
    let row = SessionRow::of(session, GROUP, 50, &mut room);
    assert_eq!((row.branches.len(), row.branches_left_out, room), (2, 1, 0));
}

#[test]
fn each_row_is_listed_once_by_its_first_branch() {
    let mut state = founded();
    let slot: Slot = lock_slot("stock");
    let (one, other) = (begin(&mut state, 10, "buy"), begin(&mut state, 10, "buy"));
    let first = register(&mut state, 20, one, 1_010, "t:1,2");
    let second = register(&mut state, 30, one, 1_011, "t:2,3");
    let third = register(&mut state, 40, other, 1_012, "u:1");
    let mut listed: Vec<(BranchId, u32, alloc::string::String)> =
        state.rows_in(slot).map(|held| (held.branch, held.place, alloc::format!("{}", held.row))).collect();
    listed.sort();
    let row = |branch, place, row: &str| (branch, place, row.into());
    assert_eq!(listed, [row(first, 0, "t:1"), row(first, 1, "t:2"), row(second, 1, "t:3"), row(third, 0, "u:1")]);
    for held in state.rows_in(slot) {
        let key = LockKey::of(&held);
        assert_eq!(state.held_row(slot, key.transaction, key.branch, key.place), Some(held));
    }
    let fitting = |filter: LockFilter| state.rows_in(slot).filter(|held| filter.fits(held, held.since_ms)).count();
    let all = LockFilter::default;
    assert_eq!(fitting(all()), 4);
    assert_eq!(fitting(LockFilter { transaction: Some(one), ..all() }), 3);
    assert_eq!(fitting(LockFilter { branch: Some(second), ..all() }), 1);
    assert_eq!(fitting(LockFilter { resource: Some("stoc".into()), ..all() }), 0);
    assert_eq!(fitting(LockFilter { table: Some("t".into()), key: Some("3".into()), ..all() }), 1);
    assert_eq!(fitting(LockFilter { since_from_ms: Some(30), ..all() }), 2);
    assert_eq!(fitting(LockFilter { since_until_ms: Some(30), ..all() }), 3);
    let held = state.rows_in(slot).find(|held| held.branch == third).expect("it is there");
    assert_eq!(LockRow::of(&held, GROUP, 100).held_ms, 60);
}

#[test]
fn what_is_in_the_way() {
    let mut state = founded();
    let transaction = begin(&mut state, 10, "buy");
    let branch = register(&mut state, 20, transaction, 1_010, "t:1");
    let row = |state: &Transactions, troubles: &[(BranchId, Trouble)]| {
        let session = state.session(transaction).expect("it is there");
        SessionRow { troubles: troubles.to_vec(), ..SessionRow::of(session, GROUP, 50, &mut 10_000) }
    };
    assert_eq!(row(&state, &[]).stuck(), None, "not decided");
    apply(&mut state, 30, Command::Decide(DecideV1 { transaction, decision: Decision::Rollback }));
    assert_eq!(row(&state, &[]).stuck(), None, "on its way");
    let trouble = |last| Trouble { attempts: 2, last };
    let parked = trouble(LastAnswer::NoChannel);
    assert_eq!(row(&state, &[(branch, parked)]).stuck(), Some(Stuck::Parked(branch, parked)));
    let retried = trouble(LastAnswer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable));
    let stuck = row(&state, &[(branch, retried)]).stuck().expect("it is");
    assert_eq!((stuck.reason(), stuck.branch(), stuck.trouble()), ("RETRYING", Some(branch), Some(retried)));
    let mut failed = row(&state, &[]);
    failed.status = GlobalStatus::RollbackFailed;
    assert_eq!(failed.stuck(), Some(Stuck::Failed(None)));
    failed.branches[0].status = BranchStatus::PhaseTwo_RollbackFailed_Unretryable;
    assert_eq!(failed.stuck(), Some(Stuck::Failed(Some(branch))));
    failed.status = GlobalStatus::StopRollbackOrRollbackRetry;
    assert_eq!(failed.stuck(), Some(Stuck::Stopped));
}
