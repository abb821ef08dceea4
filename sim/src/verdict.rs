//! How a run ended: one line on standard output, one exit code (the table is in `docs/SIMULATION.md`).

use crate::oracles::Finding;
use quorate_world::sim::Digest;
use quorate_world::time::Duration;
use std::fmt;

/// What kind of failure.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A promise was broken.
    Safety,
    /// Something that must come to its end did not.
    Liveness,
    /// A node ended as it must not.
    Crash,
    /// The simulation itself is wrong.
    Harness,
}

impl Kind {
    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Safety => 10,
            Kind::Liveness => 11,
            Kind::Crash => 12,
            Kind::Harness => 13,
        }
    }

    /// As the line says it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Safety => "safety",
            Kind::Liveness => "liveness",
            Kind::Crash => "crash",
            Kind::Harness => "harness",
        }
    }
}

/// A failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// The oracle that saw it; `-` if none did.
    pub oracle: String,
    /// What is wrong.
    pub finding: Finding,
    /// When, by the world's time.
    pub at: Duration,
}

impl Failure {
    /// A failure that no oracle saw.
    pub fn plain(kind: Kind, text: impl Into<String>, at: Duration) -> Failure {
        Failure { kind, oracle: "-".to_owned(), finding: Finding::new(text), at }
    }
}

/// The last line of a run.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    /// The seed.
    pub seed: u64,
    /// Nothing if all went well.
    pub failure: Option<&'a Failure>,
    /// Of all that happened; nothing if the world did not come to an end of its own.
    pub digest: Option<Digest>,
    /// How much time passed in the world,
    pub simulated: Duration,
    /// and outside.
    pub wall: std::time::Duration,
    /// How to see it again.
    pub replay: &'a str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} ", self.seed)?;
        match self.failure {
            None => write!(f, "ok")?,
            Some(failure) => {
                write!(f, "FAILED {} oracle={}", failure.kind.word(), failure.oracle)?;
                let Finding { transaction, group, node, .. } = &failure.finding;
                write_known(f, "xid", transaction.as_ref())?;
                write_known(f, "group", group.as_ref())?;
                write_known(f, "node", node.as_ref())?;
                write!(f, " at={:.3}s", failure.at.as_secs_f64())?;
            }
        }
        let digest = self.digest.unwrap_or(Digest { hash: 0, events: 0 });
        write!(f, " hash={:032x} events={}", digest.hash, digest.events)?;
        match self.failure {
            None => {
                write!(f, " simulated={:.0}s wall={:.1}s", self.simulated.as_secs_f64(), self.wall.as_secs_f64())
            }
            Some(_) => write!(f, " replay=\"{}\"", self.replay),
        }
    }
}

fn write_known(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&impl fmt::Display>) -> fmt::Result {
    match value {
        Some(value) => write!(f, " {name}={value}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::model::{GroupId, NodeId, TransactionId};

    #[test]
    fn lines_are_as_the_notes_say() {
        let digest = Some(Digest { hash: 0xabc, events: 12 });
        let wall = std::time::Duration::from_millis(1_234);
        let fine = Line { seed: 7, failure: None, digest, simulated: Duration::from_secs(300), wall, replay: "" };
        let hash = "00000000000000000000000000000abc";
        assert_eq!(fine.to_string(), format!("seed 7 ok hash={hash} events=12 simulated=300s wall=1.2s"));
        let finding = Finding::about(TransactionId(4097), "both").in_group(GroupId(3)).at_node(NodeId(2));
        let failure =
            Failure { kind: Kind::Safety, oracle: "A1".to_owned(), finding, at: Duration::from_millis(41_207) };
        let failed = Line { failure: Some(&failure), replay: "make sim SEED=7", ..fine };
        assert_eq!(
            failed.to_string(),
            format!(
                "seed 7 FAILED safety oracle=A1 xid=4097 group=3 node=2 at=41.207s hash={hash} events=12 \
                 replay=\"make sim SEED=7\""
            )
        );
    }
}
