//! How fast the log is on this machine, beside what the disk can do: `log_rate <folder> [seconds]`.
//!
//! The yardstick is one 4 KiB write and one fdatasync after the other in a file full of zeros. Then writers, each in a
//! group of its own, append one entry (100 to 300 bytes) or eight and wait until it is durable. Numbers of one run
//! compare with each other; those of two machines do not. On a folder of an earlier run it tells how long the log took
//! to recover, too.

use bytes::Bytes;
use quorate_core::model::{GroupId, LogId, LogIndex, NodeId, Term};
use quorate_storage::{GroupLog, Identity, LogRecord, Recovered, Storage, StorageError, StorageOptions};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, OpenHow};
use quorate_world::process::say;
use quorate_world::runtime::block_on_main;
use quorate_world::sync::oneshot;
use quorate_world::task::{spawn, spawn_owned_thread};
use quorate_world::time::{Duration, Instant};

fn main() {
    let mut given = std::env::args().skip(1);
    let folder = given.next().unwrap_or_else(|| "./log_rate".to_owned());
    let seconds = given.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(3);
    let measured = block_on_main(measure(folder, Duration::from_secs(seconds)));
    if let Err(error) = measured {
        say(&error.to_string());
    }
}

async fn measure(folder: String, how_long: Duration) -> Result<(), StorageError> {
    let root = |name: &str| {
        NodeDisk::open_root(&format!("{folder}/{name}"))
            .map_err(|source| StorageError::Io { what: format!("open {folder}"), source })
    };
    let yardstick = yardstick(root("yardstick")?, how_long)
        .await
        .map_err(|source| StorageError::Io { what: "measure the disk".to_owned(), source })?;
    say(&format!("yardstick: {yardstick:.0} writes and syncs of 4 KiB a second"));
    for (writers, entries) in [(1, 1), (8, 1), (64, 1), (256, 1), (256, 8)] {
        rate(root(&format!("{writers}x{entries}"))?, writers, entries, how_long).await?;
    }
    Ok(())
}

async fn yardstick(disk: NodeDisk, how_long: Duration) -> std::io::Result<f64> {
    let measuring = async move {
        let _ = disk.remove("file").await;
        let file = disk.open("file", OpenHow::CreateNew).await?;
        let zeros = Bytes::from(vec![0; 16 << 20]);
        file.write_at(0, zeros.clone()).await?;
        file.sync_all().await?;
        let (began, mut count) = (Instant::now(), 0u64);
        while began.elapsed() < how_long {
            file.write_at(count % 4096 * 4096, zeros.slice(..4096)).await?;
            file.sync_data().await?;
            count += 1;
        }
        Ok(count as f64 / began.elapsed().as_secs_f64())
    };
    spawn_owned_thread("yardstick", measuring)?.await.expect("it ends by itself")
}

async fn rate(disk: NodeDisk, writers: u32, entries: u64, how_long: Duration) -> Result<(), StorageError> {
    let (storage, recovered) = Storage::open(disk, StorageOptions::default()).await?;
    match recovered {
        Some(Recovered { segments, entries, elapsed_ms, .. }) => {
            say(&format!("recovered {entries} entries of {segments} segments in {elapsed_ms} ms"));
        }
        None => storage.found(Identity { cluster: [1; 16], node: NodeId(1), disk: [2; 16] }).await?,
    }
    let before = storage.figures();
    let began = Instant::now();
    let running: Vec<_> =
        (1..=writers).map(|group| spawn(write(storage.group(GroupId(group)), entries, began + how_long))).collect();
    let mut waits_us = Vec::new();
    let mut payload_bytes = 0;
    for one in running {
        let (waits, bytes) = one.await.expect("it ends by itself");
        waits_us.extend(waits);
        payload_bytes += bytes;
    }
    let elapsed_s = began.elapsed().as_secs_f64();
    waits_us.sort_unstable();
    let after = storage.figures();
    let part = |thousandth: usize| waits_us[(waits_us.len() - 1) * thousandth / 1000];
    say(&format!(
        "{writers} writers, {entries} entries each: {:.0} entries/s, {:.0} syncs/s, p50 {} us, p99 {} us, max {} us, {:.2} \
         bytes to the disk per byte of payload",
        waits_us.len() as f64 * entries as f64 / elapsed_s,
        (after.batches - before.batches) as f64 / elapsed_s,
        part(500),
        part(990),
        part(1000),
        (after.written_bytes - before.written_bytes) as f64 / payload_bytes as f64,
    ));
    storage.close().await;
    Ok(())
}

/// Appends in a closed loop; returns each wait and the bytes of all payloads.
async fn write(log: GroupLog, entries: u64, until: Instant) -> (Vec<u64>, u64) {
    let payload = Bytes::from(vec![7; 300]);
    let mut next = log.state().last.map_or(0, |last| last.index.0 + 1);
    let (mut waits_us, mut bytes) = (Vec::new(), 0);
    while Instant::now() < until {
        let records = (next..next + entries).map(|index| LogRecord {
            log_id: LogId { term: Term(1), index: LogIndex(index) },
            payload: payload.slice(..100 + (index % 201) as usize),
        });
        let records: Vec<LogRecord> = records.collect();
        bytes += records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
        next += entries;
        let (told, waiting) = oneshot::channel();
        let began = Instant::now();
        // The receiver waits below.
        let durable = Box::new(move || told.send(()).expect("somebody waits"));
        log.append(records, durable).await;
        waiting.await.expect("told");
        waits_us.push(began.elapsed().as_micros() as u64);
    }
    (waits_us, bytes)
}
