//! Source: simulation notes, G5 (no unbounded queue); issue 4, point 9 (slow readers: the connection is closed, others do not notice).
//!
//! G5, nothing grows: a client that reads nothing of what it is answered is let go.
//!
//! That others do not notice is B7's: such a client is no excuse for an answer that takes long.

use super::{Finding, Judgement, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;
use crate::seen::Seen;
use std::collections::BTreeMap;

/// See the page.
#[derive(Default)]
pub struct NothingGrows {
    /// Clients that read no more, and at which node.
    silent: BTreeMap<u32, u32>,
}

impl Oracle for NothingGrows {
    fn name(&self) -> &'static str {
        "G5"
    }

    fn see(&mut self, _ghost: &Ghost, seen: &Seen) -> Judgement {
        match seen {
            Seen::ReadsNoMore { client, node } => _ = self.silent.insert(*client, *node),
            Seen::LetGo { client } => _ = self.silent.remove(client),
            _ => {}
        }
        Ok(())
    }

    fn pending(&self, _ghost: &Ghost, _bank: &Bank) -> Vec<Finding> {
        let kept = |node: &u32| Finding::new(format!("n{node} keeps the connection of a client that reads nothing"));
        self.silent.values().map(kept).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_nothing_is_let_go() {
        let (mut oracle, ghost, bank) = (NothingGrows::default(), Ghost::default(), Bank::default());
        for client in [1, 2] {
            assert_eq!(oracle.see(&ghost, &Seen::ReadsNoMore { client, node: 3 }), Ok(()));
        }
        assert_eq!(oracle.see(&ghost, &Seen::LetGo { client: 1 }), Ok(()));
        assert_eq!(oracle.pending(&ghost, &bank).len(), 1);
        assert_eq!(oracle.see(&ghost, &Seen::LetGo { client: 2 }), Ok(()));
        assert_eq!(oracle.pending(&ghost, &bank), Vec::new());
    }
}
