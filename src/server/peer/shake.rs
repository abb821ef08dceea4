//! The exchange of hellos that opens a connection, from both ends.

use std::io;

use bytes::BytesMut;
use quorate_core::codec::{self, CodecError};
use quorate_core::model::GroupId;
use quorate_world::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::frame::{self, Decoder, Frame, FrameError, Head, Role};
use super::hello::{HelloRefusal, HelloV1, Own};
use super::kind::{Class, Kind};

/// Why no connection came of it.
#[derive(Debug, thiserror::Error)]
pub enum ShakeError {
    /// The network.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A body that is no hello.
    #[error("the hello does not read: {0}")]
    Codec(CodecError),
    /// Another frame came first, or none.
    #[error("the first frame is no hello")]
    NoHello,
    /// The other side does not let us in.
    #[error("{0}")]
    RefusedUs(HelloRefusal),
    /// Our hello was no longer true when it was answered; another one is needed.
    #[error("the hello was outdated")]
    Outdated,
    /// We do not let the other side in.
    #[error("{0}")]
    NotWelcome(HelloRefusal),
}

/// Says hello as the asker and waits for the answer.
pub async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    decoder: &mut Decoder,
    own: &Own,
    class: Class,
) -> Result<HelloV1, ShakeError> {
    greet_with(stream, decoder, &own.hello(class)).await
}

/// The same with any hello.
pub async fn greet_with(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    decoder: &mut Decoder,
    hello: &HelloV1,
) -> Result<HelloV1, ShakeError> {
    send(stream, Role::Request, &encoded(hello)?).await?;
    let frame = first_frame(stream, decoder).await?;
    match frame.head.role {
        Role::Answer => codec::decode_canonical(&frame.body).map_err(ShakeError::Codec),
        Role::Error => Err(match codec::decode_canonical(&frame.body) {
            Ok(refusal) => ShakeError::RefusedUs(refusal),
            Err(error) => ShakeError::Codec(error),
        }),
        Role::Request => Err(ShakeError::NoHello),
    }
}

/// Waits for the hello of an asker.
pub async fn await_hello(stream: &mut (impl AsyncRead + Unpin), decoder: &mut Decoder) -> Result<HelloV1, ShakeError> {
    let frame = first_frame(stream, decoder).await?;
    match frame.head.role {
        Role::Request => codec::decode_canonical(&frame.body).map_err(ShakeError::Codec),
        Role::Answer | Role::Error => Err(ShakeError::NoHello),
    }
}

/// Lets an asker in.
pub async fn welcome(stream: &mut (impl AsyncWrite + Unpin), own: &Own, class: Class) -> Result<(), ShakeError> {
    send(stream, Role::Answer, &encoded(&own.hello(class))?).await
}

/// Tells an asker why not.
pub async fn refuse(stream: &mut (impl AsyncWrite + Unpin), refusal: &HelloRefusal) -> Result<(), ShakeError> {
    send(stream, Role::Error, &codec::encode(refusal).map_err(ShakeError::Codec)?).await
}

fn encoded(hello: &HelloV1) -> Result<Vec<u8>, ShakeError> {
    codec::encode(hello).map_err(ShakeError::Codec)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), role: Role, body: &[u8]) -> Result<(), ShakeError> {
    let mut out = BytesMut::new();
    frame::encode(Head { kind: Kind::Hello.number(), role, group: GroupId::META, request: 1 }, body, &mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(())
}

async fn first_frame(stream: &mut (impl AsyncRead + Unpin), decoder: &mut Decoder) -> Result<Frame, ShakeError> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return if frame.head.kind == Kind::Hello.number() { Ok(frame) } else { Err(ShakeError::NoHello) };
        }
        if stream.read_buf(&mut decoder.buffer).await? == 0 {
            return Err(ShakeError::NoHello);
        }
    }
}
