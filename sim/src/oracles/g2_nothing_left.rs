//! G2, nothing is left: after the heal no row lock is held, and no undo log or reservation is open in any database.
//! Source: simulation notes, G2; Seata issues 6875, 6932; lock protocol, LK8.

use super::{Finding, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;

/// See the page.
pub struct NothingLeft;

impl Oracle for NothingLeft {
    fn name(&self) -> &'static str {
        "G2"
    }

    fn pending(&self, ghost: &Ghost, bank: &Bank) -> Vec<Finding> {
        let status =
            |transaction| ghost.transaction(transaction).map_or("unknown".to_owned(), |found| found.status.to_string());
        let locks = ghost.locks.all().map(|(owner, branch, resource)| {
            let text = format!("branch {branch} of {owner} ({}) holds rows of {resource}", status(owner));
            Finding::about(owner, text)
        });
        let open = bank.open_branches().into_iter().map(|(resource, (owner, branch))| {
            let text = format!("branch {branch} of {owner} ({}) is open in the database {resource}", status(owner));
            Finding::about(owner, text)
        });
        locks.chain(open).collect()
    }
}
