//! Values that every layer shares: ids, statuses, row keys, limits.
//!
//! Not here: bytes on a wire or a disk (`wire`, `codec`), and who owns what (`txn`, `cluster`).

pub mod hash;
pub mod ids;
pub mod limits;
pub mod lock_key;
pub mod status;
pub mod xid;

pub use ids::{BranchId, Epoch, Fence, GroupId, LogId, LogIndex, NodeId, SLOTS, Slot, Term, TransactionId};
pub use lock_key::{LockKeys, RowKey};
pub use status::{BranchStatus, BranchType, ExceptionCode, GlobalStatus, ResultCode};
pub use xid::Xid;
