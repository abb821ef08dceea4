//! What raft tells the models that run beside the simulation. Nothing of it exists in production (`world::tap`).

use std::collections::BTreeSet;
use std::fmt;

use quorate_core::model::{GroupId, LogId, LogIndex, NodeId, Term};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::machine::Machine;

/// A replica has applied an entry; again after a restart, from its snapshot on. All replicas of a group that applied an
/// index agree on all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The entry.
    pub log_id: LogId,
    /// xxh3-64 of the entry's bytes.
    pub entry_hash: u64,
    /// The group clock after it.
    pub clock_ms: u64,
}

/// What the commands of an entry came to on a replica. The same on all replicas: apply depends on nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcomes {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The entry.
    pub log_id: LogId,
    /// xxh3-64 of the outcomes as text.
    pub outcomes_hash: u64,
}

/// What an entry says that a replica has applied: a model moves on by the same batch. [`Outcomes`] came just before.
pub struct Batched<M: Machine> {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The entry.
    pub log_id: LogId,
    /// What it says.
    pub batch: M::Batch,
}

impl<M: Machine> fmt::Debug for Batched<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batched { node, group, log_id, batch } = self;
        write!(f, "Batched {{ node {node}, group {group}, {log_id:?}, {batch:?} }}")
    }
}

/// A replica has applied who belongs to its group from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembersApplied {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The entry.
    pub log_id: LogId,
    /// Those who vote; two sets while they change from one to the other, and a quorum is one of each.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Those who only follow.
    pub learners: BTreeSet<NodeId>,
}

/// A replica has stopped in good order, with this state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// See [`state_hash`].
    pub state_hash: u64,
}

/// A replica that the group has left behind is about to be wiped, but for its vote: from now on its disk keeps no word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wiping {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
}

/// A replica's vote is durable: whom it supports in a term, and whether that one leads. One node per group, replica and
/// term, across all restarts; and at most one leader per group and term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VoteSaved {
    /// Who votes.
    pub node: NodeId,
    /// In which group.
    pub group: GroupId,
    /// In which term.
    pub term: Term,
    /// For whom.
    pub candidate: NodeId,
    /// A quorum is known to have voted alike.
    pub leads: bool,
}

/// Raft is told that all entries up to this one are durable on a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The last of them.
    pub last: LogId,
}

/// A replica is about to drop the entry at `from` and all behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Truncating {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The first to go.
    pub from: LogIndex,
}

/// A node has begun to lead. At most one per group and term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderElected {
    /// Who.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// In which term.
    pub term: Term,
}

/// A node leads no longer, as far as it knows itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaderLost {
    /// Who.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// The term it led in.
    pub term: Term,
}

/// The commands of an entry have been answered to those who proposed them: the entry must never be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The proposing node.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// The entry.
    pub log_id: LogId,
    /// How many commands it had.
    pub commands: usize,
}

/// A read was told that this node led when it was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Confirmed {
    /// Who.
    pub node: NodeId,
    /// Which group.
    pub group: GroupId,
    /// Reads that shared this round.
    pub reads: usize,
}

/// A replica has written a snapshot of its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotBuilt {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The last entry in it.
    pub last: Option<LogId>,
    /// xxh3-128 of its records: equal states have equal ones.
    pub state_hash: u128,
}

/// A replica has replaced its state by a snapshot, a received one or its own at a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotInstalled {
    /// Where.
    pub node: NodeId,
    /// Of which group.
    pub group: GroupId,
    /// The last entry in it.
    pub last: Option<LogId>,
    /// xxh3-128 of its records.
    pub state_hash: u128,
}

/// What two runs of one batch are compared by.
pub fn outcomes_hash<M: Machine>(outcomes: &[M::Outcome]) -> u64 {
    hash(format!("{outcomes:?}").as_bytes())
}

/// What two states of a group are compared by: all their records.
pub fn state_hash<M: Machine>(machine: &M) -> u64 {
    let mut whole = Xxh3::new();
    for (table, record) in machine.tables() {
        whole.update(&table.to_le_bytes());
        whole.update(&(record.len() as u64).to_le_bytes());
        whole.update(&record);
    }
    whole.digest()
}

pub(crate) fn hash(entry: &[u8]) -> u64 {
    xxh3_64(entry)
}
