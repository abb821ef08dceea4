//! Disks of these tests: folders of their own, real or simulated.

use quorate_core::model::NodeId;
use quorate_storage::{Identity, Storage, StorageError, StorageOptions};
use quorate_world::disk::{Disk, NodeDisk};
use quorate_world::time::{Duration, sleep, timeout};

use super::cluster::PATIENCE;

/// An empty data folder of this name.
pub async fn scratch(name: &str) -> NodeDisk {
    let root = std::env::temp_dir();
    let disk = NodeDisk::open_root(&format!("{}/quorate-raft-tests/{name}", root.display())).expect("a folder");
    for folder in ["wal", "snap"] {
        disk.make_folder(folder).await.expect("made");
        for name in disk.list(folder).await.expect("listed") {
            disk.remove(&format!("{folder}/{name}")).await.expect("removed");
        }
    }
    for name in ["LOCK", "IDENTITY", "IDENTITY.tmp"] {
        // Most of them are not there.
        let _ = disk.remove(name).await;
    }
    disk
}

pub fn options() -> StorageOptions {
    StorageOptions { segment_bytes: 1 << 20, ..StorageOptions::default() }
}

/// Makes an empty folder the disk of a node.
pub async fn founded(disk: &NodeDisk, node: NodeId) -> Storage {
    founded_with(disk, node, options()).await
}

pub async fn founded_with(disk: &NodeDisk, node: NodeId, options: StorageOptions) -> Storage {
    let (storage, _) = Storage::open(disk.clone(), options).await.expect("an empty folder");
    let identity = Identity { cluster: [7; 16], node, disk: [node.0 as u8; 16] };
    storage.found(identity).await.expect("founded");
    storage
}

/// Opens the disk of a node that was stopped. A snapshot that was being written then holds the folder until it is done.
pub async fn reopened(disk: &NodeDisk) -> Storage {
    let opened = async {
        loop {
            match Storage::open(disk.clone(), options()).await {
                Err(StorageError::InUse) => sleep(Duration::from_millis(5)).await,
                opened => return opened.expect("recovers"),
            }
        }
    };
    let (storage, recovered) = timeout(PATIENCE, opened).await.expect("the folder is free in time");
    assert!(recovered.is_some(), "it was founded");
    storage
}
