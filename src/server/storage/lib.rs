//! The disk of a node.
#![allow(missing_docs)]
pub mod batch; pub mod index; pub mod limits; pub mod record; pub mod sector; pub mod segment; pub mod verdict;
