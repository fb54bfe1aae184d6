//! Items: whole lives, with the fences that keep their holders apart.

use serde_json::{Value, json};

use super::harness::{Running, launch, start};

async fn add(agent: &Running, body: Value) -> String {
    agent.post("/work/add", &body).await.ok()["work_id"].as_str().unwrap().to_owned()
}

/// Claims one item and answers its number and token.
async fn claim(agent: &Running, node: &str) -> (String, String) {
    let reply = agent.post("/work/claim", &json!({ "node_id": node, "lease_seconds": 60 })).await;
    let reply = reply.ok();
    assert_eq!(reply["status"], "claimed", "{reply}");
    let text = |key: &str| reply["work"][key].as_str().unwrap().to_owned();
    (text("work_id"), text("token"))
}

#[tokio::test]
async fn an_item_lives_and_stale_holders_are_fenced() {
    let agent = start("--slots 0").await;
    let work_id = add(&agent, json!({ "config": { "games": 2 }, "max_attempts": 2 })).await;
    let (claimed, old_token) = claim(&agent, "a").await;
    assert_eq!(claimed, work_id);
    let held = agent.get("/work/node/a").await.ok();
    assert_eq!((&held["count"], &held["work_items"][0]["work_id"]), (&json!(1), &json!(work_id)));
    assert_eq!(held["work_items"][0].get("token"), None, "only the holder learns the token");

    let holding = |token: &str| json!({ "work_id": work_id, "token": token });
    assert_eq!(agent.post("/work/start", &holding(&old_token)).await.ok()["status"], "started");
    let mut failing = holding(&old_token);
    failing["error"] = json!("boom");
    let failed = agent.post("/work/fail", &failing).await.ok();
    assert_eq!(failed["status"], "retrying");
    assert!(failed["retry_at"].as_f64().unwrap() > 0.0);

    // The backoff of a second: a claim that waits gets it as soon as it is over.
    let waiting = json!({ "node_id": "b", "wait_seconds": 30 });
    let second = agent.post("/work/claim", &waiting).await.ok();
    assert_eq!(second["work"]["work_id"], json!(work_id), "{second}");
    let token = second["work"]["token"].as_str().unwrap();
    for path in ["/work/start", "/work/complete"] {
        let stale = agent.post(path, &holding(&old_token)).await;
        assert_eq!(stale.problem(), (409, "FENCED".to_owned(), Some("token".to_owned())), "{path}");
    }
    let beat = json!({
        "node_id": "b",
        "claims": [{ "work_id": work_id, "token": token }, { "work_id": "w99", "token": token }],
    });
    let renewed = agent.post("/work/heartbeat", &beat).await.ok();
    assert_eq!((&renewed["renewed"], &renewed["lost"]), (&json!(1), &json!(["w99"])));

    agent.stop().await;
}

#[tokio::test]
async fn a_completed_item_is_remembered_and_ends_once() {
    let agent = start("--slots 0").await;
    let work_id = add(&agent, json!({})).await;
    let (_, token) = claim(&agent, "b").await;
    let mut completing = json!({ "work_id": work_id, "token": token });
    completing["result"] = json!({ "won": 2 });
    for round in 0..2 {
        let completed = agent.post("/work/complete", &completing).await.ok();
        assert_eq!(completed["status"], "completed", "round {round}: a repeat is harmless");
    }
    let ended = agent.post("/work/cancel", &json!({ "work_id": work_id })).await;
    assert_eq!(ended.problem(), (409, "WORK_ENDED".to_owned(), Some("work_id".to_owned())));
    let item = agent.get(&format!("/work/{work_id}")).await.ok();
    assert_eq!((&item["status"], &item["result"]), (&json!("completed"), &json!({ "won": 2 })));
    assert_eq!((&item["attempts"], &item["claimed_by"]), (&json!(1), &json!("b")));
    let history = agent.get("/work/history?status=completed").await.ok();
    assert_eq!((&history["count"], &history["status_filter"]), (&json!(1), &json!("completed")));
    let logs = agent.get(&format!("/work/{work_id}/logs")).await.problem();
    assert_eq!((logs.0, logs.1.as_str()), (502, "NODE_UNREACHABLE"), "b is no agent");
    agent.stop().await;
}

#[tokio::test]
async fn keys_make_adding_harmless_to_repeat() {
    let agent = start("--slots 0").await;
    let one = json!({ "key": "k1", "config": { "a": 1 } });
    let first = agent.post("/work/add", &one).await.ok();
    let again = agent.post("/work/add", &one).await.ok();
    assert_eq!((&first["status"], &again["status"]), (&json!("added"), &json!("exists")));
    assert_eq!(first["work_id"], again["work_id"]);
    let other = agent.post("/work/add", &json!({ "key": "k1", "config": { "a": 2 } })).await;
    assert_eq!(other.problem(), (409, "KEY_CONFLICT".to_owned(), Some("key".to_owned())));

    let batch = json!({ "items": [one, { "key": "k2" }, { "priority": 90 }] });
    let added = agent.post("/work/add_batch", &batch).await.ok();
    assert_eq!((&added["status"], &added["count"]), (&json!("added"), &json!(3)));
    assert_eq!(added["work_ids"][0], first["work_id"]);
    let status = agent.get("/work/status").await.ok();
    assert_eq!((&status["by_status"]["pending"], &status["total_items"]), (&json!(3), &json!(3)));
    assert_eq!(status["pending"][0]["priority"], 90, "the most urgent is first");
    assert_eq!(status["backpressure"]["pending_count"], 3);
    let (urgent, _) = claim(&agent, "a").await;
    assert_eq!(json!(urgent), added["work_ids"][2]);

    let cancelled = agent.post("/work/cancel", &json!({ "work_id": urgent })).await.ok();
    assert_eq!(cancelled["status"], "cancelled");
    let history = agent.get("/work/history").await.ok();
    assert_eq!(history["history"][0]["status"], "cancelled");
    agent.stop().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart() {
    let agent = start("--slots 0").await;
    let work_id = add(&agent, json!({ "config": { "n": 7 } })).await;
    let name = agent.node_id.clone();
    let directory = agent.stop().await;

    let again = launch("--slots 0", directory).await;
    again.until_healthy().await;
    assert_eq!(again.node_id, name, "the name is kept");
    let item = again.get(&format!("/work/{work_id}")).await.ok();
    assert_eq!(item["config"], json!({ "n": 7 }));
    let (claimed, _) = claim(&again, "a").await;
    assert_eq!(claimed, work_id);
    again.stop().await;
}

#[tokio::test]
async fn a_claim_may_be_given_back_for_later() {
    let agent = start("--slots 0").await;
    add(&agent, json!({})).await;
    let (work_id, token) = claim(&agent, "a").await;
    let odd = json!({ "work_id": work_id, "token": token, "delay_seconds": 1e9 });
    let refused = agent.post("/work/release", &odd).await.problem();
    assert_eq!((refused.0, refused.2.as_deref()), (400, Some("delay_seconds")));
    let later = json!({ "work_id": work_id, "token": token, "delay_seconds": 0.5 });
    assert_eq!(agent.post("/work/release", &later).await.ok()["status"], "released");
    assert_eq!(agent.get(&format!("/work/{work_id}")).await.ok()["status"], "delayed");
    let waiting = json!({ "node_id": "b", "wait_seconds": 30 });
    let again = agent.post("/work/claim", &waiting).await.ok();
    assert_eq!(again["work"]["attempts"], 0, "it was never started");
    agent.stop().await;
}

#[tokio::test]
async fn the_dead_of_a_queue_are_redriven_together() {
    let agent = start("--slots 0").await;
    agent.put("/queues/team", &json!({})).await.ok();
    for queue in ["team", "default", "team", "team"] {
        add(&agent, json!({ "queue": queue, "max_attempts": 1 })).await;
    }
    for _ in 0..4 {
        let (work_id, token) = claim(&agent, "a").await;
        let failing = json!({ "work_id": work_id, "token": token, "error": "x", "retry": false });
        assert_eq!(agent.post("/work/fail", &failing).await.ok()["status"], "failed");
    }
    let two = json!({ "queue": "team", "max_items": 2 });
    let driven = agent.post("/work/redrive_dead", &two).await.ok();
    assert_eq!((&driven["more"], &driven["refused"]), (&json!(true), &json!(0)));
    assert_eq!(driven["work_ids"].as_array().unwrap().len(), 2);
    let rest = agent.post("/work/redrive_dead", &two).await.ok();
    assert_eq!((&rest["more"], &rest["work_ids"].as_array().unwrap().len()), (&json!(false), &1));
    let none = agent.post("/work/redrive_dead", &json!({ "work_type": "other" })).await.ok();
    assert_eq!(none["work_ids"], json!([]));
    assert_eq!(agent.get("/work/status").await.ok()["by_status"]["failed"], 1);
    let odd = agent.post("/work/redrive_dead", &json!({ "max_items": 1001 })).await.problem();
    assert_eq!(odd.2.as_deref(), Some("max_items"));
    agent.stop().await;
}
