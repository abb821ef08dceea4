//! What is asked of the coordinator, free of frames and versions: the middle between the two mirror files `request` and
//! `reply`. Travels between nodes when a request is forwarded.

use quorate_core::model::{BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, Slot, TransactionId, hash};
use serde::{Deserialize, Serialize};

/// One request of a client, whole: everything that the leader of its group needs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// A new global transaction.
    Begin(BeginAsk),
    /// Commit it.
    Commit(TransactionId),
    /// Roll it back.
    Rollback(TransactionId),
    /// How does it stand?
    Status(TransactionId),
    /// A Saga engine says how it stands.
    Report(TransactionId, GlobalStatus),
    /// A branch joins.
    Register(RegisterAsk),
    /// An RM says how phase one went.
    ReportBranch(ReportBranchAsk),
    /// Are these rows free?
    LockQuery(LockQueryAsk),
    /// A branch joins that may not join twice.
    RegisterOnce(RegisterOnceAsk),
}

/// See [`Ask::Begin`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BeginAsk {
    /// `address:port` of the node that received it.
    pub address: String,
    /// Of the registration.
    pub application: String,
    /// Of the registration.
    pub service_group: String,
    /// Transaction name.
    pub name: String,
    /// As sent.
    pub timeout_ms: i32,
}

/// See [`Ask::Register`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisterAsk {
    /// Whose branch.
    pub transaction: TransactionId,
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: String,
    /// As sent.
    pub lock_keys: String,
    /// As sent.
    pub application_data: String,
    /// `application:ip:port` of the channel.
    pub client: String,
    /// An AT branch with at least one row.
    pub locks: bool,
}

/// See [`Ask::RegisterOnce`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisterOnceAsk {
    /// The branch.
    pub register: RegisterAsk,
    /// Names the client's request, whichever leader it is tried at.
    pub request: u64,
}

/// See [`Ask::ReportBranch`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReportBranchAsk {
    /// Whose branch.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
    /// As sent.
    pub status: BranchStatus,
    /// As sent.
    pub application_data: String,
}

/// See [`Ask::LockQuery`]. Only AT branches with rows come this far; all others are free at once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockQueryAsk {
    /// Who asks; nobody: any holder is in the way.
    pub transaction: Option<TransactionId>,
    /// Resource id.
    pub resource: String,
    /// As sent.
    pub lock_keys: String,
}

/// What came of an [`Ask`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The transaction has begun.
    Begun(TransactionId),
    /// The status to answer commit, rollback, status or report with.
    Standing(GlobalStatus),
    /// The branch is registered.
    Registered(BranchId),
    /// The report is stored.
    Reported,
    /// Are the rows free?
    Lockable(bool),
    /// Refused.
    Failed(Failure),
}

/// A refusal, as clients see it (semantics, section 1.4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The number.
    pub code: ExceptionCode,
    /// Which envelope the text is put in.
    pub envelope: Envelope,
    /// What went wrong, without the envelope.
    pub text: String,
}

/// Seata's two ways to wrap the text of an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Envelope {
    /// `TransactionException[..]`
    Transaction,
    /// `RuntimeException[..]`
    Runtime,
}

impl Failure {
    /// An error of the transaction world.
    pub fn new(code: ExceptionCode, text: impl Into<String>) -> Failure {
        Failure { code, envelope: Envelope::Transaction, text: text.into() }
    }

    /// Something else was wrong with the request.
    pub fn runtime(text: impl Into<String>) -> Failure {
        Failure { code: ExceptionCode::Unknown, envelope: Envelope::Runtime, text: text.into() }
    }

    /// The text in its envelope.
    pub fn message(&self) -> String {
        match self.envelope {
            Envelope::Transaction => format!("TransactionException[{}]", self.text),
            Envelope::Runtime => format!("RuntimeException[{}]", self.text),
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        Reply::Failed(failure)
    }
}

impl Ask {
    /// Whom it is about.
    pub fn transaction(&self) -> Option<TransactionId> {
        match self {
            Ask::Begin(_) => None,
            Ask::Commit(transaction)
            | Ask::Rollback(transaction)
            | Ask::Status(transaction)
            | Ask::Report(transaction, _) => Some(*transaction),
            Ask::Register(register) | Ask::RegisterOnce(RegisterOnceAsk { register, .. }) => Some(register.transaction),
            Ask::ReportBranch(report) => Some(report.transaction),
            Ask::LockQuery(query) => query.transaction,
        }
    }

    /// The slot whose owner serves it; a Begin goes wherever it likes.
    pub fn slot(&self) -> Option<Slot> {
        match self {
            Ask::Begin(_) => None,
            Ask::Commit(transaction)
            | Ask::Rollback(transaction)
            | Ask::Status(transaction)
            | Ask::Report(transaction, _) => Some(transaction.slot()),
            Ask::Register(register) | Ask::RegisterOnce(RegisterOnceAsk { register, .. }) => {
                Some(register.transaction.slot())
            }
            Ask::ReportBranch(report) => Some(report.transaction.slot()),
            Ask::LockQuery(query) => Some(hash::lock_slot(&query.resource)),
        }
    }
}
