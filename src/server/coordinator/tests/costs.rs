//! What a transaction costs: log entries, batches that a disk synced, messages between nodes. The numbers only shrink; who
//! makes one grow says why in `docs/OPERATING.md`, where they stand too.
//!
//! One transaction at a time, so nothing shares a batch: the most it can cost. Heartbeats, stamps and id blocks come by
//! time, so the least of several is what the transaction itself costs. Messages are bounded with a tenth to spare: how
//! far an entry is committed travels with the next one, if there is a next one by then.

use std::collections::BTreeSet;

use quorate_core::model::hash::lock_slot;
use quorate_core::model::{BranchId, BranchType, ExceptionCode, GlobalStatus, GroupId, NodeId};
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep};

use super::THREE;
use super::client::Client;
use super::cluster::{Cluster, Given, owner};

const REPEATS: usize = 6;
const GROUPS: u32 = 3;

/// What was counted, all nodes together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cost {
    /// Raft entries.
    entries: u64,
    /// Batches written and synced.
    syncs: u64,
    /// Messages between nodes, there and back counted apart.
    messages: u64,
}

impl Cost {
    fn so_far(cluster: &Cluster) -> Cost {
        let groups = (1..=GROUPS).map(GroupId);
        let applied = |group: GroupId| cluster.running.values().map(move |node| node.applied(group)).max();
        Cost {
            entries: groups.filter_map(applied).sum(),
            syncs: cluster.running.values().map(|node| node.synced_batches()).sum(),
            messages: cluster.net.messages(),
        }
    }

    fn since(self, before: Cost) -> Cost {
        Cost {
            entries: self.entries - before.entries,
            syncs: self.syncs - before.syncs,
            messages: self.messages - before.messages,
        }
    }

    fn least(self, other: Cost) -> Cost {
        Cost {
            entries: self.entries.min(other.entries),
            syncs: self.syncs.min(other.syncs),
            messages: self.messages.min(other.messages),
        }
    }
}

/// A resource whose lock home is this group.
fn resource_of(group: GroupId) -> String {
    let names = (0..).map(|n| format!("db-{n}"));
    names.into_iter().find(|name| owner(lock_slot(name).0, GROUPS) == group).expect("some name")
}

/// A cluster in which each node leads one group, and who leads which.
async fn spread(name: &str) -> (Cluster, Vec<(GroupId, NodeId)>) {
    let cluster = Cluster::given(name, &THREE, GROUPS, Given { heartbeat_ms: 1_000, ..Given::default() }).await;
    let homes: Vec<(GroupId, NodeId)> = (1..=GROUPS).map(GroupId).zip(THREE).collect();
    for (group, node) in &homes {
        loop {
            let leader = cluster.serving(*group).await;
            if leader == *node {
                break;
            }
            cluster.running[&leader].groups[group].transfer(*node).await;
            sleep(Duration::from_millis(50)).await;
        }
    }
    (cluster, homes)
}

/// Nothing is left, and every node has applied the same.
async fn quiet(cluster: &Cluster) {
    cluster.at_rest().await;
    let is_even = |group: GroupId| {
        let applied: BTreeSet<u64> = cluster.running.values().map(|node| node.applied(group)).collect();
        applied.len() == 1
    };
    while !(1..=GROUPS).map(GroupId).all(is_even) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// The cost of a transaction with these branches, the least of several times.
async fn cost_of(cluster: &Cluster, tm: &Client, rm: &Client, branches: &[(BranchType, String)]) -> Cost {
    let mut least: Option<Cost> = None;
    for turn in 0..REPEATS {
        quiet(cluster).await;
        let before = Cost::so_far(cluster);
        let xid = tm.begin(60_000).await;
        let mut registered: BTreeSet<BranchId> = BTreeSet::new();
        for (row, (kind, resource)) in branches.iter().enumerate() {
            let lock_keys = format!("t:{turn}-{row}");
            registered.insert(rm.branch(&xid, *kind, resource, &lock_keys, "").await.expect("free"));
        }
        assert_eq!(tm.commit(&xid).await, GlobalStatus::Committed);
        quiet(cluster).await;
        assert_eq!(registered.len(), branches.len());
        let cost = Cost::so_far(cluster).since(before);
        least = Some(least.map_or(cost, |least| least.least(cost)));
    }
    least.expect("played")
}

fn at(groups: &[GroupId]) -> Vec<(BranchType, String)> {
    groups.iter().map(|group| (BranchType::AT, resource_of(*group))).collect()
}

#[test]
fn what_a_transaction_costs() {
    run_test(async {
        let (mut cluster, homes) = spread("costs").await;
        let [(a, at_home), (b, _), (c, _)] = homes[..] else { panic!("three groups") };
        let mut resources: Vec<String> = [a, b, c].map(resource_of).to_vec();
        resources.push("pay".to_owned());
        let (tm, rm) = (cluster.tm(at_home).await, cluster.rm(at_home, &resources.join(",")).await);
        cluster.announced("pay").await;
        let tcc = vec![(BranchType::TCC, "pay".to_owned()); 2];
        // What it costs at most: entries, batches synced, messages.
        let cases = [
            // begin, register with the lock, decision, end
            ("AT, one branch, its lock home here", at(&[a]), [4, 12, 36]),
            // acquire and release in the lock home beside those
            ("AT, one branch, its lock home elsewhere", at(&[b]), [6, 18, 58]),
            ("AT, three branches, one lock home, here", at(&[a, a, a]), [6, 18, 52]),
            ("AT, three branches, three lock homes, one of them here", at(&[a, b, c]), [10, 30, 96]),
            ("TCC, two branches", tcc, [5, 15, 46]),
        ];
        for (name, branches, [entries, syncs, messages]) in cases {
            let cost = cost_of(&cluster, &tm, &rm, &branches).await;
            assert_eq!(cost.entries, entries, "{name}");
            assert!(cost.syncs <= syncs && cost.messages <= messages, "{name}: {cost:?}");
        }
        cluster.end().await;
    });
}

/// A client that meets a conflict tries again thirty times and more: only the first try may cost an entry (W8, LK9).
#[test]
fn a_refused_retry_costs_no_entry() {
    run_test(async {
        let (mut cluster, homes) = spread("refusals").await;
        let [(a, at_home), (b, _), _] = homes[..] else { panic!("three groups") };
        let resources = [a, b].map(resource_of);
        let (tm, rm) = (cluster.tm(at_home).await, cluster.rm(at_home, &resources.join(",")).await);
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        for resource in &resources {
            rm.at(&x, resource, "t:1").await.expect("free");
            let mut entries = Vec::new();
            for _ in 0..REPEATS {
                let refused = Err(ExceptionCode::LockKeyConflict);
                assert_eq!(rm.at(&y, resource, "t:1").await, refused);
                sleep(Duration::from_millis(100)).await;
                let before = Cost::so_far(&cluster);
                for _ in 0..30 {
                    assert_eq!(rm.at(&y, resource, "t:1").await, refused);
                }
                sleep(Duration::from_millis(100)).await;
                entries.push(Cost::so_far(&cluster).since(before).entries);
            }
            // What comes by time does not come each time.
            assert_eq!(entries.iter().min(), Some(&0), "{resource}: {entries:?}");
        }
        cluster.end().await;
    });
}
