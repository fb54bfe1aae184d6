//! How long a cluster of processes accepts nothing when its leader is killed, or paused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringrift_agent::clock::Clock;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::harness::until;
use super::killed::{Process, spawn};

/// Rounds of a test run. `RINGRIFT_ROUNDS=30` measures.
const ROUNDS: usize = 3;
/// Callers that add items without a pause.
const WRITERS: usize = 16;
/// The lease and the shortest random part of the default profile: no election timeout ends earlier.
const TIMEOUT_MIN: Duration = Duration::from_millis(750);

async fn three() -> Vec<Process> {
    let first = spawn("--node-id n1", TempDir::new().unwrap()).await;
    let join = |name: &str| format!("--node-id {name} --join {}", first.address);
    let second = spawn(&join("n2"), TempDir::new().unwrap()).await;
    let third = spawn(&join("n3"), TempDir::new().unwrap()).await;
    let all = vec![first, second, third];
    settled(&all).await;
    all
}

/// Waits until all of them vote, follow one leader, and have what it has.
async fn settled(all: &[Process]) {
    for agent in all {
        until("three vote and follow", || async {
            let status = agent.get("/status").await?;
            let voters = status["voter_node_ids"].as_array()?.len();
            (voters == 3 && status["leader_id"].is_string() && status["alive_peers"] == 3)
                .then_some(())
        })
        .await;
    }
}

/// Where the leader is among them.
async fn leader(all: &[Process]) -> usize {
    until("somebody leads", || async {
        for (at, agent) in all.iter().enumerate() {
            let status = agent.get("/status").await.unwrap_or(Value::Null);
            if status["role"] == "leader" {
                return Some(at);
            }
        }
        None
    })
    .await
}

async fn add(address: &str, key: String) -> bool {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    add_by(&client, address, key).await
}

async fn add_by(client: &reqwest::Client, address: &str, key: String) -> bool {
    let item = json!({ "key": key, "config": { "n": 1 } });
    let sent = client.post(format!("http://{address}/work/add")).json(&item).send().await;
    sent.is_ok_and(|reply| reply.status().is_success())
}

/// Items added to the survivors all the time, each under a key of its own.
fn load(survivors: &[String], added: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (survivors, added) = (survivors.to_vec(), Arc::clone(added));
        writers.spawn(async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let mut number = 0_u64;
            loop {
                number += 1;
                let address = &survivors[writer % survivors.len()];
                if add_by(&client, address, format!("w{writer}-{number}")).await {
                    added.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    writers
}

#[expect(clippy::disallowed_methods, reason = "who measures asks for more rounds")]
fn rounds() -> usize {
    std::env::var("RINGRIFT_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap())
}

/// The shortest; all of it is printed.
#[expect(clippy::print_stdout, reason = "the measurement")]
fn distribution(mut gaps: Vec<Duration>) -> Duration {
    gaps.sort();
    let at = |percent: usize| gaps[(gaps.len() * percent).div_ceil(100).max(1) - 1];
    let ms: Vec<u128> = gaps.iter().map(Duration::as_millis).collect();
    let (rounds, p50, p99) = (gaps.len(), at(50), at(99));
    println!(
        "kill -9 to next accepted item: {rounds} rounds, p50 {p50:?}, p99 {p99:?}, in ms {ms:?}"
    );
    at(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_before_its_lease_ends() {
    let clock = Clock::start();
    let mut all = three().await;
    let mut gaps = Vec::new();
    for round in 0..rounds() {
        let mut killed = all.remove(leader(&all).await);
        let survivors: Vec<String> = all.iter().map(|agent| agent.address.clone()).collect();
        let added = Arc::<AtomicU64>::default();
        let writers = load(&survivors, &added);
        until("the load is accepted", || async {
            (added.load(Ordering::Relaxed) > 100).then_some(())
        })
        .await;
        killed.signal(Signal::KILL);
        killed.child.wait().await.unwrap();
        let begin = clock.monotonic();
        // One after another: what is accepted was sent after the kill.
        let (mut number, mut accepted) = (0, false);
        while !accepted {
            number += 1;
            assert!(number < 1_000, "nothing is accepted any more");
            accepted = add(&survivors[0], format!("round {round}, {number}")).await;
        }
        gaps.push(clock.monotonic().saturating_sub(begin));
        drop(writers);
        let back = spawn(&format!("--join {}", survivors[0]), killed.directory).await;
        all.push(back);
        settled(&all).await;
    }
    // A busy disk can make any of them long; none could be shorter than a timeout without a hint.
    let shortest = distribution(gaps);
    assert!(shortest < TIMEOUT_MIN, "{shortest:?}: the voters waited for the election timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_is_given_its_lease() {
    let clock = Clock::start();
    let mut all = three().await;
    let paused = all.remove(leader(&all).await);
    paused.signal(Signal::STOP);
    let begin = clock.monotonic();
    let mut requests = 0;
    while !add(&all[0].address, "paused".to_owned()).await {
        requests += 1;
        assert!(requests < 100, "nothing is accepted any more");
    }
    let gap = clock.monotonic().saturating_sub(begin);
    paused.signal(Signal::CONT);
    // The lease runs from the last heartbeat, which was up to 75 ms ago.
    let lease = TIMEOUT_MIN.saturating_sub(Duration::from_millis(100));
    assert!(gap > lease, "{gap:?}: a pause was taken for a crash");
}
