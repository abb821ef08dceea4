//! Both ports of a node, from the first byte to the stop.

use super::*;
use crate::admin::{AdminContext, Console, Face, Presenter, Untaken};
use crate::coordinator::ask::Reply;
use crate::coordinator::message::Response;
use crate::coordinator::{CoordinatorContext, Nodes};
use crate::peer::{BoxFuture, CallError};
use quorate_core::cluster::command::{FoundClusterV1, GroupV1, NodeStartedV1, StrategyV1};
use quorate_core::cluster::{Addresses, ClusterId, DiskId, Meta, MetaBatch, MetaCommand, Routing, StartEpoch, StartId};
use quorate_core::codec;
use quorate_core::model::{GlobalStatus, GroupId, NodeId, SLOTS};
use quorate_core::txn::Stamp;
use quorate_world::sync::Notify;

/// Another node, which leads all groups, if there are any, and takes its time.
#[derive(Default)]
struct Other {
    asked: Notify,
    answers: Notify,
}

impl Nodes for Other {
    fn call(
        &self,
        _to: NodeId,
        _group: GroupId,
        _body: Bytes,
        _timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async {
            self.asked.notify_one();
            self.answers.notified().await;
            let answer = Response::Reply(Reply::Standing(GlobalStatus::Committed));
            Ok(codec::encode(&answer).expect("it has bytes").into())
        })
    }

    fn cast(&self, _to: NodeId, _group: GroupId, _body: Bytes) {}
}

/// One group, led by node 2.
fn led_elsewhere() -> Routing {
    let at = |port: u16| format!("10.0.0.2:{port}");
    let started = NodeStartedV1 {
        node: NodeId(2),
        disk: DiskId([2; 16]),
        epoch: StartEpoch(1),
        start: StartId([2; 16]),
        addresses: Addresses { advertised: at(8091), peer: at(9091), admin: at(7091) },
    };
    let found = MetaCommand::FoundCluster(FoundClusterV1 {
        cluster: ClusterId([7; 16]),
        birth_ms: 1_800_000_000_000,
        nodes: vec![started],
        groups: vec![GroupV1 { group: GroupId(1), label: String::new(), replicas: vec![NodeId(2)] }],
        slots: vec![GroupId(1); usize::from(SLOTS)],
    });
    let mut meta = Meta::new();
    meta.apply(&MetaBatch { stamp: Stamp::default(), commands: vec![found] });
    assert!(meta.routing().picture() > 0, "founded");
    meta.routing().clone()
}

fn shop() -> Registration {
    Registration {
        version: "2.3.0".into(),
        application_id: "shop".into(),
        service_group: "default_tx_group".into(),
        extra_data: String::new(),
    }
}

/// The ports of a node without groups of its own.
struct Open {
    seata: SocketAddr,
    http: SocketAddr,
    traffic: Arc<Traffic>,
    stop: watch::Sender<bool>,
    /// Ends when the Seata port has.
    served: JoinHandle<()>,
}

async fn doors() -> Open {
    doors_beside(Arc::default(), Routing::empty()).await
}

async fn doors_beside(other: Arc<Other>, routing: Routing) -> Open {
    doors_within(Bounds::WIDEST, other, routing).await
}

async fn doors_within(bounds: Bounds, other: Arc<Other>, routing: Routing) -> Open {
    let (_, routing) = watch::channel(routing);
    let coordinator = Coordinator::new(CoordinatorContext {
        node: NodeId(1),
        advertise: "127.0.0.1:8091".to_owned(),
        version: "2.5.0".to_owned(),
        routing: routing.clone(),
        nodes: other,
        memory_budget_bytes: 1 << 30,
        requests_bytes_max: 256 << 20,
        access: Default::default(),
        patience: Default::default(),
        undo_logs: quorate_core::phase_two::UndoLogDeletion::DEFAULT,
        batch_results: false,
        lost_tm_after: None,
        seata_meters: false,
    });
    let traffic = Arc::new(Traffic::default());
    let counted = traffic.clone();
    let presenter =
        Presenter { node: NodeId(1), seata: "a:1".to_owned(), admin: "a:2".to_owned(), group: "default".to_owned() };
    let face = std::sync::Mutex::new(Face::of(&routing.borrow(), &presenter));
    let admin = Admin::new(AdminContext {
        face,
        presenter,
        token: None,
        login: None,
        routing,
        ready: watch::channel(true).1,
        groups: Box::new(Vec::new),
        metrics: vec![Box::new(move |page| counted.write(page))],
        seata_figures: None,
        strategy: StrategyV1::ConsistentHash,
        weigh: Box::new(|_| None),
        move_leader: Box::new(|_, _| Box::pin(async { Err("no groups".to_owned()) })),
        console: Console::of_nothing(),
        tell_meta: Box::new(|_| Box::pin(async { Err(Untaken::Unknown) })),
    });
    let (stop, stopped) = watch::channel(false);
    let listener = Listener::new(coordinator, admin, traffic.clone(), bounds, stopped);
    let mut bound = Vec::new();
    for _ in 0..2 {
        bound.push(net::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a port"));
    }
    let [seata, http] = [&bound[0], &bound[1]].map(|door| door.local_addr().expect("bound"));
    let (to_http, to_seata) = (bound.pop().expect("two"), bound.pop().expect("two"));
    let served = spawn(listener.clone().serve_seata(to_seata));
    spawn(listener.serve_http(to_http));
    Open { seata, http, traffic, stop, served }
}

async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut client = net::connect(address).await.expect("it listens");
    client.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    // A refused connection may end with a reset.
    let _ = timeout(LONG, client.read_to_end(&mut answer)).await.expect("it ends");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn both_ports_answer_http_and_one_answers_seata() {
    run_test(async {
        let Open { seata, http, traffic, .. } = &doors().await;
        let (seata, http) = (*seata, *http);
        let health = b"GET /health HTTP/1.1\r\nhost: q\r\nconnection: close\r\n\r\n";
        for address in [seata, http] {
            let answer = ask(address, health).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
        }
        assert_eq!(ask(seata, b"SSH-2.0-OpenSSH_9.2\r\n").await, "");
        let mut client = net::connect(seata).await.expect("it listens");
        client.write_all(&ping(11)).await.expect("it reads");
        assert_eq!(pong_id(&mut client).await, 11);
        let page = metrics(traffic);
        assert!(page.contains("quorate_connections_open{kind=\"seata\"} 1\n"), "{page}");
        assert!(page.contains("quorate_connections_accepted_total{kind=\"http\"} 2\n"), "{page}");
        assert!(page.contains("quorate_connections_refused_total{kind=\"stranger\"} 1\n"), "{page}");
    });
}

async fn connected(address: SocketAddr) -> Stream {
    net::connect(address).await.expect("it listens")
}

/// Whether it was closed, once somebody says so.
async fn is_hung_up_on(client: &mut Stream) -> bool {
    let read = timeout(LONG, client.read(&mut [0; 64])).await.expect("something comes");
    matches!(read, Ok(0) | Err(_))
}

async fn is_served(client: &mut Stream, id: i32) {
    client.write_all(&ping(id)).await.expect("it reads");
    assert_eq!(pong_id(client).await, id);
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: q\r\n\r\n";

/// HTTP fills its own room at both ports, and Seata clients find theirs.
#[test]
fn http_crowds_out_nobody() {
    run_test(async {
        let bounds = Bounds { clients: 3, http: 2 };
        let Open { seata, http, traffic, stop: _stop, .. } =
            doors_within(bounds, Arc::default(), Routing::empty()).await;
        let mut pages = Vec::new();
        for address in [seata, http] {
            let mut page = connected(address).await;
            page.write_all(HEALTH).await.expect("it reads");
            assert!(!is_hung_up_on(&mut page).await, "an answer comes");
            pages.push(page);
        }
        for address in [seata, http] {
            let mut page = connected(address).await;
            // Closed at once it may not even read.
            _ = page.write_all(HEALTH).await;
            assert!(is_hung_up_on(&mut page).await, "no room");
        }
        let mut clients = Vec::new();
        for id in 0..3 {
            let mut client = connected(seata).await;
            is_served(&mut client, id).await;
            clients.push(client);
        }
        let page = metrics(&traffic);
        assert!(page.contains("quorate_connections_refused_total{kind=\"http_full\"} 2\n"), "{page}");
        assert!(page.contains("quorate_connections_refused_total{kind=\"full\"} 0\n"), "{page}");
        // One that goes makes room.
        pages.clear();
        while metrics(&traffic).contains("quorate_connections_open{kind=\"http\"} 2\n") {
            sleep(Duration::from_millis(1)).await;
        }
        let mut page = connected(http).await;
        page.write_all(HEALTH).await.expect("it reads");
        assert!(!is_hung_up_on(&mut page).await, "an answer comes");
    });
}

/// Nor do clients crowd out HTTP; whoever has not said a word yet counts as one of them.
#[test]
fn clients_beyond_the_bound_are_closed_at_once() {
    run_test(async {
        let bounds = Bounds { clients: 3, http: 2 };
        let Open { seata, http, traffic, stop: _stop, .. } =
            doors_within(bounds, Arc::default(), Routing::empty()).await;
        let mut clients = Vec::new();
        for id in 0..2 {
            let mut client = connected(seata).await;
            is_served(&mut client, id).await;
            clients.push(client);
        }
        let _silent = connected(seata).await;
        for _ in 0..5 {
            assert!(is_hung_up_on(&mut connected(seata).await).await, "no room");
        }
        assert!(metrics(&traffic).contains("quorate_connections_refused_total{kind=\"full\"} 5\n"));
        for (id, client) in (10..).zip(&mut clients) {
            is_served(client, id).await;
        }
        let mut page = connected(http).await;
        page.write_all(HEALTH).await.expect("it reads");
        assert!(!is_hung_up_on(&mut page).await, "an answer comes");
        drop(clients);
        while !metrics(&traffic).contains("quorate_connections_open{kind=\"seata\"} 0\n") {
            sleep(Duration::from_millis(1)).await;
        }
        is_served(&mut connected(seata).await, 20).await;
    });
}

#[test]
fn a_registration_makes_a_client() {
    run_test(async {
        let Open { seata, traffic, stop: _stop, .. } = doors().await;
        let mut stranger = net::connect(seata).await.expect("it listens");
        stranger.write_all(&announced(FRAME_BYTES_MAX)).await.expect("it reads");
        let mut rest = Vec::new();
        // Closed at once, with a reset where it had more to say.
        _ = timeout(LONG, stranger.read_to_end(&mut rest)).await.expect("it is hung up on");
        let mut bytes = BytesMut::new();
        let head = Head::new(Version::V1, MessageKind::Request, 1);
        encode_frame(&head, &Message::RegisterTm(shop()), &mut bytes).expect("a frame");
        let mut body = vec![0; FRAME_BYTES_MAX - 16];
        body[1] = 99;
        encode_opaque(&Head::new(Version::V1, MessageKind::Request, 2), &body, &mut bytes).expect("a frame");
        bytes.extend_from_slice(&ping(3));
        let mut client = net::connect(seata).await.expect("it listens");
        client.write_all(&bytes).await.expect("it reads");
        let mut answers = Decoder::new();
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            match answers.next_frame().expect("frames") {
                Some(answer) => kinds.push(answer.head().request_id),
                None => assert!(client.read_buf(answers.buffer_mut()).await.expect("an answer") > 0),
            }
        }
        assert_eq!(kinds, [1, 3]);
        assert!(metrics(&traffic).contains("quorate_connections_ended_total{kind=\"unregistered\"} 1\n"));
    });
}

/// An RM registers all its resources at once, and before that it is a stranger.
#[test]
fn the_longest_registration_is_served() {
    run_test(async {
        let Open { seata, stop: _stop, .. } = doors().await;
        let names: Vec<String> = (0..4_096).map(|number| format!("{number:0>1020}")).collect();
        let mut bytes = BytesMut::new();
        let register = Message::RegisterRm { registration: shop(), resource_ids: names.join(",") };
        encode_frame(&Head::new(Version::V1, MessageKind::Request, 1), &register, &mut bytes).expect("a frame");
        assert!(bytes.len() > 4_000_000);
        let mut rm = net::connect(seata).await.expect("it listens");
        rm.write_all(&bytes).await.expect("it reads");
        let mut answers = Decoder::new();
        let answer = loop {
            match answers.next_frame().expect("frames") {
                Some(Decoded::Message(_, answer)) => break answer,
                Some(other) => panic!("{other:?}"),
                None => assert!(rm.read_buf(answers.buffer_mut()).await.expect("an answer") > 0),
            }
        };
        assert!(matches!(&answer, Message::RegisterRmResult(result) if result.identified), "{answer:?}");
    });
}

/// Strangers fill their own room only, and a client that finds none in its own is let go in the end.
#[test]
fn a_stop_closes_doors_and_connections() {
    run_test(async {
        let Open { seata, http, stop, .. } = doors().await;
        let mut clients = Vec::new();
        for (address, greeting) in [(seata, ping(1)), (http, BytesMut::from(&b"GET"[..]))] {
            let mut client = net::connect(address).await.expect("it listens");
            client.write_all(&greeting).await.expect("it reads");
            clients.push(client);
        }
        assert_eq!(pong_id(&mut clients[0]).await, 1);
        stop.send(true);
        for mut client in clients {
            let mut rest = Vec::new();
            let ended = timeout(LONG, client.read_to_end(&mut rest)).await.expect("it ends");
            assert!(ended.is_err() || rest.is_empty(), "{rest:?}");
        }
    });
}

/// What the node has taken it answers before it goes, however long the group's leader needs.
#[test]
fn a_stop_lets_answers_leave() {
    run_test(async {
        let other = Arc::new(Other::default());
        let Open { seata, stop, served, .. } = doors_beside(other.clone(), led_elsewhere()).await;
        let mut client = net::connect(seata).await.expect("it listens");
        let status = Message::GlobalStatus { xid: "127.0.0.1:8091:4097".to_owned(), extra_data: String::new() };
        for (id, message) in [(1, Message::RegisterTm(shop())), (2, status)] {
            let mut bytes = BytesMut::new();
            encode_frame(&Head::new(Version::V1, MessageKind::Request, id), &message, &mut bytes).expect("a request");
            client.write_all(&bytes).await.expect("it reads");
        }
        timeout(LONG, other.asked.notified()).await.expect("it is forwarded");
        stop.send(true);
        other.answers.notify_one();
        let mut answers = Vec::new();
        timeout(LONG, client.read_to_end(&mut answers)).await.expect("it ends").expect("in order");
        let mut decoder = Decoder::new();
        decoder.push(&answers);
        let mut answered = Vec::new();
        while let Some(Decoded::Message(head, _)) = decoder.next_frame().expect("frames") {
            answered.push(head.request_id);
        }
        assert_eq!(answered, [1, 2]);
        timeout(LONG, served).await.expect("it ends").expect("not aborted");
    });
}
