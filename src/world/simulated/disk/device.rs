//! The disk of one machine: its files and names, how fast it is, what is wrong with it.

use super::Operation;
use super::file::{FileImage, SyncMark};
use super::names::{Entry, Names};
use crate::disk::OpenHow;
use crate::simulated::dice::{Dice, Latency, nanos};
use crate::simulated::faults::FaultClass;
use crate::time::Duration;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// The kernel's numbers for these errors.
const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// How fast a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpeed {
    /// A read, and calls that only look.
    pub read: Latency,
    /// A write, which goes to memory.
    pub write: Latency,
    /// A sync of a file or a folder.
    pub sync: Latency,
    /// How much a sync writes out in a second.
    pub bytes_per_second: u64,
}

impl DiskSpeed {
    /// A healthy solid-state disk.
    pub const CALM: DiskSpeed = DiskSpeed {
        read: Latency::micros(5, 10),
        write: Latency::micros(5, 10),
        sync: Latency::micros(150, 200),
        bytes_per_second: 800_000_000,
    };
}

impl Default for DiskSpeed {
    fn default() -> Self {
        DiskSpeed::CALM
    }
}

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskFaults {
    /// How many writes in a million fail.
    pub write_error_per_million: u32,
    /// How many writes in a million never reach the device, though reads see them until the power fails and syncs succeed.
    pub lost_write_per_million: u32,
    /// How many reads in a million fail.
    pub read_error_per_million: u32,
    /// How many syncs in a million fail, once: what they should have written counts as clean afterwards.
    pub sync_error_per_million: u32,
    /// How many syncs in a million take up to `slow_sync` longer.
    pub slow_sync_per_million: u32,
    /// See `slow_sync_per_million`.
    pub slow_sync: Duration,
    /// All files together fit in here.
    pub capacity_bytes: Option<u64>,
    /// Every change fails.
    pub read_only: bool,
    /// How many openings in a million, of files and of folders for their sync, find no file descriptor left.
    pub no_descriptor_per_million: u32,
    /// Syncs do nothing and say otherwise. No storage can survive this; it shows that the harness notices.
    pub lying_sync: bool,
}

/// At which end of a call something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it does anything.
    Before,
    /// After it has done all, before the caller hears of it.
    After,
}

/// The machine dies at one of its disk calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannedCrash {
    /// Counted down at each call; at 0 it happens.
    pub calls_before: u64,
    pub moment: Moment,
    /// The power fails; else the process is killed.
    pub power: bool,
}

/// What is on a disk, to be put back or elsewhere. Opaque.
#[derive(Debug, Clone, Default)]
pub struct DiskImage {
    files: BTreeMap<u64, FileImage>,
    names: Names,
}

pub(crate) struct DiskState {
    files: BTreeMap<u64, FileImage>,
    names: Names,
    numbers: u64,
    locks: BTreeSet<String>,
    pub speed: DiskSpeed,
    pub faults: DiskFaults,
    pub fail_next_sync: bool,
    pub planned_crash: Option<PlannedCrash>,
    /// Until when the device is busy with what came before.
    busy_until_nanos: u64,
    /// Bytes that the next sync has to write out, of the call that is being made.
    cost_bytes: u64,
    /// Faults that the call being made has met; its maker counts them.
    pub happened: Vec<FaultClass>,
    dice: Dice,
}

impl DiskState {
    pub fn new(dice: Dice, speed: DiskSpeed) -> DiskState {
        DiskState {
            files: BTreeMap::new(),
            names: Names::default(),
            numbers: 0,
            locks: BTreeSet::new(),
            speed,
            faults: DiskFaults::default(),
            fail_next_sync: false,
            planned_crash: None,
            busy_until_nanos: 0,
            cost_bytes: 0,
            happened: Vec::new(),
            dice,
        }
    }

    /// When a call that begins now is done. Syncs stand in line, the rest is memory.
    pub fn time_for(&mut self, operation: Operation, now_nanos: u64) -> u64 {
        let latency = match operation {
            Operation::Open | Operation::List | Operation::Length | Operation::Read | Operation::Lock => {
                self.speed.read
            }
            Operation::Rename | Operation::Remove | Operation::MakeFolder | Operation::SetLength | Operation::Write => {
                self.speed.write
            }
            Operation::Sync | Operation::SyncFolder => return self.time_for_sync(now_nanos),
        };
        let stalled = self.busy_until_nanos.saturating_sub(now_nanos);
        // A stalled device also holds up reads, and writes once memory is full of them; a busy one does not.
        let stalled = if stalled > 1_000_000_000 { stalled } else { 0 };
        now_nanos + stalled + self.dice.latency(&latency)
    }

    fn time_for_sync(&mut self, now_nanos: u64) -> u64 {
        let mut cost = self.dice.latency(&self.speed.sync);
        cost += std::mem::take(&mut self.cost_bytes).saturating_mul(1_000_000_000) / self.speed.bytes_per_second.max(1);
        if self.dice.happens(self.faults.slow_sync_per_million) {
            cost += self.dice.below(nanos(self.faults.slow_sync).saturating_add(1));
            self.happened.push(FaultClass::DiskSlow);
        }
        self.busy_until_nanos = self.busy_until_nanos.max(now_nanos) + cost;
        self.busy_until_nanos
    }

    /// Nothing moves for this long.
    pub fn stall(&mut self, now_nanos: u64, for_nanos: u64) {
        self.busy_until_nanos = self.busy_until_nanos.max(now_nanos + for_nanos);
    }

    /// A process starts: no handle and no lock of an earlier one counts.
    pub fn next_life(&mut self, _life: u32) {
        self.process_ended();
    }

    pub fn process_ended(&mut self) {
        self.locks.clear();
        self.files.values_mut().for_each(|file| file.handles = 0);
        self.collect();
    }

    /// Drops files that no name and no handle leads to.
    fn collect(&mut self) {
        let known = self.names.files_known();
        self.files.retain(|number, file| file.handles > 0 || known.contains(number));
    }

    fn file_mut(&mut self, number: u64) -> io::Result<&mut FileImage> {
        self.files.get_mut(&number).ok_or_else(|| io::Error::other("the disk was taken away"))
    }

    fn fails(&mut self, per_million: u32, class: FaultClass) -> io::Result<()> {
        if self.dice.happens(per_million) {
            self.happened.push(class);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(())
    }

    fn check_changeable(&mut self) -> io::Result<()> {
        if self.faults.read_only {
            self.happened.push(FaultClass::DiskFull);
            return Err(io::Error::from_raw_os_error(EROFS));
        }
        self.fails(self.faults.write_error_per_million, FaultClass::DiskWriteError)
    }

    fn check_room(&mut self, number: u64, end: u64) -> io::Result<()> {
        let grows = end.saturating_sub(self.file_mut(number)?.seen().len());
        self.check_free(grows)
    }

    fn check_free(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > self.free_bytes() {
            self.happened.push(FaultClass::DiskFull);
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.seen().len()).sum()
    }

    pub fn free_bytes(&self) -> u64 {
        const ROOMY_BYTES: u64 = 1 << 40;
        self.faults.capacity_bytes.unwrap_or(ROOMY_BYTES).saturating_sub(self.used_bytes())
    }

    fn take_descriptor(&mut self) -> io::Result<()> {
        if self.dice.happens(self.faults.no_descriptor_per_million) {
            self.happened.push(FaultClass::NoDescriptor);
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        Ok(())
    }

    pub fn open(&mut self, path: &str, how: OpenHow) -> io::Result<u64> {
        self.take_descriptor()?;
        let number = match how {
            OpenHow::Read | OpenHow::Write => self.names.file(path)?,
            OpenHow::CreateNew => {
                self.check_changeable()?;
                // The name itself takes room.
                self.check_free(1)?;
                self.create(path)?
            }
        };
        self.file_mut(number)?.handles += 1;
        Ok(number)
    }

    fn create(&mut self, path: &str) -> io::Result<u64> {
        let number = self.numbers + 1;
        self.names.add(path, Entry::File(number))?;
        self.numbers = number;
        self.files.insert(number, FileImage::default());
        Ok(number)
    }

    pub fn close(&mut self, number: u64) {
        if let Some(file) = self.files.get_mut(&number) {
            file.handles = file.handles.saturating_sub(1);
            if file.handles == 0 {
                self.collect();
            }
        }
    }

    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.check_changeable()?;
        self.names.rename(from, to)
    }

    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        self.check_changeable()?;
        self.names.remove(path)
    }

    pub fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.names.list(folder)
    }

    pub fn make_folder(&mut self, folder: &str) -> io::Result<()> {
        self.check_changeable()?;
        self.names.make_folder(folder)
    }

    pub fn make_root(&mut self, folder: &str) -> io::Result<()> {
        self.names.make_root(folder)
    }

    pub fn lock(&mut self, path: &str) -> io::Result<()> {
        if self.names.file(path).is_err() {
            self.create(path)?;
        }
        if !self.locks.insert(path.to_owned()) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{path:?} is locked")));
        }
        Ok(())
    }

    pub fn unlock(&mut self, path: &str) {
        self.locks.remove(path);
    }

    pub fn len(&mut self, number: u64) -> io::Result<u64> {
        Ok(self.file_mut(number)?.seen().len())
    }

    pub fn set_len(&mut self, number: u64, bytes: u64) -> io::Result<()> {
        self.check_changeable()?;
        self.check_room(number, bytes)?;
        self.file_mut(number)?.set_len(bytes);
        Ok(())
    }

    pub fn read_at(&mut self, number: u64, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.fails(self.faults.read_error_per_million, FaultClass::DiskReadError)?;
        let bytes = into.len() as u64;
        let file = self.file_mut(number)?;
        if at + bytes > file.seen().len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter"));
        }
        if file.is_bad(at, bytes) {
            self.happened.push(FaultClass::DiskReadError);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.seen().read(at, into);
        Ok(())
    }

    pub fn write_at(&mut self, number: u64, at: u64, bytes: Bytes) -> io::Result<()> {
        self.check_changeable()?;
        self.check_room(number, at + bytes.len() as u64)?;
        if self.dice.happens(self.faults.lost_write_per_million) {
            self.happened.push(FaultClass::DiskLostWrite);
            self.file_mut(number)?.write_in_vain(at, &bytes);
            return Ok(());
        }
        self.file_mut(number)?.write(at, bytes);
        Ok(())
    }

    /// A sync begins: it will cover the changes so far, and holds only if none failed meanwhile.
    pub fn begin_sync(&mut self, number: u64) -> io::Result<SyncMark> {
        let fails = std::mem::take(&mut self.fail_next_sync) || self.dice.happens(self.faults.sync_error_per_million);
        let file = self.files.get_mut(&number).ok_or_else(|| io::Error::other("the disk was taken away"))?;
        if fails {
            file.fail_sync(&mut self.dice);
            self.happened.push(FaultClass::DiskSyncError);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        self.cost_bytes = file.unsynced_bytes();
        Ok(file.mark())
    }

    pub fn end_sync(&mut self, number: u64, mark: SyncMark) -> io::Result<()> {
        if self.faults.lying_sync {
            self.happened.push(FaultClass::DiskLie);
            return Ok(());
        }
        if self.file_mut(number)?.store_until(mark) { Ok(()) } else { Err(io::Error::from_raw_os_error(EIO)) }
    }

    pub fn begin_sync_folder(&mut self, folder: &str) -> io::Result<u64> {
        self.take_descriptor()?;
        self.names.mark(folder)
    }

    pub fn end_sync_folder(&mut self, folder: &str, mark: u64) -> io::Result<()> {
        if self.faults.lying_sync {
            self.happened.push(FaultClass::DiskLie);
            return Ok(());
        }
        self.names.store(folder, mark);
        self.collect();
        Ok(())
    }

    /// The power fails. Returns what was lost.
    pub fn power_fail(&mut self) -> Vec<FaultClass> {
        let mut losses = BTreeSet::new();
        for file in self.files.values_mut() {
            let loss = file.power_fail(&mut self.dice);
            match (loss.kept_sectors, loss.lost_sectors) {
                (_, 0) => {}
                (0, _) => {
                    losses.insert(FaultClass::DiskLost);
                }
                (_, _) => {
                    losses.insert(FaultClass::DiskTorn);
                }
            }
            if loss.length_differs {
                losses.insert(FaultClass::DiskLength);
            }
        }
        if self.names.power_fail(&mut self.dice) {
            losses.insert(FaultClass::DiskNamesLost);
        }
        self.busy_until_nanos = 0;
        self.process_ended();
        losses.into_iter().collect()
    }

    pub fn image(&self) -> DiskImage {
        DiskImage { files: self.files.clone(), names: self.names.clone() }
    }

    /// What is there for certain if the power fails now.
    pub fn surviving(&self) -> DiskImage {
        let names = self.names.surviving();
        let known = names.files_known();
        let files = self.files.iter().filter(|(number, _)| known.contains(number));
        DiskImage { files: files.map(|(number, file)| (*number, file.surviving())).collect(), names }
    }

    /// Another disk is put in. Numbers go on, so that no handle of before finds a file of after.
    pub fn put(&mut self, image: DiskImage) {
        self.names = Names::default();
        self.files.clear();
        let before = self.numbers;
        let moved = image.names.renumbered(|old| before + old);
        self.files = image.files.into_iter().map(|(number, file)| (before + number, file)).collect();
        self.names = moved;
        self.numbers = self.files.last_key_value().map_or(self.numbers, |(number, _)| *number);
        self.process_ended();
    }

    pub fn files(&self) -> Vec<(String, u64)> {
        let known = self.names.files();
        known.filter_map(|(path, number)| Some((path.to_owned(), self.files.get(&number)?.seen().len()))).collect()
    }

    pub fn read_whole(&self, path: &str) -> io::Result<Vec<u8>> {
        let file = self.files.get(&self.names.file(path)?).ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; file.seen().len() as usize];
        file.seen().read(0, &mut bytes);
        Ok(bytes)
    }

    pub fn overwrite(&mut self, path: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file_at(path)?.corrupt(at, bytes);
        Ok(())
    }

    pub fn flip(&mut self, path: &str, at: u64, bit: u8) -> io::Result<()> {
        self.file_at(path)?.flip(at, bit);
        Ok(())
    }

    pub fn make_bad(&mut self, path: &str, from: u64, to: u64) -> io::Result<()> {
        self.file_at(path)?.bad.push(from..to);
        Ok(())
    }

    fn file_at(&mut self, path: &str) -> io::Result<&mut FileImage> {
        let number = self.names.file(path)?;
        self.file_mut(number)
    }

    pub fn unsynced_bytes(&self) -> u64 {
        self.files.values().map(FileImage::unsynced_bytes).sum()
    }
}
