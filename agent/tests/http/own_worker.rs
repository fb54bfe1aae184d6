//! Items that an agent's own worker runs.

use serde_json::{Value, json};

use super::harness::{Running, launch, start, until};

async fn add(agent: &Running, body: Value) -> String {
    agent.post("/work/add", &body).await.ok()["work_id"].as_str().unwrap().to_owned()
}

/// The item, once it has that status.
async fn once(agent: &Running, work_id: &str, status: &str) -> Value {
    until(&format!("{work_id} is {status}"), || async {
        let item = agent.get(&format!("/work/{work_id}")).await.ok();
        (item["status"] == status).then_some(item)
    })
    .await
}

#[tokio::test]
async fn an_item_runs_where_its_capabilities_and_labels_are() {
    let agent = start("--slots 1 --capability cuda,avx512 --label pool=a").await;
    let asks = |capability: &str| {
        json!({
            "work_type": "process", "config": { "argv": ["true"] },
            "capabilities": [capability], "labels": { "pool": "a" },
        })
    };
    let other = add(&agent, asks("rocm")).await;
    let item = add(&agent, asks("cuda")).await;
    once(&agent, &item, "completed").await;
    assert_eq!(agent.get(&format!("/work/{other}")).await.ok()["status"], "pending");
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_restarts_uses_up_no_attempt() {
    let agent = start("--slots 1").await;
    let outside = tempfile::tempdir().unwrap();
    let script = "[ -e $OUTSIDE/restarted ] || exec sleep 600";
    let config = json!({ "argv": ["sh", "-c", script], "env": { "OUTSIDE": outside.path() } });
    let body = json!({ "work_type": "process", "config": config, "max_attempts": 1 });
    let item = add(&agent, body).await;
    once(&agent, &item, "running").await;
    let directory = agent.stop().await;

    std::fs::write(outside.path().join("restarted"), "").unwrap();
    let again = launch("--slots 1", directory).await;
    again.until_healthy().await;
    assert_eq!(once(&again, &item, "completed").await["attempts"], 1);
    again.stop().await;
}
