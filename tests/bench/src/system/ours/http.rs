//! Our agents over HTTP/1.1 with the typed client: one connection for each request under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use ringrift_wire::client::Client as Wire;
use ringrift_wire::work;

use super::{OURS, Transport};
use crate::system::{Client, Failure, Held, Payload, REQUEST_TIMEOUT, submitted};

/// Seconds of a claim: longer than any measurement's item is held.
const LEASE_SECONDS: f64 = 60.0;
/// A replica that does not say how many items it holds within this time is asked again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The typed client.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    wire: Wire,
    workers: Arc<AtomicUsize>,
}

/// A claimed item with its fencing token.
#[derive(Debug)]
pub(crate) struct Claim {
    work_id: String,
    token: String,
    submitted: Duration,
}

impl Held for Claim {
    fn submitted(&self) -> Duration {
        self.submitted
    }
}

/// How many items the agent at `address` has in its own replica.
pub(super) async fn replica_items(address: &str) -> Result<u64, String> {
    let client = Wire::new(&[address.to_owned()], None, LOOK_TIMEOUT);
    let status = client.map_err(|error| error.to_string())?.status().await;
    Ok(status.map_err(|error| error.to_string())?.swim_raft.raft.work_queue_size)
}

fn added(payload: Payload) -> work::Add {
    work::Add {
        work_type: "bench".to_owned(),
        config: serde_json::json!({ "payload": payload.into_text() }),
        ..work::Add::default()
    }
}

fn held(item: work::WorkItem) -> Option<Claim> {
    let payload = item.config.get("payload").and_then(|payload| payload.as_str());
    let submitted = submitted(payload.unwrap_or_default().as_bytes());
    Some(Claim { work_id: item.work_id, token: item.token?, submitted })
}

impl Transport for Http {
    const NAME: &'static str = "HTTP/1.1, JSON";

    async fn connect(addresses: &[String], _in_flight: usize) -> Result<Self, Failure> {
        let wire = Wire::new(addresses, None, REQUEST_TIMEOUT);
        let wire = wire.map_err(Failure::request(OURS, "connect"))?.without_sessions();
        Ok(Self { wire, workers: Arc::default() })
    }
}

impl Client for Http {
    type Claim = Claim;

    async fn enqueue(&self, items: Vec<Payload>) -> Result<(), Failure> {
        let mut items: Vec<_> = items.into_iter().map(added).collect();
        let sent = if items.len() == 1
            && let Some(item) = items.pop()
        {
            self.wire.post("/work/add", &item).await.map(|_: work::Added| ())
        } else {
            let batch = work::AddBatch { items };
            self.wire.post("/work/add_batch", &batch).await.map(|_: work::AddedBatch| ())
        };
        sent.map_err(Failure::request(OURS, "enqueue"))
    }

    async fn claim(&self, at_most: usize, wait: Duration) -> Result<Vec<Claim>, Failure> {
        // Many nodes with a worker each, as in real life.
        let worker = self.workers.fetch_add(1, Ordering::Relaxed) % 64;
        let claim = work::Claim {
            node_id: format!("bench-{worker}"),
            capabilities: BTreeSet::new(),
            labels: BTreeMap::new(),
            work_types: BTreeSet::new(),
            max_items: u32::try_from(at_most).unwrap_or(u32::MAX),
            lease_seconds: LEASE_SECONDS,
            wait_seconds: wait.as_secs_f64(),
        };
        let claimed = self.wire.claim(&claim).await.map_err(Failure::request(OURS, "claim"))?;
        Ok(claimed.items.into_iter().filter_map(held).collect())
    }

    async fn complete(&self, claims: Vec<Claim>) -> Result<(), Failure> {
        // HTTP completes one item a request; a batch of them is sent at once.
        let requests = claims.into_iter().map(|claim| async move {
            let complete = work::Complete {
                work_id: claim.work_id,
                token: claim.token,
                result: serde_json::Value::Object(serde_json::Map::new()),
                then: Vec::new(),
            };
            self.wire.post("/work/complete", &complete).await.map(|_: work::Completed| ())
        });
        let done = try_join_all(requests).await;
        done.map(drop).map_err(Failure::request(OURS, "complete"))
    }
}
