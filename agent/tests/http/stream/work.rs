//! The life of an item over a stream, as its submitter and its worker see it.

use std::time::Duration;

use ringrift_core::id::{Token, WorkId};
use ringrift_wire::problem::Code;
use ringrift_wire::stream::client::{Settings, StreamClient, StreamError};
use ringrift_wire::stream::message::{
    After, Answer, Claim, Completion, Failing, Heartbeat, Hold, NewWork, Operation, Outcome,
    Predecessor, SessionStamp, Terms,
};
use serde_json::json;

use super::raw::{Raw, refusal, request, stamped};
use crate::http::harness::{start, until};

pub(super) fn client(addresses: &[&str], token: Option<&str>) -> StreamClient {
    let settings = Settings {
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        token: token.map(str::to_owned),
        name: "test".to_owned(),
        patience: Duration::from_secs(30),
    };
    StreamClient::new(settings).unwrap()
}

pub(super) fn waiting(node: &str, seconds: u64) -> Claim {
    Claim { wait_ms: seconds * 1_000, ..Claim::new(node) }
}

fn code(error: &StreamError) -> Option<Code> {
    match error {
        StreamError::Refused(refused) => refused.code(),
        other => panic!("must be refused: {other}"),
    }
}

#[tokio::test]
async fn an_item_goes_its_whole_way_over_a_stream() {
    let agent = start("--slots 0").await;
    let client = client(&[&agent.address], None);
    let keyed = NewWork { key: Some("k".to_owned()), ..NewWork::new("t", r#"{"n": 1}"#) };
    let added = client.add(vec![keyed.clone(), NewWork::new("t", "{}")]).await.unwrap();
    assert_eq!(added.value.iter().map(|item| item.fresh).collect::<Vec<_>>(), [true, true]);
    let again = client.add(vec![keyed]).await.unwrap();
    assert_eq!((again.value[0].work_id, again.value[0].fresh), (added.value[0].work_id, false));
    assert!(again.position > added.position, "positions grow");

    let claim = Claim { max_items: 5, ..Claim::new("w") };
    let claimed = client.claim(claim.clone()).await.unwrap();
    let [one, other] = claimed.value.as_slice() else { panic!("two items: {claimed:?}") };
    assert_eq!((one.hold.work_id, one.config.as_str()), (added.value[0].work_id, r#"{"n": 1}"#));
    assert!(one.hold.token < other.hold.token, "every claim has a token of its own");
    let none = client.claim(claim).await.unwrap();
    assert!(none.value.is_empty() && none.position >= claimed.position, "{none:?}");

    client.start(one.hold).await.unwrap();
    let beat = Heartbeat {
        node_id: "w".to_owned(),
        claims: vec![one.hold, Hold { token: Token::default(), ..other.hold }],
        lease_ms: 30_000,
    };
    let renewed = client.heartbeat(beat).await.unwrap().value;
    assert_eq!((renewed.renewed, renewed.lost), (1, vec![other.hold.work_id]));
    let retry = Failing { hold: other.hold, error: "no engine".to_owned(), retry: false };
    assert_eq!(client.fail(retry).await.unwrap().value, None, "it is dead");

    // Each completion is judged for itself.
    let done = Completion { hold: one.hold, result: r#"{"ok": true}"#.to_owned() };
    let broken = Completion { result: "{".to_owned(), ..done.clone() };
    let foreign =
        Completion { hold: Hold { work_id: WorkId(999), ..one.hold }, result: "{}".to_owned() };
    let outcomes = client.complete(vec![done.clone(), broken, foreign, done]).await.unwrap().value;
    let codes: Vec<_> = outcomes.iter().map(|it| it.as_ref().map(|it| it.code.as_str())).collect();
    assert_eq!(codes, [None, Some("INVALID_VALUE"), Some("WORK_UNKNOWN"), None]);
    let seen = agent.get(&format!("/work/{}", one.hold.work_id)).await.ok();
    assert_eq!((&seen["status"], &seen["result"]), (&json!("completed"), &json!({ "ok": true })));
    agent.stop().await;
}

#[tokio::test]
async fn what_http_refuses_a_stream_refuses_with_the_same_code() {
    let agent = start("--slots 0").await;
    let client = client(&[&agent.address], None);
    let text = client.add(vec![NewWork::new("t", "[1]")]).await.unwrap_err();
    assert_eq!(code(&text), Some(Code::InvalidValue));
    let urgent = NewWork { priority: 101, ..NewWork::new("t", "{}") };
    let StreamError::Refused(refused) = client.add(vec![urgent]).await.unwrap_err() else {
        panic!("must be refused")
    };
    assert_eq!(refused.field.as_deref(), Some("items[0].priority"));
    assert!(client.add(Vec::new()).await.is_err());
    assert!(client.add(vec![NewWork::new("process", r#"{"argv": []}"#)]).await.is_err());
    let endless = Claim { wait_ms: 60_001, ..Claim::new("w") };
    assert_eq!(code(&client.claim(endless).await.unwrap_err()), Some(Code::InvalidValue));
    let hold = Hold { work_id: WorkId(5), token: Token::default() };
    assert_eq!(code(&client.start(hold).await.unwrap_err()), Some(Code::WorkUnknown));
    assert_eq!(
        client.complete(Vec::new()).await.map_err(|it| code(&it)),
        Err(Some(Code::InvalidValue))
    );

    let (mut raw, _) = Raw::open(&agent.address).await;
    raw.send(&stamped(1, Operation::Start(hold))).await;
    assert_eq!(refusal(raw.response().await.outcome).code, "SESSION_UNKNOWN");
    agent.stop().await;
}

#[tokio::test]
async fn a_request_of_a_session_is_carried_out_once_and_answered_twice() {
    let agent = start("--slots 0").await;
    let (mut raw, _) = Raw::open(&agent.address).await;
    raw.send(&request(1, Operation::OpenSession)).await;
    assert_eq!(raw.response().await.outcome, Outcome::Done(Answer::Session(1)));
    let add = Operation::Add(vec![NewWork::new("mine", "{}")]);
    let mut answers = Vec::new();
    for number in [2, 3] {
        raw.send(&stamped(number, add.clone())).await;
        answers.push(raw.response().await.outcome);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(agent.get("/work/status").await.ok()["total_items"], 1);
    agent.stop().await;
}

#[tokio::test]
async fn the_client_asks_in_a_session_and_hears_where_it_was_refused() {
    let agent = start("--slots 0").await;
    let client = client(&[&agent.address], None);
    let opened = client.call(Operation::OpenSession).await.unwrap().value;
    let Answer::Session(session) = opened else { panic!("no session: {opened:?}") };
    let stamp = SessionStamp { session, seq: 1, acknowledged: 0 };
    let add = Operation::Add(vec![NewWork::new("mine", "{}")]);
    let first = client.ask(Some(stamp), add.clone()).await.unwrap();
    let again = client.ask(Some(stamp), add).await.unwrap();
    assert_eq!(first.value, again.value);
    assert!(again.position > first.position, "the repeat has an entry of its own");
    let stranger = Hold { work_id: WorkId(5), token: Token::default() };
    let refused = client.ask(None, Operation::Start(stranger)).await.unwrap();
    assert_eq!(refused.value.unwrap_err().code(), Some(Code::WorkUnknown));
    assert!(refused.position > again.position, "a refusal of the machine has its place in the log");
    agent.stop().await;
}

#[tokio::test]
async fn claims_wait_in_line_and_those_that_have_gone_are_skipped() {
    let agent = start("--slots 0").await;
    let client = client(&[&agent.address], None);
    let line = |waiting: u32| {
        let (agent, wanted) = (&agent, format!("ringrift_waiting_claims {waiting}\n"));
        async move { agent.get("/metrics").await.text.contains(&wanted).then_some(()) }
    };
    let gone = {
        let other = super::work::client(&[&agent.address], None);
        tokio::spawn(async move { other.claim(waiting("gone", 30)).await })
    };
    until("one waits", || line(1)).await;
    let labelled = Claim { work_types: ["rare".to_owned()].into(), ..waiting("rare", 30) };
    let rare = tokio::spawn({
        let client = client.clone();
        async move { client.claim(labelled).await }
    });
    until("two wait", || line(2)).await;
    let next = tokio::spawn({
        let client = client.clone();
        async move { client.claim(waiting("next", 30)).await }
    });
    until("three wait", || line(3)).await;
    gone.abort();
    until("one has gone", || line(2)).await;

    client.add(vec![NewWork::new("common", "{}")]).await.unwrap();
    let claimed = next.await.unwrap().unwrap();
    assert_eq!(claimed.value.len(), 1, "the first who is there and whom it fits gets it");
    assert!(!rare.is_finished(), "what does not fit is not handed out");
    client.add(vec![NewWork::new("rare", "{}")]).await.unwrap();
    assert_eq!(rare.await.unwrap().unwrap().value[0].work_type, "rare");
    let vain = client.claim(Claim { wait_ms: 50, ..Claim::new("vain") }).await.unwrap();
    assert!(vain.value.is_empty());
    agent.stop().await;
}

#[tokio::test]
async fn the_token_is_asked_for_before_the_stream_opens() {
    let agent = start("--slots 0 --token s3cret").await;
    let without = client(&[&agent.address], None).claim(Claim::new("w")).await;
    assert_eq!(code(&without.unwrap_err()), Some(Code::Unauthorized));
    let wrong = client(&[&agent.address], Some("secret")).claim(Claim::new("w")).await;
    assert_eq!(code(&wrong.unwrap_err()), Some(Code::Unauthorized));
    let right = client(&[&agent.address], Some("s3cret")).claim(Claim::new("w")).await;
    assert!(right.unwrap().value.is_empty());
    let plain = agent.get("/work/stream").await;
    assert_eq!(plain.problem(), (426, "UNSUPPORTED".to_owned(), None));
    agent.stop().await;
}

#[tokio::test]
async fn items_of_a_stream_have_terms_as_those_over_http() {
    let agent = start("--slots 0").await;
    let capacity = json!({ "cpu_milli": 4000, "memory_mib": 1000, "gpu_devices": 2 });
    agent.put("/nodes/n/capacity", &capacity).await.ok();
    let client = client(&[&agent.address], None);
    let with = |terms| NewWork { terms: Some(Box::new(terms)), ..NewWork::new("t", "{}") };
    let half = |gpu_milli| Terms { gpu_milli, group: Some("g".to_owned()), ..Terms::default() };
    let refused = client.add(vec![with(half(1_500))]).await.unwrap_err();
    assert_eq!(code(&refused), Some(Code::InvalidValue));
    let then = After { item: Predecessor::Earlier(0), ok: true };
    let then = Terms { after: vec![then], total_timeout_ms: Some(60_000), ..Terms::default() };
    let items = vec![with(half(1_000)), with(half(1_000)), with(then)];
    let added = client.add(items).await.unwrap().value;
    let claim = Claim { max_items: 9, ..Claim::new("n") };
    let claimed = client.claim(claim.clone()).await.unwrap().value;
    let [first] = claimed.as_slice() else { panic!("one of the group: {claimed:?}") };
    assert_eq!(
        (first.hold.work_id, first.devices.as_slice()),
        (added[0].work_id, &[(0, 1_000)][..])
    );
    let done = Completion { hold: first.hold, result: "{}".to_owned() };
    client.complete(vec![done]).await.unwrap();
    let claimed = client.claim(claim).await.unwrap().value;
    let mut ids: Vec<_> = claimed.iter().map(|item| item.hold.work_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [added[1].work_id, added[2].work_id]);
    agent.stop().await;
}
