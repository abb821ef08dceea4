//! Bounds on what a command may bring. The coordinator asks before it proposes; apply asks again, so that nothing in the
//! state is ever too long for a record of a snapshot.

use alloc::format;

use super::command::Command;
use super::outcome::Refusal;
use crate::model::limits;

/// Refuses a command that brings too much; the refusal names the bound. Lock keys are judged where they are read.
pub fn check(command: &Command) -> Result<(), Refusal> {
    let name = |what: &str, text: &str| within(what, text, limits::NAME_BYTES_MAX);
    match command {
        Command::Begin(begin) => {
            within("the address in an xid", &begin.address, limits::XID_ADDRESS_BYTES_MAX)?;
            name("an application id", &begin.application)?;
            name("a transaction service group", &begin.service_group)?;
            name("a transaction name", &begin.name)
        }
        Command::RegisterBranch(register) => {
            name("a resource id", &register.resource)?;
            // An application id, an address and a port.
            within("a client id", &register.client, limits::NAME_BYTES_MAX + limits::XID_ADDRESS_BYTES_MAX + 1)?;
            within("application data", &register.application_data, limits::APPLICATION_DATA_BYTES_MAX)?;
            within("the lock keys of a branch", &register.lock_keys, limits::LOCK_KEYS_BYTES_MAX)
        }
        Command::ReportBranch(report) => {
            within("application data", &report.application_data, limits::APPLICATION_DATA_BYTES_MAX)
        }
        Command::AcquireLocks(acquire) => name("a resource id", &acquire.resource),
        Command::Found(_)
        | Command::Lead(_)
        | Command::RemoveBranch(_)
        | Command::Decide(_)
        | Command::Retry(_)
        | Command::Fail(_)
        | Command::End(_)
        | Command::ReleaseLocks(_)
        | Command::Tick
        | Command::Detach(_)
        | Command::Forget(_)
        | Command::Report(_)
        | Command::GiveUp(_)
        | Command::Operate(_) => Ok(()),
    }
}

fn within(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(Refusal::Limit { limit: format!("{what} may have at most {bytes_max} bytes") });
    }
    Ok(())
}
