//! The disk: both kinds of it.

use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::io::ErrorKind;
use quorate_world::random;
use quorate_world::runtime::run_test;
use quorate_world::task::{spawn, spawn_owned_thread};
use std::future::Future;

/// A fresh folder; in production below the target folder of the build, and removed afterwards.
struct Scratch(String);

impl Scratch {
    fn new() -> Scratch {
        Scratch(format!("{}/world-{:016x}", env!("CARGO_TARGET_TMPDIR"), random::u64()))
    }

    fn open(&self) -> NodeDisk {
        NodeDisk::open_root(&self.0).expect("a root")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a test on the disk of the node, and on the pooled one.
fn on_both<F: Future<Output = ()> + Send + 'static, G: Future<Output = ()> + Send + 'static>(
    direct: impl FnOnce(NodeDisk) -> F,
    pooled: impl FnOnce(quorate_world::disk::PooledDisk) -> G,
) {
    run_test(async {
        let scratch = Scratch::new();
        let disk = scratch.open();
        spawn_owned_thread("disk", direct(disk)).expect("starts").await.expect("ends");
        let scratch = Scratch::new();
        let disk = scratch.open().pooled();
        spawn(pooled(disk)).await.expect("ends");
    });
}

#[test]
fn bytes_are_where_they_were_put() {
    async fn test<D: Disk>(disk: D) {
        let file = disk.open("a", OpenHow::CreateNew).await.expect("creates");
        assert_eq!(file.len().await.expect("has a length"), 0);
        file.write_at(10, b"hello".as_slice().into()).await.expect("writes");
        assert_eq!(file.len().await.expect("has a length"), 15);
        assert_eq!(file.read_at(8, vec![9; 7]).await.expect("reads"), b"\0\0hello");
        file.write_at(4090, vec![7; 5000].into()).await.expect("writes over pages");
        assert_eq!(file.read_at(4089, vec![0; 5001]).await.expect("reads")[..3], [0, 7, 7]);
        assert_eq!(file.read_at(9089, vec![0; 1]).await.expect("reads the last"), [7]);
        file.sync_all().await.expect("syncs");
        disk.sync_folder("").await.expect("syncs the folder");
        let error = file.read_at(9089, vec![0; 2]).await.expect_err("beyond the end");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        drop(file);
        let again = disk.open("a", OpenHow::Read).await.expect("opens");
        assert_eq!(again.read_at(10, vec![0; 5]).await.expect("reads"), b"hello");
        assert!(again.write_at(0, b"x".as_slice().into()).await.is_err(), "opened for reading");
    }
    on_both(test, test);
}

#[test]
fn a_cut_file_reads_zeros_where_it_grows_again() {
    async fn test<D: Disk>(disk: D) {
        let file = disk.open("a", OpenHow::CreateNew).await.expect("creates");
        file.write_at(0, vec![1; 10_000].into()).await.expect("writes");
        file.set_len(5000).await.expect("cuts");
        assert_eq!(file.len().await.expect("has a length"), 5000);
        file.set_len(10_000).await.expect("grows");
        let bytes = file.read_at(0, vec![9; 10_000]).await.expect("reads");
        assert!(bytes[..5000].iter().all(|byte| *byte == 1) && bytes[5000..].iter().all(|byte| *byte == 0));
        file.sync_data().await.expect("syncs");
    }
    on_both(test, test);
}

#[test]
fn names_come_and_go() {
    async fn test<D: Disk>(disk: D) {
        disk.make_folder("wal/old").await.expect("makes");
        disk.make_folder("wal").await.expect("is there");
        for name in ["wal/b", "wal/a", "top"] {
            let file = disk.open(name, OpenHow::CreateNew).await.expect("creates");
            file.write_at(0, name.as_bytes().to_vec().into()).await.expect("writes");
        }
        assert_eq!(disk.list("wal").await.expect("lists"), ["a", "b", "old"]);
        assert_eq!(disk.list("").await.expect("lists"), ["top", "wal"]);
        disk.rename("wal/a", "wal/b").await.expect("replaces");
        disk.rename("wal/b", "wal/c").await.expect("renames");
        disk.sync_folder("wal").await.expect("syncs");
        assert_eq!(disk.list("wal").await.expect("lists"), ["c", "old"]);
        let file = disk.open("wal/c", OpenHow::Read).await.expect("opens");
        assert_eq!(file.read_at(0, vec![0; 5]).await.expect("reads"), b"wal/a");
        disk.remove("wal/c").await.expect("removes");
        assert_eq!(file.read_at(0, vec![0; 5]).await.expect("an open file stays"), b"wal/a");
        assert_eq!(disk.list("wal").await.expect("lists"), ["old"]);
    }
    on_both(test, test);
}

#[test]
fn what_is_wrong_is_refused() {
    async fn test<D: Disk>(disk: D) {
        async fn kind<T>(result: impl Future<Output = std::io::Result<T>>) -> Option<ErrorKind> {
            result.await.err().map(|error| error.kind())
        }
        drop(disk.open("a", OpenHow::CreateNew).await.expect("creates"));
        assert_eq!(kind(disk.open("a", OpenHow::CreateNew)).await, Some(ErrorKind::AlreadyExists));
        assert_eq!(kind(disk.open("b", OpenHow::Write)).await, Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.open("no/b", OpenHow::CreateNew)).await, Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.remove("b")).await, Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.rename("b", "c")).await, Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.list("no")).await, Some(ErrorKind::NotFound));
        assert_eq!(kind(disk.sync_folder("no")).await, Some(ErrorKind::NotFound));
        disk.make_folder("wal").await.expect("makes");
        for path in ["../a", "/a", "a//b", "", ".", "a\nb"] {
            assert_eq!(kind(disk.open(path, OpenHow::Read)).await, Some(ErrorKind::InvalidInput), "{path:?}");
        }
        assert_eq!(kind(disk.rename("a", "wal/a")).await, Some(ErrorKind::InvalidInput));
    }
    on_both(test, test);
}

#[test]
fn one_holder_of_a_lock() {
    async fn test<D: Disk>(disk: D) {
        let lock = disk.lock("LOCK").await.expect("locks");
        let error = disk.lock("LOCK").await.expect_err("is taken");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        drop(lock);
        drop(disk.lock("LOCK").await.expect("free again"));
        assert_eq!(disk.list("").await.expect("lists"), ["LOCK"]);
        assert!(disk.free_bytes().await.expect("tells") > 0);
    }
    on_both(test, test);
}

#[test]
fn the_same_folder_opened_again_is_the_same() {
    run_test(async {
        let scratch = Scratch::new();
        let (first, second) = (scratch.open(), scratch.open());
        let work = async move {
            let file = first.open("x", OpenHow::CreateNew).await.expect("creates");
            file.write_at(0, b"same".as_slice().into()).await.expect("writes");
            let file = second.open("x", OpenHow::Read).await.expect("opens");
            assert_eq!(file.read_at(0, vec![0; 4]).await.expect("reads"), b"same");
        };
        spawn_owned_thread("disk", work).expect("starts").await.expect("ends");
    });
}
