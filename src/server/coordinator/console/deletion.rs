//! What an operator is told of a deletion that RMs have a part in: done, or how far it is.

use std::sync::Arc;

use quorate_core::model::{BranchId, GlobalStatus, TransactionId};
use quorate_core::txn::{Fate, Session};
use quorate_world::time::{Duration, Instant, sleep, timeout};

use super::super::context::Coordinator;
use super::super::tenure::{Lost, Tenure};

/// So long it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// A driver that has just ended may start again.
const PAUSE: Duration = Duration::from_millis(50);

/// How far a wish is.
pub(super) enum Progress {
    /// Fulfilled: the status now.
    Done(GlobalStatus),
    /// Decided, and not carried out yet; in words.
    Underway(String),
}

impl Coordinator {
    /// Waits until a transaction, or only this branch of it, is gone; until its RM has refused for the first time; or for a
    /// while.
    pub(super) async fn await_deletion(
        &self,
        tenure: &Arc<Tenure>,
        transaction: TransactionId,
        branch: Option<BranchId>,
    ) -> Result<Progress, Lost> {
        let until = Instant::now() + PATIENCE;
        // What it met before the order says nothing.
        let mut has_heard = false;
        loop {
            // Before the look: what happens after it is not in it.
            let news = tenure.news(transaction);
            let left = tenure.replica.read(|state| match state.session(transaction) {
                None if state.owns(transaction.slot()).is_none() => Err(Err(Lost)),
                None => Err(Ok(state.tombstone(transaction).unwrap_or(GlobalStatus::Finished))),
                Some(session) if is_over(session, branch) => Err(Ok(session.shown_status())),
                Some(session) => Ok((session.shown_status(), wanted(session))),
            });
            let (status, wanted) = match left {
                Err(over) => return over.map(Progress::Done),
                Ok(_) if tenure.is_over() => return Err(Lost),
                Ok(left) => left,
            };
            let troubles = tenure.troubles(transaction);
            let trouble = troubles.iter().find(|(branch, _)| Some(*branch) == wanted).filter(|_| has_heard);
            let goes_on = "it is asked again until it is done; a force-delete does not wait for that";
            if let Some((branch, trouble)) = trouble {
                let text = format!("the transaction is {status}: branch {branch}: {}; {goes_on}", trouble.last);
                return Ok(Progress::Underway(text));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let branch = wanted.map(|branch| format!(": branch {branch} is being asked")).unwrap_or_default();
                return Ok(Progress::Underway(format!("the transaction is {status}{branch}; {goes_on}")));
            }
            match news {
                Some(news) => has_heard |= matches!(timeout(left, news).await, Ok(Ok(()))),
                None => sleep(PAUSE.min(left)).await,
            }
        }
    }
}

/// There is nothing more to wait for.
fn is_over(session: &Session, branch: Option<BranchId>) -> bool {
    branch.is_some_and(|branch| session.branches.get(&branch).is_none_or(|branch| branch.fate != Fate::CleanUp))
}

/// The branch whose turn it is.
fn wanted(session: &Session) -> Option<BranchId> {
    let cleaning = session.branches.values().rev().find(|branch| branch.fate == Fate::CleanUp);
    cleaning.map(|branch| branch.branch)
}
