//! The CLI against one real agent: what it prints, and its exit statuses.
#![expect(clippy::unwrap_used, reason = "a test says what failed by failing")]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use ringrift_tests::agents::{Binaries, Cluster, wait_for};
use serde_json::Value;
use tokio::process::Command;

const AGREE_LIMIT: Duration = Duration::from_secs(30);

async fn ringrift(agent: &str, args: &[&str]) -> Output {
    let binaries = Binaries::locate(None).unwrap();
    Command::new(binaries.cli())
        .args(["--agent", agent])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn one_agent(dir: &Path) -> (Cluster, String) {
    let cluster = Cluster::start(Binaries::locate(None).unwrap(), dir, 1, 2).unwrap();
    cluster.wait_until_agreed(1, AGREE_LIMIT).await.unwrap();
    let address = cluster.agents[0].http.clone();
    (cluster, address)
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_said_in_one_sentence_with_exit_status_3() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for args in [&["status"][..], &["ls", "--json"], &["get", "w1"], &["submit", "--", "true"]] {
        let output = ringrift(&free.to_string(), args).await;
        assert_eq!(output.status.code(), Some(3), "{args:?}: {output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("ringrift: no agent answers at http://127.0.0.1:"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_command_is_submitted_watched_listed_read_and_its_output_found() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cluster, agent) = one_agent(dir.path()).await;

    let script = "echo task $RINGRIFT_INDEX of $RINGRIFT_RUN";
    let submit =
        ["submit", "--run-id", "hello", "--count", "3", "--wait", "--", "sh", "-c", script];
    let output = ringrift(&agent, &submit).await;
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).starts_with("run hello succeeded: "), "{output:?}");

    let listed = json(&ringrift(&agent, &["ls", "--all", "--json"]).await);
    assert_eq!(listed["runs"][0]["run_id"], "hello");
    assert_eq!(listed["runs"][0]["done"], 3);
    assert!(text(&ringrift(&agent, &["ls"]).await).starts_with("no active runs"));

    let run = json(&ringrift(&agent, &["get", "hello", "--json"]).await);
    assert_eq!((&run["phase"], &run["total"]), (&"succeeded".into(), &3.into()));
    let item = json(&ringrift(&agent, &["get", "w1", "--json"]).await);
    assert_eq!((&item["status"], &item["run_id"]), (&"completed".into(), &"hello".into()));
    assert_eq!(text(&ringrift(&agent, &["logs", "w1"]).await).trim(), "task 0 of hello");

    let status = json(&ringrift(&agent, &["status", "--json"]).await);
    assert_eq!(status["status"]["leader_id"], "agent-1");
    assert_eq!(status["work"]["completed"], 3);
    assert!(
        text(&ringrift(&agent, &["status"]).await)
            .starts_with("leader agent-1, 1 of 1 voters alive")
    );
    assert_eq!(cluster.stop().await, Vec::<String>::new());
}

#[tokio::test]
async fn failure_refusal_and_cancellation_have_their_exit_statuses() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cluster, agent) = one_agent(dir.path()).await;

    let missing = ringrift(&agent, &["get", "nothing"]).await;
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(String::from_utf8(missing.stderr).unwrap().contains("RunUnknown"));

    let endless = ["submit", "--run-id", "endless", "--", "sleep", "3600"];
    assert!(ringrift(&agent, &endless).await.status.success());
    let cancelled = ringrift(&agent, &["cancel", "endless", "--json"]).await;
    assert_eq!(json(&cancelled)["phase"], "cancelled");
    let again = ringrift(&agent, &["submit", "--run-id", "endless", "--", "sleep", "1"]).await;
    assert_eq!(again.status.code(), Some(1), "another spec under the same id: {again:?}");

    let not_there = ringrift(&agent, &["submit", "--wait", "--", "/no/such/program"]).await;
    assert_eq!(not_there.status.code(), Some(4), "{not_there:?}");
    assert!(text(&not_there).contains("/no/such/program"), "{not_there:?}");
    assert_eq!(cluster.stop().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_gauntlet_is_watched_to_its_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cluster, agent) = one_agent(dir.path()).await;
    let run = |expect: &'static str| {
        let agent = agent.clone();
        async move {
            let args = [
                "gauntlet",
                "run",
                "--run-id",
                "strong",
                "--candidate",
                "strong=own@nodes=1000",
                "--baseline",
                "weak=own@nodes=50",
                "--pairs-min",
                "8",
                "--pairs-max",
                "40",
                "--elo1",
                "100",
                "--expect",
                expect,
            ];
            ringrift(&agent, &args).await
        }
    };
    let output = run("promote").await;
    assert!(output.status.success(), "{output:?}");
    let shown = text(&output);
    assert!(shown.contains("strong v weak") && shown.contains("verdict: PROMOTE"), "{shown}");
    // The same run again is only looked at; another expectation is exit status 5.
    assert_eq!(run("reject").await.status.code(), Some(5));
    assert_eq!(cluster.stop().await, Vec::<String>::new());
}

/// Runs `ringrift-agent restore`.
async fn restore(from: &Path, data_dir: &Path) -> Output {
    let binaries = Binaries::locate(None).unwrap();
    Command::new(binaries.agent())
        .args(["restore", "--json", "--node-id", "again", "--from"])
        .arg(from)
        .arg("--data-dir")
        .arg(data_dir)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn members_are_shown_and_a_backup_begins_a_new_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let (mut cluster, agent) = one_agent(dir.path()).await;
    let waits = ["submit", "--run-id", "waits", "--label", "no=where", "--", "true"];
    assert!(ringrift(&agent, &waits).await.status.success());

    let members = json(&ringrift(&agent, &["cluster", "members", "--json"]).await);
    assert_eq!(members["members"][0]["part"], "leader");
    assert_eq!(members["voters_wanted"], 3);
    let shown = text(&ringrift(&agent, &["cluster", "members"]).await);
    assert!(shown.contains("1 of 3 voters"), "{shown}");
    let last = ringrift(&agent, &["cluster", "remove", "agent-1"]).await;
    assert_eq!(last.status.code(), Some(1), "the last voter stays: {last:?}");
    let snapshot = json(&ringrift(&agent, &["cluster", "snapshot", "--json"]).await);
    assert_eq!(snapshot["node_id"], "agent-1");

    let file = dir.path().join("backup");
    let backup = ["cluster", "backup", file.to_str().unwrap(), "--json"];
    let taken = json(&ringrift(&agent, &backup).await);
    assert_eq!(taken["cluster_id"], members["cluster_id"]);
    let again = ringrift(&agent, &backup).await;
    assert_eq!(again.status.code(), Some(2), "nothing is written over: {again:?}");
    assert_eq!(cluster.stop().await, Vec::<String>::new());

    // The next cluster's agent-1 finds a directory under its own name.
    let other = tempfile::tempdir().unwrap();
    let data_dir = other.path().join("agent-1");
    let restored = json(&restore(&file, &data_dir).await);
    assert_eq!(restored["index"], taken["index"]);
    assert_ne!(restored["cluster_id"], taken["cluster_id"]);
    let twice = restore(&file, &data_dir).await;
    assert_eq!(twice.status.code(), Some(1), "{twice:?}");
    let error = String::from_utf8(twice.stderr).unwrap();
    assert!(error.contains("is not empty"), "{error}");
    std::fs::write(data_dir.join("node-id"), "agent-1\n").unwrap();

    let (mut cluster, agent) = one_agent(other.path()).await;
    let run = json(&ringrift(&agent, &["get", "waits", "--json"]).await);
    assert_eq!(run["phase"], "active", "{run}");
    let said = wait_for("it says where it is", AGREE_LIMIT, || async {
        let now = json(&ringrift(&agent, &["cluster", "members", "--json"]).await);
        let is_here = now["members"][0]["http_address"] == agent.as_str();
        Ok(is_here.then_some(now))
    });
    assert_eq!(said.await.unwrap()["cluster_id"], restored["cluster_id"]);
    assert_eq!(cluster.stop().await, Vec::<String>::new());
}
