//! What a group replicates: a value that changes only by applying batches of commands, the same on every replica.
//!
//! Two of them exist: the transactions of a data group and the cluster's own state in group 0. Everything they promise is
//! needed here: `apply` is total (no command stops it), a clone is cheap (a snapshot is built from one while apply goes
//! on), and equal states give equal tables.

use quorate_core::cluster::{Meta, MetaBatch, MetaCommand, MetaOutcome};
use quorate_core::codec::Persisted;
use quorate_core::txn::{Batch, Command, Outcome, Stamp, Transactions};

/// The replicated state of one group.
pub trait Machine: Clone + Send + Sync + Sized + 'static {
    /// One change.
    type Command: Send + 'static;
    /// What one change came to.
    type Outcome: Send + Sync + 'static;
    /// The commands of one log entry.
    type Batch: Persisted + Send + 'static;

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

impl Machine for Transactions {
    type Command = Command;
    type Outcome = Outcome;
    type Batch = Batch;

    fn new() -> Self {
        Transactions::new()
    }

    fn batch(stamp: Stamp, commands: Vec<Command>) -> Batch {
        Batch { stamp, commands }
    }

    fn apply(&mut self, batch: &Batch) -> Vec<Outcome> {
        Transactions::apply(self, batch)
    }

    fn clock_ms(&self) -> u64 {
        Transactions::clock_ms(self)
    }

    fn command_bytes(command: &Command) -> usize {
        use quorate_core::txn::ReleaseScope;
        let texts = match command {
            Command::Found(found) => found.slots.len() * 3,
            Command::Begin(begin) => {
                begin.address.len() + begin.application.len() + begin.service_group.len() + begin.name.len()
            }
            Command::RegisterBranch(branch) => {
                branch.resource.len() + branch.lock_keys.len() + branch.application_data.len() + branch.client.len()
            }
            Command::ReportBranch(report) => report.application_data.len(),
            Command::AcquireLocks(locks) => locks.resource.len() + locks.lock_keys.len(),
            Command::ReleaseLocks(release) => match &release.scope {
                ReleaseScope::All => 0,
                ReleaseScope::Branches(branches) => branches.len() * 9,
            },
            Command::Lead(_)
            | Command::RemoveBranch(_)
            | Command::Decide(_)
            | Command::Retry(_)
            | Command::Fail(_)
            | Command::End(_)
            | Command::Tick => 0,
        };
        COMMAND_FIXED_BYTES + texts
    }

    fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + Send {
        Transactions::tables(self)
    }

    fn load(records: Vec<(u16, Vec<u8>)>) -> Result<Self, String> {
        Transactions::load(records).map_err(|error| error.to_string())
    }
}

impl Machine for Meta {
    type Command = MetaCommand;
    type Outcome = MetaOutcome;
    type Batch = MetaBatch;

    fn new() -> Self {
        Meta::new()
    }

    fn batch(stamp: Stamp, commands: Vec<MetaCommand>) -> MetaBatch {
        MetaBatch { stamp, commands }
    }

    fn apply(&mut self, batch: &MetaBatch) -> Vec<MetaOutcome> {
        Meta::apply(self, batch)
    }

    fn clock_ms(&self) -> u64 {
        Meta::clock_ms(self)
    }

    fn command_bytes(command: &MetaCommand) -> usize {
        /// Node, disk, start, epoch and three addresses.
        const NODE_BYTES: usize = 256;
        /// A group with its label and replicas.
        const GROUP_BYTES: usize = 128;
        match command {
            MetaCommand::FoundCluster(found) => {
                COMMAND_FIXED_BYTES
                    + found.nodes.len() * NODE_BYTES
                    + found.groups.len() * GROUP_BYTES
                    + found.slots.len() * 5
            }
            MetaCommand::NodeStarted(_) => NODE_BYTES,
            MetaCommand::NodeSilent(_) | MetaCommand::NodeReturned(_) => COMMAND_FIXED_BYTES,
        }
    }

    fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + Send {
        Meta::tables(self)
    }

    fn load(records: Vec<(u16, Vec<u8>)>) -> Result<Self, String> {
        Meta::load(records).map_err(|error| error.to_string())
    }
}
