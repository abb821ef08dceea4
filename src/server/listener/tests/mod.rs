//! Connections over a socket of the world, with a stand-in for the coordinator: a closure that takes the frames.

mod doors;

use super::connection::{
    Connection, Ended, STRANGER_FRAME_BYTES_MAX, STRANGERS_BYTES_MAX, UNFINISHED_BYTES_MAX, UNPACKED_MAX,
    UNPACKED_OF_STRANGERS_MAX, Unfinished,
};
use super::detect::Protocol;
use super::*;
use crate::coordinator::Outbox;
use crate::coordinator::outboxes::Outboxes;
use bytes::BytesMut;
use quorate_compressor::{Compressor, pack};
use quorate_core::model::BranchType;
use quorate_core::model::limits::{FRAME_BYTES_MAX, UNPACKED_BODY_BYTES_MAX};
use quorate_core::wire::{Decoded, Decoder, FrameError, Head, Message, MessageKind, Registration, Version};
use quorate_core::wire::{encode_frame, encode_heartbeat, encode_opaque};
use quorate_world::io::AsyncWriteExt;
use quorate_world::runtime::run_test;
use quorate_world::task::JoinHandle;
use quorate_world::time::Instant;
use std::sync::Mutex;

/// A connection whose frames are kept, and whose heartbeats are answered.
struct Served {
    client: Stream,
    out: Arc<Outbox>,
    traffic: Arc<Traffic>,
    taken: Arc<Mutex<Vec<Decoded>>>,
    ended: JoinHandle<Ended>,
}

async fn pair() -> (Stream, Stream, SocketAddr) {
    let door = net::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let client = net::connect(door.local_addr().expect("bound")).await.expect("it listens");
    let (server, peer) = door.accept().await.expect("it connected");
    (client, server, peer)
}

async fn serve(before: &'static [u8], idle: Duration) -> Served {
    serve_with(before, idle, LONG).await
}

async fn serve_with(before: &'static [u8], idle: Duration, patience: Duration) -> Served {
    serve_in(Arc::default(), false, before, idle, patience).await
}

async fn serve_in(
    unfinished: Arc<Unfinished>,
    is_stranger: bool,
    before: &'static [u8],
    idle: Duration,
    patience: Duration,
) -> Served {
    serve_over(Arc::new(Outbox::new()), unfinished, is_stranger, before, (idle, patience)).await
}

async fn serve_over(
    out: Arc<Outbox>,
    unfinished: Arc<Unfinished>,
    is_stranger: bool,
    before: &'static [u8],
    (idle, patience): (Duration, Duration),
) -> Served {
    let (client, server, peer) = pair().await;
    let traffic = Arc::new(Traffic::default());
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (way_out, counted, kept) = (out.clone(), traffic.clone(), taken.clone());
    let ended = spawn(async move {
        let before = Bytes::from_static(before);
        let (out, traffic, unfinished) = (&*way_out, &*counted, &*unfinished);
        let is_stranger = &move || is_stranger;
        let connection = Connection { peer, before, out, traffic, unfinished, is_stranger, idle, patience };
        let take = |decoded: Decoded| {
            if let Decoded::Heartbeat(head) = &decoded {
                way_out.put(|out| encode_heartbeat(&head.answer(), out));
            }
            kept.lock().expect("nobody panicked").push(decoded);
            std::future::ready(())
        };
        let ended = connection.run(server, take).await;
        counted.ended(&ended);
        ended
    });
    Served { client, out, traffic, taken, ended }
}

const LONG: Duration = Duration::from_secs(60);

fn ping(id: i32) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_heartbeat(&Head::new(Version::V1, MessageKind::Ping, id), &mut bytes).expect("a ping");
    bytes
}

fn begin(id: i32) -> BytesMut {
    let mut bytes = BytesMut::new();
    let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "shop".to_owned() };
    encode_frame(&Head::new(Version::V1, MessageKind::Request, id), &begin, &mut bytes).expect("a request");
    bytes
}

async fn pong_id(client: &mut Stream) -> i32 {
    let mut pong = [0; 16];
    client.read_exact(&mut pong).await.expect("a pong");
    assert_eq!((pong[..3].to_vec(), pong[9]), (vec![0xda, 0xda, 1], 4));
    i32::from_be_bytes([pong[12], pong[13], pong[14], pong[15]])
}

#[test]
fn frames_come_in_order_however_they_are_cut() {
    run_test(async {
        let mut served = serve(b"", LONG).await;
        let mut bytes = begin(1);
        bytes.extend_from_slice(&ping(2));
        bytes.extend_from_slice(&begin(3));
        bytes.extend_from_slice(&ping(4));
        for part in bytes.chunks(7) {
            served.client.write_all(part).await.expect("it reads");
        }
        assert_eq!(pong_id(&mut served.client).await, 2);
        assert_eq!(pong_id(&mut served.client).await, 4);
        let ids: Vec<i32> =
            served.taken.lock().expect("nobody panicked").iter().map(|decoded| decoded.head().request_id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
        drop(served.client);
        assert!(matches!(served.ended.await, Ok(Ended::ByClient)));
    });
}

#[test]
fn what_detection_has_read_is_not_lost() {
    run_test(async {
        let mut served = serve(b"\xda\xda", LONG).await;
        served.client.write_all(&ping(5)[2..]).await.expect("it reads");
        assert_eq!(pong_id(&mut served.client).await, 5);
    });
}

#[test]
fn broken_framing_closes_and_is_counted() {
    run_test(async {
        let mut served = serve(b"", LONG).await;
        served.client.write_all(&ping(1)).await.expect("it reads");
        assert_eq!(pong_id(&mut served.client).await, 1);
        served.client.write_all(b"\xda\xdb nonsense").await.expect("it reads");
        let ended = served.ended.await.expect("not aborted");
        assert!(matches!(ended, Ended::Framing(FrameError::Magic([0xda, 0xdb]))), "{ended:?}");
        assert!(metrics(&served.traffic).contains("quorate_connections_ended_total{kind=\"framing\"} 1\n"));
    });
}

fn metrics(traffic: &Traffic) -> String {
    let mut page = crate::admin::Exposition::new();
    traffic.write(&mut page);
    page.into_text()
}

#[test]
fn foreign_and_senseless_frames_cost_only_themselves() {
    run_test(async {
        let mut served = serve(b"", LONG).await;
        let head = Head { serializer: 4, ..Head::new(Version::V1, MessageKind::Request, 1) };
        let mut bytes = BytesMut::new();
        encode_opaque(&head, b"kryo", &mut bytes).expect("a frame");
        // Type code 99 does not exist.
        encode_opaque(&Head::new(Version::V1, MessageKind::Request, 2), b"\0\x63??", &mut bytes).expect("a frame");
        // More than a frame could carry, in a few thousand bytes.
        let head = Head { compressor: 1, ..Head::new(Version::V1, MessageKind::Request, 3) };
        let bomb = pack(Compressor::Gzip, &head, &vec![0; UNPACKED_BODY_BYTES_MAX + 1]).expect("it is packed");
        encode_opaque(&head, &bomb, &mut bytes).expect("a frame");
        bytes.extend_from_slice(&ping(4));
        served.client.write_all(&bytes).await.expect("it reads");
        assert_eq!(pong_id(&mut served.client).await, 4);
        let taken = served.taken.lock().expect("nobody panicked");
        assert!(
            matches!(
                taken[..],
                [Decoded::Opaque(..), Decoded::Undecodable(..), Decoded::Undecodable(..), Decoded::Heartbeat(_)]
            ),
            "{taken:?}"
        );
        assert!(metrics(&served.traffic).contains("quorate_frames_foreign_total 1\n"));
    });
}

/// What a few bytes become waits for a place, and a stranger's become no longer than a registration.
#[test]
fn long_packed_frames_take_turns() {
    run_test(async {
        let packed = |resource_bytes: usize| {
            let registration = Registration {
                version: "2.3.0".to_owned(),
                application_id: "shop".to_owned(),
                service_group: "default_tx_group".to_owned(),
                extra_data: String::new(),
            };
            let register = Message::RegisterRm { registration, resource_ids: "x".repeat(resource_bytes) };
            let head = Head { compressor: 1, ..Head::new(Version::V1, MessageKind::Request, 1) };
            let mut bytes = BytesMut::new();
            quorate_compressor::encode_frame(&head, &register, &mut bytes).expect("a frame");
            bytes
        };
        for is_stranger in [false, true] {
            let unfinished = Arc::new(Unfinished::new(Duration::from_millis(300)));
            let mut places = Vec::new();
            while let Ok(place) = unfinished.unpack(is_stranger).await {
                places.push(place);
            }
            assert_eq!(places.len(), if is_stranger { UNPACKED_OF_STRANGERS_MAX } else { UNPACKED_MAX });
            // A short one needs none, a long one waits in vain, and the others have places of their own.
            let mut crowded = serve_in(unfinished.clone(), is_stranger, b"", LONG, LONG).await;
            crowded.client.write_all(&packed(1_000)).await.expect("it reads");
            crowded.client.write_all(&packed(1 << 20)).await.expect("it reads");
            assert!(matches!(crowded.ended.await, Ok(Ended::Crowded)));
            let taken = std::mem::take(&mut *crowded.taken.lock().expect("nobody panicked"));
            assert!(matches!(taken[..], [Decoded::Message(..)]), "{taken:?}");
            let mut other = serve_in(unfinished.clone(), !is_stranger, b"", LONG, LONG).await;
            for name_bytes in [1 << 20, STRANGER_FRAME_BYTES_MAX] {
                other.client.write_all(&packed(name_bytes)).await.expect("it reads");
            }
            other.client.write_all(&ping(2)).await.expect("it reads");
            assert_eq!(pong_id(&mut other.client).await, 2);
            let taken = std::mem::take(&mut *other.taken.lock().expect("nobody panicked"));
            match taken[..] {
                [Decoded::Message(..), Decoded::Message(..), Decoded::Heartbeat(_)] if is_stranger => {}
                [Decoded::Message(..), Decoded::Undecodable(..), Decoded::Heartbeat(_)] if !is_stranger => {}
                _ => panic!("not so for a stranger's neighbour: {is_stranger}"),
            }
        }
    });
}

#[test]
fn packed_frames_arrive_unpacked() {
    run_test(async {
        let mut served = serve(b"", LONG).await;
        let begin = Message::GlobalBegin { timeout_ms: 60_000, name: "shop".to_owned() };
        let head = Head { compressor: 6, ..Head::new(Version::V1, MessageKind::Request, 1) };
        let mut bytes = BytesMut::new();
        quorate_compressor::encode_frame(&head, &begin, &mut bytes).expect("a frame");
        bytes.extend_from_slice(&ping(2));
        served.client.write_all(&bytes).await.expect("it reads");
        assert_eq!(pong_id(&mut served.client).await, 2);
        assert_eq!(served.taken.lock().expect("nobody panicked")[0], Decoded::Message(head, begin));
        assert!(metrics(&served.traffic).contains("quorate_frames_foreign_total 0\n"));
    });
}

/// The owner of a client with another serializer learns why it does not register: in its own where that can be written, else
/// in Seata's, whether the body says what it is (fury) or not (kryo).
#[test]
fn a_foreign_registration_is_refused_in_words() {
    run_test(async {
        const CLASS: &[u8] = b"C0\x30org.apache.seata.core.protocol.RegisterTMRequest\x95";
        for (serializer, body) in
            [(22, CLASS), (100, CLASS), (86, CLASS), (4, b"-\x01\0\x01ak=null\ndigest=x\nvgroup=shop\n")]
        {
            let mut served = serve_in(Arc::default(), true, b"", LONG, LONG).await;
            let head = Head { serializer, ..Head::new(Version::V1, MessageKind::Request, 9) };
            let mut bytes = BytesMut::new();
            encode_opaque(&head, body, &mut bytes).expect("a frame");
            served.client.write_all(&bytes).await.expect("it reads");
            let mut answers = Decoder::new();
            let answer = loop {
                match answers.next_frame().expect("frames") {
                    Some(answer) => break answer,
                    None => {
                        let read = timeout(LONG, served.client.read_buf(answers.buffer_mut())).await;
                        assert!(read.expect("an answer").expect("an answer") > 0);
                    }
                }
            };
            assert_eq!((answer.head().request_id, answer.head().kind), (9, MessageKind::Response));
            let why = match answer {
                Decoded::Message(_, Message::RegisterTmResult(result)) if !matches!(serializer, 22 | 100) => {
                    assert!(!result.identified, "{result:?}");
                    result.version
                }
                Decoded::Opaque(head, body) if head.serializer == serializer => {
                    String::from_utf8_lossy(&body).into_owned()
                }
                _ => panic!("serializer {serializer}: {answer:?}"),
            };
            assert!(why.contains("transport.serialization"), "{why}");
        }
    });
}

#[test]
fn silence_closes_but_pings_keep_alive() {
    run_test(async {
        // A busy machine may well be late by some hundred milliseconds.
        let idle = Duration::from_millis(1_500);
        let mut served = serve(b"", idle).await;
        let before = Instant::now();
        for id in 0..4 {
            sleep(idle / 3).await;
            served.client.write_all(&ping(id)).await.expect("it reads");
            assert_eq!(pong_id(&mut served.client).await, id);
        }
        assert!(matches!(served.ended.await, Ok(Ended::Idle)));
        assert!(before.elapsed() >= idle * 2, "{:?}", before.elapsed());
    });
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    run_test(async {
        let served = serve(b"", LONG).await;
        let head = Head::new(Version::V1, MessageKind::Request, 1);
        let body = vec![7; 1 << 20];
        // The kernel takes a few MiB, the outbox its bound; far more than both is refused at last.
        let put = || served.out.put(|out| encode_opaque(&head, &body, out));
        let accepted = (0..1_000).take_while(|_| put()).count();
        assert!(accepted < 1_000, "the outbox has no bound");
        let ended = timeout(LONG, served.ended).await.expect("it ends though the client never reads");
        assert!(matches!(ended, Ok(Ended::Slow)), "{ended:?}");
    });
}

/// Closed at the bound, and whoever is connected beside it is served all the time.
#[test]
fn a_slow_reader_harms_nobody_else() {
    run_test(async {
        let (slow, mut other) = (serve(b"", LONG).await, serve(b"", LONG).await);
        let head = Head::new(Version::V1, MessageKind::Request, 1);
        let body = vec![7; 1 << 20];
        let mut id = 0;
        while slow.out.put(|out| encode_opaque(&head, &body, out)) {
            id += 1;
            assert!(id < 1_000, "the outbox has no bound");
            other.client.write_all(&ping(id)).await.expect("it reads");
            assert_eq!(pong_id(&mut other.client).await, id);
        }
        assert!(matches!(slow.ended.await, Ok(Ended::Slow)));
        other.client.write_all(&ping(id)).await.expect("it reads");
        assert_eq!(pong_id(&mut other.client).await, id);
        assert!(metrics(&slow.traffic).contains("quorate_connections_ended_total{kind=\"slow\"} 1\n"));
        assert!(metrics(&other.traffic).contains("quorate_connections_ended_total{kind=\"slow\"} 0\n"));
    });
}

/// None of them has much, and together it is too much. Whoever reads is served all the time.
#[test]
fn slow_readers_have_a_bound_together() {
    run_test(async {
        let outboxes = Outboxes::new(16 << 20);
        let served = || serve_over(outboxes.open(), Arc::default(), false, b"", (LONG, LONG));
        let (mut slow, mut other) = (Vec::new(), served().await);
        for _ in 0..6 {
            slow.push(served().await);
        }
        let head = Head::new(Version::V1, MessageKind::Request, 1);
        let body = vec![7; 1 << 20];
        // The kernel takes some of it.
        for id in 0..15 {
            slow.iter().for_each(|slow| _ = slow.out.put(|out| encode_opaque(&head, &body, out)));
            other.client.write_all(&ping(id)).await.expect("it reads");
            assert_eq!(pong_id(&mut other.client).await, id);
            assert!(outboxes.bytes() <= 16 << 20, "{}", outboxes.bytes());
        }
        let first = slow.iter().position(|slow| slow.out.is_closed()).expect("one at least was closed");
        let Served { ended, traffic, .. } = slow.swap_remove(first);
        assert!(matches!(timeout(LONG, ended).await.expect("it ends"), Ok(Ended::CrowdedOut)));
        assert!(metrics(&traffic).contains("quorate_connections_ended_total{kind=\"crowded_out\"} 1\n"));
        assert!(!other.out.is_closed());
    });
}

/// With its answers unread, a client's questions are not read either; when it takes nothing for long, it is let go.
#[test]
fn who_asks_and_never_reads_is_slowed_down_and_let_go() {
    run_test(async {
        let mut slow = serve_with(b"", LONG, Duration::from_millis(200)).await;
        let pings: Vec<u8> = (0..4_096).flat_map(|id| ping(id).to_vec()).collect();
        let flood = async {
            // It ends because the connection does; what is not read by anybody cannot be written for ever.
            while slow.client.write_all(&pings).await.is_ok() {}
        };
        timeout(LONG, flood).await.expect("the connection ends");
        assert!(matches!(slow.ended.await, Ok(Ended::Slow)));
    });
}

/// The rest of a frame that is long comes whenever it likes, within half a minute.
#[test]
fn long_frames_arrive_whole() {
    run_test(async {
        let mut served = serve(b"", LONG).await;
        let name = "n".repeat(300_000);
        let register = Message::BranchRegister {
            xid: "h:1:7".to_owned(),
            branch_type: BranchType::AT,
            resource_id: "db".to_owned(),
            lock_keys: name,
            application_data: String::new(),
        };
        let mut bytes = BytesMut::new();
        for id in 1..=3 {
            let head = Head::new(Version::V1, MessageKind::Request, id);
            encode_frame(&head, &register, &mut bytes).expect("a frame");
        }
        bytes.extend_from_slice(&ping(4));
        for part in bytes.chunks(100_000) {
            served.client.write_all(part).await.expect("it reads");
        }
        assert_eq!(pong_id(&mut served.client).await, 4);
        let ids: Vec<i32> =
            served.taken.lock().expect("nobody panicked").iter().map(|decoded| decoded.head().request_id).collect();
        assert_eq!(ids, [1, 2, 3, 4]);
    });
}

/// The head of a frame of so many bytes, which never comes.
fn announced(bytes: usize) -> Vec<u8> {
    let mut head = vec![0xda, 0xda, 1];
    head.extend_from_slice(&(bytes as i32).to_be_bytes());
    head.extend_from_slice(&[0, 16]);
    head
}

#[test]
fn who_has_not_registered_may_announce_little() {
    run_test(async {
        let mut served = serve_in(Arc::default(), true, b"", LONG, LONG).await;
        served.client.write_all(&announced(STRANGER_FRAME_BYTES_MAX + 1)).await.expect("it reads");
        let ended = served.ended.await.expect("not aborted");
        assert!(matches!(ended, Ended::Unregistered(bytes) if bytes == STRANGER_FRAME_BYTES_MAX + 1), "{ended:?}");
        assert!(metrics(&served.traffic).contains("quorate_connections_ended_total{kind=\"unregistered\"} 1\n"));
        let mut client = serve(b"", LONG).await;
        client.client.write_all(&announced(STRANGER_FRAME_BYTES_MAX + 1)).await.expect("it reads");
        drop(client.client);
        assert!(matches!(client.ended.await, Ok(Ended::ByClient)), "a client may");
    });
}

/// Through the door, where a registration makes the difference.
#[test]
fn nobody_waits_for_room_for_ever() {
    run_test(async {
        let unfinished = Arc::new(Unfinished::new(Duration::from_millis(300)));
        let mut taken = Vec::new();
        for _ in 0..STRANGERS_BYTES_MAX / STRANGER_FRAME_BYTES_MAX {
            taken.push(unfinished.take(STRANGER_FRAME_BYTES_MAX, true).await.expect("room for strangers"));
        }
        let mut stranger = serve_in(unfinished.clone(), true, b"", LONG, LONG).await;
        stranger.client.write_all(&announced(STRANGER_FRAME_BYTES_MAX)).await.expect("it reads");
        assert!(matches!(stranger.ended.await, Ok(Ended::Crowded)));
        // A client has room of its own.
        let mut client = serve_in(unfinished.clone(), false, b"", LONG, LONG).await;
        client.client.write_all(&announced(FRAME_BYTES_MAX)).await.expect("it reads");
        drop(client.client);
        assert!(matches!(client.ended.await, Ok(Ended::ByClient)));
        for _ in 0..UNFINISHED_BYTES_MAX / FRAME_BYTES_MAX {
            taken.push(unfinished.take(FRAME_BYTES_MAX, false).await.expect("room for clients"));
        }
        let mut client = serve_in(unfinished.clone(), false, b"", LONG, LONG).await;
        client.client.write_all(&announced(FRAME_BYTES_MAX)).await.expect("it reads");
        assert!(matches!(client.ended.await, Ok(Ended::Crowded)));
        assert!(metrics(&client.traffic).contains("quorate_connections_ended_total{kind=\"crowded\"} 1\n"));
        drop(taken);
    });
}

#[test]
fn what_is_queued_leaves_before_the_end() {
    run_test(async {
        let mut served = serve(b"", LONG).await;
        let head = Head::new(Version::V1, MessageKind::Pong, 9);
        assert!(served.out.put(|out| encode_heartbeat(&head, out)));
        served.out.close();
        assert_eq!(pong_id(&mut served.client).await, 9);
        let mut rest = Vec::new();
        assert_eq!(served.client.read_to_end(&mut rest).await.expect("an end"), 0);
        assert_eq!(served.ended.await.expect("not aborted").name(), "server");
    });
}

#[test]
fn greetings() {
    run_test(async {
        for (first, second, expected) in [
            (b"\xda".as_slice(), b"\xda\x01".as_slice(), Protocol::Seata),
            (b"GE", b"T /health HTTP/1.1\r\n\r\n", Protocol::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", Protocol::Stranger),
            (b"PO", b"X", Protocol::Stranger),
            (b"P", b"", Protocol::Undecided),
        ] {
            let (mut client, mut server, _) = pair().await;
            let judged = spawn(async move {
                let mut read = BytesMut::new();
                (greeting(&mut server, &mut read).await, read)
            });
            client.write_all(first).await.expect("it reads");
            quorate_world::task::yield_now().await;
            // A stranger may be let go before its second word.
            let _ = client.write_all(second).await;
            drop(client);
            let (protocol, read) = judged.await.expect("not aborted");
            assert_eq!(protocol, expected, "{first:?}");
            assert!(read.starts_with(first), "what was read must not be lost");
        }
    });
}
