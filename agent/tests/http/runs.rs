//! Runs over HTTP: a gauntlet whose pairs this test plays, and a Job that the agent's worker runs.

use serde_json::{Value, json};

use super::harness::{Running, start, until};

fn contestant(name: &str) -> Value {
    json!({ "name": name, "argv": ["own"], "limit": { "nodes": 100 } })
}

fn gauntlet(run_id: &str) -> Value {
    json!({
        "run_id": run_id,
        "candidate": contestant("new"),
        "baselines": [contestant("old")],
        "play": { "window": 4 },
        "stop": { "pairs_min": 4, "pairs_max": 8, "elo1_milli": 100_000 },
    })
}

/// The report of a pair that the first contestant won twice.
fn won(index: &Value) -> Value {
    let game = json!({
        "score": "win", "ending": "checkmate", "plies": 60,
        "moves_hash": "00000000deadbeef", "pgn": "1. e4 *",
    });
    json!({ "index": index, "opening": ["e2e4"], "games": [game, game], "wall_ms": 5 })
}

async fn claim_pair(agent: &Running) -> Value {
    let claim = json!({ "node_id": "tester", "work_types": ["pair"], "wait_seconds": 20 });
    let claimed = agent.post("/work/claim", &claim).await.ok();
    assert_eq!(claimed["status"], "claimed", "{claimed}");
    claimed["work"].clone()
}

#[tokio::test]
async fn a_gauntlet_is_planned_played_and_decided() {
    let agent = start("--slots 0").await;
    let submitted = agent.post("/gauntlet/execute", &gauntlet("g1")).await.ok();
    assert_eq!((&submitted["success"], &submitted["status"]), (&json!(true), &json!("accepted")));
    let again = agent.post("/gauntlet/execute", &gauntlet("g1")).await.ok();
    assert_eq!(again["status"], "exists");
    let mut other = gauntlet("g1");
    other["play"]["seed"] = json!(2);
    let conflict = agent.post("/gauntlet/execute", &other).await;
    assert_eq!(conflict.problem(), (409, "RUN_CONFLICT".to_owned(), Some("run_id".to_owned())));
    assert_eq!(agent.get("/gauntlet/status").await.ok()["active_runs"], json!(["g1"]));

    for played in 0..8 {
        let work = claim_pair(&agent).await;
        let config = &work["config"];
        assert_eq!(config["contestants"][0]["name"], "new");
        assert_eq!(work["run_id"], "g1");
        let done = |result: Value| json!({ "work_id": work["work_id"], "token": work["token"], "result": result });
        if played == 0 {
            let bad = agent.post("/work/complete", &done(json!({ "index": 0 }))).await;
            let expected = (400, "MISSING_FIELD".to_owned(), Some("result.opening".to_owned()));
            assert_eq!(bad.problem(), expected, "{}", bad.text);
            let other_pair = agent.post("/work/complete", &done(won(&json!(99)))).await;
            assert_eq!(other_pair.problem().2.as_deref(), Some("result.index"));
        }
        agent.post("/work/complete", &done(won(&config["index"]))).await.ok();
    }
    let ended = until("the gauntlet has ended", || async {
        let run = agent.get("/runs/g1").await.ok();
        (run["phase"] != "active").then_some(run)
    })
    .await;
    assert_eq!(ended["phase"], "succeeded", "{ended}");
    assert!(ended["verdict"].is_string(), "{ended}");
    assert_eq!(ended["matchups"][0]["contestants"], json!(["new", "old"]));
    let ledger = agent.get("/runs/g1/ledger?limit=5").await.ok();
    let indexes: Vec<_> =
        ledger["pairs"].as_array().unwrap().iter().map(|pair| pair["index"].clone()).collect();
    assert_eq!(json!(indexes), json!([0, 1, 2, 3, 4]));
    assert_eq!(ledger["pairs"][0]["scores"], json!([1.0, 1.0]));
    assert_eq!(ledger["next_offset"], 5);
    let rest = agent.get("/runs/g1/ledger?offset=5").await.ok();
    assert_eq!(rest["pairs"][0]["index"], 5);
    assert_eq!(rest.get("next_offset"), None);
    agent.stop().await;
}

#[tokio::test]
async fn faulty_runs_are_refused_by_field_and_runs_can_be_cancelled() {
    let agent = start("--slots 0").await;
    let refused = |body: Value| {
        let agent = &agent;
        async move { agent.post("/runs", &body).await.problem() }
    };
    let job = |job: Value| json!({ "run_id": "j1", "spec": { "job": job } });
    let field = |problem: (u16, String, Option<String>)| problem.2.unwrap_or_default();
    assert_eq!(field(refused(job(json!({}))).await), "spec.job.argv");
    assert_eq!(field(refused(job(json!({ "argv": [] }))).await), "spec.job.argv");
    let never = job(json!({ "argv": ["true"], "completions": 0 }));
    assert_eq!(field(refused(never).await), "spec.job.completions");
    let strange = json!({ "run_id": "j1", "spec": { "party": {} } });
    assert_eq!(refused(strange).await.1, "INVALID_VALUE");
    let mut alone = gauntlet("g");
    alone["baselines"] = json!([]);
    let alone = agent.post("/gauntlet/execute", &alone).await.problem();
    assert_eq!(alone.2.as_deref(), Some("baselines"));

    let unknown = agent.post("/runs/none/cancel", &json!({})).await.problem();
    assert_eq!(unknown, (404, "RUN_UNKNOWN".to_owned(), Some("run_id".to_owned())));
    let good = job(json!({ "argv": ["true"], "completions": 3 }));
    assert_eq!(agent.post("/runs", &good).await.ok()["status"], "accepted");
    let cancelled = agent.post("/runs/j1/cancel", &json!({})).await.ok();
    assert_eq!((&cancelled["phase"], &cancelled["kind"]), (&json!("cancelled"), &json!("job")));
    let list = agent.get("/runs").await.ok();
    assert_eq!((&list["count"], &list["runs"][0]["run_id"]), (&json!(1), &json!("j1")));
    agent.stop().await;
}

#[tokio::test]
async fn a_job_runs_on_the_agents_own_worker_and_its_output_can_be_read() {
    let agent = start("--slots 2").await;
    let script = "echo task $RINGRIFT_INDEX of $RINGRIFT_RUN says $WORD";
    let job = json!({ "run_id": "j", "spec": { "job": {
        "argv": ["/bin/sh", "-c", script], "env": { "WORD": "hello" }, "completions": 3,
    } } });
    agent.post("/runs", &job).await.ok();
    let ended = until("the job has ended", || async {
        let run = agent.get("/runs/j").await.ok();
        (run["phase"] != "active").then_some(run)
    })
    .await;
    assert_eq!((&ended["phase"], &ended["done"]), (&json!("succeeded"), &json!(3)), "{ended}");
    let history = agent.get("/work/history").await.ok();
    let item = &history["history"][0];
    let logs = agent.get(&format!("/work/{}/logs", item["work_id"].as_str().unwrap())).await;
    assert_eq!(logs.status, 200);
    let index = item["config"]["env"]["RINGRIFT_INDEX"].as_str().unwrap();
    assert!(logs.text.contains(&format!("task {index} of j says hello")), "{}", logs.text);
    agent.stop().await;
}
