//! What is different about a Saga (semantics 2.4).
//!
//! A Saga is run by an engine in the client: it takes the steps, undoes them, and knows how far it came. The
//! coordinator keeps the transaction and wakes an engine when something is left to do. So the SAGA branches of a
//! transaction are one unit for phase two, [`BranchId::WHOLE`], whatever was reported of the single steps. And the
//! engine's word counts more than a decision: a Saga that was to go on may have been undone, one whose time was up may
//! be going on. Each time it says so the session turns, and stays: nothing is removed before it is done (W16).
//!
//! A word may be old when it comes. That a Saga was undone, or is being undone, stays true for ever. That it is done, or
//! goes on, is true only until an engine is asked to undo it: from then on it counts only as the answer to that question.
//!
//! A question may be late too: one that a leader of before has asked, or this one in vain, may reach an engine at any time
//! after. One to go on does no harm when it comes, for an engine does not go on with what it has undone. One to undo does,
//! unless it says that the Saga's time was up, for then an engine that goes on says so each time. So a Saga that an
//! engine may have been asked to undo for any other reason ends undone, whatever is said of it later.
//!
//! Only a transaction of nothing but SAGA branches can turn. Beside branches of other kinds, which do what was decided,
//! the engine's word before the decision decides, and after it changes nothing.
//!
//! What the engine may say is what Seata's says; anything else changes nothing (W27).

use super::session::Session;
use super::status::{self, Direction};
use crate::model::{BranchType, GlobalStatus};
use GlobalStatus::*;

/// How the names of transactions begin that a Saga engine has begun.
pub const NAME_PREFIX: &str = "$Saga_";

/// What an engine's word makes of a Saga.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// It is over, with this status.
    Ends(GlobalStatus),
    /// It goes on, in this status.
    Turns(GlobalStatus),
    /// It would go on, but an operator has stopped it: which way is for whoever starts it.
    Waits,
    /// Nothing that an engine would say.
    Nothing,
}

impl Session {
    /// A Saga engine runs it: its first branch is a step, or it has none yet and is named by an engine.
    pub fn is_saga(&self) -> bool {
        match self.branches.values().next() {
            Some(first) => first.kind == BranchType::SAGA,
            None => self.name.starts_with(NAME_PREFIX),
        }
    }

    /// Phase two is an engine's too: it is a Saga, or has a step among its branches.
    pub fn has_engine(&self) -> bool {
        self.is_saga() || self.branches.values().any(|branch| branch.kind == BranchType::SAGA)
    }

    /// A Saga and nothing else, so that it may turn.
    pub fn is_pure_saga(&self) -> bool {
        self.is_saga() && self.branches.values().all(|branch| branch.kind == BranchType::SAGA)
    }

    /// The status as an engine is told it. Beside branches of other kinds a time-out looks like a rollback that a TM
    /// asked for: there an engine may not go on.
    pub fn status_for_engine(&self) -> GlobalStatus {
        match self.status {
            TimeoutRollbacking if !self.is_pure_saga() => Rollbacking,
            TimeoutRollbackRetrying if !self.is_pure_saga() => RollbackRetrying,
            status => status,
        }
    }

    /// Whether a branch of this kind may join. Steps may join as long as the session is there: an engine that goes on
    /// after the decision takes new ones.
    pub fn takes(&self, kind: BranchType) -> bool {
        self.status == Begin
            || (kind == BranchType::SAGA && self.has_engine())
            || bug!("branches_join_after_the_decision")
    }
}

/// Whether an engine that is asked in this status to undo its Saga may go on instead (semantics 2.4).
pub fn may_go_on(asked: GlobalStatus) -> bool {
    matches!(asked, TimeoutRollbacking | TimeoutRollbackRetrying)
}

/// What becomes of a Saga that stands so, when its engine says this, by itself or as an answer to what it was asked in
/// this very status.
pub fn heard(standing: GlobalStatus, word: GlobalStatus, is_answer: bool) -> Word {
    let is_undone = status::direction(standing) == Some(Direction::Rollback);
    let goes_on = !is_undone || (is_answer && may_go_on(standing)) || bug!("old_word_turns_a_saga");
    let is_late = matches!(standing, TimeoutRollbacking | TimeoutRollbackRetrying | TimeoutRollbackFailed);
    let heard = match word {
        Committed | CommitRetrying if !goes_on => Word::Nothing,
        Committed => Word::Ends(Committed),
        // Finished: it failed, and nothing was to be undone.
        Rollbacked | Finished if is_late => Word::Ends(TimeoutRollbacked),
        Rollbacked | Finished => Word::Ends(Rollbacked),
        CommitRetrying => Word::Turns(CommitRetrying),
        RollbackRetrying | UnKnown => Word::Turns(RollbackRetrying),
        // Its time may be up, but it was to be undone before that.
        TimeoutRollbackRetrying if is_undone && !is_late => Word::Turns(RollbackRetrying),
        TimeoutRollbackRetrying => Word::Turns(TimeoutRollbackRetrying),
        Begin
        | Committing
        | AsyncCommitting
        | CommitFailed
        | CommitRetryTimeout
        | Rollbacking
        | RollbackFailed
        | RollbackRetryTimeout
        | TimeoutRollbacking
        | TimeoutRollbacked
        | TimeoutRollbackFailed
        | Deleting
        | StopCommitOrCommitRetry
        | StopRollbackOrRollbackRetry => Word::Nothing,
    };
    match heard {
        Word::Turns(_) if status::is_stopped(standing) => Word::Waits,
        heard => heard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_said_the_session_can_go_on_or_is_over() {
        for &standing in GlobalStatus::ALL {
            for &word in GlobalStatus::ALL {
                for is_answer in [true, false] {
                    match heard(standing, word, is_answer) {
                        Word::Ends(status) => assert!(!status::is_running(status) && !status::is_failed(status)),
                        Word::Turns(status) => {
                            assert_eq!(status::retrying(status), Some(status), "{word}");
                            assert!(!status::is_stopped(standing), "{standing} and {word}");
                        }
                        Word::Waits => assert!(status::is_stopped(standing), "{standing} and {word}"),
                        Word::Nothing => {}
                    }
                }
            }
        }
    }

    #[test]
    fn the_six_words_of_the_engine() {
        let said = |word| heard(Committing, word, false);
        assert_eq!(said(Committed), Word::Ends(Committed));
        assert_eq!(said(Rollbacked), Word::Ends(Rollbacked));
        assert_eq!(said(Finished), Word::Ends(Rollbacked));
        assert_eq!(said(CommitRetrying), Word::Turns(CommitRetrying));
        assert_eq!(said(RollbackRetrying), Word::Turns(RollbackRetrying));
        assert_eq!(said(UnKnown), Word::Turns(RollbackRetrying));
        assert_eq!(heard(TimeoutRollbacking, Finished, false), Word::Ends(TimeoutRollbacked));
        let undone = [Rollbacked, Finished, RollbackRetrying, UnKnown, TimeoutRollbackRetrying];
        for &standing in GlobalStatus::ALL {
            for word in undone {
                match heard(standing, word, false) {
                    Word::Ends(status) | Word::Turns(status) => {
                        assert_eq!(status::direction(status), Some(Direction::Rollback), "{standing} and {word}");
                    }
                    Word::Waits => assert!(status::is_stopped(standing), "{standing} and {word}"),
                    Word::Nothing => panic!("{standing} and {word}"),
                }
            }
        }
    }

    #[test]
    fn what_may_be_old_does_not_stop_a_rollback() {
        for standing in GlobalStatus::ALL.iter().copied() {
            let undone = status::direction(standing) == Some(Direction::Rollback);
            for word in [Committed, CommitRetrying] {
                assert_eq!(heard(standing, word, false) == Word::Nothing, undone, "{standing}");
                assert_eq!(heard(standing, word, true) == Word::Nothing, undone && !may_go_on(standing), "{standing}");
            }
        }
    }

    #[test]
    fn what_was_to_be_undone_for_another_reason_than_its_time_stays_so() {
        // Whatever comes in whatever order: no way leads from there to a status in which an engine may go on.
        for standing in GlobalStatus::ALL.iter().copied() {
            let is_plain = |status| status::direction(status) == Some(Direction::Rollback) && !may_go_on(status);
            if !is_plain(standing) || standing == TimeoutRollbackFailed {
                continue;
            }
            for (&word, is_answer) in GlobalStatus::ALL.iter().flat_map(|word| [(word, true), (word, false)]) {
                let (Word::Ends(next) | Word::Turns(next)) = heard(standing, word, is_answer) else { continue };
                assert!(is_plain(next), "{standing} and {word}: {next}");
            }
        }
    }
}
