//! Making connections.
//!
//! A connect knocks. If the machine is on and reachable, its kernel answers: with a connection if somebody listens,
//! else with a refusal. If it is off or the way is blocked, nobody answers, and the kernel knocks again after one, two,
//! four seconds and so on, until it gives up after about two minutes, which is far later than callers wait.

use super::connection::Connection;
use super::{EndId, NetEvent};
use crate::net::{IpAddr, Ipv4Addr, SocketAddr};
use crate::simulated::Identity;
use crate::simulated::faults::FaultClass;
use crate::simulated::state::{Power, State, remember};
use crate::simulated::timers::Due;
use crate::simulated::trace::Kind;
use std::collections::VecDeque;
use std::io;
use std::task::{Poll, Waker};

/// How many connections wait for an `accept` before knocks are ignored.
const BACKLOG_CONNECTIONS: usize = 128;
/// How often the kernel knocks before it gives up.
const KNOCKS_MAX: u32 = 7;
const SECOND_NANOS: u64 = 1_000_000_000;
/// The first port given to those who do not ask for one.
const EPHEMERAL_PORTS: std::ops::Range<u16> = 32_768..61_000;

pub(super) struct Listening {
    number: u64,
    address: SocketAddr,
    waiting: VecDeque<u64>,
    acceptors: Vec<Waker>,
}

pub(super) struct Attempt {
    owner: Identity,
    target: SocketAddr,
    /// Known once the other side has answered.
    outcome: Option<Outcome>,
    /// How it will turn out when the answer arrives.
    answer: Option<Outcome>,
    machine: u32,
    knocks: u32,
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
enum Outcome {
    Connected(u64),
    Failed(io::ErrorKind),
}

impl State {
    pub fn net_listen(&mut self, owner: Identity, asked: SocketAddr) -> io::Result<(u64, SocketAddr)> {
        if !self.is_alive(owner) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let ip = self.machine(owner.machine).ip;
        if asked.ip() != ip && !asked.ip().is_loopback() && !asked.ip().is_unspecified() {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, format!("{asked} is not an address of {ip}")));
        }
        let port = if asked.port() == 0 { self.free_port(owner.machine)? } else { asked.port() };
        if self.net.listening.contains_key(&(owner.machine, port)) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("port {port} of {ip} is in use")));
        }
        let number = self.net.next_number();
        let address = SocketAddr::new(asked.ip(), port);
        let listening = Listening { number, address, waiting: VecDeque::new(), acceptors: Vec::new() };
        self.net.listening.insert((owner.machine, port), listening);
        Ok((number, address))
    }

    fn free_port(&mut self, machine: u32) -> io::Result<u16> {
        for _ in EPHEMERAL_PORTS {
            let found = self.machine_mut(machine);
            let port = found.next_port;
            found.next_port = if port + 1 < EPHEMERAL_PORTS.end { port + 1 } else { EPHEMERAL_PORTS.start };
            if EPHEMERAL_PORTS.contains(&port) && !self.net.listening.contains_key(&(machine, port)) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub fn net_accept(
        &mut self,
        owner: Identity,
        number: u64,
        port: u16,
        waker: &Waker,
    ) -> Poll<io::Result<(EndId, SocketAddr)>> {
        let listening = match self.net.listening.get_mut(&(owner.machine, port)) {
            Some(listening) if listening.number == number => listening,
            Some(_) | None => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        };
        let Some(connection) = listening.waiting.pop_front() else {
            remember(&mut listening.acceptors, waker);
            return Poll::Pending;
        };
        let peer = EndId { connection, side: 0 };
        Poll::Ready(self.net_address(peer).map(|address| (peer.other(), address)))
    }

    /// The listener is dropped: whoever waits in line is thrown out.
    pub fn net_stop_listening(&mut self, machine: u32, number: u64, port: u16) {
        let is_it = self.net.listening.get(&(machine, port)).is_some_and(|listening| listening.number == number);
        if !is_it {
            return;
        }
        let Some(listening) = self.net.listening.remove(&(machine, port)) else { return };
        for connection in listening.waiting {
            self.close_end(EndId { connection, side: 1 });
        }
        self.wakes.extend(listening.acceptors);
    }

    /// A process begins to connect.
    pub fn net_connect(&mut self, owner: Identity, target: SocketAddr) -> u64 {
        let target_ip = if target.ip().is_loopback() || target.ip().is_unspecified() {
            self.machine(owner.machine).ip
        } else {
            target.ip()
        };
        let number = self.net.next_number();
        if !self.is_alive(owner) {
            return number;
        }
        // An address that nobody has is a machine that is never on.
        let machine = self.net.ips.get(&target_ip).copied().unwrap_or(u32::MAX);
        let attempt = Attempt { owner, target, outcome: None, answer: None, machine, knocks: 0, waker: None };
        self.net.attempts.insert(number, attempt);
        let passage = if machine == u32::MAX { 0 } else { self.draw_passage(owner.machine, machine, 0) };
        self.add_net_timer(passage, NetEvent::Knock(number));
        number
    }

    fn add_net_timer(&mut self, ahead_nanos: u64, event: NetEvent) {
        let at = self.now_nanos() + ahead_nanos;
        self.add_timer(at, Due::Net(event));
    }

    /// A knock arrives, if it does.
    pub(super) fn knock(&mut self, number: u64) {
        let Some(attempt) = self.net.attempts.get_mut(&number) else { return };
        attempt.knocks += 1;
        let (owner, target, machine) = (attempt.owner, attempt.target, attempt.machine);
        let now = self.now_nanos();
        let unheard = machine == u32::MAX
            || self.machine(machine).power == Power::Off
            || self.is_stopped(owner.machine, machine, now);
        if unheard {
            return self.knock_again(number);
        }
        let listening = self.net.listening.get(&(machine, target.port()));
        let listening = listening.filter(|listening| owner.machine == machine || !listening.address.ip().is_loopback());
        let outcome = match listening {
            None => Outcome::Failed(io::ErrorKind::ConnectionRefused),
            Some(listening) if listening.waiting.len() >= BACKLOG_CONNECTIONS => return self.knock_again(number),
            Some(_) => Outcome::Connected(self.connect_to(owner, target, machine)),
        };
        if let Some(attempt) = self.net.attempts.get_mut(&number) {
            attempt.answer = Some(outcome);
        }
        let back = self.draw_passage(machine, owner.machine, 0);
        self.add_net_timer(back, NetEvent::Answer(number));
    }

    /// Nobody heard it.
    fn knock_again(&mut self, number: u64) {
        let Some(attempt) = self.net.attempts.get_mut(&number) else { return };
        let (knocks, owner, machine) = (attempt.knocks, attempt.owner, attempt.machine);
        if knocks == 1 {
            self.count(FaultClass::ConnectHang, owner.machine, u64::from(machine));
        }
        if knocks >= KNOCKS_MAX {
            return self.settle(number, Outcome::Failed(io::ErrorKind::TimedOut));
        }
        let wait = SECOND_NANOS << (knocks - 1);
        let wait = wait + self.net.chance.on(owner.machine, machine).below(wait / 10);
        self.add_net_timer(wait, NetEvent::Knock(number));
    }

    /// The kernel of the other machine makes the connection and puts it in line.
    fn connect_to(&mut self, owner: Identity, target: SocketAddr, machine: u32) -> u64 {
        let [to, back] = self.draw_windows(owner.machine, machine);
        let windows = [to, self.machine(owner.machine).receive_window_bytes.unwrap_or(back)];
        let local_ip = if owner.machine == machine && target.ip().is_loopback() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            self.machine(owner.machine).ip
        };
        // Out of ports is out of reach here: they are reused, since connections are told apart by number.
        let port = self.free_port(owner.machine).unwrap_or(EPHEMERAL_PORTS.start);
        let connection = self.net.next_number();
        let made = Connection::new(
            windows,
            (owner.machine, SocketAddr::new(local_ip, port)),
            (machine, SocketAddr::new(target.ip(), target.port())),
        );
        self.net.connections.insert(connection, made);
        if let Some(listening) = self.net.listening.get_mut(&(machine, target.port())) {
            listening.waiting.push_back(connection);
            let acceptors = std::mem::take(&mut listening.acceptors);
            self.wakes.extend(acceptors);
        }
        self.record(Kind::Connected, connection, u64::from(owner.machine), u64::from(machine));
        connection
    }

    /// An answer arrives, if it does.
    pub(super) fn answer(&mut self, number: u64) {
        let Some(attempt) = self.net.attempts.get(&number) else { return };
        let (owner, machine) = (attempt.owner, attempt.machine);
        let Some(answer) = attempt.answer else { return };
        let now = self.now_nanos();
        if self.is_stopped(machine, owner.machine, now) {
            self.count(FaultClass::ConnectHang, owner.machine, u64::from(machine));
            let again = self.net.chance.on(machine, owner.machine).between(SECOND_NANOS, 3 * SECOND_NANOS);
            return self.add_net_timer(again, NetEvent::Answer(number));
        }
        self.settle(number, answer);
    }

    fn settle(&mut self, number: u64, outcome: Outcome) {
        let Some(attempt) = self.net.attempts.get_mut(&number) else { return };
        attempt.outcome = Some(outcome);
        let machine = attempt.machine;
        let waker = attempt.waker.take();
        self.wakes.extend(waker);
        match outcome {
            Outcome::Connected(_) => {}
            Outcome::Failed(kind) => self.record(Kind::NotConnected, number, u64::from(machine), kind as u64),
        }
    }

    pub fn net_connected(&mut self, number: u64, waker: &Waker) -> Poll<io::Result<EndId>> {
        let Some(attempt) = self.net.attempts.get_mut(&number) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(outcome) = attempt.outcome else {
            attempt.waker = Some(waker.clone());
            return Poll::Pending;
        };
        let target = attempt.target;
        self.net.attempts.remove(&number);
        Poll::Ready(match outcome {
            Outcome::Connected(connection) => Ok(EndId { connection, side: 0 }),
            Outcome::Failed(kind) => Err(io::Error::new(kind, format!("connecting to {target}"))),
        })
    }

    /// The process does not want to connect any more.
    pub fn net_give_up(&mut self, number: u64) {
        let Some(attempt) = self.net.attempts.remove(&number) else { return };
        match attempt.outcome.or(attempt.answer) {
            Some(Outcome::Connected(connection)) => self.close_end(EndId { connection, side: 0 }),
            Some(Outcome::Failed(_)) | None => {}
        }
    }

    /// The kernel cleans up after a process.
    pub fn close_all(&mut self, machine: u32) {
        let ports: Vec<u16> =
            self.net.listening.keys().filter(|(owner, _)| *owner == machine).map(|(_, port)| *port).collect();
        for port in ports {
            if let Some(number) = self.net.listening.get(&(machine, port)).map(|listening| listening.number) {
                self.net_stop_listening(machine, number, port);
            }
        }
        let attempts: Vec<u64> = self.attempts_of(machine);
        for number in attempts {
            self.net_give_up(number);
        }
        self.close_ends_of(machine);
    }

    /// A machine loses power, and with it everything its kernel knew.
    pub fn vanish(&mut self, machine: u32) {
        self.net.listening.retain(|(owner, _), _| *owner != machine);
        for number in self.attempts_of(machine) {
            self.net.attempts.remove(&number);
        }
        self.vanish_ends_of(machine);
    }

    pub fn power_is_back(&mut self, machine: u32) {
        self.answer_held(machine);
    }

    fn attempts_of(&self, machine: u32) -> Vec<u64> {
        let own = self.net.attempts.iter().filter(|(_, attempt)| attempt.owner.machine == machine);
        own.map(|(&number, _)| number).collect()
    }
}
