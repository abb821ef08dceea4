//! The phase-two driver: carries a decision out, until every branch is done and every owed release acknowledged.
//!
//! One task per decided transaction, at the leader of its group. What to do next says [`plan`], from the replicated session
//! and a [`Run`]; the task does it, and asks again after each answer. So a new leader starts the same task with an empty run
//! and has no second path: RMs are asked again, which they stand (design, section 5).
//!
//! What holds a transaction up holds up no other: a task that waits for a silent RM, for one that is away, or for a lock
//! home costs its memory. What an RM gets at a time is bounded (`turns`).
//!
//! Read on in `step` (the commands and the end), `send` (one request to an RM) and `rest` (the pause after a failure).

mod asked;
mod rest;
mod send;
mod step;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::console::{LastAnswer, Trouble};
use quorate_core::model::{BranchId, BranchStatus, GlobalStatus, TransactionId};
use quorate_core::phase_two::{Patience, Reply, Run, Step, Verdict, plan};
use quorate_core::txn::{Direction, Session, Transactions};
use quorate_world::select::select3;
use quorate_world::sync::mpsc;
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{Duration, sleep};

use super::context::Coordinator;
use super::drives::Waiter;
use super::events;
use super::message::{Untold, Way};
use super::planted;
use super::tenure::{Lost, Tenure};

pub use asked::Asked;
pub use view::{request, requests};

use rest::Why;

/// Whether a stopped branch may be asked again is looked at this often.
const STOPPED: Duration = Duration::from_secs(30);

/// One decided transaction and what its task remembers.
struct Drive {
    coordinator: Arc<Coordinator>,
    tenure: Arc<Tenure>,
    transaction: TransactionId,
    run: Run,
    /// Branches that rest otherwise than after an answer, and why.
    rests: BTreeMap<BranchId, Why>,
    /// How often an operator had wanted it to look again, when it last asked: what he wants after that cuts the next rest short.
    nudges: u64,
    /// Branches that are being asked, or rest, in tasks of their own.
    busy: BTreeSet<BranchId>,
    /// News from those tasks; made with the first of them.
    news: Option<(mpsc::UnboundedSender<News>, mpsc::UnboundedReceiver<News>)>,
    /// Releases that were not acknowledged at once and go on by themselves.
    releases: Vec<JoinHandle<()>>,
}

/// What a branch was asked.
#[derive(Clone, Copy)]
struct Question {
    branch: BranchId,
    way: Way,
    /// How the transaction stood.
    standing: GlobalStatus,
}

/// What happened to a branch.
enum News {
    /// It was asked, and this came of it after so long.
    Told(Question, Result<BranchStatus, Untold>, Duration),
    /// It has rested enough.
    Rested(BranchId),
}

impl Coordinator {
    /// Starts the driver of a decided transaction, unless it has one. `waiter` is told when the TM may be answered; it is
    /// dropped if there is nothing to wait for, or no longer.
    pub(super) fn drive(self: &Arc<Self>, tenure: &Arc<Tenure>, transaction: TransactionId, waiter: Option<Waiter>) {
        tenure.drive(transaction, waiter, || {
            let drive = Drive {
                coordinator: self.clone(),
                tenure: tenure.clone(),
                transaction,
                run: Run::new(hasty(self.patience)),
                rests: BTreeMap::new(),
                nudges: 0,
                busy: BTreeSet::new(),
                news: None,
                releases: Vec::new(),
            };
            task::spawn(drive.run())
        });
    }
}

impl Drive {
    async fn run(mut self) {
        let over = self.carry_out().await;
        self.tenure.driven(self.transaction);
        match over {
            // An operator may have started it again between the last look and the end of this driver.
            Ok(()) if self.is_unfinished() => {
                quorate_core::sometimes!("transaction_was_started_again_as_its_driver_ended");
                self.coordinator.drive(&self.tenure, self.transaction, None);
            }
            Ok(()) => {}
            Err(Lost) => {
                quorate_core::sometimes!("driver_stops_with_the_leadership");
                tracing::debug!(transaction = self.transaction.0, "the driver stops: the leadership is gone");
            }
        }
    }

    fn is_unfinished(&self) -> bool {
        self.tenure.replica.read(|state| state.session(self.transaction).is_some_and(Session::is_unfinished))
    }

    async fn carry_out(&mut self) -> Result<(), Lost> {
        let session = self
            .tenure
            .replica
            .read(|state| state.session(self.transaction).map(|session| (session.direction(), session.status)));
        match session {
            Some((Some(Direction::Commit), status)) => {
                self.release_for_commit().await;
                if !self.releases.is_empty() {
                    quorate_core::sometimes!("commit_answered_before_all_locks_went");
                    self.coordinator.counters.commits_answered_early.one();
                }
                if status == GlobalStatus::AsyncCommitting {
                    self.answer();
                }
                planted::tell_skipped(&self.coordinator, &self.tenure, self.transaction, Direction::Commit);
            }
            Some((Some(Direction::Rollback), _)) => {
                self.mark_rolling_back();
                if quorate_world::bug!("released_before_undo") {
                    self.release_for_commit().await;
                }
                self.release_skipped().await;
                planted::tell_skipped(&self.coordinator, &self.tenure, self.transaction, Direction::Rollback);
            }
            Some((None, _)) | None => return Ok(()),
        }
        while !self.tenure.is_over() {
            // Before the look: what an operator wants after it is not in it.
            let nudges = self.tenure.nudges(self.transaction);
            // Without a clock nothing is given up.
            let clock_ms = self.tenure.clock_ms().unwrap_or(0);
            let next = self
                .tenure
                .replica
                .read(|state| state.session(self.transaction).map(|session| plan(session, &self.run, clock_ms)));
            match next {
                Some(Step::Ask(branches)) if branches.len() > 1 && quorate_world::bug!("branch_forgotten") => {
                    self.ask(branches[1..].to_vec()).await;
                    self.end().await?;
                    return Ok(());
                }
                Some(Step::Ask(branches))
                    if quorate_world::bug!("deleted_without_its_rm")
                        && planted::is_deleted(&self.tenure, self.transaction, branches[0]) =>
                {
                    self.cleaned_up(branches[0]).await?;
                }
                Some(Step::Ask(branches)) => self.ask(branches).await,
                Some(Step::Wait) => self.wait().await,
                Some(Step::RetryLater) => self.retry_later().await?,
                Some(Step::Detach) => self.detach().await?,
                Some(Step::CleanedUp { branch }) => self.cleaned_up(branch).await?,
                Some(Step::FailForGood { branch, status }) if self.fail(branch, status).await? => return Ok(()),
                Some(Step::Report { word, asked }) => self.report(word, asked).await?,
                Some(Step::GiveUp { after_ms }) if self.give_up(after_ms).await? => return Ok(()),
                Some(Step::Done) if self.end().await? => return Ok(()),
                // Refused: the state has moved on.
                Some(Step::FailForGood { .. } | Step::GiveUp { .. } | Step::Done) => {
                    quorate_core::sometimes!("driver_plans_anew_after_a_refusal");
                }
                // An operator was here, or it ended.
                Some(Step::Nothing) | None => return Ok(()),
                Some(Step::Stopped) => self.stand_still(nudges).await,
            }
        }
        Err(Lost)
    }

    /// The TM may be answered now.
    fn answer(&self) {
        self.tenure.answer_waiters(self.transaction);
    }

    /// What is left may not be asked until somebody reports otherwise. What was done is remembered meanwhile: another driver
    /// would ask for it again.
    async fn stand_still(&self, nudges: u64) {
        quorate_core::sometimes!("driver_stands_still");
        self.answer();
        let nudge = self.tenure.nudge(self.transaction);
        _ = select3(self.tenure.ended(), nudge.rung_since(nudges), sleep(STOPPED)).await;
    }

    /// Asks branches. The usual single one is asked right here, without a task.
    async fn ask(&mut self, branches: Vec<BranchId>) {
        self.nudges = self.tenure.nudges(self.transaction);
        let alone = branches.len() == 1 && self.busy.is_empty() && self.run.waiting().next().is_none();
        for branch in branches {
            self.run.asked(branch);
            let (attempts, silences) = (self.run.attempts(branch), self.run.silences(branch));
            let asked = self.tenure.replica.read(|state| {
                let session = state.session(self.transaction)?;
                let (standing, stood) = (session.status, view::stands(session, branch));
                Some((standing, stood, view::request(state, self.transaction, branch)?))
            });
            let Some((standing, stood, request)) = asked else { continue };
            let question = Question { branch, way: request.way, standing };
            if attempts > 0 {
                quorate_core::sometimes!("branch_is_asked_again");
                self.coordinator.counters.phase_two_repeated.one();
            }
            let (coordinator, tenure) = (self.coordinator.clone(), self.tenure.clone());
            let told = async move {
                let mut sent = None;
                let stands = |state: &Transactions| {
                    state.session(request.transaction).map(|session| view::stands(session, branch)) == Some(stood)
                };
                let is_wanted = || !tenure.is_over() && tenure.replica.read(stands);
                let told = coordinator.reach_rm(&request, silences, is_wanted, &mut sent).await;
                (told, sent.map_or(Duration::ZERO, |sent| sent.elapsed()))
            };
            if alone {
                let (told, after) = told.await;
                return self.take(News::Told(question, told, after)).await;
            }
            quorate_core::sometimes!("branches_are_asked_side_by_side");
            let (news, coordinator, transaction) = (self.news(), self.coordinator.clone(), self.transaction);
            self.busy.insert(branch);
            task::spawn(async move {
                let (told, after) = told.await;
                // The driver may be gone when the answer comes: then it is for whoever leads now.
                let is_news = news.send(News::Told(question, told, after)).is_ok();
                if let (Ok(status), false) = (told, is_news) {
                    quorate_core::sometimes!("answer_outlives_the_driver_that_asked");
                    coordinator.late(None, transaction, branch, status);
                }
            });
        }
    }

    /// Waits until something happens to a branch. A single one that rests does so right here.
    async fn wait(&mut self) {
        let resting: Vec<BranchId> = self.run.waiting().filter(|branch| !self.busy.contains(branch)).collect();
        if let ([branch], true) = (resting.as_slice(), self.busy.is_empty()) {
            self.rest(*branch).await;
            return self.take(News::Rested(*branch)).await;
        }
        for branch in resting {
            let (rest, news) = (self.rest(branch), self.news());
            self.busy.insert(branch);
            task::spawn(async move {
                rest.await;
                _ = news.send(News::Rested(branch));
            });
        }
        let next = match &mut self.news {
            Some((_, news)) => news.recv().await,
            None => None,
        };
        match next {
            Some(news) => self.take(news).await,
            // Nothing is on its way: a plan that waits for nothing is a bug of the policy.
            None => panic!("transaction {} waits for nothing", self.transaction),
        }
    }

    fn news(&mut self) -> mpsc::UnboundedSender<News> {
        self.news.get_or_insert_with(mpsc::unbounded_channel).0.clone()
    }

    async fn take(&mut self, news: News) {
        let (Question { branch, way, standing }, told, after) = match news {
            News::Rested(branch) => {
                self.busy.remove(&branch);
                return self.run.wake(branch);
            }
            News::Told(question, told, after) => (question, told, after),
        };
        self.busy.remove(&branch);
        tracing::debug!(transaction = self.transaction.0, branch = branch.0, ?way, ?told, ?after, "a branch was asked");
        match Why::of(told, after) {
            Some(why) => _ = self.rests.insert(branch, why),
            None => _ = self.rests.remove(&branch),
        }
        let (reply, last) = match told {
            Ok(status) => (Reply::Status(status), LastAnswer::Status(status)),
            Err(Untold::NoChannel) => (Reply::NotAsked, LastAnswer::NoChannel),
            Err(Untold::Busy) => (Reply::NotAsked, LastAnswer::Busy),
            Err(Untold::Silent | Untold::Lost) => (Reply::Nothing, LastAnswer::Silent),
        };
        if let Ok(status) = told {
            quorate_world::tap!(events::PhaseTwoAnswered {
                node: self.coordinator.node,
                transaction: self.transaction,
                branch,
                status,
            });
        }
        let reply = misheard(told, way).unwrap_or(reply);
        let clock_ms = self.tenure.clock_ms().unwrap_or(0);
        let mut way_of_all = None;
        let verdict = self.tenure.replica.read(|state| {
            let session = state.session(self.transaction)?;
            way_of_all = session.direction();
            // An engine's answer is to the status that it was told.
            if view::way(session, branch) != Some(way) || (branch == BranchId::WHOLE && session.status != standing) {
                quorate_core::sometimes!("branch_answered_to_what_no_longer_holds");
                self.run.answered_in_vain(branch);
                return None;
            }
            Some(self.run.answered(session, branch, reply, clock_ms))
        });
        let rolls_back = way_of_all == Some(Direction::Rollback);
        match verdict {
            Some(Verdict::Done) if rolls_back => self.release_undone(branch).await,
            Some(Verdict::RetryLater) if rolls_back => self.mark_rolling_back(),
            Some(_) | None => {}
        }
        let attempts = self.run.attempts(branch);
        match verdict {
            Some(Verdict::Done) => {
                self.tell_heuristic(branch, reply);
                if attempts > 0 {
                    self.tenure.note_trouble(self.transaction, branch, None);
                }
            }
            Some(_) => self.tenure.note_trouble(self.transaction, branch, Some(Trouble { attempts, last })),
            None => {}
        }
    }

    /// A database that has not heard of its branch is believed in the end, but not in silence.
    fn tell_heuristic(&self, branch: BranchId, reply: Reply) {
        let Reply::Status(
            status @ (BranchStatus::PhaseTwo_CommitFailed_XAER_NOTA_Retryable
            | BranchStatus::PhaseTwo_RollbackFailed_XAER_NOTA_Retryable),
        ) = reply
        else {
            return;
        };
        tracing::warn!(transaction = self.transaction.0, branch = branch.0, %status, "taken for done");
    }
}

/// Planted bug: everything is given up in half of its time.
fn hasty(patience: Patience) -> Patience {
    if !quorate_world::bug!("given_up_early") {
        return patience;
    }
    let half = |ms: Option<u64>| ms.map(|ms| ms / 2);
    let (commit_retry_ms, rollback_retry_ms) = (half(patience.commit_retry_ms), half(patience.rollback_retry_ms));
    Patience { commit_retry_ms, rollback_retry_ms, ..patience }
}

/// Planted bugs: what an RM said, or did not say, is taken for something else.
fn misheard(told: Result<BranchStatus, Untold>, way: Way) -> Option<Reply> {
    use BranchStatus::{
        PhaseTwo_CommitFailed_Unretryable, PhaseTwo_RollbackFailed_Unretryable,
        PhaseTwo_RollbackFailed_XAER_NOTA_Retryable,
    };
    match told {
        Err(Untold::Silent) if quorate_world::bug!("silence_is_taken_for_done") => {
            Some(Reply::Status(asked::done(way)))
        }
        Ok(PhaseTwo_RollbackFailed_XAER_NOTA_Retryable)
            if quorate_world::bug!("unknown_branch_is_taken_for_undone") =>
        {
            Some(Reply::Status(asked::done(way)))
        }
        Ok(PhaseTwo_CommitFailed_Unretryable | PhaseTwo_RollbackFailed_Unretryable)
            if quorate_world::bug!("refusal_is_asked_again") =>
        {
            Some(Reply::Nothing)
        }
        Ok(_) | Err(_) => None,
    }
}
