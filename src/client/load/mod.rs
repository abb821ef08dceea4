//! Load as TM and RM over the raw protocol, against this server or a stock Seata one: what `quorate bench` runs.
//!
//! A transaction is *acknowledged* when its commit is answered and *finished* when every branch has had its phase two;
//! both are counted, since a server that acknowledges faster than it finishes only piles up debt. Closed loop: so many
//! transactions in flight. Open loop: so many per second, and latency counts from the moment at which a transaction
//! was meant to start, so that a stalled server cannot hide the ones it held up.

mod drive;
mod idle;
mod keys;
mod ledger;
mod report;

pub use drive::run;
pub use idle::{IdleOptions, IdleReport, run as run_idle};
pub use keys::{Keys, Zipf};
pub use report::Report;

use quorate_world::time::Duration;

/// What one transaction looks like.
#[derive(Clone, PartialEq, Debug)]
pub enum Shape {
    /// Begin and commit.
    Empty,
    /// AT branches, one row lock each, each on a resource of its own.
    At {
        /// How many.
        branches: usize,
        /// Which rows.
        keys: Keys,
    },
    /// TCC branches, each on a resource of its own.
    Tcc {
        /// How many.
        branches: usize,
    },
}

impl Shape {
    fn branches(&self) -> usize {
        match self {
            Shape::Empty => 0,
            Shape::At { branches, .. } | Shape::Tcc { branches } => *branches,
        }
    }
}

/// One run.
#[derive(Clone, PartialEq, Debug)]
pub struct LoadOptions {
    /// `host:port` of each node's Seata port.
    pub servers: Vec<String>,
    /// What a transaction does.
    pub shape: Shape,
    /// Transactions at a time; in an open loop the most that may be under way.
    pub in_flight: usize,
    /// Transactions per second to start; closed loop if absent.
    pub rate: Option<f64>,
    /// Before anything is counted.
    pub warm_up: Duration,
    /// What is counted.
    pub measured: Duration,
    /// Server processes on this machine whose CPU time and memory are read.
    pub pids: Vec<u32>,
    /// Connections as TM and as RM, to each node.
    pub connections: usize,
    /// Nodes may come and go: one that is there at first is enough, and a transaction that a lost connection cuts off before
    /// its commit is begun anew, as a business would.
    pub survive: bool,
    /// Says a line about each such interval.
    pub every: Option<Duration>,
}

/// Why a run could not be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// Some node did not take the registration.
    #[error("{0} could not be reached within 30 s")]
    NotConnected(String),
    /// A process that is not there.
    #[error("cannot read the usage of process {pid}: {reason}")]
    NoProcess {
        /// Its id.
        pid: u32,
        /// What the system said.
        reason: String,
    },
}
