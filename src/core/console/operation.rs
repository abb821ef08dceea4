//! What an operator may ask for, and why it is refused.

use alloc::format;
use alloc::string::{String, ToString};

use serde::{Deserialize, Serialize};

use crate::model::{GlobalStatus, GroupId};
use crate::txn::command::Operation;
use crate::txn::{Refusal, status};

/// What an operator wants done with a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wish {
    /// A change of its state.
    Change(Operation),
    /// Phase two asks again what it would ask after a pause.
    RetryNow,
}

/// Why an operator's wish was not fulfilled.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfulfilled {
    /// Nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// It is in the log, and not done yet.
    #[error("{0}")]
    Underway(String),
    /// Nobody could be asked: nothing has changed.
    #[error("group {0} has no leader that could be asked; nothing has changed")]
    NoLeader(GroupId),
    /// Asked, and not heard.
    #[error("the leader of group {0} was asked and did not answer: it may be done; look at the transaction")]
    Unknown(GroupId),
}

impl Wish {
    /// Its name in logs and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Wish::Change(Operation::Stop) => "stop",
            Wish::Change(Operation::Start) => "start",
            Wish::Change(Operation::Reopen) => "reopen",
            Wish::Change(Operation::Delete | Operation::CleanUp) => "delete",
            Wish::Change(Operation::ForceDelete) => "force-delete",
            Wish::Change(Operation::StopBranch(_)) => "stop-branch",
            Wish::Change(Operation::StartBranch(_)) => "start-branch",
            Wish::Change(Operation::CleanUpBranch(_)) => "delete-branch",
            Wish::Change(Operation::DropBranch(_)) => "force-delete-branch",
            Wish::RetryNow => "retry",
        }
    }

    /// Why it cannot be done with a transaction that stands so.
    pub fn objection(self, status: GlobalStatus) -> String {
        let reason = match self {
            _ if !is_there(status) => "it has ended",
            Wish::Change(Operation::Reopen) => "only what has failed for good can be reopened",
            Wish::Change(Operation::Delete) => {
                "only what has failed for good can be deleted; a force-delete ends it whatever was done"
            }
            Wish::Change(Operation::Start) => "it is not stopped",
            Wish::Change(Operation::CleanUp) if status == GlobalStatus::Begin => {
                "it is not decided: its TM or its time-out does that; a force-delete ends it whatever was done"
            }
            _ if status == GlobalStatus::Begin => {
                "it is not decided: its TM or its time-out does that, and there is no phase two yet"
            }
            Wish::Change(Operation::CleanUp | Operation::CleanUpBranch(_)) => {
                "what is left of it is asked until it is done; what has failed, is being retried or was stopped can be deleted"
            }
            _ if status::is_failed(status) => "it has failed for good; reopen it to try again (changeGlobalStatus)",
            _ if status::is_stopped(status) => "an operator has stopped it; start it first",
            Wish::Change(Operation::Stop | Operation::StopBranch(_)) => {
                "its TM was told Committed; what is left is asked until it is done and cannot be stopped"
            }
            Wish::Change(Operation::ForceDelete | Operation::StartBranch(_) | Operation::DropBranch(_))
            | Wish::RetryNow => "its status does not allow it",
        };
        format!("the transaction is {status}: {reason}")
    }

    /// In an operator's words, where those of the state machine are not.
    pub fn refused(self, refusal: &Refusal) -> String {
        match (self, refusal) {
            (_, Refusal::Illegal { status }) => self.objection(*status),
            (Wish::Change(Operation::CleanUp), Refusal::Unsupported { .. }) => {
                "it is a Saga, or has steps of one, and only their engine knows what is left to do: wait until it has failed, or \
                 force-delete it"
                    .into()
            }
            (_, Refusal::Unsupported { .. }) => {
                "it is a step of a Saga: only the engine of the Saga knows what is left to do for it".into()
            }
            (_, Refusal::NoSuchTransaction) => {
                "no such transaction: it has ended some time ago, or never was".into()
            }
            (_, Refusal::NoSuchBranch) => {
                "the transaction has no such branch: its branches are shown by `ctl transaction show XID`".into()
            }
            (_, refusal) => refusal.to_string(),
        }
    }
}

/// It has a session.
const fn is_there(status: GlobalStatus) -> bool {
    let is_open = matches!(status, GlobalStatus::Begin) || status::is_running(status);
    is_open || status::is_failed(status) || status::is_stopped(status)
}
