//! What this node shows to clients and operators: the Seata port and the admin port, opened at once, so that a start can
//! be watched.

use std::sync::{Arc, Mutex, OnceLock};

use quorate_core::cluster::{MetaCommand, Routing};
use quorate_core::console::UNREPORTED_AGES_S;
use quorate_core::model::{GroupId, NodeId};
use quorate_raft::Members;
use quorate_storage::Storage;
use quorate_world::net;
use quorate_world::random;
use quorate_world::task;
use quorate_world::time::{Duration, timeout};
use quorate_world::watch;

use super::Parts;
use crate::admin::{
    Admin, AdminContext, Attempts, Console, Exposition, Face, Login, Presenter, SeataFigures, Untaken, Work, metrics,
    strategy_of,
};
use crate::config::{Config, ConsoleConfig, Sharding};
use crate::coordinator::Coordinator;
use crate::listener::{Bounds, Listener, Traffic};
use crate::peer::Own;

/// So long the meta group may take to hear an operator.
const META_PATIENCE: Duration = Duration::from_secs(8);

/// The open doors.
pub struct Doors {
    stop: watch::Sender<bool>,
    closed: watch::Receiver<bool>,
}

/// What the pages show.
pub struct Shows<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// This node.
    pub own: &'a Own,
    /// The picture.
    pub routing: watch::Receiver<Routing>,
    /// Whether a Begin would be served.
    pub is_ready: watch::Receiver<bool>,
    /// The groups, once there are any.
    pub parts: Arc<OnceLock<Parts>>,
    /// How many connections there may be.
    pub bounds: Bounds,
}

impl Doors {
    /// Serves both ports.
    pub fn open(
        shows: Shows<'_>,
        coordinator: Arc<Coordinator>,
        storage: Storage,
        seata: net::Listener,
        admin: net::Listener,
    ) -> Doors {
        let (stop, stopped) = watch::channel(false);
        let (traffic, bounds) = (Arc::new(Traffic::default()), shows.bounds);
        let pages = Admin::new(context(shows, coordinator.clone(), storage, traffic.clone()));
        let listener = Listener::new(coordinator, pages, traffic, bounds, stopped);
        let (ended, closed) = watch::channel(false);
        let to_seata = listener.clone().serve_seata(seata);
        task::spawn(async move {
            to_seata.await;
            ended.send(true);
        });
        task::spawn(listener.serve_http(admin));
        Doors { stop, closed }
    }

    /// Takes no more connections and closes those that are open, once what they wait for has left. Returns when it has, or
    /// after a few seconds.
    pub async fn close(&self) {
        self.stop.send(true);
        // An error: it ended without a word.
        let _ = self.closed.clone().wait_until(|closed| *closed).await;
    }
}

fn context(shows: Shows<'_>, coordinator: Arc<Coordinator>, storage: Storage, traffic: Arc<Traffic>) -> AdminContext {
    let Shows { config, own, routing, is_ready, parts, bounds: _ } = shows;
    let (shown, written, told, weighed) = (parts.clone(), parts.clone(), parts.clone(), parts.clone());
    let console = console(&coordinator);
    let counting = coordinator.counts_as_seata().then(|| coordinator.clone());
    let presenter = Presenter {
        node: own.node,
        seata: own.addresses.advertised.clone(),
        admin: own.addresses.admin.clone(),
        group: config.cluster_name.clone(),
    };
    let face = Mutex::new(Face::of(&routing.borrow(), &presenter));
    AdminContext {
        presenter,
        face,
        token: config.admin_token.clone(),
        login: config.console.as_ref().map(login),
        routing,
        ready: is_ready,
        groups: Box::new(move || shown.get().map(|parts| parts.shown.groups()).unwrap_or_default()),
        metrics: vec![
            Box::new(move |page| traffic.write(page)),
            Box::new(move |page| write_requests(&coordinator, page)),
            Box::new(move |page| metrics::of_log(&storage.figures(), page)),
            Box::new(move |page| _ = written.get().map(|parts| parts.shown.write(page))),
        ],
        seata_figures: counting.map(seata_figures),
        move_leader: Box::new(move |group, to| move_leader(&parts, group, to)),
        strategy: match &config.sharding {
            Sharding::ConsistentHash => strategy_of(None, false),
            Sharding::Modulo => strategy_of(None, true),
            Sharding::Explicit(table) => strategy_of(Some(table), false),
        },
        weigh: Box::new(move |group| {
            let replica = weighed.get()?.groups.open().remove(&group)?;
            Some(replica.read(|state| state.counts()))
        }),
        console,
        tell_meta: Box::new(move |command| tell_meta(&told, command)),
    }
}

fn seata_figures(coordinator: Arc<Coordinator>) -> SeataFigures {
    Box::new(move || {
        let coordinator = coordinator.clone();
        Box::pin(async move { coordinator.seata_figures().await })
    })
}

fn tell_meta(parts: &OnceLock<Parts>, command: MetaCommand) -> Work<Result<u64, Untaken>> {
    let Some(seat) = parts.get().map(|parts| parts.seat.clone()) else {
        return Box::pin(async { Err(Untaken::Starting) });
    };
    Box::pin(async move {
        match timeout(META_PATIENCE, seat.insist(command)).await {
            Ok(taken) => taken.map_err(|refusal| Untaken::Refused(refusal.to_string())),
            Err(_) => Err(Untaken::Unknown),
        }
    })
}

fn login(console: &ConsoleConfig) -> Login {
    let drawn = || [random::bytes16(), random::bytes16()].concat();
    Login {
        user: console.user.clone(),
        password: console.password.clone(),
        key: console.secret.as_ref().map_or_else(drawn, |secret| secret.as_bytes().to_vec()),
        validity_ms: console.token_validity_ms,
        attempts: Attempts::default(),
    }
}

fn console(coordinator: &Arc<Coordinator>) -> Console {
    let (of_sessions, of_locks, of_wishes) = (coordinator.clone(), coordinator.clone(), coordinator.clone());
    let (of_lock, of_branch) = (coordinator.clone(), coordinator.clone());
    Console {
        sessions: Box::new(move |filter, page| {
            let coordinator = of_sessions.clone();
            Box::pin(async move { coordinator.list_sessions(filter, page).await })
        }),
        locks: Box::new(move |filter, page| {
            let coordinator = of_locks.clone();
            Box::pin(async move { coordinator.list_locks(filter, page).await })
        }),
        operate: Box::new(move |transaction, wish, by| {
            let coordinator = of_wishes.clone();
            Box::pin(async move { coordinator.operate(transaction, wish, by).await })
        }),
        delete_lock: Box::new(move |lock, by| {
            let coordinator = of_lock.clone();
            Box::pin(async move { coordinator.delete_lock(lock, by).await })
        }),
        has_branch: Box::new(move |transaction, branch| {
            let coordinator = of_branch.clone();
            Box::pin(async move { coordinator.has_branch(transaction, branch).await })
        }),
    }
}

fn write_requests(coordinator: &Coordinator, page: &mut Exposition) {
    let counts: Vec<(&'static str, u64)> = coordinator.counts().named().collect();
    metrics::of_counts(&counts, page);
    let (channels, resource_managers) = coordinator.channel_count();
    page.gauge("quorate_channels_open", "Registered clients").value(channels as u64);
    page.gauge(
        "quorate_state_bytes",
        "What the transactions and locks of all groups here take, roughly; see memory.budget_bytes",
    )
    .value(coordinator.state_bytes());
    page.gauge("quorate_requests_in_hand_bytes", "What requests weigh that are not answered yet, roughly")
        .value(coordinator.requests_bytes() as u64);
    page.gauge(
        "quorate_answers_waiting_bytes",
        "What is on its way to clients and not yet taken by the network, of all together",
    )
    .value(coordinator.answers_bytes() as u64);
    page.gauge("quorate_channels_rm_open", "Registered resource managers").value(resource_managers as u64);
    let help = "Branches of undecided transactions led here of which no RM has said anything yet, by least age";
    let mut family = page.gauge("quorate_branches_unreported", help);
    let ages = [0].into_iter().chain(UNREPORTED_AGES_S).map(|age_s| age_s.to_string());
    for (age_s, count) in ages.zip(coordinator.unreported()) {
        family = family.sample(&[("older_than_s", &age_s)], count);
    }
}

fn move_leader(parts: &OnceLock<Parts>, group: GroupId, to: NodeId) -> Work<Result<(), String>> {
    let Some(parts) = parts.get() else {
        return Box::pin(async { Err("the node is starting".to_owned()) });
    };
    let leads = move |leading: bool, leader: Option<NodeId>| match leader {
        _ if leading => Ok(()),
        Some(leader) => Err(format!("node {leader} leads group {group}; ask there")),
        None => Err(format!("nobody leads group {group}")),
    };
    if group == GroupId::META {
        let seat = parts.seat.clone();
        return Box::pin(async move {
            let now = *seat.replica().leadership().borrow();
            leads(now.leading, now.leader)?;
            may_lead(group, to, &seat.replica().health().members)?;
            seat.replica().transfer(to).await;
            Ok(())
        });
    }
    match parts.groups.open().get(&group).cloned() {
        Some(replica) => Box::pin(async move {
            let now = *replica.leadership().borrow();
            leads(now.leading, now.leader)?;
            may_lead(group, to, &replica.health().members)?;
            quorate_core::sometimes!("operator_moves_a_leader");
            replica.transfer(to).await;
            Ok(())
        }),
        None => Box::pin(async move { Err(format!("group {group} has no replica here")) }),
    }
}

/// Raft hands a group to voters only, and says nothing when it is asked for another node.
fn may_lead(group: GroupId, to: NodeId, members: &Members) -> Result<(), String> {
    if members.voters.contains(&to) {
        return Ok(());
    }
    let voters: Vec<String> = members.voters.iter().map(NodeId::to_string).collect();
    Err(format!("node {to} is no voter of group {group}; its voters are {}", voters.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::cluster::command::VgroupNameV1;
    use quorate_world::runtime::run_test;

    #[test]
    fn only_voters_may_lead() {
        let set = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect();
        let members = Members { voters: set(&[1, 2, 3]), learners: set(&[4]), joint: false };
        assert_eq!(may_lead(GroupId(7), NodeId(3), &members), Ok(()));
        for stranger in [4, 77] {
            let refusal = format!("node {stranger} is no voter of group 7; its voters are 1, 2, 3");
            assert_eq!(may_lead(GroupId(7), NodeId(stranger), &members), Err(refusal));
        }
    }

    #[test]
    fn nobody_refuses_before_there_is_anybody() {
        run_test(async {
            let command = MetaCommand::UnmapVgroup(VgroupNameV1 { vgroup: "a".to_owned() });
            assert_eq!(tell_meta(&OnceLock::new(), command).await, Err(Untaken::Starting));
        });
    }
}
