//! Byte streams between machines.
//!
//! Small writes leave at once (no Nagle). A stream closed by its owner gives the peer its data and then the end; a
//! machine that is cut off gives it nothing at all, so every wait for a peer needs a deadline.

pub use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[cfg(not(madsim))]
pub use crate::real::net::{Listener, ReadHalf, Stream, WriteHalf, connect, listen, local_ip, resolve};
#[cfg(madsim)]
pub use crate::simulated::net::{Listener, ReadHalf, Stream, WriteHalf, connect, listen, local_ip, resolve};
