//! How nodes come and go, and what a group leaves behind when it moves.

use super::super::command::NodeStartedV1;
use super::super::member::{Addresses, DiskId};
use super::super::meta::tests::{founded, say, started};
use super::super::{MetaCommand, Routing};
use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

fn asker(number: u64) -> AdmitNodeV1 {
    let NodeStartedV1 { disk, addresses, .. } = started(number, 1);
    let with = |port: u16| alloc::format!("10.0.0.{number}:{port}");
    AdmitNodeV1 { disk, addresses: Addresses { peer: with(9091), admin: with(7091), ..addresses } }
}

/// Three founders with addresses of their own, and node 4 that joined.
fn four() -> Meta {
    let mut meta = founded();
    for number in 1..=3 {
        let addresses = asker(number).addresses;
        say(&mut meta, MetaCommand::NodeStarted(NodeStartedV1 { addresses, ..started(number, 1) }));
    }
    assert_eq!(admit(&mut meta, 4), Ok(NodeId(4)));
    let addresses = asker(4).addresses;
    say(&mut meta, MetaCommand::NodeStarted(NodeStartedV1 { addresses, ..started(4, 1) }));
    meta
}

fn admit(meta: &mut Meta, number: u64) -> Result<NodeId, MetaRefusal> {
    match say(meta, MetaCommand::AdmitNode(asker(number))) {
        MetaOutcome::Admitted { node, .. } => Ok(node),
        MetaOutcome::Refused(refusal) => Err(refusal),
        MetaOutcome::Done { .. } | MetaOutcome::Added { .. } => panic!("no number"),
    }
}

fn stand(meta: &mut Meta, node: u64, standing: Standing) -> MetaOutcome {
    say(meta, MetaCommand::SetStanding(SetStandingV1 { node: NodeId(node), standing }))
}

fn refusal(outcome: MetaOutcome) -> MetaRefusal {
    match outcome {
        MetaOutcome::Refused(refusal) => refusal,
        MetaOutcome::Done { .. } | MetaOutcome::Admitted { .. } | MetaOutcome::Added { .. } => {
            panic!("taken: {outcome:?}")
        }
    }
}

fn is_done(outcome: &MetaOutcome) -> bool {
    matches!(outcome, MetaOutcome::Done { .. })
}

fn place(meta: &mut Meta, replicas: [u64; 3]) -> MetaOutcome {
    let replicas = replicas.map(NodeId).to_vec();
    say(meta, MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(1), replicas }))
}

fn wish(routing: &Routing) -> WishV1 {
    let since = routing.group(GroupId(1)).and_then(|route| route.target.as_ref()).map_or(0, |target| target.since);
    WishV1 { group: GroupId(1), since }
}

fn former(meta: &Meta) -> Vec<u64> {
    meta.routing().group(GroupId(1)).map(|route| route.former.iter().map(|node| node.0).collect()).unwrap_or_default()
}

const LEFT: fn(u64) -> ReplicaV1 = |node| ReplicaV1 { group: GroupId(1), node: NodeId(node) };

#[test]
fn a_node_that_joins_has_a_number_of_its_own_and_carries_after_its_first_start() {
    let mut meta = founded();
    assert_eq!(admit(&mut meta, 9), Ok(NodeId(4)));
    let picture = meta.routing().picture();
    assert_eq!(admit(&mut meta, 9), Ok(NodeId(4)), "asked twice");
    assert_eq!(meta.routing().picture(), picture);
    let standing = |meta: &Meta| meta.routing().node(NodeId(4)).map(|node| node.standing);
    assert_eq!(standing(&meta), Some(Standing::Admitted));
    let word = NodeStartedV1 { node: NodeId(4), ..started(9, 1) };
    assert!(is_done(&say(&mut meta, MetaCommand::NodeStarted(word))));
    assert_eq!(standing(&meta), Some(Standing::Serving));
}

#[test]
fn whoever_lost_its_folder_before_its_first_start_waits_until_that_is_forgotten() {
    let mut meta = founded();
    assert_eq!(admit(&mut meta, 9), Ok(NodeId(4)));
    let again = AdmitNodeV1 { disk: DiskId([77; 16]), ..asker(9) };
    let ask_again = MetaCommand::AdmitNode(again);
    assert_eq!(refusal(say(&mut meta, ask_again.clone())), MetaRefusal::Joining(NodeId(4)));
    assert!(is_done(&say(&mut meta, MetaCommand::ForgetNode(NodeId(4)))));
    let outcome = say(&mut meta, ask_again);
    assert!(matches!(outcome, MetaOutcome::Admitted { node: NodeId(5), .. }), "{outcome:?}");
    assert_eq!(admit(&mut meta, 9), Err(MetaRefusal::Removed(NodeId(4))), "a question that comes late");
    // Once it has started, another disk at its address is a stranger.
    let word = NodeStartedV1 { node: NodeId(5), disk: DiskId([77; 16]), ..started(9, 1) };
    say(&mut meta, MetaCommand::NodeStarted(NodeStartedV1 { addresses: asker(9).addresses, ..word }));
    let third = AdmitNodeV1 { disk: DiskId([78; 16]), ..asker(9) };
    let taken = refusal(say(&mut meta, MetaCommand::AdmitNode(third)));
    assert_eq!(taken, MetaRefusal::AddressTaken(NodeId(5)));
    assert_eq!(refusal(say(&mut meta, MetaCommand::ForgetNode(NodeId(5)))), MetaRefusal::StillThere(NodeId(5)));
}

#[test]
fn numbers_are_never_used_twice_and_differ_modulo_64() {
    let mut meta = four();
    assert!(is_done(&stand(&mut meta, 4, Standing::Removing)));
    assert!(is_done(&say(&mut meta, MetaCommand::ForgetNode(NodeId(4)))));
    assert_eq!(admit(&mut meta, 4), Err(MetaRefusal::Removed(NodeId(4))), "the same disk");
    assert_eq!(refusal(say(&mut meta, MetaCommand::NodeStarted(started(4, 2)))), MetaRefusal::Removed(NodeId(4)));
    for (number, expected) in (5..=64).zip(5..) {
        assert_eq!(admit(&mut meta, number), Ok(NodeId(expected)));
    }
    // 65, 66 and 67 would be equal to founders: 4 is free modulo 64.
    assert_eq!(admit(&mut meta, 100), Ok(NodeId(68)));
    assert_eq!(admit(&mut meta, 101), Err(MetaRefusal::Full));
}

#[test]
fn a_group_moves_in_two_words_and_leaves_what_is_wiped_after_a_last_question() {
    let mut meta = four();
    assert!(is_done(&place(&mut meta, [4, 2, 3])));
    assert_eq!(meta.routing().replicas(GroupId(1)), [1, 2, 3, 4].map(NodeId));
    let asked = |meta: &mut Meta| say(meta, MetaCommand::AskToLeave(LEFT(1)));
    assert_eq!(refusal(asked(&mut meta)), MetaRefusal::Placement(GroupId(1)), "it still votes");
    let move_ = wish(meta.routing());
    assert!(is_done(&say(&mut meta, MetaCommand::AskToMove(move_))));
    assert!(is_done(&say(&mut meta, MetaCommand::GroupPlaced(move_))));
    assert_eq!(meta.routing().replicas(GroupId(1)), [4, 2, 3].map(NodeId));
    assert_eq!(former(&meta), [1]);
    assert!(is_done(&asked(&mut meta)));
    // Until it has wiped what it had it takes nothing new.
    assert_eq!(refusal(place(&mut meta, [1, 2, 3])), MetaRefusal::Placement(GroupId(1)));
    assert!(is_done(&say(&mut meta, MetaCommand::ReplicaGone(LEFT(1)))));
    assert!(is_done(&place(&mut meta, [1, 2, 3])));
}

#[test]
fn an_outdated_wish_moves_nothing() {
    let mut meta = four();
    place(&mut meta, [4, 2, 3]);
    let first = wish(meta.routing());
    place(&mut meta, [1, 2, 4]);
    place(&mut meta, [4, 2, 3]);
    let before = meta.clone();
    for late in [MetaCommand::AskToMove(first), MetaCommand::GroupPlaced(first)] {
        assert_eq!(refusal(say(&mut meta, late)), MetaRefusal::Placement(GroupId(1)));
    }
    assert_eq!(meta, before);
    assert!(former(&meta).is_empty(), "all of them are here or there");
}

#[test]
fn whoever_was_wished_for_in_between_may_have_something_left() {
    let mut meta = four();
    place(&mut meta, [4, 2, 3]);
    place(&mut meta, [1, 2, 3]);
    assert_eq!(former(&meta), [4]);
    let asked = say(&mut meta, MetaCommand::AskToLeave(LEFT(4)));
    assert_eq!(refusal(asked), MetaRefusal::Placement(GroupId(1)), "it may vote until the group has moved back");
    let back = wish(meta.routing());
    assert!(is_done(&say(&mut meta, MetaCommand::GroupPlaced(back))));
    assert!(is_done(&say(&mut meta, MetaCommand::AskToLeave(LEFT(4)))));
}

#[test]
fn a_node_goes_when_nothing_is_left_on_it() {
    let mut meta = four();
    let few = MetaRefusal::TooFew { left: 2, replicas: 3 };
    assert!(is_done(&stand(&mut meta, 1, Standing::Removing)));
    assert_eq!(refusal(stand(&mut meta, 2, Standing::Draining)), few);
    let forget = |meta: &mut Meta| say(meta, MetaCommand::ForgetNode(NodeId(1)));
    assert_eq!(refusal(forget(&mut meta)), MetaRefusal::StillThere(NodeId(1)));
    for group in [1, 2] {
        let replicas = [2, 3, 4].map(NodeId).to_vec();
        say(&mut meta, MetaCommand::PlaceGroup(PlaceGroupV1 { group: GroupId(group), replicas }));
        let since = meta.routing().picture();
        assert!(is_done(&say(&mut meta, MetaCommand::GroupPlaced(WishV1 { group: GroupId(group), since }))));
    }
    assert_eq!(refusal(forget(&mut meta)), MetaRefusal::StillThere(NodeId(1)), "it has not wiped its replicas");
    // Of a lost one nobody waits for that.
    assert!(is_done(&stand(&mut meta, 1, Standing::Lost)));
    assert!(is_done(&forget(&mut meta)) && is_done(&forget(&mut meta)));
    assert!(former(&meta).is_empty());
    assert!(meta.routing().was_removed(NodeId(1)) && meta.routing().node(NodeId(1)).is_none());
    assert_eq!(refusal(stand(&mut meta, 1, Standing::Serving)), MetaRefusal::Removed(NodeId(1)));
}

#[test]
fn the_place_of_a_lost_node_is_free_for_another_disk() {
    let mut meta = four();
    let new = AdmitNodeV1 { disk: DiskId([77; 16]), ..asker(3) };
    let ask = MetaCommand::AdmitNode(new.clone());
    assert_eq!(refusal(say(&mut meta, ask.clone())), MetaRefusal::AddressTaken(NodeId(3)));
    assert!(is_done(&stand(&mut meta, 3, Standing::Lost)));
    let held = |meta: &Meta, node| meta.routing().node(NodeId(node)).map(|node| node.addresses.clone());
    assert_eq!(held(&meta, 3), Some(asker(3).addresses), "as long as nobody else is there");
    assert!(matches!(say(&mut meta, ask), MetaOutcome::Admitted { node: NodeId(5), .. }));
    assert_eq!(held(&meta, 3), Some(Addresses::default()));
    assert_eq!(held(&meta, 5), Some(new.addresses.clone()));
    // It was not lost after all, and comes back: what it says of itself is no longer so.
    let word = NodeStartedV1 { addresses: new.addresses, ..started(3, 2) };
    assert!(is_done(&say(&mut meta, MetaCommand::NodeStarted(word))));
    assert_eq!(held(&meta, 3), Some(Addresses::default()));
    // The old disk is still known as the lost node's.
    let old = MetaCommand::AdmitNode(AdmitNodeV1 { disk: started(3, 1).disk, ..asker(9) });
    assert!(matches!(say(&mut meta, old), MetaOutcome::Admitted { node: NodeId(3), .. }));
    assert_eq!(held(&meta, 3), Some(Addresses::default()));
}

/// One thing that happens to nodes: the place (1 to 5) at which another disk asks, starts, or whose newest node is
/// given a standing or forgotten.
fn turn(meta: &mut Meta, disks: &mut u8, what: u8, place: u64) {
    let here = asker(place).addresses;
    let newest = meta.routing().nodes().filter(|node| node.addresses == here).map(|node| node.id).last();
    match (what, newest) {
        (0 | 1, _) => {
            *disks += 1;
            let disk = DiskId([100 + *disks; 16]);
            say(meta, MetaCommand::AdmitNode(AdmitNodeV1 { disk, addresses: here }));
        }
        (2 | 3, Some(node)) => {
            let known = meta.routing().node(node).cloned().expect("found above");
            let word = NodeStartedV1 { node, disk: known.disk, addresses: here, ..started(node.0, known.epoch.0 + 1) };
            say(meta, MetaCommand::NodeStarted(word));
        }
        (4 | 5, Some(node)) => _ = stand(meta, node.0, Standing::Lost),
        (6, Some(node)) => _ = stand(meta, node.0, Standing::Removing),
        (_, Some(node)) => _ = say(meta, MetaCommand::ForgetNode(node)),
        (_, None) => {}
    }
}

proptest! {
    /// Whatever is asked, lost and forgotten: no two members are reached at the same address.
    #[test]
    fn addresses_are_held_once(turns in proptest::collection::vec((0u8..8, 1u64..6), 1..40)) {
        let (mut meta, mut disks) = (four(), 0);
        for (what, place) in turns {
            turn(&mut meta, &mut disks, what, place);
            let held = meta.routing().nodes().map(|node| node.addresses.peer.clone());
            let held: Vec<_> = held.filter(|address| !address.is_empty()).collect();
            prop_assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "{:?}", held);
        }
    }
}

#[test]
fn a_wish_can_be_taken_back_but_not_for_a_lost_node() {
    let mut meta = four();
    assert!(is_done(&stand(&mut meta, 4, Standing::Draining)) && is_done(&stand(&mut meta, 4, Standing::Serving)));
    assert!(is_done(&stand(&mut meta, 4, Standing::Lost)));
    let (node, standing, wanted) = (NodeId(4), Standing::Lost, Standing::Serving);
    assert_eq!(refusal(stand(&mut meta, 4, wanted)), MetaRefusal::Standing { node, standing, wanted });
    assert_eq!(refusal(place(&mut meta, [4, 2, 3])), MetaRefusal::Placement(GroupId(1)));
    assert_eq!(refusal(place(&mut meta, [2, 2, 3])), MetaRefusal::Placement(GroupId(1)));
}
