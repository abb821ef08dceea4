//! How the process ends, in numbers that scripts and supervisors can rely on (the table is in `docs/OPERATING.md`).
//!
//! Not here: ending it. Only `main` does, and `world` where the disk fails or a task panics.

use core::fmt;

/// Why the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// Stopped as asked.
    Stopped = 0,
    /// A wrong flag, a wrong configuration, or a limit of open files that is too low.
    Usage = 2,
    /// Damaged data; the message names file and offset.
    Damaged = 65,
    /// An address is in use or not to be had.
    Unavailable = 69,
    /// A bug: an assertion, a panic, a replica that cannot apply.
    Bug = 70,
    /// The disk failed.
    Io = 74,
    /// Another process has the data folder.
    InUse = 75,
    /// Data of a newer format than this binary reads, or a binary older than the cluster.
    Version = 76,
    /// A foreign cluster, another disk, an older epoch, a removed node.
    Identity = 77,
}

impl ExitCode {
    /// All of them.
    pub const ALL: [ExitCode; 9] = [
        ExitCode::Stopped,
        ExitCode::Usage,
        ExitCode::Damaged,
        ExitCode::Unavailable,
        ExitCode::Bug,
        ExitCode::Io,
        ExitCode::InUse,
        ExitCode::Version,
        ExitCode::Identity,
    ];

    /// The one with this number.
    pub fn numbered(number: i32) -> Option<ExitCode> {
        ExitCode::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The number given to the operating system.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

/// An end that nobody asked for: what `run` returns and `main` prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The kind of end.
    pub code: ExitCode,
    /// One line for the operator: what happened and, where there is one, what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its line.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for Failure {}
