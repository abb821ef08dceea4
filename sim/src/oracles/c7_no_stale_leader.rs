//! Source: simulation notes, C7 (with C3); Raft, section 8 (read-only operations); design, section 10.5.
//!
//! C7, never from a stale state: how a transaction stands is looked up for a client by one who leads, in a state as new as all
//! that was answered before the client asked.
//!
//! C3 asks whether the status may be so. This asks where it was looked up, so that a stale state is seen where its answer
//! happens to be right. What "nobody knows it" rests on is asked in the same way.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::{GroupId, LogIndex, NodeId, TransactionId};
use std::collections::BTreeMap;

struct Question {
    transaction: TransactionId,
    /// The last entry of each group that was answered to anybody before: its slot may move until it is looked up.
    floors: BTreeMap<GroupId, LogIndex>,
    /// Who looked it up; the one who had come furthest, seen from there, counts.
    looked: Option<Look>,
}

/// Somebody looks up how a transaction stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Look {
    is_fresh: bool,
    applied: LogIndex,
    floor: LogIndex,
    node: NodeId,
}

/// See the page.
#[derive(Default)]
pub struct NoStaleLeader {
    answered: BTreeMap<GroupId, LogIndex>,
    questions: BTreeMap<u64, Question>,
}

impl NoStaleLeader {
    fn asks(&mut self, question: u64, transaction: TransactionId) {
        self.questions.insert(question, Question { transaction, floors: self.answered.clone(), looked: None });
    }

    fn looked(&mut self, ghost: &Ghost, node: NodeId, group: GroupId, transaction: TransactionId) {
        let applied = ghost.applied.get(&(node, group)).copied().unwrap_or_default();
        for question in self.questions.values_mut().filter(|question| question.transaction == transaction) {
            let floor = question.floors.get(&group).copied().unwrap_or_default();
            let look = Look { is_fresh: applied >= floor, applied, floor, node };
            question.looked = question.looked.max(Some(look));
        }
    }
}

impl Oracle for NoStaleLeader {
    fn name(&self) -> &'static str {
        "C7"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::Answered { group, log_id, .. } => {
                let newest = self.answered.entry(*group).or_default();
                *newest = (*newest).max(log_id.index);
            }
            Seen::AsksStatus { question, transaction } => self.asks(*question, *transaction),
            Seen::Looked { node, group, transaction } => self.looked(ghost, *node, *group, *transaction),
            Seen::ToldStatus { question, transaction, status, .. } => {
                let Some(Question { looked, .. }) = self.questions.remove(question) else { return Ok(()) };
                return match looked {
                    Some(Look { is_fresh: true, .. }) => Ok(()),
                    Some(Look { applied, floor, node, .. }) => {
                        let text = format!(
                            "it was told to be {status} from a state at entry {applied}; entry {floor} had been answered"
                        );
                        Err(Finding::about(*transaction, text).at_node(node))
                    }
                    None => {
                        let text = format!("it was told to be {status}, and no leader has looked that up");
                        Err(Finding::about(*transaction, text))
                    }
                };
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, GROUP, SECOND, ghost_with};
    use super::*;
    use quorate_core::model::{BranchType, GlobalStatus, LogId, Term};
    use quorate_core::wire::ClientVersion;

    const NODE: NodeId = NodeId(1);

    /// Entry 7 is answered, then a client asks; a node that has come so far looks it up, for this transaction.
    fn told(applied: u64, looked: Option<TransactionId>) -> Judgement {
        let mut ghost = ghost_with(BranchType::AT, "");
        let mut oracle = NoStaleLeader::default();
        let log_id = LogId { term: Term(1), index: LogIndex(7) };
        let mut see = |ghost: &Ghost, seen: Seen| oracle.see(ghost, &seen);
        see(&ghost, Seen::Answered { node: NODE, group: GROUP, log_id })?;
        see(&ghost, Seen::AsksStatus { question: 1, transaction: FIRST })?;
        ghost.applied.insert((NODE, GROUP), LogIndex(applied));
        if let Some(transaction) = looked {
            see(&ghost, Seen::Looked { node: NODE, group: GROUP, transaction })?;
        }
        let (status, knows) = (GlobalStatus::Begin, ClientVersion::V2_4);
        see(&ghost, Seen::ToldStatus { question: 1, transaction: FIRST, since: 1, status, knows })
    }

    #[test]
    fn an_answer_is_as_new_as_what_was_answered_before() {
        assert_eq!(told(7, Some(FIRST)), Ok(()));
        assert!(told(6, Some(FIRST)).is_err(), "by one who no longer leads");
        assert!(told(9, Some(SECOND)).is_err(), "it was another's");
        assert!(told(9, None).is_err(), "by anybody");
    }
}
