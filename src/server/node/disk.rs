//! The data folder at the start of the process: whose it is, or whose it will be.

use quorate_core::cluster::{ClusterId, DiskId};
use quorate_core::model::NodeId;
use quorate_storage::{Storage, StorageOptions};
use quorate_world::disk::NodeDisk;
use quorate_world::random;

use super::failure::storage_failure;
use crate::config::Config;
use crate::exit::{ExitCode, Failure};

/// An open data folder.
pub struct Disk {
    /// Its contents.
    pub storage: Storage,
    /// The node it belongs, or will belong to; none before the cluster has given a number.
    pub node: Option<NodeId>,
    /// Its own id; drawn anew at each start of an empty folder, which has nothing to be recognised by.
    pub disk: DiskId,
    /// The cluster, unless it is empty.
    pub cluster: Option<ClusterId>,
}

impl Disk {
    /// Locks and recovers the folder; another node's stays as it is.
    pub async fn open(config: &Config) -> Result<Disk, Failure> {
        let root = NodeDisk::open_root(&config.data_dir)
            .map_err(|error| Failure::new(ExitCode::Io, format!("data_dir = {}: {error}", config.data_dir)))?;
        let options = StorageOptions {
            node: config.node_id,
            segment_bytes: u32::try_from(config.storage.segment_bytes).unwrap_or(u32::MAX),
            wal_bytes_target: config.storage.wal_bytes_target,
            free_bytes_low: config.storage.free_bytes_low,
            ..StorageOptions::default()
        };
        let (storage, _recovered) = Storage::open(root, options).await.map_err(storage_failure)?;
        match storage.identity() {
            Some(identity) => {
                let cluster = Some(ClusterId(identity.cluster));
                Ok(Disk { storage, node: Some(identity.node), disk: DiskId(identity.disk), cluster })
            }
            None => Ok(Disk { storage, node: config.founds_as(), disk: DiskId(random::bytes16()), cluster: None }),
        }
    }
}
