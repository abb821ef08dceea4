//! Nodes come, go and are replaced, and the groups move with them.

use std::collections::BTreeSet;

use quorate_core::cluster::command::{AddGroupV1, RangeV1, ReshardV1, SetStandingV1, StrategyV1};
use quorate_core::cluster::{Addresses, GroupKey, MetaCommand, MetaOutcome, Routing, Standing};
use quorate_core::model::GroupId;
use quorate_core::txn::command::BeginV1;
use quorate_core::txn::{Command, Outcome};

use super::*;

fn peer_port(toml: &str) -> &str {
    toml.split("peer_listen = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("an address")
}

/// The configuration of a node that joins at the first of these.
async fn joiner(folder: &str, name: &str, founder: &str) -> String {
    let at = peer_port(founder);
    let own = free_port().await;
    format!("{}peer_listen = \"{own}\"\njoin = \"{at}\"\ndata_dir = \"{folder}/{name}\"\n", ports())
}

async fn three_of(folder: &str, groups: u32) -> (Vec<String>, Vec<Member>) {
    let tomls: Vec<String> = three(folder).await.into_iter().map(|toml| format!("{toml}groups = {groups}\n")).collect();
    let members = start_all(&tomls).await;
    (tomls, members)
}

async fn wish(member: &Member, node: u64, standing: Standing) -> Result<(), String> {
    let seat = &member.node.parts.get().expect("it is ready").seat;
    let wish = MetaCommand::SetStanding(SetStandingV1 { node: NodeId(node), standing });
    seat.insist(wish).await.map(drop).map_err(|refusal| refusal.to_string())
}

fn is_at_rest(routing: &Routing) -> bool {
    routing.groups().all(|(_, route)| route.target.is_none() && route.former.is_empty())
}

fn carried(routing: &Routing, node: u64) -> usize {
    routing.groups().filter(|(_, route)| route.replicas.contains(&NodeId(node))).count()
}

async fn settled(member: &Member, what: &str, is_so: impl Fn(&Routing) -> bool) {
    let mut picture = member.picture();
    let settled = picture.wait_until(|routing| is_at_rest(routing) && is_so(routing));
    let settled = time::timeout(PATIENCE, settled).await;
    let groups: Vec<_> = member.picture().borrow().groups().map(|(group, route)| (group, route.clone())).collect();
    let replicas = member.node.parts.get().expect("it is ready").groups.open();
    let seen: Vec<_> = replicas.into_values().map(|replica| (replica.group(), replica.health())).collect();
    assert!(settled.is_ok(), "never: {what}: {groups:?}, as seen by node {}: {seen:#?}", member.identity().0);
}

/// The node ends because it is a member no more.
async fn turned_away(member: Member) {
    let failure = time::timeout(PATIENCE, member.life).await.expect("refused in time").expect("not aborted");
    assert_eq!(failure.code, ExitCode::Identity, "{failure}");
    stop::leave(&member.node).await;
}

/// Every replica's own view of its members is what the picture says, and its node carries nothing else.
async fn agrees(members: &[Member]) {
    for member in members {
        let routing = member.picture().borrow().clone();
        let own = member.identity().0;
        let groups = member.node.parts.get().expect("it is ready").groups.clone();
        until("the groups of the picture are open, and no others", || {
            let wanted = routing.groups().filter(|(_, route)| route.replicas.contains(&own));
            groups.open().into_keys().eq(wanted.map(|(group, _)| group))
        })
        .await;
        for (group, replica) in groups.open() {
            let voters: BTreeSet<NodeId> = routing.replicas(group).into_iter().collect();
            until("members as in the picture", || {
                let seen = replica.health().members;
                seen.voters == voters && seen.learners.is_empty() && !seen.joint
            })
            .await;
        }
    }
}

/// Begins a transaction wherever a group is led; its numbers go up by what was there before.
async fn begin_everywhere(members: &[Member]) -> usize {
    let mut begun = 0;
    for member in members {
        for replica in member.node.parts.get().expect("it is ready").groups.open().into_values() {
            let begin = Command::Begin(BeginV1 {
                timeout_ms: 600_000,
                name: "kept".into(),
                application: "test".into(),
                service_group: "group".into(),
                address: "test:1".into(),
            });
            if matches!(replica.propose(begin).await, Ok(Outcome::Begun { .. })) {
                begun += 1;
            }
        }
    }
    begun
}

fn sessions(members: &[Member]) -> usize {
    let mut all = BTreeSet::new();
    for member in members {
        for (group, replica) in member.node.parts.get().expect("it is ready").groups.open() {
            all.extend(
                replica.read(|state| state.sessions().map(|session| (group, session.transaction)).collect::<Vec<_>>()),
            );
        }
    }
    all.len()
}

#[test]
fn a_fourth_node_joins_takes_its_share_and_can_be_removed_again() {
    run_test(async {
        let folder = test_folder();
        let (tomls, mut members) = three_of(&folder, 4).await;
        until("all groups are led", || members.iter().map(Member::leads).sum::<usize>() == 4).await;
        let begun = begin_everywhere(&members).await;
        assert_eq!(begun, 4);
        let toml = joiner(&folder, "n4", &tomls[0]).await;
        members.push(Member::start(&toml).await.expect("it is let in"));
        members[3].ready().await;
        assert_eq!(members[3].identity(), (NodeId(4), members[0].identity().1, 1));
        settled(&members[0], "node 4 carries its share", |routing| carried(routing, 4) == 3).await;
        agrees(&members).await;
        assert_eq!(sessions(&members), begun, "what was begun is there after the move");

        assert!(wish(&members[0], 4, Standing::Removing).await.is_ok());
        settled(&members[0], "node 4 is gone", |routing| routing.was_removed(NodeId(4))).await;
        turned_away(members.pop().expect("four")).await;
        agrees(&members).await;
        assert_eq!(sessions(&members), begun);
        // The same folder is let in no more.
        let again = Member::start(&toml).await.expect("its ports are free");
        turned_away(again).await;
        for member in members {
            member.stop().await;
        }
    });
}

/// Of three groups; `begun` sessions are still there. Stops all.
async fn fourth_is_in_the_place_of_the_third(members: Vec<Member>, begun: usize) {
    settled(&members[0], "node 4 is in the place of node 3", |routing| {
        routing.was_removed(NodeId(3)) && carried(routing, 4) == 3
    })
    .await;
    agrees(&members).await;
    assert_eq!(sessions(&members), begun);
    for member in members {
        member.stop().await;
    }
}

#[test]
fn a_lost_node_is_replaced_by_one_that_joins() {
    run_test(async {
        let folder = test_folder();
        let (tomls, mut members) = three_of(&folder, 3).await;
        until("all groups are led", || members.iter().map(Member::leads).sum::<usize>() == 3).await;
        let begun = begin_everywhere(&members).await;
        members.remove(2).stop().await;
        let few = wish(&members[0], 3, Standing::Removing).await.expect_err("two are left for three replicas");
        assert!(few.contains("let another node join first"), "{few}");
        assert!(wish(&members[0], 3, Standing::Lost).await.is_ok());
        members.push(Member::start(&joiner(&folder, "n4", &tomls[1]).await).await.expect("it is let in"));
        fourth_is_in_the_place_of_the_third(members, begun).await;
    });
}

#[test]
fn a_lost_disk_is_replaced_at_the_address_of_its_node() {
    run_test(async {
        let folder = test_folder();
        let (tomls, mut members) = three_of(&folder, 3).await;
        until("all groups are led", || members.iter().map(Member::leads).sum::<usize>() == 3).await;
        let begun = begin_everywhere(&members).await;
        let third = members.remove(2);
        let ports = third.node.own.borrow().addresses.clone();
        third.stop().await;
        let Addresses { advertised, peer, admin } = &ports;
        let again = format!(
            "listen = \"{advertised}\"\nadmin_listen = \"{admin}\"\npeer_listen = \"{peer}\"\n\
             join = \"{}\"\ndata_dir = \"{folder}/other\"\n",
            peer_port(&tomls[0])
        );
        let taken = Member::start(&again).await.map(drop).expect_err("its addresses are those of a member");
        assert!(taken.message.contains("quorate ctl node replace 3"), "{taken}");
        assert!(wish(&members[0], 3, Standing::Lost).await.is_ok());
        members.push(Member::start(&again).await.expect("it is let in"));
        members[2].ready().await;
        assert_eq!(members[2].identity().0, NodeId(4));
        assert_eq!(members[2].node.own.borrow().addresses, ports);
        fourth_is_in_the_place_of_the_third(members, begun).await;
    });
}

#[test]
fn one_node_becomes_three_and_bears_the_loss_of_the_first() {
    run_test(async {
        let folder = test_folder();
        let alone =
            format!("{}peer_listen = \"{}\"\ndata_dir = \"{folder}/n1\"\ngroups = 2\n", ports(), free_port().await);
        let mut members = start_all(std::slice::from_ref(&alone)).await;
        for name in ["n2", "n3"] {
            members.push(Member::start(&joiner(&folder, name, &alone).await).await.expect("it is let in"));
        }
        settled(&members[0], "three replicas each", |routing| {
            routing.groups().all(|(_, route)| route.replicas.len() == 3)
        })
        .await;
        let voters = || {
            let parts = members[0].node.parts.get().expect("it is ready");
            parts.seat.replica().health().members.voters.len()
        };
        until("three vote in the meta group", || voters() == 3).await;
        let begun = begin_everywhere(&members).await;
        assert_eq!(begun, 2);
        members.remove(0).stop().await;
        until("the others lead all", || members.iter().map(Member::leads).sum::<usize>() == 2).await;
        assert_eq!(sessions(&members), begun);
        for member in members {
            member.stop().await;
        }
    });
}

#[test]
fn a_node_that_joined_comes_back_as_itself() {
    run_test(async {
        let folder = test_folder();
        let (tomls, mut members) = three_of(&folder, 2).await;
        let toml = joiner(&folder, "n4", &tomls[2]).await;
        let fourth = Member::start(&toml).await.expect("it is let in");
        // At once, perhaps before it has heard anything of the cluster.
        fourth.stop().await;
        let again = Member::start(&toml).await.expect("it starts");
        again.ready().await;
        assert_eq!((again.identity().0, again.identity().2), (NodeId(4), 2));
        settled(&members[0], "it serves", |routing| {
            routing.node(NodeId(4)).is_some_and(|node| node.standing == Standing::Serving && !node.silent)
        })
        .await;
        members.push(again);
        for member in members {
            member.stop().await;
        }
    });
}

async fn say(member: &Member, command: MetaCommand) -> MetaOutcome {
    member.node.parts.get().expect("it is ready").seat.ask(&command).await
}

fn reshard(strategy: StrategyV1, leaving: &[GroupId]) -> MetaCommand {
    MetaCommand::Reshard(ReshardV1 { strategy, leaving: leaving.to_vec() })
}

/// The slots as they are, but for the first so many, which are this group's.
fn first_to(routing: &Routing, count: usize, group: GroupId) -> StrategyV1 {
    let owners = routing.heirs().into_iter().enumerate();
    let range = |(slot, owner)| {
        let (first, owner) = (slot as u16, if slot < count { group } else { owner });
        RangeV1 { first, last: first, group: owner }
    };
    StrategyV1::Explicit(owners.map(range).collect())
}

fn owned(routing: &Routing, group: GroupId) -> usize {
    routing.slots_of(group).count()
}

fn slots_rest(routing: &Routing) -> bool {
    routing.reshard().is_none() && routing.migrations().next().is_none()
}

/// Every slot is served by the group that the picture names, and by nobody else.
async fn slots_agree(members: &[Member]) {
    let member = &members[0];
    let routing = member.picture().borrow().clone();
    for (group, replica) in member.node.parts.get().expect("it is ready").groups.open() {
        until("the group serves the slots of the picture", || {
            replica.read(|state| state.slots().eq(routing.slots_of(group)) && state.unsettled().next().is_none())
        })
        .await;
    }
}

#[test]
fn a_group_is_added_takes_its_share_of_the_slots_and_is_removed_again() {
    run_test(async {
        let folder = test_folder();
        let (_, members) = three_of(&folder, 2).await;
        until("all groups are led", || members.iter().map(Member::leads).sum::<usize>() == 2).await;
        let mut begun = 0;
        for _ in 0..60 {
            begun += begin_everywhere(&members).await;
        }
        assert_eq!(begun, 120);
        let wish =
            AddGroupV1 { key: GroupKey([3; 16]), label: String::new(), replicas: [3, 1, 2].map(NodeId).to_vec() };
        let group = match say(&members[0], MetaCommand::AddGroup(wish)).await {
            MetaOutcome::Added { group, .. } => group,
            outcome => panic!("{outcome:?}"),
        };
        const SHARE: usize = 200;
        let strategy = first_to(&members[0].picture().borrow(), SHARE, group);
        assert!(matches!(say(&members[0], reshard(strategy, &[])).await, MetaOutcome::Done { .. }));
        settled(&members[0], "the new group has its share", |routing| {
            slots_rest(routing) && owned(routing, group) == SHARE
        })
        .await;
        slots_agree(&members).await;
        assert_eq!(sessions_served(&members), begun, "what was begun has moved along");
        begin_everywhere(&members).await;

        let ring = reshard(StrategyV1::ConsistentHash, &[group]);
        assert!(matches!(say(&members[1], ring).await, MetaOutcome::Done { .. }));
        settled(&members[0], "the group is gone", |routing| slots_rest(routing) && routing.was_group(group)).await;
        slots_agree(&members).await;
        assert_eq!(sessions_served(&members), begun + 3);
        for member in members {
            member.stop().await;
        }
    });
}

/// Sessions of all groups, at one node that carries all of them.
fn sessions_served(members: &[Member]) -> usize {
    let groups = members[0].node.parts.get().expect("it is ready").groups.open();
    groups.into_values().map(|replica| replica.read(|state| state.sessions().count())).sum()
}
