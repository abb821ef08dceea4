//! How the storage fails, and what then happens to the process.
//!
//! At a start, errors are values: the caller prints them and ends with [`StorageError::exit_code`]. While the node
//! runs, an I/O error or damage in the log stops the process at once: a failed sync has forgotten which pages were
//! lost, so nothing may be completed and nothing retried; the next start writes the last batch again.

use crate::sector::SECTOR_BYTES;
use core::fmt;
use quorate_core::model::NodeId;
use quorate_world::process;
use std::io;

const EXIT_DAMAGED: i32 = 65;
const EXIT_IO: i32 = 74;
const EXIT_IN_USE: i32 = 75;
const EXIT_NEWER: i32 = 76;
const EXIT_REFUSED: i32 = 77;

/// Bytes on disk that are not what was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file, relative to the data folder.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// In words.
    pub what: String,
    /// Whose disk it is, if that is known.
    pub node: Option<NodeId>,
}

impl Damage {
    pub(crate) fn new(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Damage {
        Damage { file: file.into(), offset, what: what.into(), node: None }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, what, node } = self;
        let sector = offset / SECTOR_BYTES as u64;
        let node = node.map_or("<id>".to_owned(), |node| node.to_string());
        writeln!(f, "storage: damaged: {file} offset {offset} (sector {sector}): {what}.")?;
        write!(f, "Nothing was changed. This node must not vote again with this disk. ")?;
        writeln!(f, "Inspect: quorate storage verify <data>.")?;
        write!(f, "Replace the node: quorate ctl node replace {node}, then start it with an empty data folder ")?;
        write!(f, "and --join (OPERATING.md, \"A damaged disk\").")
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A call to the disk failed.
    #[error("storage: {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The log or a snapshot is not what was written.
    #[error("{0}")]
    Damaged(Damage),
    /// Another process holds LOCK.
    #[error("storage: data folder in use by another process")]
    InUse,
    /// Written by a newer binary.
    #[error("storage: {file} has format {found}; this binary reads up to {read_up_to}")]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        found: u16,
        /// What this binary reads.
        read_up_to: u16,
    },
    /// The folder is another node's.
    #[error("the data folder belongs to node {node}, not to node {asked}")]
    OtherNode {
        /// Whose it is.
        node: NodeId,
        /// Who came.
        asked: NodeId,
    },
    /// The folder is not what its identity says, or has none.
    #[error("storage: {0}")]
    Refused(String),
}

impl StorageError {
    /// The exit code of a process that cannot go on because of it.
    pub fn exit_code(&self) -> i32 {
        match self {
            StorageError::Io { .. } => EXIT_IO,
            StorageError::Damaged(_) => EXIT_DAMAGED,
            StorageError::InUse => EXIT_IN_USE,
            StorageError::Newer { .. } => EXIT_NEWER,
            StorageError::OtherNode { .. } | StorageError::Refused(_) => EXIT_REFUSED,
        }
    }

    /// Names the node whose disk is damaged.
    pub(crate) fn of_node(self, node: NodeId) -> StorageError {
        match self {
            StorageError::Damaged(damage) => StorageError::Damaged(Damage { node: Some(node), ..damage }),
            other => other,
        }
    }
}

impl From<Damage> for StorageError {
    fn from(damage: Damage) -> StorageError {
        StorageError::Damaged(damage)
    }
}

/// Says what was tried when the disk failed.
pub(crate) trait Tried<T> {
    fn tried(self, what: &str) -> Result<T, StorageError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: &str) -> Result<T, StorageError> {
        self.map_err(|source| StorageError::Io { what: what.to_owned(), source })
    }
}

/// Ends the process: the log cannot be trusted from here on.
pub(crate) fn stop(error: &StorageError) -> ! {
    tracing::error!("{error}");
    process::exit(error.exit_code())
}

/// Takes the value, or ends the process.
pub(crate) fn or_stop<T>(result: Result<T, StorageError>) -> T {
    result.unwrap_or_else(|error| stop(&error))
}

/// Whether the device is full: the one I/O error that a snapshot or a spare survives.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_names_file_place_and_what_to_do() {
        let damage =
            Damage::new("wal/wal-0000000017.log", 1_228_800, "batch 90412 is fully written but does not parse");
        let error = StorageError::from(damage).of_node(NodeId(3));
        assert_eq!(error.exit_code(), 65);
        assert_eq!(
            error.to_string(),
            "storage: damaged: wal/wal-0000000017.log offset 1228800 (sector 2400): batch 90412 is fully written but \
             does not parse.\nNothing was changed. This node must not vote again with this disk. Inspect: quorate \
             storage verify <data>.\nReplace the node: quorate ctl node replace 3, then start it with an empty data \
             folder and --join (OPERATING.md, \"A damaged disk\")."
        );
    }
}
