//! Seata's calls about a single row lock: away with it, and whether its branch is still there (semantics, section 7.5).

use super::super::form::Form;
use super::super::route::{Answer, json_of};
use super::super::{AdminContext, Work};
use super::control::unfulfilled;
use super::{SingleResult, failed, transaction};
use hyper::StatusCode;
use quorate_core::console::{LockName, Unfulfilled};
use quorate_core::model::{BranchId, RowKey, TransactionId};

/// Has an orphan of a row lock released, for whoever the text names.
pub type DeleteLock = Box<dyn Fn(LockName, String) -> Work<Result<(), Unfulfilled>> + Send + Sync>;

/// Asks whether a transaction has a branch still.
pub type HasBranch = Box<dyn Fn(TransactionId, BranchId) -> Work<Result<bool, Unfulfilled>> + Send + Sync>;

/// Has a row lock released, if nobody has a right to it.
pub async fn delete(context: &AdminContext, form: &Form, by: String) -> Answer {
    let name = match name(form) {
        Ok(name) => name,
        Err(reason) => return failed(StatusCode::BAD_REQUEST, &reason),
    };
    let message = format!("row {} of {} is free of transaction {}", name.row, name.resource, name.transaction);
    match (context.console.delete_lock)(name, by).await {
        Ok(()) => {
            let result = SingleResult::<()> { code: "200".to_owned(), message: &message, success: true, data: None };
            json_of(StatusCode::OK, &result)
        }
        Err(reason) => unfulfilled(&reason),
    }
}

/// Whether the branch of a row lock is still there. With `false` nobody has a right to the lock.
pub async fn check(context: &AdminContext, form: &Form) -> Result<Answer, String> {
    let transaction = transaction(form)?.ok_or("xid: the call is about one transaction")?;
    let branch = form.number("branchId")?.map(BranchId).ok_or("branchId: the call is about one branch")?;
    Ok(match (context.console.has_branch)(transaction, branch).await {
        Ok(has) => {
            let result = SingleResult { code: "200".to_owned(), message: "success", success: true, data: Some(has) };
            json_of(StatusCode::OK, &result)
        }
        Err(reason) => unfulfilled(&reason),
    })
}

fn name(form: &Form) -> Result<LockName, String> {
    let transaction = transaction(form)?.ok_or("xid: whose lock it is")?;
    let text = |name: &str, what: &str| form.text(name).ok_or_else(|| format!("{name}: {what}"));
    Ok(LockName {
        transaction,
        branch: form.number("branchId")?.map(BranchId),
        resource: text("resourceId", "in which resource")?,
        row: RowKey { table: text("tableName", "in which table")?, key: text("pk", "the primary key of the row")? },
    })
}
