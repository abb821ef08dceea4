//! What was seen: the one language of the oracles, whether it came from a tap in a node, from a client or from a
//! database.

use crate::bank::{BranchKey, Damage, Effect};
use crate::ghost::told::Told;
use crate::remains::{Found, Modelled};
use quorate_core::cluster::Routing;
use quorate_core::model::{
    BranchId, BranchStatus, GlobalStatus, GroupId, LogId, LogIndex, NodeId, Term, TransactionId,
};
use quorate_core::txn::{Command, Outcome};
use quorate_server::coordinator::message::Way;
use std::collections::{BTreeMap, BTreeSet};

/// One thing seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A replica applied an entry of any kind.
    Applied { node: NodeId, group: GroupId, log_id: LogId, entry_hash: u64 },
    /// A replica applied an entry with commands; compared with what the model or another replica came to.
    Outcomes { node: NodeId, group: GroupId, log_id: LogId, hash: u64 },
    /// A replica has this state after this entry: it built a snapshot of it, or took its state from one.
    Snapshot { node: NodeId, group: GroupId, last: Option<LogId>, hash: u128 },
    /// A replica stopped with this state.
    Stopped { node: NodeId, group: GroupId, state_hash: u64 },
    /// A group has moved away from a node, which wipes what it has of it, but for its vote.
    Wiping { node: NodeId, group: GroupId },
    /// A node has made its vote durable: for a candidate, or for the one that it knows to lead, whoever it voted for.
    Voted { node: NodeId, group: GroupId, term: Term, candidate: NodeId, leads: bool },
    /// A replica was told that its log is durable up to here,
    Appended { node: NodeId, group: GroupId, last: LogId },
    /// or is about to cut it.
    Truncating { node: NodeId, group: GroupId, from: LogIndex },
    /// What would be left of a node's disk, against what the node had been told.
    Remains { node: NodeId, told: BTreeMap<GroupId, Told>, model: Option<Modelled>, found: Result<Found, String> },
    /// Whose disks of so many have an answered entry for certain.
    Holders { group: GroupId, log_id: LogId, holders: BTreeSet<NodeId>, nodes: usize },
    /// A replica has applied who belongs to its group: who votes, in two sets while they change, and who only follows.
    Members { group: GroupId, log_id: LogId, voters: Vec<BTreeSet<NodeId>>, learners: BTreeSet<NodeId> },
    /// A node routes by this picture from now on.
    Pictured { node: NodeId, routing: Routing },
    /// A node leads a group.
    Elected { node: NodeId, group: GroupId, term: Term },
    /// Commands were answered to those who proposed them.
    Answered { node: NodeId, group: GroupId, log_id: LogId },
    /// A leader takes a transaction for decided.
    DecisionKnown { node: NodeId, transaction: TransactionId, status: GlobalStatus },
    /// A branch is being acknowledged.
    Acknowledged { node: NodeId, transaction: TransactionId, branch: BranchId },
    /// A phase-two request leaves.
    PhaseTwoSent { node: NodeId, transaction: TransactionId, branch: BranchId, way: Way },
    /// A phase-two answer has come.
    PhaseTwoAnswered { transaction: TransactionId, branch: BranchId, status: BranchStatus },
    /// A TM was told that its transaction has begun.
    ToldBegun { transaction: TransactionId },
    /// A TM was told how its commit or rollback stands.
    ToldEnd { transaction: TransactionId, commit: bool, status: GlobalStatus },
    /// A TM was told how its transaction stands, which had had so many statuses when the question left.
    ToldStatus { transaction: TransactionId, since: usize, status: GlobalStatus },
    /// An RM was told that its branch is registered.
    ToldRegistered { transaction: TransactionId, branch: BranchId },
    /// A call to a database. `others`: branches of other transactions that changed one of the same rows and are open.
    Database { resource: String, key: BranchKey, effect: Effect, others: Vec<BranchKey> },
    /// A database found what must never be.
    Damaged { resource: String, key: BranchKey, damage: Damage },
}

/// One command, as the group has applied it: seen once, whichever replica came first.
#[derive(Debug)]
pub struct Step<'a> {
    /// The group.
    pub group: GroupId,
    /// What was asked.
    pub command: &'a Command,
    /// What came of it.
    pub outcome: &'a Outcome,
}
