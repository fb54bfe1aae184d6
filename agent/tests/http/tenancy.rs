//! Queues, nodes, arrays, dependencies and sessions, over HTTP.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Reply, Running, send, start, until};

async fn claim(agent: &Running, body: Value) -> Vec<Value> {
    let reply = agent.post("/work/claim", &body).await.ok();
    reply["items"].as_array().unwrap().clone()
}

fn ids(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["work_id"].as_str().unwrap()).collect()
}

async fn why(agent: &Running, work_id: &str) -> String {
    let why = agent.get(&format!("/work/{work_id}/why")).await.ok();
    why["pending"][0]["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn queues_have_limits_and_say_so() {
    let agent = start("--slots 0").await;
    let add = json!({ "queue": "team", "work_type": "mine" });
    let unknown = agent.post("/work/add", &add).await.problem();
    assert_eq!(unknown, (404, "QUEUE_UNKNOWN".to_owned(), Some("queue".to_owned())));
    let settings = json!({ "weight": 3, "max_queued": 2, "max_running": 1 });
    assert_eq!(agent.put("/queues/team", &settings).await.ok()["status"], "set");
    for _ in 0..2 {
        agent.post("/work/add", &add).await.ok();
    }
    let full = agent.post("/work/add", &add).await;
    assert_eq!((full.status, full.problem().1), (429, "BACKPRESSURE".to_owned()));
    assert!(full.header("retry-after").is_some());
    assert_eq!(claim(&agent, json!({ "node_id": "n", "max_items": 9 })).await.len(), 1);
    assert_eq!(why(&agent, "w2").await, "queue_max_running");
    let queues = agent.get("/queues").await.ok();
    let team = queues["queues"].as_array().unwrap().iter().find(|it| it["name"] == "team");
    let team = team.unwrap();
    assert_eq!((&team["queued"], &team["held"]), (&json!(1), &json!(1)));
    let in_use = agent.call(Method::DELETE, "/queues/team", None).await;
    assert_eq!(in_use.problem().1, "QUEUE_IN_USE");
    agent.stop().await;
}

/// What waits and what is held in the queue of the team.
async fn load(agent: &Running) -> (u64, u64) {
    let queues = agent.get("/queues").await.ok();
    let team = queues["queues"].as_array().unwrap().iter().find(|it| it["name"] == "team");
    let count = |key: &str| team.and_then(|team| team[key].as_u64()).unwrap();
    (count("queued"), count("held"))
}

#[tokio::test]
async fn a_run_goes_to_the_queue_that_it_names_and_no_further_than_its_limit() {
    let agent = start("--slots 0").await;
    let job = json!({ "run_id": "j", "queue": "team", "spec": {
        "job": { "argv": ["true"], "completions": 9, "parallelism": 5 },
    } });
    let unknown = agent.post("/runs", &job).await.problem();
    assert_eq!(unknown, (404, "QUEUE_UNKNOWN".to_owned(), Some("queue".to_owned())));
    let odd = json!({ "run_id": "g", "queue": "no queue", "candidate": {}, "baselines": [] });
    assert_eq!(agent.post("/gauntlet/execute", &odd).await.problem().0, 400);
    agent.put("/queues/team", &json!({ "max_queued": 2 })).await.ok();
    assert_eq!(agent.post("/runs", &job).await.ok()["status"], "accepted");
    assert_eq!(agent.post("/runs", &job).await.ok()["status"], "exists");
    let mut elsewhere = job.clone();
    elsewhere["queue"] = json!("default");
    assert_eq!(agent.post("/runs", &elsewhere).await.problem().1, "RUN_CONFLICT");
    assert_eq!(agent.get("/runs/j").await.ok()["queue"], "team");
    until("the queue is full", || async { (load(&agent).await == (2, 0)).then_some(()) }).await;
    let claimed = claim(&agent, json!({ "node_id": "n", "max_items": 1 })).await;
    assert_eq!(claimed[0]["queue"], "team");
    until("what is held makes room", || async { (load(&agent).await == (2, 1)).then_some(()) })
        .await;
    agent.post("/runs/j/cancel", &json!({})).await.ok();
    agent.stop().await;
}

#[tokio::test]
async fn a_claim_reserves_devices_on_its_node() {
    let agent = start("--slots 0").await;
    let add = json!({ "work_type": "mine", "resources": { "gpus": 1, "memory_mib": 100 } });
    for _ in 0..3 {
        agent.post("/work/add", &add).await.ok();
    }
    assert!(claim(&agent, json!({ "node_id": "n", "max_items": 9 })).await.is_empty());
    assert_eq!(why(&agent, "w1").await, "no_node_large_enough");
    let capacity = json!({ "cpu_milli": 4000, "memory_mib": 1000, "gpu_devices": 2 });
    agent.put("/nodes/n/capacity", &capacity).await.ok();
    let claimed = claim(&agent, json!({ "node_id": "n", "max_items": 9 })).await;
    assert_eq!(claimed.len(), 2);
    assert_eq!(claimed[1]["devices"], json!([{ "device": 1, "part": 1.0 }]));
    assert_eq!(why(&agent, "w3").await, "no_room");
    let nodes = agent.get("/nodes").await.ok();
    assert_eq!(nodes["nodes"][0]["reserved_gpu_milli"], 2000);
    let half = json!({ "work_type": "mine", "resources": { "gpus": 1.5 } });
    let refused = agent.post("/work/add", &half).await.problem();
    assert_eq!(refused.2.as_deref(), Some("resources.gpus"));
    agent.stop().await;
}

#[tokio::test]
async fn a_runs_items_reserve_what_the_run_asks_for() {
    let agent = start("--slots 0").await;
    let job = |resources: Value| {
        json!({ "run_id": "j", "spec": { "job": {
            "argv": ["true"], "completions": 5, "resources": resources,
        } } })
    };
    let engine = |name: &str| json!({ "name": name, "argv": ["own"], "limit": { "nodes": 100 } });
    let gauntlet = |resources: Value| {
        json!({
            "run_id": "g", "candidate": engine("new"), "baselines": [engine("old")],
            "resources": resources,
        })
    };
    let field = |problem: (u16, String, Option<String>)| (problem.0, problem.2.unwrap_or_default());
    let half = agent.post("/runs", &job(json!({ "gpus": 1.5 }))).await.problem();
    assert_eq!(field(half), (400, "spec.job.resources.gpus".to_owned()));
    let less = agent.post("/runs", &job(json!({ "cpu": -1 }))).await.problem();
    assert_eq!(field(less), (400, "spec.job.resources.cpu".to_owned()));
    let odd = agent.post("/runs", &job(json!({ "gpu": 1 }))).await.problem();
    assert_eq!(odd.0, 400, "{odd:?}");
    let half = agent.post("/gauntlet/execute", &gauntlet(json!({ "gpus": 1.5 }))).await.problem();
    assert_eq!(field(half), (400, "resources.gpus".to_owned()));

    let asked = json!({ "cpu": 0.25, "memory_mib": 300, "gpus": 0.5, "disk_free_mib": 7 });
    assert_eq!(agent.post("/runs", &job(asked.clone())).await.ok()["status"], "accepted");
    assert_eq!(agent.post("/runs", &job(asked.clone())).await.ok()["status"], "exists");
    let other = agent.post("/runs", &job(json!({ "gpus": 1 }))).await.problem();
    assert_eq!(other.1, "RUN_CONFLICT");
    assert_eq!(agent.get("/runs/j").await.ok()["resources"], asked);
    until("its tasks are there", || async {
        let run = agent.get("/runs/j").await.ok();
        (run["waits"][0]["reason"] == "no_node_large_enough").then_some(())
    })
    .await;
    assert!(claim(&agent, json!({ "node_id": "n", "max_items": 9 })).await.is_empty());
    let capacity = json!({
        "cpu_milli": 4000, "memory_mib": 1000, "gpu_devices": 2, "disk_free_mib": 7,
    });
    agent.put("/nodes/n/capacity", &capacity).await.ok();
    let claimed = claim(&agent, json!({ "node_id": "n", "max_items": 9 })).await;
    assert_eq!(claimed.len(), 3, "memory for three of five");
    assert_eq!(claimed[2]["devices"], json!([{ "device": 1, "part": 0.5 }]));
    let nodes = agent.get("/nodes").await.ok();
    assert_eq!(nodes["nodes"][0]["reserved_gpu_milli"], 1500);
    agent.post("/runs/j/cancel", &json!({})).await.ok();

    agent.post("/gauntlet/execute", &gauntlet(json!({ "gpus": 1 }))).await.ok();
    agent.put("/nodes/m/capacity", &capacity).await.ok();
    let pairs = json!({ "node_id": "m", "max_items": 9, "wait_seconds": 20 });
    let pairs = claim(&agent, pairs).await;
    assert_eq!(pairs[0]["devices"], json!([{ "device": 0, "part": 1.0 }]));
    let run = agent.get("/runs/g").await.ok();
    assert_eq!(run["resources"]["gpus"], json!(1.0));
    agent.stop().await;
}

#[tokio::test]
async fn a_million_items_enter_in_one_request() {
    let agent = start("--slots 0").await;
    let item = json!({ "key": "sweep", "work_type": "mine", "config": { "seed": 7 } });
    let body = json!({ "item": item, "count": 1_000_000 });
    let added = agent.post("/work/add_array", &body).await.ok();
    assert_eq!((&added["status"], &added["array_id"]), (&json!("added"), &json!("w1")));
    assert_eq!(agent.post("/work/add_array", &body).await.ok()["status"], "exists");
    let claimed = claim(&agent, json!({ "node_id": "n", "max_items": 3 })).await;
    assert_eq!(ids(&claimed), ["w1", "w2", "w3"]);
    assert_eq!(claimed[2]["config"], json!({ "seed": 7, "array_index": 2 }));
    let status = agent.get("/work/status").await.ok();
    assert_eq!(status["by_status"]["pending"], 999_997);
    let held_up = &status["backpressure"]["pending_count"];
    assert_eq!(held_up, 3, "what was never claimed takes no room");
    assert_eq!(agent.get("/work/w500000").await.ok()["array_index"], 499_999);
    let end = json!({ "work_id": "w1", "token": claimed[0]["token"] });
    agent.post("/work/complete", &end).await.ok();
    let progress = agent.get("/work/arrays/w1").await.ok();
    assert_eq!(
        progress,
        json!({ "array_id": "w1", "work_type": "mine", "queue": "default", "count": 1_000_000,
                "unclaimed": 999_997, "outstanding": 2, "completed": 1, "failed": 0,
                "cancelled": 0 })
    );
    let unknown = agent.get("/work/arrays/w2").await.problem();
    assert_eq!((unknown.0, unknown.1.as_str()), (404, "WORK_UNKNOWN"));
    let cancelled = agent.post("/work/cancel_array", &json!({ "array_id": "w1" })).await.ok();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(agent.get("/work/status").await.ok()["by_status"]["pending"], 0);
    assert_eq!(agent.get("/work/arrays/w1").await.ok()["cancelled"], 999_999);
    agent.stop().await;
}

#[tokio::test]
async fn completions_lead_on_and_the_dead_come_back() {
    let agent = start("--slots 0").await;
    let batch = json!({ "items": [
        { "work_type": "mine", "max_attempts": 1 },
        { "work_type": "mine", "after": [{ "earlier": 0 }] },
    ] });
    agent.post("/work/add_batch", &batch).await.ok();
    assert_eq!(why(&agent, "w2").await, "dependencies");
    let held = claim(&agent, json!({ "node_id": "n" })).await.remove(0);
    let ended =
        |then: Value| json!({ "work_id": held["work_id"], "token": held["token"], "then": then });
    let odd = agent.post("/work/complete", &ended(json!([{ "priority": 101 }]))).await.problem();
    assert_eq!(odd.2.as_deref(), Some("items[0].priority"));
    let completed = agent.post("/work/complete", &ended(json!([{ "work_type": "next" }]))).await;
    assert_eq!(completed.ok()["then"], json!(["w3"]));
    let second = claim(&agent, json!({ "node_id": "n", "work_types": ["mine"] })).await.remove(0);
    let fail = json!({ "work_id": second["work_id"], "token": second["token"], "error": "no",
                       "retry": false });
    assert_eq!(agent.post("/work/fail", &fail).await.ok()["status"], "failed");
    assert_eq!(agent.get("/work/w2").await.ok()["cause"], "final");
    let redriven = agent.post("/work/redrive", &json!({ "work_id": "w2" })).await.ok();
    assert_eq!(redriven["status"], "pending");
    agent.stop().await;
}

/// One request of a session.
async fn in_session(agent: &Running, session: &str, seq: u32, path: &str, body: &Value) -> Reply {
    let request = agent.request(Method::POST, path).json(body);
    send(request.header("x-ringrift-session", session).header("x-ringrift-seq", seq)).await
}

#[tokio::test]
async fn a_request_of_a_session_is_carried_out_once_and_answered_twice() {
    let agent = start("--slots 0").await;
    let opened = agent.call(Method::POST, "/sessions", None).await.ok();
    let session = opened["session_id"].as_str().unwrap();
    let add = json!({ "work_type": "mine" });
    for _ in 0..2 {
        let added = in_session(&agent, session, 1, "/work/add", &add).await.ok();
        assert_eq!(added["work_id"], "w1");
    }
    let node = json!({ "node_id": "n" });
    let first = in_session(&agent, session, 2, "/work/claim", &node).await.ok();
    let again = in_session(&agent, session, 2, "/work/claim", &node).await.ok();
    assert_eq!(first["work"]["token"], again["work"]["token"]);
    assert_eq!(agent.get("/work/status").await.ok()["total_items"], 1);
    let closed = agent.call(Method::DELETE, &format!("/sessions/{session}"), None).await.ok();
    assert_eq!(closed["status"], "closed");
    let late = in_session(&agent, session, 3, "/work/add", &add).await.problem();
    assert_eq!((late.0, late.1.as_str()), (404, "SESSION_UNKNOWN"));
    agent.stop().await;
}
