//! The classes of faults, and how often each has happened. A run that enables one that never fires proves nothing, so
//! the harness looks here.

use std::collections::BTreeMap;

/// A class of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FaultClass {
    /// A message took the slow tail of its link.
    LinkTail,
    /// A message was lost and sent again.
    LinkLoss,
    /// A message met a blocked link and waited for the heal.
    LinkBlocked,
    /// A connection was reset.
    LinkReset,
    /// A bit of a message was turned over.
    LinkCorruption,
    /// A message waited for a slow line.
    LinkBandwidth,
    /// A connect hung.
    ConnectHang,
    /// A process was killed.
    ProcessKill,
    /// A process ended by panic.
    ProcessPanic,
    /// A process ended itself with a code other than zero.
    ProcessExit,
    /// A machine lost its power.
    PowerFailure,
    /// A process was stopped for a while.
    Pause,
    /// A power failure kept some and lost some of a file's unsynced sectors.
    DiskTorn,
    /// A power failure lost all of a file's unsynced sectors.
    DiskLost,
    /// A power failure lost names.
    DiskNamesLost,
    /// A power failure left a length other than the one seen.
    DiskLength,
    /// A write failed.
    DiskWriteError,
    /// A write was taken and never reached the device.
    DiskLostWrite,
    /// A read failed.
    DiskReadError,
    /// A sync failed.
    DiskSyncError,
    /// The disk was full or read-only.
    DiskFull,
    /// A sync took the slow path, or the disk stalled.
    DiskSlow,
    /// A sync did nothing and said otherwise.
    DiskLie,
    /// Bytes of a file were changed behind its back.
    DiskCorruption,
    /// A disk was wiped, replaced or rolled back.
    DiskSwap,
    /// The rate of a clock was changed.
    ClockRate,
    /// A wall clock was moved.
    ClockJump,
    /// Something was to be opened, and no file descriptor was left.
    NoDescriptor,
}

/// How often each class has happened; classes that have not are absent.
pub type Counters = BTreeMap<FaultClass, u64>;
