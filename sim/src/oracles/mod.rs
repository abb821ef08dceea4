//! Oracles: each judges one promise, from what was seen and from the ghost model. One file each; the first line says
//! where the promise comes from.
//!
//! An oracle never asks a node and never takes an error or a silence for "did not happen": unknown stays unknown.
//! To add one: a file here with an [`Oracle`], a line in [`all`], a line in `docs/SIMULATION.md`, and a planted bug that
//! only it finds.

mod a10_passed_over;
mod a11_refused;
mod a12_lost_tm;
mod a13_last_first;
mod a1_atomicity;
mod a2_one_decision;
mod a3_decision_first;
mod a4_fixed_list;
mod a5_forward;
mod a6_in_its_time;
mod a7_saga;
mod a8_nothing_prepared;
mod a9_fenced;
mod b10_read_committed;
mod b11_one_ring;
mod b1_one_holder;
mod b2_dirty_write;
mod b3_no_lock_left;
mod b4_all_or_none;
mod b5_let_go;
mod b6_money;
mod b7_waits_end;
mod b8_rows_asked;
mod b9_fail_fast;
mod c1_kept_word;
mod c2_no_phantom;
mod c3_fresh;
mod c4_once;
mod c5_own_answer;
mod c6_honest_no;
mod c7_no_stale_leader;
mod c8_no_stranger;
mod d2_durable;
mod d3_whole_snapshots;
mod d_logs;
mod e4_members;
mod g1_all_end;
mod g2_nothing_left;
mod g3_placed;
mod g5_nothing_grows;
mod g7_undo_logs;
mod lk2_one_owner;
mod lk4_owner_releases;
mod lk5_let_go_first;
mod lk6_gone_for_ever;

use crate::bank::Bank;
use crate::ghost::Ghost;
use crate::seen::{Seen, Step};
use quorate_core::model::{GroupId, NodeId, TransactionId};

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Finding {
    /// What is wrong, for people.
    pub text: String,
    /// Which transaction, if it is about one,
    pub transaction: Option<TransactionId>,
    /// group,
    pub group: Option<GroupId>,
    /// and node.
    pub node: Option<NodeId>,
}

impl Finding {
    /// About nothing in particular.
    pub fn new(text: impl Into<String>) -> Finding {
        Finding { text: text.into(), ..Finding::default() }
    }

    /// About this transaction.
    pub fn about(transaction: TransactionId, text: impl Into<String>) -> Finding {
        Finding { transaction: Some(transaction), ..Finding::new(text) }
    }

    /// In this group.
    pub fn in_group(self, group: GroupId) -> Finding {
        Finding { group: Some(group), ..self }
    }

    /// At this node.
    pub fn at_node(self, node: NodeId) -> Finding {
        Finding { node: Some(node), ..self }
    }
}

/// What an oracle says.
pub type Judgement = Result<(), Finding>;

/// Judges one promise.
pub trait Oracle: Send {
    /// As `simulation` notes and tables name it.
    fn name(&self) -> &'static str;

    /// Something was seen.
    fn see(&mut self, _ghost: &Ghost, _seen: &Seen) -> Judgement {
        Ok(())
    }

    /// A group has applied a command; the ghost knows it already.
    fn step(&mut self, _ghost: &Ghost, _step: &Step<'_>) -> Judgement {
        Ok(())
    }

    /// Everything has come to rest.
    fn at_rest(&mut self, _ghost: &Ghost, _bank: &Bank) -> Judgement {
        Ok(())
    }

    /// What still keeps the world from rest, after the heal; for oracles of liveness.
    fn pending(&self, _ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        Vec::new()
    }
}

/// All oracles.
pub fn all() -> Vec<Box<dyn Oracle>> {
    vec![
        Box::new(d_logs::Logs::default()),
        Box::new(d2_durable::DurableFirst),
        Box::new(d3_whole_snapshots::WholeSnapshots::default()),
        Box::new(a1_atomicity::Atomicity::default()),
        Box::new(a2_one_decision::OneDecision::default()),
        Box::new(a3_decision_first::DecisionFirst),
        Box::new(a4_fixed_list::FixedList::default()),
        Box::new(a5_forward::Forward::default()),
        Box::new(a6_in_its_time::InItsTime::default()),
        Box::new(a7_saga::SagaEnds),
        Box::new(a8_nothing_prepared::NothingPrepared::default()),
        Box::new(a9_fenced::Fenced::default()),
        Box::new(a10_passed_over::PassedOver),
        Box::new(a11_refused::Refused::default()),
        Box::new(a12_lost_tm::LostTm::default()),
        Box::new(a13_last_first::LastFirst::default()),
        // Before B1: who has only some of his rows is not one who has none.
        Box::new(b4_all_or_none::AllOrNone),
        Box::new(b1_one_holder::OneHolder::default()),
        Box::new(b2_dirty_write::DirtyWrite::default()),
        // Before B3: what counts as let go and is not shows sooner than when it ends.
        Box::new(lk4_owner_releases::OwnerReleases::default()),
        Box::new(b3_no_lock_left::NoLockLeft),
        Box::new(b5_let_go::LetGo::default()),
        Box::new(b6_money::Money),
        Box::new(b11_one_ring::OneRing),
        Box::new(b7_waits_end::WaitsEnd::default()),
        Box::new(b8_rows_asked::RowsAsked::default()),
        Box::new(b9_fail_fast::FailFast::default()),
        Box::new(b10_read_committed::ReadCommitted::default()),
        Box::new(c1_kept_word::KeptWord),
        Box::new(c2_no_phantom::NoPhantom::default()),
        Box::new(c3_fresh::Fresh),
        Box::new(c4_once::Once::default()),
        Box::new(c5_own_answer::OwnAnswer::default()),
        Box::new(c6_honest_no::HonestNo::default()),
        Box::new(c7_no_stale_leader::NoStaleLeader::default()),
        Box::new(c8_no_stranger::NoStranger),
        Box::new(lk2_one_owner::OneOwner::default()),
        Box::new(lk5_let_go_first::LetGoFirst::default()),
        Box::new(lk6_gone_for_ever::GoneForEver::default()),
        Box::new(e4_members::OneQuorum::default()),
        // What is pending first is named: a group that is nowhere lets nothing end.
        Box::new(g3_placed::Placed),
        Box::new(g1_all_end::AllEnd),
        Box::new(g2_nothing_left::NothingLeft),
        Box::new(g5_nothing_grows::NothingGrows::default()),
        Box::new(g7_undo_logs::UndoLogs::default()),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    //! What histories for oracles are made of: one transaction with one branch.

    use super::*;
    use crate::bank::Effect;
    use crate::ghost::transaction::{Listed, Transaction};
    use quorate_core::model::{
        BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, LogId, LogIndex, Term, hash,
    };
    use quorate_core::txn::command::{
        AcquireLocksV1, BeginV1, DecideV1, Decision, FoundV1, GiveUpV1, ReleaseLocksV1, Stamp, TransactionV1,
    };
    use quorate_core::txn::{Batch, Command, Outcome, ReleaseScope};

    /// A transaction,
    pub const FIRST: TransactionId = TransactionId(1);
    /// another one,
    pub const SECOND: TransactionId = TransactionId(2);
    /// a branch of the first,
    pub const BRANCH: BranchId = BranchId(7);
    /// the group of both.
    pub const GROUP: GroupId = GroupId(1);

    /// The first has begun, with its branch, and may go on for a second. Nothing is held.
    pub fn ghost_with(kind: BranchType, lock_keys: &str) -> Ghost {
        let begin = BeginV1 {
            address: String::new(),
            application: String::new(),
            service_group: String::new(),
            name: "first".to_owned(),
            timeout_ms: 1_000,
        };
        let mut found = Transaction::begun(GROUP, 0, &begin);
        let resource = format!("{}-1", kind.name().to_lowercase());
        let (lock_keys, data, status) = (lock_keys.to_owned(), "0/0".to_owned(), BranchStatus::Registered);
        found.listed.insert(BRANCH, Listed { kind, resource, lock_keys, data, status });
        found.acknowledged.insert(BRANCH);
        let mut ghost = Ghost::default();
        ghost.transactions.insert(FIRST, found);
        ghost
    }

    /// The state of the lock home has these rows for the branch, and the books have nothing.
    pub fn home(lock_keys: &str) -> Ghost {
        let mut ghost = ghost_with(BranchType::AT, lock_keys);
        let (slot, resource, lock_keys) = (hash::lock_slot("at-1"), "at-1".to_owned(), lock_keys.to_owned());
        let locks = AcquireLocksV1 { transaction: FIRST, branch: BRANCH, fence: Fence::default(), resource, lock_keys };
        let found = Command::Found(FoundV1 { slots: vec![slot], epoch: Epoch(1), sequence: 1_000 });
        let batch = Batch { stamp: Stamp::default(), commands: vec![found, Command::AcquireLocks(locks)] };
        assert!(ghost.apply(GROUP, LogId { term: Term(1), index: LogIndex(1) }, &batch).is_some());
        ghost.locks.release(FIRST, BRANCH, slot);
        ghost
    }

    /// Its branch is acknowledged.
    pub fn acknowledged() -> Seen {
        Seen::Acknowledged { node: NodeId(1), transaction: FIRST, branch: BRANCH }
    }

    /// A database did this with its branch.
    pub fn database(resource: &str, effect: Effect) -> Seen {
        Seen::Database { resource: resource.to_owned(), key: (FIRST, BRANCH), effect, others: Vec::new() }
    }

    /// The ghost learns that it is decided, then an oracle.
    pub fn decided(oracle: &mut impl Oracle, ghost: &mut Ghost, status: GlobalStatus) -> Judgement {
        let found = ghost.transactions.get_mut(&FIRST).expect("it has begun");
        found.decide(status, found.decided_clock_ms as u64);
        let decision = match status {
            GlobalStatus::Committing | GlobalStatus::AsyncCommitting => Decision::Commit,
            GlobalStatus::TimeoutRollbacking => Decision::TimeoutRollback,
            _ => Decision::Rollback,
        };
        let (command, outcome) = (Command::Decide(DecideV1 { transaction: FIRST, decision }), Outcome::Decided(status));
        oracle.step(ghost, &Step { group: GROUP, command: &command, outcome: &outcome })
    }

    /// The ghost learns that its rollback is given up, then an oracle.
    pub fn given_up(oracle: &mut impl Oracle, ghost: &mut Ghost, unlocks: bool) -> Judgement {
        let status = GlobalStatus::RollbackRetryTimeout;
        ghost.patience.unlocks = unlocks;
        ghost.transactions.get_mut(&FIRST).expect("it has begun").become_status(status);
        let (command, outcome) = (Command::GiveUp(GiveUpV1 { transaction: FIRST, after_ms: 0 }), Outcome::Now(status));
        oracle.step(ghost, &Step { group: GROUP, command: &command, outcome: &outcome })
    }

    /// An oracle sees that it ends.
    pub fn ended(oracle: &mut impl Oracle, ghost: &Ghost, status: GlobalStatus) -> Judgement {
        let (command, outcome) = (Command::End(TransactionV1 { transaction: FIRST }), Outcome::Now(status));
        oracle.step(ghost, &Step { group: GROUP, command: &command, outcome: &outcome })
    }

    /// An oracle sees that its rows are let go.
    pub fn released(oracle: &mut impl Oracle, ghost: &Ghost) -> Judgement {
        let (slot, scope) = (hash::lock_slot("at-1"), ReleaseScope::All);
        let command = Command::ReleaseLocks(ReleaseLocksV1 { transaction: FIRST, slot, scope });
        oracle.step(ghost, &Step { group: GROUP, command: &command, outcome: &Outcome::Released })
    }
}
