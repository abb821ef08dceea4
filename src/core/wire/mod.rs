//! Seata frames and messages: bytes and values, both ways (protocol, sections 1 to 3; table in `docs/WIRE.md`).
//!
//! In: [`Decoder`] cuts a connection's bytes into frames and gives [`Decoded`] values. Out: [`encode_frame`] and its
//! neighbours append one whole frame to a buffer. [`seata`] and [`protobuf`] are the two serializers that are spoken;
//! [`body`] reads and writes in either a body without its frame, for whoever unpacks a compressed one. [`ClientVersion`]
//! says what a peer's declared version knows.
//!
//! Deliberately not here: sessions, channels, request ids in flight, sockets, compression, serializers of Java objects.
//! Nothing in here panics or reserves memory on the word of a peer, whatever the bytes.

pub mod body;
pub mod client_version;
pub mod decoder;
pub mod frame;
pub mod message;
#[cfg(test)]
mod properties;
pub mod protobuf;
#[cfg(test)]
mod samples;
pub mod seata;

pub use body::{Dialect, Lz4, decode_body, encode_body};
pub use client_version::ClientVersion;
pub use decoder::{Decoded, Decoder, FrameError};
pub use frame::{EncodeError, Head, MessageKind, Version, encode_frame, encode_heartbeat, encode_opaque};
pub use message::{Message, Registration, RegistrationResult, ResultPart};
pub use seata::MessageError;
