//! Seata's control calls: what an operator has done with a transaction (semantics, section 7.5, since 2.4).

use super::super::form::Form;
use super::super::route::{Answer, json_of};
use super::super::{AdminContext, Work};
use super::{PREFIX, SingleResult, failed};
use hyper::{Method, StatusCode};
use quorate_core::console::{Unfulfilled, Wish};
use quorate_core::model::{GlobalStatus, TransactionId, Xid};
use quorate_core::txn::command::Operation;

/// Has something done with a transaction, for whoever the text names. The status afterwards.
pub type Operate = Box<dyn Fn(TransactionId, Wish, String) -> Work<Result<GlobalStatus, Unfulfilled>> + Send + Sync>;

/// The call at a path, and how it is made.
pub fn call(path: &str) -> Option<(Method, Wish)> {
    let name = path.strip_prefix(PREFIX)?.strip_prefix("globalSession/")?;
    Some(match name {
        "stopGlobalSession" => (Method::PUT, Wish::Change(Operation::Stop)),
        "startGlobalSession" => (Method::PUT, Wish::Change(Operation::Start)),
        "sendCommitOrRollback" => (Method::PUT, Wish::RetryNow),
        "changeGlobalStatus" => (Method::PUT, Wish::Change(Operation::Reopen)),
        "deleteGlobalSession" => (Method::DELETE, Wish::Change(Operation::Delete)),
        "forceDeleteGlobalSession" => (Method::DELETE, Wish::Change(Operation::ForceDelete)),
        _ => return None,
    })
}

/// Has it done, and says how the transaction stands then.
pub async fn operate(context: &AdminContext, wish: Wish, form: &Form, by: String) -> Answer {
    let xid = form.text("xid").unwrap_or_default();
    let transaction = match Xid::parse(&xid) {
        Ok(xid) => xid.transaction,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &format!("xid: {error}")),
    };
    match (context.console.operate)(transaction, wish, by).await {
        Ok(status) => {
            let message = format!("{}: {xid} is {status}", wish.name());
            let data = Some(status.name());
            json_of(StatusCode::OK, &SingleResult { code: "200".to_owned(), message: &message, success: true, data })
        }
        Err(unfulfilled) => {
            let status = match unfulfilled {
                Unfulfilled::Refused(_) => StatusCode::CONFLICT,
                Unfulfilled::NoLeader(_) | Unfulfilled::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            failed(status, &unfulfilled.to_string())
        }
    }
}
