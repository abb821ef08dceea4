//! Which channel is found for a resource, and in which order of preference.

use super::super::outbox::Outbox;
use super::*;

fn open(channels: &Channels, peer: &str) -> Arc<Channel> {
    let peer = peer.parse().expect("an address");
    channels.open(|id| Channel::new(id, peer, Arc::new(Outbox::new())))
}

fn register(channels: &Channels, channel: &Channel, application: &str, resources: &[&str]) {
    let resources: Vec<Arc<str>> = resources.iter().map(|&resource| resource.into()).collect();
    channels.register(channel, &application.into(), &resources);
}

fn found(channels: &Channels, resource: &str, client: &str, any: bool) -> Option<u64> {
    channels.best(resource, client, any).map(|place| match place {
        Place::Here(channel) => channel.id.0,
        Place::There(node) => 1000 + node.0,
    })
}

#[test]
fn seatas_order() {
    let channels = Channels::new();
    let other_application = open(&channels, "10.0.0.9:1");
    register(&channels, &other_application, "stock", &["db"]);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", true), Some(1));
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", false), None);
    let other_ip = open(&channels, "10.0.0.2:1");
    register(&channels, &other_ip, "shop", &["db"]);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", true), Some(2));
    let other_port = open(&channels, "10.0.0.1:7");
    register(&channels, &other_port, "shop", &["db"]);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", true), Some(3));
    let exact = open(&channels, "10.0.0.1:1");
    register(&channels, &exact, "shop", &["db"]);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", true), Some(4));
    channels.close(&exact);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", true), Some(3));
    assert_eq!(found(&channels, "nothing", "shop:10.0.0.1:1", true), None);
    assert_eq!(found(&channels, "db", "no client", true), Some(3));
}

#[test]
fn processes_of_one_application_on_one_ip_share() {
    let channels = Channels::new();
    let first = open(&channels, "10.0.0.1:1");
    register(&channels, &first, "shop", &["a"]);
    let second = open(&channels, "10.0.0.1:2");
    register(&channels, &second, "shop", &["b"]);
    assert_eq!(found(&channels, "b", "shop:10.0.0.1:1", false), Some(1));
    assert_eq!(found(&channels, "a", "shop:10.0.0.1:2", false), Some(1));
    channels.close(&first);
    assert_eq!(found(&channels, "a", "shop:10.0.0.1:2", false), None);
    channels.close(&second);
    assert_eq!(channels.count(), (0, 0));
}

#[test]
fn what_other_nodes_announce() {
    let channels = Channels::new();
    let end = |port| Announced {
        application: "shop".into(),
        ip: "10.0.0.1".parse().expect("an address"),
        port,
        resources: vec!["db".into()],
    };
    let full = |version, ends| Announcement { start: 5, version, channels: Some(ends) };
    let digest = |start, version| Announcement { start, version, channels: None };
    assert!(!channels.learn(NodeId(2), digest(5, 1)));
    assert!(channels.learn(NodeId(2), full(1, vec![end(1)])));
    assert!(channels.learn(NodeId(2), digest(5, 1)));
    assert!(!channels.learn(NodeId(2), digest(6, 1)), "a new start has another list");
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", false), Some(1002));
    let here = open(&channels, "10.0.0.1:2");
    register(&channels, &here, "shop", &["db"]);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", false), Some(1002), "the very channel, though elsewhere");
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:9", false), Some(1), "here before elsewhere");
    assert!(channels.learn(NodeId(2), full(2, vec![])));
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", false), Some(1));
    assert!(channels.learn(NodeId(2), full(1, vec![end(1)])), "late: ignored");
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", false), Some(1));
    channels.forget(NodeId(2));
    assert!(!channels.learn(NodeId(2), digest(5, 2)));
}

#[test]
fn unregistering_and_changing_the_application() {
    let channels = Channels::new();
    let channel = open(&channels, "10.0.0.1:1");
    register(&channels, &channel, "shop", &["db"]);
    register(&channels, &channel, "store", &["db"]);
    assert_eq!(found(&channels, "db", "shop:10.0.0.1:1", false), None);
    assert_eq!(found(&channels, "db", "store:10.0.0.1:1", false), Some(1));
    channels.unregister(&channel, &["db".into()]);
    assert_eq!(found(&channels, "db", "store:10.0.0.1:1", true), None);
}
