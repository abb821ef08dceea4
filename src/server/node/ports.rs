//! The three ports of a node and what it tells others about them.

use quorate_core::cluster::Addresses;
use quorate_world::net::{self, Listener, SocketAddr};

use crate::config::Config;
use crate::config::advertise::Bound;
use crate::exit::{ExitCode, Failure};

/// The ports, bound.
pub struct Ports {
    /// Seata, and HTTP by protocol detection.
    pub seata: Listener,
    /// HTTP.
    pub admin: Listener,
    /// Between nodes.
    pub peer: Listener,
    /// What others are told.
    pub addresses: Addresses,
}

impl Ports {
    /// Binds all three, or says which cannot be had.
    pub async fn bind(config: &Config) -> Result<Ports, Failure> {
        let seata = listen("listen", config.listen).await?;
        let admin = listen("admin_listen", config.admin_listen).await?;
        let peer = listen("peer_listen", config.peer_listen).await?;
        let bound = Bound { seata: at(&seata)?, admin: at(&admin)?, peer: at(&peer)? };
        let told = config.advertised(bound, net::local_ip());
        let told = told.map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))?;
        let addresses = Addresses { advertised: told.seata, peer: told.peer, admin: told.admin };
        Ok(Ports { seata, admin, peer, addresses })
    }
}

async fn listen(key: &str, address: SocketAddr) -> Result<Listener, Failure> {
    net::listen(address).await.map_err(|error| unavailable(&format!("{key} = {address}: {error}")))
}

fn at(listener: &Listener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| unavailable(&error.to_string()))
}

fn unavailable(what: &str) -> Failure {
    Failure::new(ExitCode::Unavailable, what)
}
