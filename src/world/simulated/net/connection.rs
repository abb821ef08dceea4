//! A connection: two pipes, two ends.
//!
//! A pipe carries segments in order. Only its first segment has a timer; segments due at the same moment arrive
//! together. Its window bounds what is written and not yet read on the other side: beyond it the writer waits.

use super::{Carried, EndId};
use crate::net::SocketAddr;
use crate::simulated::faults::FaultClass;
use crate::simulated::state::{Power, State};
use crate::simulated::timers::TimerKey;
use crate::simulated::trace::{Kind, hash_of};
use std::collections::VecDeque;
use std::io;
use std::task::{Poll, Waker};
use tokio::io::ReadBuf;

/// Smallest and largest window of a connection: what two kernels buffer for it.
const WINDOW_BYTES: (u64, u64) = (64 * 1024, 512 * 1024);
/// One call in so many moves fewer bytes than it could.
const SHORT_CALL_PER_MILLION: u32 = 20_000;
/// Later writes join a segment under way up to this size.
const SEGMENT_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Connection {
    ends: [End; 2],
    /// By the side that writes.
    pipes: [Pipe; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A process holds it.
    Open,
    /// Closed by its process or by the kernel after it.
    Closed,
    /// Its machine lost power: nobody is there, and nobody said so.
    Vanished,
}

struct End {
    machine: u32,
    address: SocketAddr,
    standing: Standing,
    /// How many of its two halves are still held.
    halves: u8,
    /// The writing half has said its last.
    write_closed: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(super) struct Pipe {
    under_way: VecDeque<Segment>,
    /// When the last segment is due, so that none overtakes it.
    last_due_nanos: u64,
    arrived: VecDeque<u8>,
    end_arrived: bool,
    /// Written and not yet read and acknowledged.
    outstanding_bytes: usize,
    /// Read, but the acknowledgement cannot get through.
    withheld_bytes: usize,
    window_bytes: usize,
    pub(super) scheduled: Option<TimerKey>,
    /// Since when it waits for a blocked link or a machine without power.
    held_since_nanos: Option<u64>,
}

struct Segment {
    due_nanos: u64,
    sent_nanos: u64,
    what: What,
}

enum What {
    Bytes(Vec<u8>),
    End,
    Reset,
}

impl Connection {
    pub fn new(windows: [usize; 2], from: (u32, SocketAddr), to: (u32, SocketAddr)) -> Connection {
        Connection { ends: [End::new(from), End::new(to)], pipes: windows.map(Pipe::new) }
    }

    /// From which machine to which this direction goes.
    pub fn machines(&self, from: EndId) -> (u32, u32) {
        (self.ends[from.side].machine, self.ends[1 - from.side].machine)
    }

    pub fn is_held(&self, from: EndId) -> bool {
        self.pipes[from.side].held_since_nanos.is_some()
    }

    pub fn pipe_mut(&mut self, from: EndId) -> &mut Pipe {
        &mut self.pipes[from.side]
    }

    pub fn address(&self, side: usize) -> SocketAddr {
        self.ends[side].address
    }
}

impl End {
    fn new((machine, address): (u32, SocketAddr)) -> End {
        End {
            machine,
            address,
            standing: Standing::Open,
            halves: 2,
            write_closed: false,
            reset: false,
            reader: None,
            writer: None,
        }
    }
}

impl Pipe {
    fn new(window_bytes: usize) -> Pipe {
        Pipe {
            under_way: VecDeque::new(),
            last_due_nanos: 0,
            arrived: VecDeque::new(),
            end_arrived: false,
            outstanding_bytes: 0,
            withheld_bytes: 0,
            window_bytes,
            scheduled: None,
            held_since_nanos: None,
        }
    }
}

impl State {
    pub(super) fn draw_windows(&mut self, from: u32, to: u32) -> [usize; 2] {
        let dice = self.net.chance.on(from, to);
        [0, 1].map(|_| dice.between(WINDOW_BYTES.0, WINDOW_BYTES.1) as usize)
    }

    /// A process writes.
    pub fn net_write(&mut self, end: EndId, bytes: &[u8], waker: &Waker) -> Poll<io::Result<usize>> {
        let Some(found) = self.net.connections.get_mut(&end.connection) else { return gone() };
        let (from, to) = found.machines(end);
        let (own, pipe) = (&mut found.ends[end.side], &mut found.pipes[end.side]);
        if own.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if own.write_closed || own.standing != Standing::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = pipe.window_bytes.saturating_sub(pipe.outstanding_bytes);
        if room == 0 {
            own.writer = Some(waker.clone());
            return Poll::Pending;
        }
        let mut count = bytes.len().min(room);
        let dice = self.net.chance.on(from, to);
        if count > 1 && dice.happens(SHORT_CALL_PER_MILLION) {
            count = 1 + dice.below(count as u64) as usize;
        }
        pipe.outstanding_bytes += count;
        self.record(Kind::Sent, end.number(), count as u64, hash_of(&bytes[..count]));
        self.send_bytes(end, from, to, bytes[..count].to_vec());
        Poll::Ready(Ok(count))
    }

    fn send_bytes(&mut self, end: EndId, from: u32, to: u32, mut bytes: Vec<u8>) {
        let link = self.link(from, to);
        if self.net.chance.on(from, to).happens(link.reset_per_million) {
            self.count(FaultClass::LinkReset, from, u64::from(to));
            self.break_connection(end.connection);
            return;
        }
        if self.net.chance.on(from, to).happens(link.corrupt_per_million) {
            self.count(FaultClass::LinkCorruption, from, u64::from(to));
            let bit = self.net.chance.on(from, to).below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        self.send(end, What::Bytes(bytes));
    }

    fn send(&mut self, end: EndId, what: What) {
        let Some(found) = self.net.connections.get(&end.connection) else { return };
        let (from, to) = found.machines(end);
        let bytes = if let What::Bytes(bytes) = &what { bytes.len() } else { 0 };
        let passage = self.draw_passage(from, to, bytes);
        let now = self.now_nanos();
        let Some(found) = self.net.connections.get_mut(&end.connection) else { return };
        let pipe = found.pipe_mut(end);
        let due_nanos = pipe.last_due_nanos.max(now + passage);
        pipe.last_due_nanos = due_nanos;
        let what = match pipe.under_way.back_mut() {
            Some(Segment { due_nanos: due, what: What::Bytes(first), .. })
                if *due == due_nanos && first.len() < SEGMENT_BYTES_MAX =>
            {
                match what {
                    What::Bytes(more) => return first.extend_from_slice(&more),
                    What::End | What::Reset => what,
                }
            }
            Some(_) | None => what,
        };
        pipe.under_way.push_back(Segment { due_nanos, sent_nanos: now, what });
        if pipe.scheduled.is_none() && pipe.held_since_nanos.is_none() {
            self.schedule_arrival(end, due_nanos);
        }
    }

    /// The first segments of a pipe are due.
    pub(super) fn arrive(&mut self, from: EndId) {
        let now = self.now_nanos();
        loop {
            let Some(found) = self.net.connections.get_mut(&from.connection) else { return };
            let (sender, receiver) = found.machines(from);
            let pipe = found.pipe_mut(from);
            pipe.scheduled = None;
            pipe.held_since_nanos = None;
            let Some(first) = pipe.under_way.front() else { return };
            let (due, sent) = (first.due_nanos, first.sent_nanos);
            if due > now {
                return self.schedule_arrival(from, due);
            }
            let is_off = self.machine(receiver).power == Power::Off;
            if is_off || self.is_stopped(sender, receiver, sent) {
                return self.hold(from, now, is_off);
            }
            let Some(found) = self.net.connections.get_mut(&from.connection) else { return };
            let Some(segment) = found.pipe_mut(from).under_way.pop_front() else { return };
            self.deliver(from, sent, segment.what);
        }
    }

    /// Nothing passes: the pipe waits, but a reset that cannot be delivered is forgotten, as nobody sends it twice.
    fn hold(&mut self, from: EndId, now: u64, is_off: bool) {
        let Some(found) = self.net.connections.get_mut(&from.connection) else { return };
        let (sender, receiver) = found.machines(from);
        let pipe = found.pipe_mut(from);
        pipe.held_since_nanos = Some(now);
        pipe.under_way.retain(|segment| !matches!(segment.what, What::Reset));
        // What is sent again is judged by the new attempt.
        pipe.under_way.iter_mut().for_each(|segment| segment.sent_nanos = segment.sent_nanos.max(now));
        if !is_off {
            self.count(FaultClass::LinkBlocked, sender, u64::from(receiver));
        }
    }

    fn deliver(&mut self, from: EndId, sent_nanos: u64, what: What) {
        let to = from.other();
        let arrived_nanos = self.now_nanos();
        let Some(found) = self.net.connections.get_mut(&from.connection) else { return };
        let machines = found.machines(from);
        let (own, pipe) = (&mut found.ends[to.side], &mut found.pipes[from.side]);
        if own.standing != Standing::Open {
            // Nobody is there. The kernel answers bytes with a reset, and ends with nothing.
            if let What::Bytes(_) = what {
                self.send(to, What::Reset);
            }
            return;
        }
        if own.reset {
            return;
        }
        match what {
            What::Bytes(bytes) => {
                pipe.arrived.extend(&bytes);
                self.wakes.extend(own.reader.take());
                self.record(Kind::Delivered, from.number(), bytes.len() as u64, hash_of(&bytes));
                if let Some(kept) = &mut self.net.kept {
                    let (from, to, way) = (machines.0, machines.1, from.number());
                    kept.push(Carried { way, from, to, sent_nanos, arrived_nanos, bytes });
                }
            }
            What::End => {
                pipe.end_arrived = true;
                self.wakes.extend(own.reader.take());
                self.record(Kind::Closed, from.number(), 0, 0);
            }
            What::Reset => {
                own.reset = true;
                self.wakes.extend(own.reader.take().into_iter().chain(own.writer.take()));
                self.record(Kind::Closed, from.number(), 1, 0);
            }
        }
    }

    /// A process reads. Zero bytes are the end.
    pub fn net_read(&mut self, end: EndId, into: &mut ReadBuf<'_>, waker: &Waker) -> Poll<io::Result<()>> {
        let Some(found) = self.net.connections.get_mut(&end.connection) else { return gone() };
        let (writer_machine, reader_machine) = found.machines(end.other());
        let (own, pipe) = (&mut found.ends[end.side], &mut found.pipes[1 - end.side]);
        if pipe.arrived.is_empty() {
            if own.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if pipe.end_arrived || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            own.reader = Some(waker.clone());
            return Poll::Pending;
        }
        let mut count = pipe.arrived.len().min(into.remaining());
        let dice = self.net.chance.on(writer_machine, reader_machine);
        if count > 1 && dice.happens(SHORT_CALL_PER_MILLION) {
            count = 1 + dice.below(count as u64) as usize;
        }
        // No more than that: buffers are large, and messages small.
        take_front(&mut pipe.arrived, into.initialize_unfilled_to(count));
        into.advance(count);
        pipe.withheld_bytes += count;
        if !self.net.blocked_since.contains_key(&(reader_machine, writer_machine)) {
            self.give_withheld_credit(end.other());
        }
        Poll::Ready(Ok(()))
    }

    /// The writer of this direction hears what has been read.
    pub(super) fn give_withheld_credit(&mut self, from: EndId) {
        let Some(found) = self.net.connections.get_mut(&from.connection) else { return };
        let (own, pipe) = (&mut found.ends[from.side], &mut found.pipes[from.side]);
        let credit = std::mem::take(&mut pipe.withheld_bytes);
        pipe.outstanding_bytes = pipe.outstanding_bytes.saturating_sub(credit);
        if credit > 0 {
            self.wakes.extend(own.writer.take());
        }
    }

    /// A process says that it will write no more.
    pub fn net_shutdown(&mut self, end: EndId) -> io::Result<()> {
        let Some(found) = self.net.connections.get_mut(&end.connection) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let own = &mut found.ends[end.side];
        if own.write_closed || own.reset || own.standing != Standing::Open {
            return Ok(());
        }
        own.write_closed = true;
        self.send(end, What::End);
        Ok(())
    }

    /// A process lets go of one half of its end: the writing half says so, the other does not.
    pub fn net_drop_half(&mut self, end: EndId, writes: bool) {
        let Some(found) = self.net.connections.get_mut(&end.connection) else { return };
        let own = &mut found.ends[end.side];
        if own.standing != Standing::Open {
            return;
        }
        own.halves = own.halves.saturating_sub(1);
        if own.halves == 0 {
            self.close_end(end);
        } else if writes && !own.write_closed && !own.reset {
            own.write_closed = true;
            self.send(end, What::End);
        }
    }

    /// What the kernel does with an end that nobody holds any more.
    pub(super) fn close_end(&mut self, end: EndId) {
        let Some(found) = self.net.connections.get_mut(&end.connection) else { return };
        let unread = !found.pipes[1 - end.side].arrived.is_empty();
        let own = &mut found.ends[end.side];
        if own.standing != Standing::Open {
            return;
        }
        own.standing = Standing::Closed;
        // Somebody may be waiting in another task of the same process.
        self.wakes.extend(own.reader.take().into_iter().chain(own.writer.take()));
        let (said_end, was_reset) = (own.write_closed, own.reset);
        own.write_closed = true;
        if !was_reset && unread {
            self.send(end, What::Reset);
        } else if !was_reset && !said_end {
            self.send(end, What::End);
        }
        self.forget_if_over(end.connection);
    }

    /// Both sides hear of a reset, each after its latency.
    pub(super) fn break_connection(&mut self, connection: u64) {
        for side in 0..2 {
            let end = EndId { connection, side };
            if let Some(found) = self.net.connections.get_mut(&connection) {
                let pipe = found.pipe_mut(end);
                pipe.under_way.clear();
                pipe.held_since_nanos = None;
                let old = pipe.scheduled.take();
                if let Some(old) = old {
                    self.remove_timer(old);
                }
            }
            self.send(end, What::Reset);
        }
    }

    /// Breaks every connection between two machines.
    pub fn break_connections(&mut self, one: u32, other: u32) -> usize {
        let between = |ends: &[End; 2]| {
            let machines = (ends[0].machine, ends[1].machine);
            machines == (one, other) || machines == (other, one)
        };
        let found: Vec<u64> =
            self.net.connections.iter().filter(|(_, known)| between(&known.ends)).map(|(&number, _)| number).collect();
        for &connection in &found {
            self.break_connection(connection);
        }
        found.len()
    }

    /// All ends of a process whose machine lives on.
    pub(super) fn close_ends_of(&mut self, machine: u32) {
        for end in self.ends_of(machine) {
            self.close_end(end);
        }
    }

    /// All ends of a machine without power: gone, and nobody says so.
    pub(super) fn vanish_ends_of(&mut self, machine: u32) {
        for end in self.ends_of(machine) {
            let Some(found) = self.net.connections.get_mut(&end.connection) else { continue };
            found.ends[end.side].standing = Standing::Vanished;
            self.forget_if_over(end.connection);
        }
    }

    /// Power is back: peers who still have something to say are told that nobody knows them.
    pub(super) fn answer_held(&mut self, machine: u32) {
        let now = self.now_nanos();
        let held: Vec<(EndId, (u32, u32), u64)> = self
            .ends_at(machine)
            .into_iter()
            .filter_map(|end| {
                let found = self.net.connections.get_mut(&end.connection)?;
                let machines = found.machines(end.other());
                Some((end.other(), machines, now - found.pipe_mut(end.other()).held_since_nanos?))
            })
            .collect();
        for (from, (sender, receiver), silent_nanos) in held {
            let at = now + self.draw_retransmission(sender, receiver, silent_nanos);
            self.schedule_arrival(from, at);
        }
    }

    /// Every end at this machine, whoever held it.
    fn ends_at(&self, machine: u32) -> Vec<EndId> {
        let mut found = Vec::new();
        for (&connection, known) in &self.net.connections {
            for side in 0..2 {
                if known.ends[side].machine == machine {
                    found.push(EndId { connection, side });
                }
            }
        }
        found
    }

    fn ends_of(&self, machine: u32) -> Vec<EndId> {
        let is_open = |end: &EndId| self.net.connections[&end.connection].ends[end.side].standing == Standing::Open;
        self.ends_at(machine).into_iter().filter(is_open).collect()
    }

    fn forget_if_over(&mut self, connection: u64) {
        let Some(found) = self.net.connections.get(&connection) else { return };
        if found.ends.iter().any(|end| end.standing == Standing::Open) {
            return;
        }
        let Some(over) = self.net.connections.remove(&connection) else { return };
        for key in over.pipes.iter().filter_map(|pipe| pipe.scheduled) {
            self.remove_timer(key);
        }
    }

    /// The address of this end (or of the other) of a connection.
    pub fn net_address(&self, end: EndId) -> io::Result<SocketAddr> {
        let found = self.net.connections.get(&end.connection);
        found.map(|found| found.address(end.side)).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn take_front(from: &mut VecDeque<u8>, into: &mut [u8]) {
    let (front, back) = from.as_slices();
    let first = front.len().min(into.len());
    into[..first].copy_from_slice(&front[..first]);
    let rest = into.len() - first;
    into[first..].copy_from_slice(&back[..rest]);
    from.drain(..into.len());
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}
