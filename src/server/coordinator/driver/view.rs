//! What the driver reads of a session: requests for RMs.

use quorate_core::model::{BranchId, BranchStatus, BranchType, GlobalStatus, TransactionId};
use quorate_core::phase_two::direction_of;
use quorate_core::txn::status::{is_failed, is_stopped};
use quorate_core::txn::{Branch, Direction, Fate, Session, Transactions};

use super::super::message::{RelayV1, Way};

/// Which way a branch is to go, or all steps of a Saga; nothing: it is not decided.
pub fn way(session: &Session, branch: BranchId) -> Option<Way> {
    let direction = match session.branches.get(&branch) {
        Some(branch) => direction_of(session, branch),
        None => session.direction(),
    };
    direction.map(|direction| match direction {
        Direction::Commit if quorate_world::bug!("phase_two_turned") => Way::Rollback,
        Direction::Commit => Way::Commit,
        Direction::Rollback => Way::Rollback,
    })
}

/// What decides whether and how a branch is asked: where it has changed while the branch waited for its turn, an operator or the
/// engine of a Saga was here, or somebody has done with it.
pub fn stands(session: &Session, branch: BranchId) -> (GlobalStatus, Option<(Fate, bool)>) {
    let of = session.branches.get(&branch);
    (session.status, of.map(|branch| (branch.fate, branch.status == BranchStatus::STOP_RETRY)))
}

/// Whether nobody wants any more what another node's driver has asked for, as this node's copy of the state shows. It may be
/// behind: no, where it does not know better.
pub fn is_void(state: &Transactions, request: &RelayV1) -> bool {
    let Some(session) = state.session(request.transaction) else {
        return state.tombstone(request.transaction).is_some();
    };
    let is_first_pass = matches!(session.status, GlobalStatus::Committing | GlobalStatus::Rollbacking);
    match session.branches.get(&request.branch) {
        Some(branch) if branch.fate.is_settled() => return true,
        Some(branch) if branch.fate == Fate::CleanUp => {}
        Some(branch) if branch.status == BranchStatus::STOP_RETRY && !is_first_pass => return true,
        Some(_) | None if is_stopped(session.status) || is_failed(session.status) => return true,
        Some(_) | None => {}
    }
    // What a branch brings may change by a report, what an engine is told by its own word only.
    let is_other =
        |now: &RelayV1| request.branch == BranchId::WHOLE && now.application_data != request.application_data;
    let now = self::request(state, request.transaction, request.branch);
    now.is_some_and(|now| now.way != request.way || is_other(&now))
}

/// The request for one branch, or for all steps of a Saga; nothing: there is no such branch.
pub fn request(state: &Transactions, transaction: TransactionId, branch: BranchId) -> Option<RelayV1> {
    let session = state.session(transaction)?;
    let way = way(session, branch)?;
    if branch == BranchId::WHOLE {
        return Some(request_of_saga(session, way));
    }
    session.branches.get(&branch).map(|branch| request_of(session, branch, way))
}

/// The requests for all branches.
pub fn requests(state: &Transactions, transaction: TransactionId, way: Way) -> Vec<RelayV1> {
    let session = state.session(transaction);
    session.into_iter().flat_map(|session| session.branches.values().map(|b| request_of(session, b, way))).collect()
}

fn request_of(session: &Session, branch: &Branch, way: Way) -> RelayV1 {
    RelayV1 {
        way,
        transaction: session.transaction,
        address: session.address.to_string(),
        branch: branch.branch,
        kind: branch.kind,
        resource: branch.resource.to_string(),
        application_data: branch.application_data.to_string(),
        client: branch.client.to_string(),
    }
}

/// Any engine of the application and group that began it will do, and all it gets to know is the status: an engine that
/// may go on where its time was up looks for that name (semantics 2.4). Where the Saga cannot turn, the name says so.
fn request_of_saga(session: &Session, way: Way) -> RelayV1 {
    RelayV1 {
        way,
        transaction: session.transaction,
        address: session.address.to_string(),
        branch: BranchId::WHOLE,
        kind: BranchType::SAGA,
        resource: format!("{}#{}", session.application, session.service_group),
        application_data: session.status_for_engine().name().to_owned(),
        client: String::new(),
    }
}
