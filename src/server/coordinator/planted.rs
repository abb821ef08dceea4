//! What planted bugs do that takes more than a line: each is called from one place, behind its `bug!`, and is gone where none
//! are compiled in.

use std::sync::Arc;

use quorate_core::model::{BranchId, GlobalStatus, TransactionId};
use quorate_core::phase_two::is_skipped;
use quorate_core::txn::command::BranchV1;
use quorate_core::txn::{Command, Direction, Fate, Session, answer};
use quorate_world::task;

use super::ask::{Ask, RegisterAsk, Reply};
use super::context::Coordinator;
use super::driver;
use super::message::Way;
use super::tenure::Tenure;

/// How a transaction stands, as any replica has it.
pub(super) fn standing(coordinator: &Coordinator, ask: &Ask) -> Option<Reply> {
    let Ask::Status(transaction) = ask else { return None };
    let replica = coordinator.led.replica(coordinator.group_of(transaction.slot())?)?;
    replica.read(|state| state.standing(*transaction)).map(answer::status_answer).map(Reply::Standing)
}

/// What was registered with the resource before is taken for the same request.
pub(super) fn same_resource(tenure: &Tenure, ask: &RegisterAsk) -> Option<BranchId> {
    tenure.replica.read(|state| {
        let branches = &state.session(ask.transaction)?.branches;
        branches.values().find(|branch| *branch.resource == *ask.resource).map(|branch| branch.branch)
    })
}

/// A new leader takes for given up what its predecessor may have acknowledged (rule 11).
pub(super) fn remove_branches(tenure: &Tenure) {
    let branches: Vec<BranchV1> = tenure.replica.read(|state| {
        let open = state.sessions().filter(|session| session.status == GlobalStatus::Begin);
        let of = |session: &Session| {
            let transaction = session.transaction;
            session.branches.values().map(move |branch| BranchV1 { transaction, branch: branch.branch }).collect()
        };
        open.flat_map(|session| -> Vec<BranchV1> { of(session) }).collect()
    });
    branches.into_iter().for_each(|branch| drop(tenure.submit(Command::RemoveBranch(branch))));
}

/// Phase two before the decision.
pub(super) fn commit_branches(coordinator: &Arc<Coordinator>, tenure: &Tenure, transaction: TransactionId) {
    for request in tenure.replica.read(|state| driver::requests(state, transaction, Way::Commit)) {
        let coordinator = coordinator.clone();
        task::spawn(async move { coordinator.reach_rm(&request, 0, || true, &mut None).await });
    }
}

/// Who has nothing to do in phase two is asked all the same.
pub(super) fn tell_skipped(coordinator: &Arc<Coordinator>, tenure: &Tenure, id: TransactionId, direction: Direction) {
    let is_planted = match direction {
        Direction::Commit => quorate_world::bug!("annotated_step_is_committed"),
        Direction::Rollback => quorate_world::bug!("failed_branch_is_asked"),
    };
    if !is_planted {
        return;
    }
    let requests: Vec<_> = tenure.replica.read(|state| {
        let branches = state.session(id).into_iter().flat_map(|session| session.branches.values());
        let skipped = branches.filter(|branch| is_skipped(branch, direction));
        skipped.filter_map(|branch| driver::request(state, id, branch.branch)).collect()
    });
    for request in requests {
        let coordinator = coordinator.clone();
        task::spawn(async move { coordinator.reach_rm(&request, 0, || true, &mut None).await });
    }
}

/// What a late end is carried out on: the youngest that is open.
pub(super) fn next_open(tenure: &Tenure) -> Option<TransactionId> {
    let is_open = |session: &&Session| session.status == GlobalStatus::Begin;
    tenure.replica.read(|state| state.sessions().filter(is_open).last().map(|session| session.transaction))
}

/// What an operator has deleted is taken for cleaned up.
pub(super) fn is_deleted(tenure: &Tenure, transaction: TransactionId, branch: BranchId) -> bool {
    let fate = |session: &Session| session.branches.get(&branch).is_some_and(|branch| branch.fate == Fate::CleanUp);
    tenure.replica.read(|state| state.session(transaction).is_some_and(fate))
}
