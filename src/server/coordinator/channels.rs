//! Which RM is where: resource -> application -> ip and port -> connection here, or the node that holds it.
//!
//! Every node knows its own channels and what the others announced, so that the leader of any group finds the best way to
//! an RM in one look-up (protocol, section 5.3). Registrations add up; only a closed connection, an unregistration or the
//! node that announced it takes one away, never a frame that could not be decoded (semantics, W31). What may be registered
//! is bounded, per connection and per node, and a registration beyond that is refused as a whole.

mod others;

use quorate_world::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use quorate_core::model::NodeId;
use quorate_world::sync::Notify;
use quorate_world::watch;

use others::{Gathering, Remote};

use super::channel::{Channel, ChannelId};
use super::guard::locked;
use super::message::{Announcement, AnnouncementPartV1};

/// Resources of one connection, those of its siblings included.
pub const RESOURCES_OF_CHANNEL_MAX: usize = 4_096;
/// Application ids that one connection may register under; a client has one.
const APPLICATIONS_OF_CHANNEL_MAX: usize = 16;
/// All resources of all connections of a node, each with what it costs beside its name.
const RESOURCES_BYTES_MAX: usize = 64 << 20;
const RESOURCE_BYTES: usize = 200;
/// From so many entries on, those that nobody waits with are looked for.
const WAITING_EASY: usize = 1_024;

/// Why a registration was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegisterError {
    /// Too many resources on one connection.
    #[error(
        "a connection may have at most {RESOURCES_OF_CHANNEL_MAX} resources, those of its process on other connections included"
    )]
    Resources,
    /// Too many application ids on one connection.
    #[error("a connection may register under at most {APPLICATIONS_OF_CHANNEL_MAX} application ids")]
    Applications,
    /// Too much on all connections together.
    #[error("the resources of all connections of this node would take more than {RESOURCES_BYTES_MAX} bytes")]
    Node,
}

/// A process of a client, as far as it can be told: an application at an address.
pub type Process = (Arc<str>, IpAddr);

/// Where a phase-two request goes.
#[derive(Clone)]
pub enum Place {
    /// A connection of this node.
    Here(Arc<Channel>),
    /// A node that holds one, of this process.
    There(NodeId, Process),
}

/// All channels, found by what they serve.
pub struct Channels {
    index: Mutex<Index>,
    /// Counts changes of what this node holds; the announcer waits for it.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Index {
    last: u64,
    channels: BTreeMap<ChannelId, Held>,
    resources: BTreeMap<Arc<str>, Applications>,
    /// RM connections by process: those of one application on one ip are taken to hold the same resources.
    processes: BTreeMap<Process, BTreeMap<u16, ChannelId>>,
    /// TM connections by process.
    managers: BTreeSet<(Arc<str>, IpAddr, ChannelId)>,
    remote: BTreeMap<NodeId, Remote>,
    /// Announcements whose last part has not come.
    gathering: BTreeMap<NodeId, Gathering>,
    waiting: BTreeMap<Arc<str>, Arc<Notify>>,
    /// When `waiting` is this long, it is cleared of what nobody waits with.
    waiting_max: usize,
    /// What the resources of the connections here cost.
    bytes: usize,
}

type Applications = BTreeMap<Arc<str>, Ends>;
type Ends = BTreeMap<(IpAddr, u16), Holders>;
/// Those to look at in one step of a search: application, address, and who holds the connection.
type Step<'a> = Box<dyn Iterator<Item = (&'a Arc<str>, IpAddr, &'a Holders)> + 'a>;

/// Who holds the connection of one client end. More than one node in odd cases: a client may use one port twice, towards
/// two nodes.
#[derive(Default)]
struct Holders {
    here: Option<Arc<Channel>>,
    there: BTreeSet<NodeId>,
}

struct Held {
    channel: Arc<Channel>,
    /// The application it registered as TM of.
    manager: Option<Arc<str>>,
    /// All applications it registered as RM of.
    applications: BTreeSet<Arc<str>>,
    /// Resource -> the application it was registered under.
    resources: BTreeMap<Arc<str>, Arc<str>>,
}

impl Channels {
    /// No channels.
    pub fn new() -> Channels {
        Channels { index: Mutex::new(Index::default()), changes: watch::channel(0).0 }
    }

    /// A connection has come.
    pub fn open(&self, make: impl FnOnce(ChannelId) -> Channel) -> Arc<Channel> {
        let mut index = locked(&self.index);
        index.last += 1;
        let id = ChannelId(index.last);
        let channel = Arc::new(make(id));
        let (applications, resources) = (BTreeSet::new(), BTreeMap::new());
        let held = Held { channel: channel.clone(), manager: None, applications, resources };
        index.channels.insert(id, held);
        channel
    }

    /// A connection has gone.
    pub fn close(&self, channel: &Channel) {
        let changed = locked(&self.index).close(channel);
        if changed {
            self.changed();
        }
    }

    /// `application` registered on a channel as TM; the last registration counts.
    pub fn register_manager(&self, channel: &Channel, application: &Arc<str>) {
        let mut index = locked(&self.index);
        let Some(held) = index.channels.get_mut(&channel.id) else { return };
        let before = held.manager.replace(application.clone());
        if let Some(before) = before {
            index.managers.remove(&(before, channel.peer.ip(), channel.id));
        }
        index.managers.insert((application.clone(), channel.peer.ip(), channel.id));
    }

    /// Whether a TM of `application` is registered from this address.
    pub fn has_manager(&self, application: &Arc<str>, ip: IpAddr) -> bool {
        let of = |id| (application.clone(), ip, ChannelId(id));
        locked(&self.index).managers.range(of(0)..=of(u64::MAX)).next().is_some()
    }

    /// Whether these resources may be registered on a channel; asked before the registration counts for anything.
    pub fn admit(
        &self,
        channel: &Channel,
        application: &Arc<str>,
        resources: &[Arc<str>],
    ) -> Result<(), RegisterError> {
        locked(&self.index).admit(channel, application, resources)
    }

    /// `application` registered these resources on a channel.
    pub fn register(&self, channel: &Channel, application: &Arc<str>, resources: &[Arc<str>]) {
        locked(&self.index).register(channel, application, resources);
        self.changed();
    }

    /// It takes them back.
    pub fn unregister(&self, channel: &Channel, resources: &[Arc<str>]) {
        locked(&self.index).unregister(channel, resources);
        self.changed();
    }

    fn changed(&self) {
        self.changes.modify(|count| *count += 1);
    }

    /// Changes of what this node holds.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The best way to an RM for `resource`, in Seata's order: the very channel that registered the branch, its process,
    /// its application, and, if `any_application`, whoever has the resource. Here before elsewhere within a step.
    pub fn best(&self, resource: &str, client: &str, any_application: bool) -> Option<Place> {
        locked(&self.index).best(resource, client, any_application)
    }

    /// As [`Channels::best`], among the connections of this node.
    pub fn best_here(&self, resource: &str, client: &str, any_application: bool) -> Option<Arc<Channel>> {
        locked(&self.index).best_here(resource, client, any_application)
    }

    /// All resources for which this node, `node`, holds channels and none before it does, with those channels.
    pub fn served_first_by(&self, node: NodeId) -> Vec<(Arc<str>, Vec<Arc<Channel>>)> {
        locked(&self.index).served_first_by(node)
    }

    /// Whether a connection here is registered, as TM or RM, by this application from this address. Looks at all of them.
    pub fn has_process(&self, application: &str, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let index = locked(&self.index);
        let is_theirs = |held: &Held| {
            let identity = held.channel.identity();
            held.channel.peer.ip() == ip && identity.is_some_and(|identity| &*identity.application == application)
        };
        index.channels.values().any(is_theirs)
    }

    /// Rings when a channel for `resource` appears anywhere. Ask for it first, look for a channel then.
    pub fn appearance(&self, resource: &str) -> Arc<Notify> {
        let mut index = locked(&self.index);
        if let Some(notify) = index.waiting.get(resource) {
            return notify.clone();
        }
        if index.waiting.len() >= index.waiting_max.max(WAITING_EASY) {
            index.waiting.retain(|_, notify| Arc::strong_count(notify) > 1);
            index.waiting_max = index.waiting.len() * 2;
        }
        let notify = Arc::new(Notify::new());
        index.waiting.insert(resource.into(), notify.clone());
        notify
    }

    /// What this node holds, for the others.
    pub fn announcement(&self, start: u64) -> Announcement {
        let version = *self.changes.borrow();
        Announcement { start, version, channels: Some(locked(&self.index).announced()) }
    }

    /// Another node says what it holds. False: its full list is wanted.
    pub fn learn(&self, node: NodeId, announcement: Announcement) -> bool {
        locked(&self.index).learn(node, announcement)
    }

    /// As [`Channels::learn`], for a part.
    pub fn learn_part(&self, node: NodeId, part: AnnouncementPartV1) -> bool {
        locked(&self.index).learn_part(node, part)
    }

    /// A node is not reachable: its channels are of no use until it announces them again.
    pub fn forget(&self, node: NodeId) {
        locked(&self.index).forget(node);
    }

    /// How many connections this node has, and how many of them are RMs.
    pub fn count(&self) -> (usize, usize) {
        let index = locked(&self.index);
        (index.channels.len(), index.processes.values().map(BTreeMap::len).sum())
    }
}

impl Default for Channels {
    fn default() -> Channels {
        Channels::new()
    }
}

impl Index {
    fn close(&mut self, channel: &Channel) -> bool {
        let Some(held) = self.channels.remove(&channel.id) else { return false };
        let end = end_of(channel.peer);
        if let Some(application) = held.manager {
            self.managers.remove(&(application, end.0, channel.id));
        }
        for (resource, application) in &held.resources {
            self.bytes -= cost(resource);
            self.take_out(resource, application, end, None);
        }
        for application in held.applications {
            let process = (application, end.0);
            if let Some(ports) = self.processes.get_mut(&process) {
                ports.remove(&end.1);
                if ports.is_empty() {
                    self.processes.remove(&process);
                }
            }
        }
        !held.resources.is_empty()
    }

    fn admit(&self, channel: &Channel, application: &Arc<str>, resources: &[Arc<str>]) -> Result<(), RegisterError> {
        let Some(held) = self.channels.get(&channel.id) else { return Ok(()) };
        if !held.applications.contains(application) && held.applications.len() >= APPLICATIONS_OF_CHANNEL_MAX {
            return Err(RegisterError::Applications);
        }
        let process = self.processes.get(&(application.clone(), channel.peer.ip()));
        let siblings = process.into_iter().flat_map(BTreeMap::values).filter(|id| **id != channel.id);
        let wanted: BTreeSet<&Arc<str>> = resources.iter().collect();
        let mut bytes = self.bytes;
        for held in siblings.filter_map(|id| self.channels.get(id)).chain([held]) {
            let added = || wanted.iter().filter(|resource| !held.resources.contains_key(**resource));
            if held.resources.len() + added().count() > RESOURCES_OF_CHANNEL_MAX {
                return Err(RegisterError::Resources);
            }
            bytes += added().map(|resource| cost(resource)).sum::<usize>();
        }
        if bytes > RESOURCES_BYTES_MAX { Err(RegisterError::Node) } else { Ok(()) }
    }

    fn register(&mut self, channel: &Channel, application: &Arc<str>, resources: &[Arc<str>]) {
        let Some(held) = self.channels.get_mut(&channel.id) else { return };
        held.applications.insert(application.clone());
        let (ip, port) = end_of(channel.peer);
        let process = self.processes.entry((application.clone(), ip)).or_default();
        process.insert(port, channel.id);
        let siblings: Vec<ChannelId> = process.values().copied().collect();
        for resource in resources {
            for sibling in &siblings {
                self.put_in(*sibling, application, resource);
            }
            if let Some(waiting) = self.waiting.remove(resource) {
                quorate_core::sometimes!("rm_appears_that_was_waited_for");
                waiting.notify_waiters();
            }
        }
    }

    fn put_in(&mut self, id: ChannelId, application: &Arc<str>, resource: &Arc<str>) {
        let Some(held) = self.channels.get_mut(&id) else { return };
        let before = held.resources.insert(resource.clone(), application.clone());
        self.bytes += if before.is_none() { cost(resource) } else { 0 };
        let channel = held.channel.clone();
        let end = end_of(channel.peer);
        if let Some(before) = before.filter(|before| before != application) {
            self.take_out(resource, &before, end, None);
        }
        let applications = self.resources.entry(resource.clone()).or_default();
        applications.entry(application.clone()).or_default().entry(end).or_default().here = Some(channel);
    }

    fn unregister(&mut self, channel: &Channel, resources: &[Arc<str>]) {
        for resource in resources {
            let Some(held) = self.channels.get_mut(&channel.id) else { return };
            if let Some(application) = held.resources.remove(resource) {
                self.bytes -= cost(resource);
                self.take_out(resource, &application, end_of(channel.peer), None);
            }
        }
    }

    /// Takes out the connection here, or that of `node`.
    fn take_out(&mut self, resource: &str, application: &str, end: (IpAddr, u16), node: Option<NodeId>) {
        let Some(applications) = self.resources.get_mut(resource) else { return };
        let Some(ends) = applications.get_mut(application) else { return };
        if let Some(holders) = ends.get_mut(&end) {
            match node {
                None => holders.here = None,
                Some(node) => _ = holders.there.remove(&node),
            }
            if holders.here.is_none() && holders.there.is_empty() {
                ends.remove(&end);
            }
        }
        if ends.is_empty() {
            applications.remove(application);
        }
        if applications.is_empty() {
            self.resources.remove(resource);
        }
    }

    fn best(&self, resource: &str, client: &str, any_application: bool) -> Option<Place> {
        // Nearly always the very channel is still there.
        if let Some(channel) = self.exact(resource, client) {
            return Some(Place::Here(channel));
        }
        quorate_core::sometimes!("branch_goes_to_another_channel_than_registered_it");
        self.steps(resource, client, any_application).find_map(|ends| {
            let mut elsewhere = None;
            for (application, ip, holders) in ends {
                if let Some(channel) = &holders.here {
                    return Some(Place::Here(channel.clone()));
                }
                elsewhere = elsewhere.or_else(|| Some((*holders.there.first()?, application, ip)));
            }
            elsewhere.map(|(node, application, ip)| Place::There(node, (application.clone(), ip)))
        })
    }

    fn best_here(&self, resource: &str, client: &str, any_application: bool) -> Option<Arc<Channel>> {
        let here = |(_, _, holders): (&Arc<str>, IpAddr, &Holders)| holders.here.clone();
        self.steps(resource, client, any_application).find_map(|mut ends| ends.find_map(here))
    }

    fn exact(&self, resource: &str, client: &str) -> Option<Arc<Channel>> {
        let (application, end) = parse_client(client)?;
        self.resources.get(resource)?.get(application)?.get(&end)?.here.clone()
    }

    /// The four steps of the search, each the holders to look at.
    fn steps<'a>(&'a self, resource: &str, client: &str, any_application: bool) -> impl Iterator<Item = Step<'a>> {
        let applications = self.resources.get(resource);
        let own = applications.zip(parse_client(client)).and_then(|(all, (application, end))| {
            let (application, ends) = all.get_key_value(application)?;
            Some((application, ends, end))
        });
        let mut steps: Vec<Step<'a>> = Vec::with_capacity(4);
        if let Some((application, ends, (ip, port))) = own {
            let at = move |((ip, _), holders): (&'a (IpAddr, u16), &'a Holders)| (application, *ip, holders);
            steps.push(Box::new(ends.get_key_value(&(ip, port)).into_iter().map(at)));
            steps.push(Box::new(ends.range((ip, 0)..=(ip, u16::MAX)).map(at)));
            steps.push(Box::new(ends.iter().map(at)));
        }
        if let Some(all) = applications.filter(|_| any_application) {
            let of = |(application, ends): (&'a Arc<str>, &'a Ends)| {
                ends.iter().map(move |((ip, _), holders)| (application, *ip, holders))
            };
            steps.push(Box::new(all.iter().flat_map(of)));
        }
        steps.into_iter()
    }

    fn served_first_by(&self, node: NodeId) -> Vec<(Arc<str>, Vec<Arc<Channel>>)> {
        let mut served = Vec::new();
        for (resource, applications) in &self.resources {
            let holders = || applications.values().flat_map(BTreeMap::values);
            let is_first = holders().flat_map(|holders| &holders.there).all(|other| node < *other);
            let here: Vec<Arc<Channel>> = holders().filter_map(|holders| holders.here.clone()).collect();
            if is_first && !here.is_empty() {
                served.push((resource.clone(), here));
            }
        }
        served
    }
}

fn cost(resource: &str) -> usize {
    resource.len() + RESOURCE_BYTES
}

fn end_of(peer: SocketAddr) -> (IpAddr, u16) {
    (peer.ip(), peer.port())
}

/// `application:ip:port`; an application id has no colon, an IPv6 address has.
fn parse_client(client: &str) -> Option<(&str, (IpAddr, u16))> {
    let (application, end) = client.split_once(':')?;
    let (ip, port) = end.rsplit_once(':')?;
    // A branch may keep what an older version wrote.
    let ip: IpAddr = ip.parse().ok()?;
    Some((application, (ip.to_canonical(), port.parse().ok()?)))
}

#[cfg(test)]
#[path = "channels_tests.rs"]
mod tests;
