//! Back-pressure: a client that asks for too much at once is told so.

use ringrift_core::id::{Token, WorkId};
use ringrift_wire::stream::frame;
use ringrift_wire::stream::message::{Completion, Hold, NewWork, Operation, Outcome, Response};

use super::raw::{Raw, refusal, request};
use super::work::{client, waiting};
use crate::http::harness::{start, until};

#[tokio::test]
async fn beyond_the_bound_new_work_is_refused_and_what_ends_work_is_not() {
    let agent = start("--slots 0").await;
    let (mut raw, host) = Raw::open(&agent.address).await;
    let bound = u64::from(host.requests_max);
    let mut bytes = Vec::new();
    for number in 0..bound {
        let claim = Operation::Claim(waiting("w", 60));
        frame::push(&mut bytes, &request(number, claim), usize::MAX).unwrap();
    }
    let beyond =
        [Operation::Claim(waiting("w", 60)), Operation::Add(vec![NewWork::new("t", "{}")])];
    for (number, operation) in (bound..).zip(beyond) {
        frame::push(&mut bytes, &request(number, operation), usize::MAX).unwrap();
    }
    raw.write(&bytes).await;
    for number in [bound, bound + 1] {
        let Response { number: answered, outcome, .. } = raw.response().await;
        let refused = refusal(outcome);
        assert_eq!((answered, refused.code.as_str()), (number, "BACKPRESSURE"));
        assert!(refused.retry_after_ms.is_some_and(|ms| ms > 0), "{refused:?}");
    }
    let hold = Hold { work_id: WorkId(9), token: Token::default() };
    let completion = Completion { hold, result: "{}".to_owned() };
    raw.send(&request(bound + 2, Operation::Complete(vec![completion]))).await;
    let response = raw.response().await;
    assert_eq!(response.number, bound + 2);
    assert!(matches!(response.outcome, Outcome::Done(_)), "{response:?}");

    // Another client is served, and the places come back with the connection's end.
    let other = client(&[&agent.address], None);
    other.add(vec![NewWork::new("t", "{}")]).await.unwrap();
    assert!(matches!(raw.response().await.outcome, Outcome::Done(_)), "one of them gets it");
    drop(raw);
    until("nobody waits", || async {
        agent.get("/metrics").await.text.contains("ringrift_waiting_claims 0").then_some(())
    })
    .await;
    agent.stop().await;
}

#[tokio::test]
async fn a_thousand_requests_share_a_connection_and_each_gets_its_own_answer() {
    let agent = start("--slots 0").await;
    let client = client(&[&agent.address], None);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let client = client.clone();
        tasks.spawn(async move {
            let config = format!(r#"{{"n": {number}}}"#);
            let item = NewWork { key: Some(format!("k{number}")), ..NewWork::new("t", config) };
            let first = client.add(vec![item.clone()]).await.unwrap().value;
            let again = client.add(vec![item]).await.unwrap().value;
            assert_eq!(again[0].work_id, first[0].work_id, "item {number}");
            let held = client.claim(waiting("w", 30)).await.unwrap().value;
            let hold = held[0].hold;
            let done = Completion { hold, result: held[0].config.clone() };
            assert_eq!(client.complete(vec![done]).await.unwrap().value, [None]);
            hold.work_id
        });
    }
    let mut ids = tasks.join_all().await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_000, "every item was claimed once");
    let status = agent.get("/work/status").await.ok();
    assert_eq!(status["by_status"]["completed"], 1_000);
    agent.stop().await;
}
