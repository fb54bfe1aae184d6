//! Finding the leader, and going on without it.

use std::collections::BTreeSet;

use ringrift_wire::stream::client::{StreamClient, StreamError};
use ringrift_wire::stream::message::{Completion, Host, NewWork, Operation, Outcome, Welcome};
use ringrift_wire::stream::{UPGRADE, frame};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::raw::{Raw, request};
use super::work::{client, waiting};
use crate::http::harness::until;
use crate::http::killed::{Process, spawn};

async fn get(address: &str, path: &str) -> Option<Value> {
    reqwest::get(format!("http://{address}{path}")).await.ok()?.json().await.ok()
}

async fn three() -> [Process; 3] {
    let first = spawn("--node-id n1", TempDir::new().unwrap()).await;
    until("the first leads", || async {
        (get(&first.address, "/health").await?["healthy"] == true).then_some(())
    })
    .await;
    let second =
        spawn(&format!("--node-id n2 --join {}", first.address), TempDir::new().unwrap()).await;
    let third =
        spawn(&format!("--node-id n3 --join {}", first.address), TempDir::new().unwrap()).await;
    until("three vote", || async {
        let status = get(&third.address, "/status").await?;
        (status["voter_node_ids"].as_array()?.len() == 3).then_some(())
    })
    .await;
    [first, second, third]
}

#[tokio::test]
async fn a_client_that_knows_a_follower_only_finds_the_leader() {
    let [first, second, third] = three().await;
    let (mut raw, host) = Raw::open(&third.address).await;
    assert_eq!((host.node_id.as_str(), host.leads), ("n3", false));
    assert_eq!(host.leader.as_deref(), Some(first.address.as_str()));
    raw.send(&request(5, Operation::Add(vec![NewWork::new("t", "{}")]))).await;
    let response = raw.response().await;
    let named = Outcome::NotLeader { leader: Some(first.address.clone()) };
    assert_eq!((response.number, response.outcome), (5, named));

    let client = client(&[&second.address], None);
    let added = client.add(vec![NewWork::new("t", "{}")]).await.unwrap();
    assert_eq!(added.value[0].work_id.0, 1, "what a follower was asked for was not carried out");
}

/// Cycles until told to stop; the items that were acknowledged, and those that were completed.
async fn work(
    client: StreamClient,
    name: usize,
    rounds: u32,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut acknowledged, mut completed) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..rounds {
        let key = format!("{name}-{round}");
        let item = NewWork {
            key: Some(key.clone()),
            ..NewWork::new("t", format!(r#"{{"key": "{key}"}}"#))
        };
        // With a key the client repeats it by itself, whatever breaks.
        client.add(vec![item]).await.unwrap();
        acknowledged.insert(key);
        match client.claim(waiting(&format!("w{name}"), 1)).await {
            Ok(held) => {
                for item in held.value {
                    let done = Completion { hold: item.hold, result: item.config.clone() };
                    if client.complete(vec![done]).await.unwrap().value == [None] {
                        assert!(completed.insert(item.config), "completed twice");
                    }
                }
            }
            Err(StreamError::Lost { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    (acknowledged, completed)
}

#[tokio::test]
async fn the_leader_is_killed_with_requests_on_their_way() {
    let [mut first, second, third] = three().await;
    let all = [first.address.as_str(), second.address.as_str(), third.address.as_str()];
    let shared = client(&all, None);
    // Claims that wait for work that comes after the kill.
    let late = tokio::spawn({
        let client = client(&all, None);
        async move {
            let mut claim = waiting("late", 60);
            claim.work_types.insert("late".to_owned());
            client.claim(claim).await
        }
    });
    let workers: Vec<_> =
        (0..16).map(|name| tokio::spawn(work(shared.clone(), name, 200))).collect();
    until("work is under way", || async {
        let status = get(&first.address, "/work/status").await?;
        (status["by_status"]["completed"].as_u64()? > 100).then_some(())
    })
    .await;
    first.child.kill().await.unwrap();

    let (mut acknowledged, mut completed) = (BTreeSet::new(), BTreeSet::new());
    for worker in workers {
        let (theirs, done) = worker.await.unwrap();
        acknowledged.extend(theirs);
        for item in done {
            assert!(completed.insert(item.clone()), "{item} was completed twice");
        }
    }
    assert_eq!(acknowledged.len(), 3_200);
    assert!(
        matches!(late.await.unwrap(), Err(StreamError::Lost { .. })),
        "a claim is not repeated"
    );
    let status = get(&second.address, "/work/status").await.unwrap();
    let counts: u64 =
        status["by_status"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(counts, 3_200, "nothing acknowledged is lost, nothing is there twice: {status}");
    let done = status["by_status"]["completed"].as_u64().unwrap();
    assert!(done >= completed.len() as u64, "{done} of {}", completed.len());
}

/// An agent that greets as the leader and then says nothing, as one whose machine has vanished.
async fn silent_leader() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut heard = Vec::new();
            while !heard.ends_with(b"test\0") {
                connection.read_buf(&mut heard).await.unwrap();
                if heard.ends_with(b"\r\n\r\n") {
                    let head = format!(
                        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                         Upgrade: {UPGRADE}\r\n\r\n"
                    );
                    connection.write_all(head.as_bytes()).await.unwrap();
                    heard.clear();
                }
            }
            let welcome = Welcome::Accepted(Host {
                node_id: "silent".to_owned(),
                cluster_id: String::new(),
                leads: true,
                leader: None,
                requests_max: 10,
            });
            let mut bytes = Vec::new();
            frame::push(&mut bytes, &welcome, usize::MAX).unwrap();
            connection.write_all(&bytes).await.unwrap();
            held.push(connection);
        }
    });
    address
}

#[tokio::test]
async fn a_leader_that_fell_silent_is_left() {
    let silent = silent_leader().await;
    let real = spawn("--node-id n1", TempDir::new().unwrap()).await;
    let client = client(&[&silent, &real.address], None);
    let item = NewWork { key: Some("k".to_owned()), ..NewWork::new("t", "{}") };
    let (added, claimed) = tokio::join!(client.add(vec![item]), client.claim(waiting("w", 60)));
    assert_eq!(added.unwrap().value[0].work_id.0, 1, "with a key it is sent again");
    let lost = format!("{}", claimed.unwrap_err());
    assert!(lost.contains("the agent is silent"), "a claim is not repeated: {lost}");
}
