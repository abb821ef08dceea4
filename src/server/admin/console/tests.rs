//! The console's pages as a tool sees them.

use super::super::Login;
use super::super::attempts::FAILURES_MAX;
use super::super::tests::{ask, founded, get, post, serve_console, serve_user};
use super::*;
use quorate_core::console::{BranchRow, LastAnswer, LockName, Trouble, Unfulfilled, Wish};
use quorate_core::model::{BranchStatus, BranchType, RowKey};
use quorate_core::txn::command::Operation;
use quorate_world::runtime::run_test;
use std::sync::{Arc, Mutex};

const TRANSACTION: TransactionId = TransactionId((1 << 60) + 7);
const BRANCH: BranchId = BranchId((1 << 60) + 9);

fn session() -> SessionRow {
    SessionRow {
        group: GroupId(3),
        xid: Xid { address: "10.0.0.1:8091".into(), transaction: TRANSACTION },
        application: "shop".into(),
        service_group: "default_tx_group".into(),
        name: "buy".into(),
        timeout_ms: 60_000,
        begun_wall_ms: 1_800_000_000_000,
        age_ms: 5_000,
        status: GlobalStatus::RollbackRetrying,
        branches: vec![BranchRow {
            branch: BRANCH,
            kind: BranchType::AT,
            resource: "jdbc:a".into(),
            status: BranchStatus::Registered,
            client: "shop:10.0.0.2:5000".into(),
            application_data: "{}".into(),
            rows: 2,
            age_ms: Some(4_000),
        }],
        branches_left_out: 0,
        troubles: vec![(BRANCH, Trouble { attempts: 4, last: LastAnswer::NoChannel })],
    }
}

fn lock() -> LockRow {
    LockRow {
        group: GroupId(1),
        transaction: TRANSACTION,
        branch: BRANCH,
        resource: "jdbc:a".into(),
        row: RowKey { table: "t".into(), key: "1".into() },
        held_ms: 4_000,
        holder: Some(session()),
    }
}

type AskedSessions = Arc<Mutex<Vec<(SessionFilter, Page)>>>;
type AskedLocks = Arc<Mutex<Vec<(LockFilter, Page)>>>;

/// One of each, of 21 that there are, and what was asked for.
fn console(unanswered: &[GroupId]) -> (Console, AskedSessions, AskedLocks) {
    let (sessions, locks) = (AskedSessions::default(), AskedLocks::default());
    let (of_sessions, of_locks) = (sessions.clone(), locks.clone());
    let (silent, still) = (unanswered.to_vec(), unanswered.to_vec());
    let console = Console {
        sessions: Box::new(move |filter, page| {
            of_sessions.lock().expect("nobody panicked").push((filter, page));
            let unanswered = silent.clone();
            Box::pin(async { Gathered { rows: vec![session()], total: 21, unanswered } })
        }),
        locks: Box::new(move |filter, page| {
            of_locks.lock().expect("nobody panicked").push((filter, page));
            let unanswered = still.clone();
            Box::pin(async {
                Gathered { rows: vec![lock(), LockRow { holder: None, ..lock() }], total: 2, unanswered }
            })
        }),
        ..Console::of_nothing()
    };
    (console, sessions, locks)
}

/// What was wished for.
type Wished = Arc<Mutex<Vec<(TransactionId, Wish)>>>;

/// One that grants everything but to transaction 9.
fn operated() -> (Console, Wished) {
    let wished = Wished::default();
    let seen = wished.clone();
    let console = Console {
        operate: Box::new(move |transaction, wish, by| {
            assert!(by.contains("127.0.0.1:"), "{by}");
            seen.lock().expect("nobody panicked").push((transaction, wish));
            Box::pin(async move {
                match transaction.0 {
                    7 => Err(Unfulfilled::Underway("it is Deleting".to_owned())),
                    8 => Err(Unfulfilled::NoLeader(GroupId(2))),
                    9 => Err(Unfulfilled::Refused("the transaction is Begin: no".to_owned())),
                    _ => Ok(GlobalStatus::CommitRetrying),
                }
            })
        }),
        ..Console::of_nothing()
    };
    (console, wished)
}

#[test]
fn control_calls() {
    run_test(async {
        let (console, wished) = operated();
        let served = serve_console(&founded(), None, console).await;
        let call = async |method: &str, name: &str, query: &str, headers: &str| {
            let path = format!("/api/v1/console/globalSession/{name}?{query}");
            ask(served.address, &format!("{method} {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n{headers}\r\n"))
                .await
        };
        let calls = [
            ("PUT", "stopGlobalSession", Wish::Change(Operation::Stop)),
            ("PUT", "startGlobalSession", Wish::Change(Operation::Start)),
            ("PUT", "sendCommitOrRollback", Wish::RetryNow),
            ("PUT", "changeGlobalStatus", Wish::Change(Operation::Reopen)),
            ("DELETE", "deleteGlobalSession", Wish::Change(Operation::CleanUp)),
            ("DELETE", "forceDeleteGlobalSession", Wish::Change(Operation::ForceDelete)),
        ];
        for (method, name, wish) in calls {
            let (status, _, body) = call(method, name, "xid=10.0.0.1%3A8091%3A77", "").await;
            assert_eq!(status, "HTTP/1.1 200 OK", "{name}");
            let message = format!("{}: 10.0.0.1:8091:77 is CommitRetrying", wish.name());
            let expected =
                serde_json::json!({"code": "200", "message": message, "success": true, "data": "CommitRetrying"});
            assert_eq!(json(&body), expected, "{name}");
            assert_eq!(wished.lock().expect("nobody panicked").pop(), Some((TransactionId(77), wish)));
            assert_eq!(call("GET", name, "xid=a:77", "").await.0, "HTTP/1.1 405 Method Not Allowed");
        }
        let (status, _, body) = call("PUT", "stopGlobalSession", "xid=a:9", "").await;
        let refused = serde_json::json!({"code": "409", "message": "the transaction is Begin: no", "success": false, "data": null});
        assert_eq!((status.as_str(), json(&body)), ("HTTP/1.1 409 Conflict", refused));
        let (status, _, body) = call("DELETE", "deleteGlobalSession", "xid=a:7", "").await;
        assert_eq!((status.as_str(), &json(&body)["success"]), ("HTTP/1.1 202 Accepted", &false.into()));
        assert_eq!(call("PUT", "stopGlobalSession", "xid=a:8", "").await.0, "HTTP/1.1 503 Service Unavailable");
        wished.lock().expect("nobody panicked").clear();
        let branches = [
            ("PUT", "branchSession/stopBranchSession", Operation::StopBranch(BRANCH)),
            ("PUT", "branchSession/startBranchSession", Operation::StartBranch(BRANCH)),
            ("DELETE", "branchSession/deleteBranchSession", Operation::CleanUpBranch(BRANCH)),
            ("DELETE", "branchSession/forceDeleteBranchSession", Operation::DropBranch(BRANCH)),
        ];
        for (method, name, operation) in branches {
            let of_branch = async |method: &str, query: &str| {
                let head = format!("{method} /api/v1/console/{name}?{query} HTTP/1.1\r\nhost: q\r\nconnection: close");
                ask(served.address, &format!("{head}\r\n\r\n")).await
            };
            assert_eq!(of_branch(method, &format!("xid=a:77&branchId={BRANCH}")).await.0, "HTTP/1.1 200 OK", "{name}");
            assert_eq!(
                wished.lock().expect("nobody panicked").pop(),
                Some((TransactionId(77), Wish::Change(operation)))
            );
            let (status, _, body) = of_branch(method, "xid=a:77").await;
            assert_eq!(status, "HTTP/1.1 400 Bad Request");
            assert_eq!(json(&body)["message"], "branchId: the call is about one branch");
            assert_eq!(of_branch("GET", "xid=a:77&branchId=9").await.0, "HTTP/1.1 405 Method Not Allowed");
        }
        let (status, _, body) = call("PUT", "stopGlobalSession", "", "").await;
        assert_eq!(
            (status.as_str(), &json(&body)["message"]),
            ("HTTP/1.1 400 Bad Request", &"xid: the xid is empty".into())
        );
        // A page in a browser is never the operator.
        let (status, _, body) = call("PUT", "stopGlobalSession", "xid=a:77", "origin: http://evil.example\r\n").await;
        assert_eq!((status.as_str(), &json(&body)["code"]), ("HTTP/1.1 403 Forbidden", &"403".into()));
        assert!(wished.lock().expect("nobody panicked").is_empty());
    });
}

#[test]
fn a_single_lock() {
    run_test(async {
        let wanted = Arc::new(Mutex::new(Vec::new()));
        let seen = wanted.clone();
        let console = Console {
            delete_lock: Box::new(move |lock, by| {
                assert!(by.contains("127.0.0.1:"), "{by}");
                let is_owed = lock.transaction.0 == 9;
                seen.lock().expect("nobody panicked").push(lock);
                let refusal = Unfulfilled::Refused("it is held rightfully".to_owned());
                Box::pin(async move { if is_owed { Err(refusal) } else { Ok(()) } })
            }),
            has_branch: Box::new(|transaction, branch| {
                Box::pin(async move {
                    match branch.0 {
                        8 => Err(Unfulfilled::NoLeader(GroupId(2))),
                        _ => Ok(transaction.0 == branch.0),
                    }
                })
            }),
            ..Console::of_nothing()
        };
        let served = serve_console(&founded(), None, console).await;
        let call = async |method: &str, name: &str, query: &str| {
            let path = format!("/api/v1/console/globalLock/{name}?{query}");
            let request = format!("{method} {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n\r\n");
            let (status, _, body) = ask(served.address, &request).await;
            (status.trim_start_matches("HTTP/1.1 ").to_owned(), json(&body))
        };
        let name = "branchId=5&resourceId=jdbc%3Aa&tableName=t&pk=1";
        let (status, body) = call("DELETE", "delete", &format!("xid=a:1:7&{name}")).await;
        let expected = serde_json::json!({
            "code": "200", "message": "row t:1 of jdbc:a is free of transaction 7", "success": true, "data": null,
        });
        assert_eq!((status.as_str(), body), ("200 OK", expected));
        let lock = LockName {
            transaction: TransactionId(7),
            branch: Some(BranchId(5)),
            resource: "jdbc:a".into(),
            row: RowKey { table: "t".into(), key: "1".into() },
        };
        assert_eq!(*wanted.lock().expect("nobody panicked"), [lock]);
        let (status, body) = call("DELETE", "delete", &format!("transactionId=9&{name}")).await;
        assert_eq!((status.as_str(), &body["message"]), ("409 Conflict", &"it is held rightfully".into()));
        for (query, message) in [
            (name, "xid: whose lock it is"),
            ("xid=a:7&resourceId=r&pk=1", "tableName: in which table"),
            ("xid=a:7&tableName=t&pk=1", "resourceId: in which resource"),
            ("xid=a:7&resourceId=r&tableName=t", "pk: the primary key of the row"),
        ] {
            let (status, body) = call("DELETE", "delete", query).await;
            assert_eq!((status.as_str(), &body["message"]), ("400 Bad Request", &message.into()));
        }
        assert_eq!(call("GET", "delete", name).await.0, "405 Method Not Allowed");
        assert_eq!(wanted.lock().expect("nobody panicked").len(), 2);
        for (query, has) in [("xid=a:7&branchId=7", true), ("xid=a:7&branchId=6", false)] {
            let (status, body) = call("GET", "check", query).await;
            let expected = serde_json::json!({"code": "200", "message": "success", "success": true, "data": has});
            assert_eq!((status.as_str(), body), ("200 OK", expected));
        }
        assert_eq!(call("GET", "check", "xid=a:7&branchId=8").await.0, "503 Service Unavailable");
        assert_eq!(call("GET", "check", "xid=a:7").await.0, "400 Bad Request");
        assert_eq!(call("GET", "check", "branchId=7").await.0, "400 Bad Request");
        assert_eq!(call("DELETE", "check", "xid=a:7&branchId=7").await.0, "405 Method Not Allowed");
    });
}

fn json(body: &str) -> serde_json::Value {
    serde_json::from_str(body).expect("JSON")
}

#[test]
fn transactions_in_the_shape_of_seata() {
    run_test(async {
        let (console, asked, _) = console(&[]);
        let served = serve_console(&founded(), None, console).await;
        let query = "xid=10.0.0.1%3A8091&applicationId=sh&transactionName=bu+y&status=5&timeStart=5&timeEnd=9&unreportedForMs=7&pageNum=2&pageSize=10";
        let (status, headers, body) =
            get(served.address, &format!("/api/v1/console/globalSession/query?{query}")).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains("content-type: application/json"), "{headers}");
        let filter = SessionFilter {
            xid: Some("10.0.0.1:8091".into()),
            application: Some("sh".into()),
            name: Some("bu y".into()),
            status: Some(GlobalStatus::RollbackRetrying),
            begun_from_ms: Some(5),
            begun_until_ms: Some(9),
            unreported_for_ms: Some(7),
        };
        let page = Page::new(2, 10).expect("a page");
        assert_eq!(*asked.lock().expect("nobody panicked"), [(filter, page)]);
        let expected = concat!(
            r#"{"code":"200","message":"success","success":true,"pageSize":10,"pageNum":2,"total":21,"pages":3,"data":["#,
            r#"{"xid":"10.0.0.1:8091:1152921504606846983","transactionId":"1152921504606846983","status":5,"#,
            r#""applicationId":"shop","transactionServiceGroup":"default_tx_group","transactionName":"buy","#,
            r#""timeout":"60000","beginTime":"1800000000000","applicationData":null,"gmtCreate":null,"gmtModified":null,"#,
            r#""branchSessionVOs":[{"xid":"10.0.0.1:8091:1152921504606846983","transactionId":"1152921504606846983","#,
            r#""branchId":"1152921504606846985","resourceGroupId":null,"resourceId":"jdbc:a","branchType":"AT","status":1,"#,
            r#""clientId":"shop:10.0.0.2:5000","applicationData":"{}","gmtCreate":null,"gmtModified":null,"#,
            r#""statusName":"Registered","lockRows":2,"ageMs":"4000"}],"#,
            r#""statusName":"RollbackRetrying","group":3,"ageMs":"5000","branchesLeftOut":0,"#,
            r#""stuck":{"reason":"NO_CHANNEL","#,
            r#""text":"branch 1152921504606846985 of jdbc:a waits: no RM for its resource is connected","#,
            r#""branchId":"1152921504606846985","resourceId":"jdbc:a","retries":4,"#,
            r#""lastAnswer":"no RM for its resource is connected"}}],"groupsUnanswered":[]}"#,
        );
        assert_eq!(body, expected);
        let (_, _, body) = get(served.address, "/api/v1/console/globalSession/query?withBranch=false&xid=").await;
        assert_eq!(json(&body)["data"][0]["branchSessionVOs"], serde_json::json!([]));
        assert_eq!(
            asked.lock().expect("nobody panicked")[1],
            (SessionFilter::default(), Page::new(1, 20).expect("one"))
        );
    });
}

#[test]
fn row_locks_in_the_shape_of_seata() {
    run_test(async {
        let (console, _, asked) = console(&[]);
        let served = serve_console(&founded(), None, console).await;
        let query = "xid=10.0.0.1:8091:4103&branchId=9&tableName=t&pk=1&resourceId=jdbc%3Aa&timeStart=1&timeEnd=2";
        let (_, _, body) = get(served.address, &format!("/api/v1/console/globalLock/query?{query}")).await;
        let filter = LockFilter {
            transaction: Some(TransactionId(4103)),
            branch: Some(BranchId(9)),
            resource: Some("jdbc:a".into()),
            table: Some("t".into()),
            key: Some("1".into()),
            since_from_ms: Some(1),
            since_until_ms: Some(2),
        };
        assert_eq!(*asked.lock().expect("nobody panicked"), [(filter, Page::new(1, 20).expect("one"))]);
        let rows = &json(&body)["data"];
        let expected = serde_json::json!({
            "xid": "10.0.0.1:8091:1152921504606846983", "transactionId": "1152921504606846983",
            "branchId": "1152921504606846985", "resourceId": "jdbc:a", "tableName": "t", "pk": "1",
            "rowKey": "jdbc:a^^^t^^^1", "vgroup": "default_tx_group", "gmtCreate": null, "gmtModified": null,
            "group": 1, "heldMs": "4000", "holderStatus": 5, "holderStatusName": "RollbackRetrying",
            "holderApplicationId": "shop", "holderTransactionName": "buy", "holderBeginTime": "1800000000000",
        });
        assert_eq!(rows[0], expected);
        // Nobody knows the transaction: its number is enough for every request.
        assert_eq!(rows[1]["xid"], ":1152921504606846983");
        assert_eq!(rows[1]["holderStatus"], serde_json::Value::Null);
    });
}

/// As from Seata, which compares texts.
#[test]
fn nobody_holds_a_lock_under_an_xid_that_is_none() {
    run_test(async {
        let (console, _, asked) = console(&[]);
        let served = serve_console(&founded(), None, console).await;
        for query in
            ["xid=7", "xid=10.0.0.1", "xid=10.0.0.1:8091:", "xid=a:1:-7", "xid=order-17", "xid=a:7&transactionId=8"]
        {
            let path = format!("/api/v1/console/globalLock/query?{query}&pageNum=2");
            let (status, _, body) = get(served.address, &path).await;
            assert_eq!(status, "HTTP/1.1 200 OK", "{query}");
            let expected = serde_json::json!({
                "code": "200", "message": "success", "success": true, "pageSize": 20, "pageNum": 2, "total": 0,
                "pages": 0, "data": [], "groupsUnanswered": [],
            });
            assert_eq!(json(&body), expected, "{query}");
        }
        assert!(asked.lock().expect("nobody panicked").is_empty());
        get(served.address, "/api/v1/console/globalLock/query?xid=a:7&transactionId=7").await;
        let filter = LockFilter { transaction: Some(TransactionId(7)), ..LockFilter::default() };
        assert_eq!(asked.lock().expect("nobody panicked")[0].0, filter);
    });
}

#[test]
fn what_cannot_be_asked_is_refused_in_words() {
    run_test(async {
        let (console, asked, locks) = console(&[]);
        let served = serve_console(&founded(), None, console).await;
        let page = |query: &str| format!("/api/v1/console/globalSession/query?{query}");
        let wrong = [
            (page("pageNum=0&pageSize=10"), "pageNum must be at least 1"),
            (page("pageNum=1&pageSize=0"), "pageSize must be from 1 to 1000"),
            (page("pageNum=-1"), "pageNum must be a whole number, and is `-1`"),
            (
                page("pageNum=11&pageSize=1000"),
                "the page ends beyond row 10000; narrow the filters, or read up to there",
            ),
            (page("timeStart=today"), "timeStart must be a whole number, and is `today`"),
            (page("status=21"), "status 21 is none; they go from 0 to 20"),
            (
                "/api/v1/console/globalLock/query?xid=a:7&transactionId=x".to_owned(),
                "transactionId must be a whole number, and is `x`",
            ),
            ("/api/v1/console/globalLock/query?xid=7&pageNum=0".to_owned(), "pageNum must be at least 1"),
        ];
        for (path, message) in wrong {
            let (status, _, body) = get(served.address, &path).await;
            assert_eq!(status, "HTTP/1.1 400 Bad Request", "{path}");
            let expected = serde_json::json!({"code": "400", "message": message, "success": false, "data": null});
            assert_eq!(json(&body), expected, "{path}");
        }
        assert!(asked.lock().expect("nobody panicked").is_empty() && locks.lock().expect("nobody panicked").is_empty());
        assert_eq!(
            post(served.address, "/api/v1/console/globalSession/query", "", "").await.0,
            "HTTP/1.1 405 Method Not Allowed"
        );
        assert_eq!(get(served.address, "/api/v1/console/globalSession").await.0, "HTTP/1.1 404 Not Found");
    });
}

fn ops() -> Login {
    Login {
        user: "ops".into(),
        password: "sesame".into(),
        key: b"a key".to_vec(),
        validity_ms: 60_000,
        attempts: Default::default(),
    }
}

#[test]
fn who_guesses_passwords_waits() {
    run_test(async {
        let served = serve_user(&founded(), None, Some(ops()), Console::of_nothing()).await;
        let login = async |password: &str| {
            let user = format!(r#"{{"username":"ops","password":"{password}"}}"#);
            post(served.address, "/api/v1/auth/login", "", &user).await
        };
        let wrong = async |turn: u32| {
            let (status, _, body) = login("simsim").await;
            assert_eq!((status.as_str(), &json(&body)["code"]), ("HTTP/1.1 200 OK", &"401".into()), "{turn}");
        };
        for turn in 1..FAILURES_MAX {
            wrong(turn).await;
        }
        assert_eq!(json(&login("sesame").await.2)["code"], "200", "and what came before is forgiven");
        for turn in 0..FAILURES_MAX {
            wrong(turn).await;
        }
        // Not even the right one is looked at: it would tell that it is.
        let (status, headers, body) = login("sesame").await;
        assert_eq!(status, "HTTP/1.1 429 Too Many Requests");
        let after: u64 = headers
            .lines()
            .find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok())
            .expect("it says how long");
        assert!((1..=60).contains(&after), "{headers}");
        let expected = serde_json::json!({
            "code": "429", "message": "Too many failed logins from this address", "data": null, "success": false,
        });
        assert_eq!(json(&body), expected);
    });
}

#[test]
fn where_there_is_a_user_a_token_is_wanted() {
    run_test(async {
        let (console, wished) = operated();
        let login = ops();
        let served = serve_user(&founded(), Some("the admin's"), Some(login), console).await;
        let list = "/api/v1/console/globalSession/query";
        let refused = |answer: (String, String, String)| {
            assert_eq!((answer.0.as_str(), &json(&answer.2)["code"]), ("HTTP/1.1 401 Unauthorized", &"401".into()));
        };
        refused(get(served.address, list).await);
        refused(get(served.address, &format!("{list}?access_token=guessed")).await);
        for user in [r#"{"username":"ops","password":"simsim"}"#, r#"{"username":"ops"}"#] {
            let (status, headers, body) = post(served.address, "/api/v1/auth/login", "", user).await;
            assert_eq!((status.as_str(), headers.contains("authorization")), ("HTTP/1.1 200 OK", false));
            assert_eq!(body, r#"{"code":"401","message":"Login failed","data":null,"success":false}"#);
        }
        let user = r#"{"username":"ops","password":"sesame"}"#;
        let (_, headers, body) = post(served.address, "/api/v1/auth/login", "", user).await;
        let (body, bearer) = (json(&body), json(&body)["data"].as_str().expect("a token").to_owned());
        assert_eq!((&body["code"], &body["success"]), (&"200".into(), &true.into()));
        assert!(headers.contains(&format!("authorization: {}", bearer.to_lowercase())), "{headers}");
        let token = bearer.strip_prefix("Bearer ").expect("as Seata's");
        assert_eq!(get(served.address, &format!("{list}?access_token={token}")).await.0, "HTTP/1.1 200 OK");
        let stop = |headers: String| {
            let path = "/api/v1/console/globalSession/stopGlobalSession?xid=a:77";
            let request = format!("PUT {path} HTTP/1.1\r\nhost: q\r\nconnection: close\r\n{headers}\r\n");
            async move { ask(served.address, &request).await }
        };
        refused(stop(String::new()).await);
        assert_eq!(stop(format!("authorization: {bearer}\r\n")).await.0, "HTTP/1.1 200 OK");
        assert_eq!(stop("authorization: Bearer the admin's\r\n".to_owned()).await.0, "HTTP/1.1 200 OK");
        assert_eq!(wished.lock().expect("nobody panicked").len(), 2);
        // Discovery and health are for everybody.
        assert_eq!(get(served.address, "/metadata/v1/cluster").await.0, "HTTP/1.1 200 OK");
        assert_eq!(get(served.address, "/health").await.2, "not_ok");
    });
}

#[test]
fn a_group_that_could_not_be_asked_is_named() {
    run_test(async {
        let (console, _, _) = console(&[GroupId(2), GroupId(5)]);
        let served = serve_console(&founded(), None, console).await;
        let (status, _, body) = get(served.address, "/api/v1/console/globalLock/query").await;
        let (status, body) = (status.as_str(), json(&body));
        assert_eq!((status, &body["success"]), ("HTTP/1.1 200 OK", &serde_json::json!(true)));
        assert_eq!(body["message"], "not all: no answer from the leader of group 2, 5");
        assert_eq!(body["groupsUnanswered"], serde_json::json!([2, 5]));
    });
}
