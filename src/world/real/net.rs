//! TCP of the kernel, through tokio. Nagle's delay is off everywhere.

use crate::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Takes connections at an address.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// A connection.
#[derive(Debug)]
pub struct Stream(TcpStream);

/// The reading side of a connection.
#[derive(Debug)]
pub struct ReadHalf(OwnedReadHalf);

/// The writing side of a connection; dropping it sends the end.
#[derive(Debug)]
pub struct WriteHalf(OwnedWriteHalf);

/// Starts to listen. Port 0 takes any free one.
pub async fn listen(address: SocketAddr) -> io::Result<Listener> {
    TcpListener::bind(address).await.map(Listener)
}

/// Connects, however long the kernel tries: give it a deadline.
pub async fn connect(address: SocketAddr) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Stream(stream))
}

/// Turns `host:port` into an address, IPv4 first.
pub async fn resolve(host_and_port: &str) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host(host_and_port).await?.collect();
    let best = found.iter().find(|address| address.is_ipv4()).or(found.first());
    best.copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for {host_and_port:?}")))
}

/// The first IPv4 address by which others may reach this machine.
pub fn local_ip() -> Option<IpAddr> {
    // Connecting a datagram socket sends nothing; the kernel only picks the interface that leads outside.
    let probe = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    probe.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = probe.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

impl Listener {
    /// Waits for the next connection.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Stream(stream), peer))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Stream {
    /// Parts it into its two directions.
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        let (read, write) = self.0.into_split();
        (ReadHalf(read), WriteHalf(write))
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// This end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

macro_rules! delegate_read {
    ($($name:ident)*) => {$(
        impl AsyncRead for $name {
            fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_read(context, into)
            }
        }
    )*};
}

macro_rules! delegate_write {
    ($($name:ident)*) => {$(
        impl AsyncWrite for $name {
            fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.0).poll_write(context, from)
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                from: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut self.0).poll_write_vectored(context, from)
            }

            fn is_write_vectored(&self) -> bool {
                self.0.is_write_vectored()
            }

            fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_flush(context)
            }

            fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut self.0).poll_shutdown(context)
            }
        }
    )*};
}

delegate_read!(Stream ReadHalf);
delegate_write!(Stream WriteHalf);
