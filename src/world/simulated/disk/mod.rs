//! The simulated disk: what a process sees, what would survive, and how the two come apart.
//!
//! - `file`: one file as two images and the writes between them;
//! - `names`: the tree of names, likewise;
//! - `device`: one machine's disk: files, names, speed, faults, power failure;
//! - this file: what user code holds, and how long its calls take.
//!
//! A process kill changes nothing here: the kernel has the bytes. A power failure keeps a drawn part of what was not
//! synced, torn at sectors of 512 bytes, and all of what was.
//!
//! Handles carry the life of the process they were given to: code in the `Drop` of a process long dead cannot touch
//! what the next one finds.

mod device;
mod file;
mod names;

pub use device::{DiskFaults, DiskImage, DiskSpeed, Moment};
pub(crate) use device::{DiskState, PlannedCrash};

use super::state::State;
use super::timers::wait_until_world;
use super::trace::{Kind, hash_of};
use super::{Identity, identity, try_with, with};
use crate::disk::{Disk, DiskFile, OpenHow, check_path, check_rename};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// The disk of the machine whose code opened it.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    owner: Identity,
    /// Empty, or ending in `/`.
    root: Arc<str>,
}

/// An open file.
#[derive(Debug)]
pub struct SimulatedFile {
    owner: Identity,
    number: u64,
    writable: bool,
}

/// An exclusive lock, given back on drop.
#[derive(Debug)]
pub struct DiskLock {
    owner: Identity,
    path: String,
}

/// The calls, as the trace numbers them.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub(crate) enum Operation {
    Open = 1,
    Rename,
    Remove,
    List,
    MakeFolder,
    SyncFolder,
    Lock,
    Length,
    SetLength,
    Read,
    Write,
    Sync,
}

impl SimulatedDisk {
    /// Opens a folder as the root, making it if it is missing. Its own name is durable at once: it is the operator's.
    pub fn open_root(path: &str) -> io::Result<SimulatedDisk> {
        let owner = identity();
        let trimmed = path.trim_start_matches("./").trim_matches('/');
        let root = if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") };
        if !trimmed.is_empty() {
            check_path(trimmed)?;
            with(|state| state.machine_mut(owner.machine).disk.make_root(trimmed))?;
        }
        Ok(SimulatedDisk { owner, root: root.into() })
    }

    /// The same: nobody blocks here.
    pub fn pooled(&self) -> SimulatedDisk {
        self.clone()
    }

    fn full(&self, path: &str) -> String {
        format!("{}{path}", self.root).trim_end_matches('/').to_owned()
    }

    async fn call<T>(
        &self,
        operation: Operation,
        path: &str,
        act: impl FnOnce(&mut DiskState, &str) -> io::Result<T>,
    ) -> io::Result<T> {
        let full = self.full(path);
        call(self.owner, operation, hash_of(full.as_bytes()), |disk| act(disk, &full)).await
    }
}

/// One call: what it does happens at its beginning, and then it takes its time.
async fn call<T>(
    owner: Identity,
    operation: Operation,
    what: u64,
    act: impl FnOnce(&mut DiskState) -> io::Result<T>,
) -> io::Result<T> {
    crash_if_planned(owner, Moment::Before).await;
    let (result, done_nanos) = with(|state| {
        begin(state, owner, operation, what)?;
        let result = act(&mut state.machine_mut(owner.machine).disk);
        let done = state.disk_time(owner.machine, operation);
        Ok::<_, io::Error>((result, done))
    })?;
    wait_until_world(done_nanos).await;
    with(|state| end(state, owner, operation, result.is_err()));
    match operation {
        // Those have a second half, which decides what is durable.
        Operation::Sync | Operation::SyncFolder => {}
        Operation::Open
        | Operation::Rename
        | Operation::Remove
        | Operation::List
        | Operation::MakeFolder
        | Operation::Lock
        | Operation::Length
        | Operation::SetLength
        | Operation::Read
        | Operation::Write => crash_if_planned(owner, Moment::After).await,
    }
    result
}

/// Counts this call down, and ends the machine if it is the one.
async fn crash_if_planned(owner: Identity, moment: Moment) {
    let planned = with(|state| {
        let planned =
            state.machine_mut(owner.machine).disk.planned_crash.as_mut().filter(|plan| plan.moment == moment)?;
        planned.calls_before = planned.calls_before.checked_sub(1)?;
        (planned.calls_before == 0).then_some(planned.power)
    });
    let Some(power) = planned else { return };
    with(|state| state.machine_mut(owner.machine).disk.planned_crash = None);
    if power {
        super::life::power_fail(owner.machine);
    } else {
        super::life::kill(owner.machine);
    }
    std::future::pending().await
}

fn begin(state: &mut State, owner: Identity, operation: Operation, what: u64) -> io::Result<()> {
    if !state.is_alive(owner) {
        return Err(io::Error::other("this process is dead"));
    }
    state.record(Kind::DiskCall, u64::from(owner.machine), operation as u64, what);
    Ok(())
}

fn end(state: &mut State, owner: Identity, operation: Operation, failed: bool) {
    let faults = std::mem::take(&mut state.machine_mut(owner.machine).disk.happened);
    for class in faults {
        state.count(class, owner.machine, operation as u64);
    }
    state.record(Kind::DiskDone, u64::from(owner.machine), operation as u64, u64::from(failed));
}

impl State {
    /// When a call that begins now is done.
    fn disk_time(&mut self, machine: u32, operation: Operation) -> u64 {
        let now = self.now_nanos();
        self.machine_mut(machine).disk.time_for(operation, now)
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    async fn open(&self, path: &str, how: OpenHow) -> io::Result<SimulatedFile> {
        check_path(path)?;
        let number = self.call(Operation::Open, path, |disk, full| disk.open(full, how)).await?;
        let writable = match how {
            OpenHow::Read => false,
            OpenHow::Write | OpenHow::CreateNew => true,
        };
        Ok(SimulatedFile { owner: self.owner, number, writable })
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_rename(from, to)?;
        let to = self.full(to);
        self.call(Operation::Rename, from, |disk, full| disk.rename(full, &to)).await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        check_path(path)?;
        self.call(Operation::Remove, path, |disk, full| disk.remove(full)).await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        if !folder.is_empty() {
            check_path(folder)?;
        }
        self.call(Operation::List, folder, |disk, full| disk.list(full)).await
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        check_path(folder)?;
        self.call(Operation::MakeFolder, folder, |disk, full| disk.make_folder(full)).await
    }

    async fn sync_folder(&self, folder: &str) -> io::Result<()> {
        if !folder.is_empty() {
            check_path(folder)?;
        }
        // Durable at its end, not at its beginning.
        let mark = self.call(Operation::SyncFolder, folder, |disk, full| disk.begin_sync_folder(full)).await?;
        let full = self.full(folder);
        let result = with(|state| state.machine_mut(self.owner.machine).disk.end_sync_folder(&full, mark));
        crash_if_planned(self.owner, Moment::After).await;
        result
    }

    async fn free_bytes(&self) -> io::Result<u64> {
        Ok(with(|state| state.machine(self.owner.machine).disk.free_bytes()))
    }

    async fn lock(&self, path: &str) -> io::Result<DiskLock> {
        check_path(path)?;
        self.call(Operation::Lock, path, |disk, full| disk.lock(full)).await?;
        Ok(DiskLock { owner: self.owner, path: self.full(path) })
    }
}

impl SimulatedFile {
    async fn call<T>(
        &self,
        operation: Operation,
        what: u64,
        act: impl FnOnce(&mut DiskState, u64) -> io::Result<T>,
    ) -> io::Result<T> {
        call(self.owner, operation, what, |disk| act(disk, self.number)).await
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading only"))
    }

    async fn sync(&self) -> io::Result<()> {
        let mark = self.call(Operation::Sync, self.number, |disk, number| disk.begin_sync(number)).await?;
        let result = with(|state| state.machine_mut(self.owner.machine).disk.end_sync(self.number, mark));
        crash_if_planned(self.owner, Moment::After).await;
        result
    }
}

impl DiskFile for SimulatedFile {
    async fn len(&self) -> io::Result<u64> {
        self.call(Operation::Length, self.number, |disk, number| disk.len(number)).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.check_writable()?;
        self.call(Operation::SetLength, bytes, |disk, number| disk.set_len(number, bytes)).await
    }

    async fn read_at(&self, at: u64, mut into: Vec<u8>) -> io::Result<Vec<u8>> {
        self.call(Operation::Read, at, |disk, number| disk.read_at(number, at, &mut into)).await?;
        Ok(into)
    }

    async fn write_at(&self, at: u64, from: Bytes) -> io::Result<()> {
        self.check_writable()?;
        let what = hash_of(&from) ^ at;
        self.call(Operation::Write, what, |disk, number| disk.write_at(number, at, from)).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.sync().await
    }

    async fn sync_all(&self) -> io::Result<()> {
        self.sync().await
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        try_with(|state| {
            let machine = state.machine_mut(self.owner.machine);
            if machine.life == self.owner.life {
                machine.disk.close(self.number);
            }
        });
    }
}

impl Drop for DiskLock {
    fn drop(&mut self) {
        try_with(|state| {
            let machine = state.machine_mut(self.owner.machine);
            if machine.life == self.owner.life {
                machine.disk.unlock(&self.path);
            }
        });
    }
}
