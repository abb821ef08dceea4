//! Row keys, and the `table:pk,pk;table:pk` text that RMs send (protocol, section 3.4; semantics, section 3.1).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::limits;

/// One row of one resource: table and primary key, compared byte for byte. The resource stands beside it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RowKey {
    /// Table name as the RM wrote it.
    pub table: String,
    /// Primary key; columns of a composite key are joined by the RM.
    pub key: String,
}

impl core::fmt::Display for RowKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.table, self.key)
    }
}

/// The rows of one branch, each once, in order.
pub type LockKeys = Vec<RowKey>;

/// A lock key text that goes beyond a bound of [`limits`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LockKeyError {
    /// See [`limits::LOCK_KEYS_BYTES_MAX`].
    #[error("the lock keys of a branch may have at most {} bytes", limits::LOCK_KEYS_BYTES_MAX)]
    TextTooLong,
    /// See [`limits::ROWS_OF_BRANCH_MAX`].
    #[error("a branch may lock at most {} rows", limits::ROWS_OF_BRANCH_MAX)]
    TooManyRows,
    /// See [`limits::ROW_KEYS_BYTES_MAX`].
    #[error("the row keys of a branch may have at most {} bytes", limits::ROW_KEYS_BYTES_MAX)]
    RowKeysTooLong,
    /// See [`limits::ROW_KEY_BYTES_MAX`].
    #[error("a row key may have at most {} bytes", limits::ROW_KEY_BYTES_MAX)]
    RowKeyTooLong,
}

/// Reads lock keys as Seata's server does: blank keys are dropped, and a piece without `:` or without keys **ends the
/// parse**, what was read so far being kept.
pub fn parse(text: &str) -> Result<LockKeys, LockKeyError> {
    if text.len() > limits::LOCK_KEYS_BYTES_MAX {
        return Err(LockKeyError::TextTooLong);
    }
    let mut rows = LockKeys::new();
    let mut bytes = 0;
    for piece in text.split(';') {
        let Some((table, keys)) = piece.split_once(':') else { break };
        if keys.trim().is_empty() {
            break;
        }
        for key in keys.split(',').filter(|key| !key.trim().is_empty()) {
            if table.len() + key.len() > limits::ROW_KEY_BYTES_MAX {
                return Err(LockKeyError::RowKeyTooLong);
            }
            bytes += table.len() + key.len();
            if bytes > limits::ROW_KEYS_BYTES_MAX {
                return Err(LockKeyError::RowKeysTooLong);
            }
            rows.push(RowKey { table: table.into(), key: key.into() });
            // One that is named twice counts once; looked at so seldom that naming one often costs little.
            if rows.len() > 2 * limits::ROWS_OF_BRANCH_MAX {
                put_in_order(&mut rows)?;
            }
        }
    }
    put_in_order(&mut rows)?;
    Ok(rows)
}

fn put_in_order(rows: &mut LockKeys) -> Result<(), LockKeyError> {
    rows.sort_unstable();
    rows.dedup();
    if rows.len() > limits::ROWS_OF_BRANCH_MAX { Err(LockKeyError::TooManyRows) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    fn rows(text: &str) -> Vec<String> {
        parse(text).expect("within the limits").iter().map(|row| row.to_string()).collect()
    }

    #[test]
    fn tables_and_keys() {
        assert_eq!(rows("t_order:1,2;t_item:a_b"), ["t_item:a_b", "t_order:1", "t_order:2"]);
        assert_eq!(rows("stock:7;"), ["stock:7"]);
        assert_eq!(rows("t:a:b"), ["t:a:b"]);
        assert_eq!(rows("t:1,, ,1"), ["t:1"]);
        assert!(rows("").is_empty());
    }

    #[test]
    fn a_bad_piece_ends_the_parse() {
        assert_eq!(rows("a:1;nonsense;b:2"), ["a:1"]);
        assert_eq!(rows("a:1;b: ;c:3"), ["a:1"]);
    }

    #[test]
    fn rows_named_often_count_once() {
        let many: String = (0..limits::ROWS_OF_BRANCH_MAX).map(|n| format!("{n},")).collect();
        let again: String = core::iter::repeat_n("7,", 300_000).collect();
        let text = format!("t:{many}{again}");
        assert_eq!(parse(&text).map(|rows| rows.len()), Ok(limits::ROWS_OF_BRANCH_MAX));
        assert_eq!(parse(&format!("{text}x")), Err(LockKeyError::TooManyRows));
    }

    #[test]
    fn bounds() {
        assert_eq!(parse(&format!("t:{}", "k".repeat(2000))), Err(LockKeyError::RowKeyTooLong));
        assert_eq!(parse(&"x".repeat(limits::LOCK_KEYS_BYTES_MAX + 1)), Err(LockKeyError::TextTooLong));
        let long_table = format!("{}:{}", "t".repeat(1000), "1,".repeat(20_000));
        assert_eq!(parse(&long_table), Err(LockKeyError::RowKeysTooLong));
    }
}
