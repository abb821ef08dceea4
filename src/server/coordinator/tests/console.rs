//! What an operator sees: all groups through any node, in order, in pages, and what is in the way of a transaction.

use quorate_core::console::{LastAnswer, LockFilter, Page, SessionFilter, Stuck};
use quorate_core::model::{BranchStatus, BranchType, GlobalStatus, GroupId, NodeId, TransactionId};
use quorate_world::runtime::run_test;

use super::client::Answer;
use super::cluster::Cluster;
use super::{ONE, THREE};

fn page(number: u64, size: u64) -> Page {
    Page::new(number, size).expect("a page")
}

#[test]
fn any_node_shows_what_all_groups_have() {
    run_test(async {
        let mut cluster = Cluster::founded("console_any", &THREE, 3).await;
        let rm = cluster.rm(NodeId(2), "db-a,db-b").await;
        let mut begun = Vec::new();
        for node in [1, 2, 3, 1, 2, 3] {
            let tm = cluster.tm(NodeId(node)).await;
            begun.push(tm.begin(60_000).await);
        }
        let slots: std::collections::BTreeSet<u16> = begun.iter().map(|xid| xid.transaction.slot().0 % 3).collect();
        assert!(slots.len() > 1, "one group only");
        rm.at(&begun[0], "db-a", "t:1,2").await.expect("free");
        rm.at(&begun[0], "db-a", "t:2,3").await.expect("its own");
        rm.at(&begun[1], "db-b", "t:1").await.expect("free");
        let mut pages = Vec::new();
        for node in THREE {
            let coordinator = &cluster.running[&node].coordinator;
            let all = coordinator.list_sessions(SessionFilter::default(), page(1, 10)).await;
            assert_eq!((all.total, all.unanswered.as_slice()), (6, [].as_slice()));
            let keys: Vec<_> = all.rows.iter().map(|row| (row.begun_wall_ms, row.xid.transaction)).collect();
            assert!(keys.is_sorted(), "{keys:?}");
            let mut ids: Vec<TransactionId> = all.rows.iter().map(|row| row.xid.transaction).collect();
            // The same in small pages.
            let mut paged = Vec::new();
            for number in 1..=4 {
                let part = coordinator.list_sessions(SessionFilter::default(), page(number, 2)).await;
                assert_eq!(part.total, 6);
                paged.extend(part.rows.into_iter().map(|row| row.xid.transaction));
            }
            assert_eq!(paged, ids);
            ids.sort();
            let mut known: Vec<TransactionId> = begun.iter().map(|xid| xid.transaction).collect();
            known.sort();
            assert_eq!(ids, known);
            let of_xid = SessionFilter { xid: Some(begun[0].to_string()), ..SessionFilter::default() };
            let one = coordinator.list_sessions(of_xid, page(1, 10)).await;
            assert_eq!((one.total, &one.rows[0].xid, one.rows[0].branches.len()), (1, &begun[0], 2));
            assert_eq!((one.rows[0].branches[0].rows, one.rows[0].stuck()), (2, None));

            let locks = coordinator.list_locks(LockFilter::default(), page(1, 10)).await;
            let mut rows: Vec<String> =
                locks.rows.iter().map(|lock| format!("{} {}", lock.resource, lock.row)).collect();
            let holders: Vec<_> =
                locks.rows.iter().map(|lock| lock.holder.as_ref().map(|holder| &holder.xid)).collect();
            assert!(holders.iter().all(|holder| [Some(&begun[0]), Some(&begun[1])].contains(holder)), "{holders:?}");
            rows.sort();
            assert_eq!(rows, ["db-a t:1", "db-a t:2", "db-a t:3", "db-b t:1"]);
            assert_eq!(locks.total, 4);
            let of_one = LockFilter { transaction: Some(begun[1].transaction), ..LockFilter::default() };
            assert_eq!(coordinator.list_locks(of_one, page(1, 10)).await.rows.len(), 1);
            let keys: Vec<_> =
                locks.rows.iter().map(|lock| (lock.transaction, lock.branch, lock.row.clone())).collect();
            pages.push((paged, keys));
        }
        assert!(pages.iter().all(|of_node| *of_node == pages[0]), "nodes disagree");
        let tm = cluster.tm(NodeId(1)).await;
        for xid in &begun {
            tm.rollback(xid).await;
        }
        cluster.at_rest().await;
        cluster.end().await;
    });
}

#[test]
fn a_group_without_a_leader_in_reach_is_named() {
    run_test(async {
        let mut cluster = Cluster::founded("console_cut", &THREE, 3).await;
        let tm = cluster.tm(NodeId(1)).await;
        tm.begin(60_000).await;
        cluster.net.isolate(NodeId(1));
        let coordinator = cluster.running[&NodeId(1)].coordinator.clone();
        let alone = coordinator.list_sessions(SessionFilter::default(), page(1, 10)).await;
        let groups: Vec<GroupId> = (1..=3).map(GroupId).collect();
        assert_eq!(alone.unanswered, groups, "no leader can confirm itself");
        assert_eq!((alone.total, alone.rows.len()), (0, 0));
        cluster.net.heal();
        cluster.end().await;
    });
}

#[test]
fn what_is_in_the_way_is_told() {
    run_test(async {
        let mut cluster = Cluster::founded("console_stuck", &ONE, 2).await;
        let (tm, rm) = (cluster.tm(NodeId(1)).await, cluster.rm(NodeId(1), "pay,db-a").await);
        let coordinator = cluster.running[&NodeId(1)].coordinator.clone();
        let stuck = async |xid: &quorate_core::model::Xid| {
            let filter = SessionFilter { xid: Some(xid.to_string()), ..SessionFilter::default() };
            let gathered = coordinator.list_sessions(filter, page(1, 1)).await;
            gathered.rows.first().and_then(|row| row.stuck())
        };
        let x = tm.begin(60_000).await;
        let branch = rm.branch(&x, BranchType::TCC, "pay", "", "").await.expect("no locks");
        rm.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable), Answer::Hold]);
        assert_eq!(tm.commit(&x).await, GlobalStatus::CommitRetrying);
        let told = stuck(&x).await.expect("it is being retried");
        let trouble = told.trouble().expect("with an answer");
        assert_eq!((told.branch(), trouble.attempts), (Some(branch), 1));
        assert_eq!(trouble.last, LastAnswer::Status(BranchStatus::PhaseTwo_CommitFailed_Retryable));
        rm.await_told(2).await;
        rm.reply(BranchStatus::PhaseTwo_Committed);
        tm.await_status(&x, GlobalStatus::Committed).await;
        assert_eq!(stuck(&x).await, None);
        // Nobody there.
        let y = tm.begin(60_000).await;
        let branch = rm.at(&y, "db-a", "t:1").await.expect("free");
        rm.hang_up();
        assert_eq!(tm.rollback(&y).await, GlobalStatus::RollbackRetrying);
        let told = stuck(&y).await.expect("it is parked");
        assert!(matches!(told, Stuck::Parked(at, _) if at == branch), "{told:?}");
        let back = cluster.connect(NodeId(1));
        back.will_answer(&[Answer::Status(BranchStatus::PhaseTwo_RollbackFailed_Unretryable)]);
        back.register_rm("shop", "pay,db-a").await;
        tm.await_status(&y, GlobalStatus::RollbackFailed).await;
        assert_eq!(stuck(&y).await, Some(Stuck::Failed(Some(branch))));
        cluster.end().await;
    });
}
