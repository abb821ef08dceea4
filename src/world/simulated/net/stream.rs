//! What user code holds: numbers into the state, with the identity of the process they belong to.

use super::EndId;
use crate::net::{IpAddr, SocketAddr};
use crate::simulated::{Identity, identity, try_with, with};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Takes connections at an address.
#[derive(Debug)]
pub struct Listener {
    owner: Identity,
    number: u64,
    address: SocketAddr,
}

/// A connection.
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

/// The reading side of a connection.
#[derive(Debug)]
pub struct ReadHalf(EndId);

/// The writing side of a connection; dropping it sends the end.
#[derive(Debug)]
pub struct WriteHalf(EndId);

/// Starts to listen. Port 0 takes any free one.
pub async fn listen(address: SocketAddr) -> io::Result<Listener> {
    let owner = identity();
    let (number, address) = with(|state| state.net_listen(owner, address))?;
    Ok(Listener { owner, number, address })
}

/// Connects, however long the kernel tries: give it a deadline.
pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let knocking = Knocking(with(|state| state.net_connect(identity(), address)));
    let end = poll_fn(|context| with(|state| state.net_connected(knocking.0, context.waker()))).await?;
    Ok(Stream::new(end))
}

/// Turns `host:port` into an address.
pub async fn resolve(host_and_port: &str) -> io::Result<SocketAddr> {
    if let Ok(address) = host_and_port.parse() {
        return Ok(address);
    }
    let parts = host_and_port.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = parts else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("not host:port: {host_and_port:?}")));
    };
    if host == "localhost" {
        return Ok(SocketAddr::new(IpAddr::V4(crate::net::Ipv4Addr::LOCALHOST), port));
    }
    let ip = with(|state| state.net.names.get(host).copied());
    let ip = ip.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for {host_and_port:?}")))?;
    Ok(SocketAddr::new(ip, port))
}

/// The address of this machine.
pub fn local_ip() -> Option<IpAddr> {
    Some(with(|state| state.machine(identity().machine).ip))
}

/// An attempt under way; dropped, it is given up.
struct Knocking(u64);

impl Drop for Knocking {
    fn drop(&mut self) {
        try_with(|state| state.net_give_up(self.0));
    }
}

impl Listener {
    /// Waits for the next connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (owner, number, port) = (self.owner, self.number, self.address.port());
        let (end, peer) =
            poll_fn(|context| with(|state| state.net_accept(owner, number, port, context.waker()))).await?;
        Ok((Stream::new(end), peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        try_with(|state| state.net_stop_listening(self.owner.machine, self.number, self.address.port()));
    }
}

impl Stream {
    fn new(end: EndId) -> Stream {
        Stream { read: ReadHalf(end), write: WriteHalf(end) }
    }

    /// Parts it into its two directions.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        with(|state| state.net_address(self.read.0.other()))
    }

    /// This end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        with(|state| state.net_address(self.read.0))
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        try_with(|state| state.net_drop_half(self.0, false));
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        try_with(|state| state.net_drop_half(self.0, true));
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        with(|state| state.net_read(self.0, into, context.waker()))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        with(|state| state.net_write(self.0, from, context.waker()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(with(|state| state.net_shutdown(self.0)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(context, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(context)
    }
}
