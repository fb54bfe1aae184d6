use std::fmt::Debug;

use serde::de::DeserializeOwned;

use super::*;
use crate::problem::Problem;
use crate::stream::{MAGIC, PROTOCOL, frame};

const HOLD: Hold =
    Hold { work_id: WorkId(300), token: Token { mode_epoch: 0, term: 2, index: 130, n: 1 } };

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T) {
    let mut bytes = Vec::new();
    frame::push(&mut bytes, message, usize::MAX).unwrap();
    let (body, rest) = frame::split(&bytes, usize::MAX).unwrap().unwrap();
    assert!(rest.is_empty());
    assert_eq!(frame::decode::<T>("it", body).as_ref(), Ok(message));
    // No prefix of a message may pass for a message.
    for cut in 0..body.len() {
        assert!(frame::decode::<T>("it", &body[..cut]).is_err(), "cut at {cut}: {message:?}");
    }
}

#[test]
fn every_message_comes_back_as_it_was() {
    let refused = Refused {
        code: "BACKPRESSURE".to_owned(),
        error: "too much".to_owned(),
        field: Some("items".to_owned()),
        retry_after_ms: Some(50),
    };
    round_trip(&Hello { magic: MAGIC, protocol: PROTOCOL, client: "w".to_owned(), silent: None });
    round_trip(&Welcome::Refused(refused.clone()));
    let mut claim = Claim::new("node-1");
    claim.labels.insert("zone".to_owned(), "a".to_owned());
    let after = [Predecessor::Item(WorkId(3)), Predecessor::Earlier(0)];
    let terms = Terms {
        gpu_milli: 500,
        group: Some("g".to_owned()),
        after: after.map(|item| After { item, ok: true }).into(),
        total_timeout_ms: Some(9),
        ..Terms::default()
    };
    let bound = NewWork { terms: Some(Box::new(terms)), ..NewWork::new("selfplay", "{}") };
    let operations = [
        Operation::Add(vec![NewWork::new("selfplay", "{}"), bound]),
        Operation::Claim(claim),
        Operation::Start(HOLD),
        Operation::Heartbeat(Heartbeat {
            node_id: "n".to_owned(),
            claims: vec![HOLD],
            lease_ms: 1,
        }),
        Operation::Complete(vec![Completion { hold: HOLD, result: "{}".to_owned() }]),
        Operation::Fail(Failing { hold: HOLD, error: "e".to_owned(), retry: true }),
        Operation::Ping,
    ];
    for operation in operations {
        let session = Some(SessionStamp { session: 1, seq: 2, acknowledged: 1 });
        round_trip(&Request { number: u64::MAX, session, operation });
    }
    let claimed = ClaimedWork {
        hold: HOLD,
        work_type: "selfplay".to_owned(),
        priority: 50,
        config: "{}".to_owned(),
        attempts: 0,
        max_attempts: 3,
        timeout_ms: 1,
        deadline_ms: 2,
        run_id: None,
        devices: vec![(3, 1_000)],
    };
    let answers = [
        Answer::Added(vec![AddedWork { work_id: WorkId(1), fresh: true }]),
        Answer::Claimed(vec![claimed]),
        Answer::Started,
        Answer::Renewed(Renewed { renewed: 1, lost: vec![WorkId(2)] }),
        Answer::Completed(vec![None, Some(refused.clone())]),
        Answer::Failed { retry_at_ms: Some(7) },
        Answer::Here,
    ];
    let outcomes = answers.into_iter().map(Outcome::Done).chain([
        Outcome::Refused(refused.clone()),
        Outcome::NotLeader { leader: Some("10.0.0.1:8770".to_owned()) },
    ]);
    for outcome in outcomes {
        let position = Position { term: 1, index: 2 };
        round_trip(&Message::Response(Response { number: 3, position, outcome }));
    }
    round_trip(&Message::Goodbye(refused));
}

/// `docs/stream.md` shows these bytes: another language can test itself against them.
#[test]
fn the_bytes_are_those_of_the_documentation() {
    let mut bytes = Vec::new();
    let hello =
        Hello { magic: MAGIC, protocol: PROTOCOL, client: "probe".to_owned(), silent: None };
    frame::push(&mut bytes, &hello, 100).unwrap();
    assert_eq!(bytes, b"\x00\x00\x00\x10RINGWORK\x02\x05probe\x00");
    bytes.clear();
    let start = Request { number: 7, session: None, operation: Operation::Start(HOLD) };
    frame::push(&mut bytes, &start, 100).unwrap();
    assert_eq!(bytes, b"\x00\x00\x00\x0a\x07\x00\x02\xac\x02\x00\x02\x82\x01\x01");
    bytes.clear();
    let position = Position { term: 2, index: 131 };
    let outcome = Outcome::Done(Answer::Started);
    let response = Message::Response(Response { number: 7, position, outcome });
    frame::push(&mut bytes, &response, 100).unwrap();
    assert_eq!(bytes, b"\x00\x00\x00\x07\x00\x07\x02\x83\x01\x00\x02");
}

#[test]
fn codes_are_the_words_of_the_http_interface() {
    let problem = Problem {
        error: "e".to_owned(),
        status: 429,
        code: Code::Backpressure,
        field: None,
        retry_after_seconds: Some(2),
    };
    let refused = Refused::from(problem);
    assert_eq!((refused.code.as_str(), refused.retry_after_ms), ("BACKPRESSURE", Some(2_000)));
    assert_eq!(refused.code(), Some(Code::Backpressure));
    let newer = Refused { code: "FROM_THE_FUTURE".to_owned(), ..refused };
    assert_eq!(newer.code(), None);
}
