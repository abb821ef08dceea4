//! Source: Ongaro and Ousterhout, In Search of an Understandable Consensus Algorithm, figure 3; openraft's invariants.
//!
//! D, raft: one vote and one leader per term, one entry per place, what was answered stays, equal entries make equal states.
//!
//! Leader completeness shows as log matching: a leader without an answered entry writes another one in its place.

use super::{Finding, Judgement, Oracle};
use crate::ghost::Ghost;
use crate::seen::Seen;
use quorate_core::model::{GroupId, LogId, LogIndex, NodeId, Term};
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct Logs {
    entries: BTreeMap<(GroupId, LogIndex), (Term, u64)>,
    outcomes: BTreeMap<(GroupId, LogIndex), u64>,
    snapshots: BTreeMap<(GroupId, Option<LogId>), u128>,
    votes: BTreeMap<(GroupId, Term, NodeId), NodeId>,
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    answered: BTreeMap<(GroupId, LogIndex), Term>,
}

impl Logs {
    fn entry(&mut self, group: GroupId, at: LogId, hash: u64) -> Judgement {
        let (term, known) = *self.entries.entry((group, at.index)).or_insert((at.term, hash));
        if (term, known) != (at.term, hash) {
            let text = format!("entry {} is of term {} here and was of term {term} elsewhere", at.index, at.term);
            return Err(Finding::new(text));
        }
        match self.answered.get(&(group, at.index)) {
            Some(answered) if *answered != at.term => {
                let text = format!("entry {} was answered in term {answered} and is of term {}", at.index, at.term);
                Err(Finding::new(text))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Logs {
    fn leader(&mut self, group: GroupId, term: Term, leader: NodeId) -> Judgement {
        let first = *self.leaders.entry((group, term)).or_insert(leader);
        if first == leader {
            return Ok(());
        }
        Err(Finding::new(format!("node {leader} leads in term {term}, and so does node {first}")))
    }
}

impl Oracle for Logs {
    fn name(&self) -> &'static str {
        "D"
    }

    fn see(&mut self, ghost: &Ghost, seen: &Seen) -> Judgement {
        let (node, group, judgement) = match seen {
            Seen::Applied { node, group, log_id, entry_hash } => {
                (node, group, self.entry(*group, *log_id, *entry_hash))
            }
            Seen::Outcomes { node, group, log_id, hash } => {
                let known = *self.outcomes.entry((*group, log_id.index)).or_insert(*hash);
                let text = format!("the commands of entry {} had other outcomes elsewhere", log_id.index);
                (node, group, if known == *hash { Ok(()) } else { Err(Finding::new(text)) })
            }
            Seen::Snapshot { node, group, last, hash } => {
                let known = *self.snapshots.entry((*group, *last)).or_insert(*hash);
                let text = format!("its state after entry {last:?} is not the one that another replica had");
                (node, group, if known == *hash { Ok(()) } else { Err(Finding::new(text)) })
            }
            Seen::Answered { node, group, log_id } => {
                self.answered.insert((*group, log_id.index), log_id.term);
                let applied = self.entries.get(&(*group, log_id.index)).map(|(term, _)| *term);
                let text =
                    format!("entry {} of term {} was answered, applied is {applied:?}", log_id.index, log_id.term);
                (node, group, if applied == Some(log_id.term) { Ok(()) } else { Err(Finding::new(text)) })
            }
            Seen::Elected { node, group, term } => (node, group, self.leader(*group, *term, *node)),
            Seen::Voted { node, group, term, candidate, leads: false } => {
                let first = *self.votes.entry((*group, *term, *node)).or_insert(*candidate);
                let text = format!("in term {term} it votes for node {candidate}, after it has for node {first}");
                (node, group, if first == *candidate { Ok(()) } else { Err(Finding::new(text)) })
            }
            Seen::Voted { node, group, term, candidate, leads: true } => {
                (node, group, self.leader(*group, *term, *candidate))
            }
            Seen::Stopped { node, group, state_hash } => {
                let applied = ghost.applied.get(&(*node, *group)).copied().unwrap_or_default();
                let model = ghost.state_hash_at(*group, applied);
                let text = format!("after entry {applied} its state is not the model's");
                let same = model.is_none_or(|model| model == *state_hash);
                (node, group, if same { Ok(()) } else { Err(Finding::new(text)) })
            }
            _ => return Ok(()),
        };
        judgement.map_err(|found| found.in_group(*group).at_node(*node))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::GROUP;
    use super::*;

    fn judged(seen: &[Seen]) -> Judgement {
        let mut oracle = Logs::default();
        seen.iter().try_for_each(|seen| oracle.see(&Ghost::default(), seen))
    }

    const fn entry(term: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(7) }
    }

    fn applied(node: u64, term: u64, entry_hash: u64) -> Seen {
        Seen::Applied { node: NodeId(node), group: GROUP, log_id: entry(term), entry_hash }
    }

    fn voted(term: u64, candidate: u64, leads: bool) -> Seen {
        Seen::Voted { node: NodeId(1), group: GROUP, term: Term(term), candidate: NodeId(candidate), leads }
    }

    #[test]
    fn a_place_has_one_entry_and_what_was_answered_stays() {
        let answered = Seen::Answered { node: NodeId(1), group: GROUP, log_id: entry(1) };
        assert_eq!(judged(&[applied(1, 1, 5), answered.clone(), applied(2, 1, 5)]), Ok(()));
        assert!(judged(&[applied(1, 1, 5), applied(2, 2, 5)]).is_err(), "of another term");
        assert!(judged(&[applied(1, 1, 5), applied(2, 1, 6)]).is_err(), "another one");
        assert!(judged(&[answered, applied(1, 1, 5)]).is_err(), "answered before anybody applied it");
    }

    #[test]
    fn a_term_has_one_leader_and_each_voter_one_vote() {
        let leads = |node| Seen::Elected { node: NodeId(node), group: GROUP, term: Term(3) };
        assert_eq!(judged(&[voted(3, 2, false), leads(2), voted(3, 2, true), voted(4, 1, false)]), Ok(()));
        assert!(judged(&[leads(2), leads(3)]).is_err());
        assert!(judged(&[voted(3, 2, false), voted(3, 1, false)]).is_err());
        assert!(judged(&[leads(2), voted(3, 1, true)]).is_err());
    }

    #[test]
    fn equal_entries_make_equal_outcomes_and_states() {
        let outcomes = |node, hash| Seen::Outcomes { node: NodeId(node), group: GROUP, log_id: entry(1), hash };
        let state = |node, hash| Seen::Snapshot { node: NodeId(node), group: GROUP, last: Some(entry(1)), hash };
        assert_eq!(judged(&[outcomes(1, 5), outcomes(2, 5), state(1, 6), state(2, 6)]), Ok(()));
        assert!(judged(&[outcomes(1, 5), outcomes(2, 6)]).is_err());
        assert!(judged(&[state(1, 5), state(2, 6)]).is_err());
    }
}
