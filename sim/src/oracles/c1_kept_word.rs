//! Source: etcd robustness tests (no lost acknowledgement); lock protocol, promise C1; acceptance W4, W30.
//!
//! C1, what a client was told is so: an acknowledged begin, branch, report or end is in the state of the owning group, for good.
//!
//! That it stays there is D's: the same entries in all logs, for ever.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_client::Conclusion;
use quorate_client::tm::{conclude_commit, conclude_rollback};
use quorate_core::model::limits::TOMBSTONE_LIFE_MS;
use quorate_core::model::{GlobalStatus, TransactionId};
use quorate_core::txn::status::Direction;

/// See the page.
pub struct KeptWord;

impl Oracle for KeptWord {
    fn name(&self) -> &'static str {
        "C1"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::ToldBegun { transaction, .. } if ghost.transaction(*transaction).is_none() => {
                Err(Finding::about(*transaction, "a TM was told that it has begun, and no group knows it"))
            }
            Seen::ToldRegistered { transaction, branch, .. } => {
                let known = ghost.transaction(*transaction).is_some_and(|found| found.acknowledged.contains(branch));
                if known {
                    return Ok(());
                }
                Err(Finding::about(*transaction, format!("an RM was told of branch {branch}, which no leader gave")))
            }
            Seen::ToldReported { transaction, branch, status } => {
                let Some(found) = ghost.transaction(*transaction).filter(|found| found.decision.is_none()) else {
                    return Ok(());
                };
                let noted = found.listed.get(branch).map(|listed| listed.status);
                if noted == Some(*status) {
                    return Ok(());
                }
                let text = format!("an RM was told that {status} of branch {branch} is noted, and that is {noted:?}");
                Err(Finding::about(*transaction, text))
            }
            Seen::ToldEnd { transaction, commit, status } => told_end(ghost, *transaction, *commit, *status),
            _ => Ok(()),
        }
    }
}

fn told_end(ghost: &Ghost, transaction: TransactionId, commit: bool, status: GlobalStatus) -> Judgement {
    let conclusion = if commit { conclude_commit(Some(status)) } else { conclude_rollback(Some(status)) };
    if status == GlobalStatus::Finished {
        return told_unknown(ghost, transaction);
    }
    let so = match conclusion {
        Conclusion::Unknown => true,
        Conclusion::Committed => ghost.decision(transaction) == Some(Direction::Commit),
        Conclusion::RolledBack => ghost.decision(transaction) == Some(Direction::Rollback),
    };
    if so {
        return Ok(());
    }
    let asked = if commit { "commit" } else { "rollback" };
    let text = format!("a {asked} was answered {status}: {conclusion:?}, decided is {:?}", ghost.decision(transaction));
    Err(Finding::about(transaction, text))
}

/// "Nobody knows it" is right only when its tombstone has had its time.
pub(super) fn told_unknown(ghost: &Ghost, transaction: TransactionId) -> Judgement {
    let Some(found) = ghost.transaction(transaction) else { return Ok(()) };
    let clock_ms = ghost.groups.get(&found.group).map_or(0, |group| group.model.clock_ms());
    let forgotten = found.ended_clock_ms.is_some_and(|ended| ended + TOMBSTONE_LIFE_MS <= clock_ms);
    if forgotten {
        return Ok(());
    }
    Err(Finding::about(transaction, format!("a TM was told that nobody knows it; it is {}", found.status)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, SECOND, ghost_with, home};
    use super::*;
    use crate::seen::Wanted;
    use quorate_core::model::{BranchId, BranchStatus, BranchType};

    #[test]
    fn what_is_told_to_be_there_is() {
        let ghost = ghost_with(BranchType::AT, "");
        let begun = |transaction| {
            KeptWord.see(&ghost, &Seen::ToldBegun { transaction, name: String::new(), timeout_ms: 1_000 })
        };
        let registered = |branch| {
            let (kind, empty) = (BranchType::AT, String::new);
            let wanted = Wanted { kind, resource: empty(), lock_keys: empty(), data: empty() };
            KeptWord.see(&ghost, &Seen::ToldRegistered { question: 1, transaction: FIRST, branch, wanted })
        };
        assert_eq!((begun(FIRST), registered(BRANCH)), (Ok(()), Ok(())));
        assert!(begun(SECOND).is_err() && registered(BranchId(8)).is_err());
    }

    #[test]
    fn a_report_is_noted() {
        let mut ghost = ghost_with(BranchType::AT, "");
        let status = BranchStatus::PhaseOne_Failed;
        let told = Seen::ToldReported { transaction: FIRST, branch: BRANCH, status };
        assert!(KeptWord.see(&ghost, &told).is_err());
        let found = ghost.transactions.get_mut(&FIRST).expect("it has begun");
        found.listed.get_mut(&BRANCH).expect("it is there").status = status;
        assert_eq!(KeptWord.see(&ghost, &told), Ok(()));
    }

    #[test]
    fn an_end_is_what_was_decided() {
        let mut ghost = home("");
        let told =
            |ghost: &Ghost, status| KeptWord.see(ghost, &Seen::ToldEnd { transaction: FIRST, commit: true, status });
        assert!(told(&ghost, GlobalStatus::Committed).is_err(), "nothing is decided");
        ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::AsyncCommitting, 5);
        assert_eq!(told(&ghost, GlobalStatus::Committed), Ok(()));
        assert!(told(&ghost, GlobalStatus::TimeoutRollbacked).is_err());
        assert!(told(&ghost, GlobalStatus::Finished).is_err(), "its group knows it");
    }
}
