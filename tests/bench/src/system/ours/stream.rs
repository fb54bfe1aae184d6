//! Our agents over the binary stream: all requests on one connection to the leader.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringrift_wire::stream::client::{Settings, StreamClient};
use ringrift_wire::stream::message::{Claim as Ask, ClaimedWork, Completion, Hold, NewWork};

use super::{OURS, Transport};
use crate::system::{Client, Failure, Held, Payload, REQUEST_TIMEOUT, submitted};

/// Milliseconds of a claim: longer than any measurement's item is held.
const LEASE_MS: u64 = 60_000;

/// The stream's client.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    client: StreamClient,
    workers: Arc<AtomicUsize>,
}

/// A claimed item with its fencing token.
#[derive(Debug)]
pub(crate) struct Claim {
    hold: Hold,
    submitted: Duration,
}

impl Held for Claim {
    fn submitted(&self) -> Duration {
        self.submitted
    }
}

fn added(payload: Payload) -> NewWork {
    NewWork::new("bench", format!("{{\"payload\":\"{}\"}}", payload.into_text()))
}

fn held(item: ClaimedWork) -> Claim {
    let text = item.config.strip_prefix("{\"payload\":\"").unwrap_or_default();
    Claim { hold: item.hold, submitted: submitted(text.as_bytes()) }
}

impl Transport for Stream {
    const NAME: &'static str = "binary stream";

    async fn connect(addresses: &[String], _in_flight: usize) -> Result<Self, Failure> {
        let settings = Settings {
            addresses: addresses.to_vec(),
            token: None,
            name: "bench".to_owned(),
            patience: REQUEST_TIMEOUT,
        };
        let client = StreamClient::new(settings).map_err(Failure::request(OURS, "connect"))?;
        Ok(Self { client, workers: Arc::default() })
    }
}

impl Client for Stream {
    type Claim = Claim;

    async fn enqueue(&self, items: Vec<Payload>) -> Result<(), Failure> {
        let items = items.into_iter().map(added).collect();
        self.client.add(items).await.map(drop).map_err(Failure::request(OURS, "enqueue"))
    }

    async fn claim(&self, at_most: usize, wait: Duration) -> Result<Vec<Claim>, Failure> {
        // Many nodes with a worker each, as in real life.
        let worker = self.workers.fetch_add(1, Ordering::Relaxed) % 64;
        let claim = Ask {
            max_items: u32::try_from(at_most).unwrap_or(u32::MAX),
            lease_ms: LEASE_MS,
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            ..Ask::new(format!("bench-{worker}"))
        };
        let claimed = self.client.claim(claim).await.map_err(Failure::request(OURS, "claim"))?;
        Ok(claimed.value.into_iter().map(held).collect())
    }

    async fn complete(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        let done = claims
            .into_iter()
            .map(|claim| Completion { hold: claim.hold, result: "{}".to_owned() });
        let ended = self.client.complete(done.collect()).await;
        let ended = ended.map_err(Failure::request(OURS, "complete"))?;
        match ended.value.into_iter().flatten().next() {
            None => Ok(()),
            Some(refused) => Err(Failure::request(OURS, "complete")(refused)),
        }
    }
}
