//! Which channel is found for a resource, and in which order of preference.

use super::super::message::Announced;
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
        Place::There(node, _) => 1000 + node.0,
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

#[test]
fn an_announcement_in_parts_counts_when_it_is_whole() {
    let channels = Channels::new();
    let end = |port, resource: &str| Announced {
        application: "shop".into(),
        ip: "10.0.0.1".parse().expect("an address"),
        port,
        resources: vec![resource.into()],
    };
    let part = |version, part, is_last, channels| AnnouncementPartV1 { start: 5, version, part, is_last, channels };
    assert!(channels.learn(NodeId(2), Announcement { start: 5, version: 1, channels: Some(vec![end(1, "old")]) }));
    assert!(channels.learn_part(NodeId(2), part(2, 0, false, vec![end(1, "a")])));
    assert_eq!(found(&channels, "old", "shop:10.0.0.1:1", false), Some(1002), "until the rest has come");
    assert_eq!(found(&channels, "a", "shop:10.0.0.1:1", false), None);
    assert!(channels.learn_part(NodeId(2), part(2, 1, true, vec![end(1, "b")])));
    for (resource, place) in [("a", Some(1002)), ("b", Some(1002)), ("old", None)] {
        assert_eq!(found(&channels, resource, "shop:10.0.0.1:1", false), place, "{resource}");
    }
    assert!(!channels.learn_part(NodeId(2), part(3, 1, true, vec![])), "its begin was lost");
    assert!(channels.learn_part(NodeId(2), part(3, 0, false, vec![])));
    assert!(!channels.learn_part(NodeId(2), part(4, 1, true, vec![])), "of another list");
    assert_eq!(found(&channels, "a", "shop:10.0.0.1:1", false), Some(1002));
}

/// Whether it rings for a resource while this is done. Asks as a branch does: what has rung once is another's by then.
fn rings(channels: &Channels, resource: &str, done: impl FnOnce()) -> bool {
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};
    let appearance = channels.appearance(resource);
    let mut appeared = pin!(appearance.notified());
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(appeared.as_mut().poll(&mut context), Poll::Pending);
    done();
    appeared.poll(&mut context).is_ready()
}

/// The whole list comes after each change of any connection: a branch that rests for another resource rests on.
#[test]
fn only_what_is_new_ends_a_rest() {
    let channels = Channels::new();
    let end = |port, resources: &[&str]| Announced {
        application: "shop".into(),
        ip: "10.0.0.1".parse().expect("an address"),
        port,
        resources: resources.iter().map(|&resource| resource.into()).collect(),
    };
    let learn = |start, version, ends| {
        assert!(channels.learn(NodeId(2), Announcement { start, version, channels: Some(ends) }));
    };
    assert!(rings(&channels, "db", || learn(5, 1, vec![end(1, &["db"])])), "the first one");
    assert!(!rings(&channels, "db", || learn(5, 2, vec![end(1, &["db", "x"])])), "another resource");
    assert!(!rings(&channels, "db", || learn(5, 3, vec![end(1, &["db", "x"]), end(2, &["x"])])), "another connection");
    assert!(rings(&channels, "db", || learn(5, 4, vec![end(1, &["db"]), end(2, &["db", "x"])])), "another way");
    assert!(!rings(&channels, "db", || learn(5, 5, vec![end(2, &["db", "x"])])), "one way less");
    assert!(rings(&channels, "db", || learn(5, 6, vec![end(1, &["db"]), end(2, &["db"])])), "it is back");
    assert!(rings(&channels, "db", || learn(6, 1, vec![end(2, &["db"])])), "of another start");
    channels.forget(NodeId(2));
    assert!(rings(&channels, "db", || learn(6, 2, vec![end(2, &["db"])])), "the node is back");
    let part = |version, part, is_last, channels| AnnouncementPartV1 { start: 6, version, part, is_last, channels };
    let learn = |said| assert!(channels.learn_part(NodeId(2), said));
    assert!(!rings(&channels, "db", || learn(part(3, 0, false, vec![end(2, &["db"])]))), "half of a list");
    assert!(!rings(&channels, "db", || learn(part(3, 1, true, vec![end(3, &["x"])]))), "the other half");
    learn(part(4, 0, false, vec![end(2, &["db"])]));
    assert!(rings(&channels, "db", || learn(part(4, 1, true, vec![end(3, &["db"])]))), "it is in the other half");
}

#[test]
fn too_much_is_refused_as_a_whole() {
    let channels = Channels::new();
    let names = |prefix: &str, count: usize| -> Vec<Arc<str>> {
        (0..count).map(|number| format!("{prefix}{number:01000}").into()).collect()
    };
    let shop: Arc<str> = "shop".into();
    let first = open(&channels, "10.0.0.1:1");
    let half = names("a", RESOURCES_OF_CHANNEL_MAX / 2 + 1);
    assert_eq!(channels.admit(&first, &shop, &half), Ok(()));
    channels.register(&first, &shop, &half);
    assert_eq!(channels.admit(&first, &shop, &half), Ok(()), "again is no more");
    assert_eq!(channels.admit(&first, &shop, &names("b", half.len())), Err(RegisterError::Resources));
    // What its process registers elsewhere counts for it too.
    let sibling = open(&channels, "10.0.0.1:2");
    assert_eq!(channels.admit(&sibling, &shop, &names("b", half.len())), Err(RegisterError::Resources));
    for number in 0..=APPLICATIONS_OF_CHANNEL_MAX {
        let application: Arc<str> = format!("app{number}").into();
        let admitted = channels.admit(&sibling, &application, &[]);
        let expected = if number < APPLICATIONS_OF_CHANNEL_MAX { Ok(()) } else { Err(RegisterError::Applications) };
        assert_eq!(admitted, expected);
        if admitted.is_ok() {
            channels.register(&sibling, &application, &[]);
        }
    }
    let mut others: Vec<Arc<Channel>> = Vec::new();
    let refused = loop {
        let other = open(&channels, &format!("10.0.1.{}:1", others.len()));
        others.push(other.clone());
        if let Err(refused) = channels.admit(&other, &shop, &half) {
            break refused;
        }
        channels.register(&other, &shop, &half);
        assert!(others.len() < 100, "a node has no bound");
    };
    assert_eq!(refused, RegisterError::Node);
    channels.close(&others[0]);
    assert_eq!(channels.admit(others.last().expect("one"), &shop, &half), Ok(()), "there is room again");
    others.iter().for_each(|channel| channels.close(channel));
    channels.unregister(&first, &half);
    channels.close(&first);
    channels.close(&sibling);
    assert_eq!(locked(&channels.index).bytes, 0, "all is given back");
}

#[test]
fn resources_that_nobody_waits_for_are_forgotten() {
    let channels = Channels::new();
    let kept = channels.appearance("kept");
    for number in 0..10 * WAITING_EASY {
        channels.appearance(&format!("r{number}"));
    }
    assert!(locked(&channels.index).waiting.len() <= 2 * WAITING_EASY);
    assert!(Arc::ptr_eq(&kept, &channels.appearance("kept")));
}
