//! Who a node is: the ids that tell it from a stranger, from a wiped disk, from an old copy and from a running clone
//! (storage, section 14).

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::model::NodeId;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
        pub struct $name(pub [u8; 16]);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

random_id! {
    /// Drawn by the founder, once per cluster. Hex in text.
    ClusterId
}
random_id! {
    /// Drawn when a data folder is first used; another one under the same node id is a swapped or wiped disk.
    DiskId
}
random_id! {
    /// Drawn at each process start; two of them with one epoch are a running clone.
    StartId
}

random_id! {
    /// Drawn by whoever asks for another data group: the same question twice gives one group.
    GroupKey
}

/// The number of a process start, raised durably before the node's first word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct StartEpoch(pub u64);

impl fmt::Display for StartEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where a node is reached, each `host:port`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// By Seata clients; stands in XIDs and in discovery.
    pub advertised: String,
    /// By other nodes.
    pub peer: String,
    /// By people and their tools.
    pub admin: String,
}

/// What the cluster wants of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// It carries groups.
    #[default]
    Serving,
    /// It has a number, and has not started under it yet: it carries nothing.
    Admitted,
    /// Its groups go to others; it stays a member.
    Draining,
    /// Its groups go to others; when it carries nothing it is removed.
    Removing,
    /// It is gone for good: others take its place in every group, and it is removed.
    Lost,
}

impl Standing {
    /// Whether groups are placed on such a node.
    pub fn carries(self) -> bool {
        self == Standing::Serving
    }

    /// Whether such a node goes once nothing is left on it.
    pub fn goes(self) -> bool {
        matches!(self, Standing::Removing | Standing::Lost)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Standing::Serving => "serving",
            Standing::Admitted => "admitted",
            Standing::Draining => "draining",
            Standing::Removing => "removing",
            Standing::Lost => "lost",
        })
    }
}

/// One node as the meta group knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its id, never used twice.
    pub id: NodeId,
    /// The disk that carries this id.
    pub disk: DiskId,
    /// Its latest start.
    pub epoch: StartEpoch,
    /// The random id of that start.
    pub start: StartId,
    /// Where it is reached. Of a lost node, those that no other has by now; the rest is empty.
    pub addresses: Addresses,
    /// Nothing has been heard of it for two election timeouts.
    pub silent: bool,
    /// What the cluster wants of it.
    pub standing: Standing,
}

/// Why a node's word is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum IdentityRefusal {
    /// The disk was wiped or swapped.
    #[error("node {node} is known with another disk ({known}); a lost disk comes back as a new node")]
    OtherDisk {
        /// Whose.
        node: NodeId,
        /// The disk on record.
        known: DiskId,
    },
    /// A restored backup or image: same identity, older memory.
    #[error("node {node} was already seen at start {known}; this is an older copy of its folder")]
    OlderEpoch {
        /// Whose.
        node: NodeId,
        /// The highest epoch on record.
        known: StartEpoch,
    },
    /// Two processes on copies of one folder.
    #[error("node {node} runs twice: start {epoch} is known under another start id")]
    RunningClone {
        /// Whose.
        node: NodeId,
        /// The epoch both have.
        epoch: StartEpoch,
    },
}

impl Node {
    /// Whether a start that says (disk, epoch, start) may speak for this node: a newer one, or the one on record.
    pub fn admits(&self, disk: DiskId, epoch: StartEpoch, start: StartId) -> Result<(), IdentityRefusal> {
        if disk != self.disk {
            return Err(IdentityRefusal::OtherDisk { node: self.id, known: self.disk });
        }
        if epoch < self.epoch {
            return Err(IdentityRefusal::OlderEpoch { node: self.id, known: self.epoch });
        }
        if epoch == self.epoch && start != self.start {
            return Err(IdentityRefusal::RunningClone { node: self.id, epoch });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn node() -> Node {
        Node {
            id: NodeId(2),
            disk: DiskId([1; 16]),
            epoch: StartEpoch(5),
            start: StartId([9; 16]),
            addresses: Addresses::default(),
            silent: false,
            standing: Standing::Serving,
        }
    }

    #[test]
    fn admits_itself_and_what_comes_after() {
        let node = node();
        assert_eq!(node.admits(node.disk, StartEpoch(5), node.start), Ok(()));
        assert_eq!(node.admits(node.disk, StartEpoch(6), StartId([7; 16])), Ok(()));
    }

    #[test]
    fn refuses_wiped_disks_old_copies_and_clones() {
        let node = node();
        let other_disk = node.admits(DiskId([2; 16]), StartEpoch(6), node.start);
        assert!(matches!(other_disk, Err(IdentityRefusal::OtherDisk { .. })));
        let older = node.admits(node.disk, StartEpoch(4), node.start);
        assert_eq!(older, Err(IdentityRefusal::OlderEpoch { node: NodeId(2), known: StartEpoch(5) }));
        let clone = node.admits(node.disk, StartEpoch(5), StartId([8; 16]));
        assert_eq!(clone, Err(IdentityRefusal::RunningClone { node: NodeId(2), epoch: StartEpoch(5) }));
    }

    #[test]
    fn ids_are_hex_in_text() {
        assert_eq!(ClusterId([0xab; 16]).to_string(), "ab".repeat(16));
    }
}
