//! The bytes of a snapshot: chunks of a 20-byte head and a payload.
//!
//! One head chunk, then tables of whole records in key order, then a foot that counts and names everything. No time and
//! no node id: equal states at one log id are equal bytes, so replicas compare by the foot.
//!
//! ```text
//! chunk  0..4 magic "QSC1" | 4..8 number u32 | 8 kind u8 | 9 codec version u8 | 10..12 zero | 12..16 payload bytes u32
//!        16..20 crc32c of bytes 0..16 and the payload | payload
//! head   format u16 | state version u16 | group u32 | cluster [16] | flag u8 (1 = has a last log id) | index u64
//!        | term u64 | membership bytes u32 | membership
//! table  table u16 | records u32 | for each record: bytes u32 | bytes
//! foot   chunks u32, this one too | bytes before this chunk u64 | xxh3-128 of all table payloads
//! ```

use crate::limits::{CHUNK_BYTES_MAX, MEMBERSHIP_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crate::sector::{u16_at, u32_at, u64_at};
use bytes::{Buf, Bytes};
use quorate_core::model::{GroupId, LogId, LogIndex, Term};
use xxhash_rust::xxh3::Xxh3;

/// Bytes of a chunk before its payload.
pub const CHUNK_HEAD_BYTES: usize = 20;
/// Format this binary writes, and the newest it reads.
pub const SNAPSHOT_FORMAT: u16 = 1;
const MAGIC: &[u8; 4] = b"QSC1";
const CODEC_VERSION: u8 = 1;
const STATE_VERSION: u16 = 1;
const HEAD_BYTES: usize = 45;
const TABLE_HEAD_BYTES: usize = 6;
const FOOT_BYTES: usize = 28;

/// What a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkKind {
    /// The first.
    Head,
    /// Records of one table.
    Table,
    /// The last.
    Foot,
}

impl ChunkKind {
    fn number(self) -> u8 {
        match self {
            ChunkKind::Head => 1,
            ChunkKind::Table => 2,
            ChunkKind::Foot => 3,
        }
    }

    fn parse(number: u8) -> Option<ChunkKind> {
        [ChunkKind::Head, ChunkKind::Table, ChunkKind::Foot].into_iter().find(|kind| kind.number() == number)
    }
}

/// What a snapshot is of.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SnapshotMeta {
    /// The last entry it contains.
    pub last: Option<LogId>,
    /// The membership at that entry and its log id: the replica's own encoding.
    pub membership: Bytes,
}

/// The head of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub cluster: [u8; 16],
    pub group: GroupId,
    pub meta: SnapshotMeta,
}

/// Why bytes are not the next chunk of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChunkError {
    /// The checksum or the layout is wrong.
    #[allow(missing_docs, reason = "the message tells")]
    #[error("chunk {number}: {what}")]
    Malformed { number: u32, what: &'static str },
    /// Written by a newer binary.
    #[error("the snapshot has format {0}")]
    Newer(u16),
    /// Another cluster's or group's.
    #[error("the snapshot is of another {0}")]
    Foreign(&'static str),
    /// A chunk that is not the expected one.
    #[allow(missing_docs, reason = "the message tells")]
    #[error("chunk {found} follows, but {expected} is next")]
    OutOfOrder { found: u32, expected: u32 },
    /// Above what a node holds.
    #[error("the snapshot is larger than {SNAPSHOT_BYTES_MAX} bytes")]
    TooLarge,
}

/// Frames a chunk.
pub(crate) fn frame(number: u32, kind: ChunkKind, payload: &[u8]) -> Bytes {
    let mut chunk = Vec::with_capacity(CHUNK_HEAD_BYTES + payload.len());
    chunk.extend_from_slice(MAGIC);
    chunk.extend_from_slice(&number.to_le_bytes());
    chunk.extend_from_slice(&[kind.number(), CODEC_VERSION, 0, 0]);
    chunk.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&chunk), payload);
    chunk.extend_from_slice(&crc.to_le_bytes());
    chunk.extend_from_slice(payload);
    chunk.into()
}

/// How long the chunk is that begins with these 20 bytes; its checksum is not looked at yet.
pub(crate) fn chunk_bytes(head: &[u8]) -> Option<usize> {
    let payload_bytes = u32_at(head, 12) as usize;
    let whole = CHUNK_HEAD_BYTES + payload_bytes;
    (&head[0..4] == MAGIC && whole <= CHUNK_BYTES_MAX).then_some(whole)
}

/// Kind and payload of a chunk that is whole.
pub(crate) fn parse(chunk: &[u8], number: u32) -> Result<(ChunkKind, &[u8]), ChunkError> {
    let malformed = |what| ChunkError::Malformed { number, what };
    if chunk.len() < CHUNK_HEAD_BYTES || chunk_bytes(chunk) != Some(chunk.len()) {
        return Err(malformed("it does not have its length"));
    }
    let payload = &chunk[CHUNK_HEAD_BYTES..];
    if u32_at(chunk, 16) != crc32c::crc32c_append(crc32c::crc32c(&chunk[..16]), payload) {
        return Err(malformed("the checksum does not hold"));
    }
    let found = u32_at(chunk, 4);
    if found != number {
        return Err(ChunkError::OutOfOrder { found, expected: number });
    }
    if chunk[9] != CODEC_VERSION || chunk[10..12] != [0, 0] {
        return Err(malformed("unknown version"));
    }
    let kind = ChunkKind::parse(chunk[8]).ok_or(malformed("unknown kind"))?;
    Ok((kind, payload))
}

impl Head {
    pub fn encode(&self) -> Vec<u8> {
        let last = self.meta.last.unwrap_or_default();
        let mut out = Vec::with_capacity(HEAD_BYTES + self.meta.membership.len());
        out.extend_from_slice(&SNAPSHOT_FORMAT.to_le_bytes());
        out.extend_from_slice(&STATE_VERSION.to_le_bytes());
        out.extend_from_slice(&self.group.0.to_le_bytes());
        out.extend_from_slice(&self.cluster);
        out.push(u8::from(self.meta.last.is_some()));
        out.extend_from_slice(&last.index.0.to_le_bytes());
        out.extend_from_slice(&last.term.0.to_le_bytes());
        out.extend_from_slice(&(self.meta.membership.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.meta.membership);
        out
    }

    pub fn parse(payload: &[u8]) -> Result<Head, ChunkError> {
        let malformed = |what| ChunkError::Malformed { number: 0, what };
        if payload.len() < HEAD_BYTES {
            return Err(malformed("the head is cut short"));
        }
        let (format, state_version) = (u16_at(payload, 0), u16_at(payload, 2));
        if format > SNAPSHOT_FORMAT || state_version > STATE_VERSION {
            return Err(ChunkError::Newer(format.max(state_version)));
        }
        let membership = &payload[HEAD_BYTES..];
        let flag = payload[24];
        if u32_at(payload, 41) as usize != membership.len() || flag > 1 || membership.len() > MEMBERSHIP_BYTES_MAX {
            return Err(malformed("the head does not have its length"));
        }
        let last = LogId { index: LogIndex(u64_at(payload, 25)), term: Term(u64_at(payload, 33)) };
        let meta = SnapshotMeta { last: (flag == 1).then_some(last), membership: Bytes::copy_from_slice(membership) };
        let cluster = payload[8..24].try_into().expect("sixteen bytes");
        Ok(Head { cluster, group: GroupId(u32_at(payload, 4)), meta })
    }
}

/// Gathers the records of a table chunk.
#[derive(Default)]
pub(crate) struct TableBuilder {
    payload: Vec<u8>,
    records: u32,
}

impl TableBuilder {
    /// Bytes of its records so far.
    pub fn bytes(&self) -> usize {
        self.payload.len().saturating_sub(TABLE_HEAD_BYTES)
    }

    pub fn table(&self) -> Option<u16> {
        (self.records > 0).then(|| u16_at(&self.payload, 0))
    }

    pub fn push(&mut self, table: u16, record: &[u8]) {
        if self.records == 0 {
            self.payload.clear();
            self.payload.extend_from_slice(&table.to_le_bytes());
            self.payload.extend_from_slice(&[0; 4]);
        }
        self.records += 1;
        self.payload.extend_from_slice(&(record.len() as u32).to_le_bytes());
        self.payload.extend_from_slice(record);
    }

    /// The payload of the chunk; the builder is empty afterwards.
    pub fn take(&mut self) -> &[u8] {
        self.payload[2..6].copy_from_slice(&self.records.to_le_bytes());
        self.records = 0;
        &self.payload
    }
}

/// The records of one table chunk.
#[derive(Clone, Debug)]
pub struct Table {
    /// Which table.
    pub table: u16,
    records: u32,
    rest: Bytes,
}

impl Table {
    fn parse(payload: Bytes, number: u32) -> Result<Table, ChunkError> {
        let malformed = |what| ChunkError::Malformed { number, what };
        if payload.len() < TABLE_HEAD_BYTES {
            return Err(malformed("the table is cut short"));
        }
        let (table, records) = (u16_at(&payload, 0), u32_at(&payload, 2));
        let table = Table { table, records, rest: payload.slice(TABLE_HEAD_BYTES..) };
        let mut walked = table.clone();
        let whole = walked.by_ref().count() as u32 == records && walked.rest.is_empty();
        if whole { Ok(table) } else { Err(malformed("the table does not hold its records")) }
    }
}

impl Iterator for Table {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.records == 0 || self.rest.len() < 4 {
            return None;
        }
        let bytes = u32_at(&self.rest, 0) as usize;
        if self.rest.len() - 4 < bytes {
            return None;
        }
        self.rest.advance(4);
        self.records -= 1;
        Some(self.rest.split_to(bytes))
    }
}

/// The records of a chunk, if it is a table.
pub(crate) fn table_of(chunk: &Bytes, number: u32) -> Result<Option<Table>, ChunkError> {
    match parse(chunk, number)? {
        (ChunkKind::Table, _) => Table::parse(chunk.slice(CHUNK_HEAD_BYTES..), number).map(Some),
        (ChunkKind::Head | ChunkKind::Foot, _) => Ok(None),
    }
}

/// What a chunk says, once it is known to be the next one.
pub(crate) enum Said {
    Head(Head),
    Table,
    Foot,
}

/// Checks chunks one after the other: from the disk, or from a peer.
pub(crate) struct Checker {
    cluster: [u8; 16],
    group: GroupId,
    pub next: u32,
    pub bytes: u64,
    pub finished: bool,
    hash: Xxh3,
}

impl Checker {
    pub fn new(cluster: [u8; 16], group: GroupId) -> Checker {
        Checker { cluster, group, next: 0, bytes: 0, finished: false, hash: Xxh3::new() }
    }

    /// Checks the next chunk; after an error the same one may be tried again.
    pub fn push(&mut self, chunk: &Bytes) -> Result<Said, ChunkError> {
        let number = self.next;
        let malformed = |what| ChunkError::Malformed { number, what };
        if self.bytes + chunk.len() as u64 > SNAPSHOT_BYTES_MAX {
            return Err(ChunkError::TooLarge);
        }
        let (kind, payload) = parse(chunk, number)?;
        let said = match kind {
            _ if self.finished => return Err(malformed("it stands behind the foot")),
            ChunkKind::Head if number == 0 => Said::Head(self.check_head(payload)?),
            ChunkKind::Head => return Err(malformed("a second head")),
            _ if number == 0 => return Err(malformed("the head is missing")),
            ChunkKind::Table => {
                Table::parse(chunk.slice(CHUNK_HEAD_BYTES..), number)?;
                Said::Table
            }
            ChunkKind::Foot if payload == self.foot() => Said::Foot,
            ChunkKind::Foot => return Err(malformed("the foot does not match what stands before it")),
        };
        match &said {
            Said::Table => self.hash.update(payload),
            Said::Foot => self.finished = true,
            Said::Head(_) => {}
        }
        self.next += 1;
        self.bytes += chunk.len() as u64;
        Ok(said)
    }

    fn check_head(&self, payload: &[u8]) -> Result<Head, ChunkError> {
        let head = Head::parse(payload)?;
        if head.cluster != self.cluster {
            return Err(ChunkError::Foreign("cluster"));
        }
        if head.group != self.group {
            return Err(ChunkError::Foreign("group"));
        }
        Ok(head)
    }

    /// The payload of the foot that would come next.
    pub fn foot(&self) -> [u8; FOOT_BYTES] {
        let mut foot = [0; FOOT_BYTES];
        foot[0..4].copy_from_slice(&(self.next + 1).to_le_bytes());
        foot[4..12].copy_from_slice(&self.bytes.to_le_bytes());
        foot[12..28].copy_from_slice(&self.name().to_le_bytes());
        foot
    }

    /// xxh3-128 over all tables so far: what replicas compare.
    pub fn name(&self) -> u128 {
        self.hash.digest128()
    }
}

/// The name of a snapshot's file.
pub(crate) fn file_name(group: GroupId, last: Option<LogId>) -> String {
    let last = last.unwrap_or_default();
    format!("g{:010}-t{:012}-i{:012}.qsn", group.0, last.term.0, last.index.0)
}

/// Reads a name as it is listed.
pub(crate) fn parse_file_name(name: &str) -> Option<(GroupId, LogId)> {
    let mut parts = name.strip_suffix(".qsn")?.split('-');
    let mut number = |prefix: char| parts.next()?.strip_prefix(prefix)?.parse::<u64>().ok();
    let (group, term, index) = (number('g')?, number('t')?, number('i')?);
    let group = GroupId(u32::try_from(group).ok()?);
    Some((group, LogId { term: Term(term), index: LogIndex(index) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let last = Some(LogId { term: Term(5), index: LogIndex(12_345) });
        let meta = SnapshotMeta { last, membership: Bytes::from_static(b"1,2,3") };
        Head { cluster: [3; 16], group: GroupId(7), meta }
    }

    fn checker() -> Checker {
        Checker::new([3; 16], GroupId(7))
    }

    #[test]
    fn names_are_read_as_written() {
        let name = file_name(GroupId(7), head().meta.last);
        assert_eq!(name, "g0000000007-t000000000005-i000000012345.qsn");
        assert_eq!(parse_file_name(&name), Some((GroupId(7), head().meta.last.expect("one"))));
        assert_eq!(parse_file_name("g1-t2.qsn"), None);
    }

    #[test]
    fn a_snapshot_comes_back_chunk_by_chunk() {
        let mut writing = checker();
        let mut table = TableBuilder::default();
        table.push(2, b"one");
        table.push(2, b"");
        let chunks = [frame(0, ChunkKind::Head, &head().encode()), frame(1, ChunkKind::Table, table.take())];
        chunks.iter().for_each(|chunk| assert!(writing.push(chunk).is_ok()));
        let foot = frame(2, ChunkKind::Foot, &writing.foot());
        let mut reading = checker();
        assert!(matches!(reading.push(&chunks[0]), Ok(Said::Head(found)) if found == head()));
        assert!(matches!(reading.push(&chunks[1]), Ok(Said::Table)));
        let records = table_of(&chunks[1], 1).expect("whole").expect("a table");
        assert_eq!(records.table, 2);
        assert_eq!(records.collect::<Vec<_>>(), [Bytes::from_static(b"one"), Bytes::new()]);
        assert!(matches!(reading.push(&foot), Ok(Said::Foot)));
        assert!(reading.finished && reading.push(&foot).is_err());
    }

    proptest::proptest! {
        /// A peer may send anything under a good checksum.
        #[test]
        fn any_chunk_is_read_without_a_panic(
            kind in 0usize..3,
            payload in proptest::collection::vec(0u8..9, 0..200),
        ) {
            let kind = [ChunkKind::Head, ChunkKind::Table, ChunkKind::Foot][kind];
            let mut reading = checker();
            let _ = reading.push(&frame(0, kind, &payload));
            let mut reading = checker();
            proptest::prop_assert!(reading.push(&frame(0, ChunkKind::Head, &head().encode())).is_ok());
            let _ = reading.push(&frame(1, kind, &payload));
            let _ = reading.push(&payload.into());
        }
    }

    #[test]
    fn wrong_chunks_are_refused() {
        let first = frame(0, ChunkKind::Head, &head().encode());
        for byte in 0..first.len() {
            let mut flipped = first.to_vec();
            flipped[byte] ^= 1;
            assert!(checker().push(&flipped.into()).is_err(), "byte {byte}");
        }
        let foreign = Checker::new([4; 16], GroupId(7)).push(&first).err();
        assert_eq!(foreign, Some(ChunkError::Foreign("cluster")));
        let mut reading = checker();
        let headless = frame(0, ChunkKind::Table, &[0; 6]);
        assert!(reading.push(&headless).is_err());
        assert!(reading.push(&first).is_ok());
        assert_eq!(reading.push(&first).err(), Some(ChunkError::OutOfOrder { found: 0, expected: 1 }));
        let lying = frame(1, ChunkKind::Table, &[0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 7]);
        assert!(reading.push(&lying).is_err());
        let early = frame(1, ChunkKind::Foot, &[0; FOOT_BYTES]);
        assert!(reading.push(&early).is_err());
    }
}
