//! Deflated data, as gzip, zlib and zip carry it: one stream, block by block.
//!
//! A block costs tables, also one with nothing in it, and a frame has room for a million of those. So blocks are counted and
//! not only what comes out of them; that is why this asks `miniz_oxide` itself, which stops between two of them, and not
//! `flate2`, which does not.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_COMPUTE_ADLER32, TINFL_FLAG_PARSE_ZLIB_HEADER, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use quorate_core::model::limits::UNPACKED_BODY_BYTES_MAX;
use quorate_core::wire::MessageError;

use crate::Room;
use crate::room::FULL;

/// Blocks of one body. Writers put 16 KiB and more into one; this many are enough for 2 KiB each.
pub const BLOCKS_MAX: usize = UNPACKED_BODY_BYTES_MAX / (2 << 10);
/// Reserved at first, however little is packed.
const FIRST_BYTES: usize = 1 << 10;

/// What stands around the data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrap {
    /// Nothing.
    None,
    /// Two bytes before it, a checksum behind it.
    Zlib,
}

/// Reads the streams of one body, of one budget of blocks.
pub struct Inflater {
    wrap: Wrap,
    broken: MessageError,
    blocks_left: usize,
}

impl Inflater {
    /// One that says `broken` of what it cannot read.
    pub fn new(wrap: Wrap, broken: MessageError) -> Inflater {
        Inflater { wrap, broken, blocks_left: BLOCKS_MAX }
    }

    /// Appends a stream, and gives what follows it.
    pub fn inflate<'a>(&mut self, mut packed: &'a [u8], room: &mut Room) -> Result<&'a [u8], MessageError> {
        let zlib = match self.wrap {
            Wrap::None => 0,
            Wrap::Zlib => TINFL_FLAG_PARSE_ZLIB_HEADER | TINFL_FLAG_COMPUTE_ADLER32,
        };
        let flags = zlib | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        // One byte more than may come shows that more would.
        let bytes_max = room.left() + 1;
        let mut plain = vec![0; packed.len().saturating_mul(4).clamp(FIRST_BYTES, bytes_max.max(FIRST_BYTES))];
        let (mut decompressor, mut bytes) = (Box::<DecompressorOxide>::default(), 0);
        loop {
            let (status, read, written) = decompress(&mut decompressor, packed, &mut plain, bytes, flags);
            packed = packed.get(read..).unwrap_or_default();
            bytes += written;
            match status {
                TINFLStatus::Done => {
                    room.put(plain.get(..bytes).unwrap_or_default())?;
                    return Ok(packed);
                }
                TINFLStatus::BlockBoundary if self.blocks_left == 0 => {
                    return Err(MessageError::Packed("deflated data of too many blocks"));
                }
                TINFLStatus::BlockBoundary => self.blocks_left -= 1,
                TINFLStatus::HasMoreOutput if plain.len() >= bytes_max => return Err(FULL),
                TINFLStatus::HasMoreOutput => plain.resize((plain.len() * 2).min(bytes_max), 0),
                TINFLStatus::FailedCannotMakeProgress
                | TINFLStatus::BadParam
                | TINFLStatus::Adler32Mismatch
                | TINFLStatus::Failed
                | TINFLStatus::NeedsMoreInput
                // The library may learn other words.
                | _ => return Err(self.broken),
            }
        }
    }
}
