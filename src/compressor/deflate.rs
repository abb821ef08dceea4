//! Gzip (1) and zlib, which Seata calls deflater (6): one stream each. Checksums are verified by the library, bytes behind
//! the stream are ignored.

use std::io::{self, Write};

use flate2::Compression;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use quorate_core::wire::MessageError;

use crate::Room;

pub fn unpack_gzip(packed: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut room = Room::default();
    room.read(GzDecoder::new(packed), "no gzip stream, or a broken one")?;
    Ok(room.into_bytes())
}

pub fn unpack_zlib(packed: &[u8]) -> Result<Vec<u8>, MessageError> {
    let mut room = Room::default();
    room.read(ZlibDecoder::new(packed), "no zlib stream, or a broken one")?;
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
