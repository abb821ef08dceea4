//! A row lock that an operator wants gone, and whether a branch is still there.
//!
//! A lock goes only if it is an orphan: the lock home asks the group of the transaction, as its audit does, and what that one
//! calls gone is released by an entry of the home (lock protocol, rules 12 and 14). A lock that is held rightfully goes with
//! its transaction or its branch, or not at all: without it somebody would write on a row that may still be undone.

use std::sync::Arc;

use quorate_core::console::{LockName, Unfulfilled};
use quorate_core::model::{BranchId, TransactionId, hash};
use quorate_world::time::{Duration, Instant};

use super::super::context::Coordinator;
use super::super::message::{Query, Response};
use super::super::query::confirmed;
use super::super::tenure::{Lost, Tenure};
use super::{ConsoleAnswer, ConsoleAsk, DeleteLockV1};

/// So long the leader of a branch's group is looked for.
const PATIENCE: Duration = Duration::from_secs(6);

impl Coordinator {
    /// Has an orphan of a row lock released, for whoever `by` names.
    pub async fn delete_lock(self: &Arc<Self>, lock: LockName, by: String) -> Result<(), Unfulfilled> {
        let by = format!("{by} at node {}", self.node);
        let Some(group) = self.group_of(hash::lock_slot(&lock.resource)) else {
            return Err(Unfulfilled::Refused("this node knows no groups yet".to_owned()));
        };
        self.ask_for_operator(group, Query::DeleteLock(DeleteLockV1 { lock, by })).await.map(|_| ())
    }

    /// Whether a transaction has this branch still.
    pub async fn has_branch(
        self: &Arc<Self>,
        transaction: TransactionId,
        branch: BranchId,
    ) -> Result<bool, Unfulfilled> {
        let Some(group) = self.group_of(transaction.slot()) else {
            return Err(Unfulfilled::Refused("this node knows no groups yet".to_owned()));
        };
        let query = Query::Console(ConsoleAsk::HasBranch(transaction, branch));
        match self.ask_group(group, &query, Instant::now() + PATIENCE).await {
            Some(Response::Console(ConsoleAnswer::HasBranch(has))) => Ok(has),
            Some(_) | None => Err(Unfulfilled::NoLeader(group)),
        }
    }

    /// Does it, if this node leads the lock home.
    pub(in super::super) async fn serve_delete_lock(
        self: &Arc<Self>,
        group: quorate_core::model::GroupId,
        ask: DeleteLockV1,
    ) -> Response {
        let Some(tenure) = self.led.tenure(group) else { return self.elsewhere(group) };
        let DeleteLockV1 { lock, by } = ask;
        let (transaction, row, resource) = (lock.transaction.0, &lock.row, &lock.resource);
        match self.release_orphan(&tenure, &lock).await {
            Ok(Ok(())) => {
                quorate_core::sometimes!("operator_had_an_orphan_lock_released");
                tracing::warn!(transaction, %row, resource, %by, "an operator had an orphan lock released");
                Response::Released
            }
            Ok(Err(reason)) => {
                quorate_core::sometimes!("operator_was_refused_a_lock");
                tracing::info!(transaction, %row, resource, %by, %reason, "an operator wanted a lock released, in vain");
                Response::Objected(reason)
            }
            Err(Lost) => self.elsewhere(group),
        }
    }

    async fn release_orphan(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        lock: &LockName,
    ) -> Result<Result<(), String>, Lost> {
        let LockName { transaction, branch, resource, row } = lock;
        let slot = hash::lock_slot(resource);
        let Some((holder, holds)) = confirmed(tenure, slot, |state| state.holder(resource, row)).await? else {
            return Ok(Err(format!("nobody holds row {row} of {resource}")));
        };
        if holder != *transaction {
            return Ok(Err(format!("row {row} of {resource} is held by transaction {holder}, not by {transaction}")));
        }
        let branches: Vec<BranchId> = holds.iter().map(|(branch, _)| *branch).collect();
        if let Some(branch) = branch.filter(|branch| !branches.contains(branch)) {
            return Ok(Err(format!("row {row} of {resource} is held through branch {}, not {branch}", branches[0])));
        }
        let Some(gone) = self.ask_gone(holder, holds).await else {
            let group = self.group_of(holder.slot()).map_or("of the transaction".to_owned(), |group| group.to_string());
            return Ok(Err(format!(
                "group {group} has no leader that could say whether the lock is owed; nothing has changed, try again"
            )));
        };
        let rest = branches.into_iter().find(|branch| !gone.contains(branch));
        if !gone.is_empty() {
            self.release_gone(tenure, holder, slot, gone).await?;
        }
        Ok(match rest {
            None => Ok(()),
            Some(branch) => Err(format!(
                "transaction {holder} holds it rightfully through branch {branch}, which is not decided, or not undone yet: end \
                 the transaction, or delete it or the branch, and the lock goes with it"
            )),
        })
    }
}
