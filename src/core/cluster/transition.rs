//! By which steps a raft group gets from the voters that it has to those that it should have.
//!
//! Each step is found from what is there now, so whoever leads the group goes on where the leader before was cut off. New
//! ones learn first, then the voters change by joint consensus, with the leader among them even if it is to go; then it
//! hands over, and its heir takes it out.

use alloc::collections::BTreeSet;

use crate::model::NodeId;

/// A group as its leader sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Present {
    /// The leader.
    pub me: NodeId,
    /// Those who vote, in both halves of a change.
    pub voters: BTreeSet<NodeId>,
    /// Those who follow without a vote.
    pub learners: BTreeSet<NodeId>,
    /// A change of voters has not come to its end.
    pub joint: bool,
    /// Whose log ends where the leader's does, or nearly.
    pub caught_up: BTreeSet<NodeId>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Let these follow.
    Learn(BTreeSet<NodeId>),
    /// These are far behind: wait.
    Await(BTreeSet<NodeId>),
    /// Let exactly these vote.
    Vote(BTreeSet<NodeId>),
    /// The leader is to go: let this one lead.
    HandOver(NodeId),
    /// These follow for nothing.
    Forget(BTreeSet<NodeId>),
    /// It is as it should be.
    Done,
}

/// The next step to where exactly `target` vote, preferably led by the first of them. Learners in `stays` stay.
pub fn step(now: &Present, target: &[NodeId], stays: &BTreeSet<NodeId>) -> Step {
    let wanted: BTreeSet<NodeId> = target.iter().copied().collect();
    let new: BTreeSet<NodeId> = wanted.iter().copied().filter(|node| !now.follows(*node)).collect();
    if !new.is_empty() {
        return Step::Learn(new);
    }
    let with_me: BTreeSet<NodeId> = wanted.iter().copied().chain([now.me]).collect();
    let behind = wanted.difference(&now.voters).copied().filter(|node| !now.caught_up.contains(node));
    let behind: BTreeSet<NodeId> = behind.collect();
    // A change under way is finished first, wherever it leads.
    if !behind.is_empty() && !now.joint {
        return Step::Await(behind);
    }
    if now.joint || now.voters != with_me {
        return Step::Vote(with_me);
    }
    if !wanted.contains(&now.me) {
        let heir = target.iter().copied().find(|node| now.caught_up.contains(node));
        return heir.map_or(Step::Await(wanted), Step::HandOver);
    }
    let idle: BTreeSet<NodeId> = now.learners.difference(stays).copied().collect();
    if idle.is_empty() { Step::Done } else { Step::Forget(idle) }
}

impl Present {
    fn follows(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn present(me: u64, voters: &[u64], learners: &[u64]) -> Present {
        let caught_up = ids(voters).union(&ids(learners)).copied().collect();
        Present { me: NodeId(me), voters: ids(voters), learners: ids(learners), joint: false, caught_up }
    }

    fn next(now: &Present, target: [u64; 3]) -> Step {
        step(now, &target.map(NodeId), &BTreeSet::new())
    }

    #[test]
    fn a_follower_is_replaced_by_learning_and_voting() {
        assert_eq!(next(&present(1, &[1, 2, 3], &[]), [1, 2, 4]), Step::Learn(ids(&[4])));
        let behind = Present { caught_up: ids(&[2, 3]), ..present(1, &[1, 2, 3], &[4]) };
        assert_eq!(next(&behind, [1, 2, 4]), Step::Await(ids(&[4])));
        assert_eq!(next(&present(1, &[1, 2, 3], &[4]), [1, 2, 4]), Step::Vote(ids(&[1, 2, 4])));
        assert_eq!(next(&present(1, &[1, 2, 4], &[3]), [1, 2, 4]), Step::Forget(ids(&[3])));
        assert_eq!(next(&present(1, &[1, 2, 4], &[]), [1, 2, 4]), Step::Done);
    }

    #[test]
    fn a_leader_that_goes_hands_over_before_it_is_taken_out() {
        assert_eq!(next(&present(1, &[1, 2, 3], &[4]), [4, 2, 3]), Step::Vote(ids(&[1, 2, 3, 4])));
        assert_eq!(next(&present(1, &[1, 2, 3, 4], &[]), [4, 2, 3]), Step::HandOver(NodeId(4)));
        assert_eq!(next(&present(4, &[1, 2, 3, 4], &[]), [4, 2, 3]), Step::Vote(ids(&[2, 3, 4])));
    }

    #[test]
    fn a_change_that_was_cut_off_is_finished_first() {
        let joint = Present { joint: true, caught_up: ids(&[2]), ..present(1, &[1, 2, 3, 4], &[]) };
        assert_eq!(next(&joint, [1, 2, 4]), Step::Vote(ids(&[1, 2, 4])));
    }

    proptest! {
        /// Whatever is there, and whoever leads meanwhile, the steps end where they should, and never without a leader
        /// among the voters.
        #[test]
        fn every_group_gets_there(
            voters in proptest::collection::btree_set(1u64..7, 1..5),
            learners in proptest::collection::btree_set(1u64..9, 0..4),
            target in proptest::collection::btree_set(1u64..9, 1..5),
            joint: bool,
            turns in proptest::collection::vec(0usize..5, 20),
        ) {
            let ids = |set: &BTreeSet<u64>| set.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
            let (voters, target) = (ids(&voters), ids(&target));
            let learners: BTreeSet<NodeId> = ids(&learners).difference(&voters).copied().collect();
            let me = voters.iter().next().copied().expect("one at least");
            let everybody = (1..9).map(NodeId).collect::<BTreeSet<_>>();
            let mut now = Present { me, voters, learners, joint, caught_up: everybody };
            let order: Vec<NodeId> = target.iter().copied().collect();
            for turn in turns {
                match step(&now, &order, &BTreeSet::new()) {
                    Step::Learn(new) => now.learners.extend(new),
                    Step::Await(_) => prop_assert!(false, "all have caught up"),
                    Step::Vote(wanted) => {
                        prop_assert!(wanted.contains(&now.me));
                        let gone = now.voters.difference(&wanted).copied().collect::<BTreeSet<_>>();
                        prop_assert!(wanted.iter().all(|node| now.follows(*node)), "only those who follow");
                        now.learners = now.learners.difference(&wanted).copied().filter(|node| !gone.contains(node)).collect();
                        (now.voters, now.joint) = (wanted, false);
                    }
                    Step::HandOver(to) => now.me = to,
                    Step::Forget(idle) => now.learners.retain(|node| !idle.contains(node)),
                    Step::Done => break,
                }
                // Somebody else may be elected at any time.
                if turn == 0 {
                    now.me = now.voters.iter().next_back().copied().expect("one at least");
                }
            }
            // A few more without elections.
            for _ in 0..8 {
                match step(&now, &order, &BTreeSet::new()) {
                    Step::Learn(new) => now.learners.extend(new),
                    Step::Vote(wanted) => {
                        now.learners = now.learners.difference(&wanted).copied().collect();
                        (now.voters, now.joint) = (wanted, false);
                    }
                    Step::HandOver(to) => now.me = to,
                    Step::Forget(idle) => now.learners.retain(|node| !idle.contains(node)),
                    Step::Await(_) | Step::Done => break,
                }
            }
            prop_assert_eq!(step(&now, &order, &BTreeSet::new()), Step::Done);
            prop_assert_eq!(now.voters, target);
        }
    }
}
