//! What is refused when the disk of this node has little room left (storage notes, section 13): first begins, then branches
//! too. Never what ends a transaction, or lets row locks go: that is what the last segments are kept for.

use std::sync::atomic::{AtomicU8, Ordering};

use quorate_core::model::ExceptionCode;

use super::ask::Failure;

/// How much room there is. In this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DiskRoom {
    /// Enough.
    Ample,
    /// Little, or the disk does not keep up with what waits for it.
    Low,
    /// Hardly any: the log goes on in what is prepared.
    Critical,
}

/// The last word on it.
pub struct DiskGate(AtomicU8);

impl DiskGate {
    /// Enough, until somebody says otherwise.
    pub fn new() -> DiskGate {
        DiskGate(AtomicU8::new(DiskRoom::Ample as u8))
    }

    /// From now on it is so.
    pub fn note(&self, room: DiskRoom) {
        self.0.store(room as u8, Ordering::Relaxed);
    }

    /// Whether a transaction may begin.
    pub fn begin(&self) -> Result<(), Failure> {
        self.below(DiskRoom::Low, ExceptionCode::BeginFailed)
    }

    /// Whether a branch may join.
    pub fn register(&self) -> Result<(), Failure> {
        self.below(DiskRoom::Critical, ExceptionCode::FailedToAddBranch)
    }

    fn below(&self, least: DiskRoom, code: ExceptionCode) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) < least as u8 {
            return Ok(());
        }
        let text = "the disk of this server is nearly full or too slow: what has begun is brought to its end; its log says more";
        Err(Failure::new(code, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_are_refused_before_branches() {
        let gate = DiskGate::new();
        let codes = || [gate.begin(), gate.register()].map(|result| result.err().map(|failure| failure.code));
        let (begin, branch) = (Some(ExceptionCode::BeginFailed), Some(ExceptionCode::FailedToAddBranch));
        let expected =
            [(DiskRoom::Low, [begin, None]), (DiskRoom::Critical, [begin, branch]), (DiskRoom::Ample, [None; 2])];
        assert_eq!(codes(), [None; 2]);
        for (room, refused) in expected {
            gate.note(room);
            assert_eq!(codes(), refused, "{room:?}");
        }
    }
}
