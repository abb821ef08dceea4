//! Ring 0: decides everything and does nothing.
//!
//! `no_std` on purpose: the compiler forbids clocks, files, sockets, threads and hash maps here, so that what runs in
//! production and what runs in the simulation cannot differ. Read in this order: `model`, `wire`, `codec`, `txn`,
//! `cluster`, `phase_two`, `console`, `meters`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[macro_use]
pub mod probe;

#[macro_use]
pub mod bug;

pub mod model;

pub mod wire;

pub mod codec;

pub mod txn;

pub mod cluster;

pub mod phase_two;

pub mod console;

pub mod meters;
