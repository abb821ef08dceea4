//! HTTP, on the admin port and on the Seata port alike: discovery for Seata clients, health, metrics, status.
//!
//! Seata's paths keep Seata's shapes; our own are under `/quorate/v1/`. Read in this order: `route` (which path does
//! what), `discovery`, `console`, `status`, `exposition`, `seata`, `adapter` (hyper on streams of the world). Reading is open to everybody,
//! but for the console's pages where there is a user (`token`). What changes something is served to loopback, and to others
//! only with the configured token.
//!
//! Not here: accepting connections (`listener`), and knowing anything: what is shown is handed in by the context.

mod adapter;
mod attempts;
pub mod console;
mod discovery;
mod elastic;
mod exposition;
mod form;
pub mod metrics;
mod route;
mod seata;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod vgroup;

pub use attempts::Attempts;
pub use console::Console;
pub use discovery::{Face, Presenter};
pub use elastic::strategy_of;
pub use exposition::Exposition;
pub use status::GroupStatus;
pub use token::Login;
pub use vgroup::{TellMeta, Untaken};

use adapter::{Adapter, Patience};
use bytes::Bytes;
use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use quorate_core::cluster::Routing;
use quorate_core::cluster::command::StrategyV1;
use quorate_core::meters::PairFigures;
use quorate_core::model::{GroupId, NodeId};
use quorate_core::txn::Counts;
use quorate_world::net::Stream;
use quorate_world::watch;
use std::sync::{Arc, Mutex};

/// Header lines of one request.
const HEADERS_MAX: usize = 64;
/// Request line and headers together.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The body of one request.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A future that outlives its caller's stack frame.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Writes one part's metrics.
pub type Gather = Box<dyn Fn(&mut Exposition) + Send + Sync>;

/// Says what was counted as Seata counts it.
pub type SeataFigures = Box<dyn Fn() -> Work<Vec<PairFigures>> + Send + Sync>;

/// Asks the leader of a group to hand over to a node.
pub type MoveLeader = Box<dyn Fn(GroupId, NodeId) -> Work<Result<(), String>> + Send + Sync>;

/// Says what a group has, if it is here.
pub type Weigh = Box<dyn Fn(GroupId) -> Option<Counts> + Send + Sync>;

/// What the pages show, and what may be changed through them.
pub struct AdminContext {
    /// Who this node is for clients.
    pub presenter: Presenter,
    /// What clients were shown of the picture last.
    pub face: Mutex<Face>,
    /// Who may change something from beyond loopback.
    pub token: Option<String>,
    /// Who may use the console; nothing: everybody.
    pub login: Option<Login>,
    /// The picture.
    pub routing: watch::Receiver<Routing>,
    /// Whether a Begin would be served.
    pub ready: watch::Receiver<bool>,
    /// The groups of this node, the meta group first.
    pub groups: Box<dyn Fn() -> Vec<GroupStatus> + Send + Sync>,
    /// Everybody's metrics, in the order of the page.
    pub metrics: Vec<Gather>,
    /// Seata's family at the end of that page, if it is wanted.
    pub seata_figures: Option<SeataFigures>,
    /// Hands the leadership of a group to a node; refused in words.
    pub move_leader: MoveLeader,
    /// How slots are spread unless somebody wishes otherwise.
    pub strategy: StrategyV1,
    /// What a group has, if it is here.
    pub weigh: Weigh,
    /// Transactions and row locks of the cluster.
    pub console: Console,
    /// Has the meta group take a word.
    pub tell_meta: TellMeta,
}

/// What becomes of a request for a page that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSuchPage {
    /// It is told so, with 404.
    Told,
    /// The connection ends without a word, as a stock server's port does with whatever is no client of its.
    HungUpOn,
}

#[derive(Debug, thiserror::Error)]
#[error("asked for a page that does not exist")]
struct HungUp;

/// The HTTP side of a node.
pub struct Admin {
    context: AdminContext,
    patience: Patience,
}

impl Admin {
    /// Shows what `context` knows.
    pub fn new(context: AdminContext) -> Arc<Admin> {
        Arc::new(Admin { context, patience: Patience::default() })
    }

    /// Serves one connection to its end. `before` has been read from it already.
    pub async fn serve(self: &Arc<Admin>, stream: Stream, peer: SocketAddr, before: Bytes, no_such_page: NoSuchPage) {
        let adapter = Adapter::new(stream, before, self.patience);
        let turn = adapter.turn();
        let answer = |request: Request<Incoming>| {
            let (admin, answering) = (self.clone(), turn.answering());
            async move {
                let _answering = answering;
                match no_such_page {
                    NoSuchPage::HungUpOn if !route::is_for_clients(request.uri().path()) => Err(HungUp),
                    NoSuchPage::HungUpOn | NoSuchPage::Told => Ok(route::answer(&admin.context, peer, request).await),
                }
            }
        };
        let mut http = http1::Builder::new();
        // No date: it would be the kernel's wall clock, which a simulated node does not have.
        http.auto_date_header(false).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX);
        let served = http.serve_connection(adapter, service_fn(answer)).await;
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "an HTTP connection ended early");
        }
    }
}
