//! A snapshot that comes from a peer, chunk by chunk, each checked before it is written.

use super::SnapshotError;
use super::file::SnapshotFile;
use super::format::{Checker, Said, SnapshotMeta};
use super::writer::Unfinished;
use crate::node::Node;
use bytes::Bytes;
use quorate_core::model::GroupId;
use quorate_world::sync::OwnedSemaphorePermit;
use std::sync::Arc;

/// Receives a snapshot. Dropped before [`SnapshotReceiver::finish`], it leaves nothing behind.
pub struct SnapshotReceiver {
    group: GroupId,
    file: Unfinished,
    checker: Checker,
    meta: Option<SnapshotMeta>,
    _turn: OwnedSemaphorePermit,
}

impl SnapshotReceiver {
    pub(crate) async fn begin(
        node: Arc<Node>,
        group: GroupId,
        turn: OwnedSemaphorePermit,
    ) -> Result<SnapshotReceiver, SnapshotError> {
        let checker = Checker::new(node.identity().cluster, group);
        let file = Unfinished::create(node, group).await?;
        Ok(SnapshotReceiver { group, file, checker, meta: None, _turn: turn })
    }

    /// The number of the chunk that is expected next: where a sender resumes.
    pub fn next_chunk(&self) -> u32 {
        self.checker.next
    }

    /// What it is of, once the first chunk has come.
    pub fn meta(&self) -> Option<&SnapshotMeta> {
        self.meta.as_ref()
    }

    /// Takes the next chunk; true if it was the last.
    pub async fn push(&mut self, chunk: Bytes) -> Result<bool, SnapshotError> {
        if let Said::Head(head) = self.checker.push(&chunk)? {
            self.meta = Some(head.meta);
        }
        self.file.append(chunk).await?;
        Ok(self.checker.finished)
    }

    /// All chunks have come: a file that can be read, and installed with [`super::SnapshotStore::install`].
    pub async fn finish(self) -> Result<SnapshotFile, SnapshotError> {
        if !self.checker.finished {
            return Err(SnapshotError::Unfinished);
        }
        self.file.finish(self.group).await
    }
}
