//! One file: what reads return (`seen`), what survives (`stored`), and the changes between the two, in order.
//!
//! Contents are pages in a map; a page that was never written, or only with zeros, is not there. So a segment full
//! of zeros costs nothing. Pages are shared until they are written, so copies of whole disks cost little.

use crate::simulated::dice::Dice;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const PAGE_BYTES: u64 = 4096;

type Page = [u8; PAGE_BYTES as usize];
const SECTOR_BYTES: u64 = 512;

/// Sparse bytes with a length. Beyond the length everything is zero.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Arc<Page>>,
    bytes: u64,
}

/// A change that no sync has made durable yet.
#[derive(Debug, Clone)]
struct Change {
    number: u64,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Write { at: u64, bytes: Bytes },
    Length(u64),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileImage {
    seen: Content,
    stored: Content,
    pending: Vec<Change>,
    changes: u64,
    failures: u64,
    /// Areas that cannot be read until they are written again.
    pub bad: Vec<Range<u64>>,
    pub handles: u32,
}

/// What a sync that has begun will cover.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SyncMark {
    changes: u64,
    failures: u64,
}

/// What a power failure did to a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub kept_sectors: u64,
    pub lost_sectors: u64,
    pub length_differs: bool,
}

impl Content {
    pub fn len(&self) -> u64 {
        self.bytes
    }

    pub fn read(&self, at: u64, into: &mut [u8]) {
        for_each_page(at, into.len(), |page, within, range| match self.pages.get(&page) {
            Some(found) => into[range].copy_from_slice(&found[within]),
            None => into[range].fill(0),
        });
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        for_each_page(at, bytes.len(), |page, within, range| {
            let part = &bytes[range];
            if let Some(found) = self.pages.get_mut(&page) {
                Arc::make_mut(found)[within].copy_from_slice(part);
            } else if part.iter().any(|byte| *byte != 0) {
                let mut made: Page = [0; PAGE_BYTES as usize];
                made[within].copy_from_slice(part);
                self.pages.insert(page, Arc::new(made));
            }
        });
        self.bytes = self.bytes.max(at + bytes.len() as u64);
    }

    pub fn set_len(&mut self, bytes: u64) {
        if bytes < self.bytes {
            self.pages.split_off(&bytes.div_ceil(PAGE_BYTES));
            if let Some(last) = self.pages.get_mut(&(bytes / PAGE_BYTES)) {
                Arc::make_mut(last)[(bytes % PAGE_BYTES) as usize..].fill(0);
            }
        }
        self.bytes = bytes;
    }
}

/// Calls `each` with the page, the range within the page, and the range within the buffer.
fn for_each_page(at: u64, bytes: usize, mut each: impl FnMut(u64, Range<usize>, Range<usize>)) {
    let mut done = 0;
    while done < bytes {
        let place = at + done as u64;
        let within = (place % PAGE_BYTES) as usize;
        let count = (PAGE_BYTES as usize - within).min(bytes - done);
        each(place / PAGE_BYTES, within..within + count, done..done + count);
        done += count;
    }
}

impl FileImage {
    pub fn seen(&self) -> &Content {
        &self.seen
    }

    pub fn write(&mut self, at: u64, bytes: Bytes) {
        self.seen.write(at, &bytes);
        let end = at + bytes.len() as u64;
        self.bad.retain(|area| area.end <= at || end <= area.start);
        self.push(What::Write { at, bytes });
    }

    /// A write that will never be stored; only the length that it gave the file will.
    pub fn write_in_vain(&mut self, at: u64, bytes: &[u8]) {
        let before = self.seen.len();
        self.seen.write(at, bytes);
        if self.seen.len() > before {
            self.push(What::Length(self.seen.len()));
        }
    }

    pub fn set_len(&mut self, bytes: u64) {
        self.seen.set_len(bytes);
        self.push(What::Length(bytes));
    }

    fn push(&mut self, what: What) {
        self.changes += 1;
        self.pending.push(Change { number: self.changes, what });
    }

    /// What a sync that begins now covers.
    pub fn mark(&self) -> SyncMark {
        SyncMark { changes: self.changes, failures: self.failures }
    }

    pub fn is_bad(&self, at: u64, bytes: u64) -> bool {
        self.bad.iter().any(|area| area.start < at + bytes && at < area.end)
    }

    pub fn unsynced_bytes(&self) -> u64 {
        let bytes = self.pending.iter().map(|change| match &change.what {
            What::Write { bytes, .. } => bytes.len() as u64,
            What::Length(_) => 0,
        });
        bytes.sum()
    }

    /// A sync has ended: what it covers is durable. False if another one failed meanwhile and took a part of it along.
    pub fn store_until(&mut self, mark: SyncMark) -> bool {
        if self.failures != mark.failures {
            return false;
        }
        let later = self.pending.partition_point(|change| change.number <= mark.changes);
        for change in self.pending.drain(..later) {
            match change.what {
                What::Write { at, bytes } => self.stored.write(at, &bytes),
                What::Length(bytes) => self.stored.set_len(bytes),
            }
        }
        true
    }

    /// A sync has failed: a part may have reached the device, the rest counts as clean and never will. Reads go on
    /// seeing it (as on ext4), or no longer do (as on btrfs).
    pub fn fail_sync(&mut self, dice: &mut Dice) {
        let seen = self.seen.clone();
        self.failures += 1;
        self.power_fail(dice);
        if dice.below(2) == 0 {
            self.seen = seen;
        }
    }

    /// What is there for certain after a power failure.
    pub fn surviving(&self) -> FileImage {
        FileImage { seen: self.stored.clone(), stored: self.stored.clone(), ..FileImage::default() }
    }

    /// The power fails: a part of what is not synced survives.
    pub fn power_fail(&mut self, dice: &mut Dice) -> Loss {
        let pending = std::mem::take(&mut self.pending);
        let mut loss = Loss::default();
        if !pending.is_empty() {
            let (old, new) = (self.stored.len(), self.seen.len());
            let survival = Survival::draw(dice, pending.len());
            let reach = self.keep_sectors(&pending, survival, dice, &mut loss);
            let length = match (survival, dice.below(3)) {
                (Survival::All, _) => new,
                (Survival::None, 0) => new,
                (Survival::None, _) | (_, 0) => old,
                (_, 1) => new,
                (_, _) => old.max(reach.min(new)),
            };
            self.stored.set_len(length);
            loss.length_differs = length != new;
        }
        self.seen = self.stored.clone();
        loss
    }

    /// Each dirty sector keeps a prefix of its writes. Returns where the last kept one ends.
    fn keep_sectors(&mut self, pending: &[Change], survival: Survival, dice: &mut Dice, loss: &mut Loss) -> u64 {
        let mut reach = 0;
        for (sector, writes) in sectors_of(pending) {
            let kept = match survival {
                Survival::None => 0,
                Survival::All => writes.len(),
                Survival::Each => dice.below(writes.len() as u64 + 1) as usize,
                Survival::First(cut) => writes.partition_point(|index| *index < cut),
            };
            if kept == writes.len() {
                loss.kept_sectors += 1
            } else {
                loss.lost_sectors += 1
            }
            let (from, to) = (sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
            for index in &writes[..kept] {
                let What::Write { at, bytes } = &pending[*index].what else { continue };
                let start = from.max(*at);
                let end = to.min(at + bytes.len() as u64);
                self.stored.write(start, &bytes[(start - at) as usize..(end - at) as usize]);
                reach = reach.max(end);
            }
        }
        reach
    }

    /// Turns one bit over.
    pub fn flip(&mut self, at: u64, bit: u8) {
        let mut byte = [0];
        self.seen.read(at, &mut byte);
        byte[0] ^= 1 << (bit % 8);
        self.corrupt(at, &byte);
    }

    /// Bytes are changed on the device and in memory, past all rules.
    pub fn corrupt(&mut self, at: u64, bytes: &[u8]) {
        for content in [&mut self.seen, &mut self.stored] {
            if at + bytes.len() as u64 <= content.len() {
                content.write(at, bytes);
            }
        }
    }
}

/// The index of each write that touches each sector, in order.
fn sectors_of(pending: &[Change]) -> BTreeMap<u64, Vec<usize>> {
    let mut sectors: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, change) in pending.iter().enumerate() {
        let What::Write { at, bytes } = &change.what else { continue };
        for sector in at / SECTOR_BYTES..(at + bytes.len() as u64).div_ceil(SECTOR_BYTES) {
            sectors.entry(sector).or_default().push(index);
        }
    }
    sectors
}

/// Which writes of a file survive.
#[derive(Debug, Clone, Copy)]
enum Survival {
    None,
    All,
    /// Each sector by itself.
    Each,
    /// The first so many in the order of writing.
    First(usize),
}

impl Survival {
    fn draw(dice: &mut Dice, writes: usize) -> Survival {
        match dice.below(4) {
            0 => Survival::None,
            1 => Survival::All,
            2 => Survival::Each,
            _ => Survival::First(dice.below(writes as u64 + 1) as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, usize, u8),
        Length(u64),
        Sync,
        FailSync,
        PowerFail,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => (0u64..12_000, 1usize..6000, any::<u8>()).prop_map(|(at, bytes, byte)| Step::Write(at, bytes, byte)),
            2 => (0u64..16_000).prop_map(Step::Length),
            2 => Just(Step::Sync),
            1 => Just(Step::FailSync),
            1 => Just(Step::PowerFail),
        ]
    }

    /// Everything that each byte may be after a power failure: what was synced, and what was written since.
    #[derive(Default)]
    struct Model {
        seen: Vec<u8>,
        lengths: Vec<usize>,
        allowed: Vec<Vec<u8>>,
    }

    impl Model {
        fn settle(&mut self, seen: Vec<u8>) {
            self.lengths = vec![seen.len()];
            self.allowed = seen.iter().map(|byte| vec![*byte]).collect();
            self.seen = seen;
        }

        fn note(&mut self) {
            self.lengths.push(self.seen.len());
            // A byte that comes into being by the length alone is zero.
            self.allowed.resize(self.allowed.len().max(self.seen.len()), vec![0]);
            for (allowed, byte) in self.allowed.iter_mut().zip(&self.seen) {
                allowed.push(*byte);
            }
        }

        fn check(&self, found: &[u8]) -> Result<(), TestCaseError> {
            let least = self.lengths.iter().copied().min().unwrap_or(0);
            let most = self.lengths.iter().copied().max().unwrap_or(0);
            prop_assert!((least..=most).contains(&found.len()), "{} bytes were never there", found.len());
            for (at, byte) in found.iter().enumerate() {
                // Where the file once ended earlier, there may be a hole.
                let hole = *byte == 0 && at >= least;
                prop_assert!(hole || self.allowed[at].contains(byte), "{byte} was never at {at}");
            }
            Ok(())
        }
    }

    fn whole(content: &Content) -> Vec<u8> {
        let mut bytes = vec![0; content.len() as usize];
        content.read(0, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_file_is_what_was_written_and_survives_as_a_part_of_it(
            steps in prop::collection::vec(step(), 1..40),
            seed in any::<u64>(),
        ) {
            let (mut file, mut dice) = (FileImage::default(), Dice::new(seed, "test"));
            let mut model = Model { lengths: vec![0], ..Model::default() };
            for step in steps {
                match step {
                    Step::Write(at, bytes, byte) => {
                        file.write(at, vec![byte; bytes].into());
                        let end = at as usize + bytes;
                        model.seen.resize(model.seen.len().max(end), 0);
                        model.seen[at as usize..end].fill(byte);
                        model.note();
                    }
                    Step::Length(bytes) => {
                        file.set_len(bytes);
                        model.seen.resize(bytes as usize, 0);
                        model.note();
                    }
                    Step::Sync => {
                        let mark = file.mark();
                        prop_assert!(file.store_until(mark));
                        let seen = whole(&file.seen);
                        prop_assert_eq!(&whole(&file.stored), &seen);
                        model.settle(seen);
                    }
                    Step::FailSync => {
                        file.fail_sync(&mut dice);
                        model.check(&whole(&file.stored))?;
                        // Either goes on being seen; what is stored has been decided.
                        file.seen = file.stored.clone();
                        model.settle(whole(&file.stored));
                    }
                    Step::PowerFail => {
                        file.power_fail(&mut dice);
                        model.check(&whole(&file.seen))?;
                        prop_assert_eq!(whole(&file.seen), whole(&file.stored));
                        model.settle(whole(&file.seen));
                    }
                }
                prop_assert_eq!(whole(&file.seen), model.seen.clone());
            }
        }
    }
}
