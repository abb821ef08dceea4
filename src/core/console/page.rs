//! Which page is wanted.

use super::listing::REACH_MAX;

/// A page of a list, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    number: u32,
    size: u32,
}

/// Why there is no such page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PageError {
    /// Pages count from 1.
    #[error("pageNum must be at least 1")]
    NumberZero,
    /// A page has rows.
    #[error("pageSize must be from 1 to {}", Page::SIZE_MAX)]
    Size,
    /// Deep pages cost every group a list as long.
    #[error("the page ends beyond row {REACH_MAX}; narrow the filters, or read up to there")]
    TooDeep,
}

impl Page {
    /// Rows of one page at most.
    pub const SIZE_MAX: u32 = 1_000;

    /// Page `number`, counted from 1, of pages of `size` rows.
    pub fn new(number: u64, size: u64) -> Result<Page, PageError> {
        if number == 0 {
            return Err(PageError::NumberZero);
        }
        if size == 0 || size > u64::from(Page::SIZE_MAX) {
            return Err(PageError::Size);
        }
        match number.checked_mul(size) {
            Some(end) if end <= u64::from(REACH_MAX) => Ok(Page { number: number as u32, size: size as u32 }),
            Some(_) | None => Err(PageError::TooDeep),
        }
    }

    /// Its number, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Its rows at most.
    pub fn size(self) -> u32 {
        self.size
    }

    /// How many rows lie before its end.
    pub fn reach(self) -> u32 {
        self.number * self.size
    }

    /// Its part of a list in order.
    pub fn of<T>(self, rows: &[T]) -> &[T] {
        let first = (self.reach() - self.size) as usize;
        let end = rows.len().min(self.reach() as usize);
        rows.get(first.min(end)..end).unwrap_or_default()
    }

    /// How many pages so many rows fill.
    pub fn pages(self, total: u64) -> u64 {
        total.div_ceil(u64::from(self.size))
    }
}
