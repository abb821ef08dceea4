//! Where unpacked bytes go: no more than a body may have.

use std::io::Read;

use quorate_core::model::limits::UNPACKED_BODY_BYTES_MAX;
use quorate_core::wire::MessageError;

/// More would pass the bound, which is this one for whoever is known.
pub const FULL: MessageError = MessageError::Packed("unpacked it would be longer than 8 MiB");
const _: () = assert!(UNPACKED_BODY_BYTES_MAX == 8 << 20);

/// A body that grows up to its bound.
#[derive(Debug)]
pub struct Room {
    body: Vec<u8>,
    bytes_max: usize,
}

impl Room {
    /// Room for so much.
    pub const fn new(bytes_max: usize) -> Room {
        Room { body: Vec::new(), bytes_max }
    }

    /// How much more may come.
    pub const fn left(&self) -> usize {
        self.bytes_max - self.body.len()
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// All of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// Appends, or refuses what would pass the bound.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), MessageError> {
        if bytes.len() > self.left() {
            return Err(FULL);
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends everything that a reader of packed bytes gives; `broken` says what it is that cannot be read.
    pub fn read(&mut self, reader: impl Read, broken: &'static str) -> Result<(), MessageError> {
        let left = self.left() as u64;
        match reader.take(left + 1).read_to_end(&mut self.body) {
            Ok(bytes) if bytes as u64 > left => Err(FULL),
            Ok(_) => Ok(()),
            Err(_) => Err(MessageError::Packed(broken)),
        }
    }

    /// Appends at most `bytes_max` bytes of `fill`, which says how many it wrote.
    pub fn fill(
        &mut self,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, MessageError>,
    ) -> Result<(), MessageError> {
        let (begin, bytes) = (self.body.len(), bytes_max.min(self.left()));
        self.body.resize(begin + bytes, 0);
        let written = fill(&mut self.body[begin..])?;
        self.body.truncate(begin + written);
        Ok(())
    }
}
