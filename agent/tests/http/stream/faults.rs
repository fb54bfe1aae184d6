//! Bytes that are no stream: refused with a reason, and the agent goes on.

use ringrift_wire::stream::message::{Claim, Hello, NewWork, Refused, Welcome};

use super::raw::{Raw, hello};
use super::work::client;
use crate::http::harness::start;

fn refused(welcome: Option<Welcome>) -> Refused {
    match welcome {
        Some(Welcome::Refused(refused)) => refused,
        other => panic!("must be refused: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_stream_is_refused_with_a_reason_and_harms_nobody() {
    let agent = start("--slots 0").await;
    let bystander = client(&[&agent.address], None);
    bystander.add(vec![NewWork::new("t", "{}")]).await.unwrap();

    let mut raw = Raw::upgraded(&agent.address).await;
    raw.send(&Hello { magic: *b"RINGRAFT", ..hello() }).await;
    assert_eq!(refused(raw.next().await).code, "MALFORMED_BODY");
    assert_eq!(raw.next::<Welcome>().await, None, "a refused stream ends");

    let mut raw = Raw::upgraded(&agent.address).await;
    raw.send(&Hello { protocol: 99, ..hello() }).await;
    let refusal = refused(raw.next().await);
    assert_eq!(refusal.code, "UNSUPPORTED");
    assert!(refusal.error.contains("99"), "{refusal}");

    let mut raw = Raw::upgraded(&agent.address).await;
    raw.send(&Hello { client: "x".repeat(129), ..hello() }).await;
    assert_eq!(refused(raw.next().await).code, "INVALID_VALUE");

    // A first frame that is no greeting: too long, and garbage.
    for bytes in [&[0xff_u8; 8][..], &[0, 0, 0, 3, 1, 2, 3]] {
        let mut raw = Raw::upgraded(&agent.address).await;
        raw.write(bytes).await;
        assert_eq!(refused(raw.next().await).code, "MALFORMED_BODY", "{bytes:?}");
    }
    // The same behind a greeting; the last is a request with a byte too many.
    let frames: [&[u8]; 3] = [
        &[0xff; 8],
        &[0, 0, 0, 2, 200, 200],
        b"\x00\x00\x00\x0b\x07\x00\x02\xac\x02\x00\x02\x82\x01\x01\x00",
    ];
    for bytes in frames {
        let (mut raw, _) = Raw::open(&agent.address).await;
        raw.write(bytes).await;
        let refusal = raw.goodbye().await;
        assert_eq!(refusal.code, "MALFORMED_BODY", "{bytes:?}: {refusal}");
    }
    // Half a frame and gone; a greeting and gone.
    let (mut raw, _) = Raw::open(&agent.address).await;
    raw.write(&[0, 0, 1, 0, 7]).await;
    drop(raw);
    drop(Raw::upgraded(&agent.address).await);

    let claimed = bystander.claim(Claim::new("w")).await.unwrap();
    assert_eq!(claimed.value.len(), 1, "the streams of others go on");
    assert_eq!(agent.get("/health").await.status, 200);
    agent.stop().await;
}
