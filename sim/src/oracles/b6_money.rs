//! B6, no money is made or lost: at rest the rows and accounts of all databases add up to what was there at first.
//! Source: Jepsen's bank test; simulation notes, B6.

use super::{Finding, Judgement, Oracle};
use crate::bank::Bank;
use crate::ghost::Ghost;

/// See the page.
pub struct Money;

impl Oracle for Money {
    fn name(&self) -> &'static str {
        "B6"
    }

    fn at_rest(&mut self, _ghost: &Ghost, bank: &Bank) -> Judgement {
        match bank.sum() {
            0 => Ok(()),
            sum => Err(Finding::new(format!("the databases are off by {sum}"))),
        }
    }
}
