//! What an operator is shown of transactions and row locks, and what he may ask for: the values that the admin pages and
//! the coordinator share, and all that is decided about them.
//!
//! A page is put together in two steps, so that its cost is bounded whatever there is. First every group lists the
//! *keys* of what fits, in order, up to the end of the page ([`Listing`]); the lists of all groups become one. Then the
//! groups show the *rows* of the page's keys ([`SessionRow`], [`LockRow`]). What has gone in between is left out.
//!
//! Not here: who is asked and for how long (`coordinator`), and how it looks in JSON (`admin`).

mod listing;
mod locks;
mod operation;
mod page;
mod sessions;
#[cfg(test)]
mod tests;

pub use listing::Listing;
pub use locks::{LockFilter, LockKey, LockName, LockRow};
pub use operation::{Unfulfilled, Wish};
pub use page::{Page, PageError};
pub use sessions::{BranchRow, LastAnswer, SessionFilter, SessionKey, SessionRow, Stuck, Trouble};
pub use sessions::{UNREPORTED_AGES_S, unreported};

use alloc::vec::Vec;

use crate::model::GroupId;

/// One page out of all groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gathered<T> {
    /// The page.
    pub rows: Vec<T>,
    /// How many there are on all pages, in the groups that answered.
    pub total: u64,
    /// Groups that did not answer in time: what they have is missing.
    pub unanswered: Vec<GroupId>,
}
