//! Source: Seata semantics, 2.2 and 2.3 (the first rules of both passes), acceptance 12; XA specification, 2.3.2 (read-only).
//!
//! A10, passed over: who has nothing to do in phase two is not asked, and does nothing: a branch whose phase one failed, an XA branch that
//! only read, and at a commit a step of an annotated Saga.
//!
//! What counts is what was reported before the decision. Of the steps of a Saga only their engine knows.

use super::{Finding, Judgement, Oracle};
use crate::bank::{BranchKey, Effect};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::{BranchStatus, BranchType};
use quorate_server::coordinator::message::Way;

/// See the page.
pub struct PassedOver;

/// Why phase two is not for a branch, if it is not.
fn reason(ghost: &Ghost, key: BranchKey) -> Option<BranchStatus> {
    let listed = ghost.transaction(key.0)?.listed.get(&key.1)?;
    let passed_over = match listed.status {
        BranchStatus::PhaseOne_Failed | BranchStatus::PhaseOne_PrepareFailed => listed.kind != BranchType::SAGA,
        BranchStatus::PhaseOne_RDONLY => listed.kind == BranchType::XA,
        _ => false,
    };
    passed_over.then_some(listed.status)
}

fn is_step(ghost: &Ghost, key: BranchKey) -> bool {
    let listed = ghost.transaction(key.0).and_then(|found| found.listed.get(&key.1));
    listed.is_some_and(|listed| listed.kind == BranchType::SAGA_ANNOTATION)
}

impl Oracle for PassedOver {
    fn name(&self) -> &'static str {
        "A10"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::PhaseTwoSent { node, transaction, branch, way: Way::Commit }
                if is_step(ghost, (*transaction, *branch)) =>
            {
                let text = format!("step {branch} of an annotated Saga is told to commit, and is final as it is");
                Err(Finding::about(*transaction, text).at_node(*node))
            }
            Seen::PhaseTwoSent { node, transaction, branch, way } => {
                let Some(status) = reason(ghost, (*transaction, *branch)) else { return Ok(()) };
                let text = format!("branch {branch} is told to {way:?}, and has reported {status}");
                Err(Finding::about(*transaction, text).at_node(*node))
            }
            Seen::Database {
                resource, key, effect: Effect::Committed | Effect::RolledBack | Effect::Tried, ..
            } => {
                let Some(status) = reason(ghost, *key) else { return Ok(()) };
                let text = format!("branch {} acts at {resource}, and has reported {status}", key.1);
                Err(Finding::about(key.0, text))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, database, ghost_with};
    use super::*;
    use quorate_core::model::{GlobalStatus, NodeId};

    /// It was reported so, it was decided, and then this happens.
    fn judged(kind: BranchType, status: BranchStatus, seen: &Seen) -> Judgement {
        let mut ghost = ghost_with(kind, "");
        let found = ghost.transactions.get_mut(&FIRST).expect("it has begun");
        found.listed.get_mut(&BRANCH).expect("it is there").status = status;
        found.decide(GlobalStatus::Rollbacking, 5);
        PassedOver.see(&ghost, seen)
    }

    #[test]
    fn nobody_is_asked_who_has_nothing_to_do() {
        use BranchStatus::{PhaseOne_Failed, PhaseOne_PrepareFailed, PhaseOne_RDONLY, Registered};
        let sent = Seen::PhaseTwoSent { node: NodeId(1), transaction: FIRST, branch: BRANCH, way: Way::Rollback };
        assert_eq!(judged(BranchType::TCC, Registered, &sent), Ok(()));
        assert_eq!(judged(BranchType::TCC, PhaseOne_RDONLY, &sent), Ok(()), "only XA knows such");
        assert_eq!(judged(BranchType::SAGA, PhaseOne_Failed, &sent), Ok(()), "its engine knows better");
        for (kind, status) in [
            (BranchType::AT, PhaseOne_Failed),
            (BranchType::TCC, PhaseOne_PrepareFailed),
            (BranchType::XA, PhaseOne_RDONLY),
        ] {
            assert!(judged(kind, status, &sent).is_err(), "{kind} {status}");
        }
    }

    #[test]
    fn a_step_that_is_done_is_told_nothing_but_to_undo_it() {
        let told = |way| {
            let sent = Seen::PhaseTwoSent { node: NodeId(1), transaction: FIRST, branch: BRANCH, way };
            judged(BranchType::SAGA_ANNOTATION, BranchStatus::Registered, &sent)
        };
        assert_eq!(told(Way::Rollback), Ok(()));
        assert!(told(Way::Commit).is_err());
    }

    #[test]
    fn what_failed_moves_no_money() {
        let failed = |effect| judged(BranchType::TCC, BranchStatus::PhaseOne_Failed, &database("tcc-1", effect));
        assert_eq!(failed(Effect::Nothing), Ok(()));
        assert!(failed(Effect::RolledBack).is_err());
        assert!(failed(Effect::Tried).is_err());
    }
}
