//! C3, fresh: an answer to "how does it stand" is a status that it has had since the question left, not an older one.
//! Source: Herlihy and Wing, Linearizability; Raft, section 8 (read-only operations); simulation notes, C3 and C7.

use super::c1_kept_word::told_unknown;
use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::GlobalStatus;
use quorate_core::txn::answer::status_answer;

/// See the page.
pub struct Fresh;

impl Oracle for Fresh {
    fn name(&self) -> &'static str {
        "C3"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let Seen::ToldStatus { transaction, since, status } = seen else { return Ok(()) };
        if *status == GlobalStatus::Finished {
            return told_unknown(ghost, *transaction);
        }
        let had = ghost.transaction(*transaction).map_or(&[][..], |found| &found.statuses[..]);
        // The one that it had when the question left, and those after it.
        let since_then = had.get(since.saturating_sub(1)..).unwrap_or_default();
        if since_then.iter().any(|had| status_answer(*had) == *status) {
            return Ok(());
        }
        Err(Finding::about(
            *transaction,
            format!("it was told to be {status}; since the question it was {since_then:?}"),
        ))
    }
}
