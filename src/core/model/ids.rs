//! Ids and positions, each a type of its own, so that none is taken for another.
//!
//! A transaction id is `(sequence << 12) | slot`, positive: routing needs no hash and no table of sessions
//! (design: "What is replicated where").

use core::fmt;
use serde::{Deserialize, Serialize};

/// How many slots there are, for ever.
pub const SLOTS: u16 = 4096;
const SLOT_BITS: u32 = 12;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($of:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
        pub struct $name(pub $of);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// One `quorate server` process of the cluster: 1..2^32-1, never used twice.
    NodeId(u64)
}
id! {
    /// One raft group. 0 is the meta group; data groups count from 1, and no number is used twice.
    GroupId(u32)
}
id! {
    /// A raft term. The state machine sees it as an opaque growing number, a *tenure*.
    Term(u64)
}
id! {
    /// A position in a group's raft log.
    LogIndex(u64)
}
id! {
    /// The version of a slot's ownership; every attempt to move a slot gets a fresh one.
    Epoch(u64)
}
id! {
    /// `(sequence << 12) | slot` of a global transaction.
    TransactionId(i64)
}
id! {
    /// `(sequence << 12) | slot` of a branch; the slot is that of its transaction.
    BranchId(i64)
}
id! {
    /// One of [`SLOTS`] hash slots, the unit of placement and migration.
    Slot(u16)
}

impl GroupId {
    /// The group that holds the cluster's own state.
    pub const META: GroupId = GroupId(0);
}

impl Epoch {
    /// Of every slot when the cluster is founded.
    pub const FOUNDING: Epoch = Epoch(1);
}

/// Where an entry stands in a raft log. Ordered by term, then index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct LogId {
    /// The term of the leader that wrote it.
    pub term: Term,
    /// Its place.
    pub index: LogIndex,
}

/// The authority that minted a branch: the epoch of the transaction's slot, then the tenure of the leader
/// (lock protocol, section 1). Compared in that order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// Epoch of the slot of the transaction.
    pub epoch: Epoch,
    /// Raft term of the leader that dealt the branch id.
    pub tenure: Term,
}

impl Slot {
    /// The slot of a number, by its low twelve bits.
    pub const fn of_id(id: i64) -> Slot {
        Slot((id & (SLOTS as i64 - 1)) as u16)
    }
}

impl TransactionId {
    /// The id of `sequence` in `slot`, or nothing if the sequence is too large for a positive i64.
    pub const fn mint(sequence: u64, slot: Slot) -> Option<TransactionId> {
        match mint(sequence, slot) {
            Some(id) => Some(TransactionId(id)),
            None => None,
        }
    }

    /// The slot it lives in.
    pub const fn slot(self) -> Slot {
        Slot::of_id(self.0)
    }

    /// The counter's value it was minted from.
    pub const fn sequence(self) -> u64 {
        (self.0 >> SLOT_BITS) as u64
    }
}

impl BranchId {
    /// What phase two calls all steps of a Saga together (semantics 2.4). Never dealt: ids of branches are positive.
    pub const WHOLE: BranchId = BranchId(-1);

    /// The id of `sequence` in `slot`, or nothing if the sequence is too large for a positive i64.
    pub const fn mint(sequence: u64, slot: Slot) -> Option<BranchId> {
        match mint(sequence, slot) {
            Some(id) => Some(BranchId(id)),
            None => None,
        }
    }

    /// The slot of its transaction.
    pub const fn slot(self) -> Slot {
        Slot::of_id(self.0)
    }

    /// The counter's value it was minted from.
    pub const fn sequence(self) -> u64 {
        (self.0 >> SLOT_BITS) as u64
    }
}

const fn mint(sequence: u64, slot: Slot) -> Option<i64> {
    if sequence == 0 || sequence >= 1 << (63 - SLOT_BITS) || slot.0 >= SLOTS {
        return None;
    }
    Some(((sequence << SLOT_BITS) | slot.0 as u64) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_slot() {
        let id = TransactionId::mint(77, Slot(4095)).expect("a small sequence");
        assert_eq!((id.slot(), id.sequence()), (Slot(4095), 77));
        assert!(id.0 > 0);
    }

    #[test]
    fn sequences_end_before_the_sign() {
        assert!(TransactionId::mint((1 << 51) - 1, Slot(0)).is_some());
        assert!(TransactionId::mint(1 << 51, Slot(0)).is_none());
        assert!(BranchId::mint(0, Slot(1)).is_none());
        assert!(BranchId::mint(1, Slot(SLOTS)).is_none());
    }
}
