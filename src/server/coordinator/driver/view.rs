//! What the driver reads of a session: requests for RMs, and what their answers mean (semantics, sections 2.2 and 2.3).

use quorate_core::model::{BranchId, BranchStatus, TransactionId};
use quorate_core::txn::Transactions;
use quorate_core::txn::session::{Branch, Session};

use super::super::message::{RelayV1, Way};
use super::Told;

/// The request for one branch; nothing: there is no such branch.
pub fn request(state: &Transactions, transaction: TransactionId, branch: BranchId, way: Way) -> Option<RelayV1> {
    let session = state.session(transaction)?;
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

/// What an RM's answer says of its branch. Anything unexpected means "not now".
pub fn meaning(way: Way, status: BranchStatus) -> Told {
    match (way, status) {
        (Way::Commit, BranchStatus::PhaseTwo_Committed) | (Way::Rollback, BranchStatus::PhaseTwo_Rollbacked) => {
            Told::Done
        }
        (Way::Commit, BranchStatus::PhaseTwo_CommitFailed_Unretryable)
        | (Way::Rollback, BranchStatus::PhaseTwo_RollbackFailed_Unretryable) => Told::Never(status),
        (Way::Commit | Way::Rollback, _) => Told::Again,
    }
}
