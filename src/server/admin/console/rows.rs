//! Transactions, branches and row locks as Seata's console shows them: 64-bit numbers as texts, numbers for statuses. Our
//! own fields come last.

use quorate_core::console::{BranchRow, LockRow, SessionRow, Stuck};
use quorate_core::model::{TransactionId, Xid};
use serde::Serialize;

/// What Seata puts between resource, table and primary key.
const ROW_KEY_SPLIT: &str = "^^^";

/// `GlobalSessionVO`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    xid: String,
    transaction_id: String,
    status: u8,
    application_id: String,
    transaction_service_group: String,
    transaction_name: String,
    timeout: String,
    begin_time: String,
    /// Seata keeps one and fills it with nothing.
    application_data: Option<String>,
    gmt_create: Option<String>,
    gmt_modified: Option<String>,
    #[serde(rename = "branchSessionVOs")]
    branches: Vec<Branch>,
    status_name: &'static str,
    group: u32,
    age_ms: String,
    branches_left_out: u32,
    stuck: Option<StuckBy>,
}

/// `BranchSessionVO`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    xid: String,
    transaction_id: String,
    branch_id: String,
    resource_group_id: Option<String>,
    resource_id: String,
    branch_type: &'static str,
    status: u8,
    client_id: String,
    application_data: String,
    gmt_create: Option<String>,
    gmt_modified: Option<String>,
    status_name: &'static str,
    lock_rows: u32,
    age_ms: Option<String>,
}

/// Why a transaction does not come to its end.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StuckBy {
    reason: &'static str,
    text: String,
    branch_id: Option<String>,
    resource_id: Option<String>,
    retries: Option<u32>,
    last_answer: Option<String>,
}

/// `GlobalLockVO`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    xid: String,
    transaction_id: String,
    branch_id: String,
    resource_id: String,
    table_name: String,
    pk: String,
    row_key: String,
    vgroup: Option<String>,
    gmt_create: Option<String>,
    gmt_modified: Option<String>,
    group: u32,
    held_ms: String,
    holder_status: Option<u8>,
    holder_status_name: Option<&'static str>,
    holder_application_id: Option<String>,
    holder_transaction_name: Option<String>,
    holder_begin_time: Option<String>,
}

/// A transaction.
pub fn session(row: &SessionRow, with_branches: bool) -> Session {
    let branches = row.branches.iter().filter(|_| with_branches);
    Session {
        xid: row.xid.to_string(),
        transaction_id: row.xid.transaction.to_string(),
        status: row.status.code(),
        application_id: row.application.clone(),
        transaction_service_group: row.service_group.clone(),
        transaction_name: row.name.clone(),
        timeout: row.timeout_ms.to_string(),
        begin_time: row.begun_wall_ms.to_string(),
        application_data: None,
        gmt_create: None,
        gmt_modified: None,
        branches: branches.map(|branch| of_branch(&row.xid, branch)).collect(),
        status_name: row.status.name(),
        group: row.group.0,
        age_ms: row.age_ms.to_string(),
        branches_left_out: row.branches_left_out,
        stuck: row.stuck().map(|stuck| stuck_by(row, stuck)),
    }
}

fn of_branch(xid: &Xid, row: &BranchRow) -> Branch {
    Branch {
        xid: xid.to_string(),
        transaction_id: xid.transaction.to_string(),
        branch_id: row.branch.to_string(),
        resource_group_id: None,
        resource_id: row.resource.clone(),
        branch_type: row.kind.name(),
        status: row.status.code(),
        client_id: row.client.clone(),
        application_data: row.application_data.clone(),
        gmt_create: None,
        gmt_modified: None,
        status_name: row.status.name(),
        lock_rows: row.rows,
        age_ms: row.age_ms.map(|age_ms| age_ms.to_string()),
    }
}

fn stuck_by(row: &SessionRow, stuck: Stuck) -> StuckBy {
    let branch = stuck.branch().and_then(|id| row.branches.iter().find(|branch| branch.branch == id));
    let resource = branch.map(|branch| branch.resource.clone());
    let at = |id| match &resource {
        Some(resource) => format!("branch {id} of {resource}"),
        None => format!("branch {id}"),
    };
    let text = match stuck {
        Stuck::Stopped => "an operator has stopped it; it goes on when it is started".to_owned(),
        Stuck::Failed(Some(id)) => format!("failed for good: {} refused; an operator has to act", at(id)),
        Stuck::Failed(None) => "given up, or failed for good; an operator has to act".to_owned(),
        Stuck::BranchStopped(id) => format!("{} is stopped (STOP_RETRY)", at(id)),
        Stuck::Parked(id, _) => format!("{} waits: no RM for its resource is connected", at(id)),
        Stuck::Retrying(id, trouble) => {
            format!("{} is asked again, {} times in vain so far: {}", at(id), trouble.attempts, trouble.last)
        }
    };
    StuckBy {
        reason: stuck.reason(),
        text,
        branch_id: stuck.branch().map(|id| id.to_string()),
        resource_id: resource,
        retries: stuck.trouble().map(|trouble| trouble.attempts),
        last_answer: stuck.trouble().map(|trouble| trouble.last.to_string()),
    }
}

/// A row lock.
pub fn lock(row: &LockRow) -> Lock {
    let holder = row.holder.as_ref();
    Lock {
        xid: holder.map_or_else(|| nameless(row.transaction), |holder| holder.xid.to_string()),
        transaction_id: row.transaction.to_string(),
        branch_id: row.branch.to_string(),
        resource_id: row.resource.clone(),
        table_name: row.row.table.clone(),
        pk: row.row.key.clone(),
        row_key: [&row.resource, &row.row.table, &row.row.key].map(String::as_str).join(ROW_KEY_SPLIT),
        vgroup: holder.map(|holder| holder.service_group.clone()),
        gmt_create: None,
        gmt_modified: None,
        group: row.group.0,
        held_ms: row.held_ms.to_string(),
        holder_status: holder.map(|holder| holder.status.code()),
        holder_status_name: holder.map(|holder| holder.status.name()),
        holder_application_id: holder.map(|holder| holder.application.clone()),
        holder_transaction_name: holder.map(|holder| holder.name.clone()),
        holder_begin_time: holder.map(|holder| holder.begun_wall_ms.to_string()),
    }
}

/// An XID without its address, which only the transaction knows: good for every request, because the number routes.
fn nameless(transaction: TransactionId) -> String {
    Xid { address: String::new(), transaction }.to_string()
}
