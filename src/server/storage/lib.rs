//! The disk of a node: one write-ahead log for all its groups, and a snapshot file for each.
//!
//! The log is ours because the simulation must be able to break everything that touches the disk, and because damage
//! must be refused, never skipped: a voter that forgets breaks raft. One batch is in flight at a time, for all groups
//! together, so batches form by themselves while the disk works, and a torn batch is always the last one.
//!
//! Read in this order: `sector`, `batch`, `record`, `segment` (the bytes), `verdict` (torn or damaged), `index` (what
//! records amount to), `group` and `queue` (what runs ahead of the disk), `writer`, `rotation`, `carry`, `spare` (the
//! way to it), `descriptors` (when nothing can be opened), `scan` and `recovery` (the way back), `snapshot`, and `storage` and
//! `group_log`, which a replica uses.
//!
//! ```text
//! <data>/  LOCK                          held for the life of the process
//!          IDENTITY                      whose disk this is
//!          wal/wal-0000000017.log ..     segments; wal/spare-000042 prepared ones
//!          snap/g0000000007-t..-i...qsn  one snapshot for each group
//! ```
//!
//! Not here: what an entry or a snapshot record means, and everything that knows a term's rules.

mod batch;
mod cached;
mod carry;
mod checkpoint;
mod descriptors;
mod error;
mod files;
mod group;
mod group_log;
mod identity;
mod index;
pub mod inspect;
pub mod limits;
mod node;
mod queue;
mod read;
mod record;
mod recovery;
mod rotation;
mod scan;
mod sector;
mod segment;
pub mod snapshot;
mod spare;
mod stats;
mod storage;
mod verdict;
mod writer;

pub use error::{Damage, StorageError};
pub use group::{LogRecord, LogState};
pub use group_log::GroupLog;
pub use identity::{FORMAT, Identity};
pub use node::StorageOptions;
pub use record::{Marks, Vote};
pub use recovery::{Recovered, Tail};
pub use snapshot::{
    BuildTurn, SnapshotError, SnapshotFile, SnapshotMeta, SnapshotReceiver, SnapshotStore, SnapshotWriter,
};
pub use stats::{Figures, SYNC_BUCKETS};
pub use storage::{Space, Storage};
