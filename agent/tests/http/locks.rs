//! Locks: whole lives, the fences that keep owners apart, and the line of those who wait.

use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::{Reply, Running, launch_set, send, start, until};
use super::killed::{Process, spawn};

const LOCK: &str = "/raft/lock/deploy";

fn asking(owner: &str, wait_seconds: f64) -> Value {
    json!({ "owner": owner, "ttl_seconds": 60, "wait_seconds": wait_seconds })
}

async fn acquire(agent: &Running, owner: &str) -> Reply {
    agent.post(LOCK, &asking(owner, 0.0)).await
}

/// Asks and waits in line, in a task of its own.
fn wait_for(agent: &Running, owner: &str, seconds: f64) -> tokio::task::JoinHandle<Reply> {
    tokio::spawn(send(agent.request(Method::POST, LOCK).json(&asking(owner, seconds))))
}

async fn release(agent: &Running, token: &Value) -> Reply {
    agent.delete(LOCK, &json!({ "token": token })).await
}

/// Waits until these owners wait, in this order.
async fn until_in_line(agent: &Running, owners: &[&str]) {
    until("they wait", || async {
        let status = agent.get(LOCK).await.ok();
        let line = status["waiters"].as_array().unwrap();
        let line: Vec<_> = line.iter().map(|waiter| waiter["owner"].as_str().unwrap()).collect();
        (line == owners).then_some(())
    })
    .await;
}

fn number(reply: &Value) -> Vec<u64> {
    reply["token"].as_str().unwrap().split('.').map(|part| part.parse().unwrap()).collect()
}

#[tokio::test]
async fn locks_are_exclusive_renewable_and_fenced() {
    let agent = start("--slots 0").await;
    let first = acquire(&agent, "a").await.ok();
    assert_eq!((&first["acquired"], &first["holder"]), (&json!(true), &json!("a")));
    assert_eq!(first["lock_name"], "deploy");
    let conflict = acquire(&agent, "b").await;
    assert_eq!(conflict.problem().1, "LOCK_HELD");
    assert_eq!(conflict.status, 409);
    let renewed = acquire(&agent, "a").await.ok();
    assert_eq!(renewed["token"], first["token"], "renewing keeps the token");

    let foreign = release(&agent, &json!("0.9.9.9")).await;
    assert_eq!(foreign.problem(), (409, "LOCK_NOT_HELD".to_owned(), Some("token".to_owned())));
    assert_eq!(release(&agent, &first["token"]).await.ok()["released"], true);
    let second = acquire(&agent, "b").await.ok();
    assert!(number(&second) > number(&first), "tokens grow: {second} after {first}");
    assert_eq!(release(&agent, &first["token"]).await.status, 409, "an old token frees nothing");
    agent.stop().await;
}

#[tokio::test]
async fn who_waits_for_a_lock_gets_it_first_come_first_served() {
    let agent = start("--slots 0").await;
    let first = acquire(&agent, "a").await.ok();
    let second = wait_for(&agent, "b", 30.0);
    until_in_line(&agent, &["b"]).await;
    let third = wait_for(&agent, "c", 30.0);
    until_in_line(&agent, &["b", "c"]).await;

    let status = agent.get(LOCK).await.ok();
    assert_eq!((&status["held"], &status["holder"]), (&json!(true), &json!("a")));
    assert_eq!(status.get("token"), None, "only the holder learns the token");
    assert_eq!(status["waiters"][1]["position"], 1);
    assert!(status["acquired_at"].as_f64() < status["expires_at"].as_f64());

    assert_eq!(release(&agent, &first["token"]).await.status, 200);
    let second = second.await.unwrap().ok();
    assert_eq!(second["holder"], "b");
    assert!(number(&second) > number(&first));
    assert_eq!(acquire(&agent, "late").await.problem().1, "LOCK_HELD", "nobody jumps the line");
    assert_eq!(release(&agent, &second["token"]).await.status, 200);
    let third = third.await.unwrap().ok();
    assert!(number(&third) > number(&second));
    assert_eq!(release(&agent, &third["token"]).await.status, 200);
    let status = agent.get(LOCK).await.ok();
    let free = json!({ "lock_name": "deploy", "held": false, "holder": null, "acquired_at": null,
                       "expires_at": null, "waiters": [] });
    assert_eq!(status, free);
    agent.stop().await;
}

#[tokio::test]
async fn a_wait_ends_by_its_time_or_with_its_caller() {
    let agent = start("--slots 0").await;
    let first = acquire(&agent, "a").await.ok();
    let late = wait_for(&agent, "b", 0.3).await.unwrap();
    assert_eq!(late.problem(), (409, "LOCK_HELD".to_owned(), None));
    assert!(late.json()["error"].as_str().unwrap().contains("held by a"), "{late:?}");
    until_in_line(&agent, &[]).await;

    let gone = agent.request(Method::POST, LOCK).json(&asking("gone", 50.0));
    let gone = gone.timeout(Duration::from_millis(500)).send().await;
    assert!(gone.unwrap_err().is_timeout());
    until_in_line(&agent, &[]).await;

    let too_long = agent.post(LOCK, &asking("b", 61.0)).await;
    let expected = (400, "INVALID_VALUE".to_owned(), Some("wait_seconds".to_owned()));
    assert_eq!(too_long.problem(), expected);
    assert_eq!(release(&agent, &first["token"]).await.status, 200);
    assert_eq!(wait_for(&agent, "b", 5.0).await.unwrap().ok()["holder"], "b", "a free lock waits");
    agent.stop().await;
}

#[tokio::test]
async fn a_lock_whose_time_ends_goes_to_who_waits() {
    let agent = start("--slots 0").await;
    let first = agent.post(LOCK, &json!({ "owner": "a", "ttl_seconds": 1 })).await.ok();
    let second = wait_for(&agent, "b", 30.0).await.unwrap().ok();
    assert!(number(&second) > number(&first));
    assert_eq!(release(&agent, &first["token"]).await.problem().1, "LOCK_NOT_HELD");
    agent.stop().await;
}

/// Waits until an agent's log has grown beyond an index. Answers its new end.
async fn until_beyond(agent: &Process, index: u64) -> u64 {
    until("the log grows", || async {
        let last = agent.get("/raft/status").await?["last_log_index"].as_u64()?;
        (last > index).then_some(last)
    })
    .await
}

/// While one of two voters stands still nothing is committed, and neither can be elected by itself: what
/// was proposed meanwhile takes effect in that order when it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_granted_while_its_caller_goes_away_is_given_back() {
    let first = spawn("--node-id n1", TempDir::new().unwrap()).await;
    let join = format!("--node-id n2 --join {}", first.address);
    let second = spawn(&join, TempDir::new().unwrap()).await;
    until("both vote", || async {
        let status = second.get("/status").await?;
        (status["voter_node_ids"].as_array()?.len() == 2).then_some(())
    })
    .await;
    let lock = format!("http://{}{LOCK}", first.address);
    let http = reqwest::Client::new();
    let held = send(http.post(&lock).json(&asking("a", 0.0))).await.ok();
    let gone = tokio::spawn(reqwest::Client::new().post(&lock).json(&asking("gone", 50.0)).send());
    until("it waits", || async {
        (first.get(LOCK).await?["waiters"][0]["owner"] == "gone").then_some(())
    })
    .await;

    let before = until_beyond(&first, 0).await;
    second.signal(Signal::STOP);
    let release = tokio::spawn(send(http.delete(&lock).json(&json!({ "token": held["token"] }))));
    let released = until_beyond(&first, before).await;
    gone.abort();
    until_beyond(&first, released).await;
    second.signal(Signal::CONT);
    release.await.unwrap();
    until("nobody holds the lock", || async {
        (first.get(LOCK).await?["held"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_waits_leaves_room_for_what_ends_the_wait() {
    let directory = TempDir::new().unwrap();
    let agent = launch_set("--slots 0", directory, |config| config.waits_max = 1).await;
    agent.until_healthy().await;
    let first = acquire(&agent, "a").await.ok();
    let second = wait_for(&agent, "b", 30.0);
    until_in_line(&agent, &["b"]).await;

    let last = agent.get("/events").await.ok()["next"].clone();
    let claim = json!({ "node_id": "n", "wait_seconds": 5 });
    for refused in [
        wait_for(&agent, "c", 30.0).await.unwrap(),
        agent.post("/work/claim", &claim).await,
        agent.get(&format!("/events?after={last}&wait_seconds=5")).await,
    ] {
        assert_eq!(refused.problem(), (503, "UNAVAILABLE".to_owned(), None));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    // What finds its answer at once needs no place.
    assert_eq!(agent.post("/raft/lock/other", &asking("c", 30.0)).await.ok()["holder"], "c");
    assert_eq!(agent.get("/events?wait_seconds=5").await.status, 200);
    agent.post("/work/add", &json!({})).await.ok();
    assert_eq!(agent.post("/work/claim", &claim).await.ok()["status"], "claimed");
    // Nor does what does not wait.
    assert_eq!(acquire(&agent, "c").await.problem().1, "LOCK_HELD");

    let join = format!("--slots 0 --join {}", agent.address);
    let forwarder = launch_set(&join, TempDir::new().unwrap(), |it| it.waits_max = 0).await;
    forwarder.until_healthy().await;
    let refused = forwarder.post("/work/claim", &claim).await;
    assert_eq!(refused.problem().1, "UNAVAILABLE", "who passes a wait on waits too");
    assert_eq!(forwarder.post("/work/claim", &json!({ "node_id": "n" })).await.status, 200);

    assert_eq!(release(&agent, &first["token"]).await.status, 200);
    let second = second.await.unwrap().ok();
    assert_eq!(second["holder"], "b");
    let third = wait_for(&agent, "c", 30.0);
    until_in_line(&agent, &["c"]).await;
    assert_eq!(release(&agent, &second["token"]).await.status, 200);
    assert_eq!(third.await.unwrap().ok()["holder"], "c", "the place is free again");
}
