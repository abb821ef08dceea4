//! Transactions counted as Seata counts them: each once, at its leader; what is active by the state.

use std::collections::BTreeMap;

use quorate_core::meters::{Event, PairFigures, Sum};
use quorate_core::model::{BranchStatus, GlobalStatus, GroupId, NodeId};
use quorate_core::phase_two::Patience;
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep, timeout};

use super::client::Answer;
use super::cluster::{Cluster, Given};
use super::{ONE, THREE};

const PATIENCE: Duration = Duration::from_secs(30);
const FAILS: Answer = Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Retryable);

async fn cluster(name: &str, nodes: &[NodeId], groups: u32, patience: Patience) -> Cluster {
    Cluster::given(name, nodes, groups, Given { seata_meters: true, patience, ..Given::default() }).await
}

/// What a node shows of the only application there is.
async fn shown(cluster: &Cluster, node: NodeId) -> Option<PairFigures> {
    let mut figures = cluster.running[&node].coordinator.seata_figures().await;
    assert!(figures.len() <= 1, "{figures:?}");
    figures.pop()
}

fn counts(figures: &PairFigures) -> [u64; Event::ALL.len()] {
    figures.of_events.map(|of_event| of_event.ever.count)
}

/// Waits until the only node has counted so much.
async fn await_counts(cluster: &Cluster, wanted: [u64; Event::ALL.len()]) -> PairFigures {
    let mut last = None;
    let counted = timeout(PATIENCE, async {
        loop {
            match shown(cluster, NodeId(1)).await {
                Some(figures) if counts(&figures) == wanted => return figures,
                figures => last = figures,
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let counted = counted.await.ok();
    counted.unwrap_or_else(|| panic!("{wanted:?} is counted in time, but {last:?}"))
}

#[test]
fn every_end_is_counted_once() {
    run_test(async {
        let patience = Patience { rollback_retry_ms: Some(3_000), ..Patience::DEFAULT };
        let mut cluster = cluster("meters", &ONE, 2, patience).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        assert_eq!(shown(&cluster, NodeId(1)).await, None);
        let (empty, at, back) = (tm.begin(60_000).await, tm.begin(60_000).await, tm.begin(60_000).await);
        let figures = shown(&cluster, NodeId(1)).await.expect("the look counts too");
        assert_eq!((figures.active, counts(&figures)), (3, [0; 6]));
        assert_eq!((&*figures.labels.application, &*figures.labels.service_group), ("shop", "default_tx_group"));
        for (xid, row) in [(&at, "t:1"), (&back, "t:2")] {
            rm.at(xid, "db-a", row).await.expect("free");
        }
        sleep(Duration::from_millis(30)).await;
        assert_eq!(tm.commit(&empty).await, GlobalStatus::Committed);
        assert_eq!(tm.commit(&at).await, GlobalStatus::Committed);
        assert_eq!(tm.rollback(&back).await, GlobalStatus::Rollbacked);
        let figures = await_counts(&cluster, [2, 1, 0, 0, 2, 1]).await;
        let Sum { total_ms, max_ms, .. } = figures.of_events[Event::Committed as usize].ever;
        assert!(total_ms >= 2 * 30 && max_ms >= 30, "from the begin: {figures:?}");
        // One by its time-out, one that fails for good, one that is given up.
        let late = tm.begin(300).await;
        tm.await_status(&late, GlobalStatus::TimeoutRollbacked).await;
        let bad = tm.begin(60_000).await;
        rm.at(&bad, "db-a", "t:3").await.expect("free");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable)]);
        assert_eq!(tm.rollback(&bad).await, GlobalStatus::RollbackFailed);
        let given_up = tm.begin(60_000).await;
        rm.at(&given_up, "db-a", "t:4").await.expect("free");
        rm.will_answer(&[FAILS; 64]);
        assert_eq!(tm.rollback(&given_up).await, GlobalStatus::RollbackRetrying);
        let open = tm.begin(60_000).await;
        let figures = await_counts(&cluster, [2, 1, 1, 1, 2, 2]).await;
        assert_eq!(figures.active, 1, "but for {open}");
        // Nobody spoils what another reads.
        let again = shown(&cluster, NodeId(1)).await.expect("still there");
        assert_eq!(again.of_events.map(|of| of.ever), figures.of_events.map(|of| of.ever));
        assert_eq!(again.active, figures.active);
        cluster.end().await;
    });
}

#[test]
fn what_is_active_follows_the_leader() {
    run_test(async {
        let mut cluster = cluster("meters_leader", &THREE, 1, Patience::DEFAULT).await;
        let tm = cluster.tm(NodeId(1)).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(tm.begin(60_000).await);
        }
        await_active(&cluster, 3).await;
        let group = GroupId(1);
        let before = cluster.serving(group).await;
        cluster.net.isolate(before);
        while cluster.serving(group).await == before {
            sleep(Duration::from_millis(5)).await;
        }
        cluster.net.heal();
        let after = cluster.serving(group).await;
        let other = cluster.tm(after).await;
        assert_eq!(other.commit(&open[0]).await, GlobalStatus::Committed);
        await_active(&cluster, 2).await;
        cluster.end().await;
    });
}

/// Waits until one node shows so many active transactions and no other any: a leader that was cut off learns of it late.
async fn await_active(cluster: &Cluster, wanted: u64) {
    let mut active = BTreeMap::new();
    let shows = timeout(PATIENCE, async {
        loop {
            active.clear();
            for node in cluster.running.keys() {
                let count = shown(cluster, *node).await.map_or(0, |figures| figures.active);
                active.extend((count > 0).then_some((*node, count)));
            }
            if active.values().eq([&wanted]) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let shows = shows.await;
    assert!(shows.is_ok(), "{wanted} are active, but {active:?}");
}

#[test]
fn nothing_is_counted_unless_wanted() {
    run_test(async {
        let mut cluster = Cluster::founded("meters_off", &ONE, 1).await;
        let tm = cluster.tm(NodeId(1)).await;
        let (done, _open) = (tm.begin(60_000).await, tm.begin(60_000).await);
        assert_eq!(tm.commit(&done).await, GlobalStatus::Committed);
        let coordinator = &cluster.running[&NodeId(1)].coordinator;
        assert!(!coordinator.counts_as_seata());
        assert_eq!(coordinator.seata_figures().await, []);
        cluster.end().await;
    });
}
