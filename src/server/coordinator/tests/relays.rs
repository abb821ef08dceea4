//! RMs on another node than the leader: what their node is asked to pass on to them, and what it is not.

use quorate_core::console::LastAnswer;
use quorate_core::model::{BranchStatus, GlobalStatus, NodeId, Xid};
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep, timeout};

use super::super::turns::{Bounds, RESOURCE_MIN};
use super::THREE;
use super::client::Answer;
use super::cluster::{Cluster, Given, owner};

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
