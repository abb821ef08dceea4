//! Which exit code a fault of the world at the start becomes.

use quorate_core::cluster::ClusterId;
use quorate_core::model::NodeId;
use quorate_raft::OpenError;
use quorate_storage::StorageError;
use std::collections::BTreeMap;

use crate::exit::{ExitCode, Failure};
use crate::peer::HelloRefusal;

/// What storage says, as an end of the process.
pub fn storage_failure(error: StorageError) -> Failure {
    Failure::new(ExitCode::numbered(error.exit_code()).unwrap_or(ExitCode::Io), error.to_string())
}

/// Why a group could not be opened, as an end of the process.
pub fn open_failure(error: &OpenError) -> Failure {
    let code = match error {
        OpenError::Unreadable { exit_code, .. } => ExitCode::numbered(*exit_code).unwrap_or(ExitCode::Io),
        OpenError::Open(_) | OpenError::Broken { .. } => ExitCode::Bug,
    };
    Failure::new(code, error.to_string())
}

/// Whether this node has to stop because of what others said to its hello. One word about its disk or its start is
/// enough: it comes from a member that knows better. "You belong elsewhere" needs half of the cluster, so that a single
/// stranger at a peer's address stops nobody.
pub fn refused_for_good(
    refusals: &BTreeMap<NodeId, HelloRefusal>,
    cluster: Option<ClusterId>,
    nodes: usize,
) -> Option<Failure> {
    let identity = |text: String| Some(Failure::new(ExitCode::Identity, text));
    let mut foreign = 0;
    for (node, refusal) in refusals {
        match refusal {
            HelloRefusal::Removed(_) => return identity(format!("node {node} refuses this one: {refusal}")),
            HelloRefusal::Identity(reason) => return identity(format!("node {node} refuses this one: {reason}")),
            HelloRefusal::Format { first, last } => {
                let text = format!("node {node} speaks formats {first} to {last} only, which this binary does not");
                return Some(Failure::new(ExitCode::Version, text));
            }
            HelloRefusal::ForeignCluster(theirs) if cluster.is_none_or(|own| own != *theirs) => {
                foreign += 1;
                if foreign * 2 >= nodes {
                    return identity(format!("node {node} belongs to another cluster, {theirs}"));
                }
            }
            // It does not know of us yet, or we changed clusters in between: asked again, it may say something else.
            HelloRefusal::ForeignCluster(_)
            | HelloRefusal::UnknownNode(_)
            | HelloRefusal::Senseless
            | HelloRefusal::NoCluster
            | HelloRefusal::TooManyStrangers => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::cluster::member::IdentityRefusal;
    use quorate_core::cluster::{DiskId, StartEpoch};

    const OWN: Option<ClusterId> = Some(ClusterId([1; 16]));
    const FOREIGN: HelloRefusal = HelloRefusal::ForeignCluster(ClusterId([9; 16]));

    fn judged(refusals: &[(u64, HelloRefusal)], nodes: usize) -> Option<ExitCode> {
        let refusals = refusals.iter().map(|(node, refusal)| (NodeId(*node), *refusal)).collect();
        refused_for_good(&refusals, OWN, nodes).map(|failure| failure.code)
    }

    #[test]
    fn one_word_about_disk_or_start_is_enough() {
        let node = NodeId(1);
        let disk = HelloRefusal::Identity(IdentityRefusal::OtherDisk { node, known: DiskId([1; 16]) });
        assert_eq!(judged(&[(2, disk)], 5), Some(ExitCode::Identity));
        let clone = HelloRefusal::Identity(IdentityRefusal::RunningClone { node, epoch: StartEpoch(3) });
        assert_eq!(judged(&[(2, clone)], 5), Some(ExitCode::Identity));
        assert_eq!(judged(&[(2, HelloRefusal::Format { first: 2, last: 3 })], 5), Some(ExitCode::Version));
    }

    #[test]
    fn one_stranger_stops_nobody_but_half_of_the_cluster_does() {
        assert_eq!(judged(&[(2, FOREIGN)], 3), None);
        assert_eq!(judged(&[(2, FOREIGN), (3, FOREIGN)], 3), Some(ExitCode::Identity));
        assert_eq!(judged(&[(2, FOREIGN)], 2), Some(ExitCode::Identity));
        assert_eq!(judged(&[(2, HelloRefusal::UnknownNode(NodeId(1))), (3, HelloRefusal::Senseless)], 3), None);
    }
}
