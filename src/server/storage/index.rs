//! What the log on disk says of one group: where its entries lie, and its marks.
//!
//! One function, [`GroupIndex::apply`], replays a record. It serves the writer, when a batch has become durable, and
//! the start, when a scan finds it; so both come to the same state by construction.
//!
//! A checkpoint cuts the log to an exact range or pads it with empty places. In between, a scan may show places that
//! history has overwritten in a segment which is no longer needed; whatever lives in the end has its last record in a
//! needed segment, and later records win.
//!
//! Not here: entries that are queued and not yet durable (`group`), reading entries (`read`).

use crate::limits::PLACES_OF_GROUP_MAX;
use crate::record::{Marks, Record, Vote};
use crate::segment::SegmentNumber;
use quorate_core::model::{LogId, LogIndex, Term};
use std::collections::{BTreeMap, VecDeque};

/// Where an entry lies: 12 bytes for each entry of the node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Place {
    /// The segment; 0 is an empty place.
    pub segment: SegmentNumber,
    /// Where its record starts in the segment's stream (500 bytes a sector).
    pub offset: u32,
    /// Bytes of its payload.
    pub bytes: u32,
}

impl Place {
    /// An entry that a checkpoint announces and the scan has not met yet.
    pub const EMPTY: Place = Place { segment: SegmentNumber(0), offset: 0, bytes: 0 };

    fn is_empty(&self) -> bool {
        self.segment == SegmentNumber(0)
    }
}

const _: () = assert!(size_of::<Place>() == 12);

/// What lives in one segment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Share {
    /// Entries.
    pub entries: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What lives in each segment, over all groups.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Live(BTreeMap<SegmentNumber, Share>);

impl Live {
    fn add(&mut self, place: Place) {
        if !place.is_empty() {
            let share = self.0.entry(place.segment).or_default();
            share.entries += 1;
            share.bytes += u64::from(place.bytes);
        }
    }

    fn remove(&mut self, place: Place) {
        if !place.is_empty() {
            let share = self.0.get_mut(&place.segment).expect("a place that was added");
            share.entries -= 1;
            share.bytes -= u64::from(place.bytes);
            if share.entries == 0 {
                self.0.remove(&place.segment);
            }
        }
    }

    /// What lives in `segment`.
    pub fn share(&self, segment: SegmentNumber) -> Share {
        self.0.get(&segment).copied().unwrap_or_default()
    }
}

/// A record that cannot follow what came before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misplaced {
    /// Not the next index.
    #[error("entry {found} follows, but {expected} is next")]
    Hole { found: u64, expected: u64 },
    /// An entry at or below what is purged.
    #[error("entry {found} lies below the purge")]
    Purged { found: u64 },
    /// A moved entry that the group does not have.
    #[error("entry {found} was moved, but the log holds {first}..{next}")]
    Moved { found: u64, first: u64, next: u64 },
    /// A checkpoint with a range that no log can have.
    #[error("a checkpoint claims {0} entries")]
    Range(u64),
}

/// The durable log of one group.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GroupIndex {
    first: u64,
    places: VecDeque<Place>,
    terms: Terms,
    purged: Option<LogId>,
    committed: Option<LogId>,
    vote: Option<Vote>,
    removed: bool,
    had: Option<LogId>,
}

impl GroupIndex {
    /// Replays one record that lies at `place`.
    pub fn apply(&mut self, record: &Record<'_>, place: Place, live: &mut Live) -> Result<(), Misplaced> {
        if !matches!(record, Record::State(_) | Record::Base(_) | Record::Remove) {
            self.removed = false;
        }
        match record {
            Record::Entry { log_id, payload: _ } => return self.push(*log_id, place, live),
            Record::Carried { log_id, payload: _ } => return self.move_to(*log_id, place, live),
            Record::State(marks) => return self.set(marks, live),
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::TruncateFrom(index) => self.cut_back(index.0, live),
            Record::Purge(log_id) => self.purge(*log_id, live),
            Record::Committed(log_id) => self.committed = Some(*log_id),
            Record::Remove => self.remove(live),
            Record::Base(_) => {}
        }
        Ok(())
    }

    fn push(&mut self, log_id: LogId, place: Place, live: &mut Live) -> Result<(), Misplaced> {
        let found = log_id.index.0;
        if self.places.is_empty() {
            if self.purged.is_some_and(|purged| found <= purged.index.0) {
                return Err(Misplaced::Purged { found });
            }
            self.first = found;
            self.terms.clear();
        } else if found != self.next().0 {
            return Err(Misplaced::Hole { found, expected: self.next().0 });
        }
        self.terms.push(found, log_id.term);
        self.places.push_back(place);
        live.add(place);
        Ok(())
    }

    fn move_to(&mut self, log_id: LogId, place: Place, live: &mut Live) -> Result<(), Misplaced> {
        let (found, first, next) = (log_id.index.0, self.first, self.next().0);
        if found < first || found >= next {
            return Err(Misplaced::Moved { found, first, next });
        }
        // During a scan the place may hold an entry of another term that a segment no longer needed has overwritten.
        self.terms.assign(found, next, log_id.term);
        let held = &mut self.places[(found - first) as usize];
        live.remove(core::mem::replace(held, place));
        live.add(place);
        Ok(())
    }

    fn set(&mut self, marks: &Marks, live: &mut Live) -> Result<(), Misplaced> {
        let (first, next) = (marks.first.0, marks.next.0);
        if next - first > PLACES_OF_GROUP_MAX {
            return Err(Misplaced::Range(next - first));
        }
        self.purged = marks.purged;
        self.committed = marks.committed;
        self.vote = marks.vote;
        self.removed = marks.removed;
        self.had = marks.had;
        self.cut_back(next, live);
        self.cut_front(first, live);
        if self.places.is_empty() {
            self.first = first;
            self.terms.clear();
        }
        while self.first > first {
            self.first -= 1;
            self.places.push_front(Place::EMPTY);
            self.terms.unknown_from(self.first);
        }
        if self.next().0 < next {
            self.terms.push(self.next().0, Terms::UNKNOWN);
            self.places.resize((next - first) as usize, Place::EMPTY);
        }
        Ok(())
    }

    fn purge(&mut self, log_id: LogId, live: &mut Live) {
        if self.purged.is_none_or(|purged| purged.index < log_id.index) {
            self.purged = Some(log_id);
        }
        self.cut_front(log_id.index.0 + 1, live);
    }

    fn remove(&mut self, live: &mut Live) {
        // Once it was acknowledged, others count on it: see `had` in the marks.
        let had = [self.had, self.purged, self.last()].into_iter().flatten().max();
        self.cut_back(0, live);
        let vote = self.vote.filter(|_| !quorate_world::bug!("remove_forgets_the_vote"));
        let had = had.filter(|_| !quorate_world::bug!("remove_forgets_the_log"));
        *self = GroupIndex { vote, had, removed: true, ..GroupIndex::default() };
    }

    /// Drops all below `index`; an empty log then begins there.
    fn cut_front(&mut self, index: u64, live: &mut Live) {
        while self.first < index {
            let Some(place) = self.places.pop_front() else {
                self.first = index;
                break;
            };
            live.remove(place);
            self.first += 1;
        }
        self.terms.cut_front(self.first, self.next().0);
    }

    /// Drops `index` and all above.
    fn cut_back(&mut self, index: u64, live: &mut Live) {
        while self.next().0 > index {
            let Some(place) = self.places.pop_back() else { break };
            live.remove(place);
        }
        self.terms.cut_back(self.next().0);
    }

    /// Index of the first entry, or where the next one goes.
    pub fn first(&self) -> LogIndex {
        LogIndex(self.first)
    }

    /// One behind the last entry.
    pub fn next(&self) -> LogIndex {
        LogIndex(self.first + self.places.len() as u64)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The last entry there is.
    pub fn last(&self) -> Option<LogId> {
        let index = self.next().0.checked_sub(1).filter(|_| !self.places.is_empty())?;
        Some(LogId { term: self.terms.at(index), index: LogIndex(index) })
    }

    /// The entry at `index`, and where it lies.
    pub fn place(&self, index: LogIndex) -> Option<(LogId, Place)> {
        let place = *self.places.get(index.0.checked_sub(self.first)? as usize)?;
        Some((LogId { term: self.terms.at(index.0), index }, place))
    }

    /// All entries in order, each with its place.
    pub fn places(&self) -> impl Iterator<Item = (LogIndex, Place)> {
        self.places.iter().enumerate().map(|(i, place)| (LogIndex(self.first + i as u64), *place))
    }

    /// The first entry of each term, in order.
    pub fn term_starts(&self) -> impl Iterator<Item = LogId> {
        self.terms.starts()
    }

    /// The first entry that a checkpoint announced and no segment holds.
    pub fn missing(&self) -> Option<LogIndex> {
        self.places().find(|(_, place)| place.is_empty()).map(|(index, _)| index)
    }

    /// What a checkpoint says of the group.
    pub fn marks(&self) -> Marks {
        Marks {
            purged: self.purged,
            committed: self.committed,
            vote: self.vote,
            removed: self.removed,
            had: self.had,
            first: self.first(),
            next: self.next(),
        }
    }
}

/// From which index on which term holds. A log has few terms, so this stays small.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Terms(BTreeMap<u64, Term>);

impl Terms {
    /// The term of an empty place.
    const UNKNOWN: Term = Term(0);

    fn clear(&mut self) {
        self.0.clear();
    }

    fn at(&self, index: u64) -> Term {
        self.0.range(..=index).next_back().map_or(Terms::UNKNOWN, |(_, term)| *term)
    }

    fn push(&mut self, index: u64, term: Term) {
        if self.0.last_key_value().is_none_or(|(_, last)| *last != term) {
            self.0.insert(index, term);
        }
    }

    fn unknown_from(&mut self, index: u64) {
        if self.0.first_entry().is_some_and(|first| *first.get() == Terms::UNKNOWN) {
            self.0.pop_first();
        }
        self.0.insert(index, Terms::UNKNOWN);
    }

    /// Gives one entry a term, and leaves those around it as they are.
    fn assign(&mut self, index: u64, next: u64, term: Term) {
        if self.at(index) == term && self.0.first_key_value().is_some_and(|(first, _)| *first <= index) {
            return;
        }
        let behind = (index + 1 < next).then(|| self.at(index + 1));
        let before = self.0.range(..index).next_back().map(|(_, term)| *term);
        if before == Some(term) {
            self.0.remove(&index);
        } else {
            self.0.insert(index, term);
        }
        match behind {
            Some(behind) if behind != term => self.0.insert(index + 1, behind),
            Some(_) | None => self.0.remove(&(index + 1)),
        };
    }

    fn cut_front(&mut self, first: u64, next: u64) {
        if first >= next {
            return self.clear();
        }
        if self.0.first_key_value().is_none_or(|(start, _)| *start >= first) {
            return;
        }
        let term = self.at(first);
        self.0 = self.0.split_off(&first);
        self.0.insert(first, term);
    }

    fn cut_back(&mut self, next: u64) {
        while self.0.last_key_value().is_some_and(|(start, _)| *start >= next) {
            self.0.pop_last();
        }
    }

    fn starts(&self) -> impl Iterator<Item = LogId> {
        self.0.iter().map(|(index, term)| LogId { term: *term, index: LogIndex(*index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quorate_core::model::NodeId;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(index) }
    }

    fn entry(term: u64, index: u64) -> Record<'static> {
        Record::Entry { log_id: id(term, index), payload: b"x" }
    }

    fn at(segment: u32) -> Place {
        Place { segment: SegmentNumber(segment), offset: 1, bytes: 1 }
    }

    struct Scan {
        index: GroupIndex,
        live: Live,
    }

    impl Scan {
        fn new() -> Scan {
            Scan { index: GroupIndex::default(), live: Live::default() }
        }

        fn apply(&mut self, segment: u32, records: &[Record<'_>]) -> Result<(), Misplaced> {
            records.iter().try_for_each(|record| self.index.apply(record, at(segment), &mut self.live))
        }

        fn range(&self) -> (u64, u64) {
            (self.index.first().0, self.index.next().0)
        }
    }

    #[test]
    fn entries_follow_each_other() {
        let mut scan = Scan::new();
        scan.apply(1, &[entry(1, 2), entry(1, 3), entry(4, 4)]).expect("an empty log takes any index");
        assert_eq!(scan.range(), (2, 5));
        assert_eq!(scan.index.last(), Some(id(4, 4)));
        assert_eq!(scan.index.term_starts().collect::<Vec<_>>(), [id(1, 2), id(4, 4)]);
        assert_eq!(scan.apply(1, &[entry(4, 6)]), Err(Misplaced::Hole { found: 6, expected: 5 }));
        assert_eq!(scan.apply(1, &[entry(4, 4)]), Err(Misplaced::Hole { found: 4, expected: 5 }));
    }

    #[test]
    fn truncate_and_purge_take_from_both_ends() {
        let mut scan = Scan::new();
        scan.apply(1, &[entry(1, 1), entry(1, 2), entry(2, 3), entry(2, 4)]).expect("in order");
        scan.apply(1, &[Record::TruncateFrom(LogIndex(4)), Record::Purge(id(1, 2))]).expect("legal");
        assert_eq!((scan.range(), scan.index.last()), ((3, 4), Some(id(2, 3))));
        assert_eq!(scan.index.term_starts().collect::<Vec<_>>(), [id(2, 3)]);
        scan.apply(1, &[Record::Purge(id(7, 100))]).expect("beyond the end");
        assert_eq!((scan.range(), scan.index.last()), ((101, 101), None));
        assert_eq!(scan.apply(1, &[entry(7, 100)]), Err(Misplaced::Purged { found: 100 }));
        scan.apply(1, &[entry(7, 101), Record::TruncateFrom(LogIndex(0))]).expect("legal");
        assert_eq!(scan.index.marks().purged, Some(id(7, 100)));
        assert_eq!(scan.live, Live::default());
    }

    #[test]
    fn a_removed_group_keeps_its_vote_and_where_its_log_ended() {
        let vote = Vote { term: Term(3), node: NodeId(1), committed: true };
        let mut scan = Scan::new();
        scan.apply(1, &[entry(1, 1), Record::Vote(vote), Record::Committed(id(1, 1)), Record::Remove]).expect("legal");
        let marks = Marks { vote: Some(vote), removed: true, had: Some(id(1, 1)), ..Marks::default() };
        assert_eq!(scan.index.marks(), marks);
        scan.apply(1, &[entry(5, 9)]).expect("created again");
        assert!(!scan.index.marks().removed);
    }

    #[test]
    fn a_checkpoint_cuts_and_pads_and_carried_entries_fill() {
        let marks = Marks { first: LogIndex(3), next: LogIndex(6), ..Marks::default() };
        let mut scan = Scan::new();
        scan.apply(1, &[entry(1, 4), entry(1, 5), entry(2, 6), entry(2, 7), Record::State(marks)]).expect("legal");
        assert_eq!((scan.range(), scan.index.missing()), ((3, 6), Some(LogIndex(3))));
        let moved = Record::Carried { log_id: id(1, 3), payload: b"x" };
        scan.apply(2, std::slice::from_ref(&moved)).expect("fills");
        assert_eq!(scan.index.missing(), None);
        assert_eq!(scan.index.term_starts().collect::<Vec<_>>(), [id(1, 3)]);
        assert_eq!(scan.live.share(SegmentNumber(1)).entries, 2);
        assert_eq!(scan.live.share(SegmentNumber(2)).entries, 1);
        let beyond = Record::Carried { log_id: id(1, 6), payload: b"x" };
        assert_eq!(scan.apply(2, &[beyond]), Err(Misplaced::Moved { found: 6, first: 3, next: 6 }));
        let huge = Marks { first: LogIndex(0), next: LogIndex(u64::MAX), ..Marks::default() };
        assert_eq!(scan.apply(3, &[Record::State(huge)]), Err(Misplaced::Range(u64::MAX)));
    }

    #[test]
    fn a_place_that_history_has_overwritten_is_replaced() {
        // Segment 2 truncated 5 and wrote it in term 2; it was carried into segment 4, and segment 2 is gone.
        let state = Record::State(Marks { first: LogIndex(4), next: LogIndex(6), ..Marks::default() });
        let mut scan = Scan::new();
        scan.apply(1, &[entry(1, 4), entry(1, 5), entry(1, 6)]).expect("legal");
        scan.apply(4, &[state, Record::Carried { log_id: id(2, 5), payload: b"x" }]).expect("legal");
        assert_eq!(scan.index.term_starts().collect::<Vec<_>>(), [id(1, 4), id(2, 5)]);
    }

    proptest! {
        /// Terms kept as runs say the same as a term kept for each entry.
        #[test]
        fn terms_as_runs(start in 0u64..5, moves in proptest::collection::vec((0u8..4, 0u64..40, 1u64..4), 0..60)) {
            let mut scan = Scan::new();
            let mut plain: VecDeque<(u64, u64)> = VecDeque::new();
            for (what, where_, term) in moves {
                let next = plain.back().map_or(start.max(scan.index.first().0), |(index, _)| index + 1);
                match what {
                    0 | 1 => {
                        scan.apply(1, &[entry(term, next)]).expect("the next one");
                        plain.push_back((next, term));
                    }
                    2 => {
                        scan.apply(1, &[Record::TruncateFrom(LogIndex(where_))]).expect("legal");
                        plain.retain(|(index, _)| *index < where_);
                    }
                    _ => {
                        let Some(slot) = plain.iter_mut().find(|(index, _)| *index == where_) else { continue };
                        slot.1 = term;
                        scan.apply(2, &[Record::Carried { log_id: id(term, where_), payload: b"x" }]).expect("there");
                    }
                }
                let kept: Vec<(u64, u64)> = scan.index.places()
                    .map(|(index, _)| (index.0, scan.index.place(index).expect("there").0.term.0)).collect();
                prop_assert_eq!(&kept, &plain.iter().copied().collect::<Vec<_>>());
                let mut starts = plain.iter().copied().collect::<Vec<_>>();
                starts.dedup_by_key(|(_, term)| *term);
                let found: Vec<(u64, u64)> = scan.index.term_starts().map(|start| (start.index.0, start.term.0)).collect();
                prop_assert_eq!(found, starts);
            }
        }
    }
}
