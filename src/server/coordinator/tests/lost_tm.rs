//! The early rollback of what a lost TM left open.

use quorate_core::model::{GlobalStatus, NodeId};
use quorate_core::wire::{Decoded, Head, Message, MessageKind, Version};
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep, timeout};

use super::THREE;
use super::cluster::{Cluster, Given};

const AFTER: Duration = Duration::from_millis(300);

async fn cluster(name: &str) -> Cluster {
    Cluster::given(name, &THREE, 2, Given { lost_tm_after: Some(AFTER), ..Given::default() }).await
}

#[test]
fn what_a_lost_process_left_open_is_rolled_back() {
    run_test(async {
        let mut cluster = cluster("lost_tm").await;
        let rm = cluster.connect_from(NodeId(2), "10.1.0.9");
        rm.register_rm("stock", "db-a").await;
        cluster.announced("db-a").await;
        let tm = cluster.tm(NodeId(1)).await;
        let (open, done) = (tm.begin(60_000).await, tm.begin(60_000).await);
        for (xid, row) in [(&open, "t:1"), (&done, "t:2")] {
            rm.at(xid, "db-a", row).await.expect("free");
        }
        assert_eq!(tm.commit(&done).await, GlobalStatus::Committed);
        tm.hang_up();
        rm.await_status(&open, GlobalStatus::Rollbacked).await;
        assert_eq!(rm.status(&done).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// The TM went away before it was answered: nobody else will ever end what it began.
#[test]
fn a_begin_on_its_way_is_not_forgotten() {
    run_test(async {
        let mut cluster = cluster("lost_tm_begin").await;
        let tm = cluster.tm(NodeId(1)).await;
        let begin = Message::GlobalBegin { timeout_ms: 3_600_000, name: "buy".into() };
        let head = Head::new(Version::V1, MessageKind::Request, 1_000);
        tm.coordinator.receive(&tm.channel, Decoded::Message(head, begin)).await;
        tm.hang_up();
        let rolled_back = timeout(Duration::from_secs(30), async {
            while tm.coordinator.counts().lost_tm_rollbacks == 0 {
                sleep(Duration::from_millis(5)).await;
            }
        });
        rolled_back.await.expect("it is rolled back");
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// A double-stack port shows a host's IPv4 address in two ways.
#[test]
fn one_host_is_one_process_by_whichever_family() {
    run_test(async {
        let mut cluster = cluster("lost_tm_family").await;
        let tm = cluster.tm(NodeId(1)).await;
        let again = cluster.connect_from(NodeId(2), "[::ffff:10.1.0.1]");
        again.register_tm("shop").await;
        let open = tm.begin(60_000).await;
        tm.hang_up();
        sleep(4 * AFTER).await;
        assert_eq!(again.status(&open).await, GlobalStatus::Begin);
        assert_eq!(again.channel.peer.ip().to_string(), "10.1.0.1");
        assert_eq!(again.commit(&open).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_process_that_is_back_keeps_its_transactions() {
    run_test(async {
        let mut cluster = cluster("lost_tm_back").await;
        let tm = cluster.tm(NodeId(1)).await;
        let open = tm.begin(60_000).await;
        tm.hang_up();
        let again = cluster.tm(NodeId(3)).await;
        sleep(4 * AFTER).await;
        assert_eq!(again.status(&open).await, GlobalStatus::Begin);
        assert_eq!(again.commit(&open).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn in_doubt_nothing_is_done() {
    run_test(async {
        let mut cluster = cluster("lost_tm_doubt").await;
        let tm = cluster.tm(NodeId(1)).await;
        let open = tm.begin(60_000).await;
        let cut = THREE.into_iter().find(|node| *node != NodeId(1)).expect("another");
        cluster.net.isolate(cut);
        tm.hang_up();
        sleep(4 * AFTER).await;
        let other = cluster.connect_from(NodeId(1), "10.1.0.9");
        other.register_tm("stock").await;
        assert_eq!(other.status(&open).await, GlobalStatus::Begin);
        cluster.net.heal();
        assert_eq!(other.commit(&open).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}
