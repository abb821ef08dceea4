//! The branches of a session, in the order of their ids: a handful nearly always, looked at by every command of their
//! transaction, so they lie side by side in one piece of memory.

use alloc::vec::Vec;

use super::session::Branch;
use crate::model::BranchId;

/// Each id once, ascending, which is the order of registration: a leader deals ids in order, its successor deals higher ones.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Branches(Vec<Branch>);

impl Branches {
    /// None.
    pub const fn new() -> Branches {
        Branches(Vec::new())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub fn get(&self, id: &BranchId) -> Option<&Branch> {
        Some(&self.0[self.place(id).ok()?])
    }

    /// One of them, to be changed in everything but its id.
    pub fn get_mut(&mut self, id: &BranchId) -> Option<&mut Branch> {
        let place = self.place(id).ok()?;
        Some(&mut self.0[place])
    }

    /// Whether it is one of them.
    pub fn contains_key(&self, id: &BranchId) -> bool {
        self.place(id).is_ok()
    }

    /// All, ascending.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Branch> + Clone {
        self.0.iter()
    }

    /// The ids of all, ascending.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &BranchId> + Clone {
        self.0.iter().map(|branch| &branch.branch)
    }

    /// Puts one in, in place of that of the same id.
    pub fn insert(&mut self, branch: Branch) {
        match self.place(&branch.branch) {
            Ok(place) => self.0[place] = branch,
            Err(place) => self.0.insert(place, branch),
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &BranchId) -> Option<Branch> {
        Some(self.0.remove(self.place(id).ok()?))
    }

    fn place(&self, id: &BranchId) -> Result<usize, usize> {
        self.0.binary_search_by_key(id, |branch| branch.branch)
    }
}
