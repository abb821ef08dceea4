//! Which groups this node leads, and where the others are led as far as it knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::Transactions;
use quorate_raft::Replica;
use quorate_world::sync::Notify;

use super::guard::locked;
use super::tenure::Tenure;

/// The groups of this node.
#[derive(Default)]
pub struct Led {
    groups: Mutex<Groups>,
    /// Rings when another leader is told of a group without a replica here.
    hinted: Notify,
}

#[derive(Default)]
struct Groups {
    replicas: BTreeMap<GroupId, Arc<Replica<Transactions>>>,
    tenures: BTreeMap<GroupId, Arc<Tenure>>,
    /// The tenures again, to take turns.
    ring: Vec<Arc<Tenure>>,
    turn: usize,
    /// Of groups without a replica here.
    hints: BTreeMap<GroupId, Hint>,
}

/// Where a group without a replica here may be led.
#[derive(Default, Clone, Copy)]
struct Hint {
    /// As an answer told last.
    leader: Option<NodeId>,
    /// Which of the group's nodes is asked while nobody has told; goes round as they fail.
    turn: usize,
}

impl Led {
    /// This node has a replica of the group.
    pub fn attach(&self, group: GroupId, replica: Arc<Replica<Transactions>>) {
        locked(&self.groups).replicas.insert(group, replica);
    }

    /// No longer.
    pub fn detach(&self, group: GroupId) {
        locked(&self.groups).replicas.remove(&group);
    }

    /// This node's replica of a group.
    pub fn replica(&self, group: GroupId) -> Option<Arc<Replica<Transactions>>> {
        locked(&self.groups).replicas.get(&group).cloned()
    }

    /// All replicas of this node.
    pub fn replicas(&self) -> Vec<Arc<Replica<Transactions>>> {
        locked(&self.groups).replicas.values().cloned().collect()
    }

    /// A tenure serves from now on.
    pub fn begin(&self, tenure: Arc<Tenure>) {
        let mut groups = locked(&self.groups);
        groups.tenures.insert(tenure.group, tenure);
        groups.ring = groups.tenures.values().cloned().collect();
    }

    /// The tenure of a group is over.
    pub fn end(&self, group: GroupId) -> Option<Arc<Tenure>> {
        let mut groups = locked(&self.groups);
        let ended = groups.tenures.remove(&group);
        groups.ring = groups.tenures.values().cloned().collect();
        ended
    }

    /// The tenure of a group, if it is led here.
    pub fn tenure(&self, group: GroupId) -> Option<Arc<Tenure>> {
        locked(&self.groups).tenures.get(&group).cloned()
    }

    /// All groups led here, ascending.
    pub fn tenures(&self) -> Vec<Arc<Tenure>> {
        locked(&self.groups).tenures.values().cloned().collect()
    }

    /// Takes turns over the groups led here that own slots.
    pub fn next(&self) -> Option<Arc<Tenure>> {
        let mut groups = locked(&self.groups);
        let turn = groups.turn.checked_rem(groups.ring.len())?;
        let owns = |tenure: &&Arc<Tenure>| tenure.replica.read(|state| state.slots().next().is_some());
        let (steps, next) = (0..)
            .zip(groups.ring.iter().cycle().skip(turn).take(groups.ring.len()))
            .find(|(_, tenure)| owns(tenure))?;
        let next = next.clone();
        groups.turn = turn + steps + 1;
        Some(next)
    }

    /// The node that leads a group, as far as this node knows: by its own replica, else by what it was told last.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.known(group).unwrap_or_else(|hint| hint.leader)
    }

    /// As [`Led::leader`]; where nobody has told, one of the nodes that `carry` the group, which will know.
    pub fn whom_to_ask(&self, group: GroupId, carry: impl FnOnce() -> Vec<NodeId>) -> Option<NodeId> {
        self.known(group).unwrap_or_else(|Hint { leader, turn }| {
            leader.or_else(|| {
                let carry = carry();
                carry.get(turn.checked_rem(carry.len())?).copied()
            })
        })
    }

    /// What this node's replica says, or what others have told.
    fn known(&self, group: GroupId) -> Result<Option<NodeId>, Hint> {
        let groups = locked(&self.groups);
        match groups.replicas.get(&group) {
            Some(replica) => Ok(replica.leadership().borrow().leader),
            None => Err(groups.hints.get(&group).copied().unwrap_or_default()),
        }
    }

    /// A node answered that it doesn't lead a group, and perhaps who does.
    pub fn told(&self, group: GroupId, leader: Option<NodeId>) {
        let before = {
            let mut groups = locked(&self.groups);
            let hint = groups.hints.entry(group).or_default();
            hint.turn = hint.turn.wrapping_add(usize::from(leader.is_none()));
            core::mem::replace(&mut hint.leader, leader)
        };
        if leader.is_some() && leader != before {
            self.hinted.notify_waiters();
        }
    }

    /// Waits until another leader is told of a group without a replica here.
    pub fn hinted(&self) -> impl Future<Output = ()> {
        self.hinted.notified()
    }

    /// A node that was taken for a group's leader could not be asked, or did not answer: the next one is asked, unless
    /// another has been told since.
    pub fn missed(&self, group: GroupId, node: NodeId) {
        let mut groups = locked(&self.groups);
        let hint = groups.hints.entry(group).or_default();
        if hint.leader.is_none_or(|leader| leader == node) {
            *hint = Hint { leader: None, turn: hint.turn.wrapping_add(1) };
        }
    }
}
