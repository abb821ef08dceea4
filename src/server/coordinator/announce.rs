//! Tells the other nodes which RMs are connected here, so that the leader of any group finds them.
//!
//! One task per neighbour: the whole list whenever it has changed, and every two seconds only its version, so that a node
//! that was restarted or cut off asks for the list again. Changes that come while a list is on its way travel together
//! in the next one.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_core::model::{GroupId, NodeId};
use quorate_world::select::select2;
use quorate_world::task;
use quorate_world::time::{Duration, sleep, timeout};

use super::context::Coordinator;
use super::message::{Announced, Announcement, AnnouncementPartV1, Query, Response};
use super::nodes;
use crate::peer::CallError;

/// The version is told this often.
const INTERVAL: Duration = Duration::from_secs(2);
/// Pause after a node could not be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// For one message to be heard.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of a part of a long list.
const PART_BYTES: usize = 1 << 20;
/// What a resource and a channel take beside their texts.
const RESOURCE_BYTES: usize = 9;
const CHANNEL_BYTES: usize = 64;

impl Coordinator {
    /// Starts what runs as long as the node: announcements, the watch over the memory budget, the deletion of
    /// undo logs.
    pub fn start(self: &Arc<Self>) {
        task::spawn(self.clone().announce());
        task::spawn(self.clone().follow_owners(self.routing.clone()));
        task::spawn(self.clone().watch_memory());
        task::spawn(self.clone().delete_undo_logs());
    }

    async fn announce(self: Arc<Self>) {
        let mut routing = self.routing.clone();
        let mut told: BTreeSet<NodeId> = BTreeSet::new();
        loop {
            let nodes: BTreeSet<NodeId> = routing.borrow_and_update().nodes().map(|node| node.id).collect();
            for gone in told.difference(&nodes) {
                self.channels.forget(*gone);
                self.relays.forget(*gone);
            }
            for new in nodes.difference(&told).filter(|node| **node != self.node) {
                task::spawn(self.clone().announce_to(*new));
            }
            told = nodes;
            self.changed.notify_waiters();
            if routing.changed().await.is_err() {
                return;
            }
        }
    }

    async fn announce_to(self: Arc<Self>, node: NodeId) {
        let mut changes = self.channels.changes();
        let mut heard = None;
        while self.routing.borrow().node(node).is_some() {
            let version = *changes.borrow_and_update();
            let announcement = match heard == Some(version) {
                true => Announcement { start: self.start, version, channels: None },
                false => self.channels.announcement(self.start),
            };
            let version = announcement.version;
            heard = match self.tell_all(node, announcement).await {
                Ok(Response::Heard(true)) => Some(version),
                Ok(Response::Heard(false)) if heard == Some(version) => {
                    heard = None;
                    continue;
                }
                Ok(_) | Err(_) => {
                    _ = select2(sleep(PAUSE), changes.changed()).await;
                    None
                }
            };
            if heard.is_some() {
                _ = timeout(INTERVAL, changes.changed()).await;
            }
        }
    }

    /// The answer to the last part, or to the first that was not heard.
    async fn tell_all(&self, node: NodeId, announcement: Announcement) -> Result<Response, CallError> {
        let mut response = Ok(Response::Heard(false));
        for query in queries(announcement) {
            response = nodes::ask(&*self.nodes, node, GroupId::META, &query, PATIENCE).await;
            if response != Ok(Response::Heard(true)) {
                break;
            }
        }
        response
    }
}

/// One message, or as many parts as it takes.
fn queries(announcement: Announcement) -> Vec<Query> {
    let Announcement { start, version, channels } = announcement;
    let Some(channels) = channels else {
        return vec![Query::Announce(Announcement { start, version, channels: None })];
    };
    let mut parts = in_parts(channels);
    if parts.len() <= 1 {
        let channels = Some(parts.pop().unwrap_or_default());
        return vec![Query::Announce(Announcement { start, version, channels })];
    }
    let last = parts.len() - 1;
    let part = |(number, channels)| {
        Query::AnnouncePart(AnnouncementPartV1 {
            start,
            version,
            part: number as u32,
            is_last: number == last,
            channels,
        })
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// Cuts between resources, so that no part is much longer than [`PART_BYTES`].
fn in_parts(channels: Vec<Announced>) -> Vec<Vec<Announced>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for Announced { application, ip, port, resources } in channels {
        let mut own = Vec::new();
        for resource in resources {
            if bytes > PART_BYTES {
                let resources = std::mem::take(&mut own);
                part.push(Announced { application: application.clone(), ip, port, resources });
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
            bytes += resource.len() + RESOURCE_BYTES;
            own.push(resource);
        }
        bytes += application.len() + CHANNEL_BYTES;
        part.push(Announced { application, ip, port, resources: own });
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::codec;

    fn channel(port: u16, resources: usize) -> Announced {
        Announced {
            application: "shop".into(),
            ip: "10.0.0.1".parse().expect("an address"),
            port,
            resources: (0..resources).map(|number| format!("{number:01024}")).collect(),
        }
    }

    #[test]
    fn what_fits_is_one_message() {
        let announcement = Announcement { start: 5, version: 6, channels: Some(vec![channel(1, 3), channel(2, 0)]) };
        assert_eq!(queries(announcement.clone()), [Query::Announce(announcement)]);
        let digest = Announcement { start: 5, version: 6, channels: None };
        assert_eq!(queries(digest.clone()), [Query::Announce(digest)]);
    }

    /// Above the 15 MiB of a message: it goes in parts, and nothing of it is lost.
    #[test]
    fn a_long_list_goes_in_parts() {
        let channels: Vec<Announced> = (0..5).map(|port| channel(port, 4_000)).collect();
        let whole = Announcement { start: 5, version: 6, channels: Some(channels.clone()) };
        assert!(codec::encode(&Query::Announce(whole.clone())).is_err(), "it would be sent whole");
        let queries = queries(whole);
        let mut heard: Vec<(u16, String)> = Vec::new();
        for (number, query) in queries.iter().enumerate() {
            assert!(query.to_bytes().expect("it has bytes").len() < 2 * PART_BYTES);
            let Query::AnnouncePart(part) = query else { panic!("{query:?}") };
            assert_eq!((part.start, part.version, part.part), (5, 6, number as u32));
            assert_eq!(part.is_last, number + 1 == queries.len());
            heard.extend(
                part.channels
                    .iter()
                    .flat_map(|channel| channel.resources.iter().map(|resource| (channel.port, resource.clone()))),
            );
        }
        let all = channels.iter().flat_map(|channel| channel.resources.iter().map(|r| (channel.port, r.clone())));
        assert_eq!(heard, all.collect::<Vec<_>>());
    }
}
