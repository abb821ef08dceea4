//! What nodes say to each other about the cluster itself: frames of kind 80.

use quorate_core::cluster::command::{AdmitNodeV1, NodeStartedV1};
use quorate_core::cluster::{ClusterId, DiskId, MetaCommand, MetaOutcome};
use quorate_core::codec::Persisted;
use quorate_core::model::{Epoch, NodeId, Slot};
use serde::{Deserialize, Serialize};

/// A word to another node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MetaAskV1 {
    /// From the founder: you belong to this cluster. Done again, it changes nothing.
    Join(JoinV1),
    /// To the leader of the meta group: propose this.
    Propose(MetaCommand),
    /// From a node without an id, to any member: let it join. It may be asked again.
    Admit(AdmitNodeV1),
}

/// What a node needs to know that was let in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdmittedV1 {
    /// Its number.
    pub node: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The other nodes and where their peer ports are.
    pub peers: Vec<(NodeId, String)>,
}

/// See [`MetaAskV1::Join`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinV1 {
    /// The cluster, drawn by the founder.
    pub cluster: ClusterId,
    /// The empty disk that is meant; another one refuses.
    pub disk: DiskId,
}

/// To a node that carries the group of a slot that moves: this chunk of its copy, once the slot is frozen. A frame of kind 33, on the
/// connection for bulk; the answer is the command that installs the chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopyAskV1 {
    /// Which slot.
    pub slot: Slot,
    /// Which attempt.
    pub epoch: Epoch,
    /// Which chunk, from 0.
    pub chunk: u32,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MetaAnswerV1 {
    /// The disk belongs to the cluster now, durably; this is who answers.
    Joined(NodeStartedV1),
    /// What became of the command.
    Outcome(MetaOutcome),
    /// Not proposed: the leader, if known, is another node.
    NotLeader(Option<NodeId>),
    /// Proposed or not, applied or not: ask again.
    Unknown,
    /// To a node without an id: it is a member now.
    Admitted(AdmittedV1),
}

impl Persisted for CopyAskV1 {
    const BYTES_MAX: usize = 64;
}
impl Persisted for MetaAskV1 {
    const BYTES_MAX: usize = 4 << 20;
}
impl Persisted for MetaAnswerV1 {
    const BYTES_MAX: usize = 64 << 10;
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::cluster::StartEpoch;
    use quorate_core::cluster::command::NodeV1;
    use quorate_core::codec;

    #[test]
    fn the_bytes_never_change() {
        let join = MetaAskV1::Join(JoinV1 { cluster: ClusterId([7; 16]), disk: DiskId([1; 16]) });
        let bytes = [&[1, 0][..], &[7; 16], &[1; 16]].concat();
        assert_eq!(codec::encode(&join), Ok(bytes));
        let silent = MetaCommand::NodeSilent(NodeV1 { node: NodeId(3), epoch: StartEpoch(2) });
        assert_eq!(codec::encode(&MetaAskV1::Propose(silent)), Ok(vec![1, 1, 2, 3, 2]));
        let outcome = MetaAnswerV1::Outcome(MetaOutcome::Done { picture: 5 });
        assert_eq!(codec::encode(&outcome), Ok(vec![1, 1, 0, 5]));
        assert_eq!(codec::encode(&MetaAnswerV1::NotLeader(Some(NodeId(2)))), Ok(vec![1, 2, 1, 2]));
        assert_eq!(codec::encode(&MetaAnswerV1::Unknown), Ok(vec![1, 3]));
        let joined = MetaAnswerV1::Joined(NodeStartedV1 {
            node: NodeId(2),
            disk: DiskId([1; 16]),
            epoch: StartEpoch(1),
            start: Default::default(),
            addresses: Default::default(),
        });
        let bytes = [&[1, 0, 2][..], &[1; 16], &[1], &[0; 16], &[0, 0, 0]].concat();
        assert_eq!(codec::encode(&joined), Ok(bytes));
        let copy = CopyAskV1 { slot: Slot(7), epoch: Epoch(9), chunk: 2 };
        assert_eq!(codec::encode(&copy), Ok(vec![1, 7, 9, 2]));
        let admit = MetaAskV1::Admit(AdmitNodeV1 { disk: DiskId([1; 16]), addresses: Default::default() });
        assert_eq!(codec::encode(&admit), Ok([&[1, 2][..], &[1; 16], &[0, 0, 0]].concat()));
        let peers = vec![(NodeId(2), "b:9".to_owned())];
        let admitted = MetaAnswerV1::Admitted(AdmittedV1 { node: NodeId(4), cluster: ClusterId([7; 16]), peers });
        let bytes = [&[1, 4, 4][..], &[7; 16], &[1, 2, 3, b'b', b':', b'9']].concat();
        assert_eq!(codec::encode(&admitted), Ok(bytes));
    }
}
