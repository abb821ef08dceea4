//! A cursor over borrowed bytes that never reads past their end and never reserves more than they hold.

use alloc::string::String;

use super::MessageError;

/// Reads primitives one after the other.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether the end of the bytes is the end of the message (versions 1 and 2), or more may come (version 0).
    ends: bool,
}

impl<'a> Reader<'a> {
    /// Over a whole body.
    pub const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, ends: true }
    }

    /// Over the begin of a body whose end is not known: a missing tail is never taken for an early end.
    pub const fn unending(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0, ends: false }
    }

    /// How many bytes were read.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many are left.
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether all were read.
    pub const fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Whether the end of the bytes is the end of the message.
    pub const fn ends(&self) -> bool {
        self.ends
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let end = self.at.saturating_add(count);
        let taken = self.bytes.get(self.at..end).ok_or(MessageError::Short { bytes_needed: end })?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.array::<1>()?[0])
    }

    /// 16 bits.
    pub fn i16(&mut self) -> Result<i16, MessageError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// 32 bits.
    pub fn i32(&mut self) -> Result<i32, MessageError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// 64 bits.
    pub fn i64(&mut self) -> Result<i64, MessageError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A string behind a 16-bit length; a length of zero or less is an empty one.
    pub fn str(&mut self) -> Result<String, MessageError> {
        let length = self.i16()?;
        self.string(usize::try_from(length).unwrap_or(0))
    }

    /// A string behind a 32-bit length; a length of zero or less is an empty one.
    pub fn text(&mut self) -> Result<String, MessageError> {
        let length = self.i32()?;
        self.string(usize::try_from(length).unwrap_or(0))
    }

    /// A string behind a 16-bit length, null if the length is negative.
    pub fn nullable_str(&mut self) -> Result<Option<String>, MessageError> {
        match usize::try_from(self.i16()?) {
            Ok(length) => self.string(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn string(&mut self, length: usize) -> Result<String, MessageError> {
        let bytes = self.take(length)?;
        Ok(match str::from_utf8(bytes) {
            Ok(text) => text.into(),
            // Nearly never, and several times slower than the check above.
            Err(_) => String::from_utf8_lossy(bytes).into_owned(),
        })
    }
}
