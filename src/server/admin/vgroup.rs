//! Which unit serves which transaction service group: the two calls that Seata's naming server makes to a node (semantics,
//! section 7.5). The mapping is the cluster's, kept in the log of the meta group; every node shows it, in discovery beside
//! itself and in its status. Nothing routes by it, for every node serves every group.
//!
//! They are made with GET, as in Seata, though they change something. So a page in a browser, which can send a GET anywhere,
//! must not be taken for the operator.

use super::form::Form;
use super::route::{Answer, bearer, json_of, may_change};
use super::{AdminContext, Work};
use core::net::SocketAddr;
use hyper::header::{HeaderName, REFERER};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use quorate_core::cluster::MetaCommand;
use quorate_core::cluster::command::{VgroupNameV1, VgroupV1};
use quorate_world::time::{Duration, timeout};
use serde::Serialize;

/// Has the meta group take a word: the picture number after it.
pub type TellMeta = Box<dyn Fn(MetaCommand) -> Work<Result<u64, Untaken>> + Send + Sync>;

/// Why it did not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Untaken {
    /// Nothing has changed.
    #[error("{0}")]
    Refused(String),
    /// Nobody was asked, for the parts of this node are not there yet.
    #[error("the node is starting: say it again in a moment")]
    Starting,
    /// It may have changed, or will.
    #[error("the meta group has no leader that answered in time: it may be done; look, and say it again")]
    Unknown,
}

impl Untaken {
    /// What HTTP says of it: only what was refused is not to be said again.
    pub fn status(&self) -> StatusCode {
        match self {
            Untaken::Refused(_) => StatusCode::CONFLICT,
            Untaken::Starting | Untaken::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// So long this node may take to show what another one has put into the log.
const PATIENCE: Duration = Duration::from_secs(2);

/// Seata's `Result`.
#[derive(Serialize)]
struct Said<'a> {
    code: &'a str,
    message: &'a str,
    success: bool,
}

/// Whether there is such a call.
pub fn exists(path: &str) -> bool {
    ["/vgroup/v1/addVGroup", "/vgroup/v1/removeVGroup"].contains(&path)
}

/// Makes the call.
pub async fn answer(context: &AdminContext, peer: SocketAddr, head: &Parts) -> Answer {
    let form = Form::parse(head.uri.query().unwrap_or_default());
    if !may_change(context, peer, &head.headers) || is_of_a_browser(&head.headers) {
        let message = "changes are served to loopback, and to others only with admin.token";
        return said(StatusCode::FORBIDDEN, message);
    }
    let command = match command(head.uri.path(), &form, &context.presenter.group) {
        Ok(command) => command,
        Err(reason) => return said(StatusCode::BAD_REQUEST, &reason),
    };
    tracing::info!(%peer, ?command, "an operator maps a transaction service group");
    match (context.tell_meta)(command).await {
        Ok(picture) => {
            // Who has changed something sees it, here at least.
            let mut routing = context.routing.clone();
            _ = timeout(PATIENCE, routing.wait_until(|routing| routing.picture() >= picture)).await;
            said(StatusCode::OK, "success")
        }
        Err(why) => said(why.status(), &why.to_string()),
    }
}

fn command(path: &str, form: &Form, cluster: &str) -> Result<MetaCommand, String> {
    let vgroup = form.text("vGroup").ok_or("vGroup: which transaction service group")?;
    if path.ends_with("/removeVGroup") {
        return Ok(MetaCommand::UnmapVgroup(VgroupNameV1 { vgroup }));
    }
    let unit = form.text("unit").ok_or("unit: which unit serves it")?;
    Ok(MetaCommand::MapVgroup(VgroupV1 { vgroup, cluster: cluster.to_owned(), unit }))
}

/// Browsers say where a request comes from, and cannot be made to show a token of ours.
fn is_of_a_browser(headers: &HeaderMap) -> bool {
    const FETCH: HeaderName = HeaderName::from_static("sec-fetch-site");
    bearer(headers).is_none() && (headers.contains_key(REFERER) || headers.contains_key(FETCH))
}

fn said(status: StatusCode, message: &str) -> Answer {
    json_of(status, &Said { code: status.as_str(), message, success: status == StatusCode::OK })
}
