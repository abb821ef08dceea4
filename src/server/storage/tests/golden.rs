//! The bytes of a small segment, frozen: a line for each sector that is not fresh, without the zeros at its end.
//!
//! If this fails, the format on disk has changed: that needs a new version of segments, not a new golden file.

mod common;

use common::*;
use quorate_core::model::{GroupId, LogIndex};
use quorate_world::disk::{Disk, DiskFile, OpenHow};
use quorate_world::runtime::run_test;
use std::fmt::Write;

const GOLDEN: &str = include_str!("golden/segments.txt");

async fn lines_of(disk: &impl Disk, path: &str) -> String {
    let file = disk.open(path, OpenHow::Read).await.expect("opened");
    let bytes = file.len().await.expect("read").min(64 << 10);
    let bytes = file.read_at(0, vec![0; bytes as usize]).await.expect("read");
    let mut lines = format!("{path}\n");
    for (position, sector) in bytes.chunks(512).enumerate() {
        if sector.iter().all(|byte| *byte == 0) {
            continue;
        }
        let (data, crc) = sector.split_at(508);
        let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let hex = |bytes: &[u8]| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        writeln!(lines, "{position} {} {}", hex(&data[..used]), hex(crc)).expect("a string grows");
    }
    lines
}

#[test]
fn the_bytes_of_small_segments() {
    run_test(async {
        let disk = scratch("golden").await;
        let storage = found(&disk, options()).await;
        let (one, two) = (storage.group(GroupId(1)), storage.group(GroupId(1024)));
        one.save_vote(vote(2, 3)).await;
        append(&one, vec![entry(2, 0, "first"), entry(2, 1, vec![7; 600])]).await;
        append(&two, vec![entry(5, 10, "")]).await;
        one.truncate_from(LogIndex(1)).await;
        one.save_committed(id(2, 0));
        one.purge(id(9, 30));
        two.remove().await;
        storage.close().await;
        let mut found = lines_of(&disk, "IDENTITY").await + &lines_of(&disk, "wal/wal-0000000001.log").await;
        drop((storage, one, two));
        let (storage, _) = reopen(&disk, options()).await;
        append(&storage.group(GroupId(1)), vec![entry(9, 31, "behind the purge")]).await;
        storage.close().await;
        found += &lines_of(&disk, "wal/wal-0000000002.log").await;
        assert!(found == GOLDEN, "the format has changed:\n{found}");
    });
}
