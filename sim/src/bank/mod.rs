//! The databases behind the RMs: they are outside of all machines, so they survive every death, and each call is one
//! local transaction. They know what is theirs to know (undo logs, guard rows, fences, prepared branches) and nothing of the coordinator.
//!
//! The sum of all rows and accounts never changes but by transactions that are half done: that is what the business
//! would look at.

pub mod at;
pub mod ring;
pub mod saga;
pub mod step;
pub mod tcc;
pub mod xa;

use at::AtTable;
use quorate_core::model::{BranchId, TransactionId};
use ring::Ring;
use saga::Machines;
use std::collections::BTreeMap;
use step::StepTable;
use tcc::TccTable;
use xa::XaTable;

/// A branch, as databases name it in guard rows and fences.
pub type BranchKey = (TransactionId, BranchId);

/// What a call did to the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Phase one: the change or the reservation is there.
    Tried,
    /// Phase two: it is permanent.
    Committed,
    /// Phase two: it is gone.
    RolledBack,
    /// Nothing: it was done before, or there was nothing to do.
    Nothing,
    /// Phase one came after the rollback, and was refused.
    Guarded,
}

/// What must never happen in a database, whatever is asked of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Damage {
    /// At an undo the row is not as this branch left it: somebody wrote over it (Seata issue 1991).
    DirtyWrite(String),
    /// Phase two of a branch whose phase one never was.
    NeverTried,
    /// Phase two in both directions.
    BothWays,
}

/// Every database of the world, by resource id.
#[derive(Debug, Default)]
pub struct Bank {
    /// Those under AT.
    pub at: BTreeMap<String, AtTable>,
    /// Those under TCC.
    pub tcc: BTreeMap<String, TccTable>,
    /// Those under XA.
    pub xa: BTreeMap<String, XaTable>,
    /// Those of annotated Sagas.
    pub steps: BTreeMap<String, StepTable>,
    /// Where the engines of Sagas keep what they know.
    pub sagas: Machines,
    /// The ring across those under AT.
    pub ring: Ring,
}

impl Bank {
    /// Databases with money in them.
    pub fn open(
        at: impl Iterator<Item = String>,
        tcc: impl Iterator<Item = String>,
        xa: impl Iterator<Item = String>,
        steps: impl Iterator<Item = String>,
    ) -> Bank {
        Bank {
            at: at.map(|resource| (resource, AtTable::default())).collect(),
            tcc: tcc.map(|resource| (resource, TccTable::default())).collect(),
            xa: xa.map(|resource| (resource, XaTable::default())).collect(),
            steps: steps.map(|resource| (resource, StepTable::default())).collect(),
            sagas: Machines::default(),
            ring: Ring::default(),
        }
    }

    /// All money, as changed from what was there at first.
    pub fn sum(&self) -> i64 {
        let at: i64 = self.at.values().map(AtTable::sum).sum();
        let tcc: i64 = self.tcc.values().map(TccTable::sum).sum();
        let xa: i64 = self.xa.values().map(XaTable::sum).sum();
        let steps: i64 = self.steps.values().map(StepTable::sum).sum();
        at + tcc + xa + steps + self.sagas.sum()
    }

    /// Branches whose phase one is there and whose phase two is not. A step that is done is no such thing.
    pub fn open_branches(&self) -> Vec<(String, BranchKey)> {
        let at = self.at.iter().flat_map(|(name, table)| table.open().map(|key| (name.clone(), key)));
        let tcc = self.tcc.iter().flat_map(|(name, table)| table.open().map(|key| (name.clone(), key)));
        let xa = self.xa.iter().flat_map(|(name, table)| table.open().map(|key| (name.clone(), key)));
        at.chain(tcc).chain(xa).collect()
    }
}
