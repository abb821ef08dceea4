//! What the coordinator tells the ghost model of the simulation. Built only there.

use quorate_core::model::{BranchId, BranchStatus, GlobalStatus, GroupId, NodeId, Slot, Term, TransactionId};
use quorate_core::txn::ReleaseScope;

use super::ask::Reply;
use super::message::Way;
use super::reply::Question;

/// A client is about to be answered.
#[derive(Debug)]
pub struct Answered {
    /// By this node.
    pub node: NodeId,
    /// Over this channel of the node.
    pub channel: u64,
    /// To this kind of question.
    pub question: Question,
    /// About this transaction, if about one.
    pub transaction: Option<TransactionId>,
    /// With this.
    pub reply: Reply,
}

/// A process has registered, as a TM or an RM.
#[derive(Debug)]
pub struct Registered {
    /// With this node.
    pub node: NodeId,
    /// Over this channel of the node.
    pub channel: u64,
    /// As this application.
    pub application: String,
}

/// A connection has ended.
#[derive(Debug)]
pub struct Disconnected {
    /// To this node.
    pub node: NodeId,
    /// Its channel there.
    pub channel: u64,
}

/// A leader has looked up how a transaction stands, for a client.
#[derive(Debug)]
pub struct Looked {
    /// The leader.
    pub node: NodeId,
    /// Its group.
    pub group: GroupId,
    /// The transaction, known there or not.
    pub transaction: TransactionId,
}

/// A leader has seen the outcome of a decision that it proposed.
#[derive(Debug)]
pub struct DecisionKnown {
    /// The leader.
    pub node: NodeId,
    /// Its group.
    pub group: GroupId,
    /// Its tenure.
    pub tenure: Term,
    /// The transaction.
    pub transaction: TransactionId,
    /// The status decided on, or standing before.
    pub status: GlobalStatus,
}

/// A branch is about to be acknowledged to its RM (lock protocol, rule 8).
#[derive(Debug)]
pub struct BranchAcknowledged {
    /// The leader that minted it.
    pub node: NodeId,
    /// Its group.
    pub group: GroupId,
    /// Its tenure.
    pub tenure: Term,
    /// Whose branch.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
}

/// A branch was given up: it will never be acknowledged (rule 9).
#[derive(Debug)]
pub struct BranchGivenUp {
    /// The leader that minted it.
    pub node: NodeId,
    /// Whose branch.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
}

/// A phase-two request is about to leave for an RM.
#[derive(Debug)]
pub struct PhaseTwoSent {
    /// The node that has the channel.
    pub node: NodeId,
    /// The transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
    /// Commit or rollback.
    pub way: Way,
}

/// The node that drives a transaction has the answer of an RM.
#[derive(Debug)]
pub struct PhaseTwoAnswered {
    /// The node that drives it.
    pub node: NodeId,
    /// The transaction.
    pub transaction: TransactionId,
    /// The branch.
    pub branch: BranchId,
    /// What it said.
    pub status: BranchStatus,
}

/// All branches are done and all releases acknowledged: the end is about to be proposed (rule 13).
#[derive(Debug)]
pub struct Ending {
    /// The node that drives it.
    pub node: NodeId,
    /// Its group.
    pub group: GroupId,
    /// The transaction.
    pub transaction: TransactionId,
}

/// A leader counts row locks that it owed a release as let go (rule 13).
#[derive(Debug)]
pub struct ReleaseCounted {
    /// The leader of the transaction's group.
    pub node: NodeId,
    /// The transaction.
    pub transaction: TransactionId,
    /// The lock slot.
    pub slot: Slot,
    /// All of its locks there, or those of some branches.
    pub scope: ReleaseScope,
}

/// A leader answered an audit: these branches are gone for ever (rule 14).
#[derive(Debug)]
pub struct AuditAnswered {
    /// The leader of the transaction's group,
    pub node: NodeId,
    /// which is this.
    pub group: GroupId,
    /// The transaction.
    pub transaction: TransactionId,
    /// The branches.
    pub gone: Vec<BranchId>,
}
