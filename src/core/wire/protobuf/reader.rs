//! The fields of one protobuf message over borrowed bytes.
//!
//! Nothing is collected: asking for a field walks over the message. So that this costs little, a message may have only so
//! many fields, known or not.

use alloc::string::String;

use crate::model::limits::MERGED_REQUESTS_MAX;
use crate::wire::MessageError;

/// Fields of a message; Seata's have seven at most, and later ones may have more.
pub const FIELDS_MAX: usize = 64;
/// Fields of a message of messages: children, and an id for each.
pub const FIELDS_OF_MERGED_MAX: usize = 2 * MERGED_REQUESTS_MAX + FIELDS_MAX;

const TOO_MANY: MessageError = MessageError::Protobuf("a message of too many fields");
const SHORT: MessageError = MessageError::Protobuf("a field ends behind its message");

/// One field's value.
#[derive(Clone, Copy)]
enum Value<'a> {
    /// A number, an enum or a bool.
    Varint(u64),
    /// A text, a message or packed numbers.
    Bytes(&'a [u8]),
    /// 4 or 8 bytes, which no message of Seata's has.
    Fixed,
}

/// A message that was walked over once, so that its fields are known to be well formed.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Looks at every field, of at most `fields_max`.
    pub fn new(bytes: &'a [u8], fields_max: usize) -> Result<Fields<'a>, MessageError> {
        let mut walk = Walk(bytes);
        for _ in 0..fields_max {
            if walk.field()?.is_none() {
                return Ok(Fields(bytes));
            }
        }
        if walk.0.is_empty() { Ok(Fields(bytes)) } else { Err(TOO_MANY) }
    }

    /// A number; 0 if it is absent.
    pub fn number(self, field: u64) -> u64 {
        let number = |value| match value {
            Value::Varint(number) => Some(number),
            Value::Bytes(_) | Value::Fixed => None,
        };
        self.values(field).filter_map(number).last().unwrap_or(0)
    }

    /// An `int32`.
    pub fn i32(self, field: u64) -> i32 {
        self.number(field) as i32
    }

    /// An `int64`.
    pub fn i64(self, field: u64) -> i64 {
        self.number(field) as i64
    }

    /// A text; empty if it is absent.
    pub fn string(self, field: u64) -> Result<String, MessageError> {
        let bytes = self.bytes(field).last().unwrap_or_default();
        match str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(MessageError::Protobuf("a text is no UTF-8")),
        }
    }

    /// A message; without fields if it is absent.
    pub fn message(self, field: u64) -> Result<Fields<'a>, MessageError> {
        Fields::new(self.bytes(field).last().unwrap_or_default(), FIELDS_MAX)
    }

    /// All values of a repeated message, text or `bytes`.
    pub fn bytes(self, field: u64) -> impl Iterator<Item = &'a [u8]> {
        self.values(field).filter_map(|value| match value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Varint(_) | Value::Fixed => None,
        })
    }

    /// Gives all values of a repeated `int32`, packed or not, to `take`, until it has enough.
    pub fn each_i32(
        self,
        field: u64,
        mut take: impl FnMut(i32) -> Result<(), MessageError>,
    ) -> Result<(), MessageError> {
        for value in self.values(field) {
            match value {
                Value::Varint(number) => take(number as i32)?,
                Value::Bytes(packed) => {
                    let mut walk = Walk(packed);
                    while !walk.0.is_empty() {
                        take(walk.varint()? as i32)?;
                    }
                }
                Value::Fixed => {}
            }
        }
        Ok(())
    }

    fn values(self, field: u64) -> impl Iterator<Item = Value<'a>> {
        let mut walk = Walk(self.0);
        let fields = core::iter::from_fn(move || walk.field().ok().flatten());
        fields.filter(move |(number, _)| *number == field).map(|(_, value)| value)
    }
}

/// The bytes that are left of a message.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    /// The next field with its number, or nothing at the end.
    fn field(&mut self) -> Result<Option<(u64, Value<'a>)>, MessageError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let bytes = usize::try_from(self.varint()?).map_err(|_| SHORT)?;
                Value::Bytes(self.take(bytes)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(MessageError::Protobuf("a field of a kind that does not exist")),
        };
        match key >> 3 {
            0 => Err(MessageError::Protobuf("a field has the number 0")),
            number => Ok(Some((number, value))),
        }
    }

    fn varint(&mut self) -> Result<u64, MessageError> {
        let mut value = 0;
        for (place, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                self.take(place + 1)?;
                return Ok(value);
            }
        }
        Err(if self.0.len() < 10 { SHORT } else { MessageError::Protobuf("a number of more than 10 bytes") })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], MessageError> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = left;
        Ok(taken)
    }
}
