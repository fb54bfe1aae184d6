//! Throughput: so many workers, each beginning its next cycle when its last one has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quantiles::{Latencies, Quantiles};
use super::worker::{Shape, Witness, Workers};
use crate::clock;
use crate::system::{Client, Failure};

/// Part of the measured time that goes before it, unmeasured: connections open, caches fill.
const WARM_UP: u32 = 4;

/// What a throughput measurement brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Throughput {
    /// Workers.
    pub(crate) in_flight: usize,
    /// Items of a request.
    pub(crate) batch: usize,
    /// Measured time.
    pub(crate) seconds: f64,
    /// Items that went all the way, a second.
    pub(crate) cycles_per_s: f64,
    /// Failed requests.
    pub(crate) errors: u64,
    /// From before the enqueue to the answer to the completion.
    pub(crate) cycle_ms: Quantiles,
}

#[derive(Debug)]
struct Meter {
    measuring: AtomicBool,
    items: AtomicU64,
    errors: AtomicU64,
    cycles: Latencies,
}

impl Witness for Meter {
    fn claimed(&self, _asked: Duration, _submitted: Duration) {}

    fn completed(&self, begun: Duration, items: usize) {
        if self.measuring.load(Ordering::Relaxed) {
            self.items.fetch_add(items as u64, Ordering::Relaxed);
            self.cycles.record(clock::now() - begun);
        }
    }

    fn failed(&self, _failure: &Failure) {
        if self.measuring.load(Ordering::Relaxed) {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Measures for `length`.
pub(crate) async fn measure<C: Client>(
    client: &C,
    shape: Shape,
    length: Duration,
) -> Result<Throughput, Failure> {
    let meter = Arc::new(Meter {
        measuring: AtomicBool::new(false),
        items: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        cycles: Latencies::new()?,
    });
    let workers = Workers::start(client, shape, &meter);
    tokio::time::sleep(length / WARM_UP).await;
    meter.measuring.store(true, Ordering::Relaxed);
    let begun = clock::now();
    tokio::time::sleep(length).await;
    meter.measuring.store(false, Ordering::Relaxed);
    let seconds = (clock::now() - begun).as_secs_f64();
    workers.stop().await;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let cycles_per_s = (meter.items.load(Ordering::Relaxed) as f64 / seconds * 10.0).round() / 10.0;
    Ok(Throughput {
        in_flight: shape.workers,
        batch: shape.batch,
        seconds,
        cycles_per_s,
        errors: meter.errors.load(Ordering::Relaxed),
        cycle_ms: meter.cycles.quantiles(),
    })
}
