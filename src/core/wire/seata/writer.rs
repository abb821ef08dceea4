//! Appends primitives to a buffer; the first error stays, and nothing is appended after it.

use bytes::{BufMut, BytesMut};

use super::STR_BYTES_MAX;
use crate::model::ResultCode;
use crate::model::limits::FRAME_BYTES_MAX;
use crate::wire::frame::{EncodeError, patch};

/// Appends primitives one after the other.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut BytesMut,
    error: Option<EncodeError>,
}

impl<'b> Writer<'b> {
    /// Appends to `out`.
    pub const fn new(out: &'b mut BytesMut) -> Writer<'b> {
        Writer { out, error: None }
    }

    /// The first error, if there was one.
    pub fn finish(self) -> Result<(), EncodeError> {
        self.error.map_or(Ok(()), Err)
    }

    /// Keeps the first error.
    pub fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    /// 16 bits.
    pub fn i16(&mut self, value: i16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// 32 bits.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// 64 bits.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// A string behind a 16-bit length, refused if it is too long for that.
    pub fn str(&mut self, field: &'static str, value: &str) -> &mut Self {
        if value.len() > STR_BYTES_MAX {
            self.fail(EncodeError::StringTooLong { field, bytes: value.len() });
        }
        self.i16(value.len() as i16).put(value.as_bytes())
    }

    /// A string behind a 32-bit length.
    pub fn text(&mut self, value: &str) -> &mut Self {
        if value.len() > FRAME_BYTES_MAX {
            self.fail(EncodeError::FrameTooLong(value.len()));
        }
        self.i32(value.len() as i32).put(value.as_bytes())
    }

    /// A result code, and only if it is `Failed` the message, cut to what a `str` carries.
    pub fn result(&mut self, code: ResultCode, message: &str) -> &mut Self {
        self.u8(code.code());
        match code {
            ResultCode::Success => self,
            ResultCode::Failed => self.str("message", &message[..message.floor_char_boundary(STR_BYTES_MAX)]),
        }
    }

    /// Leaves room for the length of what follows.
    pub fn begin_content(&mut self) -> usize {
        self.i32(0);
        self.out.len()
    }

    /// Fills in the length of what follows [`Writer::begin_content`].
    pub fn end_content(&mut self, begin: usize) {
        if self.error.is_some() {
            return;
        }
        match i32::try_from(self.out.len() - begin) {
            Ok(bytes) => patch(self.out, begin - size_of::<i32>(), &bytes.to_be_bytes()),
            Err(_) => self.fail(EncodeError::FrameTooLong(self.out.len() - begin)),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        if self.error.is_none() {
            self.out.put_slice(bytes);
        }
        self
    }
}
