//! Workers that go through full cycles, one after the other, and somebody who watches them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock;
use crate::system::{Client, Failure, Held as _, Payload};

/// Pause of a worker after a failed request: while a leader is missing, workers that ask without a
/// pause would take the processor from those who elect one.
const AFTER_FAILURE: Duration = Duration::from_millis(2);
/// How long one claim waits.
const CLAIM_WAIT: Duration = Duration::from_secs(2);
/// A cycle that has not ended by then is given up: a failed request took its item away.
const CYCLE_LIMIT: Duration = Duration::from_secs(10);
/// How long workers may take for their last cycles.
const LAST_CYCLES: Duration = Duration::from_secs(15);

/// Sees what the workers do. Called by all of them at once.
pub(crate) trait Witness: Send + Sync + 'static {
    /// Items were claimed; `submitted` is when the youngest of them was sent.
    fn claimed(&self, asked: Duration, submitted: Duration);
    /// So many items of a cycle that began at `begun` were completed.
    fn completed(&self, begun: Duration, items: usize);
    /// A request failed.
    fn failed(&self, failure: &Failure);
}

/// How many workers, and how many items each handles at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Workers, each with one request under way.
    pub(crate) workers: usize,
    /// Items of a request.
    pub(crate) batch: usize,
}

/// Working workers.
#[derive(Debug)]
pub(crate) struct Workers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Workers {
    /// Starts them.
    pub(crate) fn start<C: Client, W: Witness>(client: &C, shape: Shape, witness: &Arc<W>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..shape.workers {
            let (client, witness) = (client.clone(), Arc::clone(witness));
            tasks.spawn(work(client, shape.batch, witness, Arc::clone(&stop)));
        }
        Self { tasks, stop }
    }

    /// Lets each end its cycle.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_CYCLES, ending).await.is_err() {
            self.tasks.abort_all();
        }
    }
}

async fn work<C: Client, W: Witness>(
    client: C,
    batch: usize,
    witness: Arc<W>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::Relaxed) {
        if let Err(failure) = cycle(&client, batch, witness.as_ref()).await {
            witness.failed(&failure);
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

/// Adds items, claims as many, whoever added them, and completes these.
pub(crate) async fn cycle<C: Client, W: Witness>(
    client: &C,
    batch: usize,
    witness: &W,
) -> Result<(), Failure> {
    let begun = clock::now();
    client.enqueue(Payload::now(batch)).await?;
    let mut missing = batch;
    while missing > 0 && clock::now() - begun < CYCLE_LIMIT {
        let asked = clock::now();
        let claims = client.claim(missing, CLAIM_WAIT).await?;
        let Some(youngest) = claims.iter().map(|claim| claim.submitted()).max() else { continue };
        witness.claimed(asked, youngest);
        let items = claims.len();
        client.complete(claims).await?;
        witness.completed(begun, items);
        missing -= items.min(missing);
    }
    Ok(())
}
