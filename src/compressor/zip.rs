//! Zip (2): an archive that is read and written as a stream, as Seata does. Its writer puts one entry named `zip`, with a
//! data descriptor behind it, and stops before the directory, so that ordinary readers of archives refuse it. What other
//! writers add is read all the same: stored entries, several of them (they are joined), a directory, which ends it.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use quorate_core::wire::MessageError;

use crate::Room;
use crate::inflate::{Inflater, Wrap};

const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const DESCRIPTOR: &[u8] = b"PK\x07\x08";
/// Sizes and checksum stand behind the data; the name is UTF-8.
const FLAGS: u16 = 0x0808;
const HAS_DESCRIPTOR: u16 = 0x0008;
const IS_ENCRYPTED: u16 = 0x0001;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const NAME: &[u8] = b"zip";
/// Seata writes one; each costs a decoder.
const ENTRIES_MAX: usize = 16;

const BROKEN: MessageError = MessageError::Packed("no zip archive, or a broken one");

pub fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    let mut room = Room::new(bytes_max);
    let mut inflater = Inflater::new(Wrap::None, BROKEN);
    let mut rest = packed.strip_prefix(LOCAL_HEADER).ok_or(BROKEN)?;
    for _ in 0..ENTRIES_MAX {
        rest = unpack_entry(rest, &mut inflater, &mut room)?;
        match rest.strip_prefix(LOCAL_HEADER) {
            Some(next) => rest = next,
            None => return Ok(room.into_bytes()),
        }
    }
    Err(MessageError::Packed("a zip archive of too many entries"))
}

/// Reads an entry behind its signature, and gives what follows it.
fn unpack_entry<'a>(rest: &'a [u8], inflater: &mut Inflater, room: &mut Room) -> Result<&'a [u8], MessageError> {
    let (fields, rest) = rest.split_first_chunk::<26>().ok_or(BROKEN)?;
    let u16_at = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    let (flags, method) = (u16_at(2), u16_at(4));
    let (checksum, stored_bytes) = (u32_at(10), u32_at(14) as usize);
    let names_bytes = usize::from(u16_at(22)) + usize::from(u16_at(24));
    let (_, data) = rest.split_at_checked(names_bytes).ok_or(BROKEN)?;
    let has_descriptor = flags & HAS_DESCRIPTOR != 0;
    let begin = room.bytes().len();
    let rest = match method {
        _ if flags & IS_ENCRYPTED != 0 => return Err(MessageError::Packed("an encrypted zip archive")),
        DEFLATED => inflater.inflate(data, room)?,
        STORED if !has_descriptor => {
            let (plain, rest) = data.split_at_checked(stored_bytes).ok_or(BROKEN)?;
            room.put(plain)?;
            rest
        }
        _ => return Err(MessageError::Packed("a zip archive with an unusual entry")),
    };
    let (checksum, rest) = if has_descriptor { descriptor(rest)? } else { (checksum, rest) };
    let mut found = Crc::new();
    found.update(&room.bytes()[begin..]);
    if found.sum() == checksum { Ok(rest) } else { Err(BROKEN) }
}

/// Checksum and two sizes, with or without a signature in front; and what follows.
fn descriptor(rest: &[u8]) -> Result<(u32, &[u8]), MessageError> {
    let rest = rest.strip_prefix(DESCRIPTOR).unwrap_or(rest);
    let (fields, rest) = rest.split_first_chunk::<12>().ok_or(BROKEN)?;
    Ok((u32::from_le_bytes([fields[0], fields[1], fields[2], fields[3]]), rest))
}

pub fn pack(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = LOCAL_HEADER.to_vec();
    // Version needed 2.0, flags, method.
    for value in [20, FLAGS, DEFLATED] {
        packed.extend_from_slice(&value.to_le_bytes());
    }
    // The time is 1 January 1980, the first that there is; checksum and sizes come later.
    packed.extend_from_slice(&[0, 0, 0x21, 0]);
    packed.extend_from_slice(&[0; 12]);
    packed.extend_from_slice(&(NAME.len() as u16).to_le_bytes());
    packed.extend_from_slice(&[0; 2]);
    packed.extend_from_slice(NAME);
    let begin = packed.len();
    let mut writer = DeflateEncoder::new(packed, Compression::default());
    writer.write_all(plain)?;
    let mut packed = writer.finish()?;
    let stored_bytes = packed.len() - begin;
    let mut checksum = Crc::new();
    checksum.update(plain);
    packed.extend_from_slice(DESCRIPTOR);
    for value in [checksum.sum(), stored_bytes as u32, plain.len() as u32] {
        packed.extend_from_slice(&value.to_le_bytes());
    }
    Ok(packed)
}
