//! The pages as a client sees them: bytes in, bytes out, over a connection of the world.

use super::*;
use quorate_core::cluster::command::{
    AddGroupV1, FoundClusterV1, GroupV1, NodeStartedV1, NodeV1, SlotTargetV1, StartMigrationsV1, StrategyV1,
};
use quorate_core::cluster::health::Health;
use quorate_core::cluster::{
    Addresses, ClusterId, DiskId, GroupKey, Meta, MetaBatch, MetaCommand, MetaOutcome, StartEpoch, StartId,
};
use quorate_core::meters::{Event, Labels, Meters};
use quorate_core::model::{Slot, Term};
use quorate_core::txn::Stamp;
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net;
use quorate_world::runtime::run_test;
use quorate_world::select::{Either2, select2};
use quorate_world::task::spawn;
use quorate_world::time::{Duration, Instant, sleep, timeout};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn node(number: u64) -> NodeStartedV1 {
    let at = |port: u64| format!("10.0.0.{number}:{port}");
    NodeStartedV1 {
        node: NodeId(number),
        disk: DiskId([number as u8; 16]),
        epoch: StartEpoch(1),
        start: StartId([number as u8; 16]),
        addresses: Addresses { advertised: at(8091), peer: at(9091), admin: at(7091) },
    }
}

fn apply(meta: &mut Meta, command: MetaCommand) {
    meta.apply(&MetaBatch { stamp: Stamp { clock_ms: 1, wall_ms: 1 }, commands: vec![command] });
}

pub(super) fn founded() -> Meta {
    let mut meta = Meta::new();
    let group = GroupV1 { group: GroupId(1), label: "orders".to_owned(), replicas: vec![NodeId(2), NodeId(1)] };
    let founding = FoundClusterV1 {
        cluster: ClusterId([0xab; 16]),
        birth_ms: 1_800_000_000_000,
        nodes: (1..=3).map(node).collect(),
        groups: vec![group],
        slots: vec![GroupId(1); 4096],
    };
    apply(&mut meta, MetaCommand::FoundCluster(founding));
    meta
}

/// A node with an HTTP port.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    routing: Arc<watch::Sender<Routing>>,
    ready: watch::Sender<bool>,
    moved: Arc<Mutex<Vec<(GroupId, NodeId)>>>,
    /// Its parts are not there yet.
    is_starting: Arc<AtomicBool>,
    /// Makes the page of the metrics so much longer.
    padding_bytes: Arc<AtomicUsize>,
    admin: Arc<Admin>,
}

async fn serve(meta: &Meta, token: Option<&str>) -> Served {
    serve_console(meta, token, Console::of_nothing()).await
}

pub(super) async fn serve_console(meta: &Meta, token: Option<&str>, console: Console) -> Served {
    serve_user(meta, token, None, console).await
}

pub(super) async fn serve_user(meta: &Meta, token: Option<&str>, login: Option<Login>, console: Console) -> Served {
    serve_patiently(meta, token, login, console, Patience::default()).await
}

async fn serve_patiently(
    meta: &Meta,
    token: Option<&str>,
    login: Option<Login>,
    console: Console,
    patience: Patience,
) -> Served {
    let (routing, routing_seen) = watch::channel(meta.routing().clone());
    let routing = Arc::new(routing);
    let (applied, shows) = (Mutex::new(meta.clone()), routing.clone());
    let (ready, ready_seen) = watch::channel(false);
    let moved = Arc::new(Mutex::new(Vec::new()));
    let moves = moved.clone();
    let is_starting = Arc::new(AtomicBool::new(false));
    let starts = is_starting.clone();
    let presenter = Presenter {
        node: NodeId(1),
        seata: "10.0.0.1:8091".to_owned(),
        admin: "10.0.0.1:7091".to_owned(),
        group: "default".to_owned(),
    };
    let padding_bytes = Arc::new(AtomicUsize::new(0));
    let padding = padding_bytes.clone();
    let context = AdminContext {
        face: Mutex::new(Face::of(meta.routing(), &presenter)),
        presenter,
        token: token.map(str::to_owned),
        login,
        routing: routing_seen,
        ready: ready_seen,
        groups: Box::new(|| {
            let leader = Some((Term(4), NodeId(2)));
            vec![GroupStatus {
                group: GroupId(1),
                leader,
                health: Health::FollowerDown,
                committed: 9,
                applied: 8,
                asleep: false,
            }]
        }),
        metrics: vec![Box::new(move |page| {
            let help = format!("For this test{}", "x".repeat(padding.load(Ordering::Relaxed)));
            page.gauge("quorate_test_seconds", &help).value(7);
        })],
        seata_figures: None,
        strategy: StrategyV1::ConsistentHash,
        weigh: Box::new(|_| None),
        move_leader: Box::new(move |group, node| {
            moves.lock().expect("nobody panicked").push((group, node));
            Box::pin(async move { if node == NodeId(9) { Err("no such node".to_owned()) } else { Ok(()) } })
        }),
        console,
        tell_meta: Box::new(move |command| {
            if starts.load(Ordering::Relaxed) {
                return Box::pin(async { Err(Untaken::Starting) });
            }
            let mut meta = applied.lock().expect("nobody panicked");
            let batch = MetaBatch { stamp: Stamp { clock_ms: 1, wall_ms: 1 }, commands: vec![command] };
            let outcome = meta.apply(&batch).remove(0);
            shows.send(meta.routing().clone());
            Box::pin(async move {
                match outcome {
                    MetaOutcome::Done { picture }
                    | MetaOutcome::Admitted { picture, .. }
                    | MetaOutcome::Added { picture, .. } => Ok(picture),
                    MetaOutcome::Refused(refusal) => Err(Untaken::Refused(refusal.to_string())),
                }
            })
        }),
    };
    let admin = Arc::new(Admin { context, patience });
    let serves = admin.clone();
    let listener = net::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let admin = serves.clone();
            spawn(async move { admin.serve(stream, peer, Bytes::new(), NoSuchPage::Told).await });
        }
    });
    Served { address, routing, ready, moved, is_starting, padding_bytes, admin }
}

/// Status line and body of the answer, its headers in between.
pub(super) async fn ask(address: SocketAddr, request: &str) -> (String, String, String) {
    let mut stream = net::connect(address).await.expect("somebody listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    timeout(Duration::from_secs(40), stream.read_to_end(&mut answer)).await.expect("it answers").expect("and closes");
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    (status.to_owned(), headers.to_lowercase(), body.to_owned())
}

pub(super) async fn get(address: SocketAddr, path: &str) -> (String, String, String) {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n\r\n")).await
}

pub(super) async fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> (String, String, String) {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n{headers}content-length: {length}");
    ask(address, &format!("{head}\r\n\r\n{body}")).await
}

#[test]
fn metadata_has_exactly_what_old_clients_know() {
    run_test(async {
        let mut meta = founded();
        apply(&mut meta, MetaCommand::NodeSilent(NodeV1 { node: NodeId(3), epoch: StartEpoch(1) }));
        let picture = meta.routing().picture();
        let served = serve(&meta, None).await;
        let (status, headers, body) = get(served.address, "/metadata/v1/cluster?group=").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains("content-type: application/json"), "{headers}");
        assert!(!headers.contains("date:"), "{headers}");
        let expected = concat!(
            r#"{"nodes":[{"control":{"host":"10.0.0.1","port":7091},"transaction":{"host":"10.0.0.1","port":8091},"#,
            r#""group":"default","role":"LEADER","metadata":{}},"#,
            r#"{"control":{"host":"10.0.0.2","port":7091},"transaction":{"host":"10.0.0.2","port":8091},"#,
            r#""group":"default","role":"FOLLOWER","metadata":{}}],"storeMode":"raft","term":"#
        );
        assert_eq!(body, format!("{expected}{picture}}}"));
    });
}

#[test]
fn before_the_founding_a_node_shows_itself() {
    run_test(async {
        let served = serve(&Meta::new(), None).await;
        let (_, _, body) = get(served.address, "/metadata/v1/cluster").await;
        assert!(body.contains(r#""role":"LEADER""#) && body.ends_with(r#""storeMode":"raft","term":0}"#), "{body}");
    });
}

#[test]
fn a_watch_answers_at_once_if_the_picture_is_newer() {
    run_test(async {
        let meta = founded();
        let served = serve(&meta, None).await;
        let older = meta.routing().picture() - 1;
        let (status, headers, body) = post(served.address, "/metadata/v1/watch", "", &format!("default={older}")).await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", ""));
        assert!(headers.contains("content-length: 0"), "{headers}");
    });
}

#[test]
fn a_watch_wakes_on_a_newer_picture() {
    run_test(async {
        let mut meta = founded();
        let served = serve(&meta, None).await;
        let form = format!("default={}", meta.routing().picture());
        let address = served.address;
        let waiting = spawn(async move { post(address, "/metadata/v1/watch", "", &form).await.0 });
        while served.routing.receivers() < 2 {
            quorate_world::task::yield_now().await;
        }
        // The same picture again wakes nobody, nor do groups that come and slots that move.
        served.routing.send(meta.routing().clone());
        let shown = meta.routing().picture();
        let key = GroupKey([2; 16]);
        apply(&mut meta, MetaCommand::AddGroup(AddGroupV1 { key, label: String::new(), replicas: vec![NodeId(1)] }));
        let slots = vec![SlotTargetV1 { slot: Slot(0), target: GroupId(2) }];
        let start = StartMigrationsV1 { after: meta.routing().last_epoch(), slots };
        apply(&mut meta, MetaCommand::StartMigrations(start));
        assert_eq!(meta.routing().picture(), shown + 2);
        served.routing.send(meta.routing().clone());
        let (_, _, body) = get(address, "/metadata/v1/cluster").await;
        assert!(body.ends_with(&format!(r#""term":{shown}}}"#)), "{body}");
        apply(&mut meta, MetaCommand::NodeSilent(NodeV1 { node: NodeId(3), epoch: StartEpoch(1) }));
        served.routing.send(meta.routing().clone());
        assert_eq!(waiting.await.expect("not aborted"), "HTTP/1.1 200 OK");
    });
}

#[test]
fn a_watch_ends_with_304() {
    run_test(async {
        let meta = founded();
        let served = serve(&meta, None).await;
        let seen = meta.routing().picture();
        let before = Instant::now();
        let body = format!("default={seen}&timeout=60");
        let (status, _, body) = post(served.address, "/metadata/v1/watch", "", &body).await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 304 Not Modified", ""));
        assert!(before.elapsed() >= Duration::from_millis(60));
        let query = format!("/metadata/v1/watch?default={seen}&timeout=1");
        assert_eq!(post(served.address, &query, "", "").await.0, "HTTP/1.1 304 Not Modified");
        let (status, _, body) = post(served.address, "/metadata/v1/watch", "", "default=new").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 400 Bad Request", "default must be a whole number\n"));
    });
}

/// Sends a byte now and then until the connection is closed, and says whether an answer came before.
async fn dribble(stream: &mut net::Stream, every: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    loop {
        if stream.write_all(b"x").await.is_err() {
            return answer;
        }
        let mut more = [0; 512];
        match timeout(every, stream.read(&mut more)).await {
            Ok(Ok(0) | Err(_)) => return answer,
            Ok(Ok(bytes)) => answer.extend_from_slice(&more[..bytes]),
            Err(_) => {}
        }
    }
}

#[test]
fn a_head_that_does_not_end_is_given_up_though_bytes_keep_coming() {
    run_test(async {
        let patience = Duration::from_millis(400);
        let served = serve_patiently(&founded(), None, None, Console::of_nothing(), patience_for_heads(patience)).await;
        let limit = Duration::from_secs(40);
        // The first request of a connection, from its begin; silence is no better than slowness.
        let mut stream = net::connect(served.address).await.expect("it listens");
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: ").await.expect("it reads");
        let answer = timeout(limit, dribble(&mut stream, patience / 8)).await.expect("it is closed");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
        let mut stream = net::connect(served.address).await.expect("it listens");
        let silence = timeout(limit, stream.read(&mut [0; 16])).await.expect("it is closed");
        assert!(matches!(silence, Ok(0) | Err(_)), "{silence:?}");
        // A later one, from its first byte on: as long as it likes between two requests.
        let mut stream = net::connect(served.address).await.expect("it listens");
        for _ in 0..2 {
            stream.write_all(b"GET /quorate/v1/status HTTP/1.1\r\nhost: q\r\n\r\n").await.expect("it reads");
            let mut answer = [0; 8 << 10];
            let bytes = timeout(limit, stream.read(&mut answer)).await.expect("it answers").expect("and stays open");
            assert!(answer[..bytes].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..bytes]));
            sleep(patience * 2).await;
        }
        timeout(limit, dribble(&mut stream, patience / 8)).await.expect("it is closed");
    });
}

fn patience_for_heads(head: Duration) -> Patience {
    Patience { head, ..Patience::default() }
}

#[test]
fn an_answer_may_take_longer_than_a_head() {
    run_test(async {
        let meta = founded();
        let patience = Duration::from_millis(500);
        let served = serve_patiently(&meta, None, None, Console::of_nothing(), patience_for_heads(patience)).await;
        let form = format!("default={}&timeout=1200", meta.routing().picture());
        let (status, _, _) = post(served.address, "/metadata/v1/watch", "", &form).await;
        assert_eq!(status, "HTTP/1.1 304 Not Modified");
    });
}

/// It goes on taking a little, so the connection never sleeps; but its answer is memory.
#[test]
fn who_does_not_read_an_answer_to_its_end_is_let_go() {
    const PAGE_BYTES: usize = 32 << 20;
    run_test(async {
        let patience = Patience { answer: Duration::from_secs(2), ..Patience::default() };
        let served = serve_patiently(&founded(), None, None, Console::of_nothing(), patience).await;
        served.padding_bytes.store(PAGE_BYTES, Ordering::Relaxed);
        let ask = b"GET /metrics HTTP/1.1\r\nhost: q\r\n\r\n";
        let door = net::listen("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
        let mut slow = net::connect(door.local_addr().expect("bound")).await.expect("it listens");
        let (stream, peer) = door.accept().await.expect("it connected");
        let admin = served.admin.clone();
        let serving = spawn(async move { admin.serve(stream, peer, Bytes::new(), NoSuchPage::Told).await });
        slow.write_all(ask).await.expect("it reads");
        let dribble = async {
            while let Ok(1..) = slow.read(&mut [0; 1 << 10]).await {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = timeout(Duration::from_secs(20), select2(serving, dribble)).await;
        assert!(matches!(ended, Ok(Either2::First(Ok(())))), "it is still there");
        // Whoever reads has the time again for each of its answers.
        let mut quick = net::connect(served.address).await.expect("it listens");
        for _ in 0..2 {
            quick.write_all(ask).await.expect("it reads");
            let (mut left, mut buffer) = (PAGE_BYTES, vec![0; 1 << 20]);
            while left > 0 {
                let read = quick.read(&mut buffer).await.expect("it answers");
                assert!(read > 0, "it was let go with {left} bytes left");
                left = left.saturating_sub(read);
            }
            sleep(patience.answer + Duration::from_millis(200)).await;
        }
    });
}

#[test]
fn a_login_succeeds_and_opens_nothing() {
    run_test(async {
        let served = serve(&founded(), None).await;
        let user = r#"{"username":"seata","password":"seata"}"#;
        let (status, headers, body) = post(served.address, "/api/v1/auth/login", "", user).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains("authorization: bearer opens-nothing"), "{headers}");
        assert_eq!(body, r#"{"code":"200","message":"success","data":"Bearer opens-nothing","success":true}"#);
        assert_eq!(post(served.address, "/api/v1/auth/login", "", "user").await.0, "HTTP/1.1 400 Bad Request");
    });
}

#[test]
fn health_follows_readiness() {
    run_test(async {
        let served = serve(&founded(), None).await;
        let (status, _, body) = get(served.address, "/health").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 503 Service Unavailable", "not_ok"));
        served.ready.send(true);
        let (status, _, body) = get(served.address, "/health").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "ok"));
    });
}

#[test]
fn metrics_and_status() {
    run_test(async {
        let served = serve(&founded(), None).await;
        let (_, headers, body) = get(served.address, "/metrics").await;
        assert!(headers.contains("content-type: text/plain; version=0.0.4"), "{headers}");
        assert!(body.ends_with("quorate_test_seconds 7\n"), "{body}");
        let (_, _, body) = get(served.address, "/quorate/v1/status").await;
        let status: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(status["node"], 1);
        assert_eq!(status["cluster"], "ab".repeat(16));
        assert_eq!(status["nodes"][1]["seata"], "10.0.0.2:8091");
        let group = serde_json::json!({
            "group": 1, "label": "orders", "health": "FOLLOWER_DOWN", "leader": 2, "term": 4,
            "replicas": [2, 1], "target": null, "slots": 4096, "committed": 9, "applied": 8,
        });
        assert_eq!(status["groups"], serde_json::json!([group]));
    });
}

#[test]
fn a_leader_is_moved_from_loopback() {
    run_test(async {
        let served = serve(&founded(), None).await;
        let path = "/quorate/v1/groups/1/leader";
        assert_eq!(post(served.address, path, "", "node=3").await.0, "HTTP/1.1 200 OK");
        assert_eq!(*served.moved.lock().expect("nobody panicked"), [(GroupId(1), NodeId(3))]);
        assert_eq!(post(served.address, path, "", "node=9").await.2, "no such node\n");
        assert_eq!(post(served.address, path, "", "nod=3").await.0, "HTTP/1.1 400 Bad Request");
        let from_a_browser = "origin: http://evil.example\r\n";
        assert_eq!(post(served.address, path, from_a_browser, "node=3").await.0, "HTTP/1.1 403 Forbidden");
        assert_eq!(get(served.address, path).await.0, "HTTP/1.1 405 Method Not Allowed");
    });
}

#[test]
fn nodes_are_drained_and_removed_by_their_paths() {
    run_test(async {
        let served = serve(&founded(), None).await;
        let ask = async |path: &str| {
            let (status, _, body) = post(served.address, &format!("/quorate/v1/nodes/{path}"), "", "").await;
            (status, body)
        };
        assert_eq!(ask("3/drain").await.1, "node 3 is draining\n");
        assert_eq!(ask("3/undrain").await.1, "node 3 is serving\n");
        assert_eq!(ask("3/remove").await.1, "node 3 is removing\n");
        let (status, body) = ask("2/drain").await;
        assert!(status.ends_with("409 Conflict") && body.contains("let another node join first"), "{status} {body}");
        let (status, body) = ask("2/replace").await;
        assert_eq!((status.as_str(), body.as_str()), ("HTTP/1.1 200 OK", "node 2 is lost\n"));
        let (_, body) = ask("2/undrain").await;
        assert_eq!(body, "node 2 is lost: it cannot be made serving\n");
        let (status, body) = ask("9/remove").await;
        assert!(status.ends_with("409 Conflict") && body.contains("node 9 is no member"), "{status} {body}");
        for wrong in ["2/dance", "x/drain", "2"] {
            assert_eq!(ask(wrong).await.0, "HTTP/1.1 404 Not Found");
        }
        let browser = post(served.address, "/quorate/v1/nodes/2/drain", "origin: http://evil\r\n", "").await;
        assert_eq!(browser.0, "HTTP/1.1 403 Forbidden");
        assert_eq!(get(served.address, "/quorate/v1/nodes/2/drain").await.0, "HTTP/1.1 405 Method Not Allowed");
    });
}

/// A context that shows nothing.
fn of_nothing(token: Option<&str>) -> AdminContext {
    let presenter = Presenter { node: NodeId(1), seata: String::new(), admin: String::new(), group: String::new() };
    AdminContext {
        face: Mutex::new(Face::of(&Routing::empty(), &presenter)),
        presenter,
        token: token.map(str::to_owned),
        login: None,
        routing: watch::channel(Routing::empty()).1,
        ready: watch::channel(true).1,
        groups: Box::new(Vec::new),
        metrics: Vec::new(),
        seata_figures: None,
        strategy: StrategyV1::ConsistentHash,
        weigh: Box::new(|_| None),
        move_leader: Box::new(|_, _| Box::pin(async { Ok(()) })),
        console: Console::of_nothing(),
        tell_meta: Box::new(|_| Box::pin(async { Err(Untaken::Unknown) })),
    }
}

#[test]
fn seata_has_the_end_of_the_metrics_page() {
    use http_body_util::BodyExt;
    run_test(async {
        let metrics = || -> Vec<Gather> { vec![Box::new(|page| page.gauge("quorate_test_seconds", "").value(7))] };
        let figures: SeataFigures = Box::new(|| {
            let mut meters = Meters::default();
            let labels = Labels { application: "shop".into(), service_group: "default_tx_group".into() };
            meters.count(labels, Event::AfterRollbacked, 8, 0);
            Box::pin(async move { meters.figures(&BTreeMap::new(), 0) })
        });
        let wanted = AdminContext { metrics: metrics(), seata_figures: Some(figures), ..of_nothing(None) };
        let unwanted = AdminContext { metrics: metrics(), ..of_nothing(None) };
        let mut pages = Vec::new();
        for context in [wanted, unwanted] {
            let body = route::metrics(&context).await.into_body().collect().await.expect("it is whole").to_bytes();
            pages.push(String::from_utf8(body.to_vec()).expect("UTF-8"));
        }
        let seata = pages[0].strip_prefix(&*pages[1]).expect("ours first");
        assert!(seata.starts_with("# HELP seata_transaction "), "{seata}");
        assert!(seata.contains("statistic=\"total\",status=\"AfterRollbacked\"} 8\n"), "{seata}");
        assert!(!pages[1].contains("seata"), "{}", pages[1]);
    });
}

#[test]
fn others_need_the_token() {
    let allowed = |token: Option<&str>, peer: &str, shown: Option<&'static str>| {
        let mut headers = hyper::HeaderMap::new();
        headers
            .extend(shown.map(|shown| (hyper::header::AUTHORIZATION, hyper::header::HeaderValue::from_static(shown))));
        route::may_change(&of_nothing(token), peer.parse().expect("an address"), &headers)
    };
    assert!(allowed(None, "127.0.0.1:1", None) && allowed(None, "[::ffff:127.0.0.1]:1", None));
    assert!(!allowed(None, "10.0.0.7:1", None) && !allowed(None, "10.0.0.7:1", Some("Bearer ")));
    assert!(allowed(Some("sesame"), "10.0.0.7:1", Some("Bearer sesame")));
    assert!(!allowed(Some("sesame"), "10.0.0.7:1", Some("Bearer sesamo")));
    assert!(!allowed(Some("sesame"), "10.0.0.7:1", Some("sesame")));
    assert!(allowed(Some("sesame"), "127.0.0.1:1", None));
}

#[test]
fn bounds_and_strangers() {
    run_test(async {
        let served = serve(&founded(), None).await;
        assert_eq!(get(served.address, "/nothing").await.0, "HTTP/1.1 404 Not Found");
        let change = "/metadata/v1/changeCluster?raftClusterStr=10.0.0.1:9091";
        assert_eq!(post(served.address, change, "", "").await.0, "HTTP/1.1 404 Not Found");
        assert_eq!(post(served.address, "/health", "", "").await.0, "HTTP/1.1 405 Method Not Allowed");
        let large = "x".repeat(BODY_BYTES_MAX + 1);
        assert_eq!(post(served.address, "/metadata/v1/watch", "", &large).await.0, "HTTP/1.1 413 Payload Too Large");
        let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
        let (status, _, _) = post(served.address, "/metadata/v1/watch", &many, "").await;
        assert_eq!(status, "HTTP/1.1 431 Request Header Fields Too Large");
    });
}

#[test]
fn service_groups_are_mapped_by_the_operator() {
    run_test(async {
        let served = serve(&founded(), None).await;
        let call = async |path: &str, headers: &str| {
            let head = format!("GET {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n{headers}\r\n");
            let (status, _, body) = ask(served.address, &head).await;
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            (status.trim_start_matches("HTTP/1.1 ").to_owned(), body)
        };
        let add = "/vgroup/v1/addVGroup?vGroup=my+shop&unit=u1";
        let done = serde_json::json!({"code": "200", "message": "success", "success": true});
        let shown = async || {
            let (_, _, body) = get(served.address, "/metadata/v1/cluster").await;
            let cluster: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            let metadata = |node: usize| cluster["nodes"][node]["metadata"].clone();
            (metadata(0), metadata(1))
        };
        let nothing = serde_json::json!({});
        assert_eq!(shown().await, (nothing.clone(), nothing.clone()));
        assert_eq!(call(add, "").await, ("200 OK".to_owned(), done.clone()));
        // Beside the node that is asked alone: the answer stays small.
        assert_eq!(shown().await, (serde_json::json!({"vGroup": {"my shop": "u1"}}), nothing.clone()));
        let (_, _, status) = get(served.address, "/quorate/v1/status").await;
        assert!(status.ends_with(r#""vgroups":[{"vgroup":"my shop","cluster":"default","unit":"u1"}]}"#), "{status}");
        for (path, message) in [
            ("/vgroup/v1/addVGroup?unit=u1", "vGroup: which transaction service group"),
            ("/vgroup/v1/addVGroup?vGroup=a", "unit: which unit serves it"),
            ("/vgroup/v1/removeVGroup?vGroup=", "vGroup: which transaction service group"),
        ] {
            let (status, body) = call(path, "").await;
            assert_eq!((status.as_str(), &body["message"]), ("400 Bad Request", &message.into()));
        }
        let (status, body) = call(&format!("/vgroup/v1/addVGroup?vGroup={}&unit=u", "x".repeat(256)), "").await;
        assert_eq!((status.as_str(), &body["success"]), ("409 Conflict", &false.into()));
        // A GET comes from any page in a browser on the operator's machine.
        for header in
            ["origin: http://evil.example\r\n", "referer: http://evil.example/\r\n", "sec-fetch-site: cross-site\r\n"]
        {
            assert_eq!(call("/vgroup/v1/removeVGroup?vGroup=my+shop", header).await.0, "403 Forbidden", "{header}");
        }
        let (status, _, _) = post(served.address, "/vgroup/v1/removeVGroup?vGroup=my+shop", "", "").await;
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
        assert_eq!(call("/vgroup/v1/removeVGroup?vGroup=my+shop", "").await, ("200 OK".to_owned(), done));
        assert_eq!(shown().await, (nothing.clone(), nothing));
    });
}

#[test]
fn a_node_that_starts_is_asked_again() {
    run_test(async {
        let served = serve(&founded(), None).await;
        served.is_starting.store(true, Ordering::Relaxed);
        let text = "the node is starting: say it again in a moment";
        let add = "/vgroup/v1/addVGroup?vGroup=a&unit=u";
        for path in [add, "/vgroup/v1/removeVGroup?vGroup=a"] {
            let (status, _, body) = get(served.address, path).await;
            assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
            let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(body, serde_json::json!({"code": "503", "message": text, "success": false}));
        }
        let (status, _, body) = post(served.address, "/quorate/v1/nodes/3/drain", "", "").await;
        assert_eq!((status.as_str(), body), ("HTTP/1.1 503 Service Unavailable", format!("{text}\n")));
        served.is_starting.store(false, Ordering::Relaxed);
        assert_eq!(get(served.address, add).await.0, "HTTP/1.1 200 OK");
    });
}

#[test]
fn slots_are_spread_by_wish() {
    run_test(async {
        let meta = founded();
        let served = serve(&meta, None).await;
        let ask = |path: &'static str, form: &'static str| async move {
            let (status, _, body) = post(served.address, path, "", form).await;
            (status.split(' ').nth(1).unwrap_or_default().to_owned(), body)
        };
        let plan = async |query: &str| {
            let (_, _, body) = get(served.address, &format!("/quorate/v1/rebalance{query}")).await;
            serde_json::from_str::<serde_json::Value>(&body).expect("JSON")
        };
        let shown = plan("").await;
        assert_eq!((shown["is_wished"].as_bool(), shown["under_way"].as_u64()), (Some(false), Some(0)), "{shown}");
        assert_eq!(shown["slots"].as_u64(), Some(0), "one group has all: {shown}");
        let (code, added) = ask("/quorate/v1/groups", "label=east").await;
        assert_eq!((code.as_str(), added.contains("group 2 is added")), ("200", true), "{added}");
        let shown = plan("").await;
        assert!(shown["slots"].as_u64().is_some_and(|slots| slots > 1_000), "it has its share yet to get: {shown}");
        assert_eq!(shown["shares"][0]["to"], 2);
        assert_eq!(ask("/quorate/v1/groups", "label=e%20t").await.0, "400");
        assert_eq!(ask("/quorate/v1/groups", "key=12").await.0, "400");
        assert_eq!(ask("/quorate/v1/groups/2/remove", "").await.0, "200");
        let (code, refused) = ask("/quorate/v1/groups/77/remove", "").await;
        assert_eq!((code.as_str(), refused.as_str()), ("409", "there is no data group 77\n"));
        let shown = plan("").await;
        assert_eq!((&shown["leaving"], &shown["slots"]), (&serde_json::json!([2]), &serde_json::json!(0)));
        assert_eq!(get(served.address, "/quorate/v1/rebalance?leaving=1").await.0, "HTTP/1.1 409 Conflict");
        assert!(shown["is_wished"].as_bool().is_some_and(|wished| wished), "{shown}");
        assert_eq!(get(served.address, "/quorate/v1/rebalance?leaving=x").await.0, "HTTP/1.1 400 Bad Request");
        assert_eq!(
            ask("/quorate/v1/rebalance/stop", "").await,
            ("200".to_owned(), "no more slots start to move\n".to_owned())
        );
        assert_eq!(ask("/quorate/v1/rebalance/stop", "").await.1, "no slots were to move\n");
        assert_eq!(get(served.address, "/quorate/v1/groups/2/remove").await.0, "HTTP/1.1 405 Method Not Allowed");
    });
}
