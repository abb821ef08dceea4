//! Which command may move a transaction where. Every command is tried on every kind of session in every status: it moves
//! them as the functions in `status` say and in no other way, and whatever those allow some command does.

use alloc::collections::BTreeSet;

use super::*;
use crate::model::{BranchStatus, GlobalStatus};
use GlobalStatus::*;

pub(super) type Moves = BTreeSet<(GlobalStatus, GlobalStatus)>;

/// Whether this command may move this session to `to`, which is another status than it has.
pub(super) fn may_move(session: &Session, command: &Command, to: GlobalStatus) -> bool {
    let from = session.status;
    match command {
        _ if transaction_of(command) != Some(session.transaction) => false,
        Command::Report(report) => {
            let is_answer = report.asked == Some(from);
            let is_late = report.asked.is_some() && !is_answer;
            // Before it was to be undone an engine may have said that it goes on.
            let is_old = status::direction(from) == Some(Direction::Rollback)
                && status::direction(to) == Some(Direction::Commit)
                && !is_answer;
            let is_heard = session.is_saga() && !is_late && !is_old;
            is_heard && decides(to) != session.is_pure_saga() && status::saga_may_become(from, to)
        }
        Command::Operate(_) => status::operator_may_become(from, to),
        _ => status::may_become(from, to),
    }
}

/// What an engine's word makes of a Saga only beside branches of other kinds.
fn decides(to: GlobalStatus) -> bool {
    matches!(to, Committing | AsyncCommitting | Rollbacking)
}

pub(super) fn transaction_of(command: &Command) -> Option<TransactionId> {
    match command {
        Command::Found(_) | Command::Lead(_) | Command::Begin(_) | Command::BeginNear(_) | Command::Tick => None,
        Command::RegisterBranch(register) => Some(register.transaction),
        Command::RegisterBranchOnce(once) => Some(once.register.transaction),
        Command::RemoveBranch(branch) | Command::CleanedUp(branch) => Some(branch.transaction),
        Command::ReportBranch(report) => Some(report.transaction),
        Command::Decide(decide) => Some(decide.transaction),
        Command::Retry(name) | Command::End(name) | Command::Detach(name) | Command::Forget(name) => {
            Some(name.transaction)
        }
        Command::Fail(fail) => Some(fail.transaction),
        Command::AcquireLocks(acquire) => Some(acquire.transaction),
        Command::ReleaseLocks(release) => Some(release.transaction),
        Command::Report(report) => Some(report.transaction),
        Command::GiveUp(give_up) => Some(give_up.transaction),
        Command::Operate(operate) => Some(operate.transaction),
        Command::FreezeSlot(_)
        | Command::InstallSlot(_)
        | Command::ActivateSlot(_)
        | Command::DropSlot(_)
        | Command::UnfreezeSlot(_)
        | Command::DiscardSlot(_) => None,
    }
}

/// Kinds of branches, and what an operator has ordered about them.
fn shapes() -> Vec<Vec<(BranchType, Fate)>> {
    use BranchType::*;
    let kept = |kinds: &[BranchType]| kinds.iter().map(|kind| (*kind, Fate::Kept)).collect();
    vec![
        kept(&[]),
        kept(&[AT]),
        kept(&[XA, AT]),
        kept(&[SAGA_ANNOTATION]),
        kept(&[SAGA]),
        kept(&[SAGA, AT]),
        kept(&[SAGA, TCC]),
        kept(&[AT, SAGA]),
        vec![(TCC, Fate::CleanUp)],
        vec![(TCC, Fate::CleanedUp)],
        vec![(AT, Fate::CleanedUp)],
        vec![(TCC, Fate::Dropped)],
    ]
}

fn transaction() -> TransactionId {
    TransactionId::mint(FIRST_SEQUENCE, slots()[0]).expect("a small sequence")
}

fn sessions() -> Vec<Session> {
    let mut sessions = Vec::new();
    for &status in GlobalStatus::ALL.iter().filter(|status| status::has_session(**status)) {
        for shape in shapes() {
            let is_deleted = shape.iter().any(|(_, fate)| *fate != Fate::Kept);
            if is_deleted && status == Begin {
                continue;
            }
            let branches = (1..).zip(&shape).map(|(number, (kind, fate))| Branch {
                branch: branch(transaction(), FIRST_SEQUENCE + number),
                kind: *kind,
                resource: "stock".into(),
                lock_keys: "".into(),
                rows: 0,
                application_data: "".into(),
                client: "shop:10.0.0.2:5000".into(),
                fence: Fence { epoch: EPOCH, tenure: Term(1) },
                status: BranchStatus::Registered,
                registered_clock_ms: Some(0),
                request: None,
                fate: *fate,
            });
            let session = Session::for_tests(transaction(), status, branches);
            let name = "$Saga_buy".into();
            sessions.extend(shape.is_empty().then(|| Session { name, ..session.clone() }));
            sessions.push(session);
        }
    }
    sessions
}

/// Each kind of command about a transaction, with everything that its effect on the status may hang on.
fn commands(from: GlobalStatus) -> Vec<Command> {
    let transaction = transaction();
    let first = branch(transaction, FIRST_SEQUENCE + 1);
    let (name, known) = (TransactionV1 { transaction }, BranchV1 { transaction, branch: first });
    let new = register(transaction, FIRST_SEQUENCE + 50, BranchType::SAGA, "stock", "");
    let mut commands = vec![
        Command::Tick,
        lead(2),
        Command::RegisterBranch(new.clone()),
        Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: new, request: 1 }),
        Command::RemoveBranch(known),
        Command::CleanedUp(known),
        Command::Retry(name),
        Command::Detach(name),
        Command::End(name),
        Command::Forget(name),
        Command::GiveUp(GiveUpV1 { transaction, after_ms: 0 }),
        Command::ReleaseLocks(ReleaseLocksV1 { transaction, slot: lock_slot("stock"), scope: ReleaseScope::All }),
        Command::AcquireLocks(AcquireLocksV1 {
            transaction,
            branch: first,
            fence: Fence { epoch: EPOCH, tenure: Term(1) },
            resource: "stock".into(),
            lock_keys: String::new(),
        }),
    ];
    let decisions = [Decision::Commit, Decision::Rollback, Decision::TimeoutRollback];
    commands.extend(decisions.map(|decision| decide(transaction, decision)));
    for &status in BranchStatus::ALL {
        let application_data = String::new();
        commands.push(Command::ReportBranch(ReportBranchV1 { transaction, branch: first, status, application_data }));
        commands.extend([first, BranchId::WHOLE].map(|branch| Command::Fail(FailV1 { transaction, branch, status })));
    }
    for &status in GlobalStatus::ALL {
        let late = if from == Committing { Rollbacking } else { Committing };
        let asked = [None, Some(from), Some(late)];
        commands.extend(asked.map(|asked| Command::Report(ReportV1 { transaction, status, asked })));
    }
    let operated = operations(first).map(|operation| Command::Operate(OperateV1 { transaction, operation }));
    commands.into_iter().chain(operated).collect()
}

pub(super) fn allowed(may_become: impl Fn(GlobalStatus, GlobalStatus) -> bool) -> Moves {
    let pairs = GlobalStatus::ALL.iter().flat_map(|from| GlobalStatus::ALL.iter().map(|to| (*from, *to)));
    pairs.filter(|(from, to)| may_become(*from, *to)).collect()
}

#[test]
fn what_may_become_of_a_status_is_what_some_command_makes_of_it() {
    let (mut by_itself, mut by_engine, mut by_operator) = (Moves::new(), Moves::new(), Moves::new());
    for session in sessions() {
        let from = session.status;
        // Before its time is up, and after.
        for (clock_ms, command) in [0, 60_000].iter().flat_map(|ms| commands(from).into_iter().map(|one| (*ms, one))) {
            let mut state = founded();
            state.change(transaction().slot(), |slot| slot.insert(session.clone()));
            one(&mut state, clock_ms, command.clone());
            let to = state.standing(transaction()).expect("its tombstone stands");
            let is_there = state.session(transaction()).is_some();
            assert!(!is_there || status::has_session(to), "{command:?} left {to} of {session:?}");
            if from == to {
                continue;
            }
            assert!(may_move(&session, &command, to), "{command:?} made {to} of {session:?}");
            match command {
                Command::Report(_) => {
                    assert_eq!(is_there, status::has_session(to), "{command:?} made {to} of {session:?}");
                    by_engine.insert((from, to))
                }
                Command::Operate(_) => by_operator.insert((from, to)),
                _ => by_itself.insert((from, to)),
            };
        }
    }
    let pairs = [
        (by_itself, allowed(status::may_become)),
        (by_engine, allowed(status::saga_may_become)),
        (by_operator, allowed(status::operator_may_become)),
    ];
    for (made, allowed) in pairs {
        assert_eq!(allowed.difference(&made).collect::<Vec<_>>(), Vec::<&(_, _)>::new(), "no command does it");
    }
}
