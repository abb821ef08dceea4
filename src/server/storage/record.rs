//! What the log says: the records of all groups, one after the other in a batch.
//!
//! A record is a head of 32 bytes and a payload. Votes, marks and checkpoints are decoded whole; the payload of an
//! entry stays opaque here (the codec's bytes).
//!
//! Not here: what a record does to a group's log (`index`).

use crate::sector::{u32_at, u64_at};
use crate::segment::SegmentNumber;
use quorate_core::model::{GroupId, LogId, LogIndex, NodeId, Term};

/// Bytes of a record without its payload.
pub const RECORD_HEAD_BYTES: usize = 32;
const STATE_BYTES: usize = 6 * 8;
/// Behind them, if the group was here before.
const HAD_BYTES: usize = 2 * 8;
const NEEDED_BYTES: usize = 2 * 8;

/// Whom a replica voted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// In which term.
    pub term: Term,
    /// The candidate.
    pub node: NodeId,
    /// Whether a quorum is known to have granted it.
    pub committed: bool,
}

/// What a checkpoint says of one group.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last vote saved.
    pub vote: Option<Vote>,
    /// Removed from this node; only the vote and `had` still matter.
    pub removed: bool,
    /// The last entry that was here when the group was last removed.
    pub had: Option<LogId>,
    /// Index of the first entry.
    pub first: LogIndex,
    /// One behind the last entry.
    pub next: LogIndex,
}

/// A segment that a checkpoint needs, with the end of its last batch in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Needed {
    /// Which.
    pub segment: SegmentNumber,
    /// Where its log ends.
    pub end_bytes: u64,
}

/// One record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// An entry at the end of the group's log.
    Entry { log_id: LogId, payload: &'a [u8] },
    /// The last one counts.
    Vote(Vote),
    /// Drops this index and all above.
    TruncateFrom(LogIndex),
    /// Drops all up to this entry; may lie beyond the end.
    Purge(LogId),
    /// The last one counts.
    Committed(LogId),
    /// Drops the group's entries and marks, keeps its vote, and where its log ended.
    Remove,
    /// Part of a checkpoint: the group's marks and the exact range of its log.
    State(Marks),
    /// First record of a segment: which other segments still count.
    Base(Vec<Needed>),
    /// An entry moved forward out of an older segment.
    Carried { log_id: LogId, payload: &'a [u8] },
}

/// Bytes that are no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The records do not end where the batch says.
    #[error("a record runs past its batch")]
    Short,
    /// Written by a newer binary, or never.
    #[error("unknown record kind {0}")]
    Kind(u8),
    /// A known kind with an impossible content.
    #[error("a record of kind {0} has an impossible {1}")]
    Field(u8, &'static str),
}

mod kind {
    pub const ENTRY: u8 = 1;
    pub const VOTE: u8 = 2;
    pub const TRUNCATE_FROM: u8 = 3;
    pub const PURGE: u8 = 4;
    pub const COMMITTED: u8 = 5;
    pub const REMOVE: u8 = 6;
    pub const STATE: u8 = 7;
    pub const BASE: u8 = 8;
    pub const CARRIED: u8 = 9;
}

mod flag {
    pub const VOTE_COMMITTED: u8 = 1;
    pub const STATE_PURGED: u8 = 1;
    pub const STATE_COMMITTED: u8 = 2;
    pub const STATE_VOTE: u8 = 4;
    pub const STATE_VOTE_COMMITTED: u8 = 8;
    pub const STATE_REMOVED: u8 = 16;
    pub const STATE_HAD: u8 = 32;
}

struct Head {
    kind: u8,
    flags: u8,
    index: u64,
    term: u64,
}

impl Head {
    fn of(kind: u8, log_id: LogId) -> Head {
        Head { kind, flags: 0, index: log_id.index.0, term: log_id.term.0 }
    }

    fn write(&self, group: GroupId, payload_bytes: usize, out: &mut Vec<u8>) {
        let mut head = [0; RECORD_HEAD_BYTES];
        head[0..4].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
        head[4] = self.kind;
        head[5] = self.flags;
        head[8..16].copy_from_slice(&u64::from(group.0).to_le_bytes());
        head[16..24].copy_from_slice(&self.index.to_le_bytes());
        head[24..32].copy_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&head);
    }

    fn log_id(&self) -> Result<LogId, Malformed> {
        // One behind the last index must be a number too.
        if self.index == u64::MAX {
            return Err(Malformed::Field(self.kind, "index"));
        }
        Ok(LogId { term: Term(self.term), index: LogIndex(self.index) })
    }
}

impl Record<'_> {
    /// Appends the record to a batch's stream.
    pub fn encode(&self, group: GroupId, out: &mut Vec<u8>) {
        match self {
            Record::Entry { log_id, payload } => encode_entry(kind::ENTRY, group, *log_id, payload, out),
            Record::Carried { log_id, payload } => encode_entry(kind::CARRIED, group, *log_id, payload, out),
            Record::Vote(vote) => {
                let flags = if vote.committed { flag::VOTE_COMMITTED } else { 0 };
                Head { kind: kind::VOTE, flags, index: vote.node.0, term: vote.term.0 }.write(group, 0, out);
            }
            Record::TruncateFrom(index) => {
                Head { kind: kind::TRUNCATE_FROM, flags: 0, index: index.0, term: 0 }.write(group, 0, out);
            }
            Record::Purge(log_id) => Head::of(kind::PURGE, *log_id).write(group, 0, out),
            Record::Committed(log_id) => Head::of(kind::COMMITTED, *log_id).write(group, 0, out),
            Record::Remove => Head::of(kind::REMOVE, LogId::default()).write(group, 0, out),
            Record::State(marks) => encode_marks(group, marks, out),
            Record::Base(needed) => {
                let head = Head { kind: kind::BASE, flags: 0, index: needed.len() as u64, term: 0 };
                head.write(group, needed.len() * NEEDED_BYTES, out);
                for segment in needed {
                    out.extend_from_slice(&u64::from(segment.segment.0).to_le_bytes());
                    out.extend_from_slice(&segment.end_bytes.to_le_bytes());
                }
            }
        }
    }
}

fn encode_entry(kind: u8, group: GroupId, log_id: LogId, payload: &[u8], out: &mut Vec<u8>) {
    Head::of(kind, log_id).write(group, payload.len(), out);
    out.extend_from_slice(payload);
}

fn encode_marks(group: GroupId, marks: &Marks, out: &mut Vec<u8>) {
    let vote = marks.vote.unwrap_or(Vote { term: Term(0), node: NodeId(0), committed: false });
    let committed = marks.committed.unwrap_or_default();
    let flags = [
        (marks.purged.is_some(), flag::STATE_PURGED),
        (marks.committed.is_some(), flag::STATE_COMMITTED),
        (marks.vote.is_some(), flag::STATE_VOTE),
        (vote.committed, flag::STATE_VOTE_COMMITTED),
        (marks.removed, flag::STATE_REMOVED),
        (marks.had.is_some(), flag::STATE_HAD),
    ];
    let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
    let payload_bytes = STATE_BYTES + marks.had.map_or(0, |_| HAD_BYTES);
    Head { flags, ..Head::of(kind::STATE, marks.purged.unwrap_or_default()) }.write(group, payload_bytes, out);
    let fields = [committed.index.0, committed.term.0, vote.term.0, vote.node.0, marks.first.0, marks.next.0];
    for field in fields.into_iter().chain(marks.had.into_iter().flat_map(|had| [had.index.0, had.term.0])) {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

/// The record at the start of `bytes`, its group, and how many bytes it takes.
pub fn decode(bytes: &[u8]) -> Result<(GroupId, Record<'_>, usize), Malformed> {
    if bytes.len() < RECORD_HEAD_BYTES {
        return Err(Malformed::Short);
    }
    let payload_bytes = u32_at(bytes, 0) as usize;
    let head = Head { kind: bytes[4], flags: bytes[5], index: u64_at(bytes, 16), term: u64_at(bytes, 24) };
    let payload = bytes[RECORD_HEAD_BYTES..].get(..payload_bytes).ok_or(Malformed::Short)?;
    let group = u32::try_from(u64_at(bytes, 8)).map_err(|_| Malformed::Field(head.kind, "group"))?;
    if bytes[6] != 0 || bytes[7] != 0 {
        return Err(Malformed::Field(head.kind, "head"));
    }
    let record = match head.kind {
        kind::ENTRY => Record::Entry { log_id: head.log_id()?, payload },
        kind::CARRIED => Record::Carried { log_id: head.log_id()?, payload },
        kind::STATE => Record::State(decode_marks(&head, payload)?),
        kind::BASE => Record::Base(decode_base(&head, payload)?),
        _ if !payload.is_empty() => return Err(Malformed::Field(head.kind, "payload")),
        kind::VOTE => Record::Vote(Vote {
            term: Term(head.term),
            node: NodeId(head.index),
            committed: head.flags & flag::VOTE_COMMITTED != 0,
        }),
        kind::TRUNCATE_FROM => Record::TruncateFrom(LogIndex(head.index)),
        kind::PURGE => Record::Purge(head.log_id()?),
        kind::COMMITTED => Record::Committed(head.log_id()?),
        kind::REMOVE => Record::Remove,
        unknown => return Err(Malformed::Kind(unknown)),
    };
    Ok((GroupId(group), record, RECORD_HEAD_BYTES + payload_bytes))
}

fn decode_marks(head: &Head, payload: &[u8]) -> Result<Marks, Malformed> {
    let set = |flag: u8| head.flags & flag != 0;
    if payload.len() != STATE_BYTES + if set(flag::STATE_HAD) { HAD_BYTES } else { 0 } {
        return Err(Malformed::Field(head.kind, "length"));
    }
    let field = |n: usize| u64_at(payload, n * 8);
    let (first, next) = (LogIndex(field(4)), LogIndex(field(5)));
    if first > next {
        return Err(Malformed::Field(head.kind, "range"));
    }
    let committed = LogId { index: LogIndex(field(0)), term: Term(field(1)) };
    let vote = Vote { term: Term(field(2)), node: NodeId(field(3)), committed: set(flag::STATE_VOTE_COMMITTED) };
    Ok(Marks {
        purged: if set(flag::STATE_PURGED) { Some(head.log_id()?) } else { None },
        committed: set(flag::STATE_COMMITTED).then_some(committed),
        vote: set(flag::STATE_VOTE).then_some(vote),
        removed: set(flag::STATE_REMOVED),
        had: set(flag::STATE_HAD).then(|| LogId { index: LogIndex(field(6)), term: Term(field(7)) }),
        first,
        next,
    })
}

fn decode_base(head: &Head, payload: &[u8]) -> Result<Vec<Needed>, Malformed> {
    if payload.len() as u64 != head.index.saturating_mul(NEEDED_BYTES as u64) {
        return Err(Malformed::Field(head.kind, "length"));
    }
    let needed = payload.chunks_exact(NEEDED_BYTES).map(|item| {
        let segment = u32::try_from(u64_at(item, 0)).map_err(|_| Malformed::Field(head.kind, "segment"))?;
        Ok(Needed { segment: SegmentNumber(segment), end_bytes: u64_at(item, 8) })
    });
    needed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(index) }
    }

    fn vote(committed: bool) -> Vote {
        Vote { term: Term(4), node: NodeId(2), committed }
    }

    fn every_kind() -> Vec<Record<'static>> {
        let marks = Marks { first: LogIndex(3), next: LogIndex(9), ..Marks::default() };
        vec![
            Record::Entry { log_id: log_id(1, 0), payload: b"" },
            Record::Entry { log_id: log_id(3, 7), payload: b"hello" },
            Record::Vote(vote(true)),
            Record::Vote(vote(false)),
            Record::TruncateFrom(LogIndex(0)),
            Record::Purge(log_id(2, 12)),
            Record::Committed(log_id(2, 11)),
            Record::Remove,
            Record::State(Marks::default()),
            Record::State(marks),
            Record::State(Marks { purged: Some(log_id(1, 2)), committed: Some(log_id(1, 4)), ..marks }),
            Record::State(Marks { vote: Some(vote(true)), ..marks }),
            Record::State(Marks {
                vote: Some(vote(false)),
                removed: true,
                had: Some(LogId { term: Term(5), index: LogIndex(9) }),
                ..marks
            }),
            Record::Base(vec![]),
            Record::Base(vec![Needed { segment: SegmentNumber(3), end_bytes: 8192 }]),
            Record::Carried { log_id: log_id(1, 5), payload: b"moved" },
        ]
    }

    #[test]
    fn every_record_comes_back() {
        for record in every_kind() {
            let mut bytes = Vec::new();
            record.encode(GroupId(9), &mut bytes);
            let taken = bytes.len();
            bytes.extend_from_slice(b"the next record");
            assert_eq!(decode(&bytes), Ok((GroupId(9), record, taken)));
        }
    }

    #[test]
    fn the_bytes_of_a_record() {
        let mut bytes = Vec::new();
        Record::Entry { log_id: log_id(5, 7), payload: b"abc" }.encode(GroupId(2), &mut bytes);
        let mut expected = vec![3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(b"abc");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut entry = Vec::new();
        Record::Entry { log_id: log_id(5, 7), payload: b"abc" }.encode(GroupId(2), &mut entry);
        for cut in 0..entry.len() {
            assert_eq!(decode(&entry[..cut]), Err(Malformed::Short), "cut at {cut}");
        }
        let with = |at: usize, value: u8| {
            let mut bytes = entry.clone();
            bytes[at] = value;
            decode(&bytes).map(|_| ()).expect_err("refused")
        };
        assert_eq!(with(4, 0), Malformed::Field(0, "payload"));
        assert_eq!(with(4, 10), Malformed::Field(10, "payload"));
        assert_eq!(
            decode(&{
                let mut empty = vec![0; 32];
                empty[4] = 77;
                empty
            }),
            Err(Malformed::Kind(77))
        );
        assert_eq!(with(12, 1), Malformed::Field(1, "group"));
        assert_eq!(with(4, kind::STATE), Malformed::Field(kind::STATE, "length"));
        assert_eq!(with(4, kind::VOTE), Malformed::Field(kind::VOTE, "payload"));
    }
}
