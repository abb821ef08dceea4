//! Source: Jepsen's bank test; simulation notes, B6.
//!
//! B6, no money is made or lost: at rest the rows and accounts of all databases add up to what was there at first.

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

#[cfg(test)]
mod tests {
    use super::super::tests::{BRANCH, FIRST};
    use super::*;

    #[test]
    fn what_one_gives_another_takes() {
        let one = |kind: &str| [format!("{kind}-1")].into_iter();
        let mut bank = Bank::open(one("at"), one("tcc"), one("xa"), one("saga_annotation"));
        bank.at.get_mut("at-1").expect("it is there").commit_locally((FIRST, BRANCH), &[(1, 5)]);
        assert!(Money.at_rest(&Ghost::default(), &bank).is_err());
        let accounts = bank.xa.get_mut("xa-1").expect("it is there");
        accounts.prepare((FIRST, BRANCH), 1, -5);
        accounts.commit((FIRST, BRANCH));
        assert_eq!(Money.at_rest(&Ghost::default(), &bank), Ok(()));
    }
}
