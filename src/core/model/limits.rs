//! Every bound on what a request may bring, refused before the log with a text that names the bound
//! (design, section 10.1).

/// One Seata frame, head included.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// Application data of one branch.
pub const APPLICATION_DATA_BYTES_MAX: usize = 1 << 20;
/// Lock key text of one branch.
pub const LOCK_KEYS_BYTES_MAX: usize = 2 << 20;
/// Rows that one branch locks.
pub const ROWS_OF_BRANCH_MAX: usize = 100_000;
/// Row keys of one branch, unpacked: the text names a table once, every row key holds it.
pub const ROW_KEYS_BYTES_MAX: usize = 16 << 20;
/// Table name and primary key of one row together.
pub const ROW_KEY_BYTES_MAX: usize = 1 << 10;
/// Application id, transaction service group, transaction name, resource id.
pub const NAME_BYTES_MAX: usize = 1 << 10;
/// Extra data of a registration or a request.
pub const EXTRA_DATA_BYTES_MAX: usize = 64 << 10;
/// Requests in one merged frame.
pub const MERGED_REQUESTS_MAX: usize = 10_000;
/// Branches of one transaction.
pub const BRANCHES_OF_TRANSACTION_MAX: usize = 10_000;
/// Row locks of one transaction.
pub const LOCKS_OF_TRANSACTION_MAX: usize = 1_000_000;
/// A compressed body, unpacked.
pub const UNPACKED_BODY_BYTES_MAX: usize = 8 << 20;
/// `address:port` in an XID: with an id of 19 digits and a colon it stays within the 64 bytes of an XA global id.
pub const XID_ADDRESS_BYTES_MAX: usize = 44;
/// What the transactions and row locks of one group may take, roughly, before it takes no more of them; with a quarter more
/// for what has begun already. It must fit into a snapshot with what is on its way, and is less there than in memory.
pub const GROUP_STATE_BYTES_MAX: u64 = 1 << 30;
/// Data groups of one cluster.
pub const DATA_GROUPS_MAX: u32 = 1_024;
/// Data groups that a cluster ever has: numbers are not used twice, and who asked for which is remembered.
pub const GROUP_NUMBERS_MAX: u32 = 65_535;
/// Name of a data group that is added.
pub const GROUP_LABEL_BYTES_MAX: usize = 255;
/// Nodes of one cluster.
pub const NODES_MAX: usize = 64;
/// Transaction service groups that are mapped: discovery shows them all in each answer.
pub const VGROUPS_MAX: usize = 256;
/// Name of a transaction service group that is mapped, of its cluster and of its unit, as in Seata's table of them.
pub const VGROUP_NAME_BYTES_MAX: usize = 255;

/// Records in one chunk of the copy of a slot that moves; a longer one is a chunk alone.
pub const COPY_CHUNK_BYTES_MAX: usize = 256 << 10;

/// How long a decided transaction is remembered at least: a client repeats an unanswered request up to 5 times at 30 s.
pub const TOMBSTONE_LIFE_MS: u64 = 180_000;
/// Branch ids that a leader reserves at a time (lock protocol, rule 2).
pub const BRANCH_ID_BLOCK: u32 = 65_536;
/// While deadlines are pending a leader stamps an entry at least this often (design, "Time").
pub const STAMP_INTERVAL_MS: u64 = 10_000;

const _: () = assert!(APPLICATION_DATA_BYTES_MAX + LOCK_KEYS_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(DATA_GROUPS_MAX <= GROUP_NUMBERS_MAX);
const _: () = assert!(XID_ADDRESS_BYTES_MAX + 1 + 19 <= 64);
const _: () = assert!(TOMBSTONE_LIFE_MS >= 5 * 30_000);
