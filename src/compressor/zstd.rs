//! Zstd (7): one frame. Clients up to Seata 2.5 read a body only if the frame says how long it is, so ours do.
//!
//! What we write is stored, not compressed, in frames that any reader takes, as Seata's own are for bodies of this size:
//! answers are a few dozen bytes, and the library's compressor gives up with a panic where ours must not.

use quorate_core::model::limits::UNPACKED_BODY_BYTES_MAX;
use quorate_core::wire::MessageError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use xxhash_rust::xxh64::xxh64;

use crate::Room;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame of one segment that says its length in one, two or four bytes.
const LENGTH_IN_1: u8 = 0x20;
const LENGTH_IN_2: u8 = 0x60;
const LENGTH_IN_4: u8 = 0xa0;
const BLOCK_BYTES: usize = 128 << 10;
/// What the decoder may keep to refer back to; the format's own advice for a decoder's least.
const WINDOW_BYTES_MAX: u64 = 8 << 20;
/// A block costs tables and copies whatever is in it. Writers put 128 KiB into one; this many are enough for 2 KiB each.
const BLOCKS_MAX: usize = UNPACKED_BODY_BYTES_MAX / (2 << 10);
/// Unpacked between two looks at how much it has become: at most 128 KiB each.
const STEP_BLOCKS: usize = 2;

const BROKEN: MessageError = MessageError::Packed("no zstd frame, or a broken one");
const TOO_MANY: MessageError = MessageError::Packed("a zstd frame of too many blocks");

pub fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    let mut rest = packed;
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_BYTES_MAX);
    decoder.init(&mut rest).map_err(|_| BROKEN)?;
    let mut room = Room::new(bytes_max);
    while !decoder.is_finished() {
        if decoder.blocks_decoded() >= BLOCKS_MAX {
            return Err(TOO_MANY);
        }
        decoder.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(STEP_BLOCKS)).map_err(|_| BROKEN)?;
        room.put(&decoder.collect().unwrap_or_default())?;
    }
    match decoder.get_checksum_from_data() {
        Some(checksum) if checksum != xxh64(room.bytes(), 0) as u32 => Err(BROKEN),
        Some(_) | None => Ok(room.into_bytes()),
    }
}

pub fn pack(plain: &[u8]) -> Vec<u8> {
    let mut packed = MAGIC.to_vec();
    match plain.len() {
        length @ 0..256 => packed.extend_from_slice(&[LENGTH_IN_1, length as u8]),
        length @ 256..0x1_0100 => {
            packed.push(LENGTH_IN_2);
            packed.extend_from_slice(&(length as u16).wrapping_sub(256).to_le_bytes());
        }
        length => {
            packed.push(LENGTH_IN_4);
            packed.extend_from_slice(&(length as u32).to_le_bytes());
        }
    }
    let mut blocks = plain.chunks(BLOCK_BYTES).peekable();
    if blocks.peek().is_none() {
        packed.extend_from_slice(&[1, 0, 0]);
    }
    while let Some(block) = blocks.next() {
        // Whether it is the last one, a kind of two bits (0: stored), the length.
        let header = (block.len() as u32) << 3 | u32::from(blocks.peek().is_none());
        packed.extend_from_slice(&header.to_le_bytes()[..3]);
        packed.extend_from_slice(block);
    }
    packed
}
