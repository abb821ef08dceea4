//! C1, what a client was told is so: an acknowledged begin, branch or end is in the state of the owning group, for good.
//! Source: etcd robustness tests (no lost acknowledgement); lock protocol, promise C1; acceptance W4, W30.
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
            Seen::ToldBegun { transaction } if ghost.transaction(*transaction).is_none() => {
                Err(Finding::about(*transaction, "a TM was told that it has begun, and no group knows it"))
            }
            Seen::ToldRegistered { transaction, branch } => {
                let known = ghost.transaction(*transaction).is_some_and(|found| found.acknowledged.contains(branch));
                if known {
                    return Ok(());
                }
                Err(Finding::about(*transaction, format!("an RM was told of branch {branch}, which no leader gave")))
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
