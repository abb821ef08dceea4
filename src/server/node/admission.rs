//! How a node with an empty folder joins a running cluster: it asks any member, and the meta group gives it a number.
//!
//! Asked again with the same disk, the number is the same, so an answer may be lost at any moment. If the folder is lost
//! before the first start under the number, the next one at that address waits until that number is forgotten.

use std::sync::Arc;

use quorate_core::cluster::command::AdmitNodeV1;
use quorate_core::cluster::{MetaOutcome, MetaRefusal};
use quorate_core::codec;
use quorate_core::model::NodeId;
use quorate_storage::{Identity, Storage};
use quorate_world::time::{self, Duration};

use super::failure::storage_failure;
use super::message::{AdmittedV1, MetaAnswerV1, MetaAskV1};
use crate::exit::{ExitCode, Failure};
use crate::peer::{AskError, HelloRefusal, Own, Peers, ask_as_stranger};

/// Between two tries, at first and at most.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// Asks the member at `at` until it lets this node in, and makes the folder its own. Fails only for good.
pub async fn join(at: &str, own: &Own, storage: &Storage) -> Result<AdmittedV1, Failure> {
    tracing::info!(at, "asking to join");
    let admitted = insist(at, own).await?;
    let identity = Identity { cluster: admitted.cluster.0, node: admitted.node, disk: own.disk.0 };
    storage.found(identity).await.map_err(storage_failure)?;
    tracing::info!(node = %admitted.node, cluster = %admitted.cluster, "joined");
    Ok(admitted)
}

/// A joined node that starts again before it has followed the meta group knows nobody: it asks again who is there. In vain
/// is no fault, the others may find it first.
pub async fn meet_again(at: String, own: Own, peers: Arc<Peers>) {
    if let Ok(admitted) = insist(&at, &own).await {
        peers.introduce(admitted.peers.iter().map(|(node, address)| (*node, address.as_str())));
    }
}

async fn insist(at: &str, own: &Own) -> Result<AdmittedV1, Failure> {
    let mut pause = PAUSE_FIRST;
    loop {
        match ask(at, own).await {
            Ok(admitted) => return Ok(admitted),
            Err(NotYet::ForGood(failure)) => return Err(failure),
            Err(NotYet::Later(reason)) if pause < PAUSE_LONGEST => tracing::debug!(at, reason, "not let in yet"),
            Err(NotYet::Later(reason)) => {
                tracing::warn!(at, reason, "not let in yet; is it the peer port of a member?")
            }
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_LONGEST);
    }
}

enum NotYet {
    ForGood(Failure),
    Later(String),
}

async fn ask(at: &str, own: &Own) -> Result<AdmittedV1, NotYet> {
    let for_good = |code, reason: String| NotYet::ForGood(Failure::new(code, format!("join = {at}: {reason}")));
    let asker = AdmitNodeV1 { disk: own.disk, addresses: own.addresses.clone() };
    let body = codec::encode(&MetaAskV1::Admit(asker)).map_err(|error| for_good(ExitCode::Usage, error.to_string()))?;
    let hello = own.hello_of_stranger();
    let (theirs, answer) = ask_as_stranger(at, &hello, &body).await.map_err(|error| match error {
        AskError::NotLetIn(refusal @ HelloRefusal::Format { .. }) => for_good(ExitCode::Version, refusal.to_string()),
        AskError::NotLetIn(refusal) => NotYet::Later(refusal.to_string()),
        AskError::Refused(reason) | AskError::Unreachable(reason) => NotYet::Later(reason),
    })?;
    match codec::decode_canonical(&answer) {
        Ok(MetaAnswerV1::Admitted(admitted)) => Ok(introduced(admitted, theirs.node, theirs.addresses.peer)),
        Ok(MetaAnswerV1::Outcome(MetaOutcome::Refused(refusal @ MetaRefusal::Joining(_)))) => {
            Err(NotYet::Later(refusal.to_string()))
        }
        Ok(MetaAnswerV1::Outcome(MetaOutcome::Refused(refusal))) => {
            Err(for_good(ExitCode::Identity, refusal.to_string()))
        }
        Ok(
            MetaAnswerV1::Outcome(MetaOutcome::Done { .. } | MetaOutcome::Admitted { .. } | MetaOutcome::Added { .. })
            | MetaAnswerV1::Joined(_)
            | MetaAnswerV1::NotLeader(_)
            | MetaAnswerV1::Unknown,
        ) => Err(NotYet::Later("the cluster has no leader at the moment".to_owned())),
        Err(error) => Err(NotYet::Later(error.to_string())),
    }
}

/// Whoever answered is known too, by the address that it says.
fn introduced(mut admitted: AdmittedV1, node: Option<NodeId>, address: String) -> AdmittedV1 {
    if let Some(node) = node
        && admitted.peers.iter().all(|(known, _)| *known != node)
    {
        admitted.peers.push((node, address));
    }
    admitted
}
