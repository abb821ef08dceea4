//! Many clients on few rows while leaders are cut off: no row is ever acknowledged to two transactions, every answer is kept,
//! and at the end nothing is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use quorate_core::model::{BranchId, BranchType, Epoch, Fence, GlobalStatus, GroupId, NodeId, Term, Xid, hash};
use quorate_core::txn::command::AcquireLocksV1;
use quorate_core::txn::{Command, Outcome};
use quorate_world::random;
use quorate_world::runtime::run_test;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::super::guard::locked;
use super::client::Client;
use super::cluster::Cluster;
use super::{ONE, THREE};

const RESOURCES: [&str; 2] = ["db-a", "db-b"];
const ROWS: u64 = 5;

/// Far longer than a trade takes. A begin of open fate is repeated, and what it began first ends by this.
const TIMEOUT_MS: i32 = 15_000;

/// Who holds a row by what clients were told.
#[derive(Default)]
struct Ghost(Mutex<BTreeMap<(usize, u64), Xid>>);

impl Ghost {
    fn acknowledged(&self, resource: usize, row: u64, xid: &Xid) {
        let before = locked(&self.0).insert((resource, row), xid.clone());
        assert!(before.as_ref().is_none_or(|before| before == xid), "{before:?} and {xid} hold {resource}:{row}");
    }

    /// From the question on, the rows may be anybody's.
    fn decides(&self, xid: &Xid) {
        locked(&self.0).retain(|_, holder| holder != xid);
    }
}

/// One business transaction; what it was told at the end.
async fn trade(tm: &Client, rm: &Client, ghost: &Ghost) -> (Xid, GlobalStatus) {
    let xid = tm.begin(TIMEOUT_MS).await;
    let mut refused = false;
    for _ in 0..=random::below(3) {
        let (resource, row) = (random::below(2) as usize, random::below(ROWS));
        match rm.at(&xid, RESOURCES[resource], &format!("t:{row}")).await {
            Ok(_) => ghost.acknowledged(resource, row, &xid),
            Err(_) => refused = true,
        }
    }
    ghost.decides(&xid);
    let told = match refused || random::below(4) == 0 {
        true => tm.rollback(&xid).await,
        false => tm.commit(&xid).await,
    };
    (xid, told)
}

#[test]
fn rows_are_exclusive_whoever_leads() {
    run_test(async {
        let mut cluster = Cluster::founded("exclusive", &THREE, 3).await;
        let ghost = Arc::new(Ghost::default());
        let mut work = Vec::new();
        for worker in 0..6 {
            let node = THREE[worker % 3];
            let (tm, rm) = (cluster.tm(node).await, cluster.rm(THREE[(worker + 1) % 3], "db-a,db-b").await);
            let ghost = ghost.clone();
            work.push(task::spawn(async move {
                let mut told = Vec::new();
                for _ in 0..15 {
                    told.push(trade(&tm, &rm, &ghost).await);
                }
                told
            }));
        }
        for group in [1, 2] {
            sleep(Duration::from_millis(150)).await;
            let leader = cluster.serving(GroupId(group)).await;
            cluster.net.isolate(leader);
            sleep(Duration::from_millis(600)).await;
            cluster.net.heal();
        }
        let mut told = Vec::new();
        for worker in work {
            told.extend(worker.await.expect("the worker ends"));
        }
        let tm = cluster.tm(NodeId(1)).await;
        for (xid, status) in told {
            let ends = match status {
                GlobalStatus::Committed | GlobalStatus::Committing | GlobalStatus::CommitRetrying => {
                    GlobalStatus::Committed
                }
                GlobalStatus::Rollbacked | GlobalStatus::Rollbacking | GlobalStatus::RollbackRetrying => {
                    GlobalStatus::Rollbacked
                }
                other => panic!("{xid} was told {other}"),
            };
            tm.await_status(&xid, ends).await;
        }
        // Nobody but the audit knows of a lock whose branch was lost on its way, and it looks where somebody waits.
        let rm = cluster.rm(NodeId(1), "db-a,db-b").await;
        let all = tm.begin(TIMEOUT_MS).await;
        for (resource, row) in RESOURCES.iter().flat_map(|resource| (0..ROWS).map(move |row| (resource, row))) {
            let held = timeout(Duration::from_secs(10), async {
                while rm.at(&all, resource, &format!("t:{row}")).await.is_err() {
                    sleep(Duration::from_millis(50)).await;
                }
            });
            held.await.unwrap_or_else(|_| panic!("{resource} t:{row} can be had again"));
        }
        assert_eq!(tm.commit(&all).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// The lock home has nothing else to do: no entry moves its clock, and the lock grows old all the same.
#[test]
fn the_audit_frees_a_quiet_groups_rows() {
    run_test(async {
        let mut cluster = Cluster::founded("quiet_audit", &ONE, 3).await;
        let tm = cluster.tm(NodeId(1)).await;
        let (x, y) = (tm.begin(60_000).await, tm.begin(60_000).await);
        assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
        let group = |slot: u16| GroupId(1 + u32::from(slot) % 3);
        let busy = [group(x.transaction.slot().0), group(y.transaction.slot().0)];
        let mut names = (0..100).map(|number| format!("db-{number}"));
        let resource = names.find(|name| !busy.contains(&group(hash::lock_slot(name).0))).expect("a third group");
        let rm = cluster.rm(NodeId(1), &resource).await;
        let replica = cluster.running[&NodeId(1)].groups[&group(hash::lock_slot(&resource).0)].clone();
        assert_eq!(replica.propose(late_acquire(&x, &resource)).await, Ok(Outcome::Acquired));
        // A quiet leader stamps an entry every 10 s where it has reason to; here it has none.
        let freed = timeout(Duration::from_secs(8), async {
            while rm.at(&y, &resource, "t:1").await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        freed.await.expect("the orphan goes");
        assert_eq!(tm.commit(&y).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}

/// What an acquire asks for that arrives after its transaction has ended.
fn late_acquire(x: &Xid, resource: &str) -> Command {
    Command::AcquireLocks(AcquireLocksV1 {
        transaction: x.transaction,
        branch: BranchId::mint(1 << 20, x.transaction.slot()).expect("small"),
        fence: Fence { epoch: Epoch(1), tenure: Term(1) },
        resource: resource.into(),
        lock_keys: "t:1".into(),
    })
}

#[test]
fn the_audit_frees_what_nobody_owns() {
    run_test(async {
        let mut cluster = Cluster::founded("audit", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "db-a").await);
        let home = GroupId(1 + u32::from(hash::lock_slot("db-a").0) % 2);
        // A transaction whose group is not the lock home, ended before its acquire arrives.
        let x = loop {
            let x = tm.begin(60_000).await;
            assert_eq!(tm.commit(&x).await, GlobalStatus::Committed);
            if GroupId(1 + u32::from(x.transaction.slot().0) % 2) != home {
                break x;
            }
        };
        let replica = cluster.running[&NodeId(1)].groups[&home].clone();
        assert_eq!(replica.propose(late_acquire(&x, "db-a")).await, Ok(Outcome::Acquired));
        let y = tm.begin(60_000).await;
        let freed = timeout(Duration::from_secs(20), async {
            while rm.branch(&y, BranchType::AT, "db-a", "t:1", "").await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        freed.await.expect("the orphan goes");
        assert_eq!(cluster.running[&NodeId(1)].coordinator.counts().orphans_released, 1);
        assert_eq!(tm.commit(&y).await, GlobalStatus::Committed);
        cluster.at_rest().await;
        cluster.end().await;
    });
}
