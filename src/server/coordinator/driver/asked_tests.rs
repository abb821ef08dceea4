//! The table as it is used: places, late answers, questions that stay open.

use super::*;
use quorate_world::runtime::run_test;

#[test]
fn ids_name_the_node_and_are_found_by_themselves() {
    run_test(async {
        let asked = Asked::new(NodeId(65), u64::MAX);
        let mut place = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1)));
        assert_eq!(place.id, 0x4100_0000, "node 65 is 1 modulo 64; the counter wraps");
        assert_eq!(asked.answered(place.id, BranchId(8), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        assert_eq!(asked.answered(place.id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Taken);
        assert_eq!(place.answer.try_recv(), Ok(BranchStatus::PhaseTwo_Committed));
        assert_eq!(asked.answered(place.id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        let other = Asked::new(NodeId(2), 0);
        assert_eq!(other.answered(place.id, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Of(1));
        assert_eq!(other.answered(5, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Foreign);
        assert_eq!(other.answered(-1, BranchId(7), BranchStatus::PhaseTwo_Committed), Answer::Foreign);
    });
}

#[test]
fn places_are_given_back() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let id = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1))).id;
        assert_eq!(asked.answered(id, BranchId(8), BranchStatus::PhaseTwo_Committed), Answer::Unknown);
        let mut place = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1)));
        asked.lost(ChannelId(1));
        assert!(place.answer.try_recv().is_err());
    });
}

#[test]
fn what_is_heard_late_counts() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let (branch, done) = (BranchId(7), BranchStatus::PhaseTwo_Committed);
        drop(asked.enter(branch, Way::Commit, Some(ChannelId(1))));
        // The request that repeats it is served, wherever it went.
        let mut again = asked.enter(branch, Way::Commit, None);
        asked.late(branch, Way::Commit);
        assert_eq!(again.answer.try_recv(), Ok(done));
        assert!(!asked.heard_late(branch, Way::Commit), "there is no other one");
        // Nobody repeats it: whoever asks next hears it.
        drop(again);
        asked.late(branch, Way::Commit);
        assert!(asked.heard_late(branch, Way::Commit) && !asked.heard_late(branch, Way::Rollback));
    });
}

#[test]
fn a_question_stays_open_for_whoever_asks_the_same() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let (branch, done) = (BranchId(7), BranchStatus::PhaseTwo_Rollbacked);
        assert!(asked.join(branch, Way::Rollback, ChannelId(1), OPEN).is_none(), "nobody has asked");
        let first = asked.enter(branch, Way::Rollback, Some(ChannelId(1)));
        let id = first.id;
        let (mut second, _) = asked.join(branch, Way::Rollback, ChannelId(1), OPEN).expect("it is open");
        drop(first);
        assert!(asked.join(branch, Way::Commit, ChannelId(1), OPEN).is_none(), "another question");
        assert!(asked.join(branch, Way::Rollback, ChannelId(2), OPEN).is_none(), "of somebody else");
        assert!(asked.join(BranchId(8), Way::Rollback, ChannelId(1), OPEN).is_none(), "about something else");
        let (mut third, left) = asked.join(branch, Way::Rollback, ChannelId(1), OPEN).expect("it is open");
        assert!(left <= OPEN && !left.is_zero());
        assert_eq!(asked.answered(id, branch, done), Answer::Taken);
        assert_eq!((second.answer.try_recv(), third.answer.try_recv()), (Ok(done), Ok(done)));
        assert!(asked.join(branch, Way::Rollback, ChannelId(1), OPEN).is_none(), "it is answered");
    });
}

#[test]
fn an_open_question_goes_with_its_connection() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let branch = BranchId(7);
        drop(asked.enter(branch, Way::Commit, Some(ChannelId(1))));
        let (mut joined, _) = asked.join(branch, Way::Commit, ChannelId(1), OPEN).expect("it is open");
        asked.lost(ChannelId(1));
        assert!(joined.answer.try_recv().is_err());
        drop(joined);
        asked.enter(branch, Way::Commit, Some(ChannelId(1))).withdraw();
        assert!(asked.join(branch, Way::Commit, ChannelId(1), OPEN).is_none());
        assert!(locked(&asked.table).waiting.is_empty() && locked(&asked.table).counters.is_empty());
    });
}

/// However a question ends, the list of its connection knows it no more: that list alone is looked at when one is lost.
#[test]
fn a_lost_connection_looks_at_its_own_questions() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let ask = |branch, channel| asked.enter(BranchId(branch), Way::Commit, Some(ChannelId(channel)));
        let listed = || -> Vec<u64> { locked(&asked.table).of_channels.iter().map(|(channel, _)| channel.0).collect() };
        let (mut first, mut other, answered) = (ask(1, 1), ask(2, 2), ask(3, 1));
        let _relayed = asked.enter(BranchId(4), Way::Commit, None);
        assert_eq!(listed(), [1, 1, 2]);
        assert_eq!(asked.answered(answered.id, BranchId(3), BranchStatus::PhaseTwo_Committed), Answer::Taken);
        ask(5, 2).withdraw();
        assert_eq!(listed(), [1, 2]);
        asked.lost(ChannelId(1));
        assert!(first.answer.try_recv() == Err(oneshot::error::TryRecvError::Closed), "it is lost");
        assert!(other.answer.try_recv() == Err(oneshot::error::TryRecvError::Empty), "it is not");
        assert_eq!(listed(), [2]);
        asked.late(BranchId(2), Way::Commit);
        assert_eq!(listed(), [0; 0]);
    });
}

#[test]
fn nobody_joins_what_went_through_another_node_or_to_an_engine() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let _relayed = asked.enter(BranchId(7), Way::Commit, None);
        assert!(asked.join(BranchId(7), Way::Commit, ChannelId(1), OPEN).is_none());
        let _whole = asked.enter(BranchId::WHOLE, Way::Commit, Some(ChannelId(1)));
        assert!(asked.join(BranchId::WHOLE, Way::Commit, ChannelId(1), OPEN).is_none(), "its answer is to a status");
        drop((_relayed, _whole));
        assert!(locked(&asked.table).waiting.is_empty(), "nor do they stay");
    });
}

#[test]
fn open_questions_have_bounds() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let join = || asked.join(BranchId(7), Way::Commit, ChannelId(1), OPEN);
        let first = asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1)));
        let more: Vec<_> = (1..ASKERS_MAX).map(|_| join().expect("there is room")).collect();
        assert!(join().is_none(), "so many wait for one answer, and no more");
        drop((first, more));
        assert!(join().is_some());
        for branch in (0..OPEN_MAX as i64 + 10).map(|n| BranchId(100 + n)) {
            drop(asked.enter(branch, Way::Commit, Some(ChannelId(1))));
        }
        assert!(locked(&asked.table).waiting.len() <= OPEN_MAX, "the oldest were forgotten");
        assert!(join().is_none());
    });
}

#[test]
fn a_question_is_joined_for_a_while_only() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        drop(asked.enter(BranchId(7), Way::Commit, Some(ChannelId(1))));
        let later = Instant::now() + OPEN;
        let mut table = locked(&asked.table);
        assert!(table.join(BranchId(7), Way::Commit, ChannelId(1), (later, OPEN)).is_none(), "the RM may have lost it");
        // Nor is it kept for longer.
        table.sweep(later);
        assert!(table.waiting.is_empty());
    });
}

#[test]
fn only_so_much_is_remembered() {
    run_test(async {
        let asked = Asked::new(NodeId(1), 0);
        let branches = (1..=LATE_MAX as i64 + 1).map(BranchId);
        branches.for_each(|branch| asked.late(branch, Way::Commit));
        assert!(!asked.heard_late(BranchId(1), Way::Commit) && asked.heard_late(BranchId(2), Way::Commit));
    });
}
