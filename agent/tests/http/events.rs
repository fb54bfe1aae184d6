//! Events: a long poll with a cursor, from any agent.

use reqwest::Method;
use serde_json::{Value, json};

use super::harness::{Running, launch, send, start, until};

async fn events(agent: &Running, query: &str) -> Value {
    agent.get(&format!("/events?{query}")).await.ok()
}

fn kinds(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

/// An item of one attempt, which fails.
async fn die(agent: &Running) -> String {
    let added = agent.post("/work/add", &json!({ "max_attempts": 1, "notify": true })).await.ok();
    let claim = json!({ "node_id": "a", "lease_seconds": 60 });
    let claimed = agent.post("/work/claim", &claim).await.ok();
    assert_eq!(claimed["work"]["work_id"], added["work_id"]);
    let held = json!({ "work_id": added["work_id"], "token": claimed["work"]["token"] });
    assert_eq!(agent.post("/work/start", &held).await.status, 200);
    let mut failing = held;
    failing["error"] = json!("boom");
    assert_eq!(agent.post("/work/fail", &failing).await.ok()["status"], "failed");
    added["work_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_consumer_waits_for_events_and_goes_on_from_its_cursor() {
    let agent = start("--slots 0").await;
    let first = events(&agent, "").await;
    let all = first["events"].as_array().unwrap();
    let named = all.iter().find(|event| event["kind"] == "cluster_named").unwrap();
    assert_eq!(first["cluster_id"], named["data"]["cluster_id"]);
    assert_eq!((&first["first_kept"], &first["gap"]), (&json!(1), &json!(false)));
    assert!(kinds(&first).contains(&"cluster_named") && kinds(&first).contains(&"term_began"));
    let cursor = first["next"].as_u64().unwrap();
    assert_eq!(cursor, first["events"].as_array().unwrap().len() as u64);
    let nothing = events(&agent, &format!("after={cursor}")).await;
    assert_eq!((&nothing["events"], &nothing["next"]), (&json!([]), &json!(cursor)));

    let path = format!("/events?after={cursor}&wait_seconds=30&kinds=item_died,item_ended");
    let waiting = tokio::spawn(send(agent.request(Method::GET, &path)));
    // What does not belong to these kinds does not end the wait.
    let queue = json!({ "weight": 2 });
    assert_eq!(agent.put("/queues/team", &queue).await.status, 200);
    let work_id = die(&agent).await;
    let page = waiting.await.unwrap().ok();
    assert_eq!(kinds(&page), ["item_died", "item_ended"]);
    let died = &page["events"][0];
    let expected = json!({ "work_id": work_id, "work_type": "selfplay", "attempts": 1,
                           "cause": "attempts_failed", "dependency": null });
    assert_eq!((&died["data"], &died["version"]), (&expected, &json!(1)));
    assert_eq!(page["events"][1]["data"]["status"], "failed");
    let seq = died["seq"].as_u64().unwrap();
    assert!(died["id"].as_str().unwrap().ends_with(&format!("/{seq}")), "{died}");
    assert_eq!(page["next"], seq + 1);

    let all = events(&agent, &format!("after={cursor}&max=1")).await;
    assert_eq!((kinds(&all), &all["next"]), (vec!["queue_set"], &json!(cursor + 1)));
    for (query, field) in [
        ("max=0", "max"),
        ("max=1001", "max"),
        ("wait_seconds=61", "wait_seconds"),
        ("kinds=item", "kinds"),
        ("after=-1", "after"),
    ] {
        let problem = agent.get(&format!("/events?{query}")).await.problem();
        assert_eq!(problem, (400, "INVALID_VALUE".to_owned(), Some(field.to_owned())), "{query}");
    }
    agent.stop().await;
}

#[tokio::test]
async fn events_outlive_a_restart_and_every_agent_tells_the_same() {
    let first = start("--slots 0 --node-id n1").await;
    let second = start(&format!("--slots 0 --node-id n2 --join {}", first.address)).await;
    die(&first).await;
    let told = events(&first, "max=1000").await;
    let all = until("the other agent has them", || async {
        let all = events(&second, "max=1000&wait_seconds=0.2").await;
        (all["next"].as_u64() >= told["next"].as_u64()).then_some(all)
    })
    .await;
    let count = told["events"].as_array().unwrap().len();
    assert_eq!(all["events"].as_array().unwrap()[..count], told["events"].as_array().unwrap()[..]);
    second.stop().await;
    first.stop().await;

    let agent = start("--slots 0").await;
    die(&agent).await;
    let written = agent.post("/cluster/snapshot", &json!({})).await;
    assert_eq!(written.status, 200);
    let before = events(&agent, "kinds=item_died").await;
    let directory = agent.stop().await;
    let agent = launch("--slots 0", directory).await;
    agent.until_healthy().await;
    let after = events(&agent, "kinds=item_died").await;
    assert_eq!(before["events"], after["events"]);
    agent.stop().await;
}
