//! Latency at a fixed rate. Operations begin when the clock says so, not when an earlier one has
//! ended, and latency counts from the moment at which an operation was due: a system that stalls
//! pays for every operation that had to wait (no coordinated omission).
//!
//! Enqueues, claims and completions take turns. A stock of items and of claims makes each of them
//! possible at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::drain::drain;
use super::pace::{Beat, beats};
use super::patient::until_done;
use super::quantiles::{Latencies, Quantiles};
use crate::clock;
use crate::system::{Client, Failure, Payload, REQUEST_TIMEOUT};

/// Runs at the rate before anything counts: connections, buffers and batches find their size.
const WARM_UP: Duration = Duration::from_secs(2);
/// Operations under way; beyond them the next ones wait, and their waiting counts.
pub(crate) const OUTSTANDING_MAX: usize = 4_096;
/// Items in the queue when it begins.
const STOCK_ITEMS: usize = 4_096;
/// Claims in hand when it begins.
const STOCK_CLAIMS: usize = 2_048;
/// How long one claim waits.
const CLAIM_WAIT: Duration = Duration::from_secs(5);
/// Claims in hand at most.
const CLAIMS_MAX: usize = 65_536;
/// Items of a request while the stock is laid in.
const STOCK_BATCH: usize = 64;
/// How long operations may take after the last beat.
const DRAIN: Duration = Duration::from_secs(10);
/// Share of the operations that must end in time for the rate to count as sustained.
const SUSTAINED: f64 = 0.99;

/// What a measurement at a fixed rate brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AtRate {
    /// Operations asked for, a second.
    pub(crate) rate: u32,
    /// Operations that ended within the measured time, a second.
    pub(crate) achieved: f64,
    /// Whether the system kept up. If not, the latencies only say how long the backlog grew.
    pub(crate) sustained: bool,
    /// Failed operations.
    pub(crate) errors: u64,
    /// Seconds for which it was measured.
    #[serde(default)]
    pub(crate) seconds: u32,
    /// Leaders that were elected meanwhile, although none was hurt; where the system can tell.
    #[serde(default)]
    pub(crate) elections: Option<u64>,
    /// All operations together.
    #[serde(flatten)]
    pub(crate) all: Quantiles,
    /// Enqueues.
    pub(crate) enqueue: Quantiles,
    /// Claims. A system that delivers ahead of the demand answers them from memory.
    pub(crate) claim: Quantiles,
    /// Completions.
    pub(crate) complete: Quantiles,
}

struct Shared<C: Client> {
    client: C,
    /// Operations due earlier do not count.
    begin: Duration,
    end: Duration,
    in_time: AtomicU64,
    errors: AtomicU64,
    all: Latencies,
    kinds: [Latencies; 3],
    hold: mpsc::Sender<C::Claim>,
    held: Mutex<mpsc::Receiver<C::Claim>>,
}

impl<C: Client> Shared<C> {
    /// Enqueue, claim, complete, in turn.
    async fn operate(&self, beat: Beat) -> Result<(), Failure> {
        match beat.number % 3 {
            0 => self.client.enqueue(vec![Payload::at(beat.due)]).await,
            1 => {
                for claim in self.client.claim(1, CLAIM_WAIT).await? {
                    let full = |_| Failure::Setup("too many claims in hand".to_owned());
                    self.hold.try_send(claim).map_err(full)?;
                }
                Ok(())
            }
            _ => {
                let next = async { self.held.lock().await.recv().await };
                let claim = tokio::time::timeout(REQUEST_TIMEOUT, next).await.ok().flatten();
                let none = || Failure::Setup("no claim in hand".to_owned());
                self.client.complete(vec![claim.ok_or_else(none)?]).await
            }
        }
    }

    async fn measure(&self, beat: Beat) {
        let outcome = self.operate(beat).await;
        if beat.due < self.begin {
            return;
        }
        if outcome.is_err() {
            self.errors.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = clock::now();
        if now <= self.end {
            self.in_time.fetch_add(1, Ordering::Relaxed);
        }
        let kind = usize::try_from(beat.number % 3).unwrap_or(0);
        self.kinds[kind].record(now - beat.due);
        self.all.record(now - beat.due);
    }

    async fn stock_up(&self) -> Result<(), Failure> {
        for _ in 0..(STOCK_ITEMS + STOCK_CLAIMS) / STOCK_BATCH {
            until_done(|| self.client.enqueue(Payload::now(STOCK_BATCH))).await?;
        }
        let mut missing = STOCK_CLAIMS;
        let begun = clock::now();
        while missing > 0 && clock::now() - begun < 3 * REQUEST_TIMEOUT {
            for claim in
                until_done(|| self.client.claim(missing.min(STOCK_BATCH), CLAIM_WAIT)).await?
            {
                missing = missing.saturating_sub(1);
                let gone = |_| Failure::Setup("too many claims in hand".to_owned());
                self.hold.try_send(claim).map_err(gone)?;
            }
        }
        Ok(())
    }

    /// Completes what is in hand and what is queued, so that the next measurement begins empty.
    async fn clear(&self) -> Result<(), Failure> {
        let mut held = self.held.lock().await;
        while let Ok(claim) = held.try_recv() {
            let _unknown = self.client.complete(vec![claim]).await;
        }
        drain(&self.client).await
    }
}

/// Measures for `length` at `rate` operations a second, after [`WARM_UP`] at the same rate.
pub(crate) async fn measure<C: Client>(
    client: &C,
    rate: u32,
    length: Duration,
) -> Result<AtRate, Failure> {
    let (hold, held) = mpsc::channel(CLAIMS_MAX);
    let mut shared = Shared {
        client: client.clone(),
        begin: Duration::ZERO,
        end: Duration::ZERO,
        in_time: AtomicU64::new(0),
        errors: AtomicU64::new(0),
        all: Latencies::new()?,
        kinds: [Latencies::new()?, Latencies::new()?, Latencies::new()?],
        hold,
        held: Mutex::new(held),
    };
    shared.stock_up().await?;
    shared.begin = clock::now() + WARM_UP;
    shared.end = shared.begin + length;
    let shared = Arc::new(shared);
    let permits = Arc::new(Semaphore::new(OUTSTANDING_MAX));
    let mut beats = beats(rate, WARM_UP + length);
    while let Some(beat) = beats.recv().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
        if clock::now() > shared.end + Duration::from_secs(1) {
            break;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.measure(beat).await;
            drop(permit);
        });
    }
    let all = u32::try_from(OUTSTANDING_MAX).unwrap_or(u32::MAX);
    let _drained = tokio::time::timeout(DRAIN, permits.acquire_many(all)).await;
    shared.clear().await?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let achieved = shared.in_time.load(Ordering::Relaxed) as f64 / length.as_secs_f64();
    let [enqueue, claim, complete] = shared.kinds.each_ref().map(Latencies::quantiles);
    Ok(AtRate {
        rate,
        achieved: achieved.round(),
        sustained: achieved >= SUSTAINED * f64::from(rate),
        errors: shared.errors.load(Ordering::Relaxed),
        seconds: u32::try_from(length.as_secs()).unwrap_or(u32::MAX),
        elections: None,
        all: shared.all.quantiles(),
        enqueue,
        claim,
        complete,
    })
}
