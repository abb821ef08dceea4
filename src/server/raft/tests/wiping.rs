//! A group that leaves a node leaves no snapshot there, whatever its replica has in hand at that moment.

use std::pin::pin;

use bytes::Bytes;
use quorate_core::codec;
use quorate_core::model::NodeId;
use quorate_world::disk::Disk;
use quorate_world::runtime::run_test;
use quorate_world::sync::oneshot;
use quorate_world::task;
use quorate_world::time::{Duration, timeout};

use super::cluster::{Cluster, GROUP, PATIENCE, quick};
use super::disk;
use super::ledger::put;
use crate::snapshot;
use crate::transport::RaftRpc;

const NODE: NodeId = NodeId(1);
const SENDER: NodeId = NodeId(2);

/// The node has stopped since, and nothing runs any more that was begun before.
async fn has_nothing_left(cluster: &Cluster, node: NodeId) {
    let disk = cluster.disk(node);
    let storage = disk::reopened(&disk).await;
    assert!(storage.snapshots(GROUP).current().await.expect("readable").is_none());
    storage.close().await;
    assert_eq!(disk.list("snap").await.expect("listed"), Vec::<String>::new());
}

/// Found by the simulation (R2, seed 542): a build outlives openraft's shutdown, and put a snapshot where all was wiped.
#[test]
fn a_snapshot_that_is_being_built_is_given_up() {
    run_test(async {
        let mut cluster = Cluster::founded("a_snapshot_that_is_being_built", &[NODE], quick()).await;
        cluster.put(put(1, 5)).await;
        let replica = cluster.replica(NODE);
        replica.snapshot().await;
        let built = replica.raft.wait(Some(PATIENCE)).metrics(|metrics| metrics.snapshot.is_some(), "built").await;
        built.expect("in time");
        cluster.put(put(1, 5)).await;
        // Another group builds one, and this one waits for its turn.
        let turn = cluster.storage(NODE).snapshots(GROUP).turn().await;
        replica.snapshot().await;
        // openraft's core has passed it on when it answers the next question.
        assert!(replica.is_initialized().await);
        drop(replica);
        cluster.remove(NODE).await;
        drop(turn);
        has_nothing_left(&cluster, NODE).await;
    });
}

/// A snapshot of another node, on its way to this one.
async fn send(from: &Cluster, to: &Cluster) -> task::JoinHandle<()> {
    let sender = from.replica(SENDER).raft.clone();
    let built = sender.wait(Some(PATIENCE)).metrics(|metrics| metrics.snapshot.is_some(), "built").await;
    let vote = built.expect("in time").vote;
    let file = sender.get_snapshot().await.expect("it runs").expect("built").snapshot;
    let receiver = to.running[&NODE].replicas.clone();
    task::spawn(async move {
        for number in 0..file.chunks() {
            let chunk = snapshot::chunk(&file, &vote, number).await;
            let body = Bytes::from(codec::encode(&chunk).expect("small"));
            // The last one has no answer: the receiver stops.
            let _ = receiver.serve(SENDER, GROUP, RaftRpc::Snapshot, body).await;
        }
    })
}

/// openraft's worker comes to the end of its queue when the core is gone.
#[test]
fn a_snapshot_that_is_being_installed_is_waited_for() {
    run_test(async {
        let mut sender = Cluster::founded("a_snapshot_that_is_sent", &[SENDER], quick()).await;
        sender.put(put(1, 5)).await;
        sender.replica(SENDER).snapshot().await;
        let mut cluster = Cluster::start("a_snapshot_that_is_being_installed", &[NODE], quick()).await;
        let replica = cluster.replica(NODE);
        let (go_on, gate) = oneshot::channel::<()>();
        let busy = replica.raft.external_state_machine_request(|_| Box::pin(async move { _ = gate.await }));
        busy.await.expect("it runs");
        let sending = send(&sender, &cluster).await;
        let mut leadership = replica.leadership();
        let heard = leadership.wait_until(|leadership| leadership.leader == Some(SENDER));
        timeout(PATIENCE, heard).await.expect("in time").expect("it runs");
        // What its core has to do before it answers comes before the worker's end.
        replica.is_initialized().await;
        drop(replica);
        {
            let mut removing = pin!(cluster.remove(NODE));
            let early = timeout(Duration::from_millis(100), removing.as_mut()).await;
            assert!(early.is_err(), "wiped before the snapshot has its place");
            go_on.send(()).expect("the worker waits");
            removing.await;
        }
        sending.abort();
        has_nothing_left(&cluster, NODE).await;
        sender.end().await;
    });
}
