//! The types openraft is instantiated with, and the way to and from our own.
//!
//! One instantiation serves every group, whatever machine it holds: an entry's payload is bytes that the machine
//! understands, and what applying it came to travels back as `dyn Any`, on the proposing node only.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use openraft::alias;
use openraft::impls::EmptyNode;
use openraft::raft::responder::Responder;
use openraft::vote::leader_id_std;
use openraft::{OptionalSend, RaftTypeConfig};
use quorate_core::model::{self, LogIndex, NodeId, Term};
use quorate_storage as storage;

use crate::entry::{MembersV1, StoredMembersV1};
use crate::state_machine::StateMachine;

/// openraft, as this package uses it. Plain raft: one leader per term (`leader_id_std`), so a log id is (term, index).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Consensus;

impl RaftTypeConfig for Consensus {
    type D = Payload;
    type R = Reply;
    type NodeId = u64;
    // Addresses are the cluster's business: a node that moves changes no membership.
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Payload, u64, EmptyNode>;
    type Entry = openraft::Entry<leader_id_std::CommittedLeaderId<u64>, Self::Payload>;
    type AsyncRuntime = quorate_world::runtime::OpenraftRuntime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<Consensus, StateMachine>;
pub(crate) type Vote = alias::VoteOf<Consensus>;
pub(crate) type LogId = alias::LogIdOf<Consensus>;
pub(crate) type Entry = alias::EntryOf<Consensus>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = alias::StoredMembershipOf<Consensus>;
pub(crate) type SnapshotMeta = alias::SnapshotMetaOf<Consensus>;

/// An entry's commands as they lie in the log (`entry`), shared and never copied.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The outcomes of an entry's commands, in order; nothing for entries without commands. The one who proposed knows the type.
pub(crate) struct Reply(pub Option<Box<dyn Any + Send + Sync>>);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "outcomes" } else { "nothing" })
    }
}

/// What to do when a proposed entry has been applied or refused. It runs where that happens, so it must be short; if it
/// is dropped unheard, raft has stopped.
pub(crate) struct Answer<T>(pub Box<dyn FnOnce(T) + Send>);

impl<T: OptionalSend + 'static> Responder<Consensus, T> for Answer<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

pub(crate) fn log_id(ours: model::LogId) -> LogId {
    LogId::new(leader_of(ours.term), ours.index.0)
}

pub(crate) fn leader_of(term: Term) -> leader_id_std::CommittedLeaderId<u64> {
    leader_id_std::CommittedLeaderId::new(term.0)
}

pub(crate) fn our_log_id(theirs: &LogId) -> model::LogId {
    model::LogId { term: Term(theirs.leader_id.term), index: LogIndex(theirs.index) }
}

pub(crate) fn vote(ours: storage::Vote) -> Vote {
    let leader_id = leader_id_std::LeaderId { term: ours.term.0, voted_for: ours.node.0 };
    Vote { leader_id, committed: ours.committed }
}

pub(crate) fn our_vote(theirs: &Vote) -> storage::Vote {
    storage::Vote {
        term: Term(theirs.leader_id.term),
        node: NodeId(theirs.leader_id.voted_for),
        committed: theirs.committed,
    }
}

pub(crate) fn membership(ours: &MembersV1) -> Membership {
    let configs: Vec<BTreeSet<u64>> =
        ours.configs.iter().map(|voters| voters.iter().map(|node| node.0).collect()).collect();
    Membership::new_with_defaults(configs, ours.nodes.iter().map(|node| node.0))
}

pub(crate) fn our_membership(theirs: &Membership) -> MembersV1 {
    MembersV1 {
        configs: theirs.get_joint_config().iter().map(|voters| voters.iter().copied().map(NodeId).collect()).collect(),
        nodes: theirs.nodes().map(|(node, EmptyNode {})| NodeId(*node)).collect(),
    }
}

pub(crate) fn stored_membership(ours: &StoredMembersV1) -> StoredMembership {
    StoredMembership::new(ours.log_id.map(log_id), membership(&ours.members))
}

pub(crate) fn our_stored_membership(theirs: &StoredMembership) -> StoredMembersV1 {
    StoredMembersV1 { log_id: theirs.log_id().as_ref().map(our_log_id), members: our_membership(theirs.membership()) }
}
