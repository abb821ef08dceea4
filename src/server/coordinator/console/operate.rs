//! What an operator has done with a transaction: sent to the leader of its group from whichever node was asked, done
//! there once, and logged with who wanted it.
//!
//! Nothing is done twice by itself: where the leader was asked and its answer is lost, the operator is told so, and looks.
//! What RMs have to do first is waited for a while and goes on by itself: the order is in the log (`deletion`).

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::console::{Unfulfilled, Wish};
use quorate_core::model::{BranchId, GlobalStatus, GroupId, Slot, TransactionId};
use quorate_core::txn::command::{OperateV1, Operation, ReleaseLocksV1};
use quorate_core::txn::{Command, Outcome, Refusal, ReleaseScope};
use quorate_world::task;
use quorate_world::time::{Duration, Instant, timeout};

use super::super::context::{Coordinator, Leader};
use super::super::message::{Query, Response};
use super::super::query::confirmed;
use super::super::route::Pause;
use super::super::tenure::{Lost, Tenure};
use super::OperateAskV1;
use super::deletion::Progress;
use crate::peer::CallError;

/// So long a leader is looked for, and waited for.
const PATIENCE: Duration = Duration::from_secs(8);

impl Coordinator {
    /// Has something done with a transaction, for whoever `by` names. The status afterwards.
    pub async fn operate(
        self: &Arc<Self>,
        transaction: TransactionId,
        wish: Wish,
        by: String,
    ) -> Result<GlobalStatus, Unfulfilled> {
        let by = format!("{by} at node {}", self.node);
        let Some(group) = self.group_of(transaction.slot()) else {
            return Err(Unfulfilled::Refused("this node knows no groups yet".to_owned()));
        };
        let query = Query::Operate(OperateAskV1 { transaction, wish, by });
        match self.ask_for_operator(group, query).await? {
            Response::Operated(status) => Ok(status),
            _ => Err(Unfulfilled::Unknown(group)),
        }
    }

    /// Asks the leader of a group once, wherever it is, for something that changes something.
    pub(super) async fn ask_for_operator(
        self: &Arc<Self>,
        group: GroupId,
        query: Query,
    ) -> Result<Response, Unfulfilled> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Pause::new();
        loop {
            let changed = self.changed.notified();
            let left = until.saturating_duration_since(Instant::now());
            let answer = match self.leader_of_group(group) {
                Leader::Here(_) => self.operate_here(group, query.clone(), left).await,
                Leader::There(node, _) => self.ask_there(node, group, &query, left).await,
                Leader::Nobody => Err(CallError::Unreachable),
            };
            match answer {
                Ok(done @ (Response::Operated(_) | Response::Released)) => return Ok(done),
                Ok(Response::Objected(reason)) => return Err(Unfulfilled::Refused(reason)),
                Ok(Response::Underway(how)) => return Err(Unfulfilled::Underway(how)),
                Ok(Response::Elsewhere(_)) | Err(CallError::Unreachable | CallError::Full) => {}
                Ok(_) | Err(CallError::Broken | CallError::TimedOut | CallError::Refused(_)) => {
                    quorate_core::sometimes!("wish_of_an_operator_got_no_answer");
                    return Err(Unfulfilled::Unknown(group));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                quorate_core::sometimes!("operator_found_no_leader");
                return Err(Unfulfilled::NoLeader(group));
            }
            _ = timeout(left.min(pause.next()), changed).await;
        }
    }

    /// In a task of its own: what was begun is brought to its end, also when nobody waits any more.
    async fn operate_here(
        self: &Arc<Self>,
        group: GroupId,
        query: Query,
        patience: Duration,
    ) -> Result<Response, CallError> {
        let coordinator = self.clone();
        let serving = task::spawn(async move { coordinator.serve_query(coordinator.node, group, query).await });
        match timeout(patience, serving).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_)) => Err(CallError::Broken),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// Does it, if this node leads the group.
    pub(in super::super) async fn serve_operate(self: &Arc<Self>, group: GroupId, ask: OperateAskV1) -> Response {
        let Some(tenure) = self.led.tenure(group) else { return self.elsewhere(group) };
        let OperateAskV1 { transaction, wish, by } = ask;
        let done = match wish {
            Wish::Change(operation) => self.change(&tenure, transaction, operation).await,
            Wish::RetryNow => self.retry_now(&tenure, transaction).await,
        };
        let wish = wish.name();
        match done {
            Ok(Ok(Progress::Done(status))) => {
                tracing::info!(transaction = transaction.0, wish, %by, %status, "an operator's wish was fulfilled");
                Response::Operated(status)
            }
            Ok(Ok(Progress::Underway(how))) => {
                tracing::info!(transaction = transaction.0, wish, %by, %how, "an operator's wish is under way");
                Response::Underway(how)
            }
            Ok(Err(reason)) => {
                tracing::info!(transaction = transaction.0, wish, %by, %reason, "an operator's wish was refused");
                Response::Objected(reason)
            }
            Err(Lost) => {
                quorate_core::sometimes!("wish_of_an_operator_met_a_change_of_leader");
                tracing::info!(transaction = transaction.0, wish, %by, "an operator's wish met a change of leader");
                Response::Unable("the leader changed meanwhile".to_owned())
            }
        }
    }

    async fn change(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        operation: Operation,
    ) -> Result<Result<Progress, String>, Lost> {
        let owed = self.held_elsewhere(tenure, transaction);
        let operate = Command::Operate(OperateV1 { transaction, operation });
        let before = self.meters.before(tenure, transaction);
        let status = match tenure.propose(operate).await? {
            Outcome::Now(status) => {
                self.meters.after(tenure, before, status);
                status
            }
            Outcome::Standing(status) => return Ok(Err(format!("the transaction has ended as {status}"))),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
            Outcome::Refused(refusal) => return Ok(Err(Wish::Change(operation).refused(&refusal))),
            outcome => super::super::begin::unreachable_outcome("Operate", &outcome),
        };
        match operation {
            Operation::Start
            | Operation::Reopen
            | Operation::StartBranch(_)
            | Operation::CleanUp
            | Operation::CleanUpBranch(_) => self.drive(tenure, transaction, None),
            Operation::Stop | Operation::Delete | Operation::StopBranch(_) => {}
            Operation::ForceDelete => {
                tracing::warn!(transaction = transaction.0, %status, "deleted by force, with its row locks");
                let slots: BTreeSet<Slot> = owed.into_iter().map(|(_, slot)| slot).collect();
                slots.into_iter().for_each(|slot| self.release_beside(tenure, transaction, slot, ReleaseScope::All));
            }
            Operation::DropBranch(branch) => {
                tracing::warn!(transaction = transaction.0, branch = branch.0, %status, "deleted by force");
                let owed = owed.into_iter().filter(|(of, _)| *of == branch);
                let scope = || ReleaseScope::Branches(vec![branch]);
                owed.for_each(|(_, slot)| self.release_beside(tenure, transaction, slot, scope()));
            }
        }
        // A driver that rests sees what has become of its transaction.
        tenure.nudge(transaction).ring();
        match operation {
            Operation::CleanUp => {
                tenure.answer_waiters(transaction);
                self.await_deletion(tenure, transaction, None).await.map(Ok)
            }
            Operation::CleanUpBranch(branch) => self.await_deletion(tenure, transaction, Some(branch)).await.map(Ok),
            // Nobody waits for a branch alone.
            Operation::StopBranch(_) | Operation::StartBranch(_) | Operation::DropBranch(_) => {
                Ok(Ok(Progress::Done(status)))
            }
            Operation::Stop | Operation::Start | Operation::Reopen | Operation::Delete | Operation::ForceDelete => {
                tenure.answer_waiters(transaction);
                Ok(Ok(Progress::Done(status)))
            }
        }
    }

    /// Branches and the lock slots of other groups in which they hold rows. If this leader is lost before all are released, the audit finds
    /// them (lock protocol, rule 14): of a transaction that is gone every hold is.
    fn held_elsewhere(&self, tenure: &Tenure, transaction: TransactionId) -> Vec<(BranchId, Slot)> {
        tenure.replica.read(|state| {
            let branches = state.session(transaction).into_iter().flat_map(|session| session.branches.values());
            let held = branches.filter_map(|branch| Some((branch.branch, branch.lock_slot()?)));
            held.filter(|(_, slot)| state.owns(*slot).is_none()).collect()
        })
    }

    fn release_beside(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        slot: Slot,
        scope: ReleaseScope,
    ) {
        let (coordinator, tenure) = (self.clone(), tenure.clone());
        let release = ReleaseLocksV1 { transaction, slot, scope };
        task::spawn(async move { coordinator.release(&tenure, release).await });
    }

    /// Wakes what rests. Nothing changes, so nothing is logged in raft.
    async fn retry_now(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
    ) -> Result<Result<Progress, String>, Lost> {
        let standing = confirmed(tenure, transaction.slot(), |state| {
            let session = state.session(transaction).map(|session| (session.shown_status(), session.is_unfinished()));
            session.ok_or(state.tombstone(transaction))
        });
        Ok(match standing.await? {
            Ok((status, true)) => {
                self.drive(tenure, transaction, None);
                tenure.nudge(transaction).ring();
                Ok(Progress::Done(status))
            }
            Ok((status, false)) => Err(Wish::RetryNow.objection(status)),
            Err(Some(ended)) => Err(format!("the transaction has ended as {ended}")),
            Err(None) => Err(Wish::RetryNow.refused(&Refusal::NoSuchTransaction)),
        })
    }
}
