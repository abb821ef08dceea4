//! The machine of these tests: an account of what was put, with outcomes that only the right order gives.

use std::collections::BTreeMap;

use quorate_core::codec::{self, Persisted};
use quorate_core::txn::Stamp;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Adds to an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Put {
    pub account: u64,
    pub amount: u64,
    pub note: String,
}

/// The account before and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balance {
    pub before: u64,
    pub after: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Puts {
    stamp: Stamp,
    puts: Vec<Put>,
}

impl Persisted for Puts {
    const BYTES_MAX: usize = 12 << 20;
}

#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Ledger {
    pub clock_ms: u64,
    pub batches: u64,
    pub puts: u64,
    pub accounts: BTreeMap<u64, u64>,
}

impl Persisted for Ledger {
    const BYTES_MAX: usize = 12 << 20;
}

pub fn put(account: u64, amount: u64) -> Put {
    Put { account, amount, note: String::new() }
}

impl Ledger {
    pub fn balance(&self, account: u64) -> u64 {
        self.accounts.get(&account).copied().unwrap_or(0)
    }
}

impl Machine for Ledger {
    type Command = Put;
    type Outcome = Balance;
    type Batch = Puts;

    fn new() -> Self {
        Ledger::default()
    }

    fn batch(stamp: Stamp, puts: Vec<Put>) -> Puts {
        Puts { stamp, puts }
    }

    fn apply(&mut self, batch: &Puts) -> Vec<Balance> {
        self.clock_ms = self.clock_ms.max(batch.stamp.clock_ms);
        self.batches += 1;
        self.puts += batch.puts.len() as u64;
        let apply = |put: &Put| {
            let account = self.accounts.entry(put.account).or_default();
            let before = *account;
            *account += put.amount;
            Balance { before, after: *account }
        };
        batch.puts.iter().map(apply).collect()
    }

    fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    fn command_bytes(put: &Put) -> usize {
        32 + put.note.len()
    }

    /// A record per account, and one for the rest.
    fn tables(&self) -> impl Iterator<Item = (u16, Vec<u8>)> + Send {
        let rest = Ledger { accounts: BTreeMap::new(), ..self.clone() };
        let one =
            |(account, balance): (&u64, &u64)| Ledger { accounts: [(*account, *balance)].into(), ..Ledger::default() };
        let accounts = self.accounts.iter().map(one).map(|ledger| (2, codec::encode(&ledger).expect("small")));
        std::iter::once((1, codec::encode(&rest).expect("small"))).chain(accounts)
    }

    fn load(records: Vec<(u16, Vec<u8>)>) -> Result<Self, String> {
        let mut loaded = Ledger::default();
        for (table, record) in records {
            let ledger = codec::decode::<Ledger>(&record).map_err(|error| error.to_string())?;
            match table {
                1 => loaded = ledger,
                2 => loaded.accounts.extend(ledger.accounts),
                other => return Err(format!("unknown table {other}")),
            }
        }
        Ok(loaded)
    }
}
