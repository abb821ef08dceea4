//! RMs on another node than the leader: what their node is asked to pass on to them, and what it is not.

use quorate_core::console::{LastAnswer, Wish};
use quorate_core::model::{BranchId, BranchStatus, BranchType, GlobalStatus, GroupId, NodeId, TransactionId, Xid};
use quorate_core::txn::command::Operation;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::super::message::{Query, RelayAgainV1, RelayV1, Response, Untold, Way};
use super::super::turns::{Bounds, RESOURCE_MIN};
use super::THREE;
use super::client::Answer;
use super::cluster::{Cluster, Given, owner};
use super::operate::ask;
use super::turns::committing;

/// Of three groups, each on one node alone.
const APART: usize = 1;
const LEADER: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const SOON: Duration = Duration::from_secs(3);

/// Begun where its group is led.
async fn begun_at(cluster: &mut Cluster, node: NodeId) -> Xid {
    let x = cluster.tm(node).await.begin(60_000).await;
    assert_eq!(cluster.serving(owner(x.transaction.slot().0, 3)).await, node);
    x
}

#[test]
fn a_hung_rm_of_another_node_delays_nobody_else() {
    run_test(async {
        let relays = Bounds { resource_min: 4, resource_max: 8, process: 8, all: 12 };
        let given = Given { replicas: APART, relays, ..Given::default() };
        let mut cluster = Cluster::given("hung_elsewhere", &THREE, 3, given).await;
        let tm = cluster.tm(LEADER).await;
        let (hung, rm) = (cluster.rm(OTHER, "db-a").await, cluster.rm(OTHER, "db-b").await);
        // Another process that serves what the hung one serves.
        let sound = cluster.connect_from(OTHER, "10.1.0.2");
        sound.register_rm("shop", "db-a").await;
        cluster.announced("db-a").await;
        cluster.announced("db-b").await;
        hung.will_answer(&[Answer::Hold; RESOURCE_MIN]);
        for row in 0..30 {
            let x = begun_at(&mut cluster, LEADER).await;
            hung.at(&x, "db-a", &format!("t:{row}")).await.expect("free");
            assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        }
        hung.await_told(RESOURCE_MIN).await;
        // From now on what is asked beyond the relays finds little room.
        cluster.net.bound(Some(relays.all + 4));
        for (rm, resource) in [(&rm, "db-b"), (&sound, "db-a")] {
            let here = begun_at(&mut cluster, LEADER).await;
            rm.at(&here, resource, "u:1").await.expect("free");
            assert_eq!(tm.commit(&here).await, GlobalStatus::Committed);
            let ended = timeout(SOON, tm.await_status(&here, GlobalStatus::Committed)).await;
            ended.expect("another resource, and another process, is asked");
        }
        let there = begun_at(&mut cluster, OTHER).await;
        rm.at(&there, "db-b", "t:2").await.expect("free");
        let forwarded = timeout(SOON, tm.commit(&there)).await;
        assert_eq!(forwarded.expect("it is forwarded"), GlobalStatus::Committed);
        timeout(SOON, tm.await_status(&there, GlobalStatus::Committed)).await.expect("it ends");
        assert_eq!(hung.told().len(), RESOURCE_MIN, "one that has answered nothing is not asked more");
        (0..RESOURCE_MIN).for_each(|_| hung.reply(BranchStatus::PhaseTwo_Committed));
        cluster.at_rest().await;
        assert_eq!(hung.told().len(), 30);
        cluster.end().await;
    });
}

/// A process hangs with all that it has, and one node is the only way to it. It has its share of that way, and another
/// process there is asked at once.
#[test]
fn a_hung_process_of_another_node_delays_nobody_else() {
    run_test(async {
        let relays = Bounds { resource_min: 4, resource_max: 8, process: 8, all: 12 };
        let given = Given { replicas: APART, relays, ..Given::default() };
        let mut cluster = Cluster::given("hung_process", &THREE, 3, given).await;
        let tm = cluster.tm(LEADER).await;
        let resources: Vec<String> = (1..=8).map(|number| format!("hung-{number}")).collect();
        let hung = cluster.rm(OTHER, &resources.join(",")).await;
        let sound = cluster.connect_from(OTHER, "10.1.0.2");
        sound.register_rm("shop", "db-b").await;
        cluster.announced("db-b").await;
        let asked = resources.len() * relays.resource_min;
        hung.will_answer(&vec![Answer::Hold; asked]);
        for row in 0..relays.resource_min {
            for resource in &resources {
                let x = begun_at(&mut cluster, LEADER).await;
                hung.at(&x, resource, &format!("t:{row}")).await.expect("free");
                assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
            }
        }
        hung.await_told(relays.process).await;
        let x = begun_at(&mut cluster, LEADER).await;
        sound.at(&x, "db-b", "t:1").await.expect("free");
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        timeout(SOON, tm.await_status(&x, GlobalStatus::Committed)).await.expect("another process is asked");
        assert_eq!(hung.told().len(), relays.process, "that is its share");
        for replied in 0..asked {
            hung.await_told(replied + 1).await;
            hung.reply(BranchStatus::PhaseTwo_Committed);
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// One that was silent before is given longer through another node too, and what it says then counts there.
#[test]
fn a_silent_rm_is_given_longer_through_another_node() {
    run_test(async {
        let mut cluster = Cluster::founded("given_longer", &THREE, 1).await;
        let rm = cluster.rm(OTHER, "pay").await;
        rm.will_answer(&[Answer::Hold; 2]);
        let relayed = |branch| RelayV1 {
            way: Way::Commit,
            transaction: TransactionId(4_096),
            address: "10.0.0.1:8091".into(),
            branch: BranchId(branch),
            kind: BranchType::TCC,
            resource: "pay".into(),
            application_data: String::new(),
            client: "shop:10.1.0.1:1".into(),
        };
        let asked = |query| {
            let coordinator = cluster.running[&OTHER].coordinator.clone();
            task::spawn(async move { coordinator.serve_query(LEADER, GroupId::META, query).await })
        };
        let again = asked(Query::RelayAgain(RelayAgainV1 { relay: relayed(1), silences: 1 }));
        rm.await_told(1).await;
        assert_eq!(asked(Query::Relay(relayed(2))).await, Ok(Response::Untold(Untold::Silent)));
        sleep(Duration::from_millis(200)).await;
        assert!(!again.is_finished(), "it has answered late before");
        rm.reply(BranchStatus::PhaseTwo_Committed);
        assert_eq!(again.await, Ok(Response::Told(BranchStatus::PhaseTwo_Committed)));
        cluster.end().await;
    });
}

/// What an operator has stopped while it waited for its turn at the other node is not asked when that comes.
#[test]
fn who_was_stopped_meanwhile_is_not_asked_through_another_node() {
    run_test(async {
        let mut cluster = Cluster::founded("stopped_elsewhere", &THREE, 1).await;
        let leader = cluster.serving(GroupId(1)).await;
        let other = THREE.into_iter().find(|node| *node != leader).expect("three nodes");
        let (tm, rm) = (cluster.tm(leader).await, cluster.rm(other, "pay").await);
        cluster.announced("pay").await;
        rm.will_answer(&[Answer::Hold; RESOURCE_MIN]);
        let mut begun = Vec::new();
        for _ in 0..=RESOURCE_MIN {
            let x = tm.begin(60_000).await;
            rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("a branch");
            begun.push((committing(&tm, &x), x));
            rm.await_told(begun.len().min(RESOURCE_MIN)).await;
        }
        let relayed = || cluster.running[&leader].coordinator.counts().phase_two_relayed;
        while relayed() <= RESOURCE_MIN as u64 {
            sleep(Duration::from_millis(5)).await;
        }
        let (waiting, x) = begun.pop().expect("one waits");
        let stopped = GlobalStatus::StopCommitOrCommitRetry;
        assert_eq!(ask(&cluster, leader.0, &x, Wish::Change(Operation::Stop)).await, Ok(stopped));
        let copy = &cluster.running[&other].groups[&GroupId(1)];
        while copy.read(|state| state.standing(x.transaction)) != Some(stopped) {
            sleep(Duration::from_millis(5)).await;
        }
        (0..RESOURCE_MIN).for_each(|_| rm.reply(BranchStatus::PhaseTwo_Committed));
        for (committing, _) in begun {
            assert_eq!(committing.await, Ok(GlobalStatus::Committed));
        }
        assert_eq!(waiting.await, Ok(GlobalStatus::CommitRetrying));
        assert_eq!(rm.told().len(), RESOURCE_MIN, "its turn has come by now");
        let start = Wish::Change(Operation::Start);
        assert_eq!(ask(&cluster, leader.0, &x, start).await, Ok(GlobalStatus::CommitRetrying));
        tm.await_status(&x, GlobalStatus::Committed).await;
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// Its RM was not silent, for it was not asked: its patience stays as it was, and the operator is not told of a silence.
#[test]
fn a_node_with_too_much_to_do_makes_nobody_silent() {
    run_test(async {
        let given = Given { replicas: APART, ..Given::default() };
        let mut cluster = Cluster::given("busy_node", &THREE, 3, given).await;
        let tm = cluster.tm(LEADER).await;
        let rm = cluster.rm(OTHER, "db").await;
        cluster.announced("db").await;
        let x = begun_at(&mut cluster, LEADER).await;
        rm.at(&x, "db", "t:1").await.expect("free");
        // Its rows may be those of the busy node.
        cluster.net.bound(Some(0));
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        let tenure = cluster.running[&LEADER].coordinator.led.tenure(owner(x.transaction.slot().0, 3));
        let tenure = tenure.expect("it leads");
        let told = timeout(SOON, async {
            loop {
                if let Some((_, trouble)) = tenure.troubles(x.transaction).first() {
                    return trouble.last;
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert_eq!(told.await.expect("in time"), LastAnswer::Busy);
        cluster.net.bound(None);
        timeout(SOON, tm.await_status(&x, GlobalStatus::Committed)).await.expect("asked again soon");
        cluster.at_rest().await;
        cluster.end().await;
    });
}
