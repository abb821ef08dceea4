//! Leader balance: what moves, what stays, and that it ends.

use super::super::meta::tests::{founded, started};
use super::super::{Meta, MetaBatch, MetaCommand, command::NodeV1, member::StartEpoch};
use super::*;
use crate::txn::Stamp;
use alloc::vec;

fn led(caught_up: &[u64], moved_ms_ago: Option<u64>) -> Led {
    Led { group: GroupId(2), caught_up: caught_up.iter().copied().map(NodeId).collect(), moved_ms_ago }
}

fn moved(meta: &Meta, led: Led) -> bool {
    let moves = moves(meta.routing(), NodeId(1), &[led]);
    moves.iter().all(|handover| *handover == Move { group: GroupId(2), to: NodeId(2) }) && moves.len() == 1
}

#[test]
fn a_leader_goes_home_when_home_is_up_and_knows_all() {
    let meta = founded();
    assert!(moved(&meta, led(&[2, 3], None)));
    assert!(!moved(&meta, led(&[3], None)));
    assert_eq!(moves(meta.routing(), NodeId(2), &[led(&[3], None)]), []);
}

#[test]
fn at_most_once_a_minute() {
    let meta = founded();
    assert!(!moved(&meta, led(&[2], Some(MOVE_INTERVAL_MS - 1))));
    assert!(moved(&meta, led(&[2], Some(MOVE_INTERVAL_MS))));
}

#[test]
fn never_to_a_silent_node() {
    let mut meta = founded();
    let silent = MetaCommand::NodeSilent(NodeV1 { node: NodeId(2), epoch: StartEpoch(1) });
    meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![silent] });
    assert!(!moved(&meta, led(&[2], None)));
    meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![MetaCommand::NodeStarted(started(2, 2))] });
    assert!(moved(&meta, led(&[2], None)));
}

#[test]
fn an_unknown_group_stays() {
    let meta = founded();
    let unknown = Led { group: GroupId(9), caught_up: vec![NodeId(2)], moved_ms_ago: None };
    assert_eq!(moves(meta.routing(), NodeId(1), &[unknown]), []);
}
