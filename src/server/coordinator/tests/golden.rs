//! The bytes of what coordinators say to each other, frozen in `tests/golden/coordinator.txt`: nodes of two versions meet
//! during an upgrade. A line that changes or goes means that they would no longer understand each other: add a variant.

use quorate_core::codec::{self, Persisted};
use quorate_core::console::{
    BranchRow, LastAnswer, Listing, LockFilter, LockKey, LockName, LockRow, SessionFilter, SessionKey, SessionRow,
    Trouble, Wish,
};
use quorate_core::model::{
    BranchId, BranchStatus, BranchType, Epoch, ExceptionCode, Fence, GlobalStatus, GroupId, NodeId, RowKey, Slot, Term,
    TransactionId, Xid,
};
use quorate_core::txn::command::{AcquireLocksV1, Operation, ReleaseLocksV1};
use quorate_core::txn::{Conflict, ReleaseScope};

use super::super::ask::{Ask, BeginAsk, Failure, LockQueryAsk, RegisterAsk, RegisterOnceAsk, Reply, ReportBranchAsk};
use super::super::console::{ConsoleAnswer, ConsoleAsk, DeleteLockV1, OperateAskV1};
use super::super::message::{
    Announced, Announcement, AnnouncementPartV1, AuditV1, DoneV1, ForwardV1, PassOnV1, ProcessV1, Query, RefusedV1,
    RelayAgainV1, RelayV1, Response, Untold, Way,
};

const GOLDEN: &str = include_str!("../../../../tests/golden/coordinator.txt");
const TRANSACTION: TransactionId = TransactionId((1000 << 12) | 77);
const BRANCH: BranchId = BranchId((1001 << 12) | 77);
const LOCK: LockKey = LockKey { transaction: TRANSACTION, branch: BRANCH, place: 1, slot: Slot(9) };
const FENCE: Fence = Fence { epoch: Epoch(1), tenure: Term(300) };

fn asks() -> Vec<(&'static str, Ask)> {
    vec![
        (
            "begin",
            Ask::Begin(BeginAsk {
                address: "10.0.0.1:8091".into(),
                application: "shop".into(),
                service_group: "default_tx_group".into(),
                name: "buy".into(),
                timeout_ms: 60_000,
            }),
        ),
        ("commit", Ask::Commit(TRANSACTION)),
        ("rollback", Ask::Rollback(TRANSACTION)),
        ("status", Ask::Status(TRANSACTION)),
        ("report", Ask::Report(TRANSACTION, GlobalStatus::Committed)),
        (
            "register",
            Ask::Register(RegisterAsk {
                transaction: TRANSACTION,
                kind: BranchType::AT,
                resource: "jdbc:a".into(),
                lock_keys: "t:1,2".into(),
                application_data: "{}".into(),
                client: "shop:10.0.0.2:5000".into(),
                locks: true,
            }),
        ),
        (
            "report_branch",
            Ask::ReportBranch(ReportBranchAsk {
                transaction: TRANSACTION,
                branch: BRANCH,
                status: BranchStatus::PhaseOne_Done,
                application_data: "{}".into(),
            }),
        ),
        (
            "lock_query",
            Ask::LockQuery(LockQueryAsk {
                transaction: Some(TRANSACTION),
                resource: "jdbc:a".into(),
                lock_keys: "t:1".into(),
            }),
        ),
        (
            "register_once",
            Ask::RegisterOnce(RegisterOnceAsk {
                register: RegisterAsk {
                    transaction: TRANSACTION,
                    kind: BranchType::TCC,
                    resource: "pay".into(),
                    lock_keys: String::new(),
                    application_data: "{}".into(),
                    client: "shop:10.0.0.2:5000".into(),
                    locks: false,
                },
                request: 1 << 40,
            }),
        ),
    ]
}

fn queries() -> Vec<(&'static str, Query)> {
    let channel = Announced {
        application: "shop".into(),
        ip: "10.0.0.2".parse().expect("an address"),
        port: 5000,
        resources: vec!["jdbc:a".into()],
    };
    let part = AnnouncementPartV1 { start: 5, version: 6, part: 1, is_last: true, channels: vec![channel.clone()] };
    let locks = AcquireLocksV1 {
        transaction: TRANSACTION,
        branch: BRANCH,
        fence: FENCE,
        resource: "jdbc:a".into(),
        lock_keys: "t:1,2".into(),
    };
    let release = ReleaseLocksV1 { transaction: TRANSACTION, slot: Slot(9), scope: ReleaseScope::All };
    let relay = RelayV1 {
        way: Way::Rollback,
        transaction: TRANSACTION,
        address: "10.0.0.1:8091".into(),
        branch: BRANCH,
        kind: BranchType::TCC,
        resource: "pay".into(),
        application_data: "{}".into(),
        client: "shop:10.0.0.2:5000".into(),
    };
    vec![
        ("acquire", Query::Acquire(locks)),
        ("release", Query::Release(release)),
        ("audit", Query::Audit(AuditV1 { transaction: TRANSACTION, holds: vec![(BRANCH, FENCE)] })),
        ("mark_rolling_back", Query::MarkRollingBack(TRANSACTION)),
        ("relay", Query::Relay(relay.clone())),
        ("relay_again", Query::RelayAgain(RelayAgainV1 { relay, silences: 2 })),
        (
            "pass_on",
            Query::PassOn(PassOnV1 { id: 0x4100_0007, branch: BRANCH, status: BranchStatus::PhaseTwo_Committed }),
        ),
        ("announce", Query::Announce(Announcement { start: 5, version: 6, channels: Some(vec![channel.clone()]) })),
        (
            "has_process",
            Query::HasProcess(ProcessV1 { application: "shop".into(), ip: "10.0.0.2".parse().expect("an address") }),
        ),
        ("done", Query::Done(DoneV1 { transaction: TRANSACTION, branch: BRANCH, way: Way::Rollback })),
        ("announce_version", Query::Announce(Announcement { start: 5, version: 6, channels: None })),
        ("announce_part", Query::AnnouncePart(part)),
    ]
}

fn console_asks() -> Vec<(&'static str, Query)> {
    let sessions = SessionFilter {
        xid: Some("77".into()),
        application: None,
        name: Some("buy".into()),
        status: Some(GlobalStatus::RollbackRetrying),
        begun_from_ms: Some(5),
        begun_until_ms: None,
        unreported_for_ms: Some(9),
    };
    let locks = LockFilter {
        transaction: Some(TRANSACTION),
        branch: None,
        resource: Some("jdbc:a".into()),
        table: Some("t".into()),
        key: None,
        since_from_ms: None,
        since_until_ms: Some(7),
    };
    let asks = [
        ("console.sessions", ConsoleAsk::Sessions(sessions, 20)),
        ("console.show_sessions", ConsoleAsk::ShowSessions(vec![TRANSACTION], 4096)),
        ("console.locks", ConsoleAsk::Locks(locks, 20)),
        ("console.show_locks", ConsoleAsk::ShowLocks(vec![LOCK])),
        ("console.has_branch", ConsoleAsk::HasBranch(TRANSACTION, BRANCH)),
    ];
    let operate =
        |wish| Query::Operate(OperateAskV1 { transaction: TRANSACTION, wish, by: "10.0.0.9:5 at node 1".into() });
    let wishes = [
        ("operate.force_delete", operate(Wish::Change(Operation::ForceDelete))),
        ("operate.stop_branch", operate(Wish::Change(Operation::StopBranch(BRANCH)))),
        ("operate.retry", operate(Wish::RetryNow)),
        ("operate.delete", operate(Wish::Change(Operation::CleanUp))),
        ("operate.delete_branch", operate(Wish::Change(Operation::CleanUpBranch(BRANCH)))),
    ];
    let row = RowKey { table: "t".into(), key: "1".into() };
    let lock = LockName { transaction: TRANSACTION, branch: Some(BRANCH), resource: "jdbc:a".into(), row };
    let delete = Query::DeleteLock(DeleteLockV1 { lock, by: "10.0.0.9:5 at node 1".into() });
    let asks = asks.into_iter().map(|(name, ask)| (name, Query::Console(ask)));
    asks.chain(wishes).chain([("delete_lock", delete)]).collect()
}

fn console_answers() -> Vec<(&'static str, Response)> {
    let mut sessions = Listing::new(20);
    sessions.take(SessionKey { begun_wall_ms: 1_800_000_000_000, transaction: TRANSACTION });
    let mut locks = Listing::new(20);
    locks.take(LOCK);
    let trouble = |last| (BRANCH, Trouble { attempts: 3, last });
    let session = SessionRow {
        group: GroupId(3),
        xid: Xid { address: "10.0.0.1:8091".into(), transaction: TRANSACTION },
        application: "shop".into(),
        service_group: "default_tx_group".into(),
        name: "buy".into(),
        timeout_ms: -1,
        begun_wall_ms: 1_800_000_000_000,
        age_ms: 5,
        status: GlobalStatus::RollbackRetrying,
        branches: vec![BranchRow {
            branch: BRANCH,
            kind: BranchType::AT,
            resource: "jdbc:a".into(),
            status: BranchStatus::PhaseOne_Done,
            client: "shop:10.0.0.2:5000".into(),
            application_data: "{}".into(),
            rows: 2,
            age_ms: Some(4),
        }],
        branches_left_out: 1,
        troubles: vec![
            trouble(LastAnswer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable)),
            trouble(LastAnswer::NoChannel),
            trouble(LastAnswer::Silent),
        ],
    };
    let lock = LockRow {
        group: GroupId(3),
        transaction: TRANSACTION,
        branch: BRANCH,
        resource: "jdbc:a".into(),
        row: RowKey { table: "t".into(), key: "1".into() },
        held_ms: 9,
        holder: None,
    };
    let answers = [
        ("console.sessions", ConsoleAnswer::Sessions(sessions)),
        ("console.session_rows", ConsoleAnswer::SessionRows(vec![session])),
        ("console.locks", ConsoleAnswer::Locks(locks)),
        ("console.lock_rows", ConsoleAnswer::LockRows(vec![lock])),
        ("console.has_branch", ConsoleAnswer::HasBranch(true)),
    ];
    let done = [
        ("operated", Response::Operated(GlobalStatus::CommitRetrying)),
        ("objected", Response::Objected("it is not stopped".into())),
        ("underway", Response::Underway("it is Deleting".into())),
    ];
    answers.into_iter().map(|(name, answer)| (name, Response::Console(answer))).chain(done).collect()
}

fn responses() -> Vec<(&'static str, Response)> {
    let row = RowKey { table: "t".into(), key: "1".into() };
    let conflict = Conflict { row, holder: TRANSACTION, held_ms: 2_000 };
    let failure = Failure::new(ExceptionCode::LockKeyConflict, "row t:1 is locked");
    vec![
        ("begun", Response::Reply(Reply::Begun(TRANSACTION))),
        ("standing", Response::Reply(Reply::Standing(GlobalStatus::Committed))),
        ("registered", Response::Reply(Reply::Registered(BRANCH))),
        ("reported", Response::Reply(Reply::Reported)),
        ("lockable", Response::Reply(Reply::Lockable(true))),
        ("failed", Response::Reply(Reply::Failed(failure))),
        ("failed_runtime", Response::Reply(Reply::Failed(Failure::runtime("the xid is empty")))),
        ("elsewhere", Response::Elsewhere(Some(NodeId(3)))),
        ("acquired", Response::Acquired),
        ("refused", Response::Refused(RefusedV1 { conflict, rolling_back: true })),
        ("released", Response::Released),
        ("unable", Response::Unable("a row key may have at most 1024 bytes".into())),
        ("gone", Response::Gone(vec![BRANCH])),
        ("told", Response::Told(BranchStatus::PhaseTwo_Rollbacked)),
        ("no_channel", Response::Untold(Untold::NoChannel)),
        ("silent", Response::Untold(Untold::Silent)),
        ("busy", Response::Untold(Untold::Busy)),
        ("lost", Response::Untold(Untold::Lost)),
        ("heard", Response::Heard(false)),
    ]
}

fn line<T: Persisted + PartialEq + std::fmt::Debug>(name: &str, value: &T) -> String {
    let bytes = codec::encode(value).expect("small");
    assert_eq!(codec::decode_canonical::<T>(&bytes).as_ref(), Ok(value));
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name} {hex}\n")
}

#[test]
fn nodes_of_two_versions_understand_each_other() {
    let forward = |ask| Query::Forward(ForwardV1 { ask, patience_ms: 25_000 });
    let asks = asks().into_iter().map(|(name, ask)| line(&format!("forward.{name}"), &forward(ask)));
    let queries =
        queries().into_iter().chain(console_asks()).map(|(name, query)| line(&format!("query.{name}"), &query));
    let responses = responses()
        .into_iter()
        .chain(console_answers())
        .map(|(name, response)| line(&format!("response.{name}"), &response));
    let lines: String = asks.chain(queries).chain(responses).collect();
    let golden: String = GOLDEN.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    assert!(lines == golden, "tests/golden/coordinator.txt no longer holds; the bytes are now\n{lines}");
}
