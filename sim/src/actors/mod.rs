//! The clients of the world: machines that run the real client code, begin transactions, own resources, and die.

pub mod call;
pub mod lazy;
pub mod mover;
pub mod operator;
pub mod ring;
pub mod rm;
pub mod saga;
pub mod steward;
pub mod stranger;
pub mod tm;

use crate::plan::knobs::ACCESS_KEY;
use crate::scene::Scene;
use quorate_client::{Application, Signs};
use quorate_server::coordinator::extra_data;
use quorate_world::net::{IpAddr, Ipv4Addr, SocketAddr, local_ip};
use quorate_world::time::wall_ms;
use std::sync::Arc;

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

/// What a client with these keys adds to its registration.
pub fn signature(keys: (&str, &str), ip: IpAddr, stamp_ms: u64) -> String {
    extra_data(keys, "default_tx_group", &ip.to_string(), stamp_ms)
}

/// The same application, which signs its registrations if nodes ask for that. To be called on its machine.
pub fn signed(scene: &Scene, application: Application) -> Application {
    let sign = || signature(ACCESS_KEY, local_ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), wall_ms());
    let signs = scene.plan.options.knobs.access_keys.then(|| Signs(Arc::new(sign)));
    Application { signs, ..application }
}
