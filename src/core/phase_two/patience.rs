//! How long phase two waits for what may never come: set by an operator, the same for all transactions of a node.

/// See the page. Everything counts from the begin of a transaction, by its group's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For so long beyond the time-out an XA branch that its database does not know is asked again; for as long as the
    /// time-out itself, if that is longer. Then it counts as done: it was, or it never came to be.
    pub xaer_nota_ms: u64,
    /// A commit that was answered as being retried is given up after so long. Nothing: never.
    pub commit_retry_ms: Option<u64>,
    /// A rollback is given up after so long. Nothing: never.
    pub rollback_retry_ms: Option<u64>,
    /// A rollback that is given up lets its row locks go.
    pub unlocks: bool,
}

impl Patience {
    /// As Seata's server, if nothing is set.
    pub const DEFAULT: Patience =
        Patience { xaer_nota_ms: 60_000, commit_retry_ms: None, rollback_retry_ms: None, unlocks: false };
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::DEFAULT
    }
}
