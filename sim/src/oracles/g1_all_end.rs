//! Source: simulation notes, G1; Seata issue 6875 (transactions that stay TimeoutRollbacked for ever).
//!
//! G1, all end: after the heal every transaction comes to its end, whatever became of its TM.

use super::{Finding, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;

/// See the page.
pub struct AllEnd;

impl Oracle for AllEnd {
    fn name(&self) -> &'static str {
        "G1"
    }

    fn pending(&self, ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        let open = ghost.transactions.iter().filter(|(_, found)| found.ended_clock_ms.is_none());
        let why = open.map(|(transaction, found)| {
            let leader = ghost.leaders.get(&found.group).map(|(term, node)| format!("node {node} in term {term}"));
            let branches: Vec<String> = found
                .listed
                .iter()
                .map(|(branch, listed)| {
                    let heard = found.phase_two.get(branch).map_or("nothing sent", String::as_str);
                    format!("{branch} ({} at {}): {heard}", listed.kind, listed.resource)
                })
                .collect();
            let text = format!(
                "{} {} is {}; leader {}; branches: {}",
                found.name,
                transaction,
                found.status,
                leader.unwrap_or_else(|| "unknown".to_owned()),
                if branches.is_empty() { "none".to_owned() } else { branches.join(", ") }
            );
            Finding::about(*transaction, text).in_group(found.group)
        });
        why.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{FIRST, ghost_with};
    use super::*;
    use quorate_core::model::BranchType;

    #[test]
    fn the_world_rests_when_all_have_ended() {
        let mut ghost = ghost_with(BranchType::AT, "");
        assert_eq!(AllEnd.pending(&ghost, &Bank::default()).len(), 1);
        ghost.transactions.get_mut(&FIRST).expect("it has begun").ended_clock_ms = Some(9);
        assert_eq!(AllEnd.pending(&ghost, &Bank::default()), []);
    }
}
