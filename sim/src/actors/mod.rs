//! The clients of the world: machines that run the real client code, begin transactions, own resources, and die.

pub mod call;
pub mod mover;
pub mod operator;
pub mod ring;
pub mod rm;
pub mod saga;
pub mod steward;
pub mod tm;

use quorate_world::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address of a coordinator node.
pub fn node_ip(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, number as u8))
}

/// The address of a TM.
pub fn tm_ip(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, number as u8))
}

/// The address of an RM.
pub fn rm_ip(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 2, number as u8))
}

/// Where the business of an RM is called.
pub fn business_at(number: u32) -> SocketAddr {
    SocketAddr::new(rm_ip(number), 7000)
}

/// What clients have in their configuration: all nodes.
pub fn servers(nodes: u32) -> Vec<String> {
    (1..=nodes).map(|number| format!("{}:8091", node_ip(number))).collect()
}

/// How a process ends that is told to die.
pub const EXIT_KILLED: i32 = 137;
