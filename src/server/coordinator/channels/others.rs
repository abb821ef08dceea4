//! What nodes tell each other about their channels: what this one announces, and what the others hold, learnt from their
//! announcements and forgotten with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::model::NodeId;
use quorate_world::net::IpAddr;

use super::super::message::{Announced, Announcement, AnnouncementPartV1};
use super::{Index, end_of};

/// Resource, application, and the client's end.
type RemoteEnd = (Arc<str>, Arc<str>, (IpAddr, u16));

pub(super) struct Remote {
    start: u64,
    version: u64,
    ends: BTreeSet<RemoteEnd>,
}

pub(super) struct Gathering {
    start: u64,
    version: u64,
    parts: u32,
    channels: Vec<Announced>,
}

impl Index {
    pub(super) fn announced(&self) -> Vec<Announced> {
        let mut all = Vec::new();
        for held in self.channels.values() {
            let (ip, port) = end_of(held.channel.peer);
            let mut by_application: BTreeMap<&Arc<str>, Vec<String>> = BTreeMap::new();
            for (resource, application) in &held.resources {
                by_application.entry(application).or_default().push(resource.to_string());
            }
            for (application, resources) in by_application {
                all.push(Announced { application: application.to_string(), ip, port, resources });
            }
        }
        all
    }

    /// Rings for what is new only: after each change of any connection the whole list comes again. Of another start, or of a
    /// node that was forgotten, all is new.
    pub(super) fn learn(&mut self, node: NodeId, announcement: Announcement) -> bool {
        let Announcement { start, version, channels } = announcement;
        let known = self.remote.get(&node).map(|remote| (remote.start, remote.version));
        let Some(channels) = channels else {
            let is_known = known == Some((start, version));
            if !is_known {
                quorate_core::sometimes!("full_list_of_channels_is_wanted");
            }
            return is_known;
        };
        // Announcements of one start are sent one after the other, but may arrive late.
        if known.is_some_and(|(of, seen)| of == start && seen > version) {
            quorate_core::sometimes!("announcement_came_late");
            return true;
        }
        let before = self.forget(node).filter(|remote| remote.start == start).map(|remote| remote.ends);
        let before = before.unwrap_or_default();
        let mut ends = BTreeSet::new();
        for Announced { application, ip, port, resources } in channels {
            let ip = ip.to_canonical();
            let application: Arc<str> = application.into();
            for resource in resources {
                let resource: Arc<str> = resource.into();
                let applications = self.resources.entry(resource.clone()).or_default();
                let holders = applications.entry(application.clone()).or_default().entry((ip, port)).or_default();
                holders.there.insert(node);
                let end = (resource, application.clone(), (ip, port));
                if !before.contains(&end)
                    && let Some(waiting) = self.waiting.remove(&end.0)
                {
                    quorate_core::sometimes!("rm_appears_on_another_node_that_was_waited_for");
                    waiting.notify_waiters();
                }
                ends.insert(end);
            }
        }
        self.remote.insert(node, Remote { start, version, ends });
        true
    }

    pub(super) fn learn_part(&mut self, node: NodeId, said: AnnouncementPartV1) -> bool {
        let AnnouncementPartV1 { start, version, part, is_last, channels } = said;
        let mut gathering = match self.gathering.remove(&node) {
            Some(before) if part > 0 => before,
            Some(_) | None => Gathering { start, version, parts: 0, channels: Vec::new() },
        };
        if (gathering.start, gathering.version, gathering.parts) != (start, version, part) {
            return false;
        }
        gathering.parts += 1;
        gathering.channels.extend(channels);
        if is_last {
            return self.learn(node, Announcement { start, version, channels: Some(gathering.channels) });
        }
        self.gathering.insert(node, gathering);
        true
    }

    /// What it held is told.
    pub(super) fn forget(&mut self, node: NodeId) -> Option<Remote> {
        self.gathering.remove(&node);
        let remote = self.remote.remove(&node)?;
        quorate_core::sometimes!("channels_of_a_node_are_forgotten");
        for (resource, application, end) in &remote.ends {
            self.take_out(resource, application, *end, Some(node));
        }
        Some(remote)
    }
}
