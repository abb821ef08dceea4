//! Questions and reports: status, Saga report, branch report, lock query.
//!
//! What is only read is read after the leader has made sure that it leads, one round for all that wait
//! (semantics, W14).

use std::sync::Arc;

use quorate_core::model::{BranchId, ExceptionCode, GlobalStatus, Slot, TransactionId, hash, lock_key};
use quorate_core::txn::command::{ReportBranchV1, ReportV1};
use quorate_core::txn::{Command, Outcome, Refusal, Session, Transactions, answer, status};

use super::ask::{Failure, LockQueryAsk, Reply, ReportBranchAsk};
use super::begin::unreachable_outcome;
use super::context::Coordinator;
use super::events;
use super::request::not_there;
use super::tenure::{Lost, Tenure};

impl Coordinator {
    /// Where a transaction stands.
    pub(super) async fn status(&self, tenure: &Arc<Tenure>, transaction: TransactionId) -> Result<Reply, Lost> {
        let standing = standing(tenure, transaction).await?;
        quorate_world::tap!(events::Looked { node: self.node, group: tenure.group, transaction });
        Ok(Reply::Standing(standing.map_or(answer::UNKNOWN, answer::status_answer)))
    }

    /// A Saga engine reports how its Saga stands. Nobody may say so of another transaction, which costs no log entry.
    pub(super) async fn report(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        reported: GlobalStatus,
    ) -> Result<Reply, Lost> {
        let is_saga = |state: &Transactions| state.session(transaction).is_some_and(Session::is_saga);
        if !tenure.replica.read(is_saga) {
            let seen = confirmed(tenure, transaction.slot(), |state| (is_saga(state), state.standing(transaction)));
            if let (false, standing) = seen.await? {
                return Ok(Reply::Standing(answer::report_answer(standing, reported)));
            }
        }
        let reported = match reported {
            GlobalStatus::RollbackRetrying if quorate_world::bug!("saga_failure_heard_as_done") => {
                GlobalStatus::Committed
            }
            reported => reported,
        };
        let report = Command::Report(ReportV1 { transaction, status: reported, asked: None });
        let before = self.meters.before(tenure, transaction);
        let standing = match tenure.propose(report).await? {
            Outcome::Decided(status) | Outcome::Now(status) => {
                self.meters.after(tenure, before, status);
                Some(status)
            }
            Outcome::Standing(status) => Some(status),
            Outcome::Refused(Refusal::NoSuchTransaction) => None,
            Outcome::Refused(_) => return Err(Lost),
            outcome => unreachable_outcome("Report", &outcome),
        };
        match standing {
            Some(standing) if status::is_running(standing) => self.drive(tenure, transaction, None),
            // Whoever waits for its end need not wait for the engine's answer to the driver.
            Some(_) | None => tenure.answer_waiters(transaction),
        }
        Ok(Reply::Standing(answer::report_answer(standing, reported)))
    }

    /// An RM reports how phase one went. Stored, and nothing else happens.
    pub(super) async fn report_branch(&self, tenure: &Arc<Tenure>, ask: &ReportBranchAsk) -> Result<Reply, Lost> {
        if let Err(full) = self.memory.report(tenure.group, &ask.application_data) {
            return Ok(full.into());
        }
        let ReportBranchAsk { transaction, branch, status, application_data } = ask.clone();
        let report = ReportBranchV1 { transaction, branch, status, application_data };
        let refusal = match tenure.propose(Command::ReportBranch(report)).await? {
            Outcome::Done => return Ok(Reply::Reported),
            Outcome::Refused(refusal) => refusal,
            outcome => unreachable_outcome("ReportBranch", &outcome),
        };
        let failure = match refusal {
            Refusal::NotOwner { .. } | Refusal::OldTenure { .. } => return Err(Lost),
            Refusal::NoSuchTransaction | Refusal::NotActive { .. } => {
                not_there(transaction, tenure.replica.read(|state| state.standing(transaction)))
            }
            Refusal::NoSuchBranch => no_such_branch(transaction, branch),
            other => Failure::new(ExceptionCode::BranchReportFailed, other.to_string()),
        };
        Ok(failure.into())
    }

    /// Are these rows free, or held by the asker? Asked of the lock home.
    pub(super) async fn lock_query(&self, tenure: &Arc<Tenure>, ask: &LockQueryAsk) -> Result<Reply, Lost> {
        // The text was parsed when it came in; a text that no longer parses is not this node's.
        let keys =
            if quorate_world::bug!("lock_query_sees_one_row") { one_row(&ask.lock_keys) } else { &ask.lock_keys };
        let Ok(rows) = lock_key::parse(keys) else { return Ok(Reply::Lockable(false)) };
        let asker = ask.transaction.filter(|_| !quorate_world::bug!("lock_query_is_asked_by_nobody"));
        let asker = asker.unwrap_or(TransactionId(0));
        let conflict = confirmed(tenure, hash::lock_slot(&ask.resource), |transactions| {
            transactions.conflict(asker, &ask.resource, &rows, 0)
        });
        let lockable = conflict.await?.is_none();
        match lockable {
            true => quorate_core::sometimes!("lock_query_found_rows_free"),
            false => quorate_core::sometimes!("lock_query_found_a_holder"),
        }
        Ok(Reply::Lockable(lockable))
    }
}

/// Planted bug: the rest is not looked at.
fn one_row(lock_keys: &str) -> &str {
    lock_keys.split_once(',').map_or(lock_keys, |(first, _)| first)
}

async fn standing(tenure: &Tenure, transaction: TransactionId) -> Result<Option<GlobalStatus>, Lost> {
    confirmed(tenure, transaction.slot(), |transactions| transactions.standing(transaction)).await
}

/// What the state says of a slot that it owns, once it is certain that nobody else owns it.
pub(super) async fn confirmed<R>(
    tenure: &Tenure,
    slot: Slot,
    look: impl FnOnce(&Transactions) -> R,
) -> Result<R, Lost> {
    tenure.confirm().await?;
    let seen = tenure.replica.read(|transactions| transactions.owns(slot).map(|_| look(transactions)));
    match seen {
        Some(seen) if !tenure.is_over() => Ok(seen),
        Some(_) | None => {
            quorate_core::sometimes!("leader_lost_under_a_read");
            Err(Lost)
        }
    }
}

fn no_such_branch(transaction: TransactionId, branch: BranchId) -> Failure {
    let text = format!("no branch {branch} in global transaction {transaction}");
    Failure::new(ExceptionCode::BranchTransactionNotExist, text)
}
