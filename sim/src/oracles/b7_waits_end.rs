//! Source: simulation notes, B7; lock protocol, sections 4 and 6 (no waiting at a lock home; orphans); Seata issue 4232.
//!
//! B7, a wait for locks ends: by a grant, a conflict or a time-out, and no row stands in the way whose owner is long gone.
//!
//! How long it may take is known only where nothing disturbs: a question of a disturbed time is not judged, and a client that
//! died asks nothing any more. A silence is no answer, though it ends the wait at the client.

use super::{Finding, Judgement, Oracle};
use crate::bank::{Bank, BranchKey};
use crate::ghost::Ghost;
use crate::seen::{Seen, Step, Wanted};
use quorate_core::model::{ExceptionCode, TransactionId, lock_key};
use quorate_core::txn::{Command, Outcome};
use quorate_world::time::Duration;
use std::collections::BTreeMap;

/// So long after the last fault everybody is connected again and every group has its leader.
const CALM_AFTER: Duration = Duration::from_secs(20);
/// The longest that an answer takes: a branch is given up after 12 s (rule 9).
const ANSWER_MAX: Duration = Duration::from_secs(14);
/// A row that stood in the way is suspected from 2 s on, and asked about once a second.
const ORPHAN_MAX: Duration = Duration::from_secs(10);

struct Wait {
    since: Duration,
    client: String,
    transaction: TransactionId,
}

/// See the page.
#[derive(Default)]
pub struct WaitsEnd {
    waits: BTreeMap<u64, Wait>,
    /// When transactions ended,
    ended: BTreeMap<TransactionId, Duration>,
    /// and since when branches of ended ones have stood in somebody's way.
    orphans: BTreeMap<BranchKey, Duration>,
}

fn is_calm_since(ghost: &Ghost, since: Duration) -> bool {
    since >= ghost.restless_until + CALM_AFTER
}

impl WaitsEnd {
    fn ends(&mut self, ghost: &Ghost, question: u64, answer: &str, is_answer: bool) -> Judgement {
        let Some(wait) = self.waits.remove(&question) else { return Ok(()) };
        let took = ghost.now.saturating_sub(wait.since);
        if !is_calm_since(ghost, wait.since) || (is_answer && took <= ANSWER_MAX) {
            return Ok(());
        }
        let text = format!("{} asked for a branch, and after {took:?} without any fault: {answer}", wait.client);
        Err(Finding::about(wait.transaction, text))
    }

    /// Somebody was told that rows are held: by whom? An edge of the graph of waits ends where its holder does.
    fn in_the_way(&mut self, ghost: &Ghost, waits: TransactionId, wanted: &Wanted) -> Judgement {
        for row in lock_key::parse(&wanted.lock_keys).unwrap_or_default() {
            let Some(held) = ghost.locks.holder(&(wanted.resource.clone(), row.clone())) else { continue };
            let Some(ended) = self.ended.get(&held.owner).filter(|_| held.owner != waits) else { continue };
            for branch in &held.branches {
                let since = *self.orphans.entry((held.owner, *branch)).or_insert(ghost.now);
                if is_calm_since(ghost, since) && ghost.now.saturating_sub(since) > ORPHAN_MAX {
                    let text = format!(
                        "row {row} of {} is still held by branch {branch} of {}, which ended at {ended:?}",
                        wanted.resource, held.owner
                    );
                    return Err(Finding::about(waits, text));
                }
            }
        }
        Ok(())
    }
}

impl Oracle for WaitsEnd {
    fn name(&self) -> &'static str {
        "B7"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::AsksBranch { question, client, transaction, .. } => {
                let (since, client, transaction) = (ghost.now, client.clone(), *transaction);
                self.waits.insert(*question, Wait { since, client, transaction });
                Ok(())
            }
            Seen::ToldRegistered { question, .. } => self.ends(ghost, *question, "granted", true),
            Seen::ToldNoBranch { question, transaction, wanted, code } => {
                let answer = code.map_or("nothing", ExceptionCode::name);
                self.ends(ghost, *question, answer, code.is_some())?;
                match code {
                    Some(ExceptionCode::LockKeyConflict | ExceptionCode::LockKeyConflictFailFast) => {
                        self.in_the_way(ghost, *transaction, wanted)
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Seen::Died { client } => {
                self.waits.retain(|_, wait| wait.client != *client);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn step(&mut self, ghost: &Ghost, step: &Step<'_>) -> Judgement {
        if let (Command::End(ended), Outcome::Now(_)) = (step.command, step.outcome) {
            self.ended.insert(ended.transaction, ghost.now);
        }
        Ok(())
    }

    fn pending(&self, ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        let waits = self.waits.values().map(|wait| {
            let text =
                format!("{} has waited for a branch for {:?}", wait.client, ghost.now.saturating_sub(wait.since));
            Finding::about(wait.transaction, text)
        });
        waits.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, GROUP, SECOND, ended, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus};

    fn wanted() -> Wanted {
        let (resource, lock_keys, data) = ("at-1".to_owned(), "account:1".to_owned(), String::new());
        Wanted { kind: BranchType::AT, resource, lock_keys, data }
    }

    /// Asks at one moment and is answered at another.
    fn asks(oracle: &mut WaitsEnd, ghost: &mut Ghost, at_s: (u64, u64), code: Option<ExceptionCode>) -> Judgement {
        let (question, client, transaction, wanted) = (at_s.0, "rm1".to_owned(), SECOND, wanted());
        ghost.now = Duration::from_secs(at_s.0);
        oracle.see(ghost, &Seen::AsksBranch { question, client, transaction, wanted: wanted.clone() })?;
        ghost.now = Duration::from_secs(at_s.1);
        oracle.see(ghost, &Seen::ToldNoBranch { question, transaction, wanted, code })
    }

    #[test]
    fn whoever_asks_is_answered_where_nothing_disturbs() {
        let conflict = Some(ExceptionCode::LockKeyConflict);
        let judged = |disturbed_until_s: u64, at_s: (u64, u64), code| {
            let mut ghost = Ghost { restless_until: Duration::from_secs(disturbed_until_s), ..Ghost::default() };
            asks(&mut WaitsEnd::default(), &mut ghost, at_s, code)
        };
        assert_eq!(judged(10, (30, 43), conflict), Ok(()));
        assert!(judged(10, (30, 45), conflict).is_err(), "too late");
        assert!(judged(10, (30, 45), None).is_err(), "not at all");
        assert_eq!(judged(11, (30, 45), None), Ok(()), "a fault is not long over");
        assert_eq!(judged(40, (30, 45), None), Ok(()), "there was one meanwhile");
    }

    #[test]
    fn only_who_lives_waits() {
        let (mut oracle, ghost) = (WaitsEnd::default(), Ghost::default());
        let bank = Bank::default();
        let (client, wanted) = ("rm1".to_owned(), wanted());
        let asks = Seen::AsksBranch { question: 1, client: client.clone(), transaction: SECOND, wanted };
        assert_eq!(oracle.see(&ghost, &asks), Ok(()));
        assert_eq!(oracle.pending(&ghost, &bank).len(), 1);
        assert_eq!(oracle.see(&ghost, &Seen::Died { client }), Ok(()));
        assert_eq!(oracle.pending(&ghost, &bank), []);
    }

    #[test]
    fn nobody_waits_for_one_that_is_gone() {
        let (mut oracle, mut ghost) = (WaitsEnd::default(), ghost_with(BranchType::AT, "account:1"));
        let conflict = Some(ExceptionCode::LockKeyConflict);
        ghost.locks.take(GROUP, FIRST, BRANCH, "at-1", "account:1");
        assert_eq!(asks(&mut oracle, &mut ghost, (100, 101), conflict), Ok(()), "its holder goes on");
        assert_eq!(asks(&mut oracle, &mut ghost, (130, 131), conflict), Ok(()), "as long as it likes");
        ghost.now = Duration::from_secs(140);
        assert_eq!(ended(&mut oracle, &ghost, GlobalStatus::Rollbacked), Ok(()));
        assert_eq!(asks(&mut oracle, &mut ghost, (150, 151), conflict), Ok(()), "nobody had asked");
        assert!(asks(&mut oracle, &mut ghost, (170, 171), conflict).is_err());
    }
}
