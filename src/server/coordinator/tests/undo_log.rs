//! One RM of each resource is asked to delete old undo logs, once per cluster.

use quorate_core::model::NodeId;
use quorate_world::runtime::run_test;
use quorate_world::time::{Duration, sleep};

use super::cluster::Cluster;

const TWO: [NodeId; 2] = [NodeId(1), NodeId(2)];

#[test]
fn one_rm_of_each_resource_is_asked() {
    run_test(async {
        let mut cluster = Cluster::founded("undo_log", &TWO, 1).await;
        let (first, second) = (cluster.rm(NodeId(1), "both").await, cluster.rm(NodeId(1), "both").await);
        let other = cluster.rm(NodeId(2), "both,there").await;
        let node = |id: u64| cluster.running[&NodeId(id)].coordinator.clone();
        while node(2).channels().served_first_by(NodeId(2)).len() > 1 {
            sleep(Duration::from_millis(20)).await; // until node 1 has said what it holds
        }
        assert_eq!((node(1).ask_to_delete(7), node(2).ask_to_delete(7)), (1, 1));
        let deletions = || [first.deletions(), second.deletions()].concat();
        while deletions().is_empty() || other.deletions().is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(deletions(), [("both".to_owned(), 7)]);
        assert_eq!(other.deletions(), [("there".to_owned(), 7)]);
        cluster.at_rest().await;
        cluster.end().await;
    });
}
