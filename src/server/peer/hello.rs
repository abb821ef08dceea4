//! The first frame both ways: who is there, and whether the other side may speak.
//!
//! A node takes no word from a foreign cluster, from another disk under a known id, from an older copy of a known disk,
//! and from a second process on a copy of a folder (storage, section 14). Whoever is refused is told why.

use quorate_core::cluster::member::IdentityRefusal;
use quorate_core::cluster::{Addresses, ClusterId, DiskId, StartEpoch, StartId};
use quorate_core::codec::Persisted;
use quorate_core::model::NodeId;
use serde::{Deserialize, Serialize};

use super::frame::FORMAT;
use super::kind::Class;

/// A hello with its addresses is far below; a stranger may not make us allocate more.
pub const HELLO_BYTES_MAX: usize = 4 << 10;

/// Who this node is, as it says in each hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Own {
    /// None before the cluster is founded or joined.
    pub cluster: Option<ClusterId>,
    /// Its id.
    pub node: NodeId,
    /// Its disk.
    pub disk: DiskId,
    /// The number of this start.
    pub epoch: StartEpoch,
    /// The random id of this start.
    pub start: StartId,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// The body of a hello.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HelloV1 {
    /// The oldest format that the node reads and writes.
    pub format_first: u16,
    /// The newest.
    pub format_last: u16,
    /// None while its folder is empty.
    pub cluster: Option<ClusterId>,
    /// None for a node that wants to join and has no id yet.
    pub node: Option<NodeId>,
    /// Its disk.
    pub disk: DiskId,
    /// The number of its start.
    pub epoch: StartEpoch,
    /// The random id of its start.
    pub start: StartId,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What the connection is for: the number of a [`Class`].
    pub class: u8,
}

/// Why a hello is refused. Travels back as the body of an error frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum HelloRefusal {
    /// No common format.
    #[error("it reads formats {first} to {last} only")]
    Format {
        /// Oldest format of the refusing node.
        first: u16,
        /// Newest format of the refusing node.
        last: u16,
    },
    /// The two belong to different clusters.
    #[error("it belongs to cluster {0}")]
    ForeignCluster(ClusterId),
    /// A disk, a start or a process that may not use this id.
    #[error(transparent)]
    Identity(IdentityRefusal),
    /// Neither configured as a peer nor a member, or the id of the refusing node itself.
    #[error("it knows no other node with id {0}")]
    UnknownNode(NodeId),
    /// A node without id, where one with an id was expected, or a class that is not there.
    #[error("the hello makes no sense")]
    Senseless,
    /// A node that was a member and is none any more.
    #[error("node {0} was removed from the cluster; an empty data folder joins as a new node")]
    Removed(NodeId),
    /// A node without an id can be told nothing here: this one belongs to no cluster yet.
    #[error("it belongs to no cluster yet")]
    NoCluster,
    /// As many nodes without an id are being answered as may be at a time.
    #[error("it answers too many nodes without an id already; try again")]
    TooManyStrangers,
}

impl Persisted for HelloV1 {
    const BYTES_MAX: usize = HELLO_BYTES_MAX;
}
impl Persisted for HelloRefusal {
    const BYTES_MAX: usize = HELLO_BYTES_MAX;
}

impl Own {
    /// The hello that opens a connection of a class.
    pub fn hello(&self, class: Class) -> HelloV1 {
        HelloV1 {
            format_first: FORMAT,
            format_last: FORMAT,
            cluster: self.cluster,
            node: Some(self.node),
            disk: self.disk,
            epoch: self.epoch,
            start: self.start,
            addresses: self.addresses.clone(),
            class: class.number(),
        }
    }

    /// The hello of a node that has neither id nor cluster and wants to join.
    pub fn hello_of_stranger(&self) -> HelloV1 {
        HelloV1 { node: None, cluster: None, ..self.hello(Class::Request) }
    }

    /// Whether the other side has neither id nor cluster and wants to join the cluster of this node.
    pub fn is_stranger(&self, hello: &HelloV1) -> Result<bool, HelloRefusal> {
        let is_stranger = hello.node.is_none() && hello.cluster.is_none();
        if is_stranger && !(hello.format_first..=hello.format_last).contains(&FORMAT) {
            return Err(HelloRefusal::Format { first: FORMAT, last: FORMAT });
        }
        if is_stranger && self.cluster.is_none() {
            return Err(HelloRefusal::NoCluster);
        }
        Ok(is_stranger)
    }

    /// Judges what the other side says, as far as it needs no memory of earlier words: that is up to the book of peers.
    pub fn judge(&self, hello: &HelloV1) -> Result<(NodeId, Class), HelloRefusal> {
        if hello.format_first > FORMAT || hello.format_last < FORMAT {
            return Err(HelloRefusal::Format { first: FORMAT, last: FORMAT });
        }
        if let (Some(own), Some(other)) = (self.cluster, hello.cluster)
            && own != other
        {
            return Err(HelloRefusal::ForeignCluster(own));
        }
        let node = hello.node.ok_or(HelloRefusal::Senseless)?;
        let class = Class::of_number(hello.class).ok_or(HelloRefusal::Senseless)?;
        if node == self.node {
            return Err(HelloRefusal::UnknownNode(node));
        }
        Ok((node, class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::codec;

    fn own(node: u64, cluster: Option<u8>) -> Own {
        Own {
            cluster: cluster.map(|byte| ClusterId([byte; 16])),
            node: NodeId(node),
            disk: DiskId([1; 16]),
            epoch: StartEpoch(1),
            start: StartId([2; 16]),
            addresses: Addresses::default(),
        }
    }

    #[test]
    fn the_same_cluster_or_none_yet_is_welcome() {
        for (ours, theirs) in [(None, None), (Some(7), Some(7)), (None, Some(7)), (Some(7), None)] {
            let hello = own(2, theirs).hello(Class::Bulk);
            assert_eq!(own(1, ours).judge(&hello), Ok((NodeId(2), Class::Bulk)));
        }
    }

    #[test]
    fn strangers_are_told_why() {
        let judge = |change: fn(&mut HelloV1)| {
            let mut hello = own(2, Some(7)).hello(Class::Raft);
            change(&mut hello);
            own(1, Some(7)).judge(&hello).expect_err("not welcome")
        };
        let foreign = HelloRefusal::ForeignCluster(ClusterId([7; 16]));
        assert_eq!(judge(|hello| hello.cluster = Some(ClusterId([8; 16]))), foreign);
        let format = HelloRefusal::Format { first: 1, last: 1 };
        assert_eq!(judge(|hello| hello.format_first = 2), format);
        assert_eq!(judge(|hello| hello.format_last = 0), format);
        assert_eq!(judge(|hello| hello.node = Some(NodeId(1))), HelloRefusal::UnknownNode(NodeId(1)));
        assert_eq!(judge(|hello| hello.node = None), HelloRefusal::Senseless);
        assert_eq!(judge(|hello| hello.class = 9), HelloRefusal::Senseless);
    }

    #[test]
    fn the_bytes_never_change() {
        let mut hello = own(2, Some(7)).hello(Class::Request);
        hello.addresses.peer = "b:9".into();
        let bytes = codec::encode(&hello).expect("small");
        let expected =
            [&[1, 1, 1, 1][..], &[7; 16], &[1, 2], &[1; 16], &[1], &[2; 16], &[0, 3, b'b', b':', b'9', 0, 3]];
        assert_eq!(bytes, expected.concat());
        assert_eq!(codec::decode_canonical(&bytes), Ok(hello));
    }
}
