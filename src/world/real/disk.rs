//! The kernel's file system, called inside the poll.
//!
//! Only for tasks on threads of their own: a call may take as long as the device does. Going through a pool of
//! threads instead costs a hop per call; [`PooledDisk`] does that for the rare readers elsewhere.

use crate::disk::{Disk, DiskFile, OpenHow, check_path, check_rename};
use bytes::Bytes;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use super::pooled::{PooledDisk, PooledFile};

/// A folder tree of the file system.
#[derive(Debug, Clone)]
pub struct BlockingDisk {
    root: Arc<Path>,
}

/// An open file.
#[derive(Debug)]
pub struct BlockingFile(File);

/// An exclusive lock, given back on drop.
#[derive(Debug)]
pub struct DiskLock(#[allow(dead_code, reason = "held for its drop")] File);

impl BlockingDisk {
    /// Opens a folder as the root, making it if it is missing.
    pub fn open_root(path: &str) -> io::Result<BlockingDisk> {
        let is_new = !std::path::Path::new(path).exists();
        std::fs::create_dir_all(path)?;
        let root = std::fs::canonicalize(path)?;
        if is_new && let Some(parent) = root.parent() {
            // Its name is as durable as what it will hold.
            File::open(parent)?.sync_all()?;
        }
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{path:?} is not a folder")));
        }
        Ok(BlockingDisk { root: root.into() })
    }

    /// The same tree for tasks that share their thread with others.
    pub fn pooled(&self) -> PooledDisk {
        PooledDisk::new(self.clone())
    }

    fn path_of(&self, path: &str) -> io::Result<PathBuf> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    fn folder_path(&self, folder: &str) -> io::Result<PathBuf> {
        if folder.is_empty() { Ok(self.root.to_path_buf()) } else { self.path_of(folder) }
    }

    pub(super) fn open_now(&self, path: &str, how: OpenHow) -> io::Result<BlockingFile> {
        let mut options = File::options();
        match how {
            OpenHow::Read => options.read(true),
            OpenHow::Write => options.read(true).write(true),
            OpenHow::CreateNew => options.read(true).write(true).create_new(true),
        };
        options.open(self.path_of(path)?).map(BlockingFile)
    }

    pub(super) fn rename_now(&self, from: &str, to: &str) -> io::Result<()> {
        check_rename(from, to)?;
        std::fs::rename(self.path_of(from)?, self.path_of(to)?)
    }

    pub(super) fn remove_now(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path_of(path)?)
    }

    pub(super) fn list_now(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder_path(folder)?)? {
            // A name that is not ours cannot be opened by us either, but whoever counts files should see it.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn make_folder_now(&self, folder: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path_of(folder)?)
    }

    pub(super) fn sync_folder_now(&self, folder: &str) -> io::Result<()> {
        File::open(self.folder_path(folder)?)?.sync_all()
    }

    pub(super) fn free_bytes_now(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&*self.root)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    pub(super) fn lock_now(&self, path: &str) -> io::Result<DiskLock> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(self.path_of(path)?)?;
        match file.try_lock() {
            Ok(()) => Ok(DiskLock(file)),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{path:?} is locked by another process")))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl BlockingFile {
    pub(super) fn len_now(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    pub(super) fn set_len_now(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    pub(super) fn read_at_now(&self, at: u64, mut into: Vec<u8>) -> io::Result<Vec<u8>> {
        self.0.read_exact_at(&mut into, at)?;
        Ok(into)
    }

    pub(super) fn write_at_now(&self, at: u64, from: &[u8]) -> io::Result<()> {
        self.0.write_all_at(from, at)
    }

    pub(super) fn sync_data_now(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    pub(super) fn sync_all_now(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Disk for BlockingDisk {
    type File = BlockingFile;

    async fn open(&self, path: &str, how: OpenHow) -> io::Result<BlockingFile> {
        self.open_now(path, how)
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename_now(from, to)
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        self.remove_now(path)
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.list_now(folder)
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.make_folder_now(folder)
    }

    async fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.sync_folder_now(folder)
    }

    async fn free_bytes(&self) -> io::Result<u64> {
        self.free_bytes_now()
    }

    async fn lock(&self, path: &str) -> io::Result<DiskLock> {
        self.lock_now(path)
    }
}

impl DiskFile for BlockingFile {
    async fn len(&self) -> io::Result<u64> {
        self.len_now()
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.set_len_now(bytes)
    }

    async fn read_at(&self, at: u64, into: Vec<u8>) -> io::Result<Vec<u8>> {
        self.read_at_now(at, into)
    }

    async fn write_at(&self, at: u64, from: Bytes) -> io::Result<()> {
        self.write_at_now(at, &from)
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.sync_data_now()
    }

    async fn sync_all(&self) -> io::Result<()> {
        self.sync_all_now()
    }
}
