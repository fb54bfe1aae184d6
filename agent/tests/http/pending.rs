//! Why items wait, in every view that shows it.

use serde_json::{Value, json};

use super::harness::{Running, start, until};

async fn metric(agent: &Running, reason: &str) -> Option<u64> {
    let text = agent.get("/metrics").await.text;
    let name = format!("ringrift_work_pending{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map(|count| count.parse().unwrap())
}

#[tokio::test]
async fn all_views_tell_the_same_reason_with_its_numbers() {
    let agent = start("--slots 0").await;
    let plain = json!({ "work_type": "mine" });
    let odd = json!({ "work_type": "mine", "capabilities": ["tpu"] });
    agent.post("/work/add", &plain).await.ok();
    agent.post("/work/add", &odd).await.ok();
    agent.post("/work/add", &odd).await.ok();
    // Nobody has claimed: what others could do is not known.
    let why = agent.get("/work/w2/why").await.ok();
    assert_eq!(why["pending"][0]["reason"], "in_line");
    assert_eq!(why["pending"][0]["numbers"], json!({ "ahead": 1, "or_more": 0 }));
    let claim = json!({ "node_id": "n", "capabilities": ["gpu"], "work_types": ["other"] });
    assert_eq!(agent.post("/work/claim", &claim).await.ok()["items"], json!([]));
    let able = json!({ "node_id": "m", "work_types": ["mine"], "max_items": 9 });
    let held = agent.post("/work/claim", &able).await.ok();
    assert_eq!(held["items"].as_array().unwrap().len(), 1);
    let status = agent.get("/work/status").await.ok();
    let why = agent.get("/work/w2/why").await.ok();
    assert_eq!(status["pending"][0]["why"], why["pending"]);
    let numbers = json!({
        "claimers": 2, "other_types": 1, "lacking_capabilities": 1, "lacking_labels": 0,
        "too_small": 0,
    });
    assert_eq!(why["pending"][0]["reason"], "no_capable_node");
    assert_eq!(why["pending"][0]["numbers"], numbers);
    assert_eq!(status["running"][0].get("why"), None::<&Value>);
    assert_eq!(metric(&agent, "no_capable_node").await, Some(2));
    assert_eq!(metric(&agent, "in_line").await, None);
    agent.stop().await;
}

#[tokio::test]
async fn a_run_that_waits_says_for_what() {
    let agent = start("--slots 0").await;
    agent.put("/queues/team", &json!({ "max_running": 0 })).await.ok();
    let job = json!({ "run_id": "j", "queue": "team", "spec": {
        "job": { "argv": ["true"], "completions": 2, "parallelism": 2 },
    } });
    agent.post("/runs", &job).await.ok();
    let run = until("items wait", || async {
        let run = agent.get("/runs/j").await.ok();
        run.get("waits").is_some().then_some(run)
    })
    .await;
    assert_eq!(run["waits"][0]["reason"], "queue_max_running");
    assert_eq!(run["waits"][0]["about"], "team");
    let message = run["message"].as_str().unwrap();
    assert!(message.ends_with("of the first: queue team holds 0 items of at most 0"), "{message}");
    assert_eq!(metric(&agent, "queue_max_running").await, Some(2));
    agent.stop().await;
}
