//! From taps in the nodes to what oracles understand.

use crate::remains::Remains;
use crate::scene::Scene;
use crate::seen::Seen;
use quorate_core::model::TransactionId;
use quorate_core::txn::Transactions;
use quorate_raft::events as raft;
use quorate_server::coordinator::events as coordinator;
use quorate_server::node_events::Pictured;
use quorate_world::sim::{Lingered, Tap};

/// Shows the scene what a node told.
pub fn show(scene: &Scene, remains: &Remains, tap: &Tap<'_>) {
    if let Some(Lingered { lasts, .. }) = tap.get() {
        scene.lingers(*lasts);
    } else if let Some(batched) = tap.get::<raft::Batched<Transactions>>() {
        scene.applied(batched.node, batched.group, batched.log_id, &batched.batch);
    } else if let Some(seen) = of_raft(tap).or_else(|| of_node(tap)).or_else(|| of_coordinator(tap)) {
        if let Seen::Voted { node, .. } | Seen::Appended { node, .. } = &seen {
            scene.lives_at(*node, tap.machine);
        }
        scene.saw(seen.clone());
        remains.consider(&seen);
    }
}

fn of_raft(tap: &Tap<'_>) -> Option<Seen> {
    if let Some(&raft::Outcomes { node, group, log_id, outcomes_hash }) = tap.get() {
        return Some(Seen::Outcomes { node, group, log_id, hash: outcomes_hash });
    }
    if let Some(&raft::SnapshotBuilt { node, group, last, state_hash }) = tap.get() {
        return Some(Seen::Snapshot { node, group, last, hash: state_hash });
    }
    if let Some(&raft::SnapshotInstalled { node, group, last, state_hash }) = tap.get() {
        return Some(Seen::Snapshot { node, group, last, hash: state_hash });
    }
    if let Some(at) = tap.get::<raft::Applied>() {
        let raft::Applied { node, group, log_id, entry_hash, .. } = *at;
        return Some(Seen::Applied { node, group, log_id, entry_hash });
    }
    if let Some(&raft::LeaderElected { node, group, term }) = tap.get() {
        return Some(Seen::Elected { node, group, term });
    }
    if let Some(&raft::Answered { node, group, log_id, .. }) = tap.get() {
        return Some(Seen::Answered { node, group, log_id });
    }
    if let Some(&raft::Appended { node, group, last }) = tap.get() {
        return Some(Seen::Appended { node, group, last });
    }
    if let Some(&raft::Truncating { node, group, from }) = tap.get() {
        return Some(Seen::Truncating { node, group, from });
    }
    if let Some(&raft::VoteSaved { node, group, term, candidate, leads }) = tap.get() {
        return Some(Seen::Voted { node, group, term, candidate, leads });
    }
    if let Some(at) = tap.get::<raft::MembersApplied>() {
        let raft::MembersApplied { group, log_id, voters, learners, .. } = at.clone();
        return Some(Seen::Members { group, log_id, voters, learners });
    }
    if let Some(&raft::Wiping { node, group }) = tap.get() {
        return Some(Seen::Wiping { node, group });
    }
    let &raft::Stopped { node, group, state_hash } = tap.get()?;
    Some(Seen::Stopped { node, group, state_hash })
}

fn of_node(tap: &Tap<'_>) -> Option<Seen> {
    let Pictured { node, routing } = tap.get()?;
    Some(Seen::Pictured { node: *node, routing: routing.clone() })
}

fn of_coordinator(tap: &Tap<'_>) -> Option<Seen> {
    if let Some(at) = tap.get::<coordinator::DecisionKnown>() {
        let coordinator::DecisionKnown { node, transaction, status, .. } = *at;
        return Some(Seen::DecisionKnown { node, transaction, status });
    }
    if let Some(at) = tap.get::<coordinator::BranchAcknowledged>() {
        let coordinator::BranchAcknowledged { node, transaction, branch, .. } = *at;
        return Some(Seen::Acknowledged { node, transaction, branch });
    }
    if let Some(&coordinator::BranchGivenUp { node, transaction, branch }) = tap.get() {
        return Some(Seen::GivenUp { node, transaction, branch });
    }
    if let Some(at) = tap.get::<coordinator::AuditAnswered>() {
        let coordinator::AuditAnswered { node, group, transaction, ref gone } = *at;
        return Some(Seen::Gone { node, group, transaction, branches: gone.clone() });
    }
    if let Some(at) = tap.get::<coordinator::ReleaseCounted>() {
        let coordinator::ReleaseCounted { node, transaction, slot, ref scope } = *at;
        return Some(Seen::ReleaseCounted { node, transaction, slot, scope: scope.clone() });
    }
    if let Some(at) = tap.get::<coordinator::PhaseTwoSent>() {
        let coordinator::PhaseTwoSent { node, transaction, branch, way } = *at;
        return Some(Seen::PhaseTwoSent { node, transaction, branch, way });
    }
    if let Some(&coordinator::Looked { node, group, transaction }) = tap.get() {
        return Some(Seen::Looked { node, group, transaction });
    }
    let (machine, life) = (tap.machine.index(), tap.machine.lives());
    if let Some(at) = tap.get::<coordinator::Registered>() {
        let application = at.application.clone();
        return Some(Seen::Registered { machine, life, channel: at.channel, application });
    }
    if let Some(&coordinator::Disconnected { channel, .. }) = tap.get() {
        return Some(Seen::Disconnected { machine, life, channel });
    }
    let at = tap.get::<coordinator::PhaseTwoAnswered>()?;
    let coordinator::PhaseTwoAnswered { node, transaction, branch, status } = *at;
    Some(Seen::PhaseTwoAnswered { node, transaction, branch, status })
}

/// The transaction that an XID names.
pub fn transaction_of(xid: &str) -> Option<TransactionId> {
    quorate_core::model::Xid::parse(xid).ok().map(|xid| xid.transaction)
}
