//! Agents say what their nodes have.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Running, launch, start, until};

/// What the ledger says of a node.
async fn ledger(agent: &Running, node: &str) -> Option<Value> {
    let nodes = agent.get(&format!("/nodes?node_id={node}")).await.ok();
    nodes["nodes"].as_array().unwrap().first().cloned()
}

async fn told(agent: &Running, node: &str) -> Value {
    until("the node is told of", || ledger(agent, node)).await
}

const FLAGS: &str = "--node-id n --slots 2 --cpus 1.5 --memory-mib 100 --gpus 1";

#[tokio::test]
async fn an_agent_that_runs_work_says_what_it_has() {
    let agent = start(FLAGS).await;
    let known = told(&agent, "n").await;
    assert_eq!(known["said_by"], "agent");
    let capacity = &known["capacity"];
    assert_eq!((&capacity["cpu_milli"], &capacity["memory_mib"]), (&json!(1500), &json!(100)));
    assert_eq!(capacity["gpu_devices"], 1);
    assert!(capacity["disk_free_mib"].is_u64(), "{capacity}");

    // What asks for room gets it there, and what asks for nothing runs as ever.
    let add = |resources: Value| json!({ "work_type": "process", "config": { "argv": ["true"] }, "resources": resources });
    let fits = json!({ "cpu": 1.5, "memory_mib": 100 });
    for resources in [fits, json!({ "gpus": 0.5 }), json!({})] {
        let added = agent.post("/work/add", &add(resources)).await.ok();
        let path = format!("/work/{}", added["work_id"].as_str().unwrap());
        until("the item is done", || async {
            (agent.get(&path).await.ok()["status"] == "completed").then_some(())
        })
        .await;
    }
    let added = agent.post("/work/add", &add(json!({ "memory_mib": 101 }))).await.ok();
    let path = format!("/work/{}/why", added["work_id"].as_str().unwrap());
    let why = agent.get(&path).await.ok();
    assert_eq!(why["pending"][0]["reason"], "no_node_large_enough", "{why}");
    agent.stop().await;
}

#[tokio::test]
async fn an_operators_word_outlives_the_agent() {
    let agent = start(FLAGS).await;
    told(&agent, "n").await;
    let less = json!({ "cpu_milli": 500, "memory_mib": 50 });
    agent.put("/nodes/n/capacity", &less).await.ok();
    let more = json!({ "cpu_milli": 9000, "memory_mib": 9000 });
    agent.put("/nodes/n/capacity?by=agent", &more).await.ok();
    agent.call(Method::DELETE, "/nodes/n/capacity?by=agent", None).await.ok();
    let known = told(&agent, "n").await;
    assert_eq!(
        (&known["said_by"], &known["capacity"]["cpu_milli"]),
        (&json!("operator"), &json!(500))
    );
    let odd = agent.put("/nodes/n/capacity?by=nobody", &more).await.problem();
    assert_eq!(odd.0, 400);

    let directory = agent.stop().await;
    let agent = launch(FLAGS, directory).await;
    agent.until_healthy().await;
    assert_eq!(told(&agent, "n").await["said_by"], "operator");
    // The operator takes it back while the agent is away; then the agent's own word counts again.
    agent.call(Method::DELETE, "/nodes/n/capacity", None).await.ok();
    let agent = launch(FLAGS, agent.stop().await).await;
    agent.until_healthy().await;
    assert_eq!(told(&agent, "n").await["said_by"], "agent");
    agent.stop().await;
}

#[tokio::test]
async fn what_left_is_no_room_and_what_runs_no_work_says_nothing() {
    let first = start("--node-id idle --slots 0").await;
    let join = format!("--node-id n --slots 1 --client --join {}", first.address);
    let second = start(&join).await;
    told(&first, "n").await;
    second.stop().await;
    until("its word is taken back", || async { ledger(&first, "n").await.is_none().then_some(()) })
        .await;
    assert_eq!(ledger(&first, "idle").await, None);
    first.stop().await;
}
