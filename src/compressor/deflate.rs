//! Gzip (1) and zlib, which Seata calls deflater (6): one stream each. Checksums are verified, bytes behind the stream are
//! ignored.

use std::io::{self, Write};

use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Crc};
use quorate_core::wire::MessageError;

use crate::Room;
use crate::inflate::{Inflater, Wrap};

const NO_GZIP: MessageError = MessageError::Packed("no gzip stream, or a broken one");
const NO_ZLIB: MessageError = MessageError::Packed("no zlib stream, or a broken one");

/// Identification and the one method that there is (RFC 1952).
const GZIP: &[u8] = b"\x1f\x8b\x08";
const HAS_CHECKSUM: u8 = 0x02;
const HAS_EXTRA: u8 = 0x04;
const HAS_NAME: u8 = 0x08;
const HAS_COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

pub fn unpack_gzip(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    let data = behind_header(packed).ok_or(NO_GZIP)?;
    let mut room = Room::new(bytes_max);
    let rest = Inflater::new(Wrap::None, NO_GZIP).inflate(data, &mut room)?;
    let (trailer, _) = rest.split_first_chunk::<8>().ok_or(NO_GZIP)?;
    let mut checksum = Crc::new();
    checksum.update(room.bytes());
    let expected = [checksum.sum().to_le_bytes(), (room.bytes().len() as u32).to_le_bytes()];
    if trailer[..] == expected.concat()[..] { Ok(room.into_bytes()) } else { Err(NO_GZIP) }
}

/// The data of a gzip stream; nothing: its header is none.
fn behind_header(packed: &[u8]) -> Option<&[u8]> {
    // Time, extra flags and system say nothing to us.
    let (fixed, mut rest) = packed.strip_prefix(GZIP)?.split_first_chunk::<7>()?;
    let has = |bit: u8| fixed[0] & bit != 0;
    if has(RESERVED) {
        return None;
    }
    if has(HAS_EXTRA) {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [HAS_NAME, HAS_COMMENT] {
        if has(text) {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if has(HAS_CHECKSUM) {
        let mut checksum = Crc::new();
        checksum.update(packed.get(..packed.len() - rest.len())?);
        rest = rest.strip_prefix(&checksum.sum().to_le_bytes()[..2])?;
    }
    Some(rest)
}

pub fn unpack_zlib(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, MessageError> {
    let mut room = Room::new(bytes_max);
    Inflater::new(Wrap::Zlib, NO_ZLIB).inflate(packed, &mut room)?;
    Ok(room.into_bytes())
}

pub fn pack_gzip(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::default());
    writer.write_all(plain)?;
    writer.finish()
}

pub fn pack_zlib(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = ZlibEncoder::new(Vec::new(), Compression::default());
    writer.write_all(plain)?;
    writer.finish()
}
