//! A folder tree that belongs to one node: the only way to anything that survives the process.
//!
//! Paths are relative to the root, separated by `/`, printable ASCII. There is no append mode, no cursor, no memory map
//! (an I/O error would be a signal) and no truncating open: storage says where every byte goes. Buffers are owned, so
//! that a pool of threads can take them.
//!
//! What is durable: bytes after [`DiskFile::sync_data`], the length and the bytes of a new file after
//! [`DiskFile::sync_all`], a name (new, renamed, removed) after [`Disk::sync_folder`] of its folder. Nothing else.

use bytes::Bytes;
use std::future::Future;
use std::io;

#[cfg(not(madsim))]
pub use crate::real::disk::{BlockingDisk, BlockingFile, DiskLock, PooledDisk, PooledFile};
#[cfg(madsim)]
pub use crate::simulated::disk::{DiskLock, SimulatedDisk, SimulatedFile};

/// The disk of this node. In production its calls happen inside the poll: only for tasks on threads of their own
/// ([`crate::task::spawn_owned_thread`]); everything else takes [`NodeDisk::pooled`].
#[cfg(not(madsim))]
pub type NodeDisk = BlockingDisk;
/// A file of [`NodeDisk`].
#[cfg(not(madsim))]
pub type NodeFile = BlockingFile;

/// The disk of this node.
#[cfg(madsim)]
pub type NodeDisk = SimulatedDisk;
/// A file of [`NodeDisk`].
#[cfg(madsim)]
pub type NodeFile = SimulatedFile;
/// The same disk for tasks that share their thread; in the simulation there is no difference.
#[cfg(madsim)]
pub type PooledDisk = SimulatedDisk;
/// A file of [`PooledDisk`].
#[cfg(madsim)]
pub type PooledFile = SimulatedFile;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenHow {
    /// Must exist; reading only.
    Read,
    /// Must exist; reading and writing.
    Write,
    /// Must not exist; reading and writing.
    CreateNew,
}

/// A folder tree.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: DiskFile;

    /// Opens a file.
    fn open(&self, path: &str, how: OpenHow) -> impl Future<Output = io::Result<Self::File>> + Send;
    /// Renames within one folder; replaces what is there.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// Removes a file.
    fn remove(&self, path: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// The names in a folder, sorted, files and folders alike. The root is the empty path.
    fn list(&self, folder: &str) -> impl Future<Output = io::Result<Vec<String>>> + Send;
    /// Makes a folder and those above it; no error if it is there. Durable after `sync_folder` of the one above.
    fn make_folder(&self, folder: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// Makes the names in this folder durable.
    fn sync_folder(&self, folder: &str) -> impl Future<Output = io::Result<()>> + Send;
    /// What is left on the device.
    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + Send;
    /// Takes an exclusive lock on a file, which is made if needed. `WouldBlock` if somebody holds it. Released on drop
    /// and at the end of the process.
    fn lock(&self, path: &str) -> impl Future<Output = io::Result<DiskLock>> + Send;
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "a call to the disk, not a look at a collection")]
pub trait DiskFile: Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> impl Future<Output = io::Result<u64>> + Send;
    /// Cuts or extends (with zeros) to this length.
    fn set_len(&self, bytes: u64) -> impl Future<Output = io::Result<()>> + Send;
    /// Fills `into` from this position, or fails (`UnexpectedEof` if the file is too short).
    fn read_at(&self, at: u64, into: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> + Send;
    /// Writes all of it, or fails; after a failure anything may have been written.
    fn write_at(&self, at: u64, from: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// Makes everything written so far durable (fdatasync). After a failure the file must not be trusted again.
    fn sync_data(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Like `sync_data`, with all of the file's attributes; for new files.
    fn sync_all(&self) -> impl Future<Output = io::Result<()>> + Send;
}

/// The kernel's numbers for: no descriptor left in the machine, and in this process.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Whether nothing was opened because there is no file descriptor left: once others are closed it can be tried again.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// A path of ours: relative, no empty, `.` or `..` part, printable ASCII without `\`.
pub(crate) fn check_path(path: &str) -> io::Result<()> {
    let part_is_good = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    if path.split('/').all(part_is_good) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not a path of the disk: {path:?}")))
}

/// The folder part of a path; empty for the root.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Refuses a rename from one folder to another: no single sync could make it durable.
pub(crate) fn check_rename(from: &str, to: &str) -> io::Result<()> {
    check_path(from)?;
    check_path(to)?;
    if folder_of(from) == folder_of(to) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("rename across folders: {from:?} to {to:?}")))
}
