//! Commit and rollback: one entry decides, and what comes after is carried out by the driver.
//!
//! A decision that was taken before is answered by the core's rules (W4, W30). A transaction without branches is decided
//! and ended in one batch. Otherwise the answer waits: for the lock homes after an AT commit, at most a second; for the
//! first pass of phase two after all others.

use std::sync::Arc;

use quorate_core::model::{ExceptionCode, GlobalStatus, TransactionId};
use quorate_core::txn::command::{DecideV1, Decision, TransactionV1};
use quorate_core::txn::status::is_running;
use quorate_core::txn::{Command, Outcome, Refusal, answer};
use quorate_world::sync::oneshot;
use quorate_world::time::{Duration, Instant, timeout};

use super::ask::{Failure, Reply};
use super::begin::unreachable_outcome;
use super::context::Coordinator;
use super::events;
use super::in_hand::Held;
use super::planted;
use super::tenure::{Lost, Tenure};

/// An AT commit is answered after this time, though a lock home has not released yet (rule 13).
const RELEASE_PATIENCE: Duration = Duration::from_secs(1);
/// So much earlier than its client loses patience a request that waits for phase two is answered.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// What came of a decision.
enum Decided {
    /// Decided now, with this status.
    Now(GlobalStatus),
    /// Decided now and ended: there were no branches.
    Ended(GlobalStatus),
    /// Decided before.
    Standing(GlobalStatus),
    /// Nobody knows the transaction.
    Unknown,
    /// Refused for another reason.
    Refused(Refusal),
}

impl Coordinator {
    /// Commits. Once it is decided the room of the request goes back: the RMs' answers may need it.
    pub(super) async fn commit(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        until: Instant,
        held: &Held,
    ) -> Result<Reply, Lost> {
        if quorate_world::bug!("decide_before_commit") {
            planted::commit_branches(self, tenure, transaction);
        }
        if quorate_world::bug!("commit_told_before_decided") {
            let (coordinator, tenure) = (self.clone(), tenure.clone());
            quorate_world::task::spawn(
                async move { _ = coordinator.decide(&tenure, transaction, Decision::Commit).await },
            );
            return Ok(Reply::Standing(GlobalStatus::Committed));
        }
        let commit_answer = |status| answer::commit_answer(status).unwrap_or(status);
        match self.decide(tenure, transaction, Decision::Commit).await? {
            Decided::Now(status) if status == GlobalStatus::TimeoutRollbacking => {
                // It came too late (semantics, acceptance 9): nobody waits for the rollback.
                quorate_core::sometimes!("commit_told_that_it_came_too_late");
                self.drive(tenure, transaction, None);
                Ok(Reply::Standing(status))
            }
            Decided::Now(status) => {
                held.give_back();
                let standing = self.carry_out(tenure, transaction, status, until).await?;
                Ok(Reply::Standing(commit_answer(standing)))
            }
            Decided::Standing(_) if quorate_world::bug!("rollback_told_as_commit") => {
                Ok(Reply::Standing(GlobalStatus::Committed))
            }
            Decided::Standing(status) if quorate_world::bug!("late_end_commits_the_next") => {
                if let Some(next) = planted::next_open(tenure) {
                    self.decide(tenure, next, Decision::Commit).await?;
                }
                Ok(Reply::Standing(commit_answer(status)))
            }
            Decided::Standing(status) => {
                self.drive_on(tenure, transaction, status);
                Ok(Reply::Standing(commit_answer(status)))
            }
            Decided::Ended(status) => Ok(Reply::Standing(commit_answer(status))),
            Decided::Unknown => {
                quorate_core::sometimes!("commit_of_nothing_known");
                Ok(Reply::Standing(answer::UNKNOWN))
            }
            Decided::Refused(refusal) => Ok(refused(&refusal)),
        }
    }

    /// Rolls back. As a commit it gives its room back.
    pub(super) async fn rollback(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        until: Instant,
        held: &Held,
    ) -> Result<Reply, Lost> {
        let rollback_answer = |status| answer::rollback_answer(status).unwrap_or(status);
        match self.decide(tenure, transaction, Decision::Rollback).await? {
            Decided::Now(status) => {
                held.give_back();
                let standing = self.carry_out(tenure, transaction, status, until).await?;
                Ok(Reply::Standing(rollback_answer(standing)))
            }
            Decided::Standing(status) => {
                self.drive_on(tenure, transaction, status);
                Ok(Reply::Standing(rollback_answer(status)))
            }
            Decided::Ended(status) => Ok(Reply::Standing(rollback_answer(status))),
            Decided::Unknown => {
                quorate_core::sometimes!("rollback_of_nothing_known");
                Ok(Reply::Standing(answer::UNKNOWN))
            }
            Decided::Refused(refusal) => Ok(refused(&refusal)),
        }
    }

    /// Rolls back because its time is up. `Some`: not before this reading of the group clock.
    pub(super) async fn time_out(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
    ) -> Result<Option<u64>, Lost> {
        match self.decide(tenure, transaction, Decision::TimeoutRollback).await? {
            Decided::Now(_) => {
                self.counters.timeouts.one();
                self.drive(tenure, transaction, None);
                Ok(None)
            }
            Decided::Ended(_) => {
                quorate_core::sometimes!("empty_transaction_timed_out_and_ended");
                self.counters.timeouts.one();
                Ok(None)
            }
            Decided::Refused(Refusal::NotDue { due_ms }) => Ok(Some(due_ms)),
            Decided::Standing(_) | Decided::Unknown | Decided::Refused(_) => Ok(None),
        }
    }

    async fn decide(
        &self,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        decision: Decision,
    ) -> Result<Decided, Lost> {
        let command = Command::Decide(DecideV1 { transaction, decision });
        let before = self.meters.before(tenure, transaction);
        let (outcome, ended) = match Deciding::empty(tenure, transaction) {
            None => (tenure.propose(command).await?, None),
            Some(_deciding) => {
                quorate_core::sometimes!("empty_transaction_decided_and_ended_in_one_go");
                let decide = tenure.submit(command)?;
                let end = tenure.submit(Command::End(TransactionV1 { transaction }));
                let outcome = decide.outcome().await?;
                let ended = match end {
                    Ok(end) => end.outcome().await.ok(),
                    Err(Lost) => None,
                };
                (outcome, ended)
            }
        };
        let (decided, status) = match (outcome, ended) {
            (Outcome::Decided(_), Some(Outcome::Now(status))) => {
                self.counters.ended.one();
                self.meters.after(tenure, before, status);
                (Decided::Ended(status), status)
            }
            (Outcome::Decided(status), _) => {
                self.meters.after(tenure, before, status);
                (Decided::Now(status), status)
            }
            (Outcome::Standing(status), _) => (Decided::Standing(status), status),
            (Outcome::Refused(Refusal::NotOwner { .. } | Refusal::OldTenure { .. }), _) => return Err(Lost),
            (Outcome::Refused(Refusal::NoSuchTransaction), _) => return Ok(Decided::Unknown),
            (Outcome::Refused(refusal), _) => return Ok(Decided::Refused(refusal)),
            (outcome, _) => unreachable_outcome("Decide", &outcome),
        };
        quorate_world::tap!(events::DecisionKnown {
            node: self.node,
            group: tenure.group,
            tenure: tenure.term,
            transaction,
            status,
        });
        Ok(decided)
    }

    /// What was decided before has a driver, but where the outcome was lost on its way: the look for unfinished transactions
    /// comes to that in the end, and this one is here now.
    fn drive_on(self: &Arc<Self>, tenure: &Arc<Tenure>, transaction: TransactionId, status: GlobalStatus) {
        if is_running(status) && !quorate_world::bug!("decisions_forgotten_at_failover") {
            self.drive(tenure, transaction, None);
        }
    }

    /// Has a decision carried out, waits as long as its kind deserves, and says how the transaction stands then.
    async fn carry_out(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        decided: GlobalStatus,
        until: Instant,
    ) -> Result<GlobalStatus, Lost> {
        let (waiter, done) = oneshot::channel();
        self.drive(tenure, transaction, Some(waiter));
        let patience = until.saturating_duration_since(Instant::now()).saturating_sub(ANSWER_MARGIN);
        let patience = match decided {
            GlobalStatus::AsyncCommitting => patience.min(RELEASE_PATIENCE),
            _ => patience,
        };
        // Answered late or dropped unheard: the state says how it stands.
        if timeout(patience, done).await.is_err() {
            quorate_core::sometimes!("decision_answered_before_it_was_carried_out");
        }
        let standing = tenure.replica.read(|transactions| transactions.standing(transaction));
        match standing {
            Some(standing) if !tenure.is_over() => Ok(standing),
            Some(_) | None => {
                quorate_core::sometimes!("leader_lost_before_a_decision_was_carried_out");
                Err(Lost)
            }
        }
    }
}

/// A transaction without branches that is decided and ended in one go: registers wait meanwhile.
struct Deciding<'a> {
    tenure: &'a Tenure,
    transaction: TransactionId,
}

impl Deciding<'_> {
    fn empty(tenure: &Tenure, transaction: TransactionId) -> Option<Deciding<'_>> {
        let is_empty = || {
            tenure.replica.read(|transactions| {
                let session = transactions.session(transaction);
                session.is_some_and(|session| {
                    let is_empty = session.branches.is_empty() && !session.has_engine();
                    session.status == GlobalStatus::Begin && is_empty
                })
            })
        };
        if !is_empty() || !tenure.begin_deciding_empty(transaction) {
            return None;
        }
        // Looked at again: a register may have come through before its way was barred.
        let deciding = Deciding { tenure, transaction };
        if !is_empty() {
            quorate_core::sometimes!("register_came_through_before_its_way_was_barred");
        }
        is_empty().then_some(deciding)
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.tenure.end_deciding_empty(self.transaction);
    }
}

fn refused(refusal: &Refusal) -> Reply {
    Failure::new(ExceptionCode::Unknown, format!("the decision was refused: {refusal}")).into()
}
