//! A node that wants to join and has no id yet: one question on a connection of its own, from both ends.

use bytes::{Bytes, BytesMut};
use quorate_core::model::GroupId;
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, Stream};
use quorate_world::time::{self, Duration};

use super::frame::{self, Decoder, Frame, FrameError, Head, Role};
use super::hello::{HELLO_BYTES_MAX, HelloRefusal, HelloV1};
use super::kind::Kind;
use super::peers::Shared;
use super::refused::ErrorV1;
use super::shake::{self, ShakeError};

/// For the question of a stranger to be answered: it may wait for an election.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nodes without an id that are answered at a time: more than join at once, and few enough to do no harm. Beyond, they are told
/// to try again.
pub(super) const STRANGERS_MAX: usize = 16;
/// The addresses of 64 nodes are far below.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why a stranger got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The node does not let this one in.
    #[error("{0}")]
    NotLetIn(HelloRefusal),
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
    /// No connection, no proper answer, or none in time.
    #[error("{0}")]
    Unreachable(String),
}

impl From<std::io::Error> for AskError {
    fn from(error: std::io::Error) -> AskError {
        AskError::Unreachable(error.to_string())
    }
}

impl From<FrameError> for AskError {
    fn from(error: FrameError) -> AskError {
        AskError::Unreachable(error.to_string())
    }
}

impl From<ShakeError> for AskError {
    fn from(error: ShakeError) -> AskError {
        match error {
            ShakeError::RefusedUs(refusal) => AskError::NotLetIn(refusal),
            other => AskError::Unreachable(other.to_string()),
        }
    }
}

/// Asks the node at an address. `hello` says who asks; its node and cluster are none.
pub async fn ask_as_stranger(address: &str, hello: &HelloV1, body: &[u8]) -> Result<(HelloV1, Bytes), AskError> {
    match time::timeout(PATIENCE, ask(address, hello, body)).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn ask(address: &str, hello: &HelloV1, body: &[u8]) -> Result<(HelloV1, Bytes), AskError> {
    let mut stream = net::connect(net::resolve(address).await?).await?;
    let mut decoder = Decoder::new(HELLO_BYTES_MAX);
    let theirs = shake::greet_with(&mut stream, &mut decoder, hello).await?;
    decoder.body_bytes_max = ANSWER_BYTES_MAX;
    send(&mut stream, Role::Request, body).await?;
    let Some(frame) = next_frame(&mut stream, &mut decoder).await? else {
        return Err(AskError::Unreachable("the connection ended before the answer came".to_owned()));
    };
    match frame.head.role {
        Role::Answer => Ok((theirs, frame.body)),
        Role::Error => Err(AskError::Refused(ErrorV1::read(&frame.body).to_string())),
        Role::Request => Err(AskError::Unreachable("a question came where an answer was expected".to_owned())),
    }
}

/// Answers the one question of a stranger and hangs up.
pub(super) async fn serve(mut stream: Stream, decoder: Decoder, shared: &Shared) {
    let served = time::timeout(PATIENCE, answer(&mut stream, decoder, shared)).await;
    if let Ok(Err(error)) = served {
        tracing::debug!(%error, "a node that wants to join got no answer");
    }
}

async fn answer(stream: &mut Stream, mut decoder: Decoder, shared: &Shared) -> Result<(), AskError> {
    let Some(frame) = next_frame(stream, &mut decoder).await? else { return Ok(()) };
    let Some(handler) = shared.handler() else { return Ok(()) };
    let answered = match frame.head.kind {
        kind if kind == Kind::Meta.number() => handler.handle_stranger(frame.body).await,
        _ => Err("a node without an id may ask to join, and nothing else".to_owned()),
    };
    match answered {
        Ok(body) => send(stream, Role::Answer, &body).await?,
        Err(reason) => send(stream, Role::Error, &ErrorV1::Refused(reason).bytes()).await?,
    }
    Ok(())
}

async fn send(stream: &mut Stream, role: Role, body: &[u8]) -> Result<(), std::io::Error> {
    let mut out = BytesMut::new();
    frame::encode(Head { kind: Kind::Meta.number(), role, group: GroupId::META, request: 1 }, body, &mut out);
    stream.write_all(&out).await?;
    stream.flush().await
}

async fn next_frame(stream: &mut Stream, decoder: &mut Decoder) -> Result<Option<Frame>, AskError> {
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(Some(frame));
        }
        decoder.make_room();
        if stream.read_buf(&mut decoder.buffer).await? == 0 {
            return Ok(None);
        }
    }
}
