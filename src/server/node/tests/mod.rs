//! Whole nodes in one process, over loopback and real folders, or in the simulated world.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use quorate_core::model::NodeId;
use quorate_world::io::{AsyncReadExt, AsyncWriteExt};
use quorate_world::net::{self, SocketAddr};
use quorate_world::random;
use quorate_world::runtime::{run_test, test_folder};
use quorate_world::task::{self, JoinHandle};
use quorate_world::time::{self, Duration, Instant};
use quorate_world::watch;

mod elastic;

use super::{Node, stop};
use crate::config::Config;
use crate::exit::{ExitCode, Failure};

/// Ample on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Below the ports that the kernel gives to outgoing connections: one of those, of a neighbour that tries to reach a node that is
/// away, would have taken its place when it comes back.
const PORTS: core::ops::Range<u64> = 11_000..32_000;

/// A port that nobody has, handed out once.
async fn free_port() -> SocketAddr {
    static HANDED_OUT: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let port = PORTS.start + random::below(PORTS.end - PORTS.start);
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("it is one")));
        let is_new = HANDED_OUT.lock().expect("nobody panics with it").insert(address);
        if is_new && net::listen(address).await.is_ok() {
            return address;
        }
    }
}

struct Member {
    node: Arc<Node>,
    life: JoinHandle<Failure>,
}

impl Member {
    async fn start(toml: &str) -> Result<Member, Failure> {
        let config = Arc::new(Config::from_toml(toml).expect("a legal configuration"));
        let began = Instant::now();
        let (node, wishes) = loop {
            match Node::start(config.clone()).await {
                // The process before it, in this same process, still lets go of the folder or the port.
                Err(failure)
                    if matches!(failure.code, ExitCode::InUse | ExitCode::Unavailable)
                        && began.elapsed() < PATIENCE =>
                {
                    time::sleep(Duration::from_millis(5)).await;
                }
                started => break started?,
            }
        };
        let node = Arc::new(node);
        let living = node.clone();
        let life = task::spawn(async move { living.live(wishes, Instant::now()).await });
        Ok(Member { node, life })
    }

    async fn ready(&self) {
        let mut ready = self.node.ready.subscribe();
        let became = time::timeout(PATIENCE, ready.wait_until(|ready| *ready)).await;
        became.expect("ready in time").expect("the node lives");
    }

    async fn stop(self) {
        self.life.abort();
        stop::leave(&self.node).await;
    }

    /// How many groups it leads and serves.
    fn leads(&self) -> usize {
        self.node.coordinator.leads().len()
    }

    fn picture(&self) -> watch::Receiver<quorate_core::cluster::Routing> {
        self.node.picture.subscribe()
    }

    fn identity(&self) -> (NodeId, String, u64) {
        let own = self.node.own.borrow();
        (own.node, own.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(), own.epoch.0)
    }
}

/// Looks until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        time::sleep(Duration::from_millis(5)).await;
    }
}

fn ports() -> &'static str {
    "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nstorage.segment_bytes = \"16MiB\"\n"
}

fn alone(folder: &str) -> String {
    format!("{}peer_listen = \"127.0.0.1:0\"\ndata_dir = \"{folder}/n1\"\n", ports())
}

/// The configurations of three founders.
async fn three(folder: &str) -> Vec<String> {
    founders(3, folder).await
}

async fn founders(count: usize, folder: &str) -> Vec<String> {
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(free_port().await);
    }
    let list: Vec<String> = (1..).zip(&peers).map(|(node, at)| format!("{node}={at}")).collect();
    let list = list.join(",");
    let one = |(node, at): (u32, SocketAddr)| {
        let head = format!("{}peer_listen = \"{at}\"\npeers = \"{list}\"\nnode_id = {node}\n", ports());
        format!("{head}data_dir = \"{folder}/n{node}\"\n")
    };
    (1..).zip(peers).map(one).collect()
}

async fn start_all(tomls: &[String]) -> Vec<Member> {
    let mut members = Vec::new();
    for toml in tomls {
        members.push(Member::start(toml).await.expect("it starts"));
    }
    for member in &members {
        member.ready().await;
    }
    members
}

#[test]
fn a_node_alone_founds_serves_and_comes_back_as_itself() {
    run_test(async {
        let folder = test_folder();
        let first = Member::start(&alone(&folder)).await.expect("it starts");
        first.ready().await;
        until("all groups are led", || first.leads() == 8).await;
        let (node, cluster, epoch) = first.identity();
        assert_eq!((node, epoch), (NodeId(1), 1));
        let picture = first.picture().borrow().picture();
        first.stop().await;
        let again = Member::start(&alone(&folder)).await.expect("it starts");
        again.ready().await;
        until("all groups are led", || again.leads() == 8).await;
        assert_eq!(again.identity(), (NodeId(1), cluster, 2));
        // The new start is recorded.
        let recorded = again.picture().wait_until(|routing| routing.picture() > picture).await.expect("it lives");
        assert_eq!(recorded.node(NodeId(1)).map(|node| node.epoch.0), Some(2));
        again.stop().await;
    });
}

#[test]
fn three_found_together_share_the_leaders_and_get_them_back() {
    run_test(async {
        let folder = test_folder();
        let tomls = three(&folder).await;
        let mut members = start_all(&tomls).await;
        let clusters: Vec<String> = members.iter().map(|member| member.identity().1).collect();
        assert!(clusters.iter().all(|cluster| *cluster == clusters[0] && !cluster.is_empty()));
        until("leaders are spread", || members.iter().map(Member::leads).eq([3, 3, 2])).await;

        members.remove(2).stop().await;
        until("the others lead all", || members.iter().map(Member::leads).sum::<usize>() == 8).await;
        let is_silent = |silent: bool| {
            move |routing: &quorate_core::cluster::Routing| {
                routing.node(NodeId(3)).is_some_and(|node| node.silent == silent)
            }
        };
        members[0].picture().wait_until(is_silent(true)).await.expect("it lives");

        let third = Member::start(&tomls[2]).await.expect("it starts");
        third.ready().await;
        members[0].picture().wait_until(is_silent(false)).await.expect("it lives");
        members.push(third);
        until("leaders are home again", || members.iter().map(Member::leads).eq([3, 3, 2])).await;
        assert_eq!(members[2].identity().2, 2);
        for member in members {
            member.stop().await;
        }
    });
}

#[test]
fn the_sixth_node_follows_the_meta_group_without_a_vote() {
    run_test(async {
        let folder = test_folder();
        let tomls: Vec<String> =
            founders(6, &folder).await.into_iter().map(|toml| format!("{toml}groups = 2\n")).collect();
        let members = start_all(&tomls).await;
        assert!(members.iter().all(|member| member.picture().borrow().nodes().count() == 6));
        let parts = members[5].node.parts.get().expect("it is ready");
        let seen = parts.seat.replica().health().members;
        assert_eq!(seen.voters, (1..=5).map(NodeId).collect());
        assert_eq!(seen.learners, [NodeId(6)].into());
        for member in members {
            member.stop().await;
        }
    });
}

#[test]
fn a_wiped_disk_does_not_come_back_under_its_old_id() {
    run_test(async {
        let folder = test_folder();
        let mut tomls = three(&folder).await;
        let mut members = start_all(&tomls).await;
        members.remove(2).stop().await;
        tomls[2] = tomls[2].replace("/n3\"", "/n3-empty\"");
        let wiped = Member::start(&tomls[2]).await.expect("the ports are free");
        let failure = time::timeout(PATIENCE, wiped.life).await.expect("refused in time").expect("not aborted");
        assert_eq!(failure.code, ExitCode::Identity, "{failure}");
        stop::leave(&wiped.node).await;
        for member in members {
            member.stop().await;
        }
    });
}

#[test]
fn a_folder_of_another_node_and_a_taken_folder_are_refused() {
    run_test(async {
        let folder = test_folder();
        let first = Member::start(&alone(&folder)).await.expect("it starts");
        first.ready().await;
        let config = Arc::new(Config::from_toml(&alone(&folder)).expect("a legal configuration"));
        let taken = Node::start(config).await.map(drop).expect_err("the folder is taken");
        assert_eq!(taken.code, ExitCode::InUse);
        first.stop().await;
        let other = three(&folder).await[1].replace("/n2\"", "/n1\"");
        let refused = Member::start(&other).await.map(drop).expect_err("it is the folder of node 1");
        assert_eq!(refused.code, ExitCode::Identity, "{refused}");
    });
}

/// The status line of an answer to a GET at a node's HTTP port, and its body.
async fn get(member: &Member, path: &str) -> (String, String) {
    let at = member.node.own.borrow().addresses.admin.parse().expect("an address");
    let mut stream = net::connect(at).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    let read = time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.expect("in time").expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

fn maps(member: &Member) -> Vec<(String, String)> {
    let picture = member.picture();
    let picture = picture.borrow();
    picture.vgroups().map(|(vgroup, route)| (vgroup.to_owned(), route.unit.clone())).collect()
}

#[test]
fn service_groups_stay_mapped_on_every_node() {
    run_test(async {
        for count in [1, 3] {
            let folder = test_folder();
            let tomls = if count == 1 { vec![alone(&folder)] } else { three(&folder).await };
            let mut members = start_all(&tomls).await;
            let wanted = vec![("shop".to_owned(), "u1".to_owned())];
            for member in &members {
                let (status, body) = get(member, "/vgroup/v1/addVGroup?vGroup=shop&unit=u1").await;
                assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
                assert_eq!(maps(member), wanted, "who asked sees it");
            }
            until("all nodes see it", || members.iter().all(|member| maps(member) == wanted)).await;
            let cluster = get(&members[0], "/metadata/v1/cluster").await.1;
            assert!(cluster.contains(r#""metadata":{"vGroup":{"shop":"u1"}}"#), "{cluster}");
            for member in members {
                member.stop().await;
            }
            members = start_all(&tomls).await;
            until("it outlives all processes", || members.iter().all(|member| maps(member) == wanted)).await;
            let last = members.last().expect("at least one");
            let (status, body) = get(last, "/vgroup/v1/removeVGroup?vGroup=shop").await;
            assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
            until("all nodes see it", || members.iter().all(|member| maps(member).is_empty())).await;
            for member in members {
                member.stop().await;
            }
        }
    });
}
