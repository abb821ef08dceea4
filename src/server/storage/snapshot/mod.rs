//! Snapshots: the state of a group at one log id, in a file of its own.
//!
//! A file is written under another name, paced and synced as it grows, then renamed, and only then does anybody hear of
//! it; the older one goes afterwards. One per group is kept: two would help only with twice the log, and the other
//! replicas are the second copy. What takes its place, and the removal of a group, come one after the other; what was begun
//! before a removal takes its place no more.
//!
//! `format` has the bytes, `file` a finished one, `writer` the building, `receiver` what comes from a peer.

mod file;
mod format;
mod receiver;
mod store;
mod writer;

pub use file::{SnapshotFile, SnapshotRecords};
pub use format::{ChunkError, SnapshotMeta, Table};
pub use receiver::SnapshotReceiver;
pub use store::SnapshotStore;
pub use writer::{BuildTurn, SnapshotWriter};

pub(crate) use format::parse_file_name;
pub(crate) use store::{Known, tidy};

/// Folder of the snapshots.
pub(crate) const FOLDER: &str = "snap";

/// Why a snapshot is not there in the end. Other errors of the disk stop the process.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The device is full; what was written is gone. Later may work.
    #[error("no space for the snapshot")]
    Full,
    /// No file descriptor is left; nothing was written. Later may work.
    #[error("no file descriptor for the snapshot")]
    NoDescriptor,
    /// Above [`crate::limits::SNAPSHOT_BYTES_MAX`].
    #[error("the snapshot is too large")]
    TooLarge,
    /// A chunk that cannot be the next one; the same number may be sent again.
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    /// The foot has not come.
    #[error("the snapshot is not finished")]
    Unfinished,
    /// The group was removed from this node since the snapshot was begun; what was written is gone.
    #[error("the group was removed meanwhile")]
    Removed,
}
