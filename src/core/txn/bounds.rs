//! Bounds on what a command may bring. The coordinator asks before it proposes; apply asks again, so that nothing in the
//! state is ever too long for a record of a snapshot.

use alloc::format;

use super::command::{Command, RegisterBranchOnceV1};
use super::outcome::Refusal;
use super::session::Session;
use crate::model::limits;

/// Refuses a command that brings too much; the refusal names the bound. Lock keys are judged where they are read.
pub fn check(command: &Command) -> Result<(), Refusal> {
    let name = |what: &str, text: &str| within(what, text, limits::NAME_BYTES_MAX);
    match command {
        Command::Begin(begin) | Command::BeginNear(begin) => {
            within("the address in an xid", &begin.address, limits::XID_ADDRESS_BYTES_MAX)?;
            name("an application id", &begin.application)?;
            name("a transaction service group", &begin.service_group)?;
            name("a transaction name", &begin.name)
        }
        Command::RegisterBranch(register) | Command::RegisterBranchOnce(RegisterBranchOnceV1 { register, .. }) => {
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
        | Command::Operate(_)
        | Command::CleanedUp(_)
        | Command::FreezeSlot(_)
        | Command::InstallSlot(_)
        | Command::ActivateSlot(_)
        | Command::DropSlot(_)
        | Command::UnfreezeSlot(_)
        | Command::DiscardSlot(_) => Ok(()),
    }
}

/// Whether a session takes one more branch that locks so many rows; the refusal names the bound.
pub fn has_room(session: &Session, rows: usize) -> Result<(), Refusal> {
    if session.branches.len() >= limits::BRANCHES_OF_TRANSACTION_MAX {
        let limit = format!("a transaction may have at most {} branches", limits::BRANCHES_OF_TRANSACTION_MAX);
        return Err(Refusal::Limit { limit });
    }
    if session.rows() + rows as u64 > limits::LOCKS_OF_TRANSACTION_MAX as u64 {
        let limit = format!("a transaction may have at most {} row locks", limits::LOCKS_OF_TRANSACTION_MAX);
        return Err(Refusal::Limit { limit });
    }
    Ok(())
}

fn within(what: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(Refusal::Limit { limit: format!("{what} may have at most {bytes_max} bytes") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::model::{BranchId, BranchStatus, BranchType, Epoch, Fence, GlobalStatus, Term, TransactionId};
    use crate::txn::Branch;

    fn session(branches: u64, rows: u32) -> Session {
        let branch = |number: u64| Branch {
            branch: BranchId(number as i64),
            kind: BranchType::AT,
            resource: "db".into(),
            lock_keys: "".into(),
            rows,
            application_data: "".into(),
            client: "".into(),
            fence: Fence { epoch: Epoch(1), tenure: Term(1) },
            status: BranchStatus::Registered,
            registered_clock_ms: None,
            request: None,
            fate: Default::default(),
        };
        Session::for_tests(TransactionId(4097), GlobalStatus::Begin, (1..=branches).map(branch))
    }

    #[test]
    fn a_transaction_has_room_for_so_much() {
        let text = |session: &Session, rows| has_room(session, rows).map_err(|refusal| refusal.to_string());
        assert_eq!(has_room(&session(10, 99_999), 10), Ok(()));
        assert_eq!(text(&session(10, 99_999), 11), Err("a transaction may have at most 1000000 row locks".into()));
        assert_eq!(has_room(&session(9_999, 0), 0), Ok(()));
        assert_eq!(text(&session(10_000, 0), 0), Err("a transaction may have at most 10000 branches".into()));
    }
}
