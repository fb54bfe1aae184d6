//! Agents as processes of their own, ended by signals.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::harness::until;

/// An agent in a process of its own, killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) directory: TempDir,
}

pub(crate) async fn spawn(flags: &str, directory: TempDir) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringrift-agent"))
        .args(["--listen", "127.0.0.1:0", "--swim-port", "0", "--raft-port", "0", "--slots", "0"])
        .arg("--data-dir")
        .arg(directory.path())
        .args(flags.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let greeting = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
    let greeting = greeting.unwrap().unwrap().expect("an agent says where it is");
    let address = greeting.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    let address = address.unwrap_or_else(|| panic!("no address in {greeting:?}")).to_owned();
    let stored = directory.path().canonicalize().unwrap().display().to_string();
    assert!(greeting.ends_with(&format!("stores in {stored}")), "{greeting}");
    Process { child, address, directory }
}

impl Process {
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let reply = reqwest::get(format!("http://{}{path}", self.address)).await.ok()?;
        reply.json().await.ok()
    }

    pub(crate) async fn add(&self, body: &Value) -> (u16, Value) {
        let request = reqwest::Client::new().post(format!("http://{}/work/add", self.address));
        let reply = request.json(body).send().await.unwrap();
        (reply.status().as_u16(), reply.json().await.unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.try_into().unwrap()));
        kill_process(pid.expect("the agent runs"), signal).unwrap();
    }
}

#[tokio::test]
async fn a_killed_leader_costs_one_slow_request_and_no_work() {
    let first = spawn("--node-id n1", TempDir::new().unwrap()).await;
    let join = |name: &str| format!("--node-id {name} --join {}", first.address);
    let second = spawn(&join("n2"), TempDir::new().unwrap()).await;
    let third = spawn(&join("n3"), TempDir::new().unwrap()).await;
    until("three vote", || async {
        let status = third.get("/status").await?;
        (status["voter_node_ids"].as_array()?.len() == 3).then_some(())
    })
    .await;
    let item = json!({ "key": "k", "config": { "n": 1 } });
    let (status, added) = third.add(&item).await;
    assert_eq!((status, &added["status"]), (200, &json!("added")));

    first.signal(Signal::KILL);
    let (status, again) = third.add(&item).await;
    assert_eq!(status, 200, "one request outlasts the election: {again}");
    assert_eq!((&again["status"], &again["work_id"]), (&json!("exists"), &added["work_id"]));

    // The killed one comes back as a follower, under new ports.
    let Process { mut child, address: _, directory } = first;
    child.wait().await.unwrap();
    let back = spawn(&format!("--join {}", second.address), directory).await;
    until("n1 is back under its own name", || async {
        let status = back.get("/status").await?;
        (status["node_id"] == "n1" && status["alive_peers"] == 3 && status["role"] == "follower")
            .then_some(())
    })
    .await;
    let (status, again) = back.add(&item).await;
    assert_eq!((status, &again["work_id"]), (200, &added["work_id"]));
}

#[tokio::test]
async fn signals_end_an_agent_politely() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut agent = spawn("", TempDir::new().unwrap()).await;
        until("the agent leads", || async {
            (agent.get("/health").await?["healthy"] == true).then_some(())
        })
        .await;
        agent.signal(signal);
        let status = tokio::time::timeout(Duration::from_secs(30), agent.child.wait()).await;
        let status = status.expect("an agent must stop").unwrap();
        assert_eq!(status.code(), Some(0), "after {signal:?}: {status}");
    }
}
