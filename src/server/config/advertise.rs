//! Which address a node tells others: in XIDs, in discovery, and to its peers.
//!
//! Decided when the ports are bound, because port 0 means "any free one" (tests).

use super::{Config, ConfigError, values};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use quorate_core::model::limits::XID_ADDRESS_BYTES_MAX;

/// Above this a global id of MySQL XA no longer holds address, number and branch of a Go client.
const COMFORTABLE_BYTES: usize = 24;

/// What a node is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The Seata port.
    pub seata: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
    /// The peer port.
    pub peer: SocketAddr,
}

/// What a node tells others, `HOST:PORT` each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertised {
    /// For Seata clients.
    pub seata: String,
    /// For HTTP.
    pub admin: String,
    /// For its peers.
    pub peer: String,
}

impl Config {
    /// The addresses to tell, given what was bound and the first non-loopback IPv4 of this machine.
    pub fn advertised(&self, bound: Bound, machine: Option<IpAddr>) -> Result<Advertised, ConfigError> {
        let machine = machine.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let seata = match &self.advertise {
            Some(given) => given.clone(),
            None => advertised_address(&show(or_machine(bound.seata.ip(), machine), bound.seata.port()))
                .map_err(|reason| ConfigError::Together(format!("the address to advertise: {reason}")))?,
        };
        let host = seata.rsplit_once(':').map_or(seata.as_str(), |(host, _)| host);
        let beside = |bound: SocketAddr| match bound.ip() {
            ip if ip.is_unspecified() => connectable(host, bound.port()),
            ip => SocketAddr::new(ip, bound.port()).to_string(),
        };
        let own_peer = self.node_id.and_then(|node| self.peers.get(&node));
        let peer = own_peer.cloned().unwrap_or_else(|| beside(bound.peer));
        Ok(Advertised { admin: beside(bound.admin), peer, seata })
    }
}

fn or_machine(ip: IpAddr, machine: IpAddr) -> IpAddr {
    if ip.is_unspecified() { machine } else { ip }
}

/// IPv6 gets the brackets that a connection needs.
fn connectable(host: &str, port: u16) -> String {
    host.parse().map_or_else(|_| format!("{host}:{port}"), |ip: IpAddr| SocketAddr::new(ip, port).to_string())
}

/// IPv6 stands without brackets, as in XIDs.
fn show(ip: IpAddr, port: u16) -> String {
    format!("{ip}:{port}")
}

/// An address that fits into an XID.
pub(super) fn advertised_address(text: &str) -> values::Parsed<String> {
    let address = values::host_and_port(text)?;
    if address.len() > XID_ADDRESS_BYTES_MAX {
        return Err(format!("{} bytes; an XID has room for {XID_ADDRESS_BYTES_MAX}; use an IP address", address.len()));
    }
    let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    if ip.is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
        return Err(format!(
            "{host} is for listening, nobody can connect to it; write an address of this machine, like 10.0.0.1:{port}"
        ));
    }
    Ok(address)
}

/// The lines for an address that works for most clients. One that was not set is only known to be wanting where it follows
/// from `listen`: a machine's own is an IPv4.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let listen = config.listen;
    let (address, whence) = match &config.advertise {
        Some(given) => (given.clone(), String::new()),
        None if listen.ip().is_unspecified() => return Vec::new(),
        None => (show(listen.ip(), listen.port()), format!(", which follows from listen = {listen},")),
    };
    let mut warnings = Vec::new();
    if address.len() > COMFORTABLE_BYTES {
        warnings.push(format!(
            "advertise = {address}{whence} is longer than {COMFORTABLE_BYTES} bytes: XA branches of Go clients will fail"
        ));
    }
    if is_ipv6(&address) {
        warnings.push(format!(
            "advertise = {address}{whence} is an IPv6 address: Java clients up to 2.0 and the Python client cannot connect \
             to it, Go clients cannot read it in XIDs; a name or an IPv4 address is right for all of them"
        ));
    }
    warnings
}

fn is_ipv6(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, _)| host.contains(':'))
}
