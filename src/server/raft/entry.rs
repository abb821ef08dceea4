//! A log entry as it lies on the disk and travels between nodes.
//!
//! One byte says what the entry is, the rest is the codec's: `0` blank (a new leader's first), `1` commands (the group's
//! machine knows the type), `2` members. The commands are the same bytes from the proposer to the disk, the wire and apply.

use bytes::Bytes;
use quorate_core::codec::{self, CodecError, Persisted};
use quorate_core::model::{LogId, NodeId};
use serde::{Deserialize, Serialize};

const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERS: u8 = 2;

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EntryBody {
    /// Nothing; a leader's first entry.
    Blank,
    /// A batch of commands, encoded.
    Commands(Bytes),
    /// Who belongs to the group from here on.
    Members(MembersV1),
}

/// Who belongs to a group.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct MembersV1 {
    /// The voters, ascending; two sets while the group goes from the first to the second.
    pub configs: Vec<Vec<NodeId>>,
    /// All members, ascending: the voters of all sets and the learners.
    pub nodes: Vec<NodeId>,
}

/// Members and the entry that named them.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct StoredMembersV1 {
    /// That entry; none before the group was initialised.
    pub log_id: Option<LogId>,
    /// The members.
    pub members: MembersV1,
}

impl Persisted for MembersV1 {
    const BYTES_MAX: usize = 16 << 10;
}
impl Persisted for StoredMembersV1 {
    const BYTES_MAX: usize = 16 << 10;
}

/// Why an entry cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// No such kind in this format, or no byte at all.
    #[error("unknown kind of entry {0:?}")]
    Kind(Option<u8>),
    /// The body is not the codec's.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A blank entry that says something.
    #[error("{0} bytes in a blank entry")]
    NotBlank(usize),
}

/// The bytes of a batch of commands, as an entry.
pub fn commands<B: Persisted>(batch: &B) -> Result<Bytes, CodecError> {
    tagged(COMMANDS, batch)
}

pub(crate) fn members(members: &MembersV1) -> Result<Bytes, CodecError> {
    tagged(MEMBERS, members)
}

pub(crate) fn blank() -> Bytes {
    Bytes::from_static(&[BLANK])
}

fn tagged<B: Persisted>(kind: u8, body: &B) -> Result<Bytes, CodecError> {
    let mut bytes = codec::encode(body)?;
    bytes.insert(0, kind);
    Ok(Bytes::from(bytes))
}

/// What an entry's bytes say; commands are not looked into.
pub fn read(entry: &Bytes) -> Result<EntryBody, EntryError> {
    match entry.first() {
        Some(&BLANK) if entry.len() == 1 => Ok(EntryBody::Blank),
        Some(&BLANK) => Err(EntryError::NotBlank(entry.len() - 1)),
        Some(&COMMANDS) => Ok(EntryBody::Commands(entry.slice(1..))),
        Some(&MEMBERS) => Ok(EntryBody::Members(codec::decode(&entry[1..])?)),
        other => Err(EntryError::Kind(other.copied())),
    }
}

#[cfg(test)]
mod tests {
    use quorate_core::model::{LogIndex, Term};

    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn the_bytes_of_each_kind_are_fixed() {
        assert_eq!(&blank()[..], [0]);
        let joint = MembersV1 { configs: vec![nodes(&[1, 2, 3]), nodes(&[2, 3, 4])], nodes: nodes(&[1, 2, 3, 4, 5]) };
        let bytes = members(&joint).expect("a small membership");
        assert_eq!(&bytes[..], [2, 1, 2, 3, 1, 2, 3, 3, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
        assert_eq!(read(&bytes), Ok(EntryBody::Members(joint.clone())));
        let stored = StoredMembersV1 { log_id: Some(LogId { term: Term(7), index: LogIndex(300) }), members: joint };
        let bytes = codec::encode(&stored).expect("small");
        assert_eq!(&bytes[..6], [1, 1, 7, 251, 44, 1]);
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        assert_eq!(read(&Bytes::new()), Err(EntryError::Kind(None)));
        assert_eq!(read(&Bytes::from_static(&[9, 1])), Err(EntryError::Kind(Some(9))));
        assert_eq!(read(&Bytes::from_static(&[0, 1])), Err(EntryError::NotBlank(1)));
        assert!(matches!(read(&Bytes::from_static(&[2, 1, 255])), Err(EntryError::Codec(_))));
    }

    #[test]
    fn commands_are_shared_not_copied() {
        let entry = Bytes::from(vec![1, 10, 20, 30]);
        let Ok(EntryBody::Commands(commands)) = read(&entry) else { panic!("commands expected") };
        assert_eq!(commands.as_ptr(), entry[1..].as_ptr());
    }
}
