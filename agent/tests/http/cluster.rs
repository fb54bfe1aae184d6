//! Several agents: joining, forwarding, and going on without the leader.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::harness::{Running, launch, send, start, until};

async fn three() -> [Running; 3] {
    let first = start("--slots 0 --node-id n1").await;
    let join = |name: &str, to: &str| format!("--slots 0 --node-id {name} --join {to}");
    let second = start(&join("n2", &first.address)).await;
    // Any one address is enough, also that of an agent that does not lead.
    let third = start(&join("n3", &second.address)).await;
    until("all three vote and see each other", || async {
        let status = third.get("/status").await.ok();
        let voters = status["voter_node_ids"].as_array().unwrap().len();
        (voters == 3 && status["alive_peers"] == 3).then_some(())
    })
    .await;
    [first, second, third]
}

#[tokio::test]
async fn operators_move_leadership_write_snapshots_and_remove_members() {
    let [first, second, third] = three().await;
    // On a busy disk the heir may be too slow for the leader's patience, which it says.
    let moved = until("leadership is moved", || async {
        let moved = third.post("/cluster/transfer", &json!({ "to": "n2" })).await;
        (moved.status != 503).then_some(moved)
    });
    assert_eq!(moved.await.ok(), json!({ "leader_id": "n2" }));
    until("n2 leads", || async {
        (second.get("/status").await.ok()["role"] == "leader").then_some(())
    })
    .await;
    let nobody = third.post("/cluster/transfer", &json!({ "to": "n9" })).await.problem();
    assert_eq!((nobody.0, nobody.2.as_deref()), (409, Some("to")));

    let before = third.get("/raft/status").await.ok()["applied_index"].as_u64().unwrap();
    let written = third.post("/cluster/snapshot", &json!({})).await.ok();
    assert_eq!(written["node_id"], "n3", "the agent that is asked writes its own");
    assert!(written["index"].as_u64().unwrap() >= before, "{written}");

    first.stop().await;
    let removed = third.delete("/cluster/members/n1", &json!({})).await;
    assert_eq!(removed.ok(), json!({ "node_id": "n1", "voters": ["n2", "n3"] }), "by name");
    let again = third.delete("/cluster/members/n1", &json!({})).await.problem();
    assert_eq!((again.0, again.1.as_str()), (404, "NOT_FOUND"));
    let added = third.post("/work/add", &json!({ "key": "k", "config": { "n": 1 } })).await;
    assert_eq!(added.ok()["status"], "added", "two voters go on");
}

#[tokio::test]
async fn who_waits_for_a_lock_keeps_its_place_when_leadership_moves() {
    let [first, second, third] = three().await;
    let lock = "/raft/lock/deploy";
    let asking = |owner: &str| json!({ "owner": owner, "ttl_seconds": 300, "wait_seconds": 60 });
    let held = first.post(lock, &asking("a")).await.ok();
    let mut waiting = Vec::new();
    for (place, (agent, owner)) in [(&third, "b"), (&first, "c")].into_iter().enumerate() {
        let request = agent.request(Method::POST, lock).json(&asking(owner));
        waiting.push(tokio::spawn(send(request)));
        until("it waits", || async {
            let waiters = second.get(lock).await.ok()["waiters"].clone();
            (waiters[place]["owner"] == owner).then_some(())
        })
        .await;
    }
    // Longer than a request looks for a leader: what it waited here must not count for that.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    until("leadership is moved", || async {
        let moved = third.post("/cluster/transfer", &json!({ "to": "n2" })).await;
        (moved.status != 503).then_some(())
    })
    .await;
    until("n2 leads", || async {
        (second.get("/status").await.ok()["role"] == "leader").then_some(())
    })
    .await;
    let mut token = held["token"].clone();
    for (owner, waiting) in ["b", "c"].into_iter().zip(waiting) {
        assert_eq!(first.delete(lock, &json!({ "token": token })).await.status, 200);
        let granted = waiting.await.unwrap().ok();
        assert_eq!(granted["holder"], owner);
        token = granted["token"].clone();
    }
}

#[tokio::test]
async fn a_member_that_nobody_introduces_is_found_again() {
    let first = start("--slots 0 --node-id n1 --token t").await;
    let join = format!("--slots 0 --node-id n2 --token t --join {}", first.address);
    let second = start(&join).await;
    let status = second.get("/status").await.ok();
    let raft_address = status["peers"]["n2"]["raft_address"].as_str().unwrap();
    let raft_port = raft_address.rsplit(':').next().unwrap();

    // It comes back where it replicated, but gossips elsewhere, and without the token nobody takes its
    // word for it.
    let same_ports = format!("--listen {} --raft-port {raft_port}", second.address);
    let directory = second.stop().await;
    let second = launch(&format!("--slots 0 --node-id n2 {same_ports}"), directory).await;
    for agent in [&first, &second] {
        until("the two see each other", || async {
            let status = agent.get("/status").await.ok();
            (status["alive_peers"] == 2 && !status["leader_id"].is_null()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn three_agents_share_one_queue_and_outlive_their_leader() {
    let [first, second, third] = three().await;
    let added = third.post("/work/add", &json!({ "key": "k", "config": { "n": 1 } })).await;
    let work_id = added.ok()["work_id"].clone();
    assert_eq!(added.header("x-ringrift-proxied-by"), Some("n3"));
    assert_eq!(added.header("x-node-id"), Some("n1"), "the leader answered");
    let direct = first.get(&format!("/work/{}", work_id.as_str().unwrap())).await;
    assert_eq!(direct.ok()["config"], json!({ "n": 1 }));
    assert_eq!(direct.header("x-ringrift-proxied-by"), None);
    let faulty = third.post("/work/add", &json!({ "colour": 1 })).await;
    assert_eq!(faulty.problem().1, "UNKNOWN_FIELD", "problems pass through as they are");
    let looping = third.request(Method::POST, "/work/add").header("x-ringrift-hops", "2");
    assert_eq!(send(looping.json(&json!({}))).await.problem().1, "LEADER_UNKNOWN");

    // A claim that waits on a follower hears of work that comes through another one.
    let waiting = json!({ "node_id": "w", "work_types": ["late"], "wait_seconds": 30 });
    let claim = third.post("/work/claim", &waiting);
    let add = async {
        until("the claim waits", || async {
            let metrics = first.get("/metrics").await.text;
            metrics.contains("ringrift_waiting_claims 1").then_some(())
        })
        .await;
        second.post("/work/add", &json!({ "work_type": "late" })).await.ok();
    };
    let (claimed, ()) = tokio::join!(claim, add);
    assert_eq!(claimed.ok()["status"], "claimed");

    first.stop().await;
    let again = third.post("/work/add", &json!({ "key": "k", "config": { "n": 1 } })).await;
    assert_eq!(
        again.ok(),
        json!({
            "status": "exists", "work_id": work_id, "work_type": "selfplay", "priority": 50,
        })
    );
    let leader = second.get("/status").await.ok()["leader_id"].clone();
    assert!(leader == "n2" || leader == "n3", "{leader}");
    until("the others know that n1 has gone", || async {
        let status = second.get("/status").await.ok();
        (status["alive_peers"] == 2 && status["voter_quorum_ok"] == true).then_some(())
    })
    .await;
    second.stop().await;
    third.stop().await;
}

#[tokio::test]
async fn a_request_of_a_session_is_carried_out_once_through_whomever_it_comes() {
    let [first, second, third] = three().await;
    let opened = third.call(Method::POST, "/sessions", None).await.ok();
    let session = opened["session_id"].as_str().unwrap();
    for agent in [&second, &third, &first] {
        let request = agent.request(Method::POST, "/work/add").json(&json!({}));
        let request = request.header("x-ringrift-session", session).header("x-ringrift-seq", 1);
        assert_eq!(send(request).await.ok()["work_id"], "w1");
    }
}

#[tokio::test]
async fn a_client_serves_every_route_without_a_log() {
    let first = start("--slots 0 --node-id n1").await;
    let client = start(&format!("--slots 0 --node-id c1 --client --join {}", first.address)).await;
    let added = client.post("/work/add", &json!({})).await;
    assert_eq!(added.ok()["status"], "added");
    assert_eq!(added.header("x-ringrift-proxied-by"), Some("c1"));
    let status = client.get("/status").await.ok();
    assert_eq!((&status["role"], &status["leader_id"]), (&json!("client"), &json!("n1")));
    assert_eq!(status["voter_node_ids"], json!(["n1"]));
    assert_eq!(client.get("/raft/work").await.ok()["stats"]["pending"], 1);
    client.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn an_agent_that_waits_for_its_cluster_says_why() {
    let directory = tempfile::TempDir::new().unwrap();
    // Nobody listens on the discard port.
    let lonely = super::harness::launch("--slots 0 --join 127.0.0.1:9", directory).await;
    let reason = until("the reason is shown", || async {
        let joining = lonely.get("/status").await.ok()["joining"].clone();
        joining.as_str().filter(|reason| reason.contains("127.0.0.1:9")).map(str::to_owned)
    })
    .await;
    let refused = lonely.post("/work/add", &json!({})).await;
    assert_eq!(refused.problem().1, "NO_CLUSTER", "{reason}");
    assert_eq!(lonely.get("/health").await.status, 503);
    lonely.stop().await;
}

#[tokio::test]
async fn bootstrap_starts_a_cluster_when_nobody_has_one() {
    let agent = start("--slots 0 --join 127.0.0.1:9 --bootstrap").await;
    assert_eq!(agent.post("/work/add", &json!({})).await.ok()["status"], "added");
    agent.stop().await;
}

#[tokio::test]
async fn members_are_listed_added_and_beyond_two_learners_agents_are_clients() {
    let first = start("--slots 0 --node-id n1 --voters 1").await;
    let join = |name: &str| format!("--slots 0 --node-id {name} --join {}", first.address);
    let second = start(&join("n2")).await;
    let third = start(&join("n3")).await;
    let fourth = launch(&join("n4"), tempfile::TempDir::new().unwrap()).await;
    // It starts again as a client, and listens to nobody for a moment.
    until("the fourth is a healthy client", || async {
        let reply = fourth.request(Method::GET, "/health").send().await.ok()?;
        let health = reply.json::<serde_json::Value>().await.ok()?;
        (health["role"] == "client" && health["healthy"] == true).then_some(())
    })
    .await;
    assert_eq!(fourth.post("/work/add", &json!({})).await.ok()["status"], "added");

    let listed = fourth.get("/cluster/members").await.ok();
    assert_eq!((&listed["leader_id"], &listed["voters_wanted"]), (&json!("n1"), &json!(1)));
    let parts: Vec<_> = listed["members"].as_array().unwrap().iter().collect();
    let part = |at: usize| (parts[at]["node_id"].as_str(), parts[at]["part"].as_str());
    assert_eq!(part(0), (Some("n1"), Some("leader")));
    assert_eq!(part(1), (Some("n2"), Some("learner")));
    assert_eq!(part(2), (Some("n3"), Some("learner")));
    assert_eq!(parts[0]["behind"], 0);

    let add = async |name: &str| third.post("/cluster/members", &json!({ "node_id": name })).await;
    assert_eq!(add("n2").await.ok(), json!({ "node_id": "n2", "part": "learner" }));
    let unknown = add("n9").await.problem();
    assert_eq!((unknown.0, unknown.2.as_deref()), (404, Some("node_id")));
    assert_eq!(add("n4").await.problem().0, 409, "a client has no raft port");
    // Removed for good: it says why, wherever one looks.
    second.delete("/cluster/members/n3", &json!({})).await.ok();
    let directory = third.stop().await;
    let back = launch(&join("n3"), directory).await;
    until("it says that it was removed", || async {
        let health = back.get("/health").await;
        let problem = health.json()["problem"].as_str().map(str::to_owned)?;
        // Until it has asked, it says that it hears nobody.
        let told = problem.contains("move its data directory away");
        (health.status == 503 && told).then_some(())
    })
    .await;
    for agent in [back, fourth, second, first] {
        agent.stop().await;
    }
}
