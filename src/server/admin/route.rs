//! Which path does what.

use super::discovery::{self, Cluster, Watch};
use super::elastic::{self, Elastic};
use super::exposition::Exposition;
use super::token::{self, NoEntry};
use super::{AdminContext, BODY_BYTES_MAX, console, seata, status, vgroup};
use bytes::Bytes;
use core::net::SocketAddr;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, ORIGIN, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use quorate_core::cluster::command::SetStandingV1;
use quorate_core::cluster::{MetaCommand, Routing, Standing};
use quorate_core::model::{GroupId, NodeId};
use quorate_world::time::{Duration, timeout};
use serde::{Deserialize, Serialize};
use std::sync::PoisonError;

/// What a page answers.
pub type Answer = Response<Full<Bytes>>;

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The body of a request is whole within this, or it is given up.
const BODY_PATIENCE: Duration = Duration::from_secs(15);

/// The token that every login gets while there are no users: it opens nothing, and nothing asks for it.
const TOKEN: &str = "Bearer opens-nothing";

/// Answers one request.
pub async fn answer(context: &AdminContext, peer: SocketAddr, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default().to_owned();
    let reads = head.method == Method::GET || head.method == Method::HEAD;
    let posts = head.method == Method::POST;
    match head.uri.path() {
        "/health" if reads => health(context),
        "/metrics" if reads => metrics(context).await,
        "/metadata/v1/cluster" if reads => json(&face(context, &context.routing.borrow())),
        "/quorate/v1/status" if reads => show_status(context),
        "/metadata/v1/watch" if posts => match form(body, &query).await {
            Ok(form) => watch(context, &form).await,
            Err(refused) => refused,
        },
        "/api/v1/auth/login" if posts => match read(body).await {
            Ok(body) => login(context, peer, &body),
            Err(refused) => refused,
        },
        path if vgroup::exists(path) && head.method == Method::GET => vgroup::answer(context, peer, &head).await,
        path if console::exists(path) => console::answer(context, peer, &head).await,
        path => match change(path) {
            Some(_) if posts && !may_change(context, peer, &head.headers) => {
                text(StatusCode::FORBIDDEN, "changes are served to loopback, and to others only with admin.token\n")
            }
            Some(Change::Leader(group)) if posts => match form(body, &query).await {
                Ok(form) => move_leader(context, group, &form).await,
                Err(refused) => refused,
            },
            Some(Change::Standing(node, standing)) if posts => stand(context, node, standing).await,
            Some(Change::Elastic(asked)) if posts => match form(body, &query).await {
                Ok(form) => elastic::wish(context, asked, &form).await,
                Err(refused) => refused,
            },
            Some(Change::Elastic(Elastic::Rebalance)) if reads => elastic::show_plan(context, &query),
            None if !known(path) && !vgroup::exists(path) => text(StatusCode::NOT_FOUND, "no such page\n"),
            Some(_) | None => text(StatusCode::METHOD_NOT_ALLOWED, "this page is asked in another way\n"),
        },
    }
}

/// Whether clients find this page on the Seata port too. The console is on the admin port alone.
pub fn is_for_clients(path: &str) -> bool {
    known(path) || change(path).is_some()
}

fn known(path: &str) -> bool {
    let pages = [
        "/health",
        "/metrics",
        "/metadata/v1/cluster",
        "/metadata/v1/watch",
        "/api/v1/auth/login",
        "/quorate/v1/status",
    ];
    pages.contains(&path)
}

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    reply(status, TEXT, body)
}

pub(super) fn json(value: &impl Serialize) -> Answer {
    json_of(StatusCode::OK, value)
}

/// A value as JSON.
pub fn json_of(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => reply(status, JSON, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn read(body: Incoming) -> Result<Bytes, Answer> {
    read_within(BODY_PATIENCE, body).await
}

async fn read_within<B>(patience: Duration, body: B) -> Result<Bytes, Answer>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn core::error::Error + Send + Sync>>,
{
    match timeout(patience, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(text(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n"))),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n")),
    }
}

/// Parameters of the address and of the body, as one.
async fn form(body: Incoming, query: &str) -> Result<String, Answer> {
    let body = read(body).await?;
    match core::str::from_utf8(&body) {
        Ok(body) => Ok(format!("{query}&{body}")),
        Err(_) => Err(text(StatusCode::BAD_REQUEST, "the form is not UTF-8\n")),
    }
}

fn health(context: &AdminContext) -> Answer {
    match *context.ready.borrow() {
        true => text(StatusCode::OK, "ok"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "not_ok"),
    }
}

/// Everybody's metrics.
pub(super) async fn metrics(context: &AdminContext) -> Answer {
    let mut page = Exposition::new();
    context.metrics.iter().for_each(|gather| gather(&mut page));
    if let Some(figures) = &context.seata_figures {
        seata::of_transactions(&figures().await, &mut page);
    }
    reply(StatusCode::OK, METRICS, page.into_text())
}

fn show_status(context: &AdminContext) -> Answer {
    let groups = (context.groups)();
    let ready = *context.ready.borrow();
    json(&status::status(context.presenter.node, ready, &context.routing.borrow(), &groups))
}

/// What clients are shown of a picture.
fn face(context: &AdminContext, routing: &Routing) -> Cluster {
    // A panic while it is held ends the process in production.
    let mut face = context.face.lock().unwrap_or_else(PoisonError::into_inner);
    face.look(routing, &context.presenter)
}

/// 200 once what is shown is newer than what the client knows, 304 when its time is up. Both without a body.
async fn watch(context: &AdminContext, form: &str) -> Answer {
    let Watch { seen, timeout_ms } = match discovery::watch(form) {
        Ok(watch) => watch,
        Err(reason) => return text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
    };
    let mut routing = context.routing.clone();
    let seen = seen.unwrap_or_else(|| face(context, &routing.borrow()).term);
    let newer = routing.wait_until(|routing| face(context, routing).term > seen);
    match timeout(Duration::from_millis(timeout_ms), newer).await {
        Ok(Ok(_)) => text(StatusCode::OK, ""),
        // The node stops: the client asks another one.
        Ok(Err(_)) => text(StatusCode::SERVICE_UNAVAILABLE, ""),
        Err(_) => text(StatusCode::NOT_MODIFIED, ""),
    }
}

#[derive(Deserialize)]
struct Credentials {
    username: String,
    #[serde(default)]
    password: String,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    code: &'static str,
    message: &'static str,
    data: Option<&'a str>,
    success: bool,
}

/// Clients with a user in their configuration do not start without this page (protocol, section 6.3). A wrong password is
/// told in a page of status 200, as Seata's server does; too many of them with 429, which Seata's does not.
fn login(context: &AdminContext, peer: SocketAddr, body: &[u8]) -> Answer {
    let credentials: Credentials = match serde_json::from_slice(body) {
        Ok(credentials) => credentials,
        Err(error) => return text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    };
    let token = match &context.login {
        Some(login) => match login.enter(peer.ip(), &credentials.username, &credentials.password) {
            Ok(token) => format!("Bearer {token}"),
            Err(why) => return no_entry(why),
        },
        None => TOKEN.to_owned(),
    };
    let mut answer = json(&LoggedIn { code: "200", message: "success", data: Some(&token), success: true });
    if let Ok(value) = HeaderValue::from_str(&token) {
        answer.headers_mut().insert(AUTHORIZATION, value);
    }
    answer
}

/// In the shape of Seata's refusals.
fn no_entry(why: NoEntry) -> Answer {
    match why {
        NoEntry::Wrong => json(&LoggedIn { code: "401", message: "Login failed", data: None, success: false }),
        NoEntry::TooOften(wait) => {
            let message = "Too many failed logins from this address";
            let body = LoggedIn { code: "429", message, data: None, success: false };
            let mut answer = json_of(StatusCode::TOO_MANY_REQUESTS, &body);
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            answer
        }
    }
}

/// A change of the cluster that is asked for by a path.
enum Change {
    /// `/quorate/v1/groups/7/leader`.
    Leader(GroupId),
    /// `/quorate/v1/nodes/4/drain`.
    Standing(NodeId, Standing),
    /// Groups, and the slots on them.
    Elastic(Elastic),
}

fn change(path: &str) -> Option<Change> {
    if let Some(asked) = elastic::of_path(path) {
        return Some(Change::Elastic(asked));
    }
    if let Some(group) = path.strip_prefix("/quorate/v1/groups/") {
        return group.strip_suffix("/leader")?.parse().ok().map(|group| Change::Leader(GroupId(group)));
    }
    let (node, word) = path.strip_prefix("/quorate/v1/nodes/")?.split_once('/')?;
    let standing = match word {
        "drain" => Standing::Draining,
        "undrain" => Standing::Serving,
        "remove" => Standing::Removing,
        "replace" => Standing::Lost,
        _ => return None,
    };
    node.parse().ok().map(|node| Change::Standing(NodeId(node), standing))
}

async fn stand(context: &AdminContext, node: NodeId, standing: Standing) -> Answer {
    tracing::info!(%node, %standing, "an operator changes what is wanted of a node");
    match (context.tell_meta)(MetaCommand::SetStanding(SetStandingV1 { node, standing })).await {
        Ok(_) => text(StatusCode::OK, format!("node {node} is {standing}\n")),
        Err(why) => text(why.status(), format!("{why}\n")),
    }
}

async fn move_leader(context: &AdminContext, group: GroupId, form: &str) -> Answer {
    let node = form.split('&').find_map(|pair| pair.strip_prefix("node="));
    let Some(node) = node.and_then(|node| node.parse().ok()).map(NodeId) else {
        return text(StatusCode::BAD_REQUEST, "say which: node=NUMBER\n");
    };
    match (context.move_leader)(group, node).await {
        Ok(()) => text(StatusCode::OK, format!("asked node {node} to lead group {group}\n")),
        Err(reason) => text(StatusCode::CONFLICT, format!("{reason}\n")),
    }
}

/// The token that a request shows.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
}

/// A page in a browser is never the operator, even on the operator's machine.
pub(super) fn may_change(context: &AdminContext, peer: SocketAddr, headers: &HeaderMap) -> bool {
    match (&context.token, bearer(headers)) {
        (Some(token), Some(shown)) => token::same(token, shown),
        (Some(_) | None, _) => peer.ip().to_canonical().is_loopback() && !headers.contains_key(ORIGIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use core::pin::Pin;
    use core::task::{Context, Poll};
    use hyper::body::Frame;
    use quorate_world::runtime::run_test;

    /// A body that never comes.
    struct Never;

    impl Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_body_that_does_not_come_is_not_waited_for() {
        run_test(async {
            let refused = read_within(Duration::from_millis(20), Never).await.expect_err("nothing came");
            assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
            let read = read_within(BODY_PATIENCE, Full::new(Bytes::from_static(b"a=1"))).await;
            assert_eq!(read.expect("it is whole"), "a=1");
        });
    }
}
