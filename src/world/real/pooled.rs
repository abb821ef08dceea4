//! The same disk through tokio's pool of blocking threads, for tasks that share their thread with others.

use super::disk::{BlockingDisk, BlockingFile, DiskLock};
use crate::disk::{Disk, DiskFile, OpenHow};
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// A [`BlockingDisk`] whose calls happen elsewhere.
#[derive(Debug, Clone)]
pub struct PooledDisk(BlockingDisk);

/// An open file of a [`PooledDisk`].
#[derive(Debug)]
pub struct PooledFile(Arc<BlockingFile>);

/// Runs a call on the pool. If the waiting task is dropped, the call still happens.
async fn elsewhere<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(io::Error::other("the runtime is shutting down")),
    }
}

impl PooledDisk {
    pub(super) fn new(disk: BlockingDisk) -> PooledDisk {
        PooledDisk(disk)
    }

    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&BlockingDisk) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let disk = self.0.clone();
        elsewhere(move || call(&disk)).await
    }
}

impl PooledFile {
    async fn with<T: Send + 'static>(
        &self,
        call: impl FnOnce(&BlockingFile) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let file = self.0.clone();
        elsewhere(move || call(&file)).await
    }
}

impl Disk for PooledDisk {
    type File = PooledFile;

    async fn open(&self, path: &str, how: OpenHow) -> io::Result<PooledFile> {
        let path = path.to_owned();
        self.with(move |disk| disk.open_now(&path, how)).await.map(|file| PooledFile(Arc::new(file)))
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.with(move |disk| disk.rename_now(&from, &to)).await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        self.with(move |disk| disk.remove_now(&path)).await
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let folder = folder.to_owned();
        self.with(move |disk| disk.list_now(&folder)).await
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        let folder = folder.to_owned();
        self.with(move |disk| disk.make_folder_now(&folder)).await
    }

    async fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let folder = folder.to_owned();
        self.with(move |disk| disk.sync_folder_now(&folder)).await
    }

    async fn free_bytes(&self) -> io::Result<u64> {
        self.with(BlockingDisk::free_bytes_now).await
    }

    async fn lock(&self, path: &str) -> io::Result<DiskLock> {
        let path = path.to_owned();
        self.with(move |disk| disk.lock_now(&path)).await
    }
}

impl DiskFile for PooledFile {
    async fn len(&self) -> io::Result<u64> {
        self.with(BlockingFile::len_now).await
    }

    async fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.with(move |file| file.set_len_now(bytes)).await
    }

    async fn read_at(&self, at: u64, into: Vec<u8>) -> io::Result<Vec<u8>> {
        self.with(move |file| file.read_at_now(at, into)).await
    }

    async fn write_at(&self, at: u64, from: Bytes) -> io::Result<()> {
        self.with(move |file| file.write_at_now(at, &from)).await
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.with(BlockingFile::sync_data_now).await
    }

    async fn sync_all(&self) -> io::Result<()> {
        self.with(BlockingFile::sync_all_now).await
    }
}
