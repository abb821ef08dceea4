//! The resource manager: joins transactions with branches and carries out phase two.
//!
//! What a resource does is its owner's affair ([`Resource`]); it must expect every phase-two call more than once, and a
//! rollback of a branch whose phase one never came.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, Xid};
use quorate_core::wire::{ClientVersion, Message, ResultPart};
use quorate_world::task;
use quorate_world::time::Duration;

use crate::connection::{CallError, Inbound, OnRequest};
use crate::pool::{Application, Pool};

/// How long an RM waits for one answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A branch as phase two names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branch {
    /// Text of the XID.
    pub xid: String,
    /// Its id.
    pub id: BranchId,
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: String,
    /// As given at registration.
    pub application_data: String,
}

/// The answer of a resource; `None` = no answer at all, as when it died or its callback failed.
pub type Answer = Pin<Box<dyn Future<Output = Option<BranchStatus>> + Send>>;

/// What carries out phase two. Both calls must be idempotent.
pub trait Resource: Send + Sync + 'static {
    /// Makes what phase one did permanent.
    fn commit(&self, branch: Branch) -> Answer;
    /// Undoes what phase one did, if anything.
    fn rollback(&self, branch: Branch) -> Answer;
    /// Deletes the undo logs of an AT resource that are older than so many days; nobody waits for it.
    fn delete_undo_logs(&self, _kind: BranchType, _save_days: i16) {}
}

/// Why a branch could not join.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterError {
    /// The server refused.
    #[error("{code}: {message}")]
    Refused {
        /// Its code: `LockKeyConflict` may be tried again.
        code: ExceptionCode,
        /// Its text.
        message: String,
    },
    /// No answer: the branch may exist.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Owns resources, at every node of a cluster.
#[derive(Clone)]
pub struct ResourceManager {
    pool: Pool,
    version: ClientVersion,
}

impl ResourceManager {
    /// Starts to connect to all `addresses` and to register `resources` by their ids.
    pub fn start(
        addresses: &[String],
        application: &Application,
        resources: BTreeMap<String, Arc<dyn Resource>>,
    ) -> ResourceManager {
        let ids: Vec<String> = resources.keys().cloned().collect();
        let on_request: OnRequest = Arc::new(move |inbound| dispatch(&resources, inbound));
        let pool = Pool::start(addresses, application, application.register_rm(&ids), on_request);
        ResourceManager { pool, version: application.client_version() }
    }

    /// The connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Joins a transaction. `lock_keys` as in `quorate_core::model::lock_key`, empty without row locks.
    pub async fn register(
        &self,
        xid: &str,
        kind: BranchType,
        resource: &str,
        lock_keys: &str,
        application_data: &str,
    ) -> Result<BranchId, RegisterError> {
        let request = Message::BranchRegister {
            xid: xid.into(),
            branch_type: kind,
            resource_id: resource.into(),
            lock_keys: lock_keys.into(),
            application_data: application_data.into(),
        };
        match self.ask(xid, &request).await? {
            Message::BranchRegisterResult { result, branch_id } if result.is_success() => Ok(branch_id),
            Message::BranchRegisterResult { result, .. } => Err(self.refused(result)),
            other => Err(unexpected(&other)),
        }
    }

    /// Reports phase one of a branch.
    pub async fn report(&self, xid: &str, branch: BranchId, status: BranchStatus) -> Result<(), RegisterError> {
        let request = Message::BranchReport {
            xid: xid.into(),
            branch_id: branch,
            status,
            resource_id: String::new(),
            application_data: String::new(),
            branch_type: BranchType::AT,
        };
        match self.ask(xid, &request).await? {
            Message::BranchReportResult { result } if result.is_success() => Ok(()),
            Message::BranchReportResult { result } => Err(self.refused(result)),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether all rows are free, or held by `xid` itself. An empty `xid` is nobody.
    pub async fn lockable(&self, xid: &str, resource: &str, lock_keys: &str) -> Result<bool, RegisterError> {
        let request = Message::LockQuery {
            xid: xid.into(),
            branch_type: BranchType::AT,
            resource_id: resource.into(),
            lock_keys: lock_keys.into(),
            application_data: String::new(),
        };
        match self.ask(xid, &request).await? {
            Message::LockQueryResult { result, lockable } if result.is_success() => Ok(lockable),
            Message::LockQueryResult { result, .. } => Err(self.refused(result)),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask(&self, xid: &str, request: &Message) -> Result<Message, CallError> {
        let address = Xid::parse(xid).ok().map(|xid| xid.address);
        self.pool.ask(address.as_deref(), request, REQUEST_TIMEOUT).await
    }

    fn refused(&self, result: ResultPart) -> RegisterError {
        RegisterError::Refused { code: self.version.meant(result.exception), message: result.message }
    }
}

fn unexpected(answer: &Message) -> RegisterError {
    RegisterError::Refused { code: ExceptionCode::Unknown, message: format!("the answer is a {}", answer.name()) }
}

/// Starts phase two of one branch; a resource that is not ours gets no answer, as with stock clients.
fn dispatch(resources: &BTreeMap<String, Arc<dyn Resource>>, inbound: Inbound) {
    let (commit, branch) = match &inbound.message {
        Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data } => {
            (true, branch(xid, *branch_id, *branch_type, resource_id, application_data))
        }
        Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data } => {
            (false, branch(xid, *branch_id, *branch_type, resource_id, application_data))
        }
        Message::UndoLogDelete { branch_type, resource_id, save_days } => {
            let resource = resources.get(resource_id.as_str());
            return resource.map_or_else(unserved, |resource| resource.delete_undo_logs(*branch_type, *save_days));
        }
        _ => return,
    };
    let Some(resource) = resources.get(&branch.resource) else {
        return unserved();
    };
    let (xid, id) = (branch.xid.clone(), branch.id);
    let answer = if commit { resource.commit(branch) } else { resource.rollback(branch) };
    task::spawn(async move {
        let Some(status) = answer.await else { return };
        // A connection that broke meanwhile makes the server ask again.
        let _ = inbound.reply(&result(commit, xid, id, status));
    });
}

fn unserved() {
    tracing::warn!("a request about a resource that is not ours");
}

fn branch(xid: &str, id: BranchId, kind: BranchType, resource: &str, application_data: &str) -> Branch {
    Branch { xid: xid.into(), id, kind, resource: resource.into(), application_data: application_data.into() }
}

fn result(commit: bool, xid: String, branch_id: BranchId, status: BranchStatus) -> Message {
    let result = ResultPart::success();
    if commit {
        Message::BranchCommitResult { result, xid, branch_id, status }
    } else {
        Message::BranchRollbackResult { result, xid, branch_id, status }
    }
}
