//! Control of disks. Paths are full ones: with the root that the process opened, without a leading `/`.

use super::{DiskFaults, DiskImage, DiskSpeed, FaultClass, Machine, Moment};
use crate::simulated::disk::{DiskState, PlannedCrash};
use crate::simulated::with;
use crate::time::Duration;
use std::io;

/// The disk of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineDisk(pub(super) Machine);

impl MachineDisk {
    fn with<T>(self, use_it: impl FnOnce(&mut DiskState) -> T) -> T {
        with(|state| use_it(&mut state.machine_mut(self.0.0).disk))
    }

    fn count(self, class: FaultClass) {
        with(|state| state.count(class, self.0.0, 0));
    }

    /// How fast it is from now on.
    pub fn set_speed(self, speed: DiskSpeed) {
        self.with(|disk| disk.speed = speed);
    }

    /// How fast it is.
    pub fn speed(self) -> DiskSpeed {
        self.with(|disk| disk.speed)
    }

    /// What is wrong with it from now on.
    pub fn set_faults(self, faults: DiskFaults) {
        self.with(|disk| disk.faults = faults);
    }

    /// What is wrong with it.
    pub fn faults(self) -> DiskFaults {
        self.with(|disk| disk.faults)
    }

    /// The next sync of a file fails.
    pub fn fail_next_sync(self) {
        self.with(|disk| disk.fail_next_sync = true);
    }

    /// The power fails at the n-th disk call of the process from now on (1 is the next).
    pub fn power_fail_at_call(self, number: u64, moment: Moment) {
        assert!(number > 0, "calls count from 1");
        self.with(|disk| disk.planned_crash = Some(PlannedCrash { calls_before: number, moment, power: true }));
    }

    /// The process is killed at its n-th disk call from now on (1 is the next).
    pub fn kill_at_call(self, number: u64, moment: Moment) {
        assert!(number > 0, "calls count from 1");
        self.with(|disk| disk.planned_crash = Some(PlannedCrash { calls_before: number, moment, power: false }));
    }

    /// Whether such a crash is still to come.
    pub fn is_crash_planned(self) -> bool {
        self.with(|disk| disk.planned_crash.is_some())
    }

    /// Nothing moves for this long.
    pub fn stall(self, duration: Duration) {
        with(|state| {
            let now = state.now_nanos();
            let nanos = crate::simulated::dice::nanos(duration);
            state.machine_mut(self.0.0).disk.stall(now, nanos);
            state.count(FaultClass::DiskSlow, self.0.0, nanos);
        });
    }

    /// Its files and their lengths, in the order of their paths.
    pub fn files(self) -> Vec<(String, u64)> {
        self.with(|disk| disk.files())
    }

    /// What a read of the whole file would give.
    pub fn read(self, path: &str) -> io::Result<Vec<u8>> {
        self.with(|disk| disk.read_whole(path))
    }

    /// How many bytes of files there are.
    pub fn used_bytes(self) -> u64 {
        self.with(|disk| disk.used_bytes())
    }

    /// How many written bytes no sync has covered.
    pub fn unsynced_bytes(self) -> u64 {
        self.with(|disk| disk.unsynced_bytes())
    }

    /// Turns over one bit of a file, on the device and in memory.
    pub fn flip_bit(self, path: &str, at: u64, bit: u8) -> io::Result<()> {
        self.with(|disk| disk.flip(path, at, bit))?;
        self.count(FaultClass::DiskCorruption);
        Ok(())
    }

    /// Puts other bytes into a file, on the device and in memory; within its length.
    pub fn overwrite(self, path: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| disk.overwrite(path, at, bytes))?;
        self.count(FaultClass::DiskCorruption);
        Ok(())
    }

    /// Reads that touch this area fail until it is written again.
    pub fn make_bad(self, path: &str, from: u64, to: u64) -> io::Result<()> {
        self.with(|disk| disk.make_bad(path, from, to))
    }

    /// What is on it, to be put back later or into another machine.
    pub fn image(self) -> DiskImage {
        self.with(|disk| disk.image())
    }

    /// What would be on it for certain if the power failed now: nothing that is not synced.
    pub fn surviving(self) -> DiskImage {
        self.with(|disk| disk.surviving())
    }

    /// Puts in what an image holds. The machine must have no process.
    pub fn put(self, image: DiskImage) {
        assert!(!self.0.is_running(), "disks are changed while no process runs");
        self.with(|disk| disk.put(image));
        self.count(FaultClass::DiskSwap);
    }

    /// Puts in an empty disk. The machine must have no process.
    pub fn wipe(self) {
        self.put(DiskImage::default());
    }
}
