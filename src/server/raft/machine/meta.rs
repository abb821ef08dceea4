//! The cluster's own state, group 0, as a [`Machine`].

use quorate_core::cluster::command::StrategyV1;
use quorate_core::cluster::{Meta, MetaBatch, MetaCommand, MetaOutcome};
use quorate_core::txn::Stamp;

use super::{COMMAND_FIXED_BYTES, Machine};

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
            MetaCommand::NodeStarted(_) | MetaCommand::AdmitNode(_) => NODE_BYTES,
            MetaCommand::PlaceGroup(_) => GROUP_BYTES,
            MetaCommand::AddGroup(of) => GROUP_BYTES + of.label.len() + of.replicas.len() * 5,
            MetaCommand::Reshard(of) => COMMAND_FIXED_BYTES + of.leaving.len() * 5 + ranges(&of.strategy) * 11,
            MetaCommand::StartMigrations(of) => COMMAND_FIXED_BYTES + of.slots.len() * 8,
            MetaCommand::NodeSilent(_)
            | MetaCommand::NodeReturned(_)
            | MetaCommand::SetStanding(_)
            | MetaCommand::ForgetNode(_)
            | MetaCommand::AskToMove(_)
            | MetaCommand::GroupPlaced(_)
            | MetaCommand::AskToLeave(_)
            | MetaCommand::ReplicaGone(_)
            | MetaCommand::RemoveGroup(_)
            | MetaCommand::MigrationInstalled(_)
            | MetaCommand::SwitchSlot(_)
            | MetaCommand::MigrationDone(_)
            | MetaCommand::AbortMigration(_)
            | MetaCommand::MigrationUndone(_)
            | MetaCommand::EndReshard(_) => COMMAND_FIXED_BYTES,
            MetaCommand::MapVgroup(of) => COMMAND_FIXED_BYTES + of.vgroup.len() + of.cluster.len() + of.unit.len(),
            MetaCommand::UnmapVgroup(of) => COMMAND_FIXED_BYTES + of.vgroup.len(),
        }
    }

    fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + Send {
        Meta::tables(self)
    }

    fn load(records: Vec<(u16, Vec<u8>)>) -> Result<Self, String> {
        Meta::load(records).map_err(|error| error.to_string())
    }
}

/// Lines of a table.
fn ranges(strategy: &StrategyV1) -> usize {
    match strategy {
        StrategyV1::Explicit(table) => table.len(),
        StrategyV1::ConsistentHash | StrategyV1::Modulo => 0,
    }
}
