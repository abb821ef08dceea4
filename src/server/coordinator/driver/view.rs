//! What the driver reads of a session: requests for RMs.

use quorate_core::model::{BranchId, TransactionId};
use quorate_core::txn::{Branch, Session, Transactions};

use super::super::message::{RelayV1, Way};

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
