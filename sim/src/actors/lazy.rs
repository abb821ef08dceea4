//! Clients that ask and ask and read no answer: nobody else is to notice, and the node is to let them go.
//!
//! Each planned fault is one connection: a TM registers, reads that it may, and from then on nothing. What it asks is how a transaction
//! stands that there is none of, hundreds of times. Its machine has little room for what it does not read. It pings, so that it is
//! no client that is gone, and goes on until its connection is closed.

use super::{node_ip, signed};
use crate::plan::faults::Fault;
use crate::plan::ms;
use crate::plan::speech::Speaks;
use crate::plan::swarm::Class;
use crate::scene::Scene;
use crate::seen::Seen;
use bytes::BytesMut;
use quorate_core::model::{TransactionId, Xid};
use quorate_core::wire::{Decoded, Decoder, Head, Message, MessageKind, Version, encode_frame, encode_heartbeat};
use quorate_world::io::{self, AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, IpAddr, Ipv4Addr, SocketAddr, Stream};
use quorate_world::sim::Dice;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};
use std::sync::Arc;

/// What its kernel keeps of answers that nobody reads.
pub const WINDOW_BYTES: usize = 4 << 10;
/// For a connection that is registered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of one frame. More, and a node without much room refuses all of them.
const QUESTIONS: usize = 6;
/// With each ping.
const FRAMES_OF_A_ROUND: usize = 10;
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// The machine's address.
pub fn ip() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 3, 4))
}

/// The process.
pub async fn run(scene: Arc<Scene>) -> i32 {
    let planned = scene.plan.faults.iter().filter(|fault| fault.class == Class::SlowReader);
    let all: Vec<_> = planned.map(|fault| task::spawn(one(scene.clone(), *fault))).collect();
    for one in all {
        let _ = one.await;
    }
    std::future::pending().await
}

async fn one(scene: Arc<Scene>, fault: Fault) {
    scene.until(fault.from_ms).await;
    let mut dice = Dice::new(u64::from(fault.pick), "strike");
    let nodes = u64::from(scene.plan.options.nodes);
    let (node, mut stream) = loop {
        let node = 1 + dice.below(nodes) as u32;
        if let Ok(Ok(stream)) = timeout(PATIENCE, registered(&scene, node)).await {
            break (node, stream);
        }
        if scene.is_healed() {
            return;
        }
        sleep(ms(500)).await;
    };
    let frames = [150, 300, 400][dice.below(3) as usize];
    scene.fired(Class::SlowReader);
    scene.note(&format!("a client of n{node} reads no more, and asks {} questions", frames * QUESTIONS));
    scene.saw(Seen::ReadsNoMore { client: fault.fault, node });
    let ended = ask_on(&mut stream, frames, node).await;
    scene.note(&format!("a client of n{node} that does not read is let go: {:?}", ended.map_err(|error| error.kind())));
    scene.saw(Seen::LetGo { client: fault.fault });
}

/// Ends with the connection.
async fn ask_on(stream: &mut Stream, frames: usize, node: u32) -> io::Result<()> {
    let xid = Xid { address: format!("{}:8091", node_ip(node)), transaction: TransactionId(7) };
    let question = Message::GlobalStatus { xid: xid.to_string(), extra_data: String::new() };
    let merged = |number: usize| {
        let ids = (0..QUESTIONS).map(|place| (10 + number * QUESTIONS + place) as i32).collect();
        let merged = Message::Merged { messages: vec![question.clone(); QUESTIONS], ids: Some(ids) };
        frame(&Head::new(Version::V1, MessageKind::Request, 100_000 + number as i32), &merged)
    };
    for number in 0..frames {
        stream.write_all(&merged(number)).await?;
        sleep(ms(20)).await;
    }
    // Who asks while nobody leads gets no answer, and so nothing that he could leave unread.
    for round in 0.. {
        for place in 0..FRAMES_OF_A_ROUND {
            stream.write_all(&merged(frames + round * FRAMES_OF_A_ROUND + place)).await?;
        }
        let mut ping = BytesMut::new();
        let head = Head::new(Version::V1, MessageKind::Ping, 1);
        encode_heartbeat(&head, &mut ping).expect("a ping is a heartbeat");
        stream.write_all(&ping).await?;
        sleep(PING_INTERVAL).await;
    }
    Ok(())
}

/// A connection on which a TM is registered.
async fn registered(scene: &Scene, node: u32) -> io::Result<Stream> {
    let application = signed(scene, Speaks::default().application("lazy", "default_tx_group"));
    let mut stream = net::connect(SocketAddr::new(node_ip(node), 8091)).await?;
    let head = Head::new(Version::V1, MessageKind::Request, 1);
    stream.write_all(&frame(&head, &application.signed(application.register_tm()))).await?;
    let mut decoder = Decoder::new();
    loop {
        if stream.read_buf(decoder.buffer_mut()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match decoder.next_frame() {
            Ok(Some(Decoded::Message(_, Message::RegisterTmResult(result)))) if result.identified => return Ok(stream),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Err(io::ErrorKind::PermissionDenied.into()),
        }
    }
}

fn frame(head: &Head, message: &Message) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_frame(head, message, &mut bytes).expect("it is short");
    bytes
}
