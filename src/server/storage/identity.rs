//! Whose disk this is: `IDENTITY`, one sector, written once.
//!
//! A disk is founded in this order: `IDENTITY.tmp` durable, the first segment durable, then the rename. So a segment
//! never stands without an identity, nor the reverse, but for a founding that a crash cut short; that one leaves
//! `IDENTITY.tmp`, told nobody anything, and is done over.

use crate::error::{Damage, StorageError, Tried};
use crate::sector::{self, BatchNumber, SECTOR_BYTES, Sector, u16_at, u64_at};
use bytes::{Bytes, BytesMut};
use quorate_core::model::NodeId;
use quorate_world::disk::{Disk, DiskFile, OpenHow, PooledDisk};

/// The identity of the disk.
pub(crate) const FILE: &str = "IDENTITY";
const UNFINISHED: &str = "IDENTITY.tmp";
/// Format of the folder this binary writes, and the only one it reads.
pub const FORMAT: u16 = 1;

const MAGIC: &[u8; 4] = b"QID1";
const IDENTITY_BYTES: usize = 48;
/// The framing needs a number; this file has only one.
const NUMBER: BatchNumber = BatchNumber(1);

/// Whose disk a data folder is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// 16 random bytes given at the founding of the cluster.
    pub cluster: [u8; 16],
    /// The node.
    pub node: NodeId,
    /// 16 random bytes of this folder.
    pub disk: [u8; 16],
}

impl Identity {
    fn frame(&self) -> Bytes {
        let mut stream = [0; IDENTITY_BYTES];
        stream[0..4].copy_from_slice(MAGIC);
        stream[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        stream[8..16].copy_from_slice(&self.node.0.to_le_bytes());
        stream[16..32].copy_from_slice(&self.cluster);
        stream[32..48].copy_from_slice(&self.disk);
        let mut out = BytesMut::new();
        sector::frame(&stream, 1, 0, NUMBER, &mut out);
        out.freeze()
    }

    fn parse(bytes: &[u8]) -> Result<Identity, StorageError> {
        let damaged = |what| Damage::new(FILE, 0, what).into();
        if bytes.len() != SECTOR_BYTES || sector::classify(bytes, 0) != Sector::Numbered(NUMBER) {
            return Err(damaged("the sector is damaged"));
        }
        let stream = sector::data(bytes);
        if &stream[0..4] != MAGIC {
            return Err(damaged("this is no identity"));
        }
        let found = u16_at(stream, 4);
        if found > FORMAT {
            return Err(StorageError::Newer { file: FILE.to_owned(), found, read_up_to: FORMAT });
        }
        if found != FORMAT {
            return Err(damaged("the identity has an unknown format"));
        }
        Ok(Identity {
            node: NodeId(u64_at(stream, 8)),
            cluster: stream[16..32].try_into().expect("sixteen bytes"),
            disk: stream[32..48].try_into().expect("sixteen bytes"),
        })
    }
}

/// What the root folder says.
pub(crate) enum Standing {
    /// A founded disk.
    Founded(Identity),
    /// A founding was cut short: whatever there is may go.
    Unfinished,
    /// Nothing.
    Blank,
}

/// Reads the identity, if there is one.
pub(crate) async fn load(disk: &PooledDisk) -> Result<Standing, StorageError> {
    disk.sync_folder("").await.tried("sync the data folder")?;
    let names = disk.list("").await.tried("list the data folder")?;
    if !names.iter().any(|name| name == FILE) {
        let unfinished = names.iter().any(|name| name == UNFINISHED);
        return Ok(if unfinished { Standing::Unfinished } else { Standing::Blank });
    }
    let file = disk.open(FILE, OpenHow::Read).await.tried("open IDENTITY")?;
    let bytes = file.len().await.tried("read IDENTITY")?.min(2 * SECTOR_BYTES as u64);
    let bytes = file.read_at(0, vec![0; bytes as usize]).await.tried("read IDENTITY")?;
    Identity::parse(&bytes).map(Standing::Founded)
}

/// First step of a founding: says that one has begun.
pub(crate) async fn prepare(disk: &PooledDisk, identity: &Identity) -> Result<(), StorageError> {
    let file = disk.open(UNFINISHED, OpenHow::CreateNew).await.tried("create IDENTITY.tmp")?;
    file.write_at(0, identity.frame()).await.tried("write IDENTITY.tmp")?;
    file.sync_all().await.tried("sync IDENTITY.tmp")?;
    disk.sync_folder("").await.tried("sync the data folder")
}

/// Last step of a founding.
pub(crate) async fn finish(disk: &PooledDisk) -> Result<(), StorageError> {
    disk.rename(UNFINISHED, FILE).await.tried("rename IDENTITY.tmp")?;
    disk.sync_folder("").await.tried("sync the data folder")
}

/// Takes back a founding that was cut short, the folders' files first.
pub(crate) async fn undo(disk: &PooledDisk, folders: &[&str]) -> Result<(), StorageError> {
    for folder in folders {
        for name in disk.list(folder).await.tried("list a folder")? {
            disk.remove(&format!("{folder}/{name}")).await.tried("remove an unfinished founding")?;
        }
        disk.sync_folder(folder).await.tried("sync a folder")?;
    }
    disk.remove(UNFINISHED).await.tried("remove IDENTITY.tmp")?;
    disk.sync_folder("").await.tried("sync the data folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Identity = Identity { cluster: [1; 16], node: NodeId(3), disk: [2; 16] };

    #[test]
    fn an_identity_comes_back() {
        let bytes = IDENTITY.frame();
        assert_eq!(bytes.len(), SECTOR_BYTES);
        assert_eq!(Identity::parse(&bytes).expect("whole"), IDENTITY);
    }

    #[test]
    fn anything_else_is_damage() {
        let bytes = IDENTITY.frame();
        for byte in 0..SECTOR_BYTES {
            let mut flipped = bytes.to_vec();
            flipped[byte] ^= 1;
            assert!(matches!(Identity::parse(&flipped), Err(StorageError::Damaged(_))), "byte {byte}");
        }
        assert!(matches!(Identity::parse(&bytes[..100]), Err(StorageError::Damaged(_))));
        assert!(matches!(Identity::parse(&[]), Err(StorageError::Damaged(_))));
    }
}
