//! The transaction manager: begins transactions and ends them.
//!
//! A begin without an answer is not repeated: it may have happened, and an orphan ends by its own time-out. Commit and
//! rollback are repeated, as they mean the same however often they are said.

use std::sync::Arc;

use quorate_core::model::{GlobalStatus, Xid};
use quorate_core::wire::Message;
use quorate_world::time::Duration;

use crate::connection::CallError;
use crate::pool::{Application, Pool};

/// How long a TM waits for one answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often commit and rollback are said at most.
const ATTEMPTS_MAX: u32 = 5;

/// What the business may conclude from the answer to a commit or a rollback.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Conclusion {
    /// All branches will be committed.
    Committed,
    /// All branches will be rolled back.
    RolledBack,
    /// Nobody knows the transaction, or nobody answered: it may have gone either way.
    Unknown,
}

/// Why there is no transaction.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BeginError {
    /// The server refused.
    #[error("{0}")]
    Refused(String),
    /// No answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Begins and ends transactions at any node of a cluster.
#[derive(Clone)]
pub struct TransactionManager {
    pool: Pool,
}

impl TransactionManager {
    /// Starts to connect to all `addresses`.
    pub fn start(addresses: &[String], application: &Application) -> TransactionManager {
        TransactionManager { pool: Pool::start(addresses, application, application.register_tm(), Arc::new(|_| {})) }
    }

    /// The connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Begins a transaction; its XID.
    pub async fn begin(&self, name: &str, timeout_ms: i32) -> Result<String, BeginError> {
        let request = Message::GlobalBegin { timeout_ms, name: name.into() };
        match self.pool.ask(None, &request, REQUEST_TIMEOUT).await? {
            Message::GlobalBeginResult { result, xid, .. } if result.is_success() => Ok(xid),
            Message::GlobalBeginResult { result, .. } => Err(BeginError::Refused(result.message)),
            other => Err(BeginError::Refused(format!("the answer is a {}", other.name()))),
        }
    }

    /// Commits, and says what the answer means. `None` without an answer.
    pub async fn commit(&self, xid: &str) -> Option<GlobalStatus> {
        self.end(xid, &Message::GlobalCommit { xid: xid.into(), extra_data: String::new() }).await
    }

    /// Rolls back. `None` without an answer.
    pub async fn rollback(&self, xid: &str) -> Option<GlobalStatus> {
        self.end(xid, &Message::GlobalRollback { xid: xid.into(), extra_data: String::new() }).await
    }

    /// Says how a Saga stands, as its engine does. `None` without an answer.
    pub async fn report(&self, xid: &str, status: GlobalStatus) -> Option<GlobalStatus> {
        self.end(xid, &Message::GlobalReport { xid: xid.into(), extra_data: String::new(), status: Some(status) }).await
    }

    /// Asks how a transaction stands. `None` without an answer.
    pub async fn status(&self, xid: &str) -> Option<GlobalStatus> {
        let request = Message::GlobalStatus { xid: xid.into(), extra_data: String::new() };
        self.ask(xid, &request).await.ok().and_then(status_of)
    }

    async fn end(&self, xid: &str, request: &Message) -> Option<GlobalStatus> {
        for _ in 0..ATTEMPTS_MAX {
            match self.ask(xid, request).await {
                Ok(answer) => return status_of(answer),
                Err(error) => tracing::debug!(xid, %error, "no answer to {}", request.name()),
            }
        }
        None
    }

    async fn ask(&self, xid: &str, request: &Message) -> Result<Message, CallError> {
        let address = Xid::parse(xid).ok().map(|xid| xid.address);
        self.pool.ask(address.as_deref(), request, REQUEST_TIMEOUT).await
    }
}

fn status_of(answer: Message) -> Option<GlobalStatus> {
    match answer {
        Message::GlobalCommitResult { status, .. }
        | Message::GlobalRollbackResult { status, .. }
        | Message::GlobalReportResult { status, .. }
        | Message::GlobalStatusResult { status, .. } => Some(status),
        _ => None,
    }
}

/// What a stock Java TM concludes from the answer to a commit (semantics, section 1.5): every status that is not listed
/// lets the business go on as after a commit.
pub fn conclude_commit(answer: Option<GlobalStatus>) -> Conclusion {
    match answer {
        None | Some(GlobalStatus::Finished) => Conclusion::Unknown,
        Some(
            GlobalStatus::TimeoutRollbacking
            | GlobalStatus::TimeoutRollbackRetrying
            | GlobalStatus::TimeoutRollbacked
            | GlobalStatus::TimeoutRollbackFailed,
        ) => Conclusion::RolledBack,
        Some(_) => Conclusion::Committed,
    }
}

/// What a stock Java TM concludes from the answer to a rollback.
pub fn conclude_rollback(answer: Option<GlobalStatus>) -> Conclusion {
    match answer {
        Some(
            GlobalStatus::Rollbacking
            | GlobalStatus::RollbackRetrying
            | GlobalStatus::TimeoutRollbacking
            | GlobalStatus::TimeoutRollbackRetrying
            | GlobalStatus::Rollbacked
            | GlobalStatus::TimeoutRollbacked
            | GlobalStatus::Finished
            | GlobalStatus::RollbackFailed
            | GlobalStatus::TimeoutRollbackFailed
            | GlobalStatus::RollbackRetryTimeout,
        ) => Conclusion::RolledBack,
        Some(GlobalStatus::Committed | GlobalStatus::AsyncCommitting | GlobalStatus::Committing) => {
            Conclusion::Committed
        }
        Some(_) | None => Conclusion::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_answered_begin_is_taken_for_success() {
        assert_eq!(conclude_commit(Some(GlobalStatus::Begin)), Conclusion::Committed);
        assert_eq!(conclude_commit(Some(GlobalStatus::Rollbacked)), Conclusion::Committed);
        assert_eq!(conclude_commit(Some(GlobalStatus::TimeoutRollbacked)), Conclusion::RolledBack);
        assert_eq!(conclude_commit(None), Conclusion::Unknown);
    }

    #[test]
    fn a_rollback_answered_finished_is_taken_for_done() {
        assert_eq!(conclude_rollback(Some(GlobalStatus::Finished)), Conclusion::RolledBack);
        assert_eq!(conclude_rollback(Some(GlobalStatus::Committed)), Conclusion::Committed);
        assert_eq!(conclude_rollback(Some(GlobalStatus::Begin)), Conclusion::Unknown);
    }
}
