//! Appends fields to a buffer, as Java's writer does: in the order of their numbers, without those that have their default
//! value, messages always. The first error stays.

use bytes::{BufMut, BytesMut};

use crate::wire::frame::EncodeError;

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// Appends fields one after the other.
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

    /// A number, an enum or a bool; a negative one has ten bytes.
    pub fn number(&mut self, field: u64, value: i64) -> &mut Self {
        if value != 0 {
            self.varint(field << 3 | VARINT);
            self.varint(value as u64);
        }
        self
    }

    /// A text.
    pub fn string(&mut self, field: u64, value: &str) -> &mut Self {
        if !value.is_empty() {
            self.varint(field << 3 | BYTES);
            self.varint(value.len() as u64);
            self.out.put_slice(value.as_bytes());
        }
        self
    }

    /// The bytes of texts, without anything around them.
    pub fn texts(&mut self, texts: [&str; 3]) {
        texts.iter().for_each(|text| self.out.put_slice(text.as_bytes()));
    }

    /// A message, or whatever `write` appends.
    pub fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.varint(field << 3 | BYTES);
        let begin = self.out.len();
        write(self);
        // Its length is known only now and has its own length: it is appended and moved to the front.
        let end = self.out.len();
        self.varint((end - begin) as u64);
        let length_bytes = self.out.len() - end;
        if let Some(moved) = self.out.get_mut(begin..) {
            moved.rotate_right(length_bytes);
        }
        self
    }

    /// Packed numbers.
    pub fn packed(&mut self, field: u64, values: &[i32]) -> &mut Self {
        if values.is_empty() {
            return self;
        }
        self.message(field, |out| values.iter().for_each(|value| out.varint(i64::from(*value) as u64)))
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }
}
