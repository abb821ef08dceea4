//! Source: Herlihy and Wing, Linearizability; Raft, section 8 (read-only operations); simulation notes, C3 and C7.
//!
//! C3, fresh: an answer to "how does it stand" is a status that it has had since the question left, not an older one.

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
        let Seen::ToldStatus { transaction, since, status, knows, .. } = seen else { return Ok(()) };
        if *status == GlobalStatus::Finished {
            return told_unknown(ghost, *transaction);
        }
        let had = ghost.transaction(*transaction).map_or(&[][..], |found| &found.statuses[..]);
        // The one that it had when the question left, and those after it.
        let since_then = had.get(since.saturating_sub(1)..).unwrap_or_default();
        if since_then.iter().any(|had| knows.global_status(status_answer(*had)) == *status) {
            return Ok(());
        }
        Err(Finding::about(
            *transaction,
            format!("it was told to be {status}; since the question it was {since_then:?}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, ghost_with};
    use super::*;
    use quorate_core::model::BranchType;
    use quorate_core::wire::ClientVersion;

    #[test]
    fn an_answer_is_none_that_was_over_when_the_question_left() {
        let mut ghost = ghost_with(BranchType::TCC, "");
        let found = ghost.transactions.get_mut(&FIRST).expect("it has begun");
        found.decide(GlobalStatus::Committing, 5);
        found.decide(GlobalStatus::CommitRetrying, 6);
        let told = |since, status| {
            let (question, transaction, knows) = (1, FIRST, ClientVersion::V1_5);
            Fresh.see(&ghost, &Seen::ToldStatus { question, transaction, since, status, knows })
        };
        assert_eq!(told(1, GlobalStatus::Begin), Ok(()), "it was that when the question left");
        assert_eq!(told(1, GlobalStatus::CommitRetrying), Ok(()));
        assert!(told(2, GlobalStatus::Begin).is_err(), "it had gone on before");
        assert!(told(1, GlobalStatus::Rollbacking).is_err(), "it never was");
        assert!(told(1, GlobalStatus::Finished).is_err(), "it is known");
    }
}
