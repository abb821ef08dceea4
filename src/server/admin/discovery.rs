//! Where Seata clients learn the nodes: the shapes of `/metadata/v1` (protocol, section 6.3).
//!
//! A Java client keeps connections to all nodes and sends its requests to the "leader" of one group. Every node of ours
//! serves every request, so each presents itself as the leader, and the clients spread by whom they asked. Java refuses
//! unknown fields, and 2.0 knows neither `internal` nor `version`: nothing may be added here.

use quorate_core::cluster::Standing;
use quorate_core::cluster::routing::Routing;
use quorate_core::model::NodeId;
use serde::Serialize;
use std::collections::BTreeMap;

/// The answer of `/metadata/v1/cluster`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    nodes: Vec<Node>,
    store_mode: &'static str,
    /// The picture number with which this was so first, as far as the node knows.
    pub term: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Node {
    control: Endpoint,
    transaction: Endpoint,
    group: String,
    role: &'static str,
    metadata: Metadata,
}

/// What else is known of a node. A map of anything for clients of all versions.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
struct Metadata {
    /// Transaction service groups and the units that serve them, as nodes tell Seata's naming server.
    #[serde(rename = "vGroup", skip_serializing_if = "BTreeMap::is_empty")]
    vgroups: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Endpoint {
    host: String,
    port: u16,
}

/// Who answers, and under which names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Presenter {
    /// Its number.
    pub node: NodeId,
    /// Its own Seata address, `HOST:PORT`.
    pub seata: String,
    /// Its own HTTP address.
    pub admin: String,
    /// The one group that is shown.
    pub group: String,
}

/// The picture as Seata clients see it: this node first, then the others that are neither silent nor lost.
pub fn cluster(routing: &Routing, presenter: &Presenter) -> Cluster {
    let mut own = node(&presenter.admin, &presenter.seata, "LEADER", &presenter.group);
    if let Some(own) = &mut own {
        let mapped = routing.vgroups().map(|(vgroup, route)| (vgroup.to_owned(), route.unit.clone()));
        own.metadata.vgroups = mapped.collect();
    }
    let is_shown = |standing| standing != Standing::Lost;
    let others = routing.nodes().filter(|node| node.id != presenter.node && !node.silent && is_shown(node.standing));
    let others =
        others.map(|other| node(&other.addresses.admin, &other.addresses.advertised, "FOLLOWER", &presenter.group));
    let nodes = [own].into_iter().chain(others).flatten().collect();
    Cluster { nodes, store_mode: "raft", term: routing.picture() }
}

fn node(admin: &str, seata: &str, role: &'static str, group: &str) -> Option<Node> {
    Some(Node {
        control: endpoint(admin)?,
        transaction: endpoint(seata)?,
        group: group.to_owned(),
        role,
        metadata: Metadata::default(),
    })
}

/// Brackets of IPv6 are for connecting; clients put them themselves.
fn endpoint(address: &str) -> Option<Endpoint> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
}

/// What clients were shown last. Its term is the picture number with which it changed: slots that move, and what else clients do
/// not see, wake nobody.
pub struct Face(Cluster);

impl Face {
    /// As of this picture.
    pub fn of(routing: &Routing, presenter: &Presenter) -> Face {
        Face(cluster(routing, presenter))
    }

    /// The same, or what another picture shows.
    pub fn look(&mut self, routing: &Routing, presenter: &Presenter) -> Cluster {
        let now = cluster(routing, presenter);
        if (Cluster { term: self.0.term, ..now.clone() }) != self.0 {
            self.0 = now;
        }
        self.0.clone()
    }
}

/// A watch: wait until the picture is newer than the oldest one that the client knows of any group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Wakes when the picture number is greater than this; nothing: no group was named, so wait for any change.
    pub seen: Option<u64>,
    /// Then the answer is 304.
    pub timeout_ms: u64,
}

const TIMEOUT_MS: u64 = 28_000;
/// A client that asks for more gets 304 after this; it asks again.
const TIMEOUT_MS_MAX: u64 = 60_000;

/// Reads a form, or the query of the address: `default=3&timeout=28000`, one pair per group.
pub fn watch(form: &str) -> Result<Watch, String> {
    let mut watch = Watch { seen: None, timeout_ms: TIMEOUT_MS };
    for pair in form.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number: u64 = value.trim().parse().map_err(|_| format!("{name} must be a whole number"))?;
        if name == "timeout" {
            watch.timeout_ms = number.min(TIMEOUT_MS_MAX);
        } else {
            watch.seen = Some(watch.seen.map_or(number, |seen: u64| seen.min(number)));
        }
    }
    Ok(watch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(watch("default=3"), Ok(Watch { seen: Some(3), timeout_ms: 28_000 }));
        assert_eq!(watch("a=3&b=2&timeout=5"), Ok(Watch { seen: Some(2), timeout_ms: 5 }));
        assert_eq!(watch(""), Ok(Watch { seen: None, timeout_ms: 28_000 }));
        assert_eq!(watch("timeout=9999999").map(|watch| watch.timeout_ms), Ok(60_000));
        assert_eq!(watch("default=x"), Err("default must be a whole number".to_owned()));
        assert_eq!(watch("default"), Err("default must be a whole number".to_owned()));
    }

    #[test]
    fn endpoints() {
        let shown = |text: &str| endpoint(text).map(|endpoint| (endpoint.host, endpoint.port));
        assert_eq!(shown("10.0.0.1:8091"), Some(("10.0.0.1".to_owned(), 8091)));
        assert_eq!(shown("[::1]:7091"), Some(("::1".to_owned(), 7091)));
        assert_eq!(shown("::1:8091"), Some(("::1".to_owned(), 8091)));
        assert_eq!(shown("nowhere"), None);
    }
}
