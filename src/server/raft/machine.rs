//! What a group replicates: a value that changes only by applying batches of commands, the same on every replica.
//!
//! Two of them exist: the transactions of a data group and the cluster's own state in group 0. Everything they promise is
//! needed here: `apply` is total (no command stops it), a clone is cheap (a snapshot is built from one while apply goes
//! on), and equal states give equal tables.

use std::fmt::Debug;

use quorate_core::codec::Persisted;
use quorate_core::txn::Stamp;

mod meta;
mod transactions;

/// The replicated state of one group.
pub trait Machine: Clone + Send + Sync + Sized + 'static {
    /// One change.
    type Command: Send + 'static;
    /// What one change came to.
    type Outcome: Debug + Send + Sync + 'static;
    /// The commands of one log entry.
    type Batch: Debug + Persisted + Send + 'static;

    /// The state before the first entry.
    fn new() -> Self;
    /// Puts commands that travel together into one entry.
    fn batch(stamp: Stamp, commands: Vec<Self::Command>) -> Self::Batch;
    /// Applies an entry: an outcome for each command, in order.
    fn apply(&mut self, batch: &Self::Batch) -> Vec<Self::Outcome>;
    /// The group clock as of the last applied entry.
    fn clock_ms(&self) -> u64;
    /// About how many bytes a command takes in an entry, never much less. Bounds batches and queues.
    fn command_bytes(command: &Self::Command) -> usize;
    /// Everything, as records of numbered tables in order.
    fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + Send;
    /// The state that gave these records, or what is wrong with them.
    fn load(records: Vec<(u16, Vec<u8>)>) -> Result<Self, String>;
}

/// What the fields of any command take beside its texts: numbers, lengths, the variant.
const COMMAND_FIXED_BYTES: usize = 64;
