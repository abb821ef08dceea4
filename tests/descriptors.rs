//! Nodes with few file descriptors: clients beyond the bound are closed at once, those within it are served, and the log goes
//! on; and with none left a node waits, and says so.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // real processes, on a real machine

#[path = "process/mod.rs"]
mod process;

use bytes::BytesMut;
use process::{BINARY, Folder, Node, PATIENCE, STOP_MAX, get, value};
use quorate_core::model::ResultCode;
use quorate_core::wire::{Decoded, Decoder, Head, Message, MessageKind, Registration, Version};
use quorate_core::wire::{encode_frame, encode_heartbeat};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A node with few groups and small segments, of which a few MiB of log are several.
fn start(mut command: Command, data: &Path) -> Node {
    command.env("QUORATE_STORAGE__SEGMENT_BYTES", "1MiB").env("QUORATE_STORAGE__WAL_BYTES_TARGET", "16MiB");
    command.env("QUORATE_RAFT__BATCH_BYTES_MAX", "256KiB");
    Node::start_as(command, data, &["--peer-listen", "127.0.0.1:0", "--groups", "2"])
}

/// The binary, in a shell that has set this limit, soft and hard.
fn limited_to(files: u64) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), BINARY]);
    command
}

/// A Seata client, as blunt as can be.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
    next_id: i32,
}

impl Client {
    fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the kernel takes it");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Client { stream, decoder: Decoder::new(), next_id: 1 }
    }

    /// The next frame; none: it was closed.
    fn frame(&mut self) -> Option<Decoded> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("frames") {
                return Some(frame);
            }
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => self.decoder.push(&bytes[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whether a ping is answered; no: it was closed.
    fn ping(&mut self) -> bool {
        let mut bytes = BytesMut::new();
        encode_heartbeat(&Head::new(Version::V1, MessageKind::Ping, self.next_id), &mut bytes).expect("a ping");
        // Closed by the node, it may not even be written.
        self.stream.write_all(&bytes).is_ok() && self.frame().is_some()
    }

    fn ask(&mut self, bytes: &mut BytesMut, message: &Message) {
        encode_frame(&Head::new(Version::V1, MessageKind::Request, self.next_id), message, bytes).expect("a request");
        self.next_id += 1;
    }

    fn register(&mut self) {
        let mut bytes = BytesMut::new();
        let registration = Registration {
            version: "2.3.0".to_owned(),
            application_id: "shop".to_owned(),
            service_group: "default_tx_group".to_owned(),
            extra_data: String::new(),
        };
        self.ask(&mut bytes, &Message::RegisterTm(registration));
        self.stream.write_all(&bytes).expect("it reads");
        let answer = self.frame();
        assert!(matches!(answer, Some(Decoded::Message(_, Message::RegisterTmResult(_)))), "{answer:?}");
    }

    /// Asks for so many transactions, each with a kilobyte of log, without waiting.
    fn ask_for_begins(&mut self, count: usize) {
        let mut bytes = BytesMut::new();
        for _ in 0..count {
            self.ask(&mut bytes, &Message::GlobalBegin { timeout_ms: 600_000, name: "n".repeat(1_000) });
        }
        self.stream.write_all(&bytes).expect("it reads");
    }

    fn await_begins(&mut self, count: usize) {
        for _ in 0..count {
            let Some(Decoded::Message(_, Message::GlobalBeginResult { result, .. })) = self.frame() else {
                panic!("a begin is answered");
            };
            assert_eq!(result.code, ResultCode::Success, "{result:?}");
        }
    }
}

/// The newest segment's number.
fn newest_segment(data: &Path) -> u32 {
    let names = std::fs::read_dir(data.join("wal")).expect("a folder of segments").flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok());
    numbers.max().expect("a segment")
}

#[test]
fn clients_beyond_the_limit_harm_nobody() {
    let folder = Folder::new();
    let mut node = start(limited_to(320), &folder.0);
    let fields = node.ready();
    let (seata, admin) = (value(&fields, "seata"), value(&fields, "admin"));
    let mut worker = Client::connect(seata);
    worker.register();
    let mut open = Vec::new();
    let mut closed = 0;
    for _ in 0..500 {
        let mut client = Client::connect(seata);
        match client.ping() {
            true => open.push(client),
            false => closed += 1,
        }
    }
    // All of them would be more than the node may have open.
    assert!((32..320).contains(&open.len()) && closed + open.len() == 500, "{} {closed}", open.len());
    let before = newest_segment(&folder.0);
    for _ in 0..8 {
        worker.ask_for_begins(1_000);
        worker.await_begins(1_000);
        assert!(open.iter_mut().all(Client::ping), "who is in stays in");
    }
    assert!(newest_segment(&folder.0) > before + 3, "{}", newest_segment(&folder.0));
    assert!(get(admin, "/health").ends_with("\r\n\r\nok"));
    let page = get(admin, "/metrics");
    assert!(page.contains(&format!("quorate_connections_refused_total{{kind=\"full\"}} {closed}\n")), "{page}");
    assert!(page.contains("quorate_log_waiting 0\n"), "{page}");
    // Whoever goes makes room.
    drop(open);
    let began = Instant::now();
    while !Client::connect(seata).ping() {
        assert!(began.elapsed() < PATIENCE, "no room");
        std::thread::sleep(Duration::from_millis(5));
    }
    node.terminate();
    assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());
}

/// Asks over a connection that stays open.
fn health(page: &mut TcpStream) -> String {
    page.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    while !answer.ends_with("ok") {
        let mut bytes = [0; 512];
        let read = page.read(&mut bytes).expect("it answers");
        assert!(read > 0, "it stays open");
        answer.push_str(std::str::from_utf8(&bytes[..read]).expect("text"));
    }
    answer.lines().next().unwrap_or_default().to_owned()
}

fn until_health(page: &mut TcpStream, wanted: &str) {
    let began = Instant::now();
    while health(page) != wanted {
        assert!(began.elapsed() < PATIENCE, "never {wanted}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_node_without_a_descriptor_waits_and_says_so() {
    let folder = Folder::new();
    let mut node = start(Command::new(BINARY), &folder.0);
    let fields = node.ready();
    let mut page = TcpStream::connect(value(&fields, "admin")).expect("it listens");
    page.set_read_timeout(Some(PATIENCE)).expect("a socket");
    assert_eq!(health(&mut page), "HTTP/1.1 200 OK");
    let mut client = Client::connect(value(&fields, "seata"));
    client.register();

    let pid = Pid::from_raw(i32::try_from(node.child.id()).expect("a process id"));
    let all = getrlimit(Resource::Nofile).maximum;
    let set = |current| prlimit(pid, Resource::Nofile, Rlimit { current, maximum: all }).expect("it is our child");
    // Below what is open: everything that is to be opened fails.
    set(Some(3));
    client.ask_for_begins(3_000);
    until_health(&mut page, "HTTP/1.1 503 Service Unavailable");
    let waits_at = newest_segment(&folder.0);
    std::thread::sleep(Duration::from_secs(2));
    assert!(node.child.try_wait().expect("it is our child").is_none(), "it lives");
    assert_eq!(newest_segment(&folder.0), waits_at);

    set(all);
    client.await_begins(3_000);
    until_health(&mut page, "HTTP/1.1 200 OK");
    assert!(newest_segment(&folder.0) > waits_at);
    node.terminate();
    assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());
    assert!(node.stderr().contains("trying again until others are closed"));
}

#[test]
fn too_low_a_limit_is_refused() {
    let folder = Folder::new();
    let mut node = start(limited_to(128), &folder.0);
    assert_eq!(node.ended(PATIENCE), Some(2));
    let said = node.stderr();
    assert!(said.contains("only 128 files may be open") && said.contains("ulimit -n"), "{said}");
}

#[test]
fn ten_thousand_idle_clients() {
    // As many as a process may have where that is fewer: what is asked of each stays the same.
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let clients = files.saturating_sub(2_000).min(10_000);
    assert!(clients >= 1_000, "{files} files are too few to try it: raise the hard limit (ulimit -Hn)");
    let folder = Folder::new();
    let mut node = start(Command::new(BINARY), &folder.0);
    let fields = node.ready();
    let idle = Command::new(BINARY)
        .args(["bench", "--servers", value(&fields, "seata"), "--idle", &clients.to_string(), "--measured-s", "2"])
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&[idle.stdout, idle.stderr].concat()).into_owned();
    let opened = format!("{clients} connections opened");
    assert!(said.starts_with(&opened) && said.contains(&format!(" {clients} of them open")), "{said}");
    node.terminate();
    assert_eq!(node.ended(STOP_MAX), Some(0), "{}", node.stderr());
}
