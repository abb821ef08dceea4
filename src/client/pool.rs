//! A connection to every node of a list, kept up, and the choice among them that stock clients make.
//!
//! One task per address connects, registers and waits for the end of the connection, then tries again after a pause.
//! Requests about a transaction go to the node that its XID names, if that is connected, else to any.

use std::sync::{Arc, Mutex, PoisonError};

use quorate_core::wire::{ClientVersion, Message, Registration};
use quorate_world::net::{SocketAddr, resolve};
use quorate_world::sync::oneshot;
use quorate_world::time::{Duration, sleep, timeout};
use quorate_world::{random, task, watch};

use crate::connection::{CallError, Connection, OnRequest, Speech};
use crate::gather::Gather;

/// How long a registration may take.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause before the next attempt to connect, at least and at most.
const RECONNECT_MS: (u64, u64) = (200, 1_000);

/// Writes the extra data of a registration at the moment when it leaves: a signature has a time stamp.
#[derive(Clone)]
pub struct Signs(pub Arc<dyn Fn() -> String + Send + Sync>);

impl PartialEq for Signs {
    fn eq(&self, other: &Signs) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Signs {}

impl std::fmt::Debug for Signs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signs")
    }
}

/// Who the client says it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Application {
    /// Application id; must not contain `:`.
    pub id: String,
    /// Transaction service group.
    pub service_group: String,
    /// Client version: decides what the server takes it to understand.
    pub version: String,
    /// How it speaks.
    pub speech: Speech,
    /// Requests wait so long for others and leave with them in one merged frame, as those of Java clients do, who wait for 1 ms;
    /// none: each has a frame of its own.
    pub merges: Option<Duration>,
    /// Its TM signs its registrations, where servers ask for access keys. As in Java clients its RM does not.
    pub signs: Option<Signs>,
}

impl Application {
    /// An application with the version that this client speaks, in the Seata serializer, not compressed.
    pub fn new(id: impl Into<String>, service_group: impl Into<String>) -> Application {
        let speech = Speech::default();
        let (id, service_group, version) = (id.into(), service_group.into(), "2.3.0".into());
        Application { id, service_group, version, speech, merges: None, signs: None }
    }

    fn registration(&self) -> Registration {
        Registration {
            version: self.version.clone(),
            application_id: self.id.clone(),
            service_group: self.service_group.clone(),
            extra_data: String::new(),
        }
    }

    /// What it declares.
    pub fn client_version(&self) -> ClientVersion {
        ClientVersion::parse(&self.version)
    }

    /// What a TM says first.
    pub fn register_tm(&self) -> Message {
        Message::RegisterTm(self.registration())
    }

    /// What it says first, signed if it signs.
    pub fn signed(&self, register: Message) -> Message {
        signed(register, self.signs.as_ref())
    }

    /// What an RM says first.
    pub fn register_rm(&self, resources: &[String]) -> Message {
        Message::RegisterRm { registration: self.registration(), resource_ids: resources.join(",") }
    }
}

/// Registered connections, one per address at most. Ends with its last clone.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

struct Shared {
    addresses: Vec<String>,
    speech: Speech,
    signs: Option<Signs>,
    gather: Option<Gather>,
    connections: Mutex<Vec<Option<Connection>>>,
    changes: watch::Sender<u64>,
}

struct Tasks(Vec<task::JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(|task| task.abort());
    }
}

impl Pool {
    /// Starts to connect to all `addresses` (`host:port`), saying `register` first on each connection.
    pub fn start(addresses: &[String], application: &Application, register: Message, on_request: OnRequest) -> Pool {
        let (changes, _) = watch::channel(0);
        let gathers = |window| Gather::new(window, application.client_version());
        let shared = Arc::new(Shared {
            addresses: addresses.to_vec(),
            speech: application.speech,
            signs: application.signs.clone(),
            gather: application.merges.map(gathers),
            connections: Mutex::new(vec![None; addresses.len()]),
            changes,
        });
        let keep = |place| task::spawn(keep_up(shared.clone(), place, register.clone(), on_request.clone()));
        let tasks = Tasks((0..addresses.len()).map(keep).collect());
        Pool { shared, _tasks: Arc::new(tasks) }
    }

    /// A live connection: that to `preferred` if there is one, else a random one; waits for the first at most this
    /// long.
    pub async fn pick(&self, preferred: Option<&str>, patience: Duration) -> Result<Connection, CallError> {
        let mut changes = self.shared.changes.subscribe();
        let wait = async {
            loop {
                if let Some(connection) = self.shared.choose(preferred) {
                    return Ok(connection);
                }
                if changes.changed().await.is_err() {
                    return Err(CallError::NotConnected);
                }
            }
        };
        timeout(patience, wait).await.unwrap_or(Err(CallError::NotConnected))
    }

    /// Asks `preferred` if it is connected, else any node, alone or together with others.
    pub async fn ask(
        &self,
        preferred: Option<&str>,
        request: &Message,
        patience: Duration,
    ) -> Result<Message, CallError> {
        let Some(gather) = &self.shared.gather else {
            return self.pick(preferred, patience).await?.call(request, patience).await;
        };
        let (sender, answer) = oneshot::channel();
        if gather.add(preferred, (request.clone(), sender)) {
            task::spawn(self.clone().send_together(preferred.map(str::to_owned), patience));
        }
        match timeout(patience, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(CallError::Broken),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    /// What is dropped on the way has no answer.
    async fn send_together(self, preferred: Option<String>, patience: Duration) {
        let Some(gather) = &self.shared.gather else { return };
        for frame in gather.frames(preferred.as_deref()).await {
            let Ok(connection) = self.pick(preferred.as_deref(), patience).await else { return };
            if let Err(error) = connection.send_merged(frame, gather.with_ids(), patience) {
                tracing::debug!(%error, "a merged frame was not sent");
            }
        }
    }

    /// Waits until every address is connected and registered.
    pub async fn all_connected(&self, patience: Duration) -> Result<(), CallError> {
        let mut changes = self.shared.changes.subscribe();
        let wait = async {
            while self.shared.live().len() < self.shared.addresses.len() {
                if changes.changed().await.is_err() {
                    return Err(CallError::NotConnected);
                }
            }
            Ok(())
        };
        timeout(patience, wait).await.unwrap_or(Err(CallError::NotConnected))
    }
}

impl Pool {
    /// The addresses without a registered connection.
    pub fn missing(&self) -> Vec<String> {
        let live = self.shared.live();
        let addresses = self.shared.addresses.iter().enumerate();
        let missing = addresses.filter(|(place, _)| !live.iter().any(|(open, _)| open == place));
        missing.map(|(_, address)| address.clone()).collect()
    }
}

impl Shared {
    fn set(&self, place: usize, connection: Option<Connection>) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)[place] = connection;
        self.changes.modify(|count| *count += 1);
    }

    fn live(&self) -> Vec<(usize, Connection)> {
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |(place, held): (usize, &Option<Connection>)| {
            held.as_ref().filter(|connection| !connection.is_closed()).map(|connection| (place, connection.clone()))
        };
        connections.iter().enumerate().filter_map(open).collect()
    }

    fn choose(&self, preferred: Option<&str>) -> Option<Connection> {
        let mut live = self.live();
        if live.is_empty() {
            return None;
        }
        let named = preferred.and_then(|name| live.iter().position(|(place, _)| self.addresses[*place] == name));
        let chosen = named.unwrap_or_else(|| random::below(live.len() as u64) as usize);
        Some(live.swap_remove(chosen).1)
    }
}

/// Keeps one place of the pool connected, for ever.
async fn keep_up(shared: Arc<Shared>, place: usize, register: Message, on_request: OnRequest) {
    loop {
        let register = signed(register.clone(), shared.signs.as_ref());
        match connect(&shared.addresses[place], shared.speech, &register, on_request.clone()).await {
            Ok(connection) => {
                shared.set(place, Some(connection.clone()));
                connection.closed().await;
                shared.set(place, None);
            }
            Err(reason) => tracing::debug!(address = shared.addresses[place], reason, "no connection"),
        }
        sleep(Duration::from_millis(RECONNECT_MS.0 + random::below(RECONNECT_MS.1 - RECONNECT_MS.0))).await;
    }
}

/// A TM's registration with its signature.
fn signed(mut register: Message, signs: Option<&Signs>) -> Message {
    if let (Message::RegisterTm(registration), Some(Signs(sign))) = (&mut register, signs) {
        registration.extra_data = sign();
    }
    register
}

async fn connect(
    address: &str,
    speech: Speech,
    register: &Message,
    on_request: OnRequest,
) -> Result<Connection, String> {
    let resolved: SocketAddr = resolve(address).await.map_err(|error| error.to_string())?;
    let connection = Connection::open(resolved, speech, on_request).await.map_err(|error| error.to_string())?;
    match connection.call(register, REGISTER_TIMEOUT).await {
        Ok(Message::RegisterTmResult(result) | Message::RegisterRmResult(result)) if result.identified => {
            Ok(connection)
        }
        Ok(other) => Err(format!("the server refused the registration: {}", other.name())),
        Err(error) => Err(error.to_string()),
    }
}
