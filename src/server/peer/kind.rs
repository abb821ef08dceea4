//! What a frame is about, and on which of a pair's three connections it travels.
//!
//! The numbers stand in frame heads and never change; the table for people is in `docs/WIRE.md`.

use quorate_raft::RaftRpc;

/// What a frame is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// First frame both ways.
    Hello = 1,
    /// Are you there? Answered by the port itself.
    Ping = 2,
    /// Log entries of one group.
    RaftAppend = 16,
    /// Heartbeats of several groups.
    RaftHeartbeat = 17,
    /// A vote is asked for.
    RaftVote = 18,
    /// Would there be a vote?
    RaftPreVote = 19,
    /// The leader hands over.
    RaftTransfer = 20,
    /// An idle group's leader would like a member to sleep.
    RaftHibernate = 21,
    /// A chunk of a snapshot.
    RaftSnapshot = 32,
    /// A chunk of the copy of a slot that moves.
    SlotCopy = 33,
    /// Forwarded requests, lock commands, phase-two relays, channel lists: the coordinator's own messages.
    Coordinator = 64,
    /// Founding, and words to the leader of the meta group.
    Meta = 80,
}

/// Which of the three connections of an ordered pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Class {
    /// Appends, votes, heartbeats of all groups.
    Raft = 1,
    /// Snapshots and migration: must not hold up the others.
    Bulk = 2,
    /// Everything else.
    Request = 3,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 12] = [
        Kind::Hello,
        Kind::Ping,
        Kind::RaftAppend,
        Kind::RaftHeartbeat,
        Kind::RaftVote,
        Kind::RaftPreVote,
        Kind::RaftTransfer,
        Kind::RaftHibernate,
        Kind::RaftSnapshot,
        Kind::SlotCopy,
        Kind::Coordinator,
        Kind::Meta,
    ];

    /// Its number in a frame's head.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind of a number; None for one that a newer version may know.
    pub fn of_number(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The connection it travels on. A hello opens each of them.
    pub const fn class(self) -> Class {
        match self {
            Kind::RaftAppend
            | Kind::RaftHeartbeat
            | Kind::RaftVote
            | Kind::RaftPreVote
            | Kind::RaftTransfer
            | Kind::RaftHibernate => Class::Raft,
            Kind::RaftSnapshot | Kind::SlotCopy => Class::Bulk,
            Kind::Hello | Kind::Ping | Kind::Coordinator | Kind::Meta => Class::Request,
        }
    }

    /// The raft message it carries, if it does.
    pub const fn raft(self) -> Option<RaftRpc> {
        match self {
            Kind::RaftAppend => Some(RaftRpc::Append),
            Kind::RaftHeartbeat => Some(RaftRpc::Heartbeat),
            Kind::RaftVote => Some(RaftRpc::Vote),
            Kind::RaftPreVote => Some(RaftRpc::PreVote),
            Kind::RaftTransfer => Some(RaftRpc::Transfer),
            Kind::RaftHibernate => Some(RaftRpc::Hibernate),
            Kind::RaftSnapshot => Some(RaftRpc::Snapshot),
            Kind::SlotCopy | Kind::Hello | Kind::Ping | Kind::Coordinator | Kind::Meta => None,
        }
    }

    /// The kind that carries a raft message.
    pub const fn of_raft(rpc: RaftRpc) -> Kind {
        match rpc {
            RaftRpc::Append => Kind::RaftAppend,
            RaftRpc::Heartbeat => Kind::RaftHeartbeat,
            RaftRpc::Vote => Kind::RaftVote,
            RaftRpc::PreVote => Kind::RaftPreVote,
            RaftRpc::Transfer => Kind::RaftTransfer,
            RaftRpc::Hibernate => Kind::RaftHibernate,
            RaftRpc::Snapshot => Kind::RaftSnapshot,
        }
    }
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 3] = [Class::Raft, Class::Bulk, Class::Request];

    /// Its number in a hello.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The class of a number.
    pub fn of_number(number: u8) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.number() == number)
    }

    /// How much may wait for one peer on this connection; at the bound the asker is told at once.
    pub const fn queue_bytes_max(self) -> usize {
        match self {
            Class::Raft => 64 << 20,
            Class::Bulk => 4 << 20,
            Class::Request => 16 << 20,
        }
    }

    pub(super) const fn place(self) -> usize {
        match self {
            Class::Raft => 0,
            Class::Bulk => 1,
            Class::Request => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_come_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_number(kind.number()), Some(kind));
            assert_eq!(kind.raft().map(Kind::of_raft).unwrap_or(kind), kind);
        }
        for class in Class::ALL {
            assert_eq!(Class::of_number(class.number()), Some(class));
        }
        assert_eq!((Kind::of_number(0), Class::of_number(4)), (None, None));
    }

    #[test]
    fn the_table_for_people_is_complete() {
        let table = include_str!("../../../docs/WIRE.md");
        for kind in Kind::ALL {
            let row = format!("| {} | `{kind:?}` |", kind.number());
            assert!(table.contains(&row), "docs/WIRE.md lacks the row {row}");
        }
    }
}
