//! The transactions of a data group, as a [`Machine`].

use quorate_core::txn::command::{RegisterBranchOnceV1, ReleaseScope};
use quorate_core::txn::{Batch, Command, Outcome, Stamp, Transactions};

use super::{COMMAND_FIXED_BYTES, Machine};

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
        let texts = match command {
            Command::Found(found) => found.slots.len() * 3,
            Command::Begin(begin) | Command::BeginNear(begin) => {
                begin.address.len() + begin.application.len() + begin.service_group.len() + begin.name.len()
            }
            Command::RegisterBranch(branch)
            | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register: branch, .. }) => {
                branch.resource.len() + branch.lock_keys.len() + branch.application_data.len() + branch.client.len()
            }
            Command::ReportBranch(report) => report.application_data.len(),
            Command::AcquireLocks(locks) => locks.resource.len() + locks.lock_keys.len(),
            Command::ReleaseLocks(release) => match &release.scope {
                ReleaseScope::All => 0,
                ReleaseScope::Branches(branches) => branches.len() * 9,
            },
            Command::InstallSlot(install) => install.bytes.len(),
            Command::Lead(_)
            | Command::RemoveBranch(_)
            | Command::Decide(_)
            | Command::Retry(_)
            | Command::Fail(_)
            | Command::End(_)
            | Command::Detach(_)
            | Command::Forget(_)
            | Command::Report(_)
            | Command::GiveUp(_)
            | Command::Operate(_)
            | Command::CleanedUp(_)
            | Command::FreezeSlot(_)
            | Command::ActivateSlot(_)
            | Command::DropSlot(_)
            | Command::UnfreezeSlot(_)
            | Command::DiscardSlot(_)
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
