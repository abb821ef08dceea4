//! What an operator has done with a transaction: sent to the leader of its group from whichever node was asked, done
//! there once, and logged with who wanted it.
//!
//! Nothing is done twice by itself: where the leader was asked and its answer is lost, the operator is told so, and looks.

use std::sync::Arc;

use quorate_core::console::{Unfulfilled, Wish};
use quorate_core::model::{GlobalStatus, GroupId, Slot, TransactionId};
use quorate_core::txn::command::{OperateV1, Operation, ReleaseLocksV1};
use quorate_core::txn::{Command, Outcome, Refusal, ReleaseScope, status};
use quorate_world::task;
use quorate_world::time::{Duration, Instant, timeout};

use super::super::context::{Coordinator, Leader};
use super::super::message::{Query, Response};
use super::super::nodes;
use super::super::query::confirmed;
use super::super::route::Pause;
use super::super::tenure::{Lost, Tenure};
use super::OperateAskV1;
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
        let until = Instant::now() + PATIENCE;
        let mut pause = Pause::new();
        loop {
            let changed = self.changed.notified();
            let left = until.saturating_duration_since(Instant::now());
            let answer = match self.leader_of_group(group) {
                Leader::Here(_) => self.operate_here(group, query.clone(), left).await,
                Leader::There(node, _) => nodes::ask(&*self.nodes, node, group, &query, left).await,
                Leader::Nobody => Err(CallError::Unreachable),
            };
            match answer {
                Ok(Response::Operated(status)) => return Ok(status),
                Ok(Response::Objected(reason)) => return Err(Unfulfilled::Refused(reason)),
                Ok(Response::Elsewhere(leader)) => self.led.hint(group, leader),
                Err(CallError::Unreachable | CallError::Full) => self.led.hint(group, None),
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
            Ok(Ok(status)) => {
                tracing::info!(transaction = transaction.0, wish, %by, %status, "an operator's wish was fulfilled");
                Response::Operated(status)
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
    ) -> Result<Result<GlobalStatus, String>, Lost> {
        let owed = self.held_elsewhere(tenure, transaction);
        let operate = Command::Operate(OperateV1 { transaction, operation });
        let status = match tenure.propose(operate).await? {
            Outcome::Now(status) => status,
            Outcome::Standing(status) => return Ok(Err(format!("the transaction has ended as {status}"))),
            Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }) => return Err(Lost),
            Outcome::Refused(Refusal::Illegal { status }) => {
                return Ok(Err(Wish::Change(operation).objection(status)));
            }
            Outcome::Refused(refusal) => return Ok(Err(refusal.to_string())),
            outcome => super::super::begin::unreachable_outcome("Operate", &outcome),
        };
        match operation {
            Operation::Start | Operation::Reopen | Operation::StartBranch(_) => self.drive(tenure, transaction, None),
            Operation::Stop | Operation::Delete | Operation::StopBranch(_) => {}
            Operation::ForceDelete => {
                tracing::warn!(transaction = transaction.0, %status, "deleted by force, with its row locks");
                owed.into_iter().for_each(|slot| self.release_beside(tenure, transaction, slot));
            }
        }
        // A driver that rests sees what has become of its transaction.
        tenure.nudge(transaction).ring();
        // Nobody waits for a branch alone.
        if !matches!(operation, Operation::StopBranch(_) | Operation::StartBranch(_)) {
            tenure.answer_waiters(transaction);
        }
        Ok(Ok(status))
    }

    /// Lock slots of other groups in which it holds rows. If this leader is lost before all are released, the audit finds
    /// them (lock protocol, rule 14): of a transaction that is gone every hold is.
    fn held_elsewhere(&self, tenure: &Tenure, transaction: TransactionId) -> Vec<Slot> {
        tenure.replica.read(|state| {
            let slots = state.session(transaction).map(|session| session.lock_slots()).unwrap_or_default();
            slots.into_iter().filter(|slot| state.owns(*slot).is_none()).collect()
        })
    }

    fn release_beside(self: &Arc<Self>, tenure: &Arc<Tenure>, transaction: TransactionId, slot: Slot) {
        let (coordinator, tenure) = (self.clone(), tenure.clone());
        let release = ReleaseLocksV1 { transaction, slot, scope: ReleaseScope::All };
        task::spawn(async move { coordinator.release(&tenure, release).await });
    }

    /// Wakes what rests. Nothing changes, so nothing is logged in raft.
    async fn retry_now(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
    ) -> Result<Result<GlobalStatus, String>, Lost> {
        let standing = confirmed(tenure, transaction.slot(), |state| {
            let session = state.session(transaction).map(|session| session.status);
            session.ok_or(state.tombstone(transaction))
        });
        Ok(match standing.await? {
            Ok(status) if status::is_running(status) => {
                self.drive(tenure, transaction, None);
                tenure.nudge(transaction).ring();
                Ok(status)
            }
            Ok(status) => Err(Wish::RetryNow.objection(status)),
            Err(Some(ended)) => Err(format!("the transaction has ended as {ended}")),
            Err(None) => Err(Refusal::NoSuchTransaction.to_string()),
        })
    }
}
