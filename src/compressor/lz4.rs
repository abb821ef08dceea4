//! LZ4 (5), which is two formats: from Seata 2.6 on the standard frame, before it the container `LZ4Block` of lz4-java.
//! Both are read, and written as they came. The blocks inside are the same; only they are the library's, because its frames
//! reserve 8 MiB for a body of ten bytes that says it might be long.

use lz4_flex::block;
use quorate_core::wire::{Lz4, MessageError};
use xxhash_rust::xxh32::xxh32;

use crate::Room;

const FRAME_MAGIC: &[u8] = &[0x04, 0x22, 0x4d, 0x18];
/// What Seata writes: version 1, blocks that do not refer to each other, up to 4 MiB each, no sizes, no checksums.
const FRAME_FLAGS: [u8; 2] = [0x60, 0x70];
const FRAME_BLOCK_BYTES: usize = 4 << 20;
/// Set in the length of a block that is not compressed.
const STORED: u32 = 1 << 31;

const BLOCK_MAGIC: &[u8] = b"LZ4Block";
const METHOD_STORED: u8 = 0x10;
const METHOD_LZ4: u8 = 0x20;
/// Seata's block size, and the low half of a token that says so.
const BLOCK_BYTES: usize = 1 << 10;
const BLOCK_SEED: u32 = 0x9747_b28c;
/// lz4-java loses the upper four bits.
const CHECKSUM_BITS: u32 = 0x0fff_ffff;

/// No byte of a block stands for more.
const RATIO_MAX: usize = 255;

const BROKEN: MessageError = MessageError::Packed("no LZ4 stream, or a broken one");

pub fn unpack(packed: &[u8], bytes_max: usize) -> Result<(Lz4, Vec<u8>), MessageError> {
    if packed.starts_with(BLOCK_MAGIC) {
        return Ok((Lz4::Blocks, unpack_blocks(packed, bytes_max)?));
    }
    let frame = packed.strip_prefix(FRAME_MAGIC).ok_or(BROKEN)?;
    Ok((Lz4::Frame, unpack_frame(frame, bytes_max)?))
}

pub fn pack(dialect: Lz4, plain: &[u8]) -> Vec<u8> {
    match dialect {
        Lz4::Frame => pack_frame(plain),
        Lz4::Blocks => pack_blocks(plain),
    }
}

fn unpack_frame(mut rest: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    let flags = *rest.first().ok_or(BROKEN)?;
    let is_set = |bit: u8| flags & bit != 0;
    if flags >> 6 != 1 || !is_set(0x20) || is_set(0x01) {
        return Err(MessageError::Packed("an LZ4 frame with a dictionary, or of blocks that refer to each other"));
    }
    let descriptor = take(&mut rest, if is_set(0x08) { 10 } else { 2 })?;
    let header_checksum = xxh32(descriptor, 0).to_le_bytes()[1];
    if take(&mut rest, 1)? != [header_checksum] {
        return Err(BROKEN);
    }
    let block_bytes_max = match descriptor[1] >> 4 & 7 {
        size @ 4.. => 1 << (8 + 2 * size),
        _ => return Err(BROKEN),
    };
    let mut room = Room::new(bytes_max);
    loop {
        let length = take_u32(&mut rest)?;
        if length == 0 {
            break;
        }
        let data = take(&mut rest, (length & !STORED) as usize)?;
        if is_set(0x10) && take_u32(&mut rest)? != xxh32(data, 0) {
            return Err(BROKEN);
        }
        if length & STORED != 0 {
            room.put(data)?;
        } else {
            unpack_block(data, block_bytes_max, &mut room)?;
        }
    }
    if is_set(0x04) && take_u32(&mut rest)? != xxh32(room.bytes(), 0) {
        return Err(BROKEN);
    }
    Ok(room.into_bytes())
}

fn unpack_blocks(mut rest: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    let mut room = Room::new(bytes_max);
    loop {
        if take(&mut rest, BLOCK_MAGIC.len())? != BLOCK_MAGIC {
            return Err(BROKEN);
        }
        let token = take(&mut rest, 1)?[0];
        let (packed_bytes, plain_bytes) = (take_u32(&mut rest)? as usize, take_u32(&mut rest)? as usize);
        let checksum = take_u32(&mut rest)?;
        if packed_bytes == 0 && plain_bytes == 0 {
            return Ok(room.into_bytes());
        }
        let data = take(&mut rest, packed_bytes)?;
        let begin = room.bytes().len();
        match token & 0xf0 {
            METHOD_STORED => room.put(data)?,
            METHOD_LZ4 => unpack_block(data, plain_bytes, &mut room)?,
            _ => return Err(BROKEN),
        }
        let plain = &room.bytes()[begin..];
        if plain.len() != plain_bytes || (xxh32(plain, BLOCK_SEED) ^ checksum) & CHECKSUM_BITS != 0 {
            return Err(BROKEN);
        }
    }
}

/// Never reserves more than the block can become, whatever is said of it.
fn unpack_block(data: &[u8], bytes_max: usize, room: &mut Room) -> Result<(), MessageError> {
    let bytes_max = bytes_max.min(data.len().saturating_mul(RATIO_MAX));
    let too_long = MessageError::Packed("an LZ4 block that is broken, or longer than it may be");
    room.fill(bytes_max, |place| block::decompress_into(data, place).map_err(|_| too_long))
}

fn pack_frame(plain: &[u8]) -> Vec<u8> {
    let mut packed = FRAME_MAGIC.to_vec();
    packed.extend_from_slice(&FRAME_FLAGS);
    packed.push(xxh32(&FRAME_FLAGS, 0).to_le_bytes()[1]);
    for plain in plain.chunks(FRAME_BLOCK_BYTES) {
        let data = block::compress(plain);
        if data.len() < plain.len() {
            packed.extend_from_slice(&(data.len() as u32).to_le_bytes());
            packed.extend_from_slice(&data);
        } else {
            packed.extend_from_slice(&(plain.len() as u32 | STORED).to_le_bytes());
            packed.extend_from_slice(plain);
        }
    }
    packed.extend_from_slice(&[0; 4]);
    packed
}

fn pack_blocks(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    for plain in plain.chunks(BLOCK_BYTES) {
        let data = block::compress(plain);
        let checksum = xxh32(plain, BLOCK_SEED) & CHECKSUM_BITS;
        let (method, data) = if data.len() < plain.len() { (METHOD_LZ4, &data[..]) } else { (METHOD_STORED, plain) };
        put_block(method, data, plain.len(), checksum, &mut packed);
    }
    put_block(METHOD_STORED, b"", 0, 0, &mut packed);
    packed
}

fn put_block(method: u8, data: &[u8], plain_bytes: usize, checksum: u32, packed: &mut Vec<u8>) {
    packed.extend_from_slice(BLOCK_MAGIC);
    packed.push(method);
    for value in [data.len() as u32, plain_bytes as u32, checksum] {
        packed.extend_from_slice(&value.to_le_bytes());
    }
    packed.extend_from_slice(data);
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], MessageError> {
    let (taken, left) = rest.split_at_checked(bytes).ok_or(BROKEN)?;
    *rest = left;
    Ok(taken)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, MessageError> {
    let (taken, left) = rest.split_first_chunk::<4>().ok_or(BROKEN)?;
    *rest = left;
    Ok(u32::from_le_bytes(*taken))
}
