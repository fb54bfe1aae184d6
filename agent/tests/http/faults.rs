//! What is refused: faulty requests by field, and requests without the token.

use reqwest::Method;
use serde_json::json;

use super::harness::{send, start};

/// Path, body; status, code and field of the answer.
const CASES: [(&str, &str, u16, &str, &str); 24] = [
    ("/work/add", "{", 400, "MALFORMED_BODY", "body"),
    ("/work/add", "", 400, "MALFORMED_BODY", "body"),
    ("/work/add", "[]", 400, "WRONG_TYPE", "body"),
    ("/work/add", r#"{"colour":1}"#, 400, "UNKNOWN_FIELD", "colour"),
    ("/work/add", r#"{"priority":"high"}"#, 400, "WRONG_TYPE", "priority"),
    ("/work/add", r#"{"priority":101}"#, 400, "INVALID_VALUE", "priority"),
    ("/work/add", r#"{"config":[]}"#, 400, "WRONG_TYPE", "config"),
    ("/work/add", r#"{"max_attempts":0}"#, 400, "INVALID_VALUE", "max_attempts"),
    ("/work/add", r#"{"timeout_seconds":-1}"#, 400, "INVALID_VALUE", "timeout_seconds"),
    ("/work/add", r#"{"work_type":"process"}"#, 400, "MISSING_FIELD", "config.argv"),
    ("/work/add_batch", r#"{"items":[]}"#, 400, "INVALID_VALUE", "items"),
    ("/work/add_batch", r#"{"items":[{},{"x":1}]}"#, 400, "UNKNOWN_FIELD", "items[1].x"),
    (
        "/work/add_batch",
        r#"{"items":[{},{"work_type":""}]}"#,
        400,
        "INVALID_VALUE",
        "items[1].work_type",
    ),
    ("/work/claim", "{}", 400, "MISSING_FIELD", "node_id"),
    ("/work/claim", r#"{"node_id":"a b"}"#, 400, "INVALID_VALUE", "node_id"),
    ("/work/claim", r#"{"node_id":"a","max_items":0}"#, 400, "INVALID_VALUE", "max_items"),
    (
        "/work/claim",
        r#"{"node_id":"a","lease_seconds":0.1}"#,
        400,
        "INVALID_VALUE",
        "lease_seconds",
    ),
    ("/work/claim", r#"{"node_id":"a","wait_seconds":61}"#, 400, "INVALID_VALUE", "wait_seconds"),
    ("/work/start", r#"{"work_id":"x","token":"0.1.1.0"}"#, 400, "INVALID_VALUE", "work_id"),
    ("/work/start", r#"{"work_id":"w1","token":"x"}"#, 400, "INVALID_VALUE", "token"),
    ("/work/start", r#"{"work_id":"w9","token":"0.1.1.0"}"#, 404, "WORK_UNKNOWN", "work_id"),
    ("/work/cancel", r#"{"work_id":"w9"}"#, 404, "WORK_UNKNOWN", "work_id"),
    ("/raft/lock/l", r#"{"owner":"a","ttl_seconds":0}"#, 400, "INVALID_VALUE", "ttl_seconds"),
    ("/raft/lock/a%20b", r#"{"owner":"a"}"#, 400, "INVALID_VALUE", "name"),
];

#[tokio::test]
async fn every_faulty_request_gets_a_code_and_names_its_field() {
    let agent = start("--slots 0").await;
    let post = |path: &'static str, body: String| {
        let request = agent.request(Method::POST, path);
        send(request.header("content-type", "application/json").body(body))
    };
    for (path, body, status, code, field) in CASES {
        let reply = post(path, body.to_owned()).await;
        let expected = (status, code.to_owned(), Some(field.to_owned()));
        assert_eq!(reply.problem(), expected, "{path} {body}: {}", reply.text);
    }

    let huge = format!(r#"{{"config":{{"text":"{}"}}}}"#, "x".repeat(3 * 1024 * 1024));
    let reply = post("/work/add", huge.clone()).await;
    assert_eq!(reply.problem(), (413, "BODY_TOO_LARGE".to_owned(), Some("body".to_owned())));
    // A batch may be that large; its one item may not.
    let batch = format!(r#"{{"items":[{huge}]}}"#);
    let reply = post("/work/add_batch", batch).await;
    let expected = (400, "INVALID_VALUE".to_owned(), Some("items[0].config".to_owned()));
    assert_eq!(reply.problem(), expected, "{}", reply.text);
    let plain = agent.request(Method::POST, "/work/add").body("{}");
    let (status, code, field) = send(plain).await.problem();
    let expected = (415, "UNSUPPORTED_MEDIA_TYPE", Some("content-type"));
    assert_eq!((status, code.as_str(), field.as_deref()), expected);

    let history = agent.get("/work/history?limit=0").await.problem();
    assert_eq!(history, (400, "INVALID_VALUE".to_owned(), Some("limit".to_owned())));
    let history = agent.get("/work/history?limmit=1").await.problem();
    assert_eq!(history, (400, "UNKNOWN_FIELD".to_owned(), Some("limmit".to_owned())));
    assert_eq!(agent.get("/work/w9").await.problem().1, "WORK_UNKNOWN");
    assert_eq!(agent.get("/work/status").await.ok()["total_items"], 0, "nothing was added");
    agent.stop().await;
}

#[tokio::test]
async fn a_token_guards_what_changes_or_shows_payloads() {
    let agent = start("--slots 0 --token s3cret").await;
    let open = ["/", "/health", "/metrics", "/openapi.json", "/status", "/swim/status"];
    for path in open.into_iter().chain(["/swim/members", "/raft/status", "/raft/work"]) {
        let reply = send(agent.bare_request(Method::GET, path)).await;
        assert_eq!(reply.status, 200, "{path} must be open");
    }
    let guarded = [
        (Method::POST, "/work/add"),
        (Method::POST, "/work/claim"),
        (Method::POST, "/raft/lock/l"),
        (Method::DELETE, "/raft/lock/l"),
        (Method::POST, "/runs"),
        (Method::POST, "/cluster/join"),
        (Method::GET, "/work/status"),
        (Method::GET, "/work/history"),
        (Method::GET, "/work/w1/logs"),
        (Method::GET, "/spool/w1"),
        (Method::GET, "/runs/r"),
        (Method::GET, "/raft/lock/l"),
        (Method::GET, "/events"),
    ];
    for (method, path) in guarded {
        let reply = send(agent.bare_request(method.clone(), path).json(&json!({}))).await;
        assert_eq!(reply.problem(), (401, "UNAUTHORIZED".to_owned(), None), "{method} {path}");
        assert_eq!(reply.json()["error"], "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    let wrong = agent.bare_request(Method::POST, "/work/add").bearer_auth("s3cret2");
    assert_eq!(send(wrong.json(&json!({}))).await.status, 401);
    let other_header = agent.bare_request(Method::POST, "/work/add");
    let other_header = other_header.header("x-ringrift-auth", "s3cret").json(&json!({}));
    assert_eq!(send(other_header).await.ok()["status"], "added");
    agent.stop().await;
}
