//! What coordinators of different nodes say to each other; kind 64 of the peer port (`docs/WIRE.md`).
//!
//! Sent in the codec of everything that leaves a process, so the rules of `core::codec` hold: variants are added at the
//! end, structs never change. Every message may be lost, doubled or late, and says so much that this does no harm
//! (`lock-protocol`, section 8).

use quorate_world::net::IpAddr;

use bytes::Bytes;
use quorate_core::codec::{self, CodecError, Persisted};
use quorate_core::model::{BranchId, BranchStatus, BranchType, Fence, GlobalStatus, NodeId, TransactionId, Xid};
use quorate_core::phase_two::channel::may_be_other;
use quorate_core::txn::Conflict;
use quorate_core::txn::command::{AcquireLocksV1, ReleaseLocksV1};
use quorate_core::wire::Message;
use serde::{Deserialize, Serialize};

use super::ask::{Ask, Reply};
use super::console::{ConsoleAnswer, ConsoleAsk, DeleteLockV1, OperateAskV1};

/// What one node asks another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// Serve this request of a client; never passed on a second time.
    Forward(ForwardV1),
    /// Take row locks (rules 4 and 5).
    Acquire(AcquireLocksV1),
    /// Let row locks go (rule 12).
    Release(ReleaseLocksV1),
    /// Are these holds orphans (rule 14)?
    Audit(AuditV1),
    /// A hint: this transaction is rolling back. Not answered.
    MarkRollingBack(TransactionId),
    /// Ask an RM for me.
    Relay(RelayV1),
    /// An RM answered here what the asked node is waiting for. Not answered.
    PassOn(PassOnV1),
    /// What RMs this node holds.
    Announce(Announcement),
    /// For an operator: what is there of this group.
    Console(ConsoleAsk),
    /// A part of what RMs this node holds, when it is too long for one message.
    AnnouncePart(AnnouncementPartV1),
    /// An operator wants something done.
    Operate(OperateAskV1),
    /// Is there a connection of this process? Answered by [`Response::Heard`].
    HasProcess(ProcessV1),
    /// An RM says that it has done what the asked node, or one that led before it, may have asked for. Not answered.
    Done(DoneV1),
    /// An operator wants a row lock gone. Answered by [`Response::Released`] or [`Response::Objected`].
    DeleteLock(DeleteLockV1),
    /// As [`Query::Relay`], where the RM was silent before: it is given longer. A node of before this was said refuses it.
    RelayAgain(RelayAgainV1),
}

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To a forwarded request.
    Reply(Reply),
    /// The group is not led here; perhaps there.
    Elsewhere(Option<NodeId>),
    /// The rows are held for the branch.
    Acquired,
    /// Somebody else holds a row.
    Refused(RefusedV1),
    /// The rows are free of this transaction and scope.
    Released,
    /// A limit or another reason that repeating does not cure.
    Unable(String),
    /// These branches hold nothing rightfully and never will.
    Gone(Vec<BranchId>),
    /// What the RM said.
    Told(BranchStatus),
    /// No RM here, or no answer from it.
    Untold(Untold),
    /// The announcement is known (true), or the full list is wanted.
    Heard(bool),
    /// What an operator is shown.
    Console(ConsoleAnswer),
    /// What an operator wanted is done: the status now.
    Operated(GlobalStatus),
    /// What an operator wanted is not done, and why.
    Objected(String),
    /// What an operator wanted is in the log and goes on; how far it is.
    Underway(String),
}

/// See [`Query::Forward`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ForwardV1 {
    /// The request.
    pub ask: Ask,
    /// For how long the asker will wait.
    pub patience_ms: u32,
}

/// See [`Query::Done`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DoneV1 {
    /// The transaction.
    pub transaction: TransactionId,
    /// Its branch.
    pub branch: BranchId,
    /// What was done with it.
    pub way: Way,
}

/// See [`Query::HasProcess`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessV1 {
    /// Application id of its registration.
    pub application: String,
    /// Where it connects from.
    pub ip: IpAddr,
}

/// See [`Response::Refused`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusedV1 {
    /// Who is in the way.
    pub conflict: Conflict,
    /// It is rolling back: waiting for it with open rows would be a deadlock (semantics, section 3.3).
    pub rolling_back: bool,
}

/// See [`Query::Audit`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AuditV1 {
    /// Whose holds.
    pub transaction: TransactionId,
    /// The branches, each with the fence it was minted under.
    pub holds: Vec<(BranchId, Fence)>,
}

/// Which way phase two goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Way {
    /// Commit the branch.
    Commit,
    /// Roll it back.
    Rollback,
}

/// One phase-two request, as an RM needs it. See [`Query::Relay`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RelayV1 {
    /// Commit or rollback.
    pub way: Way,
    /// Whose branch.
    pub transaction: TransactionId,
    /// `address:port` of its XID.
    pub address: String,
    /// The branch.
    pub branch: BranchId,
    /// AT, TCC, ..
    pub kind: BranchType,
    /// Resource id.
    pub resource: String,
    /// Given back as it came.
    pub application_data: String,
    /// `application:ip:port` of the channel that registered the branch.
    pub client: String,
}

/// See [`Query::RelayAgain`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RelayAgainV1 {
    /// The request.
    pub relay: RelayV1,
    /// How often the RM has not answered it.
    pub silences: u32,
}

/// Why an RM said nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Untold {
    /// Nobody who could be asked is connected.
    NoChannel,
    /// Asked, and no answer in time.
    Silent,
    /// Not asked: its RM had too much to do to be asked more.
    Busy,
    /// Asked, and the way there broke: its RM may be at work, and have no way to say so.
    Lost,
}

/// See [`Query::PassOn`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PassOnV1 {
    /// Id of the server's request.
    pub id: i32,
    /// The branch that the answer names.
    pub branch: BranchId,
    /// What the RM said.
    pub status: BranchStatus,
}

/// See [`Query::Announce`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announcement {
    /// Drawn at the start of the process.
    pub start: u64,
    /// Rises with every change within one start.
    pub version: u64,
    /// All of them; nothing: only the version is told.
    pub channels: Option<Vec<Announced>>,
}

/// See [`Query::AnnouncePart`]. The parts of one announcement come one after the other; the last one makes it count.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AnnouncementPartV1 {
    /// Drawn at the start of the process.
    pub start: u64,
    /// Of the whole.
    pub version: u64,
    /// Which part, from 0.
    pub part: u32,
    /// Whether no more follow.
    pub is_last: bool,
    /// Its channels; the resources of one may be spread over several parts.
    pub channels: Vec<Announced>,
}

/// One connection of an RM.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Announced {
    /// Application id.
    pub application: String,
    /// The client's end.
    pub ip: IpAddr,
    /// The client's end.
    pub port: u16,
    /// What it serves.
    pub resources: Vec<String>,
}

/// A frame between nodes, less its head.
const BYTES_MAX: usize = 15 << 20;

impl Persisted for Query {
    const BYTES_MAX: usize = BYTES_MAX;
}

impl Persisted for Response {
    const BYTES_MAX: usize = BYTES_MAX;
}

impl RelayV1 {
    /// Whether it may go to another application that has the resource (protocol, section 5.3).
    pub fn any_application(&self) -> bool {
        may_be_other(self.kind)
    }

    /// As the RM gets it.
    pub fn message(&self) -> Message {
        let xid = Xid { address: self.address.clone(), transaction: self.transaction }.to_string();
        let RelayV1 { branch: branch_id, kind: branch_type, .. } = *self;
        let (resource_id, application_data) = (self.resource.clone(), self.application_data.clone());
        let crossed = quorate_world::bug!("one_branch_goes_the_other_way") && self.branch.sequence().is_multiple_of(2);
        let way = match self.way {
            Way::Commit if crossed => Way::Rollback,
            Way::Rollback if crossed => Way::Commit,
            way => way,
        };
        match way {
            Way::Commit => Message::BranchCommit { xid, branch_id, branch_type, resource_id, application_data },
            Way::Rollback => Message::BranchRollback { xid, branch_id, branch_type, resource_id, application_data },
        }
    }
}

impl Query {
    /// Its bytes.
    pub fn to_bytes(&self) -> Result<Bytes, CodecError> {
        codec::encode(self).map(Bytes::from)
    }
}

impl Response {
    /// Its bytes.
    pub fn to_bytes(&self) -> Result<Bytes, CodecError> {
        codec::encode(self).map(Bytes::from)
    }
}
