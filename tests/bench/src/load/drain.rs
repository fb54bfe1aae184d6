//! An empty queue, for whoever measures next.

use std::time::Duration;

use super::patient::until_done;
use crate::system::{Client, Failure};

/// Items of a request.
const BATCH: usize = 64;
/// A queue from which nothing comes for so long is empty.
const EMPTY: Duration = Duration::from_millis(300);
/// Requests at most: beyond this somebody else fills the queue.
const REQUESTS_MAX: usize = 100_000;

/// Claims and completes until nothing comes.
pub(crate) async fn drain<C: Client>(client: &C) -> Result<(), Failure> {
    for _ in 0..REQUESTS_MAX {
        let claims = until_done(|| client.claim(BATCH, EMPTY)).await?;
        if claims.is_empty() {
            return Ok(());
        }
        // A completion whose answer got lost cannot be repeated; what is left of it comes back when its
        // claim has ended, and does no harm.
        let _unknown = client.complete(claims).await;
    }
    Err(Failure::Setup(format!("the queue is not empty after {REQUESTS_MAX} claims")))
}
