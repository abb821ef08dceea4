//! Nodes as real processes, for the tests of them.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_quorate");

/// Ample on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What is promised for a stop.
pub const STOP_MAX: Duration = Duration::from_secs(10);

/// A folder of this test, removed with it.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty one.
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("quorate-node-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node, killed at the end of its test.
pub struct Node {
    pub child: Child,
    said: mpsc::Receiver<String>,
}

impl Node {
    /// Starts one whose ports are free ones, but for what the flags say.
    pub fn start(data: &Path, flags: &[&str]) -> Node {
        Node::start_as(Command::new(BINARY), data, flags)
    }

    /// The same by a command that ends in the binary.
    pub fn start_as(mut command: Command, data: &Path, flags: &[&str]) -> Node {
        let mut child = command
            .arg("server")
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(flags)
            .args(["--log", "warn"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = child.stdout.take().expect("it is piped");
        let (say, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Node { child, said }
    }

    /// The fields of the ready line.
    pub fn ready(&mut self) -> Vec<(String, String)> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(line) => {
                let fields = line.strip_prefix("ready ").expect("the first line is the ready line");
                let pair = |field: &str| field.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
                fields.split(' ').filter_map(pair).collect()
            }
            Err(_) => {
                let _ = self.child.kill();
                panic!("not ready: {}", self.stderr());
            }
        }
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }

    /// Its exit code.
    pub fn ended(&mut self, limit: Duration) -> Option<i32> {
        let began = Instant::now();
        loop {
            match self.child.try_wait().expect("it is our child") {
                Some(status) => return status.code(),
                None if began.elapsed() > limit => {
                    let _ = self.child.kill();
                    panic!("still running after {limit:?}");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// What it has said there; once it has ended.
    pub fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            let _ = err.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A field of the ready line.
pub fn value<'a>(fields: &'a [(String, String)], key: &str) -> &'a str {
    let found = fields.iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("{key} is missing in {fields:?}"))
}

/// A port that nobody has, handed out once. Below those that the kernel gives to outgoing connections: one of them would have
/// taken the place of a node that is away when it comes back.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Processes that test at the same time begin apart.
        let port = 11_000 + (std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed)) % 21_000;
        let port = u16::try_from(port).expect("it is one");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The whole answer to a GET.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    std::io::Write::write_all(
        &mut stream,
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}
