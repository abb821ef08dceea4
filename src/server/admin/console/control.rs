//! Seata's control calls: what an operator has done with a transaction or one of its branches (semantics, section 7.5, since
//! 2.4).

use super::super::form::Form;
use super::super::route::{Answer, json_of};
use super::super::{AdminContext, Work};
use super::{PREFIX, SingleResult, failed};
use hyper::{Method, StatusCode};
use quorate_core::console::{Unfulfilled, Wish};
use quorate_core::model::{BranchId, GlobalStatus, TransactionId, Xid};
use quorate_core::txn::command::Operation;

/// Has something done with a transaction, for whoever the text names. The status afterwards.
pub type Operate = Box<dyn Fn(TransactionId, Wish, String) -> Work<Result<GlobalStatus, Unfulfilled>> + Send + Sync>;

/// What a call wants: of a transaction, or of the branch that it names.
#[derive(Clone, Copy)]
pub enum Call {
    /// With a transaction.
    Whole(Wish),
    /// With one of its branches.
    Branch(fn(BranchId) -> Operation),
    /// A row lock is to go.
    Lock,
}

/// The call at a path, and how it is made.
pub fn call(path: &str) -> Option<(Method, Call)> {
    let change = |operation| Call::Whole(Wish::Change(operation));
    Some(match path.strip_prefix(PREFIX)? {
        "globalSession/stopGlobalSession" => (Method::PUT, change(Operation::Stop)),
        "globalSession/startGlobalSession" => (Method::PUT, change(Operation::Start)),
        "globalSession/sendCommitOrRollback" => (Method::PUT, Call::Whole(Wish::RetryNow)),
        "globalSession/changeGlobalStatus" => (Method::PUT, change(Operation::Reopen)),
        "globalSession/deleteGlobalSession" => (Method::DELETE, change(Operation::CleanUp)),
        "globalSession/forceDeleteGlobalSession" => (Method::DELETE, change(Operation::ForceDelete)),
        "branchSession/stopBranchSession" => (Method::PUT, Call::Branch(Operation::StopBranch)),
        "branchSession/startBranchSession" => (Method::PUT, Call::Branch(Operation::StartBranch)),
        "branchSession/deleteBranchSession" => (Method::DELETE, Call::Branch(Operation::CleanUpBranch)),
        "branchSession/forceDeleteBranchSession" => (Method::DELETE, Call::Branch(Operation::DropBranch)),
        "globalLock/delete" => (Method::DELETE, Call::Lock),
        _ => return None,
    })
}

/// What is wished for; nothing: it is about a lock.
fn wish(call: Call, form: &Form) -> Result<Option<Wish>, String> {
    match call {
        Call::Lock => Ok(None),
        Call::Whole(wish) => Ok(Some(wish)),
        Call::Branch(operation) => match form.number("branchId")? {
            Some(branch) => Ok(Some(Wish::Change(operation(BranchId(branch))))),
            None => Err("branchId: the call is about one branch".to_owned()),
        },
    }
}

/// Has it done, and says how the transaction stands then.
pub async fn operate(context: &AdminContext, call: Call, form: &Form, by: String) -> Answer {
    let xid = form.text("xid").unwrap_or_default();
    let wish = match wish(call, form) {
        Ok(Some(wish)) => wish,
        Ok(None) => return super::lock::delete(context, form, by).await,
        Err(reason) => return failed(StatusCode::BAD_REQUEST, &reason),
    };
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
        Err(reason) => unfulfilled(&reason),
    }
}

/// What an operator is told whose wish was not fulfilled.
pub fn unfulfilled(why: &Unfulfilled) -> Answer {
    let status = match why {
        Unfulfilled::Refused(_) => StatusCode::CONFLICT,
        Unfulfilled::Underway(_) => StatusCode::ACCEPTED,
        Unfulfilled::NoLeader(_) | Unfulfilled::Unknown(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    failed(status, &why.to_string())
}
