//! What was seen: the one language of the oracles, whether it came from a tap in a node, from a client or from a
//! database.

use crate::bank::at::Written;
use crate::bank::{BranchKey, Damage, Effect};
use crate::ghost::told::Told;
use crate::remains::{Found, Modelled};
use quorate_core::cluster::Routing;
use quorate_core::model::{
    BranchId, BranchStatus, BranchType, ExceptionCode, GlobalStatus, GroupId, LogId, LogIndex, NodeId, Slot, Term,
    TransactionId,
};
use quorate_core::txn::{Command, Outcome, ReleaseScope};
use quorate_core::wire::ClientVersion;
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
    /// A branch is given up.
    GivenUp { node: NodeId, transaction: TransactionId, branch: BranchId },
    /// A leader has answered an audit: these branches are gone for ever.
    Gone { node: NodeId, group: GroupId, transaction: TransactionId, branches: Vec<BranchId> },
    /// A leader counts locks that it owed a release as let go.
    ReleaseCounted { node: NodeId, transaction: TransactionId, slot: Slot, scope: ReleaseScope },
    /// A phase-two request leaves.
    PhaseTwoSent { node: NodeId, transaction: TransactionId, branch: BranchId, way: Way },
    /// A phase-two answer has come to the node that drives the transaction.
    PhaseTwoAnswered { node: NodeId, transaction: TransactionId, branch: BranchId, status: BranchStatus },
    /// A client has registered with a node, which is this process of its machine, over this connection.
    Registered { machine: usize, life: u32, channel: u64, application: String },
    /// A connection has ended, as its node sees it.
    Disconnected { machine: usize, life: u32, channel: u64 },
    /// A leader has looked up how a transaction stands, for a client.
    Looked { node: NodeId, group: GroupId, transaction: TransactionId },
    /// A TM was told that its transaction has begun, which it asked for in these words.
    ToldBegun { transaction: TransactionId, name: String, timeout_ms: i32 },
    /// A TM was told that nothing has begun under this name.
    ToldNotBegun { name: String },
    /// A TM is going to ask for a commit or a rollback.
    AsksEnd { transaction: TransactionId, commit: bool },
    /// A TM was told how its commit or rollback stands.
    ToldEnd { transaction: TransactionId, commit: bool, status: GlobalStatus },
    /// A TM is going to ask how its transaction stands.
    AsksStatus { question: u64, transaction: TransactionId },
    /// A TM was told how its transaction stands, in words that it knows; it had had so many statuses when the question left.
    ToldStatus { question: u64, transaction: TransactionId, since: usize, status: GlobalStatus, knows: ClientVersion },
    /// An RM is going to ask for a branch.
    AsksBranch { question: u64, client: String, transaction: TransactionId, wanted: Wanted },
    /// An RM was told that its branch is registered.
    ToldRegistered { question: u64, transaction: TransactionId, branch: BranchId, wanted: Wanted },
    /// An RM was told that it gets no branch, with this code; without one it was told nothing.
    ToldNoBranch { question: u64, transaction: TransactionId, wanted: Wanted, code: Option<ExceptionCode> },
    /// An RM is going to ask whether rows are free for a transaction, or for nobody in particular. It has read rows which these
    /// wrote.
    AsksRows {
        question: u64,
        client: String,
        asker: Option<TransactionId>,
        resource: String,
        lock_keys: String,
        written: Written,
    },
    /// It was told whether they are; or nothing. The rows are now as these wrote them.
    ToldRows { question: u64, lockable: Option<bool>, written: Written },
    /// An RM is going to report how phase one of a branch went.
    AsksReport { transaction: TransactionId, branch: BranchId, status: BranchStatus },
    /// An RM was told that this is noted.
    ToldReported { transaction: TransactionId, branch: BranchId, status: BranchStatus },
    /// A phase-two request has reached an RM.
    Asked { transaction: TransactionId, branch: BranchId, kind: BranchType, resource: String, data: String },
    /// An RM was asked to delete the undo logs of a resource that are older than so many days.
    AskedToDelete { kind: BranchType, resource: String, save_days: i16 },
    /// An RM answers a phase-two request.
    Says { transaction: TransactionId, branch: BranchId, status: BranchStatus },
    /// A client of this number reads no more of what a node answers it,
    ReadsNoMore { client: u32, node: u32 },
    /// and is let go, or its node is gone.
    LetGo { client: u32 },
    /// A client that shows this for a key is let in, or not.
    Admitted { node: u32, how: &'static str, admitted: bool },
    /// A client has died, with all that it was asking.
    Died { client: String },
    /// A call to a database. `others`: branches of other transactions that changed one of the same rows and are open.
    Database { resource: String, key: BranchKey, effect: Effect, others: Vec<BranchKey> },
    /// A database found what must never be.
    Damaged { resource: String, key: BranchKey, damage: Damage },
}

/// What an RM wants to register.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Wanted {
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: String,
    /// Its rows, as sent.
    pub lock_keys: String,
    /// Application data.
    pub data: String,
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
