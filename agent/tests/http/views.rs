//! What can be looked at: the seeds' shapes, and the table of routes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Reply, send, start};

/// The keys of an object, sorted.
fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().unwrap_or_else(|| panic!("{object} must be an object"));
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn assert_has(object: &Value, expected: &[&str]) {
    let keys = keys(object);
    for key in expected {
        assert!(keys.contains(key), "{key} is missing in {object}");
    }
}

#[tokio::test]
async fn status_views_have_the_seeds_shapes() {
    let agent = start("--slots 0").await;

    let status = agent.get("/status").await;
    let body = status.ok();
    assert_has(&body, &["leader_id", "alive_peers", "swim_raft"]);
    assert_eq!(body["leader_id"], agent.node_id);
    assert_eq!(body["alive_peers"], 1);
    assert_eq!(body["voter_quorum_ok"], true);
    assert_eq!(body["role"], "leader");
    let section = &body["swim_raft"];
    let expected = ["consensus_mode", "hybrid_status", "membership_mode", "raft", "swim"];
    assert_eq!(keys(section), expected);
    let expected =
        ["alive_count", "available", "enabled", "failed_count", "started", "suspected_count"];
    assert_eq!(keys(&section["swim"]), expected);
    let raft = ["available", "enabled", "initialized", "is_leader", "leader_address"];
    assert_has(&section["raft"], &raft);
    assert_has(&section["raft"], &["work_queue_size", "pending_jobs"]);
    let expected = ["raft_fallback_active", "swim_fallback_active"];
    assert_eq!(keys(&section["hybrid_status"]), expected);
    assert_eq!(status.header("x-node-id"), Some(agent.node_id.as_str()));
    let position = status.header("x-ringrift-position").unwrap();
    assert!(position.split('.').all(|part| part.parse::<u64>().is_ok()), "{position}");

    agent.stop().await;
}

#[tokio::test]
async fn membership_and_consensus_views_have_the_seeds_shapes() {
    let agent = start("--slots 0").await;
    let swim = agent.get("/swim/status").await.ok();
    let expected = ["config", "membership_mode", "node_id", "summary", "swim_available"];
    assert_has(&swim, &expected);
    assert_has(&swim, &["swim_enabled", "swim_started"]);
    let expected = ["bind_port", "failure_timeout", "ping_interval", "suspicion_timeout"];
    assert_eq!(keys(&swim["config"]), expected);
    assert_eq!(keys(&swim["summary"]), ["alive", "failed", "members", "suspected"]);
    let members = agent.get("/swim/members").await.ok();
    assert_eq!(members["members"][0]["id"], agent.node_id);
    assert_eq!(members["members"][0]["state"], "alive");

    let raft = agent.get("/raft/status").await.ok();
    let expected = ["node_id", "raft_enabled", "raft_initialized", "pysyncobj_available"];
    assert_has(&raft, &expected);
    assert_has(&raft, &["consensus_mode", "work_queue", "job_assignments", "cluster_health"]);
    assert_eq!(raft["cluster_health"], "healthy");
    let expected = ["is_leader", "is_ready", "leader_address"];
    assert_eq!(keys(&raft["work_queue"]), expected);
    assert_eq!(keys(&raft["job_assignments"]), expected);
    assert_has(&agent.get("/raft/work").await.ok()["stats"], &["pending", "claimed", "completed"]);
    assert_has(&agent.get("/raft/jobs").await.ok()["stats"], &["assigned", "by_node"]);

    agent.stop().await;
}

#[tokio::test]
async fn capability_planners_metrics_and_the_index_answer() {
    let agent = start("--slots 0").await;
    agent.get("/status").await.ok();
    assert_has(&agent.get("/gauntlet/status").await.ok(), &["available", "has_gpu", "cpu_count"]);
    assert_eq!(agent.get("/work/populator").await.ok()["enabled"], true);
    let metrics = agent.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for name in ["ringrift_build_info{", "ringrift_is_leader 1", "ringrift_work_items{"] {
        assert!(metrics.text.contains(name), "{name} is missing in {}", metrics.text);
    }
    assert!(metrics.text.contains(r#"class="2xx",route="/status""#), "{}", metrics.text);
    assert!(agent.get("/").await.text.contains("/openapi.json"));
    agent.stop().await;
}

#[tokio::test]
async fn every_documented_path_answers_and_every_wrong_one_says_so() {
    let agent = start("--slots 0").await;
    let document = agent.get("/openapi.json").await.ok();
    let paths = document["paths"].as_object().unwrap();
    for path in ["/status", "/work/add", "/raft/lock/{name}", "/runs/{run_id}", "/cluster/join"] {
        assert!(paths.contains_key(path), "{path} is missing");
    }
    assert!(document["components"]["schemas"]["Problem"].is_object());
    for (path, methods) in paths {
        let path = path.replace("{work_id}", "w1").replace(['{', '}'], "");
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_ascii_uppercase().parse().unwrap();
            let reply = agent.call(method.clone(), &path, Some(&json!({}))).await;
            let routed = reply.status != 405 && !reply.text.contains("there is nothing at");
            assert!(routed, "{method} {path}: {reply:?}");
        }
        let reply = agent.call(Method::PATCH, &path, None).await;
        assert_eq!(reply.problem().1, "METHOD_NOT_ALLOWED", "{path}");
    }

    let get_claim = agent.get("/work/claim").await;
    assert_eq!(get_claim.problem(), (405, "METHOD_NOT_ALLOWED".to_owned(), None));
    assert!(get_claim.text.contains("POST"), "{}", get_claim.text);
    assert_eq!(get_claim.header("allow"), Some("POST"));
    assert_eq!(agent.get("/nothing").await.problem().1, "NOT_FOUND");
    agent.stop().await;
}

#[tokio::test]
async fn waits_are_told_by_work_type() {
    let agent = start("--slots 0").await;
    for work_type in ["slow", "quick", "quick"] {
        agent.post("/work/add", &json!({ "work_type": work_type })).await.ok();
    }
    let claim = json!({ "node_id": "n", "work_types": ["quick"], "max_items": 2 });
    let claimed = agent.post("/work/claim", &claim).await.ok();
    assert_eq!(claimed["status"], "claimed", "{claimed}");
    let waits = agent.get("/raft/work").await.ok()["stats"]["waits"].clone();
    assert_eq!(waits.as_object().unwrap().len(), 1, "nobody claimed the slow one: {waits}");
    assert_eq!(waits["quick"]["claimed"], 2);
    let seconds = |field: &str| waits["quick"][field].as_f64().unwrap();
    assert!(seconds("p50_seconds") <= seconds("longest_seconds"), "{waits}");
    let metrics = agent.get("/metrics").await.text;
    let count = "ringrift_work_wait_seconds_count{work_type=\"quick\"} 2";
    assert!(metrics.lines().any(|line| line == count), "{metrics}");
}

#[tokio::test]
async fn a_reader_says_how_much_it_must_see_and_hears_how_old_it_may_be() {
    let agent = start("--slots 0").await;
    let body = json!({ "work_type": "test", "config": {} });
    let added = agent.post("/work/add", &body).await;
    let position = added.header("x-ringrift-position").unwrap().to_owned();
    let read = async |wanted: &str| {
        let request = agent.request(Method::GET, "/raft/work");
        send(request.header("x-ringrift-min-position", wanted)).await
    };
    let seen = read(&position).await;
    assert_eq!(seen.ok()["stats"]["total"], 1);
    assert!(seen.header("x-ringrift-age-ms").unwrap().parse::<u64>().is_ok());

    let (status, code, _) = read("1.1000000").await.problem();
    assert_eq!((status, code.as_str()), (503, "UNAVAILABLE"));
    for wrong in ["1", "1.x", "1.2.3", ""] {
        let expected =
            (400, "INVALID_VALUE".to_owned(), Some("x-ringrift-min-position".to_owned()));
        assert_eq!(read(wrong).await.problem(), expected, "{wrong:?}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn the_position_of_a_view_is_that_of_what_it_shows() {
    let agent = start("--slots 0").await;
    let index = |reply: &Reply| {
        let position = reply.header("x-ringrift-position").unwrap();
        position.split_once('.').unwrap().1.parse::<u64>().unwrap()
    };
    let before = agent.get("/raft/status").await;
    // Its reply comes when the wait is over, and what it shows is what there was at the beginning or later.
    let waiting = agent.get("/events?after=1000000&wait_seconds=1");
    let adding = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        agent.post("/work/add", &json!({ "work_type": "test", "config": {} })).await
    };
    let (waited, added) = tokio::join!(waiting, adding);
    assert!(index(&added) > index(&before));
    assert!(index(&waited) < index(&added), "a position later than what was read is a promise");
    let seen = agent.get("/work/status").await;
    assert!(
        index(&seen) >= index(&added),
        "what is read from the leader has all that was acknowledged"
    );
    agent.stop().await;
}
