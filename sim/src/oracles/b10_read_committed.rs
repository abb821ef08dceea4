//! Source: simulation notes, B6 (read-committed global reads); Seata semantics, 3.5 (`SELECT .. FOR UPDATE`, `@GlobalLock`) and W14; Adya,
//! Weak Consistency, G1a and G1b.
//!
//! B10, read committed: who reads rows and hears that they are free has read nothing that may still be undone, or was.
//!
//! Judged by who has written last what stands in the database: a rollback that puts a row back puts that back too. A row counts as read
//! if it carries the same branch's value when the question leaves and when the answer has come, for the answer is of some moment
//! between. One's own values are right, and so are those of a rollback that was given up and lets go: there that is wanted.

use super::{Finding, Judgement, Oracle};
use crate::bank::at::Written;
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::TransactionId;
use quorate_core::txn::status::Direction;
use std::collections::BTreeMap;

/// A question about rows that were read.
struct Read {
    client: String,
    asker: Option<TransactionId>,
    resource: String,
    written: Written,
}

impl Read {
    fn judge(&self, ghost: &Ghost, after: &Written) -> Judgement {
        let unchanged = self.written.iter().filter(|(row, writer)| after.get(row) == Some(writer));
        let is_committed = |transaction| ghost.decision(transaction) == Some(Direction::Commit);
        let mut foreign = unchanged.filter(|(_, writer)| Some(writer.0) != self.asker);
        let dirty = foreign.find(|(_, writer)| !is_committed(writer.0) && !ghost.lets_go_of(**writer));
        dirty.map_or(Ok(()), |(row, (transaction, branch))| {
            let stands = ghost.transaction(*transaction).map(|found| found.status);
            let text = format!(
                "{} has read row {row} of {} as branch {branch} of {transaction} left it, which is {stands:?}, and hears that it is free",
                self.client, self.resource
            );
            Err(Finding::about(*transaction, text))
        })
    }
}

/// See the page.
#[derive(Default)]
pub struct ReadCommitted {
    reads: BTreeMap<u64, Read>,
}

impl Oracle for ReadCommitted {
    fn name(&self) -> &'static str {
        "B10"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::AsksRows { question, client, asker, resource, written, .. } => {
                let (client, resource, written) = (client.clone(), resource.clone(), written.clone());
                self.reads.insert(*question, Read { client, asker: *asker, resource, written });
                Ok(())
            }
            Seen::ToldRows { question, lockable, written } => {
                let read = self.reads.remove(question).filter(|_| *lockable == Some(true));
                read.map_or(Ok(()), |read| read.judge(ghost, written))
            }
            Seen::Died { client } => {
                self.reads.retain(|_, read| read.client != *client);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST, SECOND, ghost_with, given_up};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus};

    /// Row 1 is as the first left it at the question and at the answer, or is not.
    fn told(ghost: &Ghost, is_there: [bool; 2], asker: Option<TransactionId>, lockable: Option<bool>) -> Judgement {
        let written = |is_there: bool| is_there.then_some((1, (FIRST, BRANCH))).into_iter().collect();
        let (resource, lock_keys, client) = ("at-1".to_owned(), "account:1".to_owned(), "rm1".to_owned());
        let mut oracle = ReadCommitted::default();
        let asks = Seen::AsksRows { question: 1, client, asker, resource, lock_keys, written: written(is_there[0]) };
        oracle.see(ghost, &asks)?;
        oracle.see(ghost, &Seen::ToldRows { question: 1, lockable, written: written(is_there[1]) })
    }

    #[test]
    fn nobody_reads_what_may_be_undone() {
        let ghost = ghost_with(BranchType::AT, "account:1");
        for asker in [None, Some(SECOND)] {
            assert!(told(&ghost, [true, true], asker, Some(true)).is_err());
            assert_eq!(told(&ghost, [true, true], asker, Some(false)), Ok(()), "it is told so");
            assert_eq!(told(&ghost, [true, true], asker, None), Ok(()), "it is told nothing");
            assert_eq!(told(&ghost, [true, false], asker, Some(true)), Ok(()), "it was put back meanwhile");
            assert_eq!(told(&ghost, [false, true], asker, Some(true)), Ok(()), "it was written meanwhile");
        }
        assert_eq!(told(&ghost, [true, true], Some(FIRST), Some(true)), Ok(()), "its own");
    }

    #[test]
    fn what_is_committed_may_be_read_and_what_was_rolled_back_never() {
        let judged = |status| {
            let mut ghost = ghost_with(BranchType::AT, "account:1");
            ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(status, 5);
            told(&ghost, [true, true], None, Some(true))
        };
        assert_eq!(judged(GlobalStatus::AsyncCommitting), Ok(()));
        assert!(judged(GlobalStatus::Rollbacking).is_err());
        assert!(judged(GlobalStatus::Rollbacked).is_err(), "it was not put back");
    }

    #[test]
    fn what_is_given_up_may_be_read_where_it_lets_go() {
        for unlocks in [true, false] {
            let mut ghost = ghost_with(BranchType::AT, "account:1");
            ghost.transactions.get_mut(&FIRST).expect("it has begun").decide(GlobalStatus::Rollbacking, 5);
            assert_eq!(given_up(&mut ReadCommitted::default(), &mut ghost, unlocks), Ok(()));
            assert_eq!(told(&ghost, [true, true], None, Some(true)).is_ok(), unlocks);
        }
    }
}
