//! From submit to start: items come at a fixed rate, workers wait for them, and the time runs from
//! the moment at which an item was to be sent to the moment at which a worker holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::pace::beats;
use super::quantiles::{Latencies, Quantiles};
use crate::clock;
use crate::system::{Client, Failure, Held as _, Payload};

/// Workers that wait.
pub(crate) const WORKERS: usize = 16;
/// Items a second: few, so that the figure is a latency and no queueing.
pub(crate) const ITEMS_PER_S: u32 = 200;
/// One item in so many may fail to be sent; with more of them the figure would mean nothing.
const FAILED_SHARE_MAX: u32 = 100;
/// How long one claim waits, and so how long items may still come after the last beat.
const DRAIN: Duration = Duration::from_secs(2);

/// Measures for `length`.
pub(crate) async fn measure<C: Client>(client: &C, length: Duration) -> Result<Quantiles, Failure> {
    let waits = Arc::new(Latencies::new()?);
    let stop = Arc::<AtomicBool>::default();
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (client, waits, stop) = (client.clone(), Arc::clone(&waits), Arc::clone(&stop));
        workers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let claims = client.claim(1, DRAIN).await.unwrap_or_default();
                for claim in &claims {
                    waits.record(clock::now().saturating_sub(claim.submitted()));
                }
                if !claims.is_empty() {
                    let _failed = client.complete(claims).await;
                }
            }
        });
    }
    let mut beats = beats(ITEMS_PER_S, length);
    let mut sends = JoinSet::new();
    while let Some(beat) = beats.recv().await {
        let client = client.clone();
        sends.spawn(async move { client.enqueue(vec![Payload::at(beat.due)]).await });
    }
    let (mut failures, mut sent_items) = (0, 0_u32);
    while let Some(sent) = sends.join_next().await {
        sent_items += 1;
        failures += u32::from(!matches!(sent, Ok(Ok(()))));
    }
    stop.store(true, Ordering::Relaxed);
    // Each worker sees it when it has waited in vain once more.
    while workers.join_next().await.is_some() {}
    if failures * FAILED_SHARE_MAX > sent_items {
        let what = format!("{failures} of {sent_items} items could not be sent");
        return Err(Failure::Setup(what));
    }
    Ok(waits.quantiles())
}
