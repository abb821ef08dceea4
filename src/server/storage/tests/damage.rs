//! Damage to a small log: the same state, or a refusal that names the place. Never a silent loss.

mod common;

use bytes::Bytes;
use common::*;
use quorate_core::model::GroupId;
use quorate_storage::{LogRecord, LogState, Storage, StorageError, Tail};
use quorate_world::disk::{Disk, DiskFile, NodeDisk, NodeFile, OpenHow};
use quorate_world::runtime::run_test;

const SECTOR: usize = 512;
const GROUPS: [GroupId; 2] = [GroupId(1), GroupId(2)];

type State = Vec<(LogState, Vec<LogRecord>)>;

async fn state(storage: &Storage) -> State {
    let mut state = Vec::new();
    for group in GROUPS {
        let log = storage.group(group);
        state.push((log.state(), all(&log).await));
    }
    state
}

/// A log of two segments, the older one with entries that live. Returns the state of the acknowledged operations, with
/// and without the last batch.
async fn small_log(disk: &NodeDisk) -> (State, State) {
    let storage = found(disk, options()).await;
    let logs = GROUPS.map(|group| storage.group(group));
    logs[0].save_vote(vote(1, 2)).await;
    append(&logs[0], entries(GROUPS[0], 1, 1..20)).await;
    append(&logs[1], vec![entry(1, 0, vec![5; 9000])]).await;
    storage.close().await;
    drop((storage, logs));
    let (storage, _) = reopen(disk, options()).await;
    let logs = GROUPS.map(|group| storage.group(group));
    append(&logs[1], entries(GROUPS[1], 2, 1..9)).await;
    append(&logs[0], entries(GROUPS[0], 2, 20..22)).await;
    let before = state(&storage).await;
    append(&logs[1], vec![entry(2, 9, vec![6; 6000])]).await;
    let whole = state(&storage).await;
    storage.close().await;
    (whole, before)
}

/// The files of the folder, to be put back.
struct Image(Vec<(String, Vec<u8>)>);

impl Image {
    async fn take(disk: &NodeDisk) -> Image {
        let mut files = Vec::new();
        for name in disk.list("wal").await.expect("listed") {
            let path = format!("wal/{name}");
            let file = disk.open(&path, OpenHow::Read).await.expect("opened");
            let bytes = file.len().await.expect("read");
            // Only the beginning is ever written; what follows is zeros.
            let used = bytes.min(128 << 10) as usize;
            files.push((path, file.read_at(0, vec![0; used]).await.expect("read")));
        }
        Image(files)
    }

    /// Puts everything back as it was.
    async fn put_back(&self, disk: &NodeDisk) {
        for name in disk.list("wal").await.expect("listed") {
            let path = format!("wal/{name}");
            if !self.0.iter().any(|(kept, _)| *kept == path) {
                disk.remove(&path).await.expect("removed");
            }
        }
        for (path, bytes) in &self.0 {
            let file = match disk.open(path, OpenHow::Write).await {
                Ok(file) => file,
                Err(_) => disk.open(path, OpenHow::CreateNew).await.expect("created"),
            };
            file.set_len(SEGMENT_BYTES.into()).await.expect("sized");
            // A start may have recycled or rewritten it.
            let mut whole = bytes.clone();
            whole.resize(256 << 10, 0);
            file.write_at(0, whole.into()).await.expect("written");
        }
    }

    fn segments(&self) -> Vec<(String, Vec<u8>)> {
        self.0.iter().filter(|(path, _)| path.ends_with(".log")).cloned().collect()
    }
}

fn is_fresh(sector: &[u8]) -> bool {
    sector.iter().all(|byte| *byte == 0)
}

enum Outcome {
    Opened(Tail, State),
    Refused(StorageError),
}

async fn outcome(disk: &NodeDisk) -> Outcome {
    match Storage::open(disk.clone(), options()).await {
        Ok((storage, recovered)) => {
            let state = state(&storage).await;
            storage.close().await;
            Outcome::Opened(recovered.expect("founded").tail, state)
        }
        Err(error) => Outcome::Refused(error),
    }
}

struct Trial<'a> {
    disk: &'a NodeDisk,
    path: &'a str,
    sector: usize,
    what: &'static str,
    /// What may be lost: with it, without it.
    whole: &'a State,
    before: &'a State,
    /// Where the last batch starts in the newest segment.
    last_batch: Option<usize>,
}

impl Trial<'_> {
    async fn check(&self, file: &NodeFile, at: usize, bytes: Vec<u8>) {
        file.write_at(at as u64, bytes.into()).await.expect("written");
        let (path, sector, what) = (self.path, self.sector, self.what);
        match outcome(self.disk).await {
            Outcome::Opened(_, state) if state == *self.whole => {
                assert_ne!(what, "flip", "{path} sector {sector}: nobody noticed");
            }
            Outcome::Opened(Tail::Torn { offset, .. }, state) if state == *self.before => {
                // The limit of section 5: a sector of the last batch that looks as if it had never been written.
                assert!(self.last_batch.is_some_and(|last| last <= sector), "{path} sector {sector} {what}");
                assert_eq!(Some(offset as usize / SECTOR), self.last_batch);
            }
            Outcome::Opened(tail, _) => panic!("{path} sector {sector} {what}: silent loss, {tail}"),
            Outcome::Refused(StorageError::Damaged(damage)) => {
                assert_eq!(damage.file, path, "{what} in sector {sector}: {damage}");
                let named = damage.offset as usize / SECTOR;
                // A checkpoint is refused as a whole; a lost sector shows by what follows it.
                let right = named == sector || (named == 8 && sector >= 8) || (what == "zero" && named > sector);
                assert!(right && named < sector + 32, "{path} sector {sector} {what}: {damage}");
            }
            Outcome::Refused(other) => panic!("{path} sector {sector} {what}: {other}"),
        }
    }
}

#[test]
fn every_sector_of_a_small_log() {
    run_test(async {
        let disk = scratch("damage").await;
        let (whole, before) = small_log(&disk).await;
        let image = Image::take(&disk).await;
        let segments = image.segments();
        assert_eq!(segments.len(), 2);
        let mut trials = 0;
        for (newest, (path, bytes)) in segments.iter().enumerate() {
            let written: Vec<usize> =
                (0..bytes.len() / SECTOR).filter(|i| !is_fresh(&bytes[i * SECTOR..(i + 1) * SECTOR])).collect();
            let end = written.last().expect("something") + 1;
            let number = |sector: usize| bytes[sector * SECTOR..sector * SECTOR + 8].to_vec();
            let last_batch = written.iter().copied().find(|sector| *sector >= 8 && number(*sector) == number(end - 1));
            let last_batch = last_batch.filter(|_| newest == 1);
            for sector in 0..end {
                let old = &bytes[sector * SECTOR..(sector + 1) * SECTOR];
                let mut flipped = old.to_vec();
                flipped[sector % SECTOR] ^= 1 << (sector % 8);
                let neighbour = (sector + 1) % end;
                let other = bytes[neighbour * SECTOR..(neighbour + 1) * SECTOR].to_vec();
                for (what, new) in [("flip", flipped), ("zero", vec![0; SECTOR]), ("duplicate", other)] {
                    image.put_back(&disk).await;
                    let file = disk.open(path, OpenHow::Write).await.expect("opened");
                    let trial = Trial { disk: &disk, path, sector, what, whole: &whole, before: &before, last_batch };
                    trial.check(&file, sector * SECTOR, new).await;
                    trials += 1;
                }
            }
        }
        assert!(trials > 150, "{trials} trials");
    });
}

#[test]
fn a_cut_a_missing_and_a_swapped_segment() {
    run_test(async {
        let disk = scratch("damage-cut").await;
        let (whole, _) = small_log(&disk).await;
        let image = Image::take(&disk).await;
        let segments = image.segments();
        for (path, _) in &segments {
            for bytes in [0, 100, 4096, 8192, 20_000, u64::from(SEGMENT_BYTES) - 512] {
                image.put_back(&disk).await;
                let file = disk.open(path, OpenHow::Write).await.expect("opened");
                file.set_len(bytes).await.expect("cut");
                refused(&disk, path).await;
            }
        }
        image.put_back(&disk).await;
        disk.remove(&segments[0].0).await.expect("removed");
        refused(&disk, &segments[0].0).await;
        image.put_back(&disk).await;
        let older = Bytes::from(segments[0].1.clone());
        let file = disk.open(&segments[1].0, OpenHow::Write).await.expect("opened");
        file.write_at(0, older).await.expect("written");
        refused(&disk, &segments[1].0).await;
        image.put_back(&disk).await;
        let Outcome::Opened(Tail::Clean, state) = outcome(&disk).await else { panic!("undamaged") };
        assert_eq!(state, whole);
    });
}

async fn refused(disk: &NodeDisk, path: &str) {
    match outcome(disk).await {
        Outcome::Refused(StorageError::Damaged(damage)) => assert_eq!(damage.file, path),
        Outcome::Refused(other) => panic!("{path}: {other}"),
        Outcome::Opened(tail, _) => panic!("{path}: opened, {tail}"),
    }
}
