//! Every bound of the storage, and what depends on what.

/// Payload of one record: a Seata frame has at most 8 MiB. More is a caller's bug.
pub const PAYLOAD_BYTES_MAX: usize = 12 << 20;
/// A batch closes when its records reach this; a single larger operation goes alone.
pub const BATCH_BYTES: usize = 1 << 20;
/// Records waiting for the disk, all groups together; there `append` waits.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Records of one group waiting for the disk, so that one group cannot starve the others.
pub const QUEUE_OF_GROUP_BYTES_MAX: usize = 16 << 20;
/// How long records that wake nobody wait for a batch to travel with.
pub const LAZY_MS: u64 = 500;
/// Entries kept in memory for readers, all groups together.
pub const CACHE_BYTES_DEFAULT: usize = 256 << 20;
/// A segment, unless configured otherwise.
pub const SEGMENT_BYTES_DEFAULT: u32 = 64 << 20;
/// The first segment of a data folder, so that an empty folder serves at once.
pub const FIRST_SEGMENT_BYTES: u32 = 4 << 20;
/// The smallest segment; the simulation uses small ones.
pub const SEGMENT_BYTES_MIN: u32 = 1 << 20;
/// Places are 32-bit, and so is the segment's own note of its size.
pub const SEGMENT_BYTES_MAX: u32 = 1 << 30;
/// Prepared or recycled segments that wait for a rotation.
pub const SPARES: usize = 2;
/// What the log may take before entries are carried out of the emptiest segment.
pub const WAL_BYTES_TARGET_DEFAULT: u64 = 1 << 30;
/// Below so much free space new work should be refused.
pub const FREE_BYTES_LOW: u64 = 1 << 30;
/// Entries carried forward at one rotation, unless a quarter of a segment is less.
pub const CARRY_BYTES_MAX: usize = 16 << 20;
/// One read of the scan at start, and of a cold read's neighbours.
pub const SCAN_READ_BYTES: usize = 4 << 20;
/// One read for a lagging follower.
pub const COLD_READ_BYTES: usize = 1 << 20;
/// Places of one group that a checkpoint may ask for: what 4 GiB of the smallest records hold.
pub const PLACES_OF_GROUP_MAX: u64 = 1 << 27;

/// A table chunk ends with the record that reaches this.
pub const CHUNK_BYTES: usize = 256 << 10;
/// The largest chunk: one record more than a full one. Also the bound for chunks from a peer.
pub const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + PAYLOAD_BYTES_MAX + 64;
/// Snapshots are synced every so many bytes and written no faster than the pace: this protects commit latency.
pub const SNAPSHOT_SYNC_BYTES: u64 = 1 << 20;
/// Bytes a second of a snapshot being written.
pub const SNAPSHOT_PACE_BYTES_PER_S: u64 = 50_000_000;
/// The largest snapshot that is written or received.
pub const SNAPSHOT_BYTES_MAX: u64 = 2 << 30;
/// Snapshots that a node receives at a time; further ones wait.
pub const SNAPSHOTS_RECEIVED_MAX: usize = 2;
/// Encoded membership in a snapshot's head.
pub const MEMBERSHIP_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(QUEUE_OF_GROUP_BYTES_MAX > PAYLOAD_BYTES_MAX && QUEUE_BYTES_MAX >= QUEUE_OF_GROUP_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES_DEFAULT as usize / 4 > PAYLOAD_BYTES_MAX);
const _: () = assert!(CARRY_BYTES_MAX <= SEGMENT_BYTES_DEFAULT as usize / 4);
