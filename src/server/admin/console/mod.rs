//! Seata's console: queries of transactions and row locks, and control of transactions (semantics, section 7.5), in its
//! shapes.
//!
//! Where Seata's server only reads its own store, the answer here is about all groups of the cluster. The time filters
//! are the right way round (W26). What Seata does not know stands in fields of our own behind its own.
//!
//! Not here: who is asked (`coordinator`), and what fits (`core::console`).

mod control;
mod lock;
mod rows;
#[cfg(test)]
mod tests;

use super::form::Form;
use super::route::{Answer, bearer, json_of, may_change};
use super::{AdminContext, Work, token};
use control::Operate;
use core::net::SocketAddr;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use lock::{DeleteLock, HasBranch};
#[cfg(test)]
use quorate_core::console::Unfulfilled;
use quorate_core::console::{Gathered, LockFilter, LockRow, Page, SessionFilter, SessionRow};
use quorate_core::model::{BranchId, GlobalStatus, GroupId, TransactionId, Xid};
use serde::Serialize;

/// Asks for a page of transactions.
pub type ListSessions = Box<dyn Fn(SessionFilter, Page) -> Work<Gathered<SessionRow>> + Send + Sync>;

/// Asks for a page of row locks.
pub type ListLocks = Box<dyn Fn(LockFilter, Page) -> Work<Gathered<LockRow>> + Send + Sync>;

/// What the console pages ask for.
pub struct Console {
    /// Transactions of all groups.
    pub sessions: ListSessions,
    /// Row locks of all groups.
    pub locks: ListLocks,
    /// What is done with a transaction.
    pub operate: Operate,
    /// What is done with a row lock.
    pub delete_lock: DeleteLock,
    /// Whether a branch is still there.
    pub has_branch: HasBranch,
}

#[cfg(test)]
impl Console {
    /// Of a cluster in which there is nothing.
    pub fn of_nothing() -> Console {
        Console {
            delete_lock: Box::new(|_, _| Box::pin(async { Err(Unfulfilled::Refused("nobody holds it".to_owned())) })),
            has_branch: Box::new(|_, _| Box::pin(async { Ok(false) })),
            operate: Box::new(|_, _, _| {
                Box::pin(async { Err(Unfulfilled::Refused("no such transaction".to_owned())) })
            }),
            sessions: Box::new(|_, _| {
                Box::pin(async { Gathered { rows: Vec::new(), total: 0, unanswered: Vec::new() } })
            }),
            locks: Box::new(|_, _| Box::pin(async { Gathered { rows: Vec::new(), total: 0, unanswered: Vec::new() } })),
        }
    }
}

/// Where they begin.
const PREFIX: &str = "/api/v1/console/";
const SESSIONS: &str = "globalSession/query";
const LOCKS: &str = "globalLock/query";
const CHECK: &str = "globalLock/check";

/// Rows of a page when nobody says.
const PAGE_SIZE: u64 = 20;

/// Whether there is such a page.
pub fn exists(path: &str) -> bool {
    let pages = [SESSIONS, LOCKS, CHECK];
    control::call(path).is_some() || path.strip_prefix(PREFIX).is_some_and(|page| pages.contains(&page))
}

/// Answers whatever is asked of such a page.
pub async fn answer(context: &AdminContext, peer: SocketAddr, head: &Parts) -> Answer {
    let path = head.uri.path();
    let form = Form::parse(head.uri.query().unwrap_or_default());
    let user = match user(context, head, &form) {
        Ok(user) => user,
        Err(reason) => return failed(StatusCode::UNAUTHORIZED, reason),
    };
    match control::call(path) {
        Some((method, _)) if head.method != method => {
            failed(StatusCode::METHOD_NOT_ALLOWED, &format!("this call is made with {method}"))
        }
        Some((_, call)) => match &user {
            Some(user) => control::operate(context, call, &form, format!("{user} from {peer}")).await,
            None if may_change(context, peer, &head.headers) => {
                control::operate(context, call, &form, peer.to_string()).await
            }
            None => {
                let message = "changes are served to loopback, and to others only with admin.token";
                failed(StatusCode::FORBIDDEN, message)
            }
        },
        None if head.method == Method::GET || head.method == Method::HEAD => query(context, path, &form).await,
        None => failed(StatusCode::METHOD_NOT_ALLOWED, "this page is only read"),
    }
}

/// Who asks, if the console has a user; nothing: it has none, and is open.
fn user(context: &AdminContext, head: &Parts, form: &Form) -> Result<Option<String>, &'static str> {
    let Some(login) = &context.login else { return Ok(None) };
    let parameter = form.text("access_token");
    let shown = bearer(&head.headers).or(parameter.as_deref());
    let is_admin = |shown: &str| context.token.as_ref().is_some_and(|token| token::same(token, shown));
    match shown {
        Some(shown) if is_admin(shown) => Ok(Some("the holder of admin.token".to_owned())),
        Some(shown) => match login.user_of(shown) {
            Some(user) => Ok(Some(user)),
            None => Err("the token is wrong or too old; log in at /api/v1/auth/login"),
        },
        None => Err("a token is wanted; log in at /api/v1/auth/login"),
    }
}

async fn query(context: &AdminContext, path: &str, form: &Form) -> Answer {
    let answer = match path.strip_prefix(PREFIX) {
        Some(LOCKS) => locks(context, form).await,
        Some(CHECK) => lock::check(context, form).await,
        Some(_) | None => sessions(context, form).await,
    };
    answer.unwrap_or_else(|reason| failed(StatusCode::BAD_REQUEST, &reason))
}

/// Seata's envelope of a page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageResult<T> {
    code: &'static str,
    message: String,
    success: bool,
    page_size: u32,
    page_num: u32,
    total: u64,
    pages: u64,
    data: Vec<T>,
    /// Our own: groups whose part is missing.
    groups_unanswered: Vec<u32>,
}

/// Seata's envelope of anything else.
#[derive(Serialize)]
struct SingleResult<'a, T> {
    code: String,
    message: &'a str,
    success: bool,
    data: Option<T>,
}

/// A refusal in Seata's envelope; its code is that of HTTP.
pub fn failed(status: StatusCode, message: &str) -> Answer {
    json_of(status, &SingleResult::<()> { code: status.as_str().to_owned(), message, success: false, data: None })
}

async fn sessions(context: &AdminContext, form: &Form) -> Result<Answer, String> {
    let page = page(form)?;
    let filter = session_filter(form)?;
    let with_branches = form.text("withBranch").is_none_or(|text| text != "false");
    let gathered = (context.console.sessions)(filter, page).await;
    Ok(page_result(page, &gathered, |row| rows::session(row, with_branches)))
}

async fn locks(context: &AdminContext, form: &Form) -> Result<Answer, String> {
    let page = page(form)?;
    let gathered = match lock_filter(form)? {
        Some(filter) => (context.console.locks)(filter, page).await,
        None => Gathered { rows: Vec::new(), total: 0, unanswered: Vec::new() },
    };
    Ok(page_result(page, &gathered, rows::lock))
}

fn page(form: &Form) -> Result<Page, String> {
    let (number, size) = (form.number("pageNum")?.unwrap_or(1), form.number("pageSize")?.unwrap_or(PAGE_SIZE));
    Page::new(number, size).map_err(|error| error.to_string())
}

fn session_filter(form: &Form) -> Result<SessionFilter, String> {
    let status = form.number::<u8>("status")?.map(|code| {
        GlobalStatus::from_code(code).ok_or_else(|| format!("status {code} is none; they go from 0 to 20"))
    });
    Ok(SessionFilter {
        xid: form.text("xid"),
        application: form.text("applicationId"),
        name: form.text("transactionName"),
        status: status.transpose()?,
        begun_from_ms: form.number("timeStart")?,
        begun_until_ms: form.number("timeEnd")?,
        unreported_for_ms: form.number("unreportedForMs")?,
    })
}

/// The transaction that `xid` or `transactionId` names.
fn transaction(form: &Form) -> Result<Option<TransactionId>, String> {
    let xid = form.text("xid").map(|text| Xid::parse(&text).map_err(|error| format!("xid: {error}")));
    let of_xid = xid.transpose()?.map(|xid| xid.transaction);
    let transaction = form.number("transactionId")?.map(TransactionId);
    if let (Some(one), Some(other)) = (of_xid, transaction)
        && one != other
    {
        return Err(format!("xid and transactionId name two transactions, {one} and {other}"));
    }
    Ok(of_xid.or(transaction))
}

/// Which locks are wanted; none: what is asked for no lock can have, such as a holder whose `xid` is none of ours, or is not the
/// one that `transactionId` names. Seata compares texts, and finds nothing then.
fn lock_filter(form: &Form) -> Result<Option<LockFilter>, String> {
    let by_number = form.number("transactionId")?.map(TransactionId);
    let transaction = match form.text("xid").map(|text| Xid::parse(&text)) {
        None => by_number,
        Some(Ok(xid)) if by_number.is_none_or(|number| number == xid.transaction) => Some(xid.transaction),
        Some(Ok(_) | Err(_)) => return Ok(None),
    };
    Ok(Some(LockFilter {
        transaction,
        branch: form.number("branchId")?.map(BranchId),
        resource: form.text("resourceId"),
        table: form.text("tableName"),
        key: form.text("pk"),
        since_from_ms: form.number("timeStart")?,
        since_until_ms: form.number("timeEnd")?,
    }))
}

fn page_result<R, T: Serialize>(page: Page, gathered: &Gathered<R>, show: impl Fn(&R) -> T) -> Answer {
    let result = PageResult {
        code: "200",
        message: message(&gathered.unanswered),
        success: true,
        page_size: page.size(),
        page_num: page.number(),
        total: gathered.total,
        pages: page.pages(gathered.total),
        data: gathered.rows.iter().map(show).collect(),
        groups_unanswered: gathered.unanswered.iter().map(|group| group.0).collect(),
    };
    json_of(StatusCode::OK, &result)
}

fn message(unanswered: &[GroupId]) -> String {
    if unanswered.is_empty() {
        return "success".to_owned();
    }
    let groups: Vec<String> = unanswered.iter().map(GroupId::to_string).collect();
    format!("not all: no answer from the leader of group {}", groups.join(", "))
}
